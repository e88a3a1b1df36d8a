//! What servers answer.

use std::net::UdpSocket;
use std::thread;

use super::*;

/// A server on loopback that says these octets behind the question's header and question; `None`
/// is silence.
fn server(says: impl Fn(u16) -> Option<(u16, u16, Vec<u8>)> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("bound");
    thread::spawn(move || {
        let mut buffer = [0; 1_500];
        while let Ok((octets, client)) = socket.recv_from(&mut buffer) {
            let query = &buffer[..octets];
            let question =
                12 + query[12..].iter().position(|octet| *octet == 0).expect("a name") + 5;
            let qtype = u16::from_be_bytes([query[question - 4], query[question - 3]]);
            let Some((flags, answers, records)) = says(qtype) else { continue };
            let head = [flags, 1, answers, 0, 0].map(u16::to_be_bytes).concat();
            let reply = [&query[..2], &head, &query[12..question], &records].concat();
            let _lost = socket.send_to(&reply, client);
        }
    });
    address
}

/// An A record of the question's name.
fn a(address: [u8; 4]) -> Vec<u8> {
    [&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4], &address[..]].concat()
}

fn reply_flags(rcode: u16) -> u16 {
    0x8180 | rcode
}

/// A server that has this for A and nothing for AAAA.
fn with(address: [u8; 4]) -> SocketAddr {
    let a = a(address);
    server(move |qtype| match qtype {
        1 => Some((reply_flags(0), 1, a.clone())),
        _ => Some((reply_flags(0), 0, Vec::new())),
    })
}

fn api() -> Inventory {
    inventory(vec![azure("hub-pe", &[(API, &["10.1.0.5"]), (DATA, &["10.1.0.6"])])])
}

fn only_api() -> Inventory {
    inventory(vec![azure("hub-pe", &[(API, &["10.1.0.5"])])])
}

#[test]
fn a_server_that_says_what_azure_has_is_the_same() {
    let servers = [with([10, 1, 0, 5])];
    let report = compare(&only_api(), Coverage::Whole, None, &asked(&servers));
    assert!(report.same, "{:?}", lines(&report));
    assert_eq!(report.compared.servers, [format!("@{}", servers[0])]);
    assert!(report.compared.clients.is_empty());
}

#[test]
fn each_wrong_answer_has_its_kind() {
    let cases = [
        (with([10, 1, 0, 6]), "different", "[10.1.0.6]"),
        (with([10, 9, 9, 9]), "stale", "[10.9.9.9]"),
        (with([20, 1, 2, 3]), "public", "[20.1.2.3]"),
        (server(|_| Some((reply_flags(3), 0, Vec::new()))), "missing", "NXDOMAIN"),
        (server(|_| Some((reply_flags(0), 0, Vec::new()))), "missing", "NODATA"),
        (server(|_| Some((reply_flags(2), 0, Vec::new()))), "unanswered", "A: SERVFAIL"),
        (server(|_| Some((reply_flags(5), 0, Vec::new()))), "unanswered", "REFUSED"),
    ];
    for (server, kind, came) in cases {
        let report = compare(&api(), Coverage::Whole, None, &asked(&[server]));
        let line = lines(&report).into_iter().find(|line| line.contains(API)).expect("a finding");
        let has = "hub-pe=[10.1.0.5]";
        assert_eq!(line, format!("{kind} {API} | @{server} | {has} | {came}"));
    }
}

#[test]
fn a_private_a_beside_a_public_aaaa_is_public() {
    let a = a([10, 1, 0, 5]);
    // 2603:1030::1
    let aaaa =
        [&[0xc0, 12, 0, 28, 0, 1, 0, 0, 0, 60, 0, 16, 0x26, 3, 0x10, 0x30][..], &[0; 11], &[1]];
    let aaaa = aaaa.concat();
    let server = server(move |qtype| {
        let records = if qtype == 1 { a.clone() } else { aaaa.clone() };
        Some((reply_flags(0), 1, records))
    });
    let report = compare(&only_api(), Coverage::Whole, None, &asked(&[server]));
    assert_eq!(report.counts.public, 1, "{:?}", lines(&report));
}

#[test]
fn a_server_that_leaves_the_question_out_of_its_refusal_is_heard() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let server = socket.local_addr().expect("bound");
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((_, client)) = socket.recv_from(&mut buffer) {
            let reply = [&buffer[..2], &[0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
            let _lost = socket.send_to(&reply, client);
        }
    });
    let report = compare(&only_api(), Coverage::Whole, None, &asked(&[server]));
    assert!(lines(&report)[0].ends_with("| A: FORMERR"), "{:?}", lines(&report));
}

#[test]
fn a_silent_server_is_given_up() {
    let names: Vec<String> =
        (0..200).map(|n| format!("n{n}.cloud.defender.microsoft.com")).collect();
    let records: Vec<(&str, &[&str])> =
        names.iter().map(|name| (name.as_str(), &["10.1.0.5"][..])).collect();
    let silent = server(|_| None);
    let servers = [silent];
    let patience = Patience { each: Duration::from_millis(20), udp_tries: 1 };
    let live = Live { servers: &servers, patience, progress: &|_, _| {} };
    let report = compare(&inventory(vec![azure("pe", &records)]), Coverage::Whole, None, &live);
    assert_eq!(report.counts.unanswered, 200);
    let given_up = lines(&report).iter().filter(|line| line.contains("not asked after 64")).count();
    // Those that were under way when it was given up are asked to their end.
    assert!((64..64 + 32).contains(&(200 - given_up)), "{given_up}");
}

#[test]
fn questions_in_flight_are_bounded() {
    const ALL: usize = 96;
    let names: Vec<String> =
        (0..ALL).map(|n| format!("n{n}.cloud.defender.microsoft.com")).collect();
    let records: Vec<(&str, &[&str])> =
        names.iter().map(|name| (name.as_str(), &["10.1.0.5"][..])).collect();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let server = socket.local_addr().expect("bound");
    // Answers when 32 wait, and one more has had its chance to come.
    let most = thread::spawn(move || {
        let (mut buffer, mut waiting, mut most, mut all) = ([0; 512], Vec::new(), 0, 0);
        while all < ALL {
            let chance = (waiting.len() >= 32).then_some(Duration::from_millis(50));
            socket.set_read_timeout(chance).expect("set");
            if let Ok((octets, client)) = socket.recv_from(&mut buffer) {
                waiting.push((buffer[..octets].to_vec(), client));
                most = most.max(waiting.len());
                continue;
            }
            all += waiting.len();
            for (mut reply, client) in waiting.drain(..) {
                // NXDOMAIN; no OPT.
                reply[2..4].copy_from_slice(&[0x81, 0x83]);
                reply[11] = 0;
                socket.send_to(&reply, client).expect("sent");
            }
        }
        most
    });
    let report =
        compare(&inventory(vec![azure("pe", &records)]), Coverage::Whole, None, &asked(&[server]));
    assert_eq!(report.counts.missing, ALL);
    assert_eq!(most.join().expect("it ends"), 32);
}

#[test]
fn a_name_that_azure_lacks_may_be_public_and_must_not_be_private() {
    let config = config(|_| {});
    let own = OwnAddresses::default();
    let snapshot = Snapshot::new(&config, Rules::build(&config.forwards, &[], own, None));
    let live = |server| {
        let report =
            compare(&only_api(), Coverage::Whole, Some((&config, &snapshot)), &asked(&[server]));
        let of_server = |line: &String| line.contains('@') && line.contains(DATA);
        lines(&report).into_iter().filter(of_server).collect::<Vec<_>>()
    };
    assert_eq!(live(with([20, 1, 2, 3])), Vec::<String>::new());
    let private = with([10, 1, 0, 6]);
    assert_eq!(live(private), [format!("extra {DATA} | @{private} |  | [10.1.0.6]")]);
}
