//! DNS cookies towards plain servers (RFC 7873, RFC 9018).
//!
//! A worker draws 64 bits, the client cookie, for each server and source address, and sends them
//! with its queries. A server that speaks cookies repeats them in each reply, together with a
//! cookie of its own, which the worker sends back. Once a server has done so, a datagram without
//! our client cookie is not its reply. A host off the path has to guess those 64 bits as well.
//!
//! Servers stop speaking cookies: after a change of software, behind one address with others that
//! speak none, or behind a cache that mixes the options of several clients. The worker never
//! accepts such a datagram in place of the reply, and no query is lost to it: the query goes over
//! TCP, and if that brings no quick answer also over UDP without a cookie. Then a forger has to hit
//! both queries. Some servers reject queries with cookies, and some boxes on the path drop them. To
//! such servers the worker repeats the query without a cookie. [`Support`] remembers all of that.
//!
//! Encrypted transports need no cookies: nobody else can write into them.

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::wire::{HEADER_OCTETS, Header, OPTION_COOKIE, OPTION_HEAD_OCTETS, Question, cookie_of};

/// Octets of a client cookie (RFC 7873 §4).
const CLIENT_OCTETS: usize = 8;
/// Octets of the shortest server cookie (RFC 7873 §4).
const SERVER_OCTETS_MIN: usize = 8;
/// Octets of the longest one.
const SERVER_OCTETS_MAX: usize = 32;
/// Octets of the longest COOKIE option.
const OPTION_OCTETS_MAX: usize = OPTION_HEAD_OCTETS + CLIENT_OCTETS + SERVER_OCTETS_MAX;

/// Queries in a row that show that cookies do not work with a server: each got its answer without a
/// cookie or over TCP, and no reply over UDP to a query with a cookie was taken in between. A forger
/// would have to hit each of them.
const IN_A_ROW: u32 = 4;
/// How long queries to such a server then have no cookie. Afterwards a query tries again. If there
/// is trouble with that one too, it is enough.
const LASTS: Duration = Duration::from_secs(600);

/// A server's cookie.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct ServerCookie {
    octets: [u8; SERVER_OCTETS_MAX],
    /// 0: none.
    length: usize,
}

impl ServerCookie {
    fn as_octets(&self) -> &[u8] {
        self.octets.get(..self.length).unwrap_or(&[])
    }

    /// `None` if its length is not one that a server cookie has.
    fn of(octets: &[u8]) -> Option<Self> {
        if !(SERVER_OCTETS_MIN..=SERVER_OCTETS_MAX).contains(&octets.len()) {
            return None;
        }
        let mut cookie = Self { length: octets.len(), ..Self::default() };
        cookie.octets.get_mut(..octets.len())?.copy_from_slice(octets);
        Some(cookie)
    }
}

/// One worker's cookies at one server: never more than one of each kind.
#[derive(Default, Debug)]
pub(super) struct Jar(RefCell<Option<Pair>>);

#[derive(Debug)]
struct Pair {
    /// The address that queries with this client cookie leave from. The same cookie from another
    /// address would tell observers that both belong to one client (RFC 9018 §3).
    source: Option<IpAddr>,
    client: [u8; CLIENT_OCTETS],
    /// The last one that came with our client cookie.
    server: ServerCookie,
    /// Grows with every other server cookie.
    number: u32,
}

/// The COOKIE option of a query.
pub(super) struct CookieOption {
    octets: [u8; OPTION_OCTETS_MAX],
    length: usize,
}

impl CookieOption {
    fn new(client: [u8; CLIENT_OCTETS], server: &ServerCookie) -> Self {
        let mut option = Self { octets: [0; OPTION_OCTETS_MAX], length: 0 };
        let data = CLIENT_OCTETS + server.length;
        option.push(&OPTION_COOKIE.to_be_bytes());
        option.push(&u16::try_from(data).unwrap_or(0).to_be_bytes());
        option.push(&client);
        option.push(server.as_octets());
        option
    }

    fn push(&mut self, octets: &[u8]) {
        let end = self.length + octets.len();
        if let Some(place) = self.octets.get_mut(self.length..end) {
            place.copy_from_slice(octets);
            self.length = end;
        }
    }

    /// As it stands in an OPT record: code, length, client cookie, server cookie.
    pub(super) fn as_octets(&self) -> &[u8] {
        self.octets.get(..self.length).unwrap_or(&[])
    }
}

/// What to expect of the replies to a query with a cookie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sent {
    client: [u8; CLIENT_OCTETS],
    /// The number of the server cookie that went along.
    number: u32,
    /// The server has shown that it speaks cookies, so that a reply without our cookie is another
    /// host's, or the server's ways have changed.
    pub(super) is_expected: bool,
}

/// The cookie of a reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found<'a> {
    /// There is none.
    None,
    /// Our client cookie, with these octets behind it. Without any, the server has only echoed our
    /// option and shown nothing.
    Ours(&'a [u8]),
    /// Another client's cookie, or one whose length is wrong.
    Other,
}

impl Sent {
    /// Returns the cookie of `message`, which repeats `question`.
    pub(super) fn find<'a>(&self, message: &'a [u8], question: &Question) -> Found<'a> {
        let Some(header) = Header::read(message) else { return Found::None };
        let records_at = HEADER_OCTETS + question.qname.as_wire().len() + 4;
        let Some(cookie) = cookie_of(message, &header, records_at) else { return Found::None };
        match cookie.split_at_checked(CLIENT_OCTETS) {
            Some((client, server)) if client == self.client => match server.len() {
                0 | SERVER_OCTETS_MIN..=SERVER_OCTETS_MAX => Found::Ours(server),
                _ => Found::Other,
            },
            _ => Found::Other,
        }
    }
}

impl Jar {
    /// Returns the cookie for a datagram that leaves from `source`. Draws a new one from a CSPRNG if
    /// the last one was for another address.
    pub(super) fn take_for_datagram(&self, source: Option<IpAddr>) -> (Sent, CookieOption) {
        let mut pair = self.0.borrow_mut();
        let pair = match pair.take_if(|pair| pair.source != source) {
            Some(_) => pair.insert(Pair::draw(source)),
            None => pair.get_or_insert_with(|| Pair::draw(source)),
        };
        pair.take()
    }

    /// Returns the cookie for a connection: the one that datagrams have, if there is one.
    pub(super) fn take_for_connection(&self) -> (Sent, CookieOption) {
        self.0.borrow_mut().get_or_insert_with(|| Pair::draw(None)).take()
    }

    /// Keeps the server cookie that came with the client cookie of `sent`.
    pub(super) fn keep(&self, sent: Sent, server: &[u8]) {
        let mut pair = self.0.borrow_mut();
        // A server cookie that came with an earlier client cookie is of no use.
        let pair = pair.as_mut().filter(|pair| pair.client == sent.client);
        let Some(pair) = pair.filter(|pair| pair.server.as_octets() != server) else { return };
        if let Some(server) = ServerCookie::of(server) {
            pair.server = server;
            pair.number = pair.number.wrapping_add(1);
        }
    }

    /// Whether the next query gets other cookies than those of `sent`.
    pub(super) fn has_other_than(&self, sent: Sent) -> bool {
        let pair = self.0.borrow();
        pair.as_ref().is_none_or(|pair| (pair.client, pair.number) != (sent.client, sent.number))
    }

    /// Whether the server has given us a cookie.
    pub(super) fn is_proven(&self) -> bool {
        self.0.borrow().as_ref().is_some_and(|pair| pair.server.length > 0)
    }

    /// Throws the cookies away: the next query gets a new client cookie.
    pub(super) fn clear(&self) {
        self.0.take();
    }
}

impl Pair {
    fn draw(source: Option<IpAddr>) -> Self {
        Self { source, client: rand::random(), server: ServerCookie::default(), number: 0 }
    }

    fn take(&self) -> (Sent, CookieOption) {
        let is_expected = self.server.length > 0;
        let sent = Sent { client: self.client, number: self.number, is_expected };
        (sent, CookieOption::new(self.client, &self.server))
    }
}

/// Whether queries to a server have cookies, for people and programs.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cookies {
    /// The server has shown no cookie, or takes part in none because its transport is encrypted.
    #[default]
    No,
    /// The server speaks cookies: a reply over UDP must carry ours.
    Yes,
    /// Cookies do not work with the server: for ten minutes, queries have none.
    Off,
}

impl std::fmt::Display for Cookies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::No => "no",
            Self::Yes => "yes",
            Self::Off => "off",
        })
    }
}

/// Whether cookies work with one server, over the path to it. Shared by all workers.
#[derive(Debug)]
pub(super) struct Support {
    born: Instant,
    in_a_row: AtomicU32,
    /// Milliseconds after `born`; 0: cookies never failed.
    off_until_ms: AtomicU64,
    /// A worker has a server cookie.
    is_proven: AtomicBool,
    /// A query with a cookie has left since a query without one was last answered in its place.
    was_sent: AtomicBool,
}

impl Support {
    pub(super) fn new() -> Self {
        Self {
            born: Instant::now(),
            in_a_row: AtomicU32::new(0),
            off_until_ms: AtomicU64::new(0),
            is_proven: AtomicBool::new(false),
            was_sent: AtomicBool::new(false),
        }
    }

    /// Whether queries have no cookie now. Reads the clock only if cookies have ever failed.
    pub(super) fn is_off_now(&self) -> bool {
        self.off_until_ms.load(Ordering::Relaxed) != 0 && self.is_off(Instant::now())
    }

    /// Whether queries have no cookie at `now`.
    pub(super) fn is_off(&self, now: Instant) -> bool {
        let until_ms = self.off_until_ms.load(Ordering::Relaxed);
        until_ms != 0 && self.ms(now) < until_ms
    }

    pub(super) fn report(&self, now: Instant) -> Cookies {
        match (self.is_off(now), self.is_proven()) {
            (true, _) => Cookies::Off,
            (false, true) => Cookies::Yes,
            (false, false) => Cookies::No,
        }
    }

    /// A query with a cookie leaves.
    pub(super) fn note_sent(&self) {
        // A store by every query would bounce the line between cores.
        if !self.was_sent.load(Ordering::Relaxed) {
            self.was_sent.store(true, Ordering::Relaxed);
        }
    }

    /// An answer over UDP to a query with a cookie was taken.
    pub(super) fn note_taken(&self) {
        if self.in_a_row.load(Ordering::Relaxed) != 0 {
            self.in_a_row.store(0, Ordering::Relaxed);
        }
    }

    /// The server has given a cookie.
    pub(super) fn note_proven(&self) {
        self.is_proven.store(true, Ordering::Relaxed);
    }

    /// Whether the server has given a cookie, and nothing since then says that it speaks none.
    pub(super) fn is_proven(&self) -> bool {
        self.is_proven.load(Ordering::Relaxed)
    }

    /// A query without a cookie was answered after silence. Returns whether that turns cookies off.
    pub(super) fn note_answered_without(&self, now: Instant) -> bool {
        self.is_proven.store(false, Ordering::Relaxed);
        self.was_sent.swap(false, Ordering::Relaxed) && self.note_trouble(false, now)
    }

    /// A query with a cookie did not get its answer over UDP, but otherwise. `is_proof`: the server
    /// itself has shown, over TCP, that it does not repeat our cookie. Returns whether cookies are
    /// off now and were not.
    pub(super) fn note_trouble(&self, is_proof: bool, now: Instant) -> bool {
        let in_a_row = self.in_a_row.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if !is_proof && in_a_row < IN_A_ROW {
            return false;
        }
        // One more is enough when the time is over.
        self.in_a_row.store(IN_A_ROW - 1, Ordering::Relaxed);
        self.is_proven.store(false, Ordering::Relaxed);
        let was_off = self.is_off(now);
        self.off_until_ms.store(self.ms(now + LASTS).max(1), Ordering::Relaxed);
        !was_off
    }

    fn ms(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.born).as_millis()).unwrap_or(u64::MAX)
    }
}

/// Returns the server cookie that a worker keeps of `message`, if its client cookie is `client`. For
/// the fuzz target `reply`.
#[cfg(fuzzing)]
pub fn read_cookie(
    message: &[u8],
    question: &Question,
    client: [u8; CLIENT_OCTETS],
) -> Option<Vec<u8>> {
    let jar = Jar(RefCell::new(Some(Pair { client, ..Pair::draw(None) })));
    let (sent, _) = jar.take_for_connection();
    let Found::Ours(server) = sent.find(message, question) else { return None };
    jar.keep(sent, server);
    let (_, option) = jar.take_for_connection();
    option.as_octets().get(OPTION_HEAD_OCTETS + CLIENT_OCTETS..).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests;
