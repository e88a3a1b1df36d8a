//! Whether validators may object to what we make up: the DS records from a public zone up to its
//! top-level domain.

use super::finding::Finding;
use super::remedies::{Pair, trust_no_signatures};
use super::seen::{Outcome, in_words};
use crate::wire::{Name, Rcode};

/// Top-level domains of Azure's zones of which it is known that they are signed: an upstream that
/// says otherwise gives no DNSSEC records at all.
const SIGNED: [&str; 7] = ["com", "net", "io", "ms", "us", "cn", "org"];

/// Most zones, and names, that a finding about several repeats.
const MAX_NAMES_SHOWN: usize = 4;

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

/// What it means for each way. What is not known for the same reason is one finding: one silent
/// upstream is no news about each zone.
pub(super) fn findings(ways: &[Way]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut unknown: Vec<Unknown> = Vec::new();
    for way in ways {
        match way.verdict() {
            Ok(finding) => findings.push(finding),
            Err(one) => match unknown.iter_mut().find(|other| other.why == one.why) {
                Some(other) => other.merge(one),
                None => unknown.push(one),
            },
        }
    }
    findings.extend(unknown.iter().map(Unknown::finding));
    findings
}

/// Why nothing is known of the ways of some zones.
struct Unknown {
    zones: Vec<Name>,
    /// Whose DS is lacking.
    names: Vec<Name>,
    why: Why,
}

#[derive(PartialEq, Eq)]
enum Why {
    /// This came in its place.
    Came(String),
    /// The upstream denies what is known to be there.
    Denied,
}

impl Unknown {
    fn merge(&mut self, other: Self) {
        self.zones.extend(other.zones);
        for name in other.names {
            if !self.names.contains(&name) {
                self.names.push(name);
            }
        }
    }

    fn finding(&self) -> Finding {
        let words = |names: &[Name]| {
            let mut words: Vec<_> =
                names.iter().take(MAX_NAMES_SHOWN).map(ToString::to_string).collect();
            if let Some(more) = names.len().checked_sub(MAX_NAMES_SHOWN).filter(|more| *more > 0) {
                words.push(format!("{more} more"));
            }
            words.join(", ")
        };
        let names = words(&self.names);
        let why = match &self.why {
            Why::Came(what) => format!("DS of {names}: {what}"),
            Why::Denied => {
                format!(
                    "the upstream gives no DS for {names}, where there is one: it leaves DNSSEC out"
                )
            }
        };
        let found = format!("whether validators may object is not known: {why}");
        let about = format!("DNSSEC above {}", words(&self.zones));
        let lines = self.zones.iter().take(1);
        let lines = lines
            .map(|zone| format!("ask elsewhere: privatelinkd query {zone} DS @1.1.1.1 --dnssec"));
        Finding::warning("ds-unknown", about, found).advise_all(lines)
    }
}

impl Way {
    fn verdict(&self) -> Result<Finding, Unknown> {
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
            return Ok(Finding::warning("ds-present", about, found)
                .advise_all(trust_no_signatures(&self.pair)));
        }
        let unknown = |name: &Name, why: Why| {
            Err(Unknown { zones: vec![public.clone()], names: vec![name.clone()], why })
        };
        let answered = |outcome: &Outcome| {
            let rcode = outcome.as_ref().map(|seen| seen.rcode);
            matches!(rcode, Ok(Rcode::NOERROR | Rcode::NXDOMAIN))
        };
        if let Some((name, outcome)) = self.steps.iter().find(|(_, outcome)| !answered(outcome)) {
            return unknown(name, Why::Came(in_words(outcome)));
        }
        match self.steps.first() {
            Some((top, outcome))
                if !has_ds(outcome) && SIGNED.iter().any(|s| *top.to_string() == **s) =>
            {
                unknown(top, Why::Denied)
            }
            _ => Ok(Finding::fine(
                "ds",
                about,
                "no DS record below the top-level domain: unsigned, no validator objects to our \
                 answers",
            )),
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
        let steps = names.into_iter().zip(outcomes.chars().map(outcome)).collect();
        let [finding] = findings(&[Way { steps, pair }]).try_into().expect("one");
        finding
    }

    #[test]
    fn what_is_unknown_for_one_reason_is_told_once() {
        let of = |zone: &str, outcome: &Outcome| {
            let public: Name = zone.parse().unwrap();
            let steps = steps(&public).into_iter().map(|name| (name, outcome.clone())).collect();
            Way { pair: Pair { private: public.clone(), public }, steps }
        };
        let silent = Err(Silence::NotAsked);
        let stripped = Ok(Seen::default());
        let mut ways = vec![of("a.test.com", &silent), of("b.test.net", &stripped)];
        ways.extend(["c.com", "d.net", "e.com", "f.com"].map(|zone| of(zone, &silent)));
        let told = findings(&ways);
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[0].about, "DNSSEC above a.test.com, c.com, d.net, e.com, 1 more");
        assert!(told[0].found.contains("DS of com, net: not asked"), "{}", told[0].found);
        assert_eq!(told[0].advice.len(), 1);
        assert!(told[1].found.contains("no DS for net, where there is one"), "{}", told[1].found);
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
        assert!(stripped.found.contains("no DS for com, where there is one"), "{}", stripped.found);
        // What is known to be signed is, whatever else is not known.
        assert_eq!(way("xdxx").check, "ds-present");
    }
}
