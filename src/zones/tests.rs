use super::*;
use crate::config::testing::{defender, endpoint};
use crate::config::{self, PrivateLink};

const P: &str = "cloud.defender.microsoft.com";
const Q: &str = "privatelink.cloud.defender.microsoft.com";

fn qname(text: &str) -> QName {
    QName::from(&text.parse::<Name>().expect("a name"))
}

fn hub(unlisted: Unlisted) -> Zones {
    let mut link = config::testing::minimal().private_links.remove(0);
    link.unlisted = unlisted;
    Zones::new(&[link])
}

/// Role and place of `name`, in words.
fn place(zones: &Zones, name: &str) -> String {
    let Some(found) = zones.find(&qname(name)) else { return "none".to_owned() };
    let place = match found.place {
        Place::Apex => "apex".to_owned(),
        Place::Empty => "empty".to_owned(),
        Place::Missing => "missing".to_owned(),
        Place::Foreign => "foreign".to_owned(),
        Place::Away(_) => "away".to_owned(),
        Place::Served(mut sets) => {
            std::net::Ipv4Addr::from(sets.next().expect("an endpoint").v4[0]).to_string()
        }
    };
    format!("{:?} {} {place}", found.role, found.labels)
}

#[test]
fn every_kind_of_name_is_found_in_both_zones() {
    let zones = hub(Unlisted::Wildcard);
    for (zone, role) in [(P, "Public"), (Q, "Private")] {
        let at = |name: &str| place(&zones, &format!("{name}{zone}"));
        assert_eq!(at(""), format!("{role} 0 apex"));
        assert_eq!(at("api."), format!("{role} 1 10.1.0.5"));
        assert_eq!(at("data.westeurope."), format!("{role} 2 10.1.0.6"));
        assert_eq!(at("westeurope."), format!("{role} 1 empty"));
        assert_eq!(at("other."), format!("{role} 1 10.1.0.5"));
        assert_eq!(at("x.data.westeurope."), format!("{role} 3 10.1.0.5"));
        assert_eq!(at("x.westeurope."), format!("{role} 2 10.1.0.5"));
        assert_eq!(at("a.b.c.d."), format!("{role} 4 10.1.0.5"));
    }
    assert_eq!(place(&zones, "defender.microsoft.com"), "none");
    assert_eq!(place(&zones, "xcloud.defender.microsoft.com"), "none");
}

#[test]
fn unlisted_names_do_what_the_zone_says() {
    let missing = hub(Unlisted::Nxdomain);
    assert_eq!(place(&missing, &format!("other.{P}")), "Public 1 missing");
    assert_eq!(place(&missing, &format!("westeurope.{Q}")), "Private 1 empty");
    assert_eq!(place(&missing, &format!("api.{P}")), "Public 1 10.1.0.5");
    let foreign = hub(Unlisted::Forward);
    assert_eq!(place(&foreign, &format!("other.{Q}")), "Private 1 foreign");
    // Where the upstream has the other names, it may have one above a listed name.
    assert_eq!(place(&foreign, &format!("westeurope.{P}")), "Public 1 foreign");
    assert_eq!(place(&foreign, &format!("westeurope.{Q}")), "Private 1 foreign");
    let ours = |name: &str| foreign.find(&qname(name)).expect("a zone").is_ours();
    assert!(ours(&format!("api.{P}")) && ours(&format!("data.westeurope.{Q}")) && ours(Q));
    assert!(!ours(&format!("other.{Q}")) && !ours(&format!("westeurope.{P}")) && !ours(P));
}

/// Those of `names` that have a name of ours below them.
fn above_ours<'n>(zones: &Zones, names: &[&'n str]) -> Vec<&'n str> {
    names.iter().copied().filter(|name| zones.has_below(&qname(name))).collect()
}

#[test]
fn names_that_ours_lie_below_are_known_up_to_the_root() {
    let pair =
        |unlisted| PrivateLink { unlisted, ..sharing(0, "p", "q", &[("a.b.c", &["10.9.0.1"])]) };
    let zones = Zones::new(&[pair(Unlisted::Forward)]);
    let above = ["b.c.p.example", "c.p.example", "p.example", "example", "."];
    assert_eq!(above_ours(&zones, &above), above);
    let above = ["b.c.q.example", "c.q.example", "q.example"];
    assert_eq!(above_ours(&zones, &above), above);
    let others = ["a.b.c.p.example", "x.c.p.example", "x.a.b.c.q.example", "c.example", "org"];
    assert_eq!(above_ours(&zones, &others), [""; 0]);
    // The wildcard has names below each of these.
    let zones = Zones::new(&[pair(Unlisted::Wildcard)]);
    assert_eq!(above_ours(&zones, &others[..3]), others[..3]);
    let zones = Zones::new(&[pair(Unlisted::Nxdomain)]);
    assert_eq!(above_ours(&zones, &others), [""; 0]);
}

/// A pair may stand in the tables with no name. Its private zone is ours all the same.
#[test]
fn a_pair_that_lists_nothing_has_names_above_its_private_zone_alone() {
    let zones = Zones::new(&[sharing(0, "a.p", "b.q", &[])]);
    let names = ["a.p.example", "p.example", "b.q.example", "q.example", "example"];
    assert_eq!(above_ours(&zones, &names), ["q.example", "example"]);
}

#[test]
fn a_name_that_is_too_long_in_one_zone_has_nothing_above_it_there() {
    let label = "l".repeat(63);
    // 3 × 64 octets and the root leave room for 62 octets: for `b.p.example`, not for Q.
    let (listed, private) = (format!("{label}.{label}.{label}.b"), format!("{}.q", "m".repeat(60)));
    let zones = Zones::new(&[
        sharing(0, "p", &private, &[(&listed, &["10.9.0.1"])]),
        sharing(1, "p", "r", &[("x.b", &["10.9.0.2"]), ("y", &["10.9.0.2"])]),
    ]);
    let in_q = format!("b.{private}.example");
    assert_eq!(
        above_ours(&zones, &["b.p.example", &in_q, "b.r.example"]),
        ["b.p.example", "b.r.example"]
    );
    assert_eq!(place(&zones, &format!("{listed}.p.example")), "Public 4 10.9.0.1");
    // The first pair alone lists a name below it that stands in the shared zone.
    let zones = Zones::new(&[
        sharing(0, &private, "p", &[(&listed, &["10.9.0.1"])]),
        sharing(1, &private, "r", &[("y", &["10.9.0.2"])]),
    ]);
    assert_eq!(above_ours(&zones, &[&in_q, "b.p.example"]), ["b.p.example"]);
}

#[test]
fn the_clients_own_site_comes_first_then_every_site_then_the_file_order() {
    let zones = Zones::new(&[defender(vec![
        endpoint("paris", &[0], &["10.2.0.5"], &[("api", &["10.2.0.5"])]),
        endpoint("hub", &[], &["10.1.0.5"], &[("api", &["10.1.0.5"])]),
        endpoint("rome", &[1], &["10.3.0.5"], &[("only", &["10.3.0.7"])]),
    ])]);
    let choose = |name: &str, site: Option<usize>| {
        let found = zones.find(&qname(&format!("{name}.{P}"))).expect("a zone");
        let Place::Served(sets) = found.place else { panic!("not served") };
        let (addresses, why) = found.zone.choose(sets, site.map(SiteId)).expect("an endpoint");
        (found.zone.endpoint_name(&addresses).to_owned(), why)
    };
    assert_eq!(choose("api", Some(0)), ("paris".to_owned(), Preference::OwnSite));
    assert_eq!(choose("api", None), ("hub".to_owned(), Preference::EverySite));
    // Listed names beat the wildcard, across endpoints too.
    assert_eq!(choose("api", Some(1)), ("hub".to_owned(), Preference::EverySite));
    assert_eq!(choose("x", Some(1)), ("rome".to_owned(), Preference::OwnSite));
    assert_eq!(choose("only", Some(0)), ("rome".to_owned(), Preference::OtherSite));
}

#[test]
fn a_private_zone_elsewhere_and_zones_inside_zones() {
    let vault = PrivateLink {
        public_zone: "vault.azure.net".parse().expect("a name"),
        private_zone: "privatelink.vaultcore.azure.net".parse().expect("a name"),
        ..defender(vec![endpoint("v", &[], &["10.9.0.1"], &[])])
    };
    let inner = PrivateLink {
        public_zone: "west.vault.azure.net".parse().expect("a name"),
        private_zone: "west.privatelink.vaultcore.azure.net".parse().expect("a name"),
        ..defender(vec![endpoint("w", &[], &["10.9.0.2"], &[])])
    };
    let zones = Zones::new(&[vault, inner]);
    assert_eq!(place(&zones, "x.vault.azure.net"), "Public 1 10.9.0.1");
    assert_eq!(place(&zones, "x.west.vault.azure.net"), "Public 1 10.9.0.2");
    assert_eq!(place(&zones, "x.west.privatelink.vaultcore.azure.net"), "Private 1 10.9.0.2");
    let found = zones.find(&qname("x.vault.azure.net")).expect("a zone");
    assert_eq!(found.zone.above_public, None);
}

#[test]
fn a_listed_name_cannot_reach_into_the_private_zone() {
    // "x.privatelink" below P is a name of Q, where it is "x".
    let zones = Zones::new(&[defender(vec![endpoint(
        "e",
        &[],
        &["10.1.0.5"],
        &[("x.privatelink", &["10.1.0.9"])],
    )])]);
    assert_eq!(place(&zones, &format!("x.{Q}")), "Private 1 10.1.0.5");
    assert_eq!(place(&zones, Q), "Private 0 apex");
}

#[test]
fn what_lies_in_a_zone_inside_exists_in_the_other_zone_of_the_pair_alone() {
    let outer = PrivateLink {
        public_zone: "a.example".parse().expect("a name"),
        private_zone: "privatelink.a.example".parse().expect("a name"),
        ..defender(vec![endpoint(
            "outer",
            &[],
            &["10.9.0.1"],
            &[("x.c.d", &["10.9.0.7"]), ("y.e", &["10.9.0.8"])],
        )])
    };
    let inner = PrivateLink {
        public_zone: "c.d.a.example".parse().expect("a name"),
        private_zone: "privatelink.c.d.a.example".parse().expect("a name"),
        ..defender(vec![endpoint("inner", &[], &["10.9.0.2"], &[])])
    };
    let zones = Zones::new(&[outer, inner]);
    let at = |name: &str| place(&zones, &format!("{name}.example"));
    assert_eq!(at("x.c.d.a"), "Public 1 10.9.0.2");
    assert_eq!(at("c.d.a"), "Public 0 apex");
    assert_eq!(at("d.a"), "Public 1 10.9.0.1");
    assert_eq!(at("x.c.d.privatelink.a"), "Private 3 10.9.0.7");
    assert_eq!(at("c.d.privatelink.a"), "Private 2 empty");
    assert_eq!(at("d.privatelink.a"), "Private 1 empty");
    assert_eq!(at("e.a"), "Public 1 empty");
    assert_eq!(at("y.e.a"), "Public 2 10.9.0.8");
}

#[test]
fn a_name_has_the_addresses_of_each_endpoint_in_the_order_of_the_file() {
    let zones = Zones::new(&[defender(vec![
        endpoint("six", &[0], &["fd00::5"], &[("api", &["fd00::6", "10.1.0.6", "fd00::7"])]),
        endpoint("four", &[], &[], &[("west", &["10.1.0.9"]), ("api", &["10.1.0.8"])]),
        endpoint("both", &[1], &["10.1.0.5", "fd00::8"], &[("x.api", &["10.1.0.7"])]),
    ])]);
    let sets = |name: &str| {
        let found = zones.find(&qname(&format!("{name}.{P}"))).expect("a zone");
        let Place::Served(sets) = found.place else { panic!("not served") };
        let show = |set: Addresses<'_>| {
            let v4 = set.v4.iter().map(|ip| std::net::IpAddr::from(*ip));
            let v6 = set.v6.iter().map(|ip| std::net::IpAddr::from(*ip));
            let ips: Vec<_> = v4.chain(v6).map(|ip| ip.to_string()).collect();
            let name = found.zone.endpoint_name(&set);
            format!("{name}{} {}", if set.is_wildcard { "*" } else { "" }, ips.join(" "))
        };
        sets.map(show).collect::<Vec<_>>()
    };
    assert_eq!(sets("api"), ["six 10.1.0.6 fd00::6 fd00::7", "four 10.1.0.8"]);
    assert_eq!(sets("west"), ["four 10.1.0.9"]);
    assert_eq!(sets("x.api"), ["both 10.1.0.7"]);
    assert_eq!(sets("other"), ["six* fd00::5", "both* 10.1.0.5 fd00::8"]);
}

/// A pair of zones below `example` that forwards what is not listed, of an entry of its own.
fn sharing(entry: usize, public: &str, private: &str, names: &[(&str, &[&str])]) -> PrivateLink {
    PrivateLink {
        entry,
        public_zone: format!("{public}.example").parse().expect("a name"),
        private_zone: format!("{private}.example").parse().expect("a name"),
        unlisted: Unlisted::Forward,
        ..defender(vec![endpoint("e", &[], &[], names)])
    }
}

#[test]
fn pairs_that_share_both_zones_answer_for_each_other() {
    let zones = Zones::new(&[
        sharing(0, "p", "privatelink.p", &[("one", &["10.9.0.1"]), ("a.two", &["10.9.0.2"])]),
        sharing(1, "p", "privatelink.p", &[("two", &["10.9.0.3"]), ("x.one", &["10.9.0.4"])]),
        sharing(2, "p", "privatelink.p", &[("three", &["10.9.0.5"]), ("a.four", &["10.9.0.6"])]),
    ]);
    for (zone, role) in [("p.example", "Public"), ("privatelink.p.example", "Private")] {
        let at = |name: &str| place(&zones, &format!("{name}.{zone}"));
        assert_eq!(at("one"), format!("{role} 1 10.9.0.1"));
        // Listed beats the label above a listed name, whichever stands first.
        assert_eq!(at("two"), format!("{role} 1 10.9.0.3"));
        assert_eq!(at("x.one"), format!("{role} 2 10.9.0.4"));
        assert_eq!(at("three"), format!("{role} 1 10.9.0.5"));
        assert_eq!(at("four"), format!("{role} 1 foreign"));
        let above = ["one", "two", "three", "four", "other"].map(|name| format!("{name}.{zone}"));
        let above: Vec<_> = above.iter().map(String::as_str).collect();
        assert_eq!(above_ours(&zones, &above), [above[0], above[1], above[3]]);
        assert_eq!(at("other"), format!("{role} 1 foreign"));
        assert_eq!(place(&zones, zone), format!("{role} 0 apex"));
    }
    let found = zones.find(&qname("three.p.example")).expect("a zone");
    assert!(found.is_ours());
}

#[test]
fn one_public_zone_may_lead_into_two_private_ones_and_two_into_one() {
    let zones = Zones::new(&[
        sharing(0, "wvd", "global.wvd", &[("rdweb", &["10.9.0.1"])]),
        sharing(1, "wvd", "privatelink.wvd", &[("feed", &["10.9.0.2"])]),
        sharing(2, "vault", "privatelink.core", &[("v", &["10.9.0.3"])]),
        sharing(3, "core", "privatelink.core", &[("v", &["10.9.0.3"])]),
    ]);
    let private = |name: &str| {
        let found = zones.find(&qname(&format!("{name}.example"))).expect("a zone");
        (found.zone.private.to_string(), place(&zones, &format!("{name}.example")))
    };
    let expected = |zone: &str, place: &str| (format!("{zone}.example"), place.to_owned());
    assert_eq!(private("rdweb.wvd"), expected("global.wvd", "Public 1 10.9.0.1"));
    assert_eq!(private("feed.wvd"), expected("privatelink.wvd", "Public 1 10.9.0.2"));
    assert_eq!(private("other.wvd"), expected("global.wvd", "Public 1 foreign"));
    assert_eq!(private("feed.global.wvd"), expected("global.wvd", "Private 1 foreign"));
    assert_eq!(private("v.vault"), expected("privatelink.core", "Public 1 10.9.0.3"));
    assert_eq!(private("v.core"), expected("privatelink.core", "Public 1 10.9.0.3"));
    assert_eq!(private("v.privatelink.core"), expected("privatelink.core", "Private 1 10.9.0.3"));
}

#[test]
fn what_lies_in_a_zone_inside_a_shared_one_belongs_to_that() {
    let zones = Zones::new(&[
        sharing(0, "p", "privatelink.p", &[("one", &["10.9.0.1"])]),
        sharing(1, "p", "privatelink.p", &[("x.inner", &["10.9.0.2"])]),
        sharing(2, "inner.p", "privatelink.inner.p", &[("y", &["10.9.0.3"])]),
    ]);
    assert_eq!(place(&zones, "x.inner.p.example"), "Public 1 foreign");
    assert_eq!(place(&zones, "y.inner.p.example"), "Public 1 10.9.0.3");
    assert_eq!(place(&zones, "x.inner.privatelink.p.example"), "Private 2 10.9.0.2");
}

/// A name above a zone of ours exists: below NXDOMAIN there is nothing (RFC 8020), so who asks label
/// by label would never come to the zone.
#[test]
fn a_name_above_a_zone_inside_is_empty_and_never_missing() {
    let outer = |unlisted| PrivateLink {
        unlisted,
        ..sharing(0, "p", "privatelink.p", &[("one", &["10.9.0.1"])])
    };
    let inner = sharing(1, "a.b.p", "privatelink.a.b.p", &[("x", &["10.9.0.2"])]);
    let zones = Zones::new(&[outer(Unlisted::Nxdomain), inner.clone()]);
    assert_eq!(place(&zones, "b.p.example"), "Public 1 empty");
    assert_eq!(place(&zones, "b.privatelink.p.example"), "Private 1 missing");
    assert_eq!(place(&zones, "c.b.p.example"), "Public 2 missing");
    assert_eq!(place(&zones, "x.a.b.p.example"), "Public 1 10.9.0.2");
    assert_eq!(above_ours(&zones, &["b.p.example", "b.privatelink.p.example"]), ["b.p.example"]);
    let zones = Zones::new(&[outer(Unlisted::Forward), inner]);
    assert_eq!(place(&zones, "b.p.example"), "Public 1 foreign");
    let names = ["a.b.p.example", "b.p.example", "c.p.example", "b.privatelink.p.example"];
    assert_eq!(above_ours(&zones, &names), ["a.b.p.example", "b.p.example"]);
}

/// Zones of up to five entries, by chance: below each other, and with the same public or private
/// zone. Each name is held against what the entries say of it one by one.
#[test]
fn no_name_is_answered_by_an_entry_that_does_not_have_it() {
    use rand::{RngExt, SeedableRng};
    const LABELS: [&str; 3] = ["a", "b", "c"];
    let mut random = rand::rngs::StdRng::seed_from_u64(5);
    let (mut served, mut empty, mut others, mut above) = (0, 0, 0, 0);
    for _ in 0..2_000 {
        let unlisted = [Unlisted::Nxdomain, Unlisted::Forward][random.random_range(0..2_usize)];
        let mut below = |apex: &str, most: usize| {
            let labels =
                (0..random.random_range(1..=most)).map(|_| LABELS[random.random_range(0..3_usize)]);
            format!("{}.{apex}", labels.collect::<Vec<_>>().join("."))
        };
        let mut links: Vec<PrivateLink> = Vec::new();
        for entry in 0..5 {
            let (public, private) = (below("p", 2), below("q", 2));
            let name = below("", 3);
            let name = name.trim_end_matches('.').to_owned();
            let address = format!("10.9.0.{entry}");
            let link = sharing(entry, &public, &private, &[(&name, &[&address])]);
            let link = PrivateLink { unlisted, ..link };
            // What `check` would refuse: a name twice in one zone.
            let clashes = links.iter().any(|other| {
                (other.public_zone == link.public_zone || other.private_zone == link.private_zone)
                    && other.endpoints[0].names.iter().next().map(|(name, _)| name.clone())
                        == link.endpoints[0].names.iter().next().map(|(name, _)| name.clone())
            });
            if !clashes {
                links.push(link);
            }
        }
        let zones = Zones::new(&links);
        for _ in 0..50 {
            let apex = ["p", "q"][random.random_range(0..2_usize)];
            let labels =
                (0..random.random_range(1..=5)).map(|_| LABELS[random.random_range(0..3_usize)]);
            let name = format!("{}.{apex}.example", labels.collect::<Vec<_>>().join("."));
            let expected = expected(&links, unlisted, &name.parse().expect("a name"));
            match expected.as_deref() {
                Some(text) if text.contains("10.9.") => served += 1,
                Some("empty") => empty += 1,
                _ => others += 1,
            }
            let found = zones.find(&qname(&name)).map(|found| {
                let place = place(&zones, &name);
                let what = place.rsplit(' ').next().expect("a word").to_owned();
                match found.place {
                    Place::Served(_) => format!("{what} by way of {}", found.zone.private),
                    _ => what,
                }
            });
            assert_eq!(found, expected, "{name} in {links:#?}");
            let has_below = has_below(&links, &name.parse().expect("a name"));
            above += usize::from(has_below && !found.is_some_and(|what| what.contains("10.9.")));
            assert_eq!(zones.has_below(&qname(&name)), has_below, "{name} in {links:#?}");
        }
    }
    assert!(served > 2_000 && empty > 1_000 && others > 2_000, "{served} {empty} {others}");
    assert!(above > 4_000, "{above}");
}

/// The deepest zone that `name` stands in.
fn apex_of<'l>(links: &'l [PrivateLink], name: &Name) -> Option<&'l Name> {
    let zones = links.iter().flat_map(|link| [&link.public_zone, &link.private_zone]);
    zones.filter(|zone| name.is_within(zone)).max_by_key(|zone| zone.label_count())
}

/// Whether a name that we answer lies below `name`: a listed one in its own zone, or a private
/// zone.
fn has_below(links: &[PrivateLink], name: &Name) -> bool {
    let is_below = |other: &Name| other != name && other.is_within(name);
    links.iter().any(|link| {
        let listed = link.endpoints[0].names.iter().map(|(listed, _)| listed);
        is_below(&link.private_zone)
            || listed.into_iter().any(|listed| {
                [&link.public_zone, &link.private_zone].into_iter().any(|apex| {
                    let listed = listed.under(apex).expect("short enough");
                    is_below(&listed) && apex_of(links, &listed) == Some(apex)
                })
            })
    })
}

fn expected(links: &[PrivateLink], unlisted: Unlisted, name: &Name) -> Option<String> {
    let zones = || links.iter().flat_map(|link| [&link.public_zone, &link.private_zone]);
    let apex = apex_of(links, name)?;
    if name == apex {
        return Some("apex".to_owned());
    }
    let mut is_above = zones().any(|zone| zone.is_within(name));
    for link in links.iter().filter(|link| link.public_zone == *apex || link.private_zone == *apex)
    {
        for (listed, addresses) in link.endpoints[0].names.iter() {
            let listed = listed.under(apex).expect("short enough");
            if listed == *name {
                return Some(format!("{} by way of {}", addresses[0], link.private_zone));
            }
            is_above |= listed.is_within(name) && apex_of(links, &listed) == Some(apex);
        }
    }
    Some(match unlisted {
        Unlisted::Nxdomain if is_above => "empty".to_owned(),
        Unlisted::Nxdomain => "missing".to_owned(),
        _ => "foreign".to_owned(),
    })
}
