//! Decisions, read back with hickory's decoder as a second opinion on the octets.

mod chains;
mod chains_to_us;
mod denials;
mod down;
mod expectations;
mod faults;
mod guard;
mod hops;
mod kept;
mod key_replies;
mod keys;
mod ours;
mod renewed;
mod special;
mod stale;
mod stripped;
mod upstream;
mod validated;

use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::Record;

use super::*;
use crate::config::testing::{defender, endpoint, minimal};
use crate::config::{Config, Refused, Unlisted};
use crate::forward::{OwnAddresses, Rules};
use crate::wire::{Answer, MessageWriter, Name, Question, Rtype, flags};

const P: &str = "cloud.defender.microsoft.com";
const Q: &str = "privatelink.cloud.defender.microsoft.com";
const SOA: &str = "privatelink.cloud.defender.microsoft.com. 10 SOA \
    privatelink.cloud.defender.microsoft.com. nobody.invalid. 1 3600 300 2419200 10";

fn snapshot(config: &Config) -> Snapshot {
    Snapshot::new(config, Rules::build(&config.forwards, &[], OwnAddresses::default(), None))
}

fn with(change: impl FnOnce(&mut Config)) -> Snapshot {
    let mut config = minimal();
    change(&mut config);
    snapshot(&config)
}

fn asked(client: &str) -> Asked {
    Asked {
        client: client.parse().expect("an address"),
        transport: Transport::Udp,
        now: Instant::now(),
        rotation: 0,
    }
}

/// A query with RD, and EDNS unless `udp_payload` is 0.
fn query(name: &str, qtype: u16, udp_payload: u16, extended: u32) -> Vec<u8> {
    let name: Name = name.parse().expect("a name");
    let mut out = Vec::new();
    let mut writer = MessageWriter::begin(&mut out, 65_535, 0x4242, flags::RD);
    writer.raw(name.as_wire()).expect("room");
    writer.raw(&[qtype.to_be_bytes(), [0, 1]].concat()).expect("room");
    if udp_payload > 0 {
        writer.raw(&[0]).expect("room");
        writer.fixed(Rtype::OPT, udp_payload, extended, 0).expect("room");
    }
    writer.set_counts([1, 0, 0, u16::from(udp_payload > 0)]);
    out
}

fn decided(snapshot: &Snapshot, asked: &Asked, message: &[u8]) -> (Verdict, Vec<u8>) {
    let mut out = Vec::new();
    let verdict = decide(snapshot, asked, message, &mut out, &mut Silent);
    (verdict, out)
}

fn record(record: &Record) -> String {
    format!("{} {} {} {}", record.name, record.ttl, record.record_type(), record.data)
}

/// `RCODE flags: answers | authorities`, each record as `owner ttl type rdata`.
fn text(reply: &[u8]) -> String {
    let message = Message::from_vec(reply).expect("hickory reads our replies");
    let metadata = &message.metadata;
    let bits = [
        (metadata.authoritative, " aa"),
        (metadata.truncation, " tc"),
        (metadata.recursion_available, " ra"),
        (metadata.authentic_data, " ad"),
    ];
    let bits: String = bits.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect();
    let records = |records: &[Record]| records.iter().map(record).collect::<Vec<_>>().join("; ");
    let code = match metadata.response_code {
        ResponseCode::NoError => "NOERROR".to_owned(),
        ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
        code => format!("{code:?}").to_uppercase(),
    };
    let (answers, authorities) = (records(&message.answers), records(&message.authorities));
    let authorities =
        if authorities.is_empty() { String::new() } else { format!(" | {authorities}") };
    format!("{code}{bits}: {answers}{authorities}")
}

fn ask_from(snapshot: &Snapshot, client: &str, name: &str, qtype: Rtype) -> String {
    let (verdict, out) = decided(snapshot, &asked(client), &query(name, qtype.0, 1_232, 0));
    assert!(matches!(verdict, Verdict::Reply(_)), "{name} {qtype}: {verdict:?}");
    text(&out)
}

fn ask(snapshot: &Snapshot, name: &str, qtype: Rtype) -> String {
    ask_from(snapshot, "10.0.0.1", name, qtype)
}
