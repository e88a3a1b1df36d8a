//! The examination of a usable configuration: what is asked, in one round, and in which order
//! findings stand.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::asking::{Answers, Ask, PATIENCE, Round, Ticket, Way};
use super::finding::Finding;
use super::looping::{self, Loop, Probe};
use super::mistakes::{self, OURS_IN_IT, TAKEN_WHOLE};
use super::ports::{self, Answered, Port, State};
use super::signed;
use super::subjects::{self, MAX_SERVERS, MAX_ZONES, Sample, Subject, way_to};
use super::upstreams::{Asked, Observed};
use super::via::{Ours, Sight};
use super::{Request, clock, configuration, resolv_conf};
use crate::app;
use crate::config::{Config, Loaded};
use crate::engine::Snapshot;
use crate::forward::{OwnAddresses, Rules};
use crate::sys;
use crate::wire::{Name, QName, Question, Rtype};

/// When the questions end, counted from the beginning: listening for loops has gone before, asking
/// the daemon comes after, and the whole takes 15 s.
const ASKING_ENDS: Duration = Duration::from_secs(11);
/// Listen addresses that are looked at.
const MAX_ADDRESSES: usize = 16;
/// Letters of a name that nobody has.
const LETTERS: usize = 16;

/// What all parts of the examination look at.
struct Ground<'a> {
    config: &'a Config,
    snapshot: &'a Snapshot,
    subjects: &'a [Subject],
    samples: &'a [Sample],
    vias: &'a [SocketAddr],
    ports: &'a [Port],
}

pub(super) fn survey(
    request: &Request<'_>,
    loaded: &Loaded,
    progress: &dyn Fn(&str),
) -> Vec<Finding> {
    let begun = Instant::now();
    let config = &loaded.config;
    let local = sys::local_addresses().unwrap_or_default();
    let own = OwnAddresses { listen: config.listen.dns.clone(), local };
    let mut findings = Vec::new();
    let snapshot = fit(request, loaded, &own, &mut findings);
    let mut all = subjects::subjects(config, &snapshot.rules);
    let left_out = all.len().saturating_sub(MAX_SERVERS);
    all.truncate(MAX_SERVERS);
    let samples: Vec<_> =
        config.private_links.iter().filter_map(Sample::of).take(MAX_ZONES).collect();
    progress("looking at the listen addresses");
    let ports: Vec<_> =
        config.listen.dns.iter().take(MAX_ADDRESSES).map(|address| ports::look(*address)).collect();
    let ground = Ground {
        config,
        snapshot: &snapshot,
        subjects: &all,
        samples: &samples,
        vias: request.via,
        ports: &ports,
    };
    let heard = ground.listen(progress);
    let mut round = Round::default();
    let plan = Plan::new(&ground, &mut round);
    progress(&format!("asking {} questions, {ASKING_ENDS:?} at most", round.len()));
    let answers = round.run(begun + ASKING_ENDS);
    let is_running = plan.is_running(&ground, &answers);
    findings.push(clock(plan.signatures(&answers)));
    findings.extend(plan.ports(&ground, &answers));
    findings.extend(resolv_conf::findings(&config.forwards, &own));
    findings.extend(plan.upstreams(&ground, &answers));
    if left_out > 0 {
        let found = format!("{left_out} more upstreams are not looked at");
        findings.push(
            Finding::warning("upstreams-left-out", "upstreams", found)
                .advise("look at them with a file that has rules for them alone"),
        );
    }
    findings.extend(plan.mistakes(&answers));
    findings.extend(ground.loops(heard, is_running, progress));
    findings.extend(plan.signed(&ground, &answers));
    findings.extend(plan.vias(&ground, &answers, is_running));
    findings
}

/// What the file means; whether it may be put into force is said.
fn fit(
    request: &Request<'_>,
    loaded: &Loaded,
    own: &OwnAddresses,
    findings: &mut Vec<Finding>,
) -> Snapshot {
    let Loaded { config, warnings } = loaded;
    let built = app::build(config, &config.listen.dns, None);
    let unfit = match &built {
        Ok(snapshot) => app::prove(config, snapshot).err(),
        Err(unfit) => Some(unfit.clone()),
    };
    if let Some(unfit) = unfit {
        findings.push(configuration::unfit(request.config, &unfit));
    } else {
        findings.push(configuration::usable(request.config, warnings));
    }
    built.unwrap_or_else(|_| {
        let rules = Rules::build(&config.forwards, &[], own.clone(), None);
        Snapshot::new(config, rules)
    })
}

impl Ground<'_> {
    /// Listens where the daemon would, if it does not, for queries of ours that come back.
    fn listen(&self, progress: &dyn Fn(&str)) -> Option<Vec<Loop>> {
        let is_free = |port: &&Port| port.state == State::Free && port.address.port() != 0;
        let free: Vec<_> = self.ports.iter().filter(is_free).map(|port| port.address).collect();
        if free.is_empty() {
            return None;
        }
        progress("listening for forwarding loops");
        let mut probes = Vec::new();
        for subject in self.subjects {
            let Some(address) = subject.plain() else { continue };
            let server = subject.upstream.server().to_string();
            let probe = |zone: Name| Probe { server: server.clone(), address, zone };
            probes.extend(self.zones_asked_of(subject).into_iter().map(probe));
        }
        Some(looping::listen_for(probes, &free))
    }

    /// The zones of its rules, and those of ours that it may be asked for.
    fn zones_asked_of(&self, subject: &Subject) -> Vec<Name> {
        let pairs = self.samples.iter().map(|sample| &sample.pair.public);
        let asked = pairs.filter(|zone| {
            let rule = self.snapshot.rules.find(&QName::from(*zone));
            let targets = rule.map(|rule| rule.targets());
            let mut targets = targets.iter().flat_map(|targets| targets.iter());
            targets.any(|target| target.upstream().number() == subject.upstream.number())
        });
        subject.zones.iter().chain(asked).take(MAX_ZONES).cloned().collect()
    }

    fn loops(
        &self,
        heard: Option<Vec<Loop>>,
        is_running: bool,
        progress: &dyn Fn(&str),
    ) -> Vec<Finding> {
        let mut findings: Vec<_> = self.vias.iter().filter_map(|via| self.mutual(*via)).collect();
        let about = "forwarding loops";
        let admin = self.config.listen.admin.filter(|_| is_running);
        let (loops, how) = match (admin, heard) {
            (Some(admin), _) => {
                progress("asking the running daemon for loops");
                let zones = self.subjects.iter().flat_map(|subject| self.zones_asked_of(subject));
                let mut zones: Vec<_> = zones.collect();
                zones.sort_unstable();
                zones.dedup();
                zones.truncate(MAX_ZONES);
                match looping::ask_daemon(subjects::reachable(admin), zones) {
                    Ok(loops) => (loops, "the running daemon has found none"),
                    Err(why) => {
                        let found = format!("the running daemon was not asked: {why}");
                        let finding = Finding::warning("loop-unknown", about, found);
                        findings.push(finding.advise("journalctl -u privatelinkd -g loop"));
                        return findings;
                    }
                }
            }
            (None, Some(loops)) => (loops, "no query came back to the listen addresses"),
            (None, None) => {
                let found = "not looked for: the running daemon cannot be asked, and nobody else can \
                             listen on its addresses";
                let finding = Finding::warning("loop-unknown", about, found);
                findings.push(
                    finding
                        .advise("write admin = \"127.0.0.1:9153\" into [listen], and restart it"),
                );
                return findings;
            }
        };
        if loops.is_empty() && findings.is_empty() {
            findings.push(Finding::fine("loop", about, how));
        }
        findings.extend(loops.iter().map(Loop::finding));
        findings
    }

    fn mutual(&self, via: SocketAddr) -> Option<Finding> {
        let is_asked = |subject: &&Subject| subject.upstream.server().address() == Some(via);
        let subject = self.subjects.iter().find(is_asked)?;
        let asked = self.zones_asked_of(subject);
        let mut samples = self.samples.iter();
        let sends_ours =
            samples.any(|sample| sample.forwards_unlisted && asked.contains(&sample.pair.public));
        Some(looping::mutual(via, &subject.zones_in_words(), sends_ours))
    }

    /// Where a resolver that stands at `via` should forward to.
    fn us(&self, via: SocketAddr) -> SocketAddr {
        let listen = &self.config.listen.dns;
        let is_far = |address: &&SocketAddr| !address.ip().is_loopback() || via.ip().is_loopback();
        let fits = |address: &&SocketAddr| address.is_ipv4() == via.is_ipv4();
        let chosen = listen.iter().filter(is_far).find(fits).or_else(|| listen.first());
        let chosen = chosen.copied().unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 53)));
        if !chosen.ip().is_unspecified() {
            return chosen;
        }
        let ip = sys::source_towards(via).unwrap_or_else(|_| subjects::reachable(chosen).ip());
        SocketAddr::new(ip, chosen.port())
    }
}

/// What is asked, and where the answers will be.
struct Plan {
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
    fn new(ground: &Ground<'_>, round: &mut Round) -> Self {
        let servers = ground.subjects.iter().map(|subject| Server::ask(subject, round)).collect();
        let first = ground.samples.first();
        let ports = ground.ports.iter().map(|port| {
            let is_taken = matches!(port.state, State::Taken(_));
            let sample = first.filter(|_| is_taken)?;
            let way = Way::Stub(subjects::reachable(port.address));
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

    fn signatures(&self, answers: &Answers) -> Vec<(u32, u32)> {
        let large = self.servers.iter().filter_map(|server| server.plain);
        let seen = large.flat_map(|[.., udp, tcp]| [udp, tcp]).map(|ticket| answers.of(ticket));
        seen.filter_map(Result::ok).flat_map(|seen| seen.signatures).collect()
    }

    fn answered(&self, ground: &Ground<'_>, answers: &Answers, place: usize) -> Option<Answered> {
        let (sample, port) = (ground.samples.first()?, ground.ports.get(place)?);
        let ticket = self.ports.get(place).copied().flatten()?;
        let client = sys::source_towards(subjects::reachable(port.address)).ok()?;
        match sample.ours(ground.snapshot, client)? {
            Ours::Addresses(expected, _) => Some(Answered {
                name: sample.name.to_string(),
                outcome: answers.of(ticket),
                expected,
            }),
            Ours::Refused => None,
        }
    }

    fn ports(&self, ground: &Ground<'_>, answers: &Answers) -> Vec<Finding> {
        let each = ground.ports.iter().enumerate();
        each.map(|(place, port)| port.finding(self.answered(ground, answers, place).as_ref()))
            .collect()
    }

    fn is_running(&self, ground: &Ground<'_>, answers: &Answers) -> bool {
        let mut each = ground.ports.iter().enumerate();
        each.any(|(place, port)| port.is_ours(self.answered(ground, answers, place).as_ref()))
    }

    fn upstreams(&self, ground: &Ground<'_>, answers: &Answers) -> Vec<Finding> {
        let each = ground.subjects.iter().zip(&self.servers);
        each.flat_map(|(subject, server)| server.observed(subject, answers).findings()).collect()
    }

    fn mistakes(&self, answers: &Answers) -> Vec<Finding> {
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

    fn signed(&self, ground: &Ground<'_>, answers: &Answers) -> Vec<Finding> {
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
        ways.map(|way| way.finding()).collect()
    }

    fn vias(&self, ground: &Ground<'_>, answers: &Answers, is_running: bool) -> Vec<Finding> {
        let each = self.sights.iter().filter_map(|Look { via, sample, tickets }| {
            let [a, unchecked, aaaa, private] = tickets.map(|ticket| answers.of(ticket));
            let sight = Sight {
                via: *via,
                pair: sample.pair.clone(),
                name: sample.name.clone(),
                private_name: sample.private_name.clone(),
                ours: sample.ours(ground.snapshot, client_of(*via))?,
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

impl Ground<'_> {
    /// A name that nobody has below the zone that one of the mistakes takes whole, where we serve
    /// what is in its way.
    fn beside_ours(&self) -> Option<Name> {
        let public = self.samples.iter().map(|sample| &sample.pair.public);
        let ours: Name = OURS_IN_IT.parse().ok()?;
        let serves = public.clone().any(|zone| *zone == ours);
        let name = random_name(TAKEN_WHOLE)?;
        (serves && !public.clone().any(|zone| name.is_within(zone))).then_some(name)
    }
}

impl Server {
    fn ask(subject: &Subject, round: &mut Round) -> Self {
        let mut probe = |way: Way, edns: bool, question: &Question| {
            let question =
                Question { dnssec_ok: edns, checking_disabled: edns, ..question.clone() };
            round.put(Ask { way, question, edns, patience: subject.budget.min(PATIENCE) })
        };
        let keys = Question::plain(Name::root(), Rtype::DNSKEY);
        let (bare, plain) = match subject.plain() {
            Some(address) => {
                let (udp, tcp) = (Way::Udp(address), Way::Tcp(address));
                let plain = [
                    probe(udp.clone(), true, &subject.probe),
                    probe(tcp.clone(), false, &subject.probe),
                    probe(udp.clone(), true, &keys),
                    probe(tcp, true, &keys),
                ];
                (probe(udp, false, &subject.probe), Some(plain))
            }
            None => (probe(subject.way(), true, &subject.probe), None),
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
            Some([edns, tcp, large, large_tcp]) => Asked::Plain {
                bare: answers.of(self.bare),
                edns: answers.of(edns),
                tcp: answers.of(tcp),
                large: Some((answers.of(large), answers.of(large_tcp)))
                    .filter(|_| subject.covers_root()),
            },
            None => Asked::Connection(answers.of(self.bare)),
        };
        let Question { qname, qtype, .. } = &subject.probe;
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

fn random_name(zone: &str) -> Option<Name> {
    use rand::RngExt;
    let mut random = rand::rng();
    let label: String =
        (0..LETTERS).map(|_| char::from(random.random_range(b'a'..=b'z'))).collect();
    label.parse::<Name>().ok()?.under(&zone.parse().ok()?).ok()
}
