//! What all workers share about one server: its address, its counters, its state.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::bootstrap::Bootstrap;
use super::case::Folding;
use super::cookie::Support;
use super::failure::{Evidence, TryError};
use super::health::{Alarm, Health, Rtt, Silence};
use super::notices::Notices;
use super::report::{LastError, Tally, UpstreamReport};
use super::shares::Shares;
use super::silence::SilentZones;
use super::transport::Fault;
use super::trust::Authorities;
use super::willingness::Willingness;
use crate::config::UpstreamServer;
use crate::metrics::Allowance;
use crate::wire::Rcode;

/// How often the log says of one server that its certificate does not do.
const DISTRUST_SAID_EVERY: Duration = Duration::from_secs(60);

/// One server, shared by all workers and rules that name its address.
#[derive(Debug)]
pub struct Upstream {
    server: UpstreamServer,
    number: u64,
    /// Knows where it is, if it is named by host.
    bootstrap: Arc<Bootstrap>,
    pub(super) authorities: Authorities,
    pub(super) health: Health,
    willingness: Willingness,
    notices: Notices,
    /// Questions that wait for it now.
    pub(super) shares: Shares,
    pub(super) silent_zones: SilentZones,
    pub(super) folding: Folding,
    pub(super) cookies: Support,
    pub(super) counters: Counters,
    /// Log lines that say that its certificate does not do.
    distrust_lines: Mutex<Allowance>,
}

/// Counts since the start, relaxed. On cache lines of their own: each query writes here.
#[repr(align(128))]
#[derive(Default, Debug)]
pub(super) struct Counters {
    pub(super) queries: AtomicU64,
    pub(super) replies: AtomicU64,
    pub(super) mismatches: AtomicU64,
    pub(super) icmp_errors: AtomicU64,
    pub(super) other_case: AtomicU64,
    pub(super) other_cookie: AtomicU64,
    pub(super) bad_cookie: AtomicU64,
    pub(super) tcp_queries: AtomicU64,
    pub(super) tcp_dials: AtomicU64,
    pub(super) without_edns: AtomicU64,
    pub(super) unreachable: AtomicU64,
    timeouts: AtomicU64,
    servfail: AtomicU64,
    refused: AtomicU64,
    garbled: AtomicU64,
    unusable: AtomicU64,
    untrusted: AtomicU64,
    declined: AtomicU64,
    server_busy: AtomicU64,
    pub(super) busy: AtomicU64,
    own_shortage: AtomicU64,
}

/// Rounded up.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0))
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Upstream {
    /// A server nobody has asked yet, known by its address.
    pub fn new(server: UpstreamServer) -> Self {
        Self::with_alarm(server, Arc::default())
    }

    /// The same; `alarm` is rung when somebody should probe it.
    pub fn with_alarm(server: UpstreamServer, alarm: Arc<Alarm>) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        Self {
            notices: Notices::new(server.to_string()),
            server,
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            bootstrap: Arc::new(Bootstrap::new(HashMap::new(), None)),
            authorities: Authorities::default(),
            health: Health::new(alarm),
            willingness: Willingness::new(),
            shares: Shares::default(),
            silent_zones: SilentZones::default(),
            folding: Folding::new(),
            cookies: Support::new(),
            counters: Counters::default(),
            distrust_lines: Mutex::new(Allowance::new(1, DISTRUST_SAID_EVERY)),
        }
    }

    /// The same; `bootstrap` finds it, if it is named by host.
    #[must_use]
    pub fn found_by(self, bootstrap: Arc<Bootstrap>) -> Self {
        Self { bootstrap, ..self }
    }

    /// What finds it, if it is named by host.
    pub fn bootstrap(&self) -> &Arc<Bootstrap> {
        &self.bootstrap
    }

    /// Where it is and how it is asked.
    pub fn server(&self) -> &UpstreamServer {
        &self.server
    }

    /// No other of this process has it.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether queries and probes have stayed without reply: others are asked before it.
    pub fn is_down(&self) -> bool {
        self.health.is_down()
    }

    /// Whether its last tries stayed without reply, or it has just come back, and no client has been
    /// answered since: nobody should wait for it alone.
    pub fn is_in_doubt(&self) -> bool {
        self.health.is_in_doubt()
    }

    /// Whether the last try stayed without reply.
    pub(super) fn is_silent(&self) -> bool {
        self.health.is_silent()
    }

    /// Whether it has said that it is busy: others are asked before it, but for those that are down.
    pub fn is_busy(&self) -> bool {
        self.willingness.busy_for().is_some()
    }

    /// Whether it refused the last requests. A probe tells whether it refuses all.
    pub fn is_declining(&self) -> bool {
        self.willingness.is_declining()
    }

    /// The measured time of clients' queries; `None`: none was answered since it is up.
    pub fn rtt(&self) -> Option<Rtt> {
        self.health.rtt()
    }

    /// How fast it is in comparison: the time of probes, of clients' queries where there were none.
    pub fn pace(&self) -> Option<Duration> {
        self.health.pace()
    }

    /// Since a probe last measured [`Self::pace`].
    pub fn pace_age(&self, now: Instant) -> Option<Duration> {
        self.health.pace_age(now)
    }

    /// Sockets and connections towards it that were opened under another number are not to be used
    /// for new queries: the path has changed.
    pub fn epoch(&self) -> u32 {
        self.health.epoch()
    }

    /// New queries take new sockets and connections.
    pub fn renew(&self) {
        self.health.renew();
    }

    /// Whether it has ever replied.
    pub(super) fn has_replied(&self) -> bool {
        self.counters.replies.load(Ordering::Relaxed) > 0
    }

    /// The counters now.
    pub fn tally(&self) -> Tally {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        Tally {
            queries: read(&counters.queries),
            replies: read(&counters.replies),
            timeouts: read(&counters.timeouts),
            unreachable: read(&counters.unreachable),
            servfail: read(&counters.servfail),
            refused: read(&counters.refused),
            garbled: read(&counters.garbled),
            unusable: read(&counters.unusable),
            untrusted: read(&counters.untrusted),
            declined: read(&counters.declined),
            server_busy: read(&counters.server_busy),
            busy: read(&counters.busy),
            own_shortage: read(&counters.own_shortage),
            mismatches: read(&counters.mismatches),
            icmp_errors: read(&counters.icmp_errors),
            other_case: read(&counters.other_case),
            other_cookie: read(&counters.other_cookie),
            bad_cookie: read(&counters.bad_cookie),
            tcp_queries: read(&counters.tcp_queries),
            tcp_dials: read(&counters.tcp_dials),
            without_edns: read(&counters.without_edns),
        }
    }

    /// Its state now, for whoever looks on.
    pub fn report(&self) -> UpstreamReport {
        let now = Instant::now();
        let age = |at: Instant| now.saturating_duration_since(at).as_secs();
        let rtt = self.rtt();
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        UpstreamReport {
            address: self.server.to_string(),
            down: self.is_down(),
            since_seconds: age(self.health.since()),
            rtt_us: rtt.map(|rtt| micros(rtt.smoothed)),
            rtt_variation_us: rtt.map(|rtt| micros(rtt.variation)),
            cookies: self.cookies.report(now),
            busy_seconds: self.willingness.busy_for().map_or(0, whole_seconds),
            in_flight: u32::try_from(self.shares.taken()).unwrap_or(u32::MAX),
            last_error: self
                .health
                .last_error()
                .map(|(at, text)| LastError { text: text.into_owned(), age_seconds: age(at) }),
            counts: self.tally(),
        }
    }

    /// A reply came, to whatever: the server is there.
    pub fn note_reply(&self) {
        count(&self.counters.replies);
        if self.is_down()
            && let Some(was_down) = self.health.come_up(Instant::now())
        {
            self.willingness.accepted();
            self.notices.up(was_down);
        }
    }

    /// A client's query, sent at `begun`, was answered with `rcode`.
    pub fn note_answer(&self, rcode: Rcode, begun: Instant, now: Instant) {
        self.willingness.answered(begun);
        let (counter, reason) = match rcode {
            // Refusals come at once and failures late: neither is the path's time.
            Rcode::SERVFAIL => (&self.counters.servfail, "replied SERVFAIL"),
            Rcode::REFUSED => (&self.counters.refused, "replied REFUSED"),
            _ => {
                self.health.answered(Some(now.saturating_duration_since(begun)), now);
                return;
            }
        };
        self.health.answered(None, now);
        count(counter);
        self.health.note_error(Cow::Borrowed(reason), now);
    }

    /// A probe, sent at `begun`, was answered.
    pub fn note_probe(&self, begun: Instant, now: Instant) {
        self.willingness.accepted();
        self.health.probe_answered(now.saturating_duration_since(begun), now);
    }

    /// A try that began at `begun` is not answered yet, and should be by now.
    pub fn note_unanswered(&self, begun: Instant, now: Instant) {
        self.note_silence(self.health.unanswered(begun, now), now);
    }

    /// A probe that began at `begun` is not answered yet, and should be by now.
    pub fn note_probe_unanswered(&self, begun: Instant, now: Instant) {
        self.note_silence(self.health.probe_unanswered(begun, now), now);
    }

    fn note_silence(&self, silence: Option<Silence>, now: Instant) {
        count(&self.counters.timeouts);
        match silence {
            Some(Silence { tries, time }) => {
                let seconds = time.as_secs_f64();
                self.go_down(format!("no reply to {tries} queries within {seconds:.1} s"), now);
            }
            None => self.stay_down(now),
        }
    }

    /// A try that began at `begun` failed without a usable reply.
    pub fn note_failure(&self, error: TryError, begun: Instant, now: Instant) {
        self.count_failure(error);
        if error == TryError::Busy {
            return;
        }
        // The try itself may have said more, and in a flood of failures one is enough.
        self.health.note_error_unless_since(begun, now, || error.to_string().into());
        let tries = match error.evidence() {
            Evidence::Failing { tries } => tries,
            Evidence::Alive => {
                self.willingness.accepted();
                return self.health.answered(None, now);
            }
            Evidence::Declines => {
                self.health.heard(now);
                if self.willingness.declined() {
                    self.health.alarm.ring();
                }
                return;
            }
            Evidence::Nothing => return,
        };
        self.note_evidence(self.health.failed(tries, begun, now), error, now);
    }

    /// A probe that began at `begun` failed without a usable reply.
    pub fn note_probe_failure(&self, error: TryError, begun: Instant, now: Instant) {
        if error.evidence() != Evidence::Declines {
            return self.note_failure(error, begun, now);
        }
        self.count_failure(error);
        let tries = self.willingness.probe_declined().filter(|_| !self.is_down());
        self.note_evidence(tries, error, now);
    }

    /// `tries` in a row are proof that it does not work; `None` if they are not, or that is known.
    fn note_evidence(&self, tries: Option<u32>, error: TryError, now: Instant) {
        let Some(tries) = tries else { return self.stay_down(now) };
        let why = match error {
            // Only the try knows what is wrong with the certificate, with the URL or with what
            // came, or which interface or host is not there.
            TryError::Untrusted
            | TryError::Declined(_)
            | TryError::Garbled
            | TryError::Unreachable(ErrorKind::AddrNotAvailable) => {
                self.last_error().map(|(_, text)| text)
            }
            _ => None,
        };
        let why = why.unwrap_or_else(|| error.to_string());
        self.go_down(format!("{why} ({tries} tries in a row)"), now);
    }

    fn count_failure(&self, error: TryError) {
        let counters = &self.counters;
        count(match error {
            TryError::Busy => &counters.busy,
            TryError::OwnShortage => &counters.own_shortage,
            TryError::Untrusted => &counters.untrusted,
            TryError::Garbled => &counters.garbled,
            TryError::Unusable(_) => &counters.unusable,
            TryError::Declined(_) => &counters.declined,
            TryError::ServerBusy => &counters.server_busy,
            TryError::ServerFailed(_) => &counters.servfail,
            // Counted where they happen: probes of loops meet them too, and one query meets many.
            TryError::Unreachable(_) | TryError::Unprocessed | TryError::Mismatched => return,
        });
    }

    /// The server replied to a query that left after `begun`, though not with an answer: the try is
    /// not one that stays in silence, however long the rest of it takes.
    pub(super) fn note_sign_of_life(&self) {
        self.health.note_sign_of_life(Instant::now());
    }

    /// A query met a datagram in another case and was answered otherwise; see
    /// [`Folding::note_folded`]. The log says at most once in ten minutes what that shows.
    pub(super) fn note_folded(&self, is_proof: bool) {
        if self.folding.note_folded(is_proof, Instant::now()) {
            info!(
                "upstream {} folds the case of names: it is asked in lower case for ten minutes",
                self.server
            );
        }
    }

    /// Cookies did not work with a query; see [`Support::note_trouble`]. The log says at most once
    /// in ten minutes that they are off.
    pub(super) fn note_cookie_trouble(&self, is_proof: bool) {
        if self.cookies.note_trouble(is_proof, Instant::now()) {
            self.say_cookies_are_off("replies lack the cookie, or the server rejects it");
        }
    }

    /// A query without a cookie was answered after silence; see [`Support::note_answered_without`].
    pub(super) fn note_answered_without_cookie(&self) {
        if self.cookies.note_answered_without(Instant::now()) {
            self.say_cookies_are_off("queries with a cookie get no reply, others do");
        }
    }

    fn say_cookies_are_off(&self, why: &str) {
        info!("upstream {}: {why}; it is asked without cookies for ten minutes", self.server);
    }

    /// Keeps the reason of a failure for whoever looks.
    pub fn note_error(&self, reason: impl Into<Cow<'static, str>>) {
        self.health.note_error(reason.into(), Instant::now());
    }

    /// A query failed on a connection. Its words are the last error; the log repeats those that
    /// somebody may want to act on.
    pub(super) fn note_fault(&self, fault: &Fault) {
        let (reason, now) = (&fault.reason, Instant::now());
        match fault.error {
            // Another connection takes the query.
            TryError::Unprocessed => return,
            TryError::ServerBusy => {
                self.willingness.told_busy(fault.rest, now);
                self.notices.complain(&format!("is busy: {reason}"), now);
            }
            TryError::Declined(_) => {
                self.notices.complain(&format!("refuses a query: {reason}"), now);
            }
            _ => {}
        }
        self.note_error(reason.clone());
    }

    /// Its certificate does not do. That needs somebody's hand, so the log says it.
    pub(super) fn note_distrust(&self, reason: String) {
        let lines = self.distrust_lines.lock();
        if lines.unwrap_or_else(PoisonError::into_inner).take(Instant::now()) {
            warn!("upstream {} is not trusted: {reason}", self.server);
        }
        self.note_error(reason);
    }

    /// As if it had said that it is busy.
    #[cfg(test)]
    pub(crate) fn tell_busy(&self, rest: Duration) {
        self.willingness.told_busy(Some(rest), Instant::now());
    }

    /// What last went wrong, and when.
    pub fn last_error(&self) -> Option<(Instant, String)> {
        self.health.last_error().map(|(at, text)| (at, text.into_owned()))
    }

    fn go_down(&self, why: String, now: Instant) {
        let line = why.clone();
        if let Some(was_up) = self.health.go_down(why, now) {
            self.notices.down(&format!("{line}; it was up for {:.1} s", was_up.as_secs_f64()), now);
        }
    }

    fn stay_down(&self, now: Instant) {
        if self.is_down() {
            self.notices.still_down(now);
        }
    }
}

#[cfg(test)]
mod tests;
