//! What Azure has, by name and by address.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use super::absence::{Coverage, Proof};
use super::pairs::{Names, Pairs};
use super::report::Expected;
use crate::azure::{Endpoint, Hints, Inventory, LeftOut, Record};
use crate::catalog::{self, Service};
use crate::config::PrivateLink;
use crate::wire::Name;

/// What people publish themselves: Azure has no zone for its endpoints, so they have names in zones
/// that people made up, or none.
const WITHOUT_ZONES: [&str; 2] =
    ["Microsoft.Network/privateLinkServices", "Microsoft.Network/applicationGateways"];

/// A name of Azure's files, its counterparts, and its addresses.
pub(super) struct Subject {
    pub names: Names,
    /// The public names that the files themselves have.
    pub said: Vec<Name>,
    /// One for each approved endpoint, and place that says so differently.
    pub azure: Vec<Expected>,
    /// Why endpoints that have it too are left out.
    pub left_out: Vec<String>,
}

/// Everything that the files say.
pub(super) struct Known {
    /// By name.
    pub subjects: Vec<Subject>,
    /// What stands for a name and is none, in words.
    pub nameless: Vec<String>,
    pub pairs: Pairs,
    pub coverage: Coverage,
    /// Of zones in which the files have no name.
    pub proof: Proof,
    by_name: HashMap<Name, usize>,
    /// Approved addresses, with the endpoint and the name of one that has each.
    approved: HashMap<IpAddr, String>,
    /// Addresses of endpoints that are left out, with the reason.
    left_out: HashMap<IpAddr, String>,
    /// Endpoints that may carry traffic and whose names no file tells, with the reason.
    mute: HashMap<String, String>,
    /// The kinds of those, each with the reason of one: there may be thousands of endpoints, and are
    /// few kinds.
    mute_kinds: BTreeMap<Kind, String>,
    /// Endpoints that carry no traffic and whose names no file tells, with the reason.
    unfit: HashMap<String, String>,
    /// Names of which the files say what cannot be true at once.
    doubtful: HashSet<Name>,
    /// Every name that a name of the files lies in.
    covered: HashSet<Name>,
}

impl Known {
    pub(super) fn new(inventory: &Inventory, links: &[PrivateLink], coverage: Coverage) -> Self {
        let mut known = Self {
            subjects: Vec::new(),
            nameless: Vec::new(),
            pairs: Pairs::new(links, &inventory.pairs),
            coverage,
            proof: Proof::new(&inventory.lists, coverage),
            by_name: HashMap::new(),
            approved: HashMap::new(),
            left_out: HashMap::new(),
            mute: HashMap::new(),
            mute_kinds: BTreeMap::new(),
            unfit: HashMap::new(),
            doubtful: HashSet::new(),
            covered: HashSet::new(),
        };
        let mut subjects: BTreeMap<Name, Subject> = BTreeMap::new();
        for endpoint in &inventory.endpoints {
            for record in &endpoint.records {
                let Some(subject) = known.subject(&mut subjects, endpoint, record, inventory)
                else {
                    continue;
                };
                let expected = expected(endpoint, record);
                let same = |other: &Expected| {
                    (&other.endpoint, &other.addresses) == (&expected.endpoint, &expected.addresses)
                };
                if !subject.azure.iter().any(same) {
                    subject.azure.push(expected);
                }
                for address in &record.addresses {
                    let whose = format!("{} for {}", endpoint.title(), record.fqdn);
                    known.approved.entry(*address).or_insert(whose);
                }
            }
        }
        for left_out in &inventory.left_out {
            known.leave_out(&mut subjects, left_out, inventory);
        }
        for fqdn in &inventory.doubtful {
            let names =
                fqdn.parse().ok().map(|name| known.names(fqdn, &name, inventory, Hints::default()));
            known.doubtful.extend(names.iter().flat_map(Names::iter).cloned());
        }
        known.index(subjects);
        known
    }

    fn leave_out(
        &mut self,
        subjects: &mut BTreeMap<Name, Subject>,
        left_out: &LeftOut,
        inventory: &Inventory,
    ) {
        let LeftOut { endpoint, why, is_unfit } = left_out;
        let why = format!("endpoint {}: {why}", endpoint.title());
        for record in &endpoint.records {
            let Some(subject) = self.subject(subjects, endpoint, record, inventory) else {
                continue;
            };
            if !subject.left_out.contains(&why) {
                subject.left_out.push(why.clone());
            }
            for address in &record.addresses {
                self.left_out.entry(*address).or_insert_with(|| why.clone());
            }
        }
        if !endpoint.records.is_empty() {
            return;
        }
        if *is_unfit {
            self.unfit.insert(endpoint.name.clone(), why);
        } else {
            self.mute_kinds.entry(Kind::of(endpoint)).or_insert_with(|| why.clone());
            self.mute.insert(endpoint.name.clone(), why);
        }
    }

    /// The names that go with a name of the files.
    fn names(&self, fqdn: &str, name: &Name, inventory: &Inventory, hints: Hints<'_>) -> Names {
        match inventory.homes.get(fqdn) {
            Some(home) => self.pairs.of_record(name, home.as_ref(), hints),
            None => self.pairs.names(name, hints),
        }
    }

    /// The subject that a record is about.
    fn subject<'s>(
        &mut self,
        subjects: &'s mut BTreeMap<Name, Subject>,
        endpoint: &Endpoint,
        record: &Record,
        inventory: &Inventory,
    ) -> Option<&'s mut Subject> {
        let name: Option<Name> = record.fqdn.parse().ok();
        let Endpoint { resource_type, group_ids, .. } = endpoint;
        let hints = Hints { resource_type: resource_type.as_deref(), group_ids };
        let names = name.as_ref().map(|name| self.names(&record.fqdn, name, inventory, hints));
        let key = names.as_ref().and_then(Names::key).cloned();
        let (Some(name), Some(names), Some(key)) = (name, names, key) else {
            self.nameless.push(format!("{}: {:?} is no domain name", record.source, record.fqdn));
            return None;
        };
        let none = Names { publics: Vec::new(), private: None };
        let subject = subjects.entry(key).or_insert_with(|| Subject {
            names: none,
            said: Vec::new(),
            azure: Vec::new(),
            left_out: Vec::new(),
        });
        if names.publics.contains(&name) && !subject.said.contains(&name) {
            subject.said.push(name);
        }
        subject.names.merge(names);
        Some(subject)
    }

    fn index(&mut self, subjects: BTreeMap<Name, Subject>) {
        self.subjects = subjects.into_values().collect();
        for (index, subject) in self.subjects.iter().enumerate() {
            for name in subject.names.iter() {
                self.by_name.entry(name.clone()).or_insert(index);
                let mut above = name.parent();
                while let Some(zone) = above.take_if(|zone| !self.covered.contains(zone)) {
                    above = zone.parent();
                    self.covered.insert(zone);
                }
            }
        }
    }

    /// Whether the files have any of these names.
    pub(super) fn has_any(&self, names: &Names) -> bool {
        names.iter().any(|name| self.by_name.contains_key(name))
    }

    /// What Azure has for `name`: that very name, or the wildcard nearest above it.
    pub(super) fn find(&self, name: &Name) -> Option<&Subject> {
        let mut index = self.by_name.get(name);
        let mut above = name.parent();
        while let (None, Some(zone)) = (index, above) {
            let wildcard = Name::from_wire(&[b"\x01*", zone.as_wire()].concat());
            index = wildcard.ok().and_then(|wildcard| self.by_name.get(&wildcard));
            above = zone.parent();
        }
        self.subjects.get(*index?)
    }

    /// Whether the files have anything below `zone`; if not, they prove nothing of it.
    pub(super) fn covers(&self, zone: &Name) -> bool {
        self.covered.contains(zone)
    }

    /// Which endpoint and name has this address; `None` if no approved one has it.
    pub(super) fn owner(&self, address: IpAddr) -> Option<&str> {
        self.approved.get(&address).map(String::as_str)
    }

    /// Why the endpoint that has this address is left out.
    pub(super) fn why_left_out(&self, address: IpAddr) -> Option<&str> {
        self.left_out.get(&address).map(String::as_str)
    }

    /// Why the files may lack a private name though Azure has it at an endpoint that the
    /// configuration calls `endpoint`; `None`: they would have it.
    pub(super) fn why_lacking(&self, private: &Name, endpoint: &str) -> Option<&str> {
        if self.doubtful.contains(private) {
            return Some("they say different things of it, so that its endpoint is not known");
        }
        let by_name = self.mute.get(endpoint);
        let by_kind = || self.mute_kinds.iter().find(|(kind, _)| kind.may_have(private));
        by_name.or_else(|| by_kind().map(|(_, why)| why)).map(String::as_str)
    }

    /// Why the endpoint that the configuration calls `endpoint` carries no traffic, where the files
    /// say it of one of this name without telling its names.
    pub(super) fn why_unfit(&self, endpoint: &str) -> Option<&str> {
        self.unfit.get(endpoint).map(String::as_str)
    }
}

/// What tells which names an endpoint may have.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    resource_type: Option<String>,
    group_ids: Vec<String>,
}

impl Kind {
    fn of(endpoint: &Endpoint) -> Self {
        let Endpoint { resource_type, group_ids, .. } = endpoint.clone();
        Self { resource_type, group_ids }
    }

    /// Whether an endpoint of this kind may have the private name.
    fn may_have(&self, private: &Name) -> bool {
        let Self { resource_type, group_ids } = self;
        if resource_type.is_none() && group_ids.is_empty() {
            return true;
        }
        let among = |known: &[&str], one: &str| known.iter().any(|it| it.eq_ignore_ascii_case(one));
        if resource_type.as_deref().is_some_and(|kind| among(&WITHOUT_ZONES, kind)) {
            return catalog::places(&private.to_string()).is_empty();
        }
        let is_of = |service: &Service| {
            let kind = resource_type.as_deref();
            kind.is_none_or(|kind| service.has_resource_type(kind))
                && (group_ids.is_empty() || group_ids.iter().any(|id| among(service.group_ids, id)))
        };
        // One that the catalogue lacks may have names in any zone.
        !catalog::services().iter().any(is_of)
            || catalog::places(&private.to_string()).iter().any(|place| is_of(place.service))
    }
}

fn expected(endpoint: &Endpoint, record: &Record) -> Expected {
    let mut addresses = record.addresses.clone();
    addresses.sort_unstable();
    addresses.dedup();
    Expected { endpoint: endpoint.title().to_owned(), addresses, source: record.source.clone() }
}
