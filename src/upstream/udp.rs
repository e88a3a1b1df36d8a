//! Queries over UDP, on sockets of a pool ([`super::pool`]).
//!
//! What makes a reply hard to forge (RFC 5452 §9.2): the peer (the socket is connected), our port,
//! a 16-bit id from a CSPRNG, the question, its letter case ([`super::case`]), and the cookie, if
//! the server speaks cookies ([`super::cookie`]). docs/design/off-path.md has the odds.
//!
//! Identical questions are one race (`forward::flights`), so clients cannot have as many queries
//! opened as birthdays need. While a server is silent its race repeats the query, each time with an
//! id and a port of its own, and listens for all: nine are open in the end (`forward::race`; twice
//! that for a moment, when the network changes). Giving up the earlier ones would lose the late
//! replies of a path that has become slow.
//!
//! What came with a query's id but does not repeat its question is dropped and counted, and the
//! query listens on: a forger who guesses gains nothing by it. When the try's time is over, or after
//! too many such datagrams, the query goes over TCP, which a host off the path cannot forge.
//!
//! An ICMP error is only a hint, because a host off the path can send one to every port in turn.
//! The query goes over TCP and still listens. The try fails only if TCP cannot reach the server
//! either and the server stays silent for as long as its replies take. A host off the path cannot
//! forge the end of a TCP handshake, because it does not see the sequence number.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout_at;

use super::case::Case;
use super::cookie::{CookieOption, Found, Jar, Sent};
use super::failure::{Flaw, TryError};
use super::pool::{Pool, Seat};
use super::query::{self, Edns, Reading};
use super::server::{Upstream, count};
use super::socket::ReceiveBuffer;
use super::waiters::Delivery;
use crate::wire::{Question, Rcode};

/// Datagrams with its id that a query drops before it goes over TCP: the bound of its work. The
/// genuine reply is not waited for any longer then, because a forger who knows id and port may be
/// about to find the question's letters too. BIND and PowerDNS take the first one as the sign of an
/// attack. They have a socket for each query. Here a few share one, and a datagram with this id is
/// mostly a late reply to an earlier query or a broken server's.
const MISMATCHES: u32 = 8;
/// How long a query that met such datagrams listens before it goes over TCP, at a server that
/// has no measured time yet: longer than a resolver nearby takes for a name that it has to look up.
const UNMEASURED: Duration = Duration::from_millis(250);

/// One worker's way to ask one server over UDP.
pub(super) struct Udp {
    upstream: Arc<Upstream>,
    pool: Pool,
    jar: Jar,
}

/// A query that has left; dropping it ends the waiting for its reply.
pub(super) struct Asked<'a> {
    seat: Seat,
    upstream: &'a Upstream,
    jar: &'a Jar,
    question: &'a Question,
    edns: Edns,
    /// `None`: lower case, and the reply may have any.
    case: Option<Case>,
    /// `None`: it has no cookie, and the reply may have any.
    cookie: Option<Sent>,
    /// Datagrams with its id that were dropped.
    mismatches: u32,
    /// Whether an ICMP error came for it.
    is_doubted: bool,
    /// Whether a datagram in another case, or without its cookie, came for it.
    met_other_form: bool,
}

/// What came for a query.
pub(super) enum Heard {
    /// A message that the server itself has sent.
    Reply(Reading),
    /// An error without a question that can mean that the server does not speak EDNS.
    MaybeNoEdns,
    /// The try's time is over, and only datagrams came that anybody can have sent.
    Mismatches,
    /// More such datagrams came than one query listens to.
    TooManyMismatches,
    /// An ICMP error came, which anybody can have sent.
    IcmpError,
    /// A datagram came that repeats the question in another case, which anybody can have sent.
    OtherCase,
    /// A datagram came without the cookie that it must have, which anybody can have sent.
    OtherCookie,
}

/// One thing that came for a query.
enum Next {
    Message(Reading),
    IcmpError,
}

impl Asked<'_> {
    /// Waits for a message of the server's own. Drops and counts all others, and gives up when
    /// there are too many of them, or when the try's time is over and there was one: without one,
    /// the time is the caller's to watch.
    pub(super) async fn hear(&mut self) -> Result<Heard, TryError> {
        loop {
            if self.mismatches >= MISMATCHES {
                return Ok(Heard::TooManyMismatches);
            }
            let next = match self.mismatches {
                0 => self.next().await,
                _ => {
                    let wait = self.upstream.rtt().map_or(UNMEASURED, |rtt| rtt.timeout());
                    match Box::pin(timeout_at(self.seat.since + wait, self.next())).await {
                        Ok(next) => next,
                        Err(_) => return Ok(Heard::Mismatches),
                    }
                }
            };
            if let Some(heard) = self.sort(next?) {
                return Ok(heard);
            }
        }
    }

    /// Waits for a message of the server's own, however long it takes; `None`: too many others came.
    pub(super) async fn hear_on(&mut self) -> Result<Option<Reading>, TryError> {
        while self.mismatches < MISMATCHES {
            let next = self.next().await?;
            if let Some(Heard::Reply(reading)) = self.sort(next) {
                return Ok(Some(reading));
            }
        }
        Ok(None)
    }

    /// Waits as [`Self::hear_on`] does, but no longer than the server's replies take. A server that
    /// has never replied gets no time.
    ///
    /// # Errors
    /// `late` when no reply came in that time.
    pub(super) async fn hear_in_time(&mut self, late: TryError) -> Result<Reading, TryError> {
        let wait = match self.upstream.rtt() {
            Some(rtt) => rtt.timeout(),
            None if self.upstream.has_replied() => UNMEASURED,
            None => Duration::ZERO,
        };
        let until = self.seat.since + wait;
        match timeout_at(until, self.hear_on()).await {
            Ok(heard) => heard?.ok_or(TryError::Mismatched),
            Err(_) => Err(late),
        }
    }

    /// Whether an ICMP error came for the query.
    pub(super) fn is_doubted(&self) -> bool {
        self.is_doubted
    }

    /// Whether the server has given us other cookies than the query has.
    pub(super) fn has_new_cookie(&self) -> bool {
        self.cookie.is_some_and(|sent| self.jar.has_other_than(sent))
    }

    /// The next thing that came for the query, read.
    async fn next(&self) -> Result<Next, TryError> {
        let waiters = self.seat.socket.waiters();
        match poll_fn(|context| waiters.poll(self.seat.id, context)).await {
            Delivery::Message(mut message) => {
                let reading = query::read_in(&mut message, self.question, self.edns, self.case);
                let reading = self.hold_against_cookie(reading, &message);
                waiters.give_back(message);
                Ok(Next::Message(reading))
            }
            Delivery::IcmpError(_) => Ok(Next::IcmpError),
            Delivery::Unsent(kind) => Err(TryError::of_kind(kind)),
        }
    }

    /// Returns what `message` is by its cookie, after everything else about it was read. Keeps the
    /// server cookie of a genuine reply.
    fn hold_against_cookie(&self, reading: Reading, message: &[u8]) -> Reading {
        let Some(sent) = self.cookie else { return reading };
        let is_rejection = match &reading {
            Reading::Answer(answer) => query::is_rejection(answer),
            Reading::NoEdns | Reading::BadCookie | Reading::Unusable(_) => false,
            // Without a question it has no records either.
            Reading::Bare(Rcode::FORMERR | Rcode::NOTIMP) if sent.is_expected => {
                return Reading::OtherCookie;
            }
            // What is cut may lack the option, and goes over TCP in any case.
            Reading::Truncated => return reading,
            Reading::Bare(_)
            | Reading::OtherCase
            | Reading::OtherCookie
            | Reading::OtherQuestion
            | Reading::NotAReply => return reading,
        };
        match sent.find(message, self.question) {
            Found::Ours(server) => {
                if !server.is_empty() && !sent.is_expected {
                    self.upstream.cookies.note_proven();
                }
                self.jar.keep(sent, server);
                reading
            }
            // Its records cannot be read, so it goes over TCP as well.
            Found::None if matches!(reading, Reading::Unusable(Flaw::Malformed)) => reading,
            Found::None if !sent.is_expected && is_rejection => Reading::NoEdns,
            Found::None if !sent.is_expected => reading,
            Found::None | Found::Other => Reading::OtherCookie,
        }
    }

    /// `None` for a message that is dropped.
    fn sort(&mut self, next: Next) -> Option<Heard> {
        let Next::Message(reading) = next else {
            self.is_doubted = true;
            count(&self.upstream.counters.icmp_errors);
            return Some(Heard::IcmpError);
        };
        if reading.is_genuine() {
            self.seat.is_answered = true;
            self.seat.socket.waiters().note_genuine();
            if matches!(reading, Reading::BadCookie) {
                count(&self.upstream.counters.bad_cookie);
            }
            if self.case.is_some() {
                self.upstream.folding.note_kept();
            }
            if self.cookie.is_some() && matches!(reading, Reading::Answer(_)) {
                self.upstream.cookies.note_taken();
            }
            return Some(Heard::Reply(reading));
        }
        self.mismatches += 1;
        match reading {
            Reading::OtherCase if !self.met_other_form => {
                self.met_other_form = true;
                count(&self.upstream.counters.other_case);
                Some(Heard::OtherCase)
            }
            Reading::OtherCookie if !self.met_other_form => {
                self.met_other_form = true;
                count(&self.upstream.counters.other_cookie);
                Some(Heard::OtherCookie)
            }
            Reading::Bare(Rcode::FORMERR | Rcode::NOTIMP)
                if self.edns.has_opt() && self.mismatches == 1 =>
            {
                Some(Heard::MaybeNoEdns)
            }
            _ => {
                count(&self.upstream.counters.mismatches);
                None
            }
        }
    }
}

impl Udp {
    pub(super) fn new(upstream: Arc<Upstream>, buffer: ReceiveBuffer) -> Self {
        Self { pool: Pool::new(Arc::clone(&upstream), buffer), jar: Jar::default(), upstream }
    }

    /// The cookies of this worker and server.
    pub(super) fn jar(&self) -> &Jar {
        &self.jar
    }

    /// Sends the query, its name in letters of `case`.
    pub(super) async fn ask<'a>(
        &'a self,
        question: &'a Question,
        edns: Edns,
        case: Option<Case>,
    ) -> Result<Asked<'a>, TryError> {
        let seat = self.pool.seat()?;
        let (cookie, option) = match edns {
            Edns::WithCookie => {
                self.upstream.cookies.note_sent();
                Some(self.jar.take_for_datagram(seat.socket.source())).unzip()
            }
            Edns::With | Edns::Without => (None, None),
        };
        let options = option.as_ref().map_or(&[][..], CookieOption::as_octets);
        let opt = edns.has_opt().then_some(options);
        seat.socket.post(|out| query::write_in(out, seat.id, question, opt, case)).await;
        count(&self.upstream.counters.queries);
        Ok(Asked {
            seat,
            upstream: &self.upstream,
            jar: &self.jar,
            question,
            edns,
            case,
            cookie,
            mismatches: 0,
            is_doubted: false,
            met_other_form: false,
        })
    }
}
