//! What servers answer right now.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::answered::{Answered, Outcome};
use super::configured::{Listed, Listing, Stranger};
use super::judge::Case;
use super::known::{Known, Subject};
use super::pairs::Names;
use super::report::{Finding, Report};
use crate::engine::query_message;
use crate::upstream::{OnceError, Patience, ask};
use crate::wire::{AnswerError, Header, Name, Rcode, Rtype, flags};

/// Questions under way at once, each on a thread of its own. Far below what a server takes for a
/// flood: an Azure VM may have 200 pending.
const IN_FLIGHT: usize = 32;
/// Names in a row without a reply after which a server is not asked any more: a dead one would cost
/// seconds for each name.
const MOST_SILENCE: usize = 64;

/// Which servers to ask, and how.
pub struct Live<'a> {
    /// The servers.
    pub servers: &'a [SocketAddr],
    /// How long each is waited for.
    pub patience: Patience,
    /// Hears how many of how many questions are through; from any thread.
    pub progress: &'a (dyn Fn(usize, usize) + Sync),
}

/// A name to ask for.
struct Item<'k> {
    name: &'k Name,
    subject: Option<&'k Subject>,
    listings: &'k [Listing],
    gone: Option<&'k str>,
}

pub(super) fn compare(live: &Live<'_>, known: &Known, listed: &Listed, report: &mut Report) {
    report.compared.servers = live.servers.iter().map(|server| format!("@{server}")).collect();
    let subjects = known.subjects.iter().map(|subject| (&subject.names, Some(subject), None));
    let wildcard = |names: &Names| names.iter().find_map(|name| known.find(name));
    let strangers = listed.strangers.iter();
    let strangers =
        strangers.map(|Stranger { names, gone }| (names, wildcard(names), gone.as_deref()));
    let mut items = Vec::new();
    for (names, subject, gone) in subjects.chain(strangers) {
        let listings = listed.of(names);
        // A public name that nobody says Azure has need not exist.
        let own = subject.filter(|subject| subject.names == *names);
        let said = own.map_or(&[][..], |subject| &subject.said);
        let asked = if said.is_empty() {
            names.iter().take(1).collect()
        } else {
            said.iter().collect::<Vec<_>>()
        };
        items.extend(asked.into_iter().map(|name| Item { name, subject, listings, gone }));
    }
    for (item, server, answered) in ask_all(live, &items) {
        let Item { name, subject, listings, gone } = *item;
        let case = Case { known, subject, listings, gone, live: true };
        let Some((kind, why)) = case.judge(&answered) else { continue };
        report.findings.push(Finding {
            kind,
            names: vec![name.to_string()],
            asked: vec![format!("@{server}")],
            azure: subject.map_or_else(Vec::new, |subject| subject.azure.clone()),
            answered,
            configured: None,
            why,
        });
    }
}

/// Asks every server for every item.
fn ask_all<'i>(
    live: &Live<'_>,
    items: &'i [Item<'i>],
) -> Vec<(&'i Item<'i>, SocketAddr, Answered)> {
    let silences: Vec<AtomicUsize> = live.servers.iter().map(|_| AtomicUsize::new(0)).collect();
    let servers = || live.servers.iter().zip(&silences);
    let jobs: Vec<_> =
        items.iter().flat_map(|item| servers().map(move |server| (item, server))).collect();
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let answers = Mutex::new(Vec::with_capacity(jobs.len()));
    let work = || {
        while let Some((item, (server, silence))) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let answered = ask_patiently(**server, silence, item.name, live.patience);
            // Nothing panics while it is held.
            if let Ok(mut answers) = answers.lock() {
                answers.push((*item, **server, answered));
            }
            (live.progress)(done.fetch_add(1, Ordering::Relaxed) + 1, jobs.len());
        }
    };
    thread::scope(|scope| {
        for _ in 1..IN_FLIGHT.min(jobs.len()) {
            // Where the system has no thread left, those that are there do the work.
            let _maybe = thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    answers.into_inner().unwrap_or_default()
}

/// Asks a server, unless it has been silent for too long; counts its silence.
fn ask_patiently(
    server: SocketAddr,
    silence: &AtomicUsize,
    name: &Name,
    patience: Patience,
) -> Answered {
    if silence.load(Ordering::Relaxed) >= MOST_SILENCE {
        let how = format!("not asked after {MOST_SILENCE} questions without a reply");
        return Outcome::Failed(how).into();
    }
    let mut heard = false;
    let answered = Answered::gather(|rtype| {
        let message = query_message(rand::random(), name, rtype, false);
        let garbled = Cell::new(false);
        let failed = |how: &str| Answered::from(Outcome::Failed(format!("{rtype}: {how}")));
        match ask(server, &message, patience, |reply| is_ours(reply, name, rtype, &garbled)) {
            Ok((reply, _)) => {
                heard = true;
                match read(&reply, name, rtype) {
                    Ok(Answered { outcome: Outcome::Failed(how), .. }) => failed(&how),
                    Ok(answered) => answered,
                    Err(error) => failed(&error.to_string()),
                }
            }
            Err(OnceError::Silence { .. }) if garbled.get() => failed("malformed replies only"),
            Err(error) => failed(&in_words(&error)),
        }
    });
    if heard {
        silence.store(0, Ordering::Relaxed);
    } else {
        silence.fetch_add(1, Ordering::Relaxed);
    }
    answered
}

/// Whether a datagram is a reply to this question; others are forged, or late. One that is
/// malformed may be followed by a better one, but for a truncated one, which is had over TCP.
fn is_ours(reply: &[u8], name: &Name, rtype: Rtype, garbled: &Cell<bool>) -> bool {
    match read(reply, name, rtype) {
        Ok(_) | Err(AnswerError::Endless) => true,
        Err(AnswerError::WrongQuestion | AnswerError::NotAReply) => false,
        Err(AnswerError::Malformed) => {
            garbled.set(true);
            Header::read(reply).is_some_and(|header| header.has(flags::TC))
        }
    }
}

fn read(reply: &[u8], name: &Name, rtype: Rtype) -> Result<Answered, AnswerError> {
    let read = Answered::read(reply, name, rtype);
    match Header::read(reply) {
        // Servers without EDNS may leave the question out of an error (RFC 6891 §7).
        Some(header) if read.is_err() && header.questions == 0 && header.has(flags::QR) => {
            let rcode = Rcode(header.flags & flags::RCODE);
            let failed = || Outcome::Failed(rcode.to_string()).into();
            if rcode == Rcode::NOERROR { read } else { Ok(failed()) }
        }
        _ => read,
    }
}

/// Without the server's address, which stands beside it.
fn in_words(error: &OnceError) -> String {
    match error {
        OnceError::Silence { .. } => "no reply".to_owned(),
        OnceError::NoSocket(why) => format!("no socket: {why}"),
        OnceError::Unreachable { why, .. } | OnceError::Refused { why, .. } => {
            format!("no reply: {why}")
        }
        OnceError::Stream { why, .. } => format!("no reply over TCP: {why}"),
    }
}
