//! One query, one verdict.

use super::denial::{self, Denial};
use super::private::{self, Owner, Want};
use super::recorder::{Recorder, Silent, Step, UpstreamState};
use super::reply::{self, Age, Reply};
use super::snapshot::Snapshot;
use super::special;
use super::splice::{self, Chain};
use super::{Asked, Outcome, Silence, Transport, Verdict};
use crate::access::{Client, SiteId};
use crate::cache::Hit;
use crate::config::Refused;
use crate::forward::{Echo, Rule, Target};
use crate::wire::{
    AnswerRef, CLASS_IN, Ede, HEADER_OCTETS, Name, QName, Query, Rcode, Rtype, flags,
};
use crate::zones::{Found, Zones};

/// Decides what `request` gets under `snapshot`, and appends the reply, if there is one, to `out`.
///
/// Pure but for the cache's record of use: the same arguments give the same octets while no address of
/// an endpoint goes down or comes up. Allocates only when `out` lacks capacity, or `recorder` listens.
pub fn decide<R: Recorder>(
    snapshot: &Snapshot,
    asked: &Asked,
    request: &[u8],
    out: &mut Vec<u8>,
    recorder: &mut R,
) -> Verdict {
    let client = snapshot.clients.client(asked.client);
    recorder.note(|| Step::Client {
        address: asked.client,
        allowed: client.allowed,
        site: client.site.and_then(|SiteId(site)| snapshot.sites.get(site).cloned()),
    });
    let dropped = !client.allowed && snapshot.refused == Refused::Drop;
    let parsed = Query::parse(request);
    // By reference: it is half a kibibyte.
    let query = match &parsed {
        Ok(query) => query,
        Err(_) if dropped => return Verdict::Drop(Silence::Access),
        Err(fault) if reply::fault(*fault, request, out) => return Verdict::Reply(Outcome::Fault),
        Err(_) => return Verdict::Drop(Silence::NotAQuery),
    };
    if dropped {
        return Verdict::Drop(Silence::Access);
    }
    if let Some((ede, because)) = refusal(client, query) {
        return refuse(query, asked.transport, ede, because, out, recorder);
    }
    // Before zones and cache: probes are sent below zones of ours too.
    if let Some(echo) = snapshot.loops.echo(&query.qname, asked.now) {
        return catch(query, asked.transport, &echo, out, recorder);
    }
    let found = snapshot.zones.find(&query.qname);
    match found {
        Some(found) if found.is_ours() => {
            return answer_privately(found, client, asked, query, out, recorder);
        }
        found => {
            recorder.note(|| found.map_or(Step::NoZone, |found| private::zone_step(&found)));
            recorder.note_some(|| private::away_step(&found?));
            recorder.note_some(|| below_step(&snapshot.zones, &query.qname));
        }
    }
    let hit = match asked.transport {
        Transport::Udp => snapshot.cache.find_for_udp(&query.as_question(), asked.now),
        Transport::Tcp => snapshot.cache.find(&query.as_question(), asked.now),
    };
    let answer = hit.as_ref().map(Hit::answer).unwrap_or_default();
    let chain = splice::chain(&snapshot.zones, query.qtype, &answer);
    // An answer that held only because its chain led to us is none once it does not.
    let holds = |hit: &&Hit| !hit.needs_us || matches!(chain, Some(Chain::Ours { .. }));
    if let Some(hit) = hit.as_ref().filter(holds) {
        recorder.note(|| Step::Cache {
            hit: true,
            age_seconds: Some(hit.age_seconds),
            left_seconds: Some(hit.left_seconds),
            expired_seconds: None,
        });
        let want = want(client, asked, query);
        let zones = &snapshot.zones;
        let waiting = Waiting { query, transport: asked.transport, want, zones };
        let age = Age::Seconds(hit.age_seconds);
        let outcome = waiting.answer(&answer, chain.as_ref(), age, out, recorder);
        if snapshot.prefetch && hit.wants_refresh() {
            recorder.note_end_is_near();
        }
        return Verdict::Reply(outcome.unwrap_or(Outcome::Cached));
    }
    // Behind the cache, which holds no such name: none of them was ever forwarded.
    if found.is_none()
        && let Some(special) = special::answered(snapshot, &query.qname, query.qtype, recorder)
    {
        return special::answer(snapshot, query, asked.transport, &special, out);
    }
    recorder.note(|| Step::Cache {
        hit: false,
        age_seconds: None,
        left_seconds: None,
        expired_seconds: snapshot
            .cache
            .find_stale(&query.as_question(), asked.now)
            .filter(Hit::is_stale)
            .map(|hit| hit.expired_seconds()),
    });
    let Some(rule) = snapshot.rules.find(&query.qname) else {
        let because = "no forward rule covers this name";
        return refuse(query, asked.transport, Ede::NotAuthoritative, because, out, recorder);
    };
    recorder.note(|| rule_step(rule));
    recorder.note_some(|| snapshot.guard.step(rule, &query.qname.to_name()));
    Verdict::Forward
}

/// Why a well-formed query is refused whatever its name.
fn refusal(client: Client, query: &Query<'_>) -> Option<(Ede, &'static str)> {
    if !client.allowed {
        return Some((Ede::Prohibited, "this client is not in [access] allow"));
    }
    if query.qclass != CLASS_IN {
        return Some((Ede::NotSupported, "only class IN is served"));
    }
    if matches!(query.qtype, Rtype::AXFR | Rtype::IXFR) {
        return Some((Ede::NotSupported, "zone transfers are not served"));
    }
    None
}

pub(super) fn refuse<R: Recorder>(
    query: &Query<'_>,
    transport: Transport,
    ede: Ede,
    because: &str,
    out: &mut Vec<u8>,
    recorder: &mut R,
) -> Verdict {
    recorder.note(|| Step::Refused { because: because.to_owned() });
    reply::empty(query, transport, Rcode::REFUSED, Some((ede, because)), out);
    Verdict::Reply(Outcome::Refused)
}

/// A query of our own came back: answers it with the secret that tells our answer from others'.
fn catch<R: Recorder>(
    query: &Query<'_>,
    transport: Transport,
    echo: &Echo,
    out: &mut Vec<u8>,
    recorder: &mut R,
) -> Verdict {
    let because = "forwarding loop: this query of ours came back to us";
    recorder.note(|| Step::Refused { because: because.to_owned() });
    if query.qtype == Rtype::TXT {
        reply::echo(query, transport, echo, (Ede::Other, because), out);
    } else {
        reply::empty(query, transport, Rcode::REFUSED, Some((Ede::Other, because)), out);
    }
    Verdict::Reply(Outcome::Loop)
}

fn want(client: Client, asked: &Asked, query: &Query<'_>) -> Want {
    Want { qtype: query.qtype, site: client.site, rotation: asked.rotation }
}

fn answer_privately<R: Recorder>(
    found: Found<'_>,
    client: Client,
    asked: &Asked,
    query: &Query<'_>,
    out: &mut Vec<u8>,
    recorder: &mut R,
) -> Verdict {
    let mut reply = Reply::begin(query, asked.transport, out);
    let above_apex = query.qname_as_sent().get(..query.qname.label_offset(found.labels));
    let owner = Owner { at: HEADER_OCTETS, above_apex: above_apex.unwrap_or(&[]), found };
    match private::append(&mut reply, &owner, want(client, asked, query), recorder) {
        Ok(rcode) => reply.finish(private::bits(rcode), rcode, private::why(rcode), &[]),
        Err(_) => {
            reply.truncate();
            reply.finish(flags::AA | flags::TC, Rcode::NOERROR, None, &[]);
        }
    }
    Verdict::Reply(Outcome::Private)
}

/// Who waits for an upstream's answer.
struct Waiting<'a> {
    query: &'a Query<'a>,
    transport: Transport,
    want: Want,
    zones: &'a Zones,
}

impl Waiting<'_> {
    /// Writes `answer` for them, cut where its `chain` enters a zone of ours. Gives what kind of
    /// reply that made it, when it is no longer the upstream's.
    fn answer<R: Recorder>(
        &self,
        answer: &AnswerRef<'_>,
        chain: Option<&Chain<'_>>,
        age: Age,
        out: &mut Vec<u8>,
        recorder: &mut R,
    ) -> Option<Outcome> {
        let Self { query, transport, want, zones } = self;
        match chain {
            None | Some(Chain::Elsewhere(_)) => {
                let denial = Denial::of(zones, &query.qname, answer);
                if denial == Denial::AsNodata {
                    // The question's own name was noted before.
                    recorder.note_some(|| below_step(zones, &denial::chain_end(answer)?));
                }
                reply::from_answer(Reply::begin(query, *transport, out), answer, age, denial);
                None
            }
            Some(Chain::Ours { links, target, found }) => {
                let reply = Reply::begin(query, *transport, out);
                let cut = (*links, target, *found);
                splice::write(reply, answer, age, cut, *want, recorder);
                Some(Outcome::Private)
            }
        }
    }
}

/// Writes an answer for a client that waited for it: one that an upstream has just given, or a stale
/// one.
pub(super) fn answer_late(
    snapshot: &Snapshot,
    asked: &Asked,
    query: &Query<'_>,
    (answer, age): (&AnswerRef<'_>, Age),
    out: &mut Vec<u8>,
) -> Outcome {
    let client = snapshot.clients.client(asked.client);
    let want = want(client, asked, query);
    let zones = &snapshot.zones;
    let waiting = Waiting { query, transport: asked.transport, want, zones };
    let chain = splice::chain(zones, query.qtype, answer);
    let otherwise = if age == Age::Stale { Outcome::Stale } else { Outcome::Forwarded };
    waiting.answer(answer, chain.as_ref(), age, out, &mut Silent).unwrap_or(otherwise)
}

/// What becomes of an upstream's denial of `name`, where a name of ours lies below it.
fn below_step(zones: &Zones, name: &QName) -> Option<Step> {
    zones.has_below(name).then(|| Step::NamesBelow { name: name.to_string() })
}

fn rule_step(rule: &Rule) -> Step {
    Step::Rule {
        zones: rule.zones().iter().map(Name::to_string).collect(),
        upstreams: rule.targets().iter().map(|target| state_of(target)).collect(),
        timeout_ms: rule.timeout().as_millis().try_into().unwrap_or(u64::MAX),
    }
}

fn state_of(target: &Target) -> UpstreamState {
    UpstreamState { report: target.upstream().report(), looping: target.is_looping() }
}

/// Writes an answer that an upstream has just given, for a client that waited for it. For the fuzz
/// target `splice`.
#[cfg(fuzzing)]
pub fn answer_forwarded(
    snapshot: &Snapshot,
    asked: &Asked,
    query: &Query<'_>,
    answer: &AnswerRef<'_>,
    out: &mut Vec<u8>,
) -> Outcome {
    answer_late(snapshot, asked, query, (answer, Age::NEW), out)
}
