//! What is asked, in one round, and what is observed by it.

use std::net::{IpAddr, SocketAddr};

use super::asking::{Answers, Ask, PATIENCE, Round, Ticket, Way};
use super::finding::Finding;
use super::mistakes;
use super::ports::{Answered, State};
use super::signed;
use super::subjects::{self, Sample, Subject, way_to};
use super::survey::{Ground, random_name};
use super::upstreams::{Asked, Datagrams, Observed};
use super::via::{Ours, Sight};
use crate::sys;
use crate::wire::{Name, Question, Rtype};

/// What is asked, and where the answers will be.
pub(super) struct Plan {
    servers: Vec<Server>,
    /// Of each listen address that is taken: a private name.
    ports: Vec<Option<Ticket>>,
    /// By server: private names, and one that nobody has.
    hops: Vec<(String, Sample, Ticket)>,
    whole: Vec<(String, Name, Ticket)>,
    ds: Vec<(Name, Vec<Ticket>)>,
    sights: Vec<Look>,
}

/// One upstream.
struct Server {
    bare: Ticket,
    /// With EDNS, over TCP, and the large answer both ways; of plain ones.
    plain: Option<[Ticket; 4]>,
    absent: Vec<(Name, Ticket)>,
}

/// One zone at one resolver.
struct Look {
    via: SocketAddr,
    sample: Sample,
    /// A, A with CD, AAAA, and A of the private name.
    tickets: [Ticket; 4],
}

impl Plan {
    pub(super) fn new(ground: &Ground<'_>, round: &mut Round) -> Self {
        let servers = ground.subjects.iter().map(|subject| Server::ask(subject, round)).collect();
        let first = ground.samples.first();
        let ports = ground.ports.iter().map(|port| {
            let is_taken = matches!(port.state, State::Taken(_));
            let sample = first.filter(|_| is_taken)?;
            let way = Way::Stub(port.address.reachable());
            Some(round.put(ask(way, sample.name.clone(), Rtype::A)))
        });
        let ports = ports.collect();
        let (mut hops, mut whole) = (Vec::new(), Vec::new());
        for sample in ground.samples {
            for upstream in subjects::servers_for(&ground.snapshot.rules, &sample.name) {
                let who = format!("upstream {}", upstream.server());
                let way = way_to(&upstream);
                let ticket = round.put(ask(way, sample.name.clone(), Rtype::A));
                hops.push((who, sample.clone(), ticket));
            }
        }
        if let Some(name) = ground.beside_ours() {
            let rules = &ground.snapshot.rules;
            let upstreams = subjects::servers_for(rules, &name);
            let upstreams =
                upstreams.iter().map(|up| (format!("upstream {}", up.server()), way_to(up)));
            let vias = ground.vias.iter().map(|via| (format!("resolver {via}"), Way::Stub(*via)));
            for (who, way) in upstreams.chain(vias) {
                whole.push((who, name.clone(), round.put(ask(way, name.clone(), Rtype::A))));
            }
        }
        let (ds, sights) = (Self::ds(ground, round), Self::sights(ground, round));
        Self { servers, ports, hops, whole, ds, sights }
    }

    fn ds(ground: &Ground<'_>, round: &mut Round) -> Vec<(Name, Vec<Ticket>)> {
        let mut asked: Vec<(Name, Vec<Ticket>)> = Vec::new();
        for name in ground.samples.iter().flat_map(|sample| signed::steps(&sample.pair.public)) {
            if asked.iter().any(|(known, _)| *known == name) {
                continue;
            }
            let servers = subjects::servers_for(&ground.snapshot.rules, &name);
            let tickets = servers.iter().map(|upstream| {
                let mut question = ask(way_to(upstream), name.clone(), Rtype::DS);
                question.question.dnssec_ok = true;
                question.question.checking_disabled = true;
                round.put(question)
            });
            let tickets = tickets.collect();
            asked.push((name, tickets));
        }
        asked
    }

    fn sights(ground: &Ground<'_>, round: &mut Round) -> Vec<Look> {
        let mut looks = Vec::new();
        for via in ground.vias {
            for sample in ground.samples {
                let mut put = |name: &Name, rtype, unchecked| {
                    let mut question = ask(Way::Stub(*via), name.clone(), rtype);
                    question.question.checking_disabled = unchecked;
                    round.put(question)
                };
                let name = &sample.name;
                let tickets = [
                    put(name, Rtype::A, false),
                    put(name, Rtype::A, true),
                    put(name, Rtype::AAAA, false),
                    put(&sample.private_name, Rtype::A, false),
                ];
                looks.push(Look { via: *via, sample: sample.clone(), tickets });
            }
        }
        looks
    }

    pub(super) fn signatures(&self, answers: &Answers) -> Vec<(u32, u32)> {
        let large = self.servers.iter().filter_map(|server| server.plain);
        let seen = large.flat_map(|[.., udp, tcp]| [udp, tcp]).map(|ticket| answers.of(ticket));
        seen.filter_map(Result::ok).flat_map(|seen| seen.signatures).collect()
    }

    fn answered(&self, ground: &Ground<'_>, answers: &Answers, place: usize) -> Option<Answered> {
        let (sample, port) = (ground.samples.first()?, ground.ports.get(place)?);
        let ticket = self.ports.get(place).copied().flatten()?;
        let client = sys::source_towards(port.address.reachable()).ok()?;
        match sample.ours(ground.snapshot, client)? {
            Ours::Addresses(expected, _) => Some(Answered {
                name: sample.name.to_string(),
                outcome: answers.of(ticket),
                expected,
                standby: sample.standby.clone(),
            }),
            Ours::Refused => None,
        }
    }

    pub(super) fn ports(&self, ground: &Ground<'_>, answers: &Answers) -> Vec<Finding> {
        let each = ground.ports.iter().enumerate();
        each.map(|(place, port)| port.finding(self.answered(ground, answers, place).as_ref()))
            .collect()
    }

    pub(super) fn is_running(&self, ground: &Ground<'_>, answers: &Answers) -> bool {
        let mut each = ground.ports.iter().enumerate();
        each.any(|(place, port)| port.is_ours(self.answered(ground, answers, place).as_ref()))
    }

    pub(super) fn upstreams(&self, ground: &Ground<'_>, answers: &Answers) -> Vec<Finding> {
        let each = ground.subjects.iter().zip(&self.servers);
        each.flat_map(|(subject, server)| server.observed(subject, answers).findings()).collect()
    }

    pub(super) fn mistakes(&self, answers: &Answers) -> Vec<Finding> {
        let hops = self.hops.iter().filter_map(|(who, sample, ticket)| {
            mistakes::without_hop(who, &sample.name, &sample.pair, &answers.of(*ticket))
        });
        let whole = self.whole.iter().filter_map(|(who, name, ticket)| {
            mistakes::taken_whole(who, name, &answers.of(*ticket))
        });
        let mut findings: Vec<_> = hops.chain(whole).collect();
        let tickets = self.hops.iter().map(|(.., ticket)| ticket);
        let mut tickets = tickets.chain(self.whole.iter().map(|(.., ticket)| ticket));
        if findings.is_empty() && tickets.any(|ticket| answers.of(*ticket).is_ok()) {
            let found = "nobody who was asked answers privately without the privatelink name, or for \
                         more than its zone";
            findings.push(Finding::fine("mistakes", "private zones elsewhere", found));
        }
        findings
    }

    pub(super) fn signed(&self, ground: &Ground<'_>, answers: &Answers) -> Vec<Finding> {
        let outcome = |name: &Name| {
            let (_, tickets) = self.ds.iter().find(|(known, _)| known == name)?;
            let mut outcomes: Vec<_> = tickets.iter().map(|ticket| answers.of(*ticket)).collect();
            // Who says that there is one knows more than who leaves it out.
            outcomes.sort_by_key(|outcome| match outcome {
                Ok(seen) => (!seen.has_ds, seen.rcode.0),
                Err(_) => (true, u16::MAX),
            });
            outcomes.into_iter().next().map(|outcome| (name.clone(), outcome))
        };
        let ways = ground.samples.iter().filter_map(|sample| {
            let steps: Option<Vec<_>> =
                signed::steps(&sample.pair.public).iter().map(outcome).collect();
            Some(signed::Way { pair: sample.pair.clone(), steps: steps? })
        });
        signed::findings(&ways.collect::<Vec<_>>())
    }

    pub(super) fn vias(
        &self,
        ground: &Ground<'_>,
        answers: &Answers,
        is_running: bool,
    ) -> Vec<Finding> {
        let each = self.sights.iter().filter_map(|Look { via, sample, tickets }| {
            let [a, unchecked, aaaa, private] = tickets.map(|ticket| answers.of(ticket));
            let sight = Sight {
                via: *via,
                pair: sample.pair.clone(),
                name: sample.name.clone(),
                private_name: sample.private_name.clone(),
                ours: sample.ours(ground.snapshot, client_of(*via))?,
                standby: sample.standby.clone(),
                a,
                unchecked,
                aaaa,
                private,
                us: ground.us(*via),
                is_running,
            };
            Some(sight.findings())
        });
        each.flatten().collect()
    }
}

/// The address that a resolver asks us from, as far as that can be known.
fn client_of(via: SocketAddr) -> IpAddr {
    via.ip().to_canonical()
}

impl Server {
    fn ask(subject: &Subject, round: &mut Round) -> Self {
        let mut probe = |way: Way, edns: bool, question: &Question| {
            let question =
                Question { dnssec_ok: edns, checking_disabled: edns, ..question.clone() };
            round.put(Ask { way, question, edns, patience: subject.budget.min(PATIENCE) })
        };
        let keys = Question::plain(Name::root(), Rtype::DNSKEY);
        let known = subject.question();
        let (bare, plain) = match subject.plain() {
            Some(address) => {
                let (udp, tcp) = (Way::Udp(address), Way::Tcp(address));
                let plain = [
                    probe(udp.clone(), true, &known),
                    probe(tcp.clone(), false, &known),
                    probe(udp.clone(), true, &keys),
                    probe(tcp, true, &keys),
                ];
                (probe(udp, false, &known), Some(plain))
            }
            None => (probe(subject.way(), true, &known), None),
        };
        let mut absent = Vec::new();
        if subject.covers_root() {
            for zone in ["invalid", "com"] {
                if let Some(name) = random_name(zone) {
                    let ticket = round.put(ask(subject.way(), name.clone(), Rtype::A));
                    absent.push((name, ticket));
                }
            }
        }
        Self { bare, plain, absent }
    }

    fn observed(&self, subject: &Subject, answers: &Answers) -> Observed {
        let asked = match self.plain {
            Some([edns, tcp, large, large_tcp]) => Asked::Plain(Box::new(Datagrams {
                bare: answers.of(self.bare),
                edns: answers.of(edns),
                tcp: answers.of(tcp),
                large: Some((answers.of(large), answers.of(large_tcp)))
                    .filter(|_| subject.covers_root()),
            })),
            None => Asked::Connection(answers.of(self.bare)),
        };
        let Question { qname, qtype, .. } = subject.question();
        let absent = self.absent.iter().map(|(name, ticket)| (name.clone(), answers.of(*ticket)));
        Observed {
            server: subject.upstream.server().to_string(),
            host: subject.host(),
            zones: subject.zones_in_words(),
            covers_root: subject.covers_root(),
            validates: subject.validates,
            probe: format!("{qname} {qtype}"),
            asked,
            absent: absent.collect(),
        }
    }
}

fn ask(way: Way, name: Name, rtype: Rtype) -> Ask {
    Ask { way, question: Question::plain(name, rtype), edns: true, patience: PATIENCE }
}
