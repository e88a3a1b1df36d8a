//! Upstreams over signed zones, each of which spoils some of its replies.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use hickory_proto::dnssec::rdata::{DNSSECRData, RRSIG};
use hickory_proto::op::{Query as HickoryQuery, ResponseCode};
use hickory_proto::rr::{Name as HickoryName, RData, RecordType};
use hickory_proto::serialize::binary::BinDecodable;

use super::upstream::{Answering, World, in_world_of};
use super::*;
use crate::config::{Dnssec, Forward};
use crate::dnssec::testing::{AnchorFile, Life, Zones, name};
use crate::wire::Query;

const AD: u8 = 0x20;

/// Does something to one reply; `false`: it leaves it alone.
pub(super) type Fault = Rc<dyn Fn(&Zones, &HickoryQuery, &mut Message) -> bool>;

/// A change of one reply.
pub(super) type Change = Rc<dyn Fn(&Zones, &mut Message)>;

/// Zones that a test can change while they are served.
pub(super) type Shared = Rc<RefCell<Zones>>;

pub(super) fn served(zones: &Shared, fault: Fault) -> Answering {
    let zones = Rc::clone(zones);
    Rc::new(move |query: &Query<'_>| {
        let qname = HickoryName::from_bytes(query.qname.as_wire()).expect("a name");
        let asked = HickoryQuery::query(qname, RecordType::from(query.qtype.0));
        let zones = zones.borrow();
        let mut reply = zones.untampered(&asked);
        fault(&zones, &asked, &mut reply);
        // A question taken away stands for silence.
        (!reply.queries.is_empty()).then(|| reply.to_vec().expect("encodable"))
    })
}

/// Runs `test` with one validating rule over an upstream for each fault.
pub(super) fn with_faults<F: Future<Output = ()>>(
    zones: &Shared,
    faults: Vec<Fault>,
    test: impl FnOnce(World) -> F,
) {
    let anchors = AnchorFile::of_root(&zones.borrow());
    let setting = |config: &mut Config, rule: &mut Forward| {
        rule.dnssec = Dnssec::Validate;
        rule.timeout = Duration::from_secs(5);
        config.dnssec.trust_anchors = Some(anchors.0.clone());
    };
    in_world_of(faults.into_iter().map(|fault| served(zones, fault)).collect(), setting, test);
}

/// With a key for the data in each zone beside the one that its parent names: so a set of keys
/// needs its signature.
pub(super) fn shared() -> Shared {
    let mut zones = Zones::new();
    for apex in ["", "test", "signed.test", "hashed.test"] {
        let zone = zones.zone_mut(apex);
        let of_data = zone.publish_another();
        zone.sign_data_with(of_data);
    }
    Rc::new(RefCell::new(zones))
}

pub(super) fn none() -> Fault {
    Rc::new(|_, _, _| false)
}

/// The fault, for the first `count` replies to one question.
pub(super) fn first(
    count: usize,
    qname: &'static str,
    rtype: RecordType,
    fault: impl Fn(&Zones, &mut Message) + 'static,
) -> Fault {
    let left = Cell::new(count);
    Rc::new(move |zones, query, message| {
        let is_it = *query.name() == name(qname) && query.query_type() == rtype && left.get() > 0;
        if is_it {
            left.set(left.get() - 1);
            fault(zones, message);
        }
        is_it
    })
}

pub(super) fn is_signature(record: &Record) -> bool {
    record.record_type() == RecordType::RRSIG
}

pub(super) fn strip(message: &mut Message) {
    message.answers.retain(|record| !is_signature(record));
    message.authorities.retain(|record| !is_signature(record));
}

/// Changes an octet of each signature.
pub(super) fn corrupt(message: &mut Message) {
    let sections = [&mut message.answers, &mut message.authorities];
    for record in sections.into_iter().flatten() {
        if let RData::DNSSEC(DNSSECRData::RRSIG(signature)) = &mut record.data {
            let mut octets = signature.sig().to_vec();
            octets[9] ^= 1;
            let input = signature.input().clone();
            *signature = RRSIG::from_sig(input, octets);
        }
    }
}

/// Puts signatures of before in: all of them have expired.
pub(super) fn replay(zones: &Zones, signer: &str, message: &mut Message) {
    strip(message);
    let life = Life { from: -7_200, until: -3_600 };
    if !message.answers.is_empty() {
        message.add_answer(zones.zone(signer).sign(&message.answers, None, life));
    }
}

pub(super) fn plain(qname: &str) -> Vec<u8> {
    let mut query = query(qname, 1, 1_232, 0);
    query[3] |= AD;
    query
}

pub(super) fn head(reply: &[u8]) -> String {
    text(reply).split(':').next().expect("a head").to_owned()
}

/// Each kind of bad reply, as a change of a good one.
pub(super) fn faults(signer: &'static str) -> Vec<(&'static str, Change)> {
    vec![
        ("corrupted", Rc::new(|_, message| corrupt(message))),
        ("stripped", Rc::new(|_, message| strip(message))),
        ("replayed", Rc::new(move |zones, message| replay(zones, signer, message))),
        (
            "empty",
            Rc::new(|_, message| {
                message.answers.clear();
                message.authorities.clear();
            }),
        ),
        (
            "another's",
            Rc::new(|zones, message| {
                let asked = message.queries[0].query_type();
                let other = HickoryQuery::query(name("hashed.test"), asked);
                let mut other = zones.untampered(&other);
                for record in &mut other.answers {
                    record.name = message.queries[0].name().clone();
                }
                message.answers = other.answers;
            }),
        ),
        (
            "from the future",
            Rc::new(move |zones, message| {
                strip(message);
                let life = Life { from: 3_600, until: 7_200 };
                if !message.answers.is_empty() {
                    message.add_answer(zones.zone(signer).sign(&message.answers, None, life));
                }
            }),
        ),
        (
            "too much for us",
            Rc::new(|_, message| {
                let one = message.all_sections().find(|record| is_signature(record)).cloned();
                let one = one.expect("signed");
                let RData::DNSSEC(DNSSECRData::RRSIG(signature)) = &one.data else { return };
                for number in 0..65_u8 {
                    let other = RRSIG::from_sig(signature.input().clone(), vec![number]);
                    let data = RData::DNSSEC(DNSSECRData::RRSIG(other));
                    message.add_answer(Record::from_rdata(one.name.clone(), 300, data));
                }
            }),
        ),
        (
            "failed",
            Rc::new(|_, message| {
                message.answers.clear();
                message.authorities.clear();
                message.metadata.response_code = ResponseCode::ServFail;
            }),
        ),
    ]
}
