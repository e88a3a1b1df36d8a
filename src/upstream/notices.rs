//! How often the log says that a server is down or up again.
//!
//! A server that flaps, or a hundred servers behind one link, would fill the log. So lines have an
//! allowance for each server and one for all of them. A line that finds no allowance is kept, and
//! said later if the server is still down then: the log never hides a state that lasts.
//!
//! Complaints of servers that are up (they refuse a request, they are busy) have an allowance of
//! their own, so that they take no line from those that go down.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::metrics::Allowance;

/// Lines about one server that may come at once: an outage with a relapse or two.
const OF_ONE: u32 = 3;
/// How long one server's allowance takes to grow by a line.
const OF_ONE_EVERY: Duration = Duration::from_secs(60);
/// How often the log repeats a complaint about one server.
const COMPLAINT_EVERY: Duration = Duration::from_secs(60);
/// Lines about all servers that may come at once: more servers than one rule usually has.
const IN_ALL: u32 = 30;
/// How long the allowance of all servers takes to grow by a line.
const IN_ALL_EVERY: Duration = Duration::from_secs(2);

/// The allowance of all servers of the process.
static ALL: Mutex<Allowance> = Mutex::new(Allowance::new(IN_ALL, IN_ALL_EVERY));

/// What the log has said of one server, and what it has still to say.
#[derive(Debug)]
pub(super) struct Notices {
    /// Its address, as lines name it.
    server: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    allowance: Allowance,
    complaints: Allowance,
    /// The line that found no allowance, of a server that is still down.
    owed: Option<String>,
    /// Lines left out since the last one.
    left_out: u32,
    /// The last line said that it is down.
    said_down: bool,
}

impl Notices {
    pub(super) fn new(server: String) -> Self {
        Self { server, state: Mutex::new(State::new()) }
    }

    /// The server is there, but does not do what we want of it; `what` ends the line.
    pub(super) fn complain(&self, what: &str, now: Instant) {
        let mut state = self.state();
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        if Allowance::take_both(&mut state.complaints, &mut all, now) {
            warn!("upstream {} {what}", self.server);
        }
    }

    /// The server has gone down; `why` ends the line.
    pub(super) fn down(&self, why: &str, now: Instant) {
        let mut state = self.state();
        state.owed = Some(format!("upstream {} is down: {why}", self.server));
        state.left_out = state.left_out.saturating_add(1);
        state.say_owed(now);
    }

    /// The server is still down: says the line that found no allowance before.
    pub(super) fn still_down(&self, now: Instant) {
        self.state().say_owed(now);
    }

    /// The server is up again. Says so if the last line said that it is down.
    pub(super) fn up(&self, was_down: Duration) {
        let mut state = self.state();
        state.owed = None;
        if std::mem::take(&mut state.said_down) {
            let seconds = was_down.as_secs_f64();
            info!("upstream {} is up again after {seconds:.1} s", self.server);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new() -> Self {
        let allowance = Allowance::new(OF_ONE, OF_ONE_EVERY);
        let complaints = Allowance::new(1, COMPLAINT_EVERY);
        Self { allowance, complaints, owed: None, left_out: 0, said_down: false }
    }

    fn say_owed(&mut self, now: Instant) {
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = self.due(&mut all, now) {
            warn!("{line}");
        }
    }

    /// The line that is to be said at `now`.
    fn due(&mut self, all: &mut Allowance, now: Instant) -> Option<String> {
        if self.owed.is_none() || !Allowance::take_both(&mut self.allowance, all, now) {
            return None;
        }
        self.said_down = true;
        let line = self.owed.take()?;
        // The line itself is one of those that were to be said.
        Some(match std::mem::take(&mut self.left_out).saturating_sub(1) {
            0 => line,
            left_out => format!("{line}; {left_out} lines like this one were left out before it"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn go_down(state: &mut State, all: &mut Allowance, now: Instant) -> Option<String> {
        state.owed = Some("down".to_owned());
        state.left_out += 1;
        state.due(all, now)
    }

    #[tokio::test(start_paused = true)]
    async fn one_flapping_server_has_few_lines_and_its_last_state_is_said() {
        let (mut state, mut all) = (State::new(), Allowance::new(IN_ALL, IN_ALL_EVERY));
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        // Down and up again every second, for ten minutes.
        let lines = (0..600).filter_map(|second| go_down(&mut state, &mut all, at(second)));
        let lines: Vec<_> = lines.collect();
        assert_eq!(lines.len(), 3 + 9, "{lines:?}");
        assert_eq!(lines[..3], ["down"; 3]);
        assert_eq!(lines[4], "down; 59 lines like this one were left out before it");
        assert_eq!(state.due(&mut all, at(599)), None, "it is still down");
        let late = state.due(&mut all, at(600)).expect("the line that was kept");
        assert!(late.starts_with("down; 58 lines"), "{late}");
        assert_eq!(state.due(&mut all, at(700)), None, "nothing is owed");
    }

    #[tokio::test(start_paused = true)]
    async fn many_servers_that_go_at_once_share_an_allowance() {
        let mut all = Allowance::new(IN_ALL, IN_ALL_EVERY);
        let mut states: Vec<_> = (0..100).map(|_| State::new()).collect();
        let now = Instant::now();
        let said = states.iter_mut().filter_map(|state| go_down(state, &mut all, now)).count();
        assert_eq!(said, 30);
        let later = now + Duration::from_secs(10);
        let said = states.iter_mut().filter_map(|state| state.due(&mut all, later)).count();
        assert_eq!(said, 5, "the others follow, one every two seconds");
        assert_eq!(states[0].allowance.left(), OF_ONE - 1);
        assert_eq!(states[99].allowance.left(), OF_ONE, "a line of all is needed too");
    }
}
