//! Whether validators may object to what we make up: the DS records from a public zone up to its
//! top-level domain.

use super::finding::Finding;
use super::remedies::{Pair, trust_no_signatures};
use super::seen::{Outcome, in_words};
use crate::wire::{Name, Rcode};

/// Top-level domains of Azure's zones of which it is known that they are signed: an upstream that
/// says otherwise gives no DNSSEC records at all.
const SIGNED: [&str; 7] = ["com", "net", "io", "ms", "us", "cn", "org"];

/// What upstreams say of one zone's way to the root.
pub(super) struct Way {
    pub(super) pair: Pair,
    /// From the top-level domain down to the public zone: what is said of its DS.
    pub(super) steps: Vec<(Name, Outcome)>,
}

/// The names whose DS matters for `zone`, from the top-level domain down.
pub(super) fn steps(zone: &Name) -> Vec<Name> {
    let mut names: Vec<_> = std::iter::successors(Some(zone.clone()), Name::parent)
        .filter(|name| name.label_count() > 0)
        .collect();
    names.reverse();
    names
}

impl Way {
    pub(super) fn finding(&self) -> Finding {
        let Pair { public, .. } = &self.pair;
        let about = format!("DNSSEC above {public}");
        let has_ds = |outcome: &Outcome| outcome.as_ref().is_ok_and(|seen| seen.has_ds);
        let mut signed =
            self.steps.iter().filter(|(_, outcome)| has_ds(outcome)).map(|(name, _)| name);
        if let Some(name) = signed.rfind(|name| name.label_count() > 1) {
            let found = format!(
                "{name} has a DS record, so its zone is signed: a resolver that validates may take \
                 our answers for forged, and says SERVFAIL; tell it not to validate here"
            );
            return Finding::warning("ds-present", about, found)
                .advise_all(trust_no_signatures(&self.pair));
        }
        let unknown = |why: String| {
            let found = format!("whether validators may object is not known: {why}");
            Finding::warning("ds-unknown", about.clone(), found)
                .advise(format!("ask elsewhere: privatelinkd query {public} DS @1.1.1.1 --dnssec"))
        };
        let answered = |outcome: &Outcome| {
            let rcode = outcome.as_ref().map(|seen| seen.rcode);
            matches!(rcode, Ok(Rcode::NOERROR | Rcode::NXDOMAIN))
        };
        if let Some((name, outcome)) = self.steps.iter().find(|(_, outcome)| !answered(outcome)) {
            return unknown(format!("DS of {name}: {}", in_words(outcome)));
        }
        match self.steps.first() {
            Some((top, outcome))
                if !has_ds(outcome) && SIGNED.iter().any(|s| *top.to_string() == **s) =>
            {
                unknown(format!(
                    "the upstream gives no DS for {top}, which has one: it leaves DNSSEC out"
                ))
            }
            _ => Finding::fine(
                "ds",
                about,
                "no DS record below the top-level domain: unsigned, no validator objects to our \
                 answers",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;
    use crate::doctor::remedies::defender;
    use crate::doctor::seen::{Seen, Silence};

    /// `d`: DS, `n`: none, `s`: SERVFAIL, `x`: silence; from the top down.
    fn way(outcomes: &str) -> Finding {
        let pair = defender();
        let outcome = |letter| match letter {
            'd' => Ok(Seen { has_ds: true, ..Seen::default() }),
            'n' => Ok(Seen::default()),
            's' => Ok(Seen { rcode: Rcode::SERVFAIL, ..Seen::default() }),
            _ => Err(Silence::NotAsked),
        };
        let names = steps(&pair.public);
        assert_eq!(names.len(), outcomes.len());
        Way { steps: names.into_iter().zip(outcomes.chars().map(outcome)).collect(), pair }
            .finding()
    }

    #[test]
    fn steps_go_from_the_top_down() {
        let names: Vec<_> = steps(&defender().public).iter().map(ToString::to_string).collect();
        let expected = ["com", "microsoft.com", "defender.microsoft.com"];
        assert_eq!(names[..3], expected);
    }

    #[test]
    fn only_what_is_signed_below_the_top_matters() {
        let fine = way("dnnn");
        assert_eq!((fine.severity, fine.check), (Severity::Fine, "ds"));
        let signed = way("ddnn");
        assert_eq!((signed.severity, signed.check), (Severity::Warning, "ds-present"));
        assert!(signed.found.starts_with("microsoft.com has a DS"), "{}", signed.found);
        assert!(signed.advice[0].contains("domain-insecure"), "{:?}", signed.advice);
        assert!(way("dddn").found.starts_with("defender.microsoft.com has"));
    }

    #[test]
    fn what_nobody_says_is_not_taken_for_unsigned() {
        let silent = way("dxnn");
        assert_eq!((silent.severity, silent.check), (Severity::Warning, "ds-unknown"));
        assert!(way("dnns").found.contains("DS of cloud.defender.microsoft.com: SERVFAIL"));
        let stripped = way("nnnn");
        assert!(stripped.found.contains("no DS for com, which has one"), "{}", stripped.found);
        // What is known to be signed is, whatever else is not known.
        assert_eq!(way("xdxx").check, "ds-present");
    }
}
