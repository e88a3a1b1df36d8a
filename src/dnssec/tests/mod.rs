//! Validation over signed zones of the tests' own.

mod anchored;
mod answers;
mod bounds;
mod canonical;
mod denials;
mod known;
mod large;

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData};
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};

use super::parts::to_hickory;

use super::testing::{AnchorFile, TTL, Zones, name};
use super::*;
use crate::config::DnssecConfig;
use crate::config::testing::minimal;
use crate::forward::Failure;
use crate::wire::{Answer, Ede, Name, QName, Question, Rtype};

const SECURE: Result<Security, Ede> = Ok(Security::Secure { ttl_seconds: TTL });
const INSECURE: Result<Security, Ede> = Ok(Security::Insecure);

/// A resolver over zones that counts what it is asked.
struct Resolver {
    zones: Zones,
    /// Names below this are not validated by any rule.
    passes: Option<Name>,
    asked: RefCell<Vec<(Name, Rtype)>>,
    silent: Cell<bool>,
}

impl Resolver {
    fn new(zones: Zones) -> Self {
        Self { zones, passes: None, asked: RefCell::default(), silent: Cell::new(false) }
    }

    fn answer(&self, question: &Question) -> Arc<Answer> {
        let qname = to_hickory(&question.qname).expect("a name");
        let query = Query::query(qname, RecordType::from(question.qtype.0));
        let octets = self.zones.answer(&query).to_vec().expect("encodable");
        Arc::new(Answer::parse(&octets, question).expect("a reply"))
    }

    fn count(&self, qtype: Rtype) -> usize {
        self.asked.borrow().iter().filter(|(_, asked)| *asked == qtype).count()
    }
}

impl Source for Resolver {
    fn validates(&self, name: &QName) -> bool {
        self.passes.as_ref().is_none_or(|zone| !name.to_name().is_within(zone))
    }

    async fn ask(&self, question: Question, _since: Option<Instant>) -> Option<Brought> {
        assert!(question.dnssec_ok && question.checking_disabled);
        self.asked.borrow_mut().push((question.qname.clone(), question.qtype));
        let brought = || Brought { answer: self.answer(&question), since: Instant::now() };
        (!self.silent.get()).then(brought)
    }
}

fn validator(file: &AnchorFile, negative: &[&str]) -> Result<Validator, AnchorError> {
    let negative = negative.iter().map(|name| name.parse().expect("a name")).collect();
    let config =
        DnssecConfig { trust_anchors: Some(file.0.clone()), negative_trust_anchors: negative };
    Validator::new(&config, &minimal().private_links)
}

fn question(qname: &str, qtype: Rtype) -> Question {
    let question = Question::plain(qname.parse().expect("a name"), qtype);
    Question { dnssec_ok: true, checking_disabled: true, ..question }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(work)
}

/// A question's, while nothing is known.
fn session() -> Session {
    Session::new(Arc::default())
}

fn judge(
    validator: &Validator,
    resolver: &Resolver,
    question: &Question,
) -> Result<Judged, Failure> {
    let answer = resolver.answer(question);
    run(validator.validate(question, &answer.borrowed(), None, resolver, &mut session()))
}

fn ask(resolver: &Resolver, qname: &str, qtype: Rtype) -> Result<Security, Ede> {
    let file = AnchorFile::of_root(&resolver.zones);
    let validator = validator(&file, &["never.test"]).expect("anchors");
    worth(judge(&validator, resolver, &question(qname, qtype)))
}

fn worth(judged: Result<Judged, Failure>) -> Result<Security, Ede> {
    judged.map(|judged| judged.security).map_err(|failure| failure.ede())
}

/// Does `change` to the answers to one question.
fn change(
    zones: &Zones,
    qname: &'static str,
    rtype: RecordType,
    mut change: impl FnMut(&Zones, &mut Message) + Send + 'static,
) {
    zones.tamper(move |zones, query, message| {
        if *query.name() == name(qname) && query.query_type() == rtype {
            change(zones, message);
        }
    });
}

/// Zones of which `signed.test` has so many keys; its parent names one, and so a signature over all
/// is needed.
fn with_keys(keys: usize) -> Zones {
    let mut zones = Zones::new();
    let key = zones.zone("signed.test").key();
    for number in 1..keys {
        let flags = 256 | u16::try_from(number).expect("few") << 9;
        let data = DNSKEY::with_flags(flags, key.public_key().clone());
        let data = RData::DNSSEC(DNSSECRData::DNSKEY(data));
        zones.zone_mut("signed.test").add(name("signed.test"), data);
    }
    zones
}

fn alter_address(message: &mut Message) {
    for record in &mut message.answers {
        if let RData::A(address) = &mut record.data {
            *address = A::new(192, 0, 2, 66);
        }
    }
}
