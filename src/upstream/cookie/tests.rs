//! Cookies of one worker, and what replies and silence say about them.

use super::*;
use crate::wire::{MessageWriter, Rcode, Rtype, flags};

fn question() -> Question {
    Question::plain("api.example".parse().unwrap(), Rtype::A)
}

/// A reply to [`question`] whose OPT has such options.
fn reply(options: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = MessageWriter::begin(&mut out, 1_232, 7, flags::QR);
    writer.question(&question()).unwrap();
    writer.opt(Rcode::NOERROR, false, None, options).unwrap();
    writer.set_counts([1, 0, 0, 1]);
    out
}

/// A COOKIE option.
fn option(client: &[u8], server: &[u8]) -> Vec<u8> {
    let length = u16::try_from(client.len() + server.len()).unwrap();
    [&[0, 10], &length.to_be_bytes(), client, server].concat()
}

fn address(last: u8) -> Option<IpAddr> {
    Some([192, 0, 2, last].into())
}

#[test]
fn a_client_cookie_belongs_to_one_source_address() {
    let jar = Jar::default();
    let (sent, first) = jar.take_for_datagram(address(1));
    assert_eq!(first.as_octets().len(), 12);
    assert_eq!(first.as_octets()[..4], [0, 10, 0, 8]);
    assert_eq!(first.as_octets()[4..], sent.client);
    assert_eq!(jar.take_for_datagram(address(1)).1.as_octets(), first.as_octets());
    assert_eq!(jar.take_for_connection().1.as_octets(), first.as_octets());
    jar.keep(sent, b"server's");
    let (other, second) = jar.take_for_datagram(address(2));
    assert_ne!(other.client, sent.client);
    assert_eq!(second.as_octets().len(), 12, "the server cookie was for another address");
    assert!(!other.is_expected);
    // Back again: the earlier one is forgotten, so that nothing grows.
    assert_ne!(jar.take_for_datagram(address(1)).0.client, sent.client);
    let cleared = jar.take_for_datagram(address(1)).0.client;
    jar.clear();
    assert_ne!(jar.take_for_datagram(address(1)).0.client, cleared);
}

#[test]
fn client_cookies_are_drawn() {
    let mut drawn: Vec<_> =
        (0..1_000).map(|_| Jar::default().take_for_datagram(None).0.client).collect();
    drawn.sort_unstable();
    drawn.dedup();
    assert_eq!(drawn.len(), 1_000);
    // Each bit is set in about half of them.
    for bit in 0..64 {
        let ones = drawn.iter().filter(|client| u64::from_be_bytes(**client) >> bit & 1 == 1);
        let ones = ones.count();
        assert!((350..=650).contains(&ones), "bit {bit}: {ones}");
    }
}

#[test]
fn the_last_server_cookie_is_sent_back() {
    let jar = Jar::default();
    let (first, _) = jar.take_for_datagram(None);
    assert!(!jar.is_proven() && !first.is_expected && !jar.has_other_than(first));
    for octets in [8, 16, 31, 32] {
        let server: Vec<u8> = (0..octets).collect();
        jar.keep(first, &server);
        let (sent, taken) = jar.take_for_datagram(None);
        assert!(jar.is_proven() && sent.is_expected);
        assert_eq!(taken.as_octets(), option(&first.client, &server));
        assert!(jar.has_other_than(first) && !jar.has_other_than(sent));
    }
    let (sent, before) = jar.take_for_datagram(None);
    for octets in [0, 1, 7, 33, 500] {
        jar.keep(sent, &vec![1; octets]);
        assert_eq!(jar.take_for_datagram(None).1.as_octets(), before.as_octets(), "{octets}");
    }
    // One that came for an earlier client cookie is of no use.
    jar.keep(Sent { client: [0; 8], ..sent }, b"server's");
    assert_eq!(jar.take_for_datagram(None).1.as_octets(), before.as_octets());
    assert!(!jar.has_other_than(sent));
    jar.clear();
    assert!(jar.has_other_than(sent));
}

#[test]
fn a_reply_carries_our_cookie_another_or_none() {
    let (sent, _) = Jar::default().take_for_datagram(None);
    let ours = sent.client;
    let find = |options: &[u8]| {
        let reply = reply(options);
        match sent.find(&reply, &question()) {
            Found::Ours(server) => format!("ours {}", server.len()),
            other => format!("{other:?}"),
        }
    };
    assert_eq!(find(&[]), "None");
    assert_eq!(find(&option(b"", b"")), "Other");
    assert_eq!(find(&option(&ours[..7], b"")), "Other");
    assert_eq!(find(&option(&ours, b"")), "ours 0");
    for octets in 1..=500 {
        let expected = match octets {
            8..=32 => format!("ours {octets}"),
            _ => "Other".to_owned(),
        };
        assert_eq!(find(&option(&ours, &vec![7; octets])), expected);
    }
    for bit in 0..64 {
        let other = (u64::from_be_bytes(ours) ^ 1 << bit).to_be_bytes();
        assert_eq!(find(&option(&other, b"server's")), "Other", "bit {bit}");
    }
    // Of several, the first counts.
    let other = option(&[0; 8], b"server's");
    assert_eq!(find(&[option(&ours, &[7; 16]), other.clone()].concat()), "ours 16");
    assert_eq!(find(&[other, option(&ours, &[7; 16])].concat()), "Other");
    // A message that is cut has none, wherever it is cut.
    let whole = reply(&option(&ours, b"server's"));
    for cut in 0..whole.len() {
        assert_eq!(sent.find(&whole[..cut], &question()), Found::None, "{cut}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_datagram_never_turns_cookies_off() {
    let (support, now) = (Support::new(), Instant::now());
    for _ in 0..100 {
        for _ in 1..IN_A_ROW {
            assert!(!support.note_trouble(false, now));
        }
        support.note_taken();
        assert_eq!(support.report(now), Cookies::No);
    }
    support.note_proven();
    for _ in 1..IN_A_ROW {
        assert!(!support.note_trouble(false, now));
    }
    assert_eq!(support.report(now), Cookies::Yes);
    assert!(support.note_trouble(false, now), "the log says it");
    assert!(!support.note_trouble(false, now), "once");
    assert_eq!(support.report(now + LASTS - Duration::from_millis(1)), Cookies::Off);
    assert_eq!(support.report(now + LASTS), Cookies::No, "it is looked at again");
}

#[tokio::test(start_paused = true)]
async fn after_its_time_one_more_trouble_is_enough_and_one_reply_ends_that() {
    let support = Support::new();
    assert!(support.note_trouble(true, Instant::now()), "TCP proves it");
    tokio::time::advance(LASTS).await;
    assert!(support.note_trouble(false, Instant::now()));
    tokio::time::advance(LASTS).await;
    support.note_taken();
    for _ in 1..IN_A_ROW {
        assert!(!support.note_trouble(false, Instant::now()));
    }
    assert!(support.note_trouble(false, Instant::now()));
}

#[tokio::test(start_paused = true)]
async fn only_silence_about_queries_with_cookies_counts() {
    let (support, now) = (Support::new(), Instant::now());
    for _ in 0..100 {
        assert!(!support.note_answered_without(now), "no query had a cookie");
    }
    support.note_sent();
    for _ in 0..100 {
        assert!(!support.note_answered_without(now), "one had");
    }
    for _ in 2..IN_A_ROW {
        support.note_sent();
        assert!(!support.note_answered_without(now));
    }
    support.note_sent();
    assert!(support.note_answered_without(now));
    assert!(support.is_off(now));
}
