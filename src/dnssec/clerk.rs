//! Between hickory's validator, which wants `Send`, and a source of keys that lives on one thread:
//! the validator leaves its questions at a [`Desk`], the [`Clerk`] of one validation answers them.
//! Here stands how much one question may cost.

use std::collections::HashMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Instant;

use hickory_proto::op::{DnsRequest, DnsResponse, Message, Query};
use hickory_proto::rr::RecordType;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::DnsResponseStream;
use hickory_resolver::net::{DnsHandle, NetError};
use tokio::sync::{mpsc, oneshot};

use super::known::{Known, Proven};
use super::parts::{Part, from_hickory, to_hickory};
use super::session::Session;
use super::whole::{Unfit, Whole};
use super::{Brought, Source};
use crate::wire::{CLASS_IN, Name, Question, Rtype};

/// Questions about keys for one client's question. A chain of ten unsigned names in ten zones takes
/// some 50 while nothing is kept; nobody honest needs more.
pub(super) const MAX_QUERIES: usize = 64;
/// Looks at what is known already, for one client's question.
pub(super) const MAX_LOOKS: usize = 1_024;
/// Signatures in one message. Honest ones have one or two for each RRset, and few RRsets
/// (KeyTrap, CVE-2023-50387). Each is tried with at most three keys, some 0.1 ms each.
pub(super) const MAX_SIGNATURES: usize = 64;
/// Signatures in all messages for one client's question.
pub(super) const MAX_SIGNATURES_IN_ALL: usize = 256;
/// Keys, or digests of keys, that one zone may have: the largest known have about a dozen. Each is
/// hashed for every signature.
pub(super) const MAX_KEYS: usize = 32;
/// Steps for one client's question: a record that is read, looked at, copied, or hashed for one
/// signature. The largest honest answer has 4,096 records, which takes some 25,000 steps, and may be
/// judged four times. A step takes less than a microsecond.
pub(super) const MAX_STEPS: usize = 131_072;
/// Rounds of hashing over NSEC3 records for one client's question (CVE-2023-50868). A round takes
/// less than a microsecond. That is 40 looks at denials of a name with five labels in a zone with 100
/// iterations, the most that count (RFC 9276 §3.2), or 3,000 in a zone without.
pub(super) const MAX_HASH_ROUNDS: usize = 32_768;
/// Questions of the validator that wait for the clerk: it asks for one to eight at once.
const DESK: usize = 8;

const TOO_MANY_STEPS: &str = "validation takes too many steps";

/// What the validator takes for a resolver.
#[derive(Clone)]
pub(super) struct Desk(mpsc::Sender<Ask>);

/// A question on the desk.
struct Ask {
    query: Query,
    reply: oneshot::Sender<Result<DnsResponse, NetError>>,
}

impl DnsHandle for Desk {
    type Response = DnsResponseStream;
    type Runtime = TokioRuntimeProvider;

    fn send(&self, request: DnsRequest) -> Self::Response {
        let desk = self.0.clone();
        let query = request.queries.first().cloned();
        let fetch: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(async move {
            let query = query.ok_or(NetError::Message("a request without a question"))?;
            let (reply, replied) = oneshot::channel();
            // Nobody is there any more when the time is up; then nobody reads this either.
            let gone = NetError::Message("validation has ended");
            desk.send(Ask { query, reply }).await.map_err(|_| gone.clone())?;
            replied.await.map_err(|_| gone)?
        });
        DnsResponseStream::from(Box::pin(fetch))
    }
}

/// Answers the validator's questions about keys, each once.
pub(super) struct Clerk<'a, S> {
    source: &'a S,
    inbox: mpsc::Receiver<Ask>,
    desk: Desk,
    session: &'a mut Session,
    held: HashMap<(Name, Rtype), Option<Held>>,
    /// Zones whose keys are held as proven.
    taken: Vec<Name>,
    /// The clerk asks the source nothing: the held records must do.
    is_off_duty: bool,
    missing: Option<Missing>,
}

/// A part that the clerk holds.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) part: Arc<Part>,
    /// Since when we have had it.
    pub(super) since: Instant,
}

/// What could not be had, in words: then nothing can be said of what needs it.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Missing {
    /// Nobody brought it, which says nothing about the answer.
    Unanswered(String),
    /// It takes more than anybody may ask of us.
    Unaffordable(String),
}

impl<'a, S: Source> Clerk<'a, S> {
    pub(super) fn new(source: &'a S, session: &'a mut Session) -> Self {
        let (sender, inbox) = mpsc::channel(DESK);
        Self {
            source,
            inbox,
            desk: Desk(sender),
            session,
            held: HashMap::new(),
            taken: Vec::new(),
            is_off_duty: false,
            missing: None,
        }
    }

    pub(super) fn desk(&self) -> Desk {
        self.desk.clone()
    }

    pub(super) fn session(&mut self) -> &mut Session {
        self.session
    }

    /// Puts the part that is validated where the validator asks for it. Gives false where it holds
    /// more than anybody may ask us to look at.
    pub(super) fn put(&mut self, part: Arc<Part>) -> bool {
        let key = from_hickory(&part.name).map(|name| (name, Rtype(part.asked.into())));
        let Some(key) = key.filter(|_| self.affords(&part)) else { return false };
        self.held.insert(key, Some(Held { part, since: Instant::now() }));
        true
    }

    /// Holds the keys in `path` as proven, without signatures, instead of those of an earlier path.
    pub(super) fn take_keys(&mut self, path: &[Known]) {
        for zone in self.taken.drain(..) {
            self.held.remove(&(zone, Rtype::DNSKEY));
        }
        for known in path {
            let Proven::Keys(part) = &known.proven else { continue };
            let held = Held { part: Arc::clone(part), since: known.learned };
            self.session.note_used(&known.zone, known.learned, true);
            self.held.insert((known.zone.clone(), Rtype::DNSKEY), Some(held));
            self.taken.push(known.zone.clone());
        }
    }

    /// What could not be had.
    pub(super) fn missing(&self) -> Option<&Missing> {
        self.missing.as_ref()
    }

    /// Whatever was brought.
    pub(super) fn brought(&self) -> impl Iterator<Item = &Part> {
        self.held.values().flatten().map(|held| &*held.part)
    }

    /// Returns the held records of a type at `name`.
    pub(super) fn held(&self, name: &Name, rtype: RecordType) -> Option<&Held> {
        self.held.get(&(name.clone(), Rtype(rtype.into())))?.as_ref()
    }

    /// Returns the age of the held records of a type at `name`, seconds; 0 if there are none.
    pub(super) fn age_seconds(&self, name: &Name, rtype: RecordType) -> u32 {
        let age = self.held(name, rtype).map(|held| held.since.elapsed().as_secs());
        u32::try_from(age.unwrap_or(0)).unwrap_or(u32::MAX)
    }

    /// Returns the names at or above `name` at which records of that type are held, the highest
    /// first.
    pub(super) fn held_above(&self, name: &Name, rtype: RecordType) -> Vec<Name> {
        let rtype = Rtype(rtype.into());
        let held = self.held.iter().filter(|((zone, held), what)| {
            *held == rtype && what.is_some() && name.is_within(zone)
        });
        let mut names: Vec<_> = held.map(|((zone, _), _)| zone.clone()).collect();
        names.sort_by_key(Name::label_count);
        names
    }

    /// Does `work` with the held records, and asks the source nothing.
    pub(super) async fn serve_off_duty<T>(&mut self, work: impl Future<Output = T>) -> T {
        self.is_off_duty = true;
        let done = self.serve(work).await;
        self.is_off_duty = false;
        done
    }

    /// Does `work`, answering what it asks.
    pub(super) async fn serve<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                Some(ask) = self.inbox.recv() => {
                    let part = self.answer(&ask.query).await;
                    let reply = match part {
                        Some(part) => response(&part.message),
                        None => Err(NetError::NoConnections),
                    };
                    // It may have found what it wanted elsewhere.
                    let _gone = ask.reply.send(reply);
                }
            }
        }
    }

    async fn answer(&mut self, query: &Query) -> Option<Arc<Part>> {
        let name = from_hickory(query.name())?;
        self.bring(name, query.query_type()).await
    }

    /// The answer to a question about keys.
    pub(super) async fn bring(&mut self, name: Name, rtype: RecordType) -> Option<Arc<Part>> {
        self.session.effort.looks += 1;
        if self.session.effort.looks > MAX_LOOKS {
            return self.lack_means(TOO_MANY_STEPS.to_owned());
        }
        let key = (name, Rtype(rtype.into()));
        if let Some(held) = self.held.get(&key) {
            let part = Arc::clone(&held.as_ref()?.part);
            return self.look_at(part);
        }
        if self.is_off_duty {
            return None;
        }
        self.session.effort.queries += 1;
        if self.session.effort.queries > MAX_QUERIES {
            return self.lack_means("validation takes too many queries".to_owned());
        }
        let question = Question {
            qname: key.0.clone(),
            qtype: key.1,
            qclass: CLASS_IN,
            dnssec_ok: true,
            checking_disabled: true,
        };
        if key.1 == Rtype::DNSKEY {
            self.session.note_asked_for_keys();
        }
        let since = self.session.fresh_since(&key.0);
        let brought = self.source.ask(question, since).await;
        if key.1 != Rtype::NS {
            let since = brought.as_ref().map_or_else(Instant::now, |brought| brought.since);
            self.session.note_used(&key.0, since, false);
        }
        let read = |Brought { answer, since }| -> Result<Held, Unfit> {
            let whole = Whole::read(&answer.borrowed())?;
            self.session.effort.steps += whole.len();
            let name = to_hickory(&key.0).ok_or(Unfit::Undecodable)?;
            let part = Part::new(&whole, name, rtype);
            // hickory asks only whether there are any.
            let part = if key.1 == Rtype::NS { part.shortened() } else { part };
            Ok(Held { part: Arc::new(part), since })
        };
        let held = match brought.map(read) {
            Some(Ok(held)) if self.affords(&held.part) => Some(held),
            Some(Ok(_)) => {
                self.lack_means(format!("too many keys or signatures in {} {}", key.0, key.1));
                None
            }
            Some(Err(unfit)) => {
                self.lack_means(unfit.text(&format!(" for {} {}", key.0, key.1)));
                None
            }
            None => {
                let what = format!("no answer for {} {}", key.0, key.1);
                self.missing.get_or_insert(Missing::Unanswered(what));
                None
            }
        };
        let part = held.as_ref().map(|held| Arc::clone(&held.part));
        self.held.insert(key, held);
        part.and_then(|part| self.look_at(part))
    }

    /// Counts a look of the validator at `part`.
    fn look_at(&mut self, part: Arc<Part>) -> Option<Arc<Part>> {
        let effort = &mut self.session.effort;
        effort.steps += part.len();
        effort.hash_rounds += part.hash_rounds();
        if effort.steps > MAX_STEPS || effort.hash_rounds > MAX_HASH_ROUNDS {
            return self.lack_means(TOO_MANY_STEPS.to_owned());
        }
        Some(part)
    }

    fn affords(&mut self, part: &Part) -> bool {
        let signatures = part.signature_count();
        self.session.effort.signatures += signatures;
        self.session.effort.steps += part.steps();
        signatures <= MAX_SIGNATURES
            && self.session.effort.steps <= MAX_STEPS
            && self.session.effort.signatures <= MAX_SIGNATURES_IN_ALL
            && part.records(RecordType::DNSKEY).count() <= MAX_KEYS
            && part.records(RecordType::DS).count() <= MAX_KEYS
    }

    /// Where both are missing, this counts: an answer that costs too much is bogus whoever is down.
    fn lack_means(&mut self, what: String) -> Option<Arc<Part>> {
        if !matches!(self.missing, Some(Missing::Unaffordable(_))) {
            self.missing = Some(Missing::Unaffordable(what));
        }
        None
    }
}

fn response(message: &Message) -> Result<DnsResponse, NetError> {
    Ok(DnsResponse::from_message(message.clone())?)
}
