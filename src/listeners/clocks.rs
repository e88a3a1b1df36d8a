//! What a TCP client may take its time for, and how much of it. Pure: the time is an argument.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Limits;

/// The clocks of one connection.
///
/// - *idle*: nothing under way at all, since the last query or answer: `tcp-idle`;
/// - *message*: from a message's first octet to its last: `tcp-message`, and more octets do not
///   wind it up again;
/// - *reader*: from the moment that octets wait for the client until it has taken all that waited
///   at that moment: `tcp-message`. Taking a little does not wind it up again, and a client that
///   keeps up is not cut off because more comes behind.
///
/// While only upstreams are waited for, none runs: they have budgets of their own.
#[derive(Debug)]
pub(super) struct Clocks {
    idle: Duration,
    message: Duration,
    active: Instant,
    is_idle: bool,
    message_since: Option<Instant>,
    reader: Option<Reader>,
}

/// What a client has to take, and since when.
#[derive(Clone, Copy, Debug)]
struct Reader {
    since: Instant,
    /// Counted from the connection's beginning.
    up_to_octets: u64,
}

/// A clock that ran out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Expired {
    /// Nothing was asked for long.
    Idle,
    /// A message did not end.
    Message,
    /// The client does not take its answers.
    Reader,
}

/// What a connection's buffers hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// A message has begun and not ended.
    pub(super) partial: bool,
    /// Queries are under way, or wait for those that are.
    pub(super) waiting: bool,
    /// Octets written for the client since the beginning.
    pub(super) given_octets: u64,
    /// Octets of them that it took.
    pub(super) taken_octets: u64,
}

impl Clocks {
    pub(super) fn new(now: Instant, limits: &Limits) -> Self {
        Self {
            idle: limits.tcp_idle,
            message: limits.tcp_message,
            active: now,
            is_idle: true,
            message_since: None,
            reader: None,
        }
    }

    /// A query was answered or forwarded, or its late answer came.
    pub(super) fn active(&mut self, now: Instant) {
        self.active = now;
    }

    /// A message ended: what stands behind it has a clock of its own.
    pub(super) fn message_ended(&mut self) {
        self.message_since = None;
    }

    /// Starts and stops clocks.
    pub(super) fn update(&mut self, now: Instant, progress: Progress) {
        let Progress { partial, waiting, given_octets, taken_octets } = progress;
        self.message_since = partial.then(|| self.message_since.unwrap_or(now));
        let takes = given_octets > taken_octets;
        if self.reader.is_some() && !takes {
            self.active = now;
        }
        let fresh = Reader { since: now, up_to_octets: given_octets };
        let held = self.reader.filter(|reader| taken_octets < reader.up_to_octets);
        self.reader = takes.then(|| held.unwrap_or(fresh));
        self.is_idle = !partial && !waiting && !takes;
    }

    /// When the first of the running clocks runs out.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due().into_iter().flatten().map(|(due, _)| due).min()
    }

    /// The clock that has run out, if one has.
    pub(super) fn expired(&self, now: Instant) -> Option<Expired> {
        let due = self.due().into_iter().flatten();
        due.filter(|(due, _)| *due <= now).map(|(_, expired)| expired).next()
    }

    fn due(&self) -> [Option<(Instant, Expired)>; 3] {
        let idle = self.is_idle.then_some(self.active + self.idle);
        let message = self.message_since.map(|since| since + self.message);
        let reader = self.reader.map(|reader| reader.since + self.message);
        [
            reader.map(|due| (due, Expired::Reader)),
            message.map(|due| (due, Expired::Message)),
            idle.map(|due| (due, Expired::Idle)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Progress =
        Progress { partial: false, waiting: false, given_octets: 0, taken_octets: 0 };

    struct Table {
        clocks: Clocks,
        start: Instant,
    }

    impl Table {
        fn new() -> Self {
            let start = Instant::now();
            let (tcp_idle, tcp_message) = (Duration::from_secs(10), Duration::from_secs(2));
            let limits = Limits { tcp_idle, tcp_message, ..super::super::tests::LIMITS };
            Self { clocks: Clocks::new(start, &limits), start }
        }

        fn at(&mut self, seconds: u64, progress: Progress) -> &mut Clocks {
            self.clocks.update(self.start + Duration::from_secs(seconds), progress);
            &mut self.clocks
        }

        fn due(&self) -> Option<u64> {
            self.clocks.next().map(|due| (due - self.start).as_secs())
        }

        fn expired(&self, seconds: u64) -> Option<Expired> {
            self.clocks.expired(self.start + Duration::from_secs(seconds))
        }
    }

    #[test]
    fn idle_runs_from_the_last_activity() {
        let mut table = Table::new();
        table.at(0, QUIET);
        assert_eq!((table.due(), table.expired(9)), (Some(10), None));
        assert_eq!(table.expired(10), Some(Expired::Idle));
        let later = table.start + Duration::from_secs(5);
        table.clocks.active(later);
        assert_eq!((table.due(), table.expired(14)), (Some(15), None));
    }

    #[test]
    fn nothing_runs_while_an_upstream_is_waited_for() {
        let mut table = Table::new();
        table.at(0, Progress { waiting: true, ..QUIET });
        assert_eq!((table.due(), table.expired(1_000)), (None, None));
    }

    #[test]
    fn drip_feeding_does_not_wind_the_message_clock_up() {
        let mut table = Table::new();
        let partial = Progress { partial: true, ..QUIET };
        table.at(0, partial);
        table.at(1, partial);
        assert_eq!((table.due(), table.expired(1)), (Some(2), None));
        assert_eq!(table.expired(2), Some(Expired::Message));
        // The message ended and another began in the same read.
        table.clocks.message_ended();
        table.at(1, partial);
        assert_eq!(table.due(), Some(3));
        table.at(2, QUIET);
        assert_eq!(table.due(), Some(10));
    }

    #[test]
    fn taking_a_little_does_not_wind_the_reader_clock_up() {
        let mut table = Table::new();
        table.at(0, Progress { given_octets: 100, ..QUIET });
        table.at(1, Progress { given_octets: 200, taken_octets: 99, ..QUIET });
        assert_eq!((table.due(), table.expired(2)), (Some(2), Some(Expired::Reader)));
        // All that waited at 0 is taken; what came since has until 3.
        table.at(1, Progress { given_octets: 200, taken_octets: 100, ..QUIET });
        assert_eq!((table.due(), table.expired(2)), (Some(3), None));
        // All is taken: idle from here on.
        table.at(2, Progress { given_octets: 200, taken_octets: 200, ..QUIET });
        assert_eq!(table.due(), Some(12));
    }
}
