//! Listing one name changes what no other name is answered with, for every service of the catalogue
//! in every cloud, for each of its pairs of zones and each shape that Azure's names have.
//!
//! Other tenants have names in these zones, also above ours (`api.fabric.microsoft.com` above a
//! workspace's name). So all of them are forwarded. Where an upstream denies one that a name of ours
//! lies below, the client hears NODATA: a resolver that asks label by label must still come to ours.

#[path = "../benches/workload/messages.rs"]
#[allow(dead_code, reason = "the benches use the rest")]
mod messages;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use privatelinkd::app;
use privatelinkd::catalog::{self, Role, Service};
use privatelinkd::config;
use privatelinkd::engine::{Outcome, Shown, Snapshot, Verdict};
use privatelinkd::wire::{Rcode, Rtype};

use messages::{Said, keep, query, soa};

/// What stands in front of a public zone: one label to four, as Azure's names have them.
const SHAPES: [&str; 4] = ["x", "x.westeurope", "x.scm", "id.z0a.w.api"];
const ADDRESS: &str = "10.1.0.5";
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A pair of a service, its variables replaced.
struct Pair {
    public: String,
    private: String,
}

fn pairs(service: &Service) -> Vec<Pair> {
    let value = |variable: &str| Some(catalog::example_value(variable));
    let zone = |pair: &catalog::Pair, role| pair.filled(role, value).expect("every variable");
    let pair = |pair| Pair { public: zone(pair, Role::Public), private: zone(pair, Role::Private) };
    service.pairs.iter().map(pair).collect()
}

/// What `name` has in front of `zone`.
fn in_front_of<'n>(name: &'n str, zone: &str) -> Option<&'n str> {
    name.strip_suffix(zone)?.strip_suffix('.')
}

/// One listed name, and what is ours because of it.
struct World {
    snapshot: Snapshot,
    /// The listed name in each zone that has it.
    listed: BTreeSet<String>,
    /// Private zones: they have no names of others at their own name.
    private_zones: BTreeSet<String>,
}

impl World {
    /// A configuration that names `service` and lists `shape` in its pair `at`.
    fn new(service: &Service, pairs: &[Pair], at: usize, shape: &str) -> Self {
        let whole = format!("{shape}.{}", pairs[at].public);
        let is_one = service.has_one_private_zone();
        // A whole name stands in the deepest zone of the service, and in all that share its private
        // one.
        let holds = |pair: &&Pair| is_one || in_front_of(&whole, &pair.public).is_some();
        let of = pairs.iter().filter(holds).max_by_key(|pair| pair.public.len());
        let of = if is_one { &pairs[at] } else { of.expect("its own, at least") };
        let front = in_front_of(&whole, &of.public).expect("a part");
        let live = || pairs.iter().filter(|pair| pair.private == of.private);
        let zones = live().flat_map(|pair| [&pair.public, &pair.private]);
        let listed = zones.map(|zone| format!("{front}.{zone}")).collect();
        let text = toml(service, if is_one { shape } else { &whole });
        let report = config::read(&text);
        let config = report.config.unwrap_or_else(|| panic!("{:?}: {text}", report.diagnostics));
        Self {
            snapshot: app::build(&config, &config.listen.dns, None).expect("no upstream is us"),
            listed,
            private_zones: live().map(|pair| pair.private.clone()).collect(),
        }
    }

    fn ask(&self, name: &str) -> (Verdict, Vec<u8>) {
        self.snapshot.try_query(CLIENT, &name.parse().expect("a name"), Rtype::A)
    }

    /// Names around the listed ones: above, beside and below them, and the zones' own.
    fn neighbours(&self, pairs: &[Pair]) -> BTreeSet<String> {
        let mut all: BTreeSet<String> = BTreeSet::new();
        all.insert(".".to_owned());
        for listed in &self.listed {
            all.insert(format!("child.{listed}"));
            all.insert(format!("a.child.{listed}"));
            let mut above = listed.as_str();
            while let Some((label, rest)) = above.split_once('.') {
                all.extend([rest.to_owned(), format!("other.{rest}"), format!("{label}x.{rest}")]);
                above = rest;
            }
        }
        let zones = pairs.iter().flat_map(|pair| [&pair.public, &pair.private]);
        all.extend(zones.cloned());
        all.retain(|name| !self.listed.contains(name) && !self.private_zones.contains(name));
        all
    }

    /// Whether a name of ours lies below `name`.
    fn is_above_ours(&self, name: &str) -> bool {
        let mut ours = self.listed.iter().chain(&self.private_zones);
        name == "." || ours.any(|ours| in_front_of(ours, name).is_some())
    }
}

fn toml(service: &Service, listed: &str) -> String {
    let variables = service.variables().into_iter();
    let variables = variables.map(|name| format!("{name} = '{}'", catalog::example_value(name)));
    let variables = variables.collect::<Vec<_>>().join(", ");
    // Without other tenants, the default is to answer every name ourselves.
    let unlisted = if service.other_tenants { "" } else { "unlisted = 'forward'\n" };
    format!(
        "[listen]\ndns = ['127.0.0.1:5300']\n[cache]\nsize = '1MiB'\n\
         [[private-link]]\nservice = '{}'\ncloud = '{}'\n{unlisted}variables = {{ {variables} }}\n\
         [[private-link.endpoint]]\nname = 'hub'\nnames = {{ '{listed}' = ['{ADDRESS}'] }}\n\
         [[forward]]\nzones = ['.']\nupstreams = ['127.0.0.1:1']\n",
        service.name, service.cloud
    )
}

/// What was looked at.
#[derive(Default)]
struct Seen {
    services: usize,
    by_default: usize,
    pairs: usize,
    worlds: usize,
    forwarded: usize,
    nodata: usize,
    nxdomain: usize,
}

/// Holds every name around the listed one against what it must get.
fn look(world: &World, pairs: &[Pair], seen: &mut Seen, wrong: &mut Vec<String>) {
    for name in &world.listed {
        let (verdict, reply) = world.ask(name);
        let reply = if verdict == Verdict::Reply(Outcome::Private) { reply } else { Vec::new() };
        let answer = Shown::read(&reply).map(|shown| shown.lines("")).unwrap_or_default();
        if !answer.contains(&format!(" A {ADDRESS}")) {
            wrong.push(format!("{name} is not ours: {verdict:?} {answer}"));
        }
    }
    for name in world.neighbours(pairs) {
        let (verdict, _) = world.ask(&name);
        if verdict != Verdict::Forward {
            wrong.push(format!("{name} beside {:?}: {verdict:?}", world.listed));
            continue;
        }
        seen.forwarded += 1;
        let denial = [(Rtype::SOA, soa())];
        let rcode = u8::try_from(Rcode::NXDOMAIN.0).expect("four bits");
        let said = Said { rcode, answers: &[], authorities: &denial };
        // As try_query asks: with EDNS.
        let asked = messages::with_edns(query(&name, Rtype::A), 0);
        keep(&world.snapshot, &asked, &said, false);
        let (verdict, reply) = world.ask(&name);
        let shown = Shown::read(&reply).expect("a reply");
        let expected = if world.is_above_ours(&name) { "NOERROR" } else { "NXDOMAIN" };
        let is_right = verdict == Verdict::Reply(Outcome::Cached)
            && shown.rcode == expected
            && shown.answer.is_empty()
            && shown.authority.len() == 1;
        if !is_right {
            wrong.push(format!("{name} denied beside {:?}: {shown:?}", world.listed));
        } else if expected == "NOERROR" {
            seen.nodata += 1;
        } else {
            seen.nxdomain += 1;
        }
    }
}

#[test]
fn listing_one_name_changes_the_answer_of_no_other_name() {
    let (mut seen, mut wrong) = (Seen::default(), Vec::new());
    for service in catalog::services() {
        let pairs = pairs(service);
        for at in 0..pairs.len() {
            for shape in SHAPES {
                look(&World::new(service, &pairs, at, shape), &pairs, &mut seen, &mut wrong);
                seen.worlds += 1;
            }
            seen.pairs += 1;
        }
        seen.by_default += usize::from(service.other_tenants);
        seen.services += 1;
    }
    let count = wrong.len();
    wrong.truncate(20);
    assert!(wrong.is_empty(), "{count} wrong:\n{}", wrong.join("\n"));
    // Fewer than the table has rows for, and the catalogue was not read.
    assert_eq!(seen.services, catalog::services().len());
    assert!(seen.services >= 150, "{} services", seen.services);
    assert!(seen.by_default >= 140, "{} services forward by default", seen.by_default);
    assert_eq!(seen.pairs, catalog::services().iter().map(|one| one.pairs.len()).sum::<usize>());
    assert_eq!(seen.worlds, SHAPES.len() * seen.pairs);
    // Each world has five names above ours at the least, and three beside and below them.
    assert!(seen.nodata >= 5 * seen.worlds, "{} NODATA", seen.nodata);
    assert!(seen.nxdomain >= 3 * seen.worlds, "{} NXDOMAIN", seen.nxdomain);
    assert_eq!(seen.forwarded, seen.nodata + seen.nxdomain);
}
