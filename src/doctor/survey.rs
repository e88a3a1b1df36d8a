//! The examination of a usable configuration, and the order in which findings stand.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::asking::Round;
use super::finding::Finding;
use super::health::Health;
use super::looping::{self, Loop, Probe};
use super::mistakes::{OURS_IN_IT, TAKEN_WHOLE};
use super::plan::Plan;
use super::ports::{self, Port, State};
use super::probing::Probing;
use super::sites::{self, Askers};
use super::subjects::{self, MAX_SERVERS, MAX_ZONES, Sample, Subject};
use super::{Request, clock, configuration, resolv_conf};
use crate::app;
use crate::config::{Config, Loaded};
use crate::engine::Snapshot;
use crate::forward::{OwnAddresses, Rules};
use crate::sys::{self, ScopedAddress};
use crate::wire::{Name, QName};

/// When the questions end, counted from the beginning: listening for loops has gone before, asking
/// the daemon comes after, and the whole takes 15 s.
const ASKING_ENDS: Duration = Duration::from_secs(11);
/// Listen addresses that are looked at.
const MAX_ADDRESSES: usize = 16;
/// Letters of a name that nobody has.
const LETTERS: usize = 16;

/// What all parts of the examination look at.
pub(super) struct Ground<'a> {
    pub(super) config: &'a Config,
    pub(super) snapshot: &'a Snapshot,
    pub(super) subjects: &'a [Subject],
    pub(super) samples: &'a [Sample],
    pub(super) vias: &'a [SocketAddr],
    pub(super) ports: &'a [Port],
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
    let samples = subjects::samples(config);
    progress("looking at the listen addresses");
    let ports: Vec<_> = config
        .listen
        .dns
        .iter()
        .take(MAX_ADDRESSES)
        .map(|address| ports::look(address, config.listen.freebind))
        .collect();
    let ground = Ground {
        config,
        snapshot: &snapshot,
        subjects: &all,
        samples: &samples,
        vias: request.via,
        ports: &ports,
    };
    let probing = Probing::begin(config);
    let heard = ground.listen(progress);
    let mut round = Round::default();
    let plan = Plan::new(&ground, &mut round);
    progress(&format!("asking {} questions, {ASKING_ENDS:?} at most", round.len()));
    let answers = round.run(begun + ASKING_ENDS);
    let health = Health::new(probing.finish(begun + ASKING_ENDS));
    let (sent_on, heard) = sites::part(heard, request.via);
    let is_running = plan.is_running(&ground, &answers);
    findings.push(clock(plan.signatures(&answers)));
    findings.extend(plan.ports(&ground, &answers));
    findings.extend(health.findings(&config.private_links));
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
    findings.extend(Askers::new(config, request.via, &sent_on).findings());
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
        let free = self.ports.iter().filter(is_free);
        let free: Vec<_> = free.filter_map(|port| port.address.socket().ok()).collect();
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
        for via in self.vias {
            let zones = self.samples.iter().map(|sample| sample.pair.public.clone());
            let probe = |zone| Probe { server: sites::label(*via), address: *via, zone };
            probes.extend(zones.map(probe));
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
        let admin = self.config.listen.admin.as_ref().filter(|_| is_running);
        let (loops, how) = match (admin, heard) {
            (Some(admin), _) => {
                progress("asking the running daemon for loops");
                let zones = self.subjects.iter().flat_map(|subject| self.zones_asked_of(subject));
                let mut zones: Vec<_> = zones.collect();
                zones.sort_unstable();
                zones.dedup();
                zones.truncate(MAX_ZONES);
                match looping::ask_daemon(admin.reachable(), zones) {
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
        let is_asked = |subject: &&Subject| {
            let address = subject.upstream.server().address();
            address.and_then(|address| address.socket().ok()) == Some(via)
        };
        let subject = self.subjects.iter().find(is_asked)?;
        let asked = self.zones_asked_of(subject);
        let mut samples = self.samples.iter();
        let sends_ours =
            samples.any(|sample| sample.forwards_unlisted && asked.contains(&sample.pair.public));
        Some(looping::mutual(via, &subject.zones_in_words(), sends_ours))
    }

    /// Where a resolver that stands at `via` should forward to.
    pub(super) fn us(&self, via: SocketAddr) -> SocketAddr {
        let listen = &self.config.listen.dns;
        let is_far =
            |address: &&ScopedAddress| !address.ip().is_loopback() || via.ip().is_loopback();
        let fits = |address: &&ScopedAddress| address.is_ipv4() == via.is_ipv4();
        let chosen = listen.iter().filter(is_far).find(fits).or_else(|| listen.first());
        let Some(chosen) = chosen else { return SocketAddr::from(([127, 0, 0, 1], 53)) };
        match sys::source_towards(via) {
            Ok(ip) if chosen.ip().is_unspecified() => SocketAddr::new(ip, chosen.port()),
            _ => chosen.reachable(),
        }
    }

    /// A name that nobody has below the zone that one of the mistakes takes whole, where we serve
    /// what is in its way.
    pub(super) fn beside_ours(&self) -> Option<Name> {
        let public = self.samples.iter().map(|sample| &sample.pair.public);
        let ours: Name = OURS_IN_IT.parse().ok()?;
        let serves = public.clone().any(|zone| *zone == ours);
        let name = random_name(TAKEN_WHOLE)?;
        (serves && !public.clone().any(|zone| name.is_within(zone))).then_some(name)
    }
}

pub(super) fn random_name(zone: &str) -> Option<Name> {
    use rand::RngExt;
    let mut random = rand::rng();
    let label: String =
        (0..LETTERS).map(|_| char::from(random.random_range(b'a'..=b'z'))).collect();
    label.parse::<Name>().ok()?.under(&zone.parse().ok()?).ok()
}
