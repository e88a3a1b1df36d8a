//! Any text as trust anchors, and replies that are held against them: nothing is secure without
//! signatures, and validation ends.
//!
//! The input: fields, each two octets of length and so many octets. The anchors first, then the
//! answer, then what the source of keys brings, each the reply to the question that it repeats.
#![no_main]

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use privatelinkd::dnssec::{
    Brought, KnownZones, Security, Session, Source, validator_with_anchors,
};
use privatelinkd::wire::{Answer, QName, Question, Rtype};
use privatelinkd_fuzz::{field, question_of};
use tokio::runtime::{Builder, Runtime};

/// Questions for keys that one answer may cause.
const MAX_QUERIES: usize = 64;

thread_local! {
    static RUNTIME: Runtime =
        Builder::new_current_thread().enable_time().build().expect("a runtime");
}

/// Brings what the input holds.
struct Replies {
    replies: Vec<(Question, Arc<Answer>)>,
    asked: Cell<usize>,
}

impl Source for Replies {
    fn validates(&self, _: &QName) -> bool {
        true
    }

    async fn ask(&self, question: Question, _: Option<Instant>) -> Option<Brought> {
        assert!(question.dnssec_ok && question.checking_disabled);
        assert!(matches!(question.qtype, Rtype(43 | 48 | 2)), "DS, DNSKEY and NS alone");
        self.asked.set(self.asked.get() + 1);
        let is_asked = |known: &Question| {
            (&known.qname, known.qtype, known.qclass)
                == (&question.qname, question.qtype, question.qclass)
        };
        let found = self.replies.iter().find(|(known, _)| is_asked(known));
        let since = Instant::now();
        found.map(|(_, answer)| Brought { answer: Arc::clone(answer), since })
    }
}

fuzz_target!(|input: &[u8]| {
    let mut rest = input;
    let Some(anchors) = field(&mut rest) else { return };
    let anchors = String::from_utf8_lossy(anchors);
    let validator = match validator_with_anchors(&anchors) {
        Ok(validator) => validator,
        Err(error) => {
            assert!(error.line.is_none_or(|line| (1..=anchors.lines().count()).contains(&line)));
            return;
        }
    };
    assert_eq!(validator.anchor_file(), Some(&*anchors));
    assert!(validator.is_as_strict_as(&validator));

    let mut replies = Vec::new();
    while let Some(reply) = field(&mut rest) {
        let Some(question) = question_of(reply) else { continue };
        let Ok(answer) = Answer::parse(reply, &question) else { continue };
        replies.push((question, Arc::new(answer)));
    }
    let Some((question, answer)) = replies.first().cloned() else { return };
    let source = Replies { replies, asked: Cell::new(0) };
    let links = answer.borrowed().links().count();
    // The second round knows what the first one has proven.
    let known = Arc::<KnownZones>::default();
    for links in [None, Some(links)] {
        source.asked.set(0);
        let mut session = Session::new(Arc::clone(&known));
        let borrowed = answer.borrowed();
        let validate = validator.validate(&question, &borrowed, links, &source, &mut session);
        let judged = RUNTIME.with(|runtime| runtime.block_on(validate));
        assert!(source.asked.get() <= MAX_QUERIES);
        let security = judged.map(|judged| judged.security);
        if let Ok(Security::Secure { .. }) = security {
            let mut records = answer.borrowed().records().collect::<Vec<_>>().into_iter();
            assert!(links == Some(0) || records.any(|record| record.rtype == Rtype::RRSIG));
        }
    }
});
