//! The log lines that wait for the writer, in rooms of fixed size.
//!
//! Each kind of line has its own room, so that a flood of one kind cannot push out another. Knows no
//! thread and no lock.

use std::collections::VecDeque;

use tracing::{Level, Metadata};

/// The target of lines about single queries.
pub(super) const QUERY: &str = "query";
/// The target of the line that says how many lines were lost.
pub(super) const LOST: &str = "privatelinkd::log";
/// Our own targets begin with this. Those of libraries do not.
const OURS: &str = "privatelinkd";

/// Octets of warnings and errors. A refused reload writes a line for each expectation that does not
/// hold, and this is room for 5,000 of them.
const URGENT_OCTETS: usize = 1 << 20;
/// Octets of lines that are neither urgent nor about a query. SIGUSR1 writes a line for each probed
/// address at once; 4,096 such lines take up 1 MiB at most.
const ORDINARY_OCTETS: usize = 2 << 20;
/// Octets of lines about queries: some 4,000 lines, which is a second of a busy resolver.
const QUERY_OCTETS: usize = 1 << 20;
/// What a line takes beside its own octets: its place in the queue, and the allocator's share.
const LINE_OVERHEAD: usize = 64;
/// Octets of one write, which is what a Linux pipe holds by default.
const BATCH_OCTETS: usize = 64 << 10;

/// What a line is about. This decides which room it waits in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// The number of lost lines.
    Lost,
    /// A warning or an error of ours.
    Urgent,
    /// Any other line. Strangers can cause warnings of libraries, so these are here too.
    Ordinary,
    /// A line about one query.
    Query,
}

impl Kind {
    /// The kind of an event's line.
    pub(super) fn of(metadata: &Metadata<'_>) -> Self {
        match metadata.target() {
            LOST => Self::Lost,
            QUERY => Self::Query,
            target if target.starts_with(OURS) && *metadata.level() <= Level::WARN => Self::Urgent,
            _ => Self::Ordinary,
        }
    }
}

/// A line that waits.
pub(super) struct Line {
    /// Lines of all rooms are numbered as they come.
    number: u64,
    pub(super) kind: Kind,
    pub(super) octets: Box<[u8]>,
}

/// All lines that wait.
#[derive(Default)]
pub(super) struct Queue {
    urgent: Room,
    ordinary: Room,
    queries: Room,
    next: u64,
}

#[derive(Default)]
struct Room {
    lines: VecDeque<Line>,
    octets: usize,
}

impl Queue {
    /// Adds a line, or returns false if its room is full. The writer adds one line about lost lines
    /// at a time, so that line needs no bound.
    pub(super) fn push(&mut self, kind: Kind, octets: Box<[u8]>) -> bool {
        let (room, limit) = match kind {
            Kind::Lost => (&mut self.urgent, usize::MAX),
            Kind::Urgent => (&mut self.urgent, URGENT_OCTETS),
            Kind::Ordinary => (&mut self.ordinary, ORDINARY_OCTETS),
            Kind::Query => (&mut self.queries, QUERY_OCTETS),
        };
        let after = room.octets.saturating_add(octets.len() + LINE_OVERHEAD);
        if after > limit {
            return false;
        }
        room.octets = after;
        room.lines.push_back(Line { number: self.next, kind, octets });
        self.next += 1;
        true
    }

    /// Takes the lines of the next write, in the order in which they came. If more lines wait than
    /// fit into one write, urgent ones go first and those about queries last.
    pub(super) fn take_batch(&mut self) -> Vec<Line> {
        let (mut batch, mut octets) = (Vec::new(), 0);
        for room in [&mut self.urgent, &mut self.ordinary, &mut self.queries] {
            while octets < BATCH_OCTETS
                && let Some(line) = room.lines.pop_front()
            {
                room.octets -= line.octets.len() + LINE_OVERHEAD;
                octets += line.octets.len();
                batch.push(line);
            }
        }
        batch.sort_unstable_by_key(|line| line.number);
        batch
    }

    pub(super) fn is_empty(&self) -> bool {
        [&self.urgent, &self.ordinary, &self.queries].iter().all(|room| room.lines.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Box<[u8]> {
        text.as_bytes().into()
    }

    /// Fills the room of `kind` with lines of `length` octets. Returns how many it took.
    fn fill(queue: &mut Queue, kind: Kind, length: usize) -> usize {
        (0..).take_while(|_| queue.push(kind, vec![b'x'; length].into())).count()
    }

    fn texts(batch: &[Line]) -> Vec<String> {
        batch.iter().map(|line| String::from_utf8_lossy(&line.octets).into_owned()).collect()
    }

    #[test]
    fn each_room_takes_exactly_its_octets() {
        for (kind, limit) in [
            (Kind::Urgent, URGENT_OCTETS),
            (Kind::Ordinary, ORDINARY_OCTETS),
            (Kind::Query, QUERY_OCTETS),
        ] {
            let mut queue = Queue::default();
            // Line and overhead are 256 octets, which divide every limit.
            assert_eq!(fill(&mut queue, kind, 256 - LINE_OVERHEAD), limit / 256, "{kind:?}");
            assert!(!queue.push(kind, line("")), "{kind:?}");
            assert!(queue.push(Kind::Lost, line("3 log lines were lost")), "{kind:?}");
            let mut taken = 0;
            while !queue.is_empty() {
                taken += queue.take_batch().len();
            }
            assert_eq!(taken, limit / 256 + 1, "{kind:?}");
            assert_eq!(fill(&mut queue, kind, 256 - LINE_OVERHEAD), limit / 256, "freed: {kind:?}");
        }
    }

    #[test]
    fn a_line_larger_than_its_room_is_lost() {
        let mut queue = Queue::default();
        assert!(!queue.push(Kind::Query, vec![b'x'; QUERY_OCTETS].into()));
        assert!(queue.is_empty());
    }

    #[test]
    fn a_full_room_leaves_the_others_as_they_are() {
        let mut queue = Queue::default();
        fill(&mut queue, Kind::Query, 100);
        assert!(queue.push(Kind::Urgent, line("w")) && queue.push(Kind::Ordinary, line("i")));
        fill(&mut queue, Kind::Ordinary, 100);
        assert!(queue.push(Kind::Urgent, line("w")));
    }

    #[test]
    fn few_lines_leave_in_the_order_in_which_they_came() {
        let mut queue = Queue::default();
        for (kind, text) in [
            (Kind::Query, "a"),
            (Kind::Urgent, "b"),
            (Kind::Ordinary, "c"),
            (Kind::Query, "d"),
            (Kind::Urgent, "e"),
        ] {
            assert!(queue.push(kind, line(text)));
        }
        assert_eq!(texts(&queue.take_batch()), ["a", "b", "c", "d", "e"]);
        assert!(queue.is_empty());
    }

    #[test]
    fn warnings_overtake_a_backlog_of_query_lines() {
        let mut queue = Queue::default();
        fill(&mut queue, Kind::Query, 1_000);
        queue.push(Kind::Ordinary, line("i"));
        queue.push(Kind::Urgent, line("w"));
        let batch = queue.take_batch();
        let octets: usize = batch.iter().map(|line| line.octets.len()).sum();
        assert!((BATCH_OCTETS..BATCH_OCTETS + 1_000).contains(&octets), "{octets}");
        assert_eq!(texts(&batch)[batch.len() - 2..], ["i", "w"]);
        assert!(!queue.is_empty());
    }
}
