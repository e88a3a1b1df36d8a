//! Many questions at once, each with an end: threads that are left behind when the time is over.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;

use super::seen::{Outcome, Seen, Silence};
use crate::engine::question_message;
use crate::upstream::{self, Flaw, Link, OnceError, Patience, TryError, Upstream};
use crate::wire::{Header, Question, flags};

/// Longest wait for one reply: nobody asks for longer, Windows DNS gives up earlier.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// For one over a connection that has to be made: the bound of a dial is 2.5 s.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(3);
/// Times that a question is sent over UDP: a datagram may get lost.
const UDP_TRIES: u32 = 2;
/// Threads that ask: with as many, the most questions there are take 10 s when nobody answers.
const THREADS: usize = 128;
/// Octets of a thread's stack; a handshake's needs are the largest.
const STACK_OCTETS: usize = 1 << 20;

/// Whom and how.
#[derive(Clone, Debug)]
pub(super) enum Way {
    /// One datagram, and what comes back.
    Udp(SocketAddr),
    /// A connection of its own.
    Tcp(SocketAddr),
    /// As stub resolvers do: over TCP where the reply is truncated.
    Stub(SocketAddr),
    /// As the daemon does, over the connection that the scheme wants.
    Link(Arc<Upstream>),
}

/// One question to one server.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) way: Way,
    pub(super) question: Question,
    pub(super) edns: bool,
    /// At most [`PATIENCE`] counts.
    pub(super) patience: Duration,
}

/// A question's place in its round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ticket(usize);

/// Questions that are asked together.
#[derive(Default)]
pub(super) struct Round {
    asks: Vec<Ask>,
}

/// What came of a round.
pub(super) struct Answers(Vec<Option<Outcome>>);

impl Answers {
    pub(super) fn of(&self, ticket: Ticket) -> Outcome {
        self.0.get(ticket.0).cloned().flatten().unwrap_or(Err(Silence::NotAsked))
    }
}

/// Those that share a link.
type Questions = Vec<(Ticket, Question)>;
type Job = Box<dyn FnOnce() -> Vec<(Ticket, Outcome)> + Send>;

impl Round {
    pub(super) fn put(&mut self, ask: Ask) -> Ticket {
        self.asks.push(ask);
        Ticket(self.asks.len() - 1)
    }

    pub(super) fn len(&self) -> usize {
        self.asks.len()
    }

    /// Asks all of them, and waits until `end` at most.
    pub(super) fn run(self, end: Instant) -> Answers {
        let mut answers = Answers(self.asks.iter().map(|_| None).collect());
        let jobs = Arc::new(Mutex::new(self.jobs()));
        let count = jobs.lock().unwrap_or_else(PoisonError::into_inner).len();
        let (told, tell) = channel();
        let all = (0..count.min(THREADS)).map(|_| (Arc::clone(&jobs), told.clone()));
        for (jobs, told) in all {
            let thread = thread::Builder::new().stack_size(STACK_OCTETS);
            // Without a thread the others have more to do.
            let _refused = thread.spawn(move || work(&jobs, &told, end));
        }
        drop(told);
        while let Some(left) = end.checked_duration_since(Instant::now())
            && let Ok(some) = tell.recv_timeout(left)
        {
            for (Ticket(place), outcome) in some {
                if let Some(answer) = answers.0.get_mut(place) {
                    *answer = Some(outcome);
                }
            }
        }
        answers
    }

    /// A job for each datagram and connection; one for each upstream's link, whose questions share it.
    fn jobs(self) -> VecDeque<Job> {
        let mut jobs: VecDeque<Job> = VecDeque::new();
        let mut links: Vec<(Arc<Upstream>, Questions)> = Vec::new();
        for (place, Ask { way, question, edns, patience }) in self.asks.into_iter().enumerate() {
            let ticket = Ticket(place);
            if let Way::Link(upstream) = way {
                match links.iter_mut().find(|(known, _)| known.number() == upstream.number()) {
                    Some((_, questions)) => questions.push((ticket, question)),
                    None => links.push((upstream, vec![(ticket, question)])),
                }
                continue;
            }
            jobs.push_back(Box::new(move || vec![(ticket, ask(&way, &question, edns, patience))]));
        }
        // First: they take longest.
        for (upstream, questions) in links {
            jobs.push_front(Box::new(move || ask_link(&upstream, questions)));
        }
        jobs
    }
}

fn work(jobs: &Mutex<VecDeque<Job>>, told: &Sender<Vec<(Ticket, Outcome)>>, end: Instant) {
    while Instant::now() < end {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(job) = job else { return };
        if told.send(job()).is_err() {
            return;
        }
    }
}

fn ask(way: &Way, question: &Question, edns: bool, patience: Duration) -> Outcome {
    let whole = patience.min(PATIENCE);
    let message = question_message(rand::random(), question, edns);
    let tries = Patience { each: whole / UDP_TRIES, udp_tries: UDP_TRIES as usize };
    let once = Patience { each: whole, udp_tries: 1 };
    // Whatever the server says is looked at; what is no response is somebody else's.
    let is_ours = |reply: &[u8]| Header::read(reply).is_some_and(|header| header.has(flags::QR));
    let reply = match way {
        Way::Udp(server) => upstream::ask_udp(*server, &message, tries, is_ours),
        Way::Tcp(server) => upstream::ask_tcp(*server, &message, once),
        Way::Stub(server) => {
            upstream::ask(*server, &message, tries, is_ours).map(|(reply, _)| reply)
        }
        Way::Link(_) => return Err(Silence::NotAsked),
    };
    match reply {
        Ok(octets) => Seen::read(&octets, question),
        Err(OnceError::Silence { .. }) => Err(Silence::Timeout(whole)),
        Err(OnceError::Stream { why, .. }) if why.kind() == io::ErrorKind::TimedOut => {
            Err(Silence::Timeout(whole))
        }
        Err(
            OnceError::NoSocket(why)
            | OnceError::Unreachable { why, .. }
            | OnceError::Refused { why, .. }
            | OnceError::Stream { why, .. },
        ) => Err(Silence::Failed(why.kind().to_string())),
    }
}

/// Asks all at once over one link.
fn ask_link(upstream: &Arc<Upstream>, questions: Questions) -> Vec<(Ticket, Outcome)> {
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let failed = Silence::Failed(error.to_string());
            return questions
                .into_iter()
                .map(|(ticket, _)| (ticket, Err(failed.clone())))
                .collect();
        }
    };
    let link = Rc::new(Link::new(Arc::clone(upstream), Link::receive_buffer()));
    LocalSet::new().block_on(&runtime, async {
        let asked = questions.into_iter().map(|(ticket, question)| {
            let link = Rc::clone(&link);
            let task = spawn_local(async move {
                match timeout(CONNECTION_PATIENCE, link.ask(&question)).await {
                    Ok(Ok(answer)) if answer.is_endless() => {
                        Err(silence(link.upstream(), TryError::Unusable(Flaw::Endless)))
                    }
                    Ok(Ok(answer)) => Ok(Seen::of(answer.borrowed(), &question)),
                    Ok(Err(error)) => Err(silence(link.upstream(), error)),
                    Err(_) => Err(Silence::Timeout(CONNECTION_PATIENCE)),
                }
            });
            (ticket, task)
        });
        let mut outcomes = Vec::new();
        for (ticket, task) in asked.collect::<Vec<_>>() {
            outcomes.push((ticket, task.await.unwrap_or(Err(Silence::NotAsked))));
        }
        outcomes
    })
}

/// The link's own words where it has some: what is wrong with a certificate, why a dial failed.
fn silence(server: &Upstream, error: TryError) -> Silence {
    let words = server.last_error().map_or_else(|| error.to_string(), |(_, words)| words);
    match error {
        TryError::Declined(_) | TryError::ServerFailed(_) | TryError::ServerBusy => {
            Silence::Status(words)
        }
        _ => Silence::Failed(words),
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::wire::Rtype;

    fn ask_of(server: SocketAddr) -> Ask {
        let question = Question::plain("example".parse().unwrap(), Rtype::A);
        Ask { way: Way::Udp(server), question, edns: true, patience: PATIENCE }
    }

    #[test]
    fn a_round_ends_with_its_time_and_says_who_was_not_asked() {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut round = Round::default();
        let asks = 2 * THREADS;
        let tickets: Vec<_> =
            (0..asks).map(|_| round.put(ask_of(silent.local_addr().unwrap()))).collect();
        assert_eq!(round.len(), asks);
        let begun = Instant::now();
        let answers = round.run(begun + Duration::from_millis(50));
        assert!(begun.elapsed() < PATIENCE);
        for ticket in tickets {
            assert_eq!(answers.of(ticket), Err(Silence::NotAsked));
        }
    }

    #[test]
    fn answers_find_their_questions() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = socket.local_addr().unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((octets, asker)) = socket.recv_from(&mut buffer) {
                buffer[2] |= 0x80;
                // NXDOMAIN for A, NOERROR for others.
                buffer[3] = if buffer[..octets].ends_with(b"\0\x01\0\x01") { 3 } else { 0 };
                let _gone = socket.send_to(&buffer[..octets], asker);
            }
        });
        let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut round = Round::default();
        let with = |qtype| {
            let mut ask = ask_of(server);
            (ask.edns, ask.question.qtype) = (false, qtype);
            ask
        };
        let (a, refused, txt) =
            (round.put(with(Rtype::A)), round.put(ask_of(closed)), round.put(with(Rtype::TXT)));
        let answers = round.run(Instant::now() + Duration::from_secs(20));
        assert_eq!(answers.of(a).unwrap().rcode.0, 3);
        assert_eq!(answers.of(txt).unwrap().rcode.0, 0);
        assert_eq!(answers.of(refused), Err(Silence::Failed("connection refused".to_owned())));
    }
}
