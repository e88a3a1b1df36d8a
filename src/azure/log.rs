//! Complaints while a file is read: bounded, and never silent about the bound.

use std::collections::BTreeMap;

use super::model::{Complaint, Severity, Source};

/// Most complaints about one file. A file of another kind must not cost memory without bound, and
/// nobody reads more.
pub(super) const MAX_COMPLAINTS: usize = 1_000;
/// How much of a value a complaint repeats, characters: it may be as long as the file.
const MAX_SHOWN_CHARS: usize = 80;

/// Things that lists are full of: a file's first one is said, with their number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Crowd {
    /// A network interface of something else.
    Machine,
    /// A value outside any object.
    Value,
    /// An object of no kind that is known here.
    Unknown,
    /// A resource of Terraform's that holds no name.
    Resource,
    /// A name with addresses and without its endpoint.
    Row,
}

impl Crowd {
    /// What becomes of each, and what is said of the first of `count`.
    fn said(self, count: usize) -> (Severity, String) {
        let (severity, one, many, more) = match self {
            Self::Machine => (
                Severity::Noted,
                "a network interface",
                "network interfaces",
                " of no private endpoint",
            ),
            Self::Value => (
                Severity::LeftOut,
                "a value",
                "values",
                " outside any object of Azure's; run the command without --query",
            ),
            Self::Unknown => (
                Severity::LeftOut,
                "an object",
                "objects",
                " of no kind that is known here (private endpoints, network interfaces, zone \
                 groups, record sets, private link resources); if a --query cut it, run the \
                 command without",
            ),
            Self::Resource => (
                Severity::Noted,
                "a Terraform resource",
                "Terraform resources",
                " without names of private endpoints",
            ),
            Self::Row => (
                Severity::Noted,
                "a name and its addresses",
                "names and their addresses",
                " without a private endpoint: no file says whether a connection is Approved, nor \
                 whether the addresses are complete; give the output of az network \
                 private-endpoint list and az network nic list",
            ),
        };
        let text = match count {
            1 => format!("{one}{more}"),
            _ => format!("the first of {count} {many}{more}"),
        };
        (severity, text)
    }
}

/// The complaints about one file, or about how files fit together.
#[derive(Debug)]
pub(super) struct Log {
    complaints: Vec<Complaint>,
    /// How many more there were, and the worst of them.
    more: Option<(usize, Severity)>,
    /// How many there are of each crowd, and the first.
    crowds: BTreeMap<Crowd, (usize, Source)>,
}

impl Log {
    pub(super) fn new() -> Self {
        Self { complaints: Vec::new(), more: None, crowds: BTreeMap::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.complaints.is_empty() && self.crowds.is_empty()
    }

    pub(super) fn left_out(&mut self, source: &Source, text: impl Into<String>) {
        self.say(Severity::LeftOut, source, text.into());
    }

    pub(super) fn noted(&mut self, source: &Source, text: impl Into<String>) {
        self.say(Severity::Noted, source, text.into());
    }

    pub(super) fn refused(&mut self, source: &Source, text: impl Into<String>) {
        self.say(Severity::Refused, source, text.into());
    }

    /// Counts one of many; only the first is shown.
    pub(super) fn counted(&mut self, crowd: Crowd, source: &Source) {
        self.crowds.entry(crowd).or_insert_with(|| (0, source.clone())).0 += 1;
    }

    fn say(&mut self, severity: Severity, source: &Source, text: String) {
        if self.complaints.len() < MAX_COMPLAINTS {
            self.complaints.push(Complaint { severity, source: source.clone(), text });
            return;
        }
        let (count, worst) = self.more.unwrap_or((0, severity));
        self.more = Some((count + 1, worst.min(severity)));
    }

    /// All of them; what was too much is counted, at `file`.
    pub(super) fn into_complaints(self, file: &str) -> Vec<Complaint> {
        let mut complaints = self.complaints;
        complaints.extend(self.crowds.into_iter().map(|(crowd, (count, source))| {
            let (severity, text) = crowd.said(count);
            Complaint { severity, source, text }
        }));
        complaints.extend(self.more.map(|(count, severity)| Complaint {
            severity,
            source: Source { file: file.to_owned(), at: String::new() },
            text: format!("{count} more like these"),
        }));
        complaints
    }
}

/// A text of a file for one line of a message or comment: cut, and without characters that a
/// terminal or an editor would act on.
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == MAX_SHOWN_CHARS {
            shown.push('…');
            break;
        }
        if is_plain(c) { shown.push(c) } else { shown.extend(c.escape_unicode()) }
    }
    shown
}

/// Neither a control character nor one that turns the direction or hides (Unicode UAX #9, UTS #39).
pub(super) fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_counted() {
        let source = Source { file: "a".to_owned(), at: String::new() };
        for extra in [0, 1, 3] {
            let mut log = Log::new();
            for _ in 0..MAX_COMPLAINTS {
                log.noted(&source, "x");
            }
            for _ in 0..extra {
                log.left_out(&source, "y");
            }
            let complaints = log.into_complaints("a");
            assert_eq!(complaints.len(), MAX_COMPLAINTS + usize::from(extra > 0));
            if extra > 0 {
                let last = complaints.last().expect("one");
                assert_eq!(last.severity, Severity::LeftOut);
                assert_eq!(last.text, format!("{extra} more like these"));
            }
        }
    }

    #[test]
    fn nothing_that_a_terminal_acts_on_is_shown() {
        assert_eq!(shown("a\u{1b}[2J\n\u{202e}b"), "a\\u{1b}[2J\\u{a}\\u{202e}b");
        assert_eq!(shown(&"é".repeat(80)), "é".repeat(80));
        assert_eq!(shown(&"é".repeat(81)), "é".repeat(80) + "…");
    }
}
