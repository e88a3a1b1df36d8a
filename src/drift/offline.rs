//! What the configuration answers, asked of the real decision for every name and class of clients.

use std::net::IpAddr;

use super::answered::{Answered, Outcome};
use super::clients::{Class, classes};
use super::configured::{Listed, Listing, Stranger, Wildcard};
use super::judge::{Case, listed};
use super::known::Known;
use super::pairs::Names;
use super::report::{Finding, Kind, Report};
use crate::config::Config;
use crate::engine::{self, Ask, Snapshot, Step, Verdict};
use crate::wire::{Name, Rtype};

pub(super) fn compare(
    config: &Config,
    snapshot: &Snapshot,
    known: &Known,
    listed: &Listed,
    report: &mut Report,
) {
    let (classes, silent) = classes(config);
    report.compared.clients = classes.iter().map(|class| class.words.clone()).collect();
    report.not_compared.extend(
        silent
            .iter()
            .map(|site| format!("site {site}: [access] allow lets none of its clients ask")),
    );
    report.not_compared.extend(listed.unproven.iter().cloned());
    let asking = Asking { snapshot, classes: &classes };
    for subject in &known.subjects {
        let listings = listed.of(&subject.names);
        let case = Case { known, subject: Some(subject), listings, gone: None, live: false };
        report.findings.extend(asking.compare(&case, &subject.names));
    }
    for Stranger { names, gone } in &listed.strangers {
        let subject = names.iter().find_map(|name| known.find(name));
        let (listings, gone) = (listed.of(names), gone.as_deref());
        let case = Case { known, subject, listings, gone, live: false };
        report.findings.extend(asking.compare(&case, names));
    }
    let stale = listed.wildcards.iter().filter_map(|wildcard| asking.stale(wildcard, known));
    report.findings.extend(stale);
}

/// Whom to ask, and as whom.
struct Asking<'a> {
    snapshot: &'a Snapshot,
    classes: &'a [Class],
}

/// What some clients get for a name, and what is wrong with it.
#[derive(Clone, PartialEq)]
struct Wrong {
    kind: Kind,
    why: String,
    answered: Answered,
    configured: Option<String>,
    /// Indices into the classes.
    classes: Vec<usize>,
}

impl Asking<'_> {
    /// Asks for all `names` as every class; what is wrong in the same way is one finding.
    fn compare(&self, case: &Case<'_>, names: &Names) -> Vec<Finding> {
        let mut wrongs: Vec<(Wrong, Vec<String>)> = Vec::new();
        for name in names.iter() {
            for wrong in self.wrongs(case, name) {
                match wrongs.iter_mut().find(|(same, _)| *same == wrong) {
                    Some((_, names)) => names.push(name.to_string()),
                    None => wrongs.push((wrong, vec![name.to_string()])),
                }
            }
        }
        let azure = case.subject.map_or_else(Vec::new, |subject| subject.azure.clone());
        let unused = self.unused(case, &wrongs);
        let mut findings: Vec<Finding> = wrongs
            .into_iter()
            .map(|(wrong, names)| Finding {
                kind: wrong.kind,
                names,
                asked: self.words(&wrong.classes),
                azure: azure.clone(),
                answered: wrong.answered,
                configured: wrong.configured,
                why: wrong.why,
            })
            .collect();
        findings.extend(unused.into_iter().map(|(listing, kind, why)| Finding {
            kind,
            names: names.iter().map(Name::to_string).collect(),
            asked: vec!["nobody now".to_owned()],
            azure: azure.clone(),
            answered: Answered::with(listing.addresses.clone()),
            configured: Some(format!("endpoint {}", listing.endpoint)),
            why: format!("{why}; it is second choice for everybody"),
        }));
        findings
    }

    /// What is wrong with the answers for one name.
    fn wrongs(&self, case: &Case<'_>, name: &Name) -> Vec<Wrong> {
        let mut wrongs: Vec<Wrong> = Vec::new();
        for (index, class) in self.classes.iter().enumerate() {
            let answered = self.ask(class.client, name);
            let Some((kind, why)) = case.judge(&answered) else { continue };
            let configured = self.configured(class.client, name);
            let wrong = Wrong { kind, why, answered, configured, classes: Vec::new() };
            let same = |other: &&mut Wrong| {
                (other.kind, &other.answered, &other.configured)
                    == (wrong.kind, &wrong.answered, &wrong.configured)
            };
            match wrongs.iter_mut().find(same) {
                Some(other) => other.classes.push(index),
                None => wrongs.push(Wrong { classes: vec![index], ..wrong }),
            }
        }
        wrongs
    }

    /// Wrong listings that no class is answered from while all endpoints are up.
    fn unused<'k>(
        &self,
        case: &Case<'k>,
        wrongs: &[(Wrong, Vec<String>)],
    ) -> Vec<(&'k Listing, Kind, String)> {
        let used = |listing: &&Listing| {
            wrongs.iter().any(|(wrong, _)| wrong.answered.addresses == listing.addresses)
        };
        let unused = case.listings.iter().filter(|listing| !used(listing));
        let judged = unused.filter_map(|listing| {
            let (kind, why) = case.judge(&Answered::with(listing.addresses.clone()))?;
            Some((listing, kind, why))
        });
        judged.collect()
    }

    /// What `client` gets for `name`.
    fn ask(&self, client: IpAddr, name: &Name) -> Answered {
        Answered::gather(|rtype| {
            let (verdict, reply) = self.snapshot.try_query(client, name, rtype);
            match verdict {
                Verdict::Reply(engine::Outcome::Private) => Answered::read(&reply, name, rtype)
                    .unwrap_or_else(|error| Outcome::Failed(error.to_string()).into()),
                Verdict::Reply(engine::Outcome::Refused) => Outcome::Refused.into(),
                Verdict::Reply(_) => Outcome::Failed("no private answer".to_owned()).into(),
                Verdict::Drop(_) => Outcome::Dropped.into(),
                Verdict::Forward => Outcome::Forwarded.into(),
            }
        })
    }

    /// What in the configuration makes the answer.
    fn configured(&self, client: IpAddr, name: &Name) -> Option<String> {
        let ask = Ask { name: name.clone(), rtype: Rtype::A, client, dnssec: false };
        let steps = self.snapshot.explain(&ask, false).ok()?.steps;
        let words = |step: &Step| match step {
            Step::Endpoint { endpoint, wildcard: false, .. } => {
                Some(format!("endpoint {endpoint}"))
            }
            Step::Endpoint { endpoint, .. } => Some(format!("wildcard of endpoint {endpoint}")),
            Step::Zone { private_zone, .. } => Some(format!("zone {private_zone}")),
            Step::NoZone => Some("no private-link zone".to_owned()),
            _ => None,
        };
        // The later a step, the more it says.
        steps.iter().rev().find_map(words)
    }

    /// A wildcard with an address that no approved endpoint has.
    fn stale(&self, wildcard: &Wildcard, known: &Known) -> Option<Finding> {
        let Wildcard { names, listing, sites, gone } = wildcard;
        let addresses = listing.addresses.iter().copied();
        let strangers: Vec<_> = addresses.filter(|ip| known.owner(*ip).is_none()).collect();
        strangers.first()?;
        let left_out = |ip: &IpAddr| Some(format!("{ip} is of {}", known.why_left_out(*ip)?));
        let unowned =
            || format!("no approved endpoint of the files has {}", self::listed(&strangers));
        let why = strangers.iter().find_map(left_out).unwrap_or_else(|| match gone {
            Some(gone) => format!("{gone}; {}", unowned()),
            None => unowned(),
        });
        let of_sites = |class: &Class| class.site.is_some_and(|site| sites.contains(&site));
        let classes = self.classes.iter().enumerate();
        let classes = classes.filter(|(_, class)| sites.is_empty() || of_sites(class));
        Some(Finding {
            kind: Kind::Stale,
            names: names.clone(),
            asked: self.words(&classes.map(|(index, _)| index).collect::<Vec<_>>()),
            azure: Vec::new(),
            answered: Answered::with(listing.addresses.clone()),
            configured: Some(format!("wildcard of endpoint {}", listing.endpoint)),
            why,
        })
    }

    /// These classes in words.
    fn words(&self, classes: &[usize]) -> Vec<String> {
        if classes.len() == self.classes.len() {
            return vec!["every client".to_owned()];
        }
        let words = classes.iter().filter_map(|index| self.classes.get(*index));
        words.map(|class| class.words.clone()).collect()
    }
}
