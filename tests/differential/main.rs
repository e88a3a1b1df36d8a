//! The same packets through our decision and through a second implementation, written from the
//! design's answers table on hickory-server. What the two say must be the same, but for the
//! differences that `explained` names.

mod explained;
mod packets;
mod reference;
mod special;
mod world;

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;
use std::net::IpAddr;
use std::time::Instant;

use hickory_server::proto::op::Message;
use hickory_server::proto::rr::{Name, Record};
use hickory_server::proto::serialize::binary::{BinDecodable, BinDecoder};
use privatelinkd::engine::{Asked, Silent, Snapshot, Transport, Verdict, decide};
use privatelinkd::wire::{Answer, Query};

use explained::EXPLAINED;
use packets::Dice;
use reference::Reference;

/// How many packets; a second of work.
const PACKETS: usize = 80_000;
/// How many names an upstream denies; few enough for the cache.
const DENIALS: usize = 10_000;
/// Unexplained differences shown before the rest is only counted.
const SHOWN: usize = 12;

/// What is sent.
pub(crate) struct Packet {
    pub(crate) client: IpAddr,
    pub(crate) tcp: bool,
    pub(crate) octets: Vec<u8>,
}

/// What comes back.
pub(crate) enum Said {
    Reply(Vec<u8>),
    Silence,
    /// Somebody else is to be asked.
    Forward,
}

/// The same, decoded; two of them are equal or different.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    Reply(Box<Reply>),
    Silence,
    Forward,
    /// A reply that cannot be read.
    Broken,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Reply {
    pub(crate) id: u16,
    pub(crate) opcode: u8,
    pub(crate) rcode: u16,
    pub(crate) flags: String,
    /// In the case it was written in.
    pub(crate) questions: Vec<String>,
    /// Names in lower case (RFC 4343 §4.1: no case is promised), in order.
    pub(crate) answers: Vec<String>,
    pub(crate) authorities: Vec<String>,
    /// Records that are neither of these nor OPT.
    pub(crate) additionals: usize,
    /// Version and DO.
    pub(crate) edns: Option<(u8, bool)>,
}

impl Heard {
    fn read(said: &Said) -> Self {
        match said {
            Said::Silence => Self::Silence,
            Said::Forward => Self::Forward,
            Said::Reply(octets) => match Reply::read(octets) {
                Some(reply) => Self::Reply(Box::new(reply)),
                None => Self::Broken,
            },
        }
    }

    /// The reply, if there is one.
    pub(crate) fn reply(&self) -> Option<&Reply> {
        match self {
            Self::Reply(reply) => Some(reply),
            Self::Silence | Self::Forward | Self::Broken => None,
        }
    }

    /// Its rcode, if there is a reply.
    pub(crate) fn rcode(&self) -> Option<u16> {
        self.reply().map(|reply| reply.rcode)
    }
}

impl Reply {
    fn read(octets: &[u8]) -> Option<Self> {
        let message = Message::from_vec(octets).ok()?;
        let metadata = &message.metadata;
        let bits = [
            (metadata.authoritative, "aa"),
            (metadata.truncation, "tc"),
            (metadata.recursion_desired, "rd"),
            (metadata.recursion_available, "ra"),
            (metadata.authentic_data, "ad"),
            (metadata.checking_disabled, "cd"),
        ];
        let flags: Vec<_> = bits.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
        let questions = message.queries.iter().map(|query| {
            format!("{} {} {}", wire(query.name()), query.query_type(), query.query_class())
        });
        Some(Self {
            id: metadata.id,
            opcode: metadata.op_code.into(),
            rcode: metadata.response_code.into(),
            flags: flags.join(" "),
            questions: questions.collect(),
            answers: message.answers.iter().map(line).collect(),
            authorities: message.authorities.iter().map(line).collect(),
            additionals: message.additionals.len(),
            edns: message.edns.as_ref().map(|edns| (edns.version(), edns.flags().dnssec_ok)),
        })
    }

    /// Whether a flag is set.
    pub(crate) fn has(&self, flag: &str) -> bool {
        self.flags.split(' ').any(|set| set == flag)
    }
}

/// A name's octets, exactly.
fn wire(name: &Name) -> String {
    name.iter().fold(String::new(), |mut text, label| {
        write!(text, "{}.", label.escape_ascii()).expect("a string");
        text
    })
}

fn line(record: &Record) -> String {
    let data = match &record.data {
        hickory_server::proto::rr::RData::CNAME(target) => wire(&target.0),
        data => data.to_string(),
    };
    let Record { ttl, dns_class, .. } = record;
    let rtype = record.record_type();
    format!("{} {ttl} {dns_class} {rtype} {data}", wire(&record.name)).to_lowercase()
}

fn ours(snapshot: &Snapshot, packet: &Packet) -> Said {
    let asked = Asked {
        client: packet.client,
        transport: if packet.tcp { Transport::Tcp } else { Transport::Udp },
        now: Instant::now(),
        rotation: 0,
    };
    let mut out = Vec::new();
    match decide(snapshot, &asked, &packet.octets, &mut out, &mut Silent) {
        Verdict::Reply(_) => Said::Reply(out),
        Verdict::Drop(_) => Said::Silence,
        Verdict::Forward => Said::Forward,
    }
}

fn snapshot() -> Snapshot {
    let report = privatelinkd::config::read(&world::toml(&world::zones()));
    let config = report.config.unwrap_or_else(|| panic!("{:?}", report.diagnostics));
    privatelinkd::app::build(&config, &config.listen.dns, None).expect("no upstream is us")
}

#[tokio::test(flavor = "current_thread")]
async fn both_implementations_say_the_same() {
    let (snapshot, reference) = (snapshot(), Reference::new());
    let mut dice = Dice::new(0x9e37);
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let mut hits = vec![0; EXPLAINED.len()];
    let mut unexplained = Vec::new();
    for _ in 0..PACKETS {
        let packet = packets::draw(&mut dice);
        let (ours, theirs) = (ours(&snapshot, &packet), reference.say(&packet).await);
        let (heard, expected) = (Heard::read(&ours), Heard::read(&theirs));
        assert_ne!(heard, Heard::Broken, "{}", packet.octets.escape_ascii());
        *kinds.entry(kind(&heard)).or_default() += 1;
        if heard == expected {
            continue;
        }
        let why = EXPLAINED.iter().position(|why| (why.applies)(&packet, &heard, &expected));
        match why {
            Some(index) => hits[index] += 1,
            None => unexplained.push(format!(
                "tcp {} {}\n  {}\n  ours:   {heard:?}\n  theirs: {expected:?}",
                packet.tcp,
                packet.client,
                packet.octets.escape_ascii()
            )),
        }
    }
    let count = unexplained.len();
    unexplained.truncate(SHOWN);
    assert!(count == 0, "{count} unexplained differences:\n{}", unexplained.join("\n"));
    for (why, hits) in EXPLAINED.iter().zip(hits) {
        assert!(hits > 0, "never seen, so strike it off: {} ({})", why.name, why.source);
    }
    // The packets reach everything: else all of this says little.
    for kind in ["forward", "silence", "0", "1", "3", "4", "5", "6", "16"] {
        let seen = kinds.get(kind).copied().unwrap_or(0);
        assert!(seen >= 100, "only {seen} of {PACKETS} packets were answered with {kind}");
    }
}

/// What the upstreams of both say is NXDOMAIN. The two agree for which names a client hears that.
#[test]
fn both_let_upstreams_deny_the_same_names() {
    let (snapshot, reference) = (snapshot(), Reference::new());
    let mut dice = Dice::new(0x8020);
    let client = world::OTHER_CLIENT.parse().expect("an address");
    let (mut denied, mut spared, mut known) = (0, 0, HashSet::new());
    for _ in 0..DENIALS {
        let name = packets::name(&mut dice);
        for rtype in [1, 16, 28] {
            let question = [&*name, &[0, rtype, 0, 1]].concat();
            // What was kept for a question answers it the next time.
            if !known.insert(question.to_ascii_lowercase()) {
                continue;
            }
            let octets = [&[0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &question].concat();
            let packet = Packet { client, tcp: true, octets };
            if !matches!(ours(&snapshot, &packet), Said::Forward) {
                continue;
            }
            deny(&snapshot, &packet.octets);
            let heard = Heard::read(&ours(&snapshot, &packet));
            let name = Name::read(&mut BinDecoder::new(&name)).expect("a name");
            let rcode = if reference.lets_deny(&name) { 3 } else { 0 };
            assert_eq!(heard.rcode(), Some(rcode), "{name}");
            let reply = heard.reply().expect("a reply");
            assert_eq!((reply.answers.len(), reply.authorities.len()), (0, 1), "{name}");
            *(if rcode == 0 { &mut spared } else { &mut denied }) += 1;
        }
    }
    assert!(denied > 1_000 && spared >= 3 * 7, "{denied} {spared}");
}

/// Puts NXDOMAIN with a SOA into the cache.
fn deny(snapshot: &Snapshot, query: &[u8]) {
    let mut reply = query.to_vec();
    reply[2..4].copy_from_slice(&[0x81, 0x83]);
    reply[9] = 1;
    reply.extend([0, 0, 6, 0, 1, 0, 0, 0, 60, 0, 22, 0, 0]);
    reply.extend([[0, 0, 0, 60]; 5].concat());
    let question = Query::parse(query).expect("a query").to_question();
    let answer = Answer::parse(&reply, &question).expect("a reply");
    snapshot.cache.insert(&question, &answer, false, Instant::now()).expect("kept");
}

fn kind(heard: &Heard) -> String {
    match heard {
        Heard::Reply(reply) => reply.rcode.to_string(),
        Heard::Silence => "silence".to_owned(),
        Heard::Forward => "forward".to_owned(),
        Heard::Broken => "broken".to_owned(),
    }
}
