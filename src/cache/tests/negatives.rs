//! Names that do not exist: they have their share of the memory, and no more.

use std::collections::HashSet;

use super::*;

/// Octets of a cache that is soon full, and about so many positives.
const OCTETS: u64 = 1 << 18;
const POSITIVES: usize = 1_000;

fn positive(index: usize) -> String {
    format!("name-{index}.example")
}

fn negative(index: usize) -> String {
    format!("{index:x}-random.example")
}

/// How many of the positives are still found after ten times as many negatives, of those that
/// were before. Each was asked for `uses` times.
fn found_after_a_flood(uses: usize) -> (usize, usize) {
    let cache = Cache::new(OCTETS, Duration::from_secs(60));
    let now = Instant::now();
    // More than there is room for, so that the memory of positives is full.
    keep_addresses(&cache, (0..3 * POSITIVES).map(positive), now);
    for _ in 0..uses {
        (0..3 * POSITIVES).for_each(|index| {
            finds(&cache, &positive(index), now);
        });
    }
    // Those last kept, as they moved to and fro among themselves.
    let stored = |cache: &Cache| {
        let mut names = HashSet::new();
        let store = cache.store().expect("something is kept");
        let shown: Result<(), ()> = store.visit(|found, payload| {
            if !found.head.is_alive_at(cache.ms(now), 0) {
                return Ok(());
            }
            let answer = AnswerRef::from_octets(bytemuck::cast_slice(payload)).expect("an answer");
            if answer.rcode() == Rcode::NOERROR {
                names.insert(answer.question().to_vec());
            }
            Ok(())
        });
        assert_eq!(shown, Ok(()));
        names
    };
    let before = stored(&cache);
    let mut most = 0;
    for index in 0..10 * POSITIVES {
        keep_nxdomain(&cache, &negative(index), 300, now);
        most = most.max(cache.octets());
    }
    assert!(most <= OCTETS, "{most} octets");
    let after = stored(&cache);
    (before.len(), before.intersection(&after).count())
}

#[test]
fn a_flood_of_negatives_evicts_no_positive() {
    for uses in 0..=2 {
        let (before, after) = found_after_a_flood(uses);
        assert!(before > POSITIVES / 2, "{before}");
        assert_eq!(before, after, "after {uses} uses");
    }
}

#[test]
fn negatives_push_out_negatives_that_nobody_asks_for_first() {
    let cache = Cache::new(1 << 20, Duration::from_secs(60));
    let now = Instant::now();
    let asked_again: Vec<_> = (0..50).map(|index| format!("a-{index}.example")).collect();
    for name in &asked_again {
        assert_eq!(keep_nxdomain(&cache, name, 300, now), Some(300));
    }
    for index in 0..10_000 {
        keep_nxdomain(&cache, &negative(index), 300, now);
        if index % 100 == 0 {
            asked_again.iter().for_each(|name| {
                finds(&cache, name, now);
            });
        }
    }
    let kept = asked_again.iter().filter(|name| finds(&cache, name, now)).count();
    assert!(kept > 45, "{kept}");
    let kept = (0..10_000).filter(|index| finds(&cache, &negative(*index), now)).count();
    assert!((100..1_500).contains(&kept), "{kept}");
}

#[test]
fn the_answer_of_today_takes_the_place_of_yesterdays_whatever_it_says() {
    let cache = Cache::new(1 << 20, Duration::from_secs(60));
    let now = Instant::now();
    let name = "a.example";
    let rcode = || {
        let hit = cache.find(&question(name, Rtype::A).borrowed(), now);
        hit.map(|hit| hit.answer().rcode())
    };
    keep_addresses(&cache, [name.to_owned()].into_iter(), now);
    assert_eq!(keep_nxdomain(&cache, name, 300, now), Some(300));
    assert_eq!(rcode(), Some(Rcode::NXDOMAIN));
    keep_addresses(&cache, [name.to_owned()].into_iter(), now);
    assert_eq!(rcode(), Some(Rcode::NOERROR));
    assert_eq!(cache.len(), 1);
}

#[test]
fn a_chain_to_us_is_no_negative_though_the_upstream_denies_its_end() {
    let cache = Cache::new(1 << 18, Duration::from_secs(60));
    let now = Instant::now();
    let soa = soa(300);
    let cname = (Section::Answer, Rtype::CNAME, 60, &[1, b'b', 0][..]);
    let denied = [cname, (Section::Authority, Rtype::SOA, 300, &soa[..])];
    for (name, leads_to_us) in [("ours.example", true), ("theirs.example", false)] {
        let question = question(name, Rtype::A);
        let answer = reply(&question, Rcode::NXDOMAIN.0, &denied);
        assert_eq!(cache.insert(&question, &answer, leads_to_us, now), Some(60));
    }
    for index in 0..5_000 {
        keep_nxdomain(&cache, &negative(index), 300, now);
    }
    assert!(finds(&cache, "ours.example", now));
    assert!(!finds(&cache, "theirs.example", now));
}

#[test]
fn the_largest_answer_fits_into_either_ring_of_the_smallest_cache() {
    let cache = Cache::new(1 << 20, Duration::ZERO);
    let now = Instant::now();
    // As many records as 64 KiB hold, so that its tables are largest too: owner, type, class, TTL,
    // length, and two octets of RDATA that tell them apart.
    let numbers: Vec<_> = (0..4_660_u16).map(u16::to_be_bytes).collect();
    let all = |section, rtype| numbers.iter().map(move |octets| (section, rtype, 300, &octets[..]));
    let positive = Question::plain("a.example".parse().expect("a name"), Rtype(65_280));
    let answer = reply(&positive, 0, &all(Section::Answer, Rtype(65_280)).collect::<Vec<_>>());
    assert!(answer.octets().len() > 74_000);
    assert_eq!(cache.insert(&positive, &answer, false, now), Some(300));
    assert!(cache.find(&positive.borrowed(), now).is_some());

    let negative = Question { dnssec_ok: true, ..question("b.example", Rtype::A) };
    let soa = soa(300);
    let mut records = vec![(Section::Authority, Rtype::SOA, 300, &soa[..])];
    // Signatures and their like may stand there.
    records.extend(all(Section::Authority, Rtype::RRSIG).take(4_650));
    let answer = reply(&negative, Rcode::NXDOMAIN.0, &records);
    assert!(answer.octets().len() > 60_000, "{}", answer.octets().len());
    assert_eq!(cache.insert(&negative, &answer, false, now), Some(300));
    assert!(cache.find(&negative.borrowed(), now).is_some());
}
