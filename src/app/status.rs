//! What `systemctl status` shows of the daemon, in one line (sd_notify(3), `STATUS=`).

use crate::engine::{Snapshot, printable};
use crate::sys::ScopedAddress;

/// Characters of the reason for a refused reload: the line should fit a terminal or two.
const REASON_CHARS: usize = 160;
/// Listen addresses that are named; the others are counted.
const SHOWN: usize = 3;

/// The last line that was sent, and the state that only the control thread knows.
#[derive(Default)]
pub(super) struct Status {
    /// Private-link zones of the configuration in force.
    zones: usize,
    /// Why the last reload was refused; `None` if it was not.
    refused: Option<String>,
    /// Listen addresses that no interface has yet.
    waiting: Vec<ScopedAddress>,
    sent: String,
}

impl Status {
    /// A configuration with so many private-link zones is in force now.
    pub(super) fn accept(&mut self, zones: usize) {
        self.zones = zones;
        self.refused = None;
    }

    /// A reload was refused. Of several lines the first error is shown, not the warnings before it.
    pub(super) fn refuse(&mut self, reason: &str) {
        let error = reason.lines().find(|line| line.contains(": error: "));
        let shown = error.or(reason.lines().next()).unwrap_or("");
        self.refused = Some(printable(&shown.chars().take(REASON_CHARS).collect::<String>()));
    }

    /// These listen addresses are waited for now.
    pub(super) fn wait_for(&mut self, addresses: Vec<ScopedAddress>) {
        self.waiting = addresses;
    }

    /// The line now, which counts as sent.
    pub(super) fn line(&mut self, snapshot: &Snapshot) -> &str {
        let states: Vec<bool> =
            snapshot.rules.reports().into_iter().map(|report| report.down).collect();
        self.sent = self.text(&states);
        &self.sent
    }

    /// The line, if it is not the one that was sent last.
    pub(super) fn news(&mut self, snapshot: &Snapshot) -> Option<&str> {
        let before = std::mem::take(&mut self.sent);
        let line = self.line(snapshot);
        (line != before).then_some(line)
    }

    /// `is_down` has an entry for each upstream.
    fn text(&self, is_down: &[bool]) -> String {
        let down = is_down.iter().filter(|down| **down).count();
        let upstreams = count(is_down.len(), "upstream");
        let upstreams = match down {
            0 => upstreams,
            down if down == is_down.len() => format!("{upstreams}, all down"),
            down => format!("{upstreams}, {down} down"),
        };
        let refused =
            self.refused.as_ref().map(|why| format!("; the last reload was refused: {why}"));
        let zones = count(self.zones, "private-link zone");
        let waiting = self.waiting_for();
        format!("serving {zones}; {upstreams}{waiting}{}", refused.unwrap_or_default())
    }

    /// The addresses that are waited for, the first few by name.
    fn waiting_for(&self) -> String {
        if self.waiting.is_empty() {
            return String::new();
        }
        let shown = self.waiting.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>();
        let more = match self.waiting.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("; waiting for listen address {}{more}", shown.join(", "))
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_is_served_what_is_down_and_what_was_refused() {
        let mut status = Status::default();
        status.accept(1);
        assert_eq!(status.text(&[]), "serving 1 private-link zone; 0 upstreams");
        assert_eq!(status.text(&[false, true]), "serving 1 private-link zone; 2 upstreams, 1 down");
        status.refuse("a.toml:2: warning: w\na.toml:4: error: x\u{1b}[31m\na.toml:9: error: y");
        let line = status.text(&[true]);
        let begin = "serving 1 private-link zone; 1 upstream, all down; the last reload was refused: \
                     a.toml:4: error: x";
        assert!(line.starts_with(begin), "{line}");
        assert!(!line.contains(char::is_control) && !line.contains("error: y"), "{line}");
        status.refuse(&"x".repeat(1_000));
        assert!(status.text(&[]).len() < 300);
        status.accept(2);
        assert_eq!(status.text(&[false]), "serving 2 private-link zones; 1 upstream");
    }

    #[test]
    fn the_line_names_listen_addresses_that_are_waited_for() {
        let mut status = Status::default();
        status.accept(1);
        let address = |last| ScopedAddress::new([192, 0, 2, last].into(), 53, None);
        let addresses: Vec<_> = (1..=5).map(address).collect();
        status.wait_for(addresses[..1].to_vec());
        let begin =
            "serving 1 private-link zone; 1 upstream; waiting for listen address 192.0.2.1:53";
        assert_eq!(status.text(&[false]), begin);
        status.wait_for(addresses);
        let line = format!("{begin}, 192.0.2.2:53, 192.0.2.3:53 and 2 more");
        assert_eq!(status.text(&[false]), line);
    }
}
