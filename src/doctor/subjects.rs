//! What of a configuration is looked at: its servers, and a name of each private-link zone.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::asking::Way;
use super::remedies::Pair;
use super::via::Ours;
use crate::config::{Config, Dnssec, Endpoint, PrivateLink, Scheme, Unlisted, UpstreamHost};
use crate::engine::{Ask, Conclusion, Snapshot};
use crate::forward::{Rule, Rules};
use crate::upstream::Upstream;
use crate::wire::{Name, QName, Question, Rtype};

/// Servers that are looked at, in the file's order.
pub(super) const MAX_SERVERS: usize = 32;
/// Private-link zones that are looked at.
pub(super) const MAX_ZONES: usize = 16;
/// Servers of one rule that are asked the same: others of the rule mostly say the same.
pub(super) const MAX_SERVERS_OF_A_RULE: usize = 2;

/// A server, and the rules that name it.
pub(super) struct Subject {
    pub(super) upstream: Arc<Upstream>,
    pub(super) zones: Vec<Name>,
    pub(super) validates: bool,
    /// Of the first rule.
    pub(super) budget: Duration,
    /// The rule's probe.
    probe: Question,
}

impl Subject {
    pub(super) fn covers_root(&self) -> bool {
        self.zones.iter().any(|zone| zone.label_count() == 0)
    }

    /// What it must know: the rule's probe, or, as any reply is good enough for that one, the first
    /// zone's SOA where the server need not know anything else.
    pub(super) fn question(&self) -> Question {
        match self.zones.first() {
            Some(zone) if !self.covers_root() && self.probe.qname.label_count() == 0 => {
                Question::plain(zone.clone(), Rtype::SOA)
            }
            _ => self.probe.clone(),
        }
    }

    pub(super) fn zones_in_words(&self) -> String {
        self.zones.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// Where it is asked over UDP, if it is.
    pub(super) fn plain(&self) -> Option<SocketAddr> {
        let server = self.upstream.server();
        let address = server.address().filter(|_| server.scheme == Scheme::Plain)?;
        // Without its interface the link says why it is not reached.
        address.socket().ok()
    }

    pub(super) fn way(&self) -> Way {
        way_to(&self.upstream)
    }

    /// Its host, as a person would look for it.
    pub(super) fn host(&self) -> String {
        match &self.upstream.server().host {
            UpstreamHost::Address(address) => {
                address.host().to_string().trim_matches(['[', ']']).to_owned()
            }
            UpstreamHost::Name { name, .. } => name.to_string(),
        }
    }
}

pub(super) fn way_to(upstream: &Arc<Upstream>) -> Way {
    let server = upstream.server();
    match server.address().and_then(|address| address.socket().ok()) {
        Some(address) if server.scheme == Scheme::Plain => Way::Stub(address),
        _ => Way::Link(Arc::clone(upstream)),
    }
}

/// All servers of `rules`, which were made of `config`, each once.
pub(super) fn subjects(config: &Config, rules: &Rules) -> Vec<Subject> {
    let mut subjects: Vec<Subject> = Vec::new();
    for (forward, rule) in config.forwards.iter().zip(rules.iter()) {
        for target in rule.targets().iter() {
            let upstream = target.upstream();
            let known = subjects.iter_mut().find(|one| one.upstream.number() == upstream.number());
            let subject = match known {
                Some(known) => known,
                None => {
                    subjects.push(Subject {
                        upstream: Arc::clone(upstream),
                        zones: Vec::new(),
                        validates: false,
                        budget: forward.timeout,
                        probe: Question::plain(forward.probe.0.clone(), forward.probe.1),
                    });
                    match subjects.last_mut() {
                        Some(last) => last,
                        None => continue,
                    }
                }
            };
            subject.zones.extend(rule.zones().iter().cloned());
            subject.validates |= rule.dnssec() == Dnssec::Validate;
        }
    }
    subjects
}

/// The servers that answer for `name`, the first of them.
pub(super) fn servers_for(rules: &Rules, name: &Name) -> Vec<Arc<Upstream>> {
    let rule: Option<&Arc<Rule>> = rules.find(&QName::from(name));
    let targets = rule.map(|rule| rule.targets());
    let all = targets.iter().flat_map(|targets| targets.iter());
    all.take(MAX_SERVERS_OF_A_RULE).map(|target| Arc::clone(target.upstream())).collect()
}

/// A name of a private-link zone that has addresses.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) pair: Pair,
    pub(super) name: Name,
    pub(super) private_name: Name,
    /// Whether names of the zone that no endpoint lists are forwarded.
    pub(super) forwards_unlisted: bool,
    /// All addresses that the file has for the name, where some are probed: while one is down,
    /// others of them are the answer. Empty: the answer never moves.
    pub(super) standby: Vec<IpAddr>,
}

/// One name of each pair of zones, in the file's order, the first [`MAX_ZONES`].
pub(super) fn samples(config: &Config) -> Vec<Sample> {
    let mut samples: Vec<Sample> = Vec::new();
    for sample in config.private_links.iter().filter_map(Sample::of) {
        // Several entries may share their zones.
        if samples.len() < MAX_ZONES && samples.iter().all(|known| known.pair != sample.pair) {
            samples.push(sample);
        }
    }
    samples
}

impl Sample {
    /// `None`: no name of the zone has addresses, or none fits below it.
    pub(super) fn of(link: &PrivateLink) -> Option<Self> {
        let listed = link.endpoints.iter().find_map(|endpoint| endpoint.names.iter().next());
        let has_wildcard = link.unlisted == Unlisted::Wildcard
            && link.endpoints.iter().any(|endpoint| !endpoint.addresses.is_empty());
        let relative = match listed {
            Some((name, _)) => name.clone(),
            None if has_wildcard => "api".parse().ok()?,
            None => return None,
        };
        Some(Self {
            name: relative.under(&link.public_zone).ok()?,
            private_name: relative.under(&link.private_zone).ok()?,
            pair: Pair { public: link.public_zone.clone(), private: link.private_zone.clone() },
            forwards_unlisted: link.unlisted == Unlisted::Forward,
            standby: standby(link, &relative),
        })
    }

    /// What we answer `client`; `None` where that is no answer of ours.
    pub(super) fn ours(&self, snapshot: &Snapshot, client: IpAddr) -> Option<Ours> {
        let addresses = |rtype| {
            let ask = Ask { name: self.name.clone(), rtype, client, dnssec: false };
            let explanation = snapshot.explain(&ask, false).ok()?;
            match explanation.verdict {
                Conclusion::Refused | Conclusion::Dropped => return Some(Err(())),
                Conclusion::Private => {}
                _ => return None,
            }
            let records = explanation.reply.into_iter().flat_map(|reply| reply.answer);
            let mut addresses: Vec<IpAddr> = records
                .filter(|record| record.r#type == rtype.to_string())
                .filter_map(|record| record.data.parse().ok())
                .collect();
            addresses.sort_unstable();
            Some(Ok(addresses))
        };
        match (addresses(Rtype::A)?, addresses(Rtype::AAAA)?) {
            (Ok(four), Ok(six)) => Some(Ours::Addresses(four, six)),
            _ => Some(Ours::Refused),
        }
    }
}

fn standby(link: &PrivateLink, relative: &Name) -> Vec<IpAddr> {
    if link.endpoints.iter().all(|endpoint| endpoint.probe.is_none()) {
        return Vec::new();
    }
    let of = |endpoint: &Endpoint| {
        let listed = endpoint.names.iter().find(|(name, _)| *name == relative);
        listed.map_or_else(|| endpoint.addresses.clone(), |(_, addresses)| addresses.to_vec())
    };
    link.endpoints.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app;
    use crate::config::testing::{defender, endpoint, forward_all, minimal, plain};
    use crate::config::{Forward, Policy};

    #[test]
    fn a_listed_name_stands_for_its_zone_and_else_the_wildcard() {
        let listed = Sample::of(&minimal().private_links[0]).unwrap();
        assert_eq!(listed.name.to_string(), "api.cloud.defender.microsoft.com");
        let wildcard = defender(vec![endpoint("hub", &[], &["10.1.0.5"], &[])]);
        assert_eq!(Sample::of(&wildcard).unwrap().name, listed.name);
        let neither = PrivateLink { unlisted: Unlisted::Forward, ..wildcard };
        assert!(Sample::of(&neither).is_none());
    }

    #[test]
    fn only_where_something_is_probed_others_take_over() {
        let mut link = defender(vec![
            endpoint("hub", &[], &[], &[("api", &["10.1.0.5"])]),
            endpoint("spare", &[], &["10.2.0.5"], &[]),
        ]);
        assert!(Sample::of(&link).unwrap().standby.is_empty());
        link.endpoints[0].probe = Some(crate::config::Probe::Tcp { port: 443 });
        let all = ["10.1.0.5", "10.2.0.5"].map(|ip| ip.parse::<IpAddr>().unwrap());
        assert_eq!(Sample::of(&link).unwrap().standby, all);
    }

    #[test]
    fn each_pair_of_zones_has_one_sample_and_there_is_a_bound() {
        let mut config = minimal();
        let first = config.private_links[0].clone();
        config.private_links.push(first.clone());
        assert_eq!(samples(&config).len(), 1);
        let others = (0..MAX_ZONES).map(|number| PrivateLink {
            public_zone: format!("p{number}.example").parse().unwrap(),
            private_zone: format!("q{number}.example").parse().unwrap(),
            ..first.clone()
        });
        config.private_links.extend(others);
        assert_eq!(samples(&config).len(), MAX_ZONES);
    }

    #[test]
    fn ours_is_what_the_engine_says() {
        let config = minimal();
        let snapshot = app::build(&config, &[], None).expect("fit");
        let sample = Sample::of(&config.private_links[0]).unwrap();
        let ours = |client: &str| sample.ours(&snapshot, client.parse().unwrap());
        let expected = Ours::Addresses(vec!["10.1.0.5".parse().unwrap()], Vec::new());
        assert_eq!(ours("10.0.0.1"), Some(expected));
        assert_eq!(ours("192.0.2.1"), Some(Ours::Refused));
    }

    #[test]
    fn a_server_of_two_rules_is_one_subject() {
        let server = |text: &str| plain(text.parse().unwrap());
        let rule = |zone: &str, servers: &[&str], dnssec| Forward {
            zones: vec![zone.parse().unwrap()],
            upstreams: servers.iter().map(|text| server(text)).collect(),
            policy: Policy::Spread,
            dnssec,
            ..forward_all()
        };
        let mut config = minimal();
        config.forwards = vec![
            rule("example", &["192.0.2.1:53", "192.0.2.2:53", "192.0.2.3:53"], Dnssec::Pass),
            rule(".", &["192.0.2.2:53"], Dnssec::Validate),
        ];
        let snapshot = app::build(&config, &[], None).expect("fit");
        let subjects = subjects(&config, &snapshot.rules);
        assert_eq!(subjects.len(), 3);
        assert_eq!(subjects[1].zones_in_words(), "example, .");
        assert!(subjects[1].covers_root() && subjects[1].validates);
        assert!(!subjects[0].covers_root() && !subjects[0].validates);
        // Who serves some zones alone need not know the root.
        let question = |subject: &Subject| {
            let Question { qname, qtype, .. } = subject.question();
            format!("{qname} {qtype}")
        };
        assert_eq!(question(&subjects[0]), "example SOA");
        assert_eq!(question(&subjects[1]), ". NS");
        let servers = servers_for(&snapshot.rules, &"www.example".parse().unwrap());
        assert_eq!(servers.len(), MAX_SERVERS_OF_A_RULE);
    }
}
