//! Collects what is wrong while a file is read: places are octet offsets and borrowed key paths
//! here, so that a file of 100,000 good names costs nothing for messages.

use std::collections::BTreeMap;
use std::fmt;

use super::diagnostic::{Diagnostic, Severity};

/// Most errors, and most warnings, that one file is told about. A file that is no configuration at
/// all must not cost memory without bound, and nobody reads more.
const MAX_FINDINGS: usize = 1_000;
/// How often one message about one key is shown. A fault such as a missing quote repeats itself on
/// many lines; the first few show what it is.
const MAX_ALIKE: usize = 5;
/// How much of a value a message repeats, characters.
const MAX_FOUND_CHARS: usize = 80;
/// Longest message or help, characters: a name in it may be as long as the file.
const MAX_MESSAGE_CHARS: usize = 400;

/// A range of octets of the source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Span {
    /// The file as a whole.
    pub(super) const FILE: Self = Self { start: 0, end: 0 };
}

impl From<std::ops::Range<usize>> for Span {
    fn from(range: std::ops::Range<usize>) -> Self {
        Self { start: range.start, end: range.end }
    }
}

/// The way to a key, written only when something is wrong there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Path<'a> {
    /// The file.
    Root,
    /// A key of a table.
    Key(&'a Path<'a>, &'a str),
    /// Entry `index` (from 0) of a list of `of`.
    Item(&'a Path<'a>, usize, usize),
}

impl Path<'_> {
    pub(super) fn key<'a>(&'a self, key: &'a str) -> Path<'a> {
        Path::Key(self, key)
    }

    pub(super) fn item(&self, index: usize, of: usize) -> Path<'_> {
        Path::Item(self, index, of)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Key(above, key) => {
                if !matches!(above, Path::Root) {
                    write!(f, "{above}.")?;
                }
                let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
                let short = shorten(key, MAX_FOUND_CHARS);
                if !key.is_empty() && key.chars().all(bare) {
                    f.write_str(&short)
                } else {
                    write!(f, "\"{short}\"")
                }
            }
            Path::Item(above, _, 0 | 1) => write!(f, "{above}"),
            Path::Item(above, index, _) => write!(f, "{above}[{}]", index + 1),
        }
    }
}

/// What is wrong, and what to write instead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Problem {
    message: String,
    help: Option<String>,
    shows_value: bool,
}

impl Problem {
    /// About a value, which the message repeats.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None, shows_value: true }
    }

    /// About something that is missing, or about a whole table.
    pub(super) fn bare(message: impl Into<String>) -> Self {
        Self { shows_value: false, ..Self::new(message) }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

struct Finding {
    severity: Severity,
    span: Span,
    key: String,
    problem: Problem,
}

/// How often the same was found.
#[derive(Default)]
struct Alike {
    times: usize,
    /// Where the first that is not shown stands, and the last one.
    hidden: Option<(Span, Span)>,
}

/// What makes two findings the same: everything but the place.
type Sameness = (Severity, String, String);

/// The errors and warnings of one file.
pub(super) struct Findings<'s> {
    source: &'s str,
    lines: LineIndex,
    kept: Vec<Finding>,
    alike: BTreeMap<Sameness, Alike>,
    errors: usize,
    warnings: usize,
    /// Findings that neither stand in `kept` nor in `alike`.
    dropped: usize,
    /// Part of the file cannot be read, so a key that seems to be missing may stand there.
    is_broken: bool,
}

impl<'s> Findings<'s> {
    pub(super) fn new(source: &'s str) -> Self {
        Self {
            source,
            lines: LineIndex::new(source),
            kept: Vec::new(),
            alike: BTreeMap::new(),
            errors: 0,
            warnings: 0,
            dropped: 0,
            is_broken: false,
        }
    }

    pub(super) fn error(&mut self, path: Path<'_>, span: Span, problem: Problem) {
        self.errors += 1;
        self.keep(Severity::Error, path, span, problem);
    }

    /// Reports a place that is no TOML.
    pub(super) fn broken(&mut self, span: Span, problem: Problem) {
        self.is_broken = true;
        self.error(Path::Root, span, problem);
    }

    pub(super) fn warn(&mut self, path: Path<'_>, span: Span, problem: Problem) {
        self.warnings += 1;
        self.keep(Severity::Warning, path, span, problem);
    }

    fn keep(&mut self, severity: Severity, path: Path<'_>, span: Span, problem: Problem) {
        let shown = if severity == Severity::Error { self.errors } else { self.warnings };
        let message = shorten(&problem.message, MAX_MESSAGE_CHARS);
        let sameness = (severity, path.to_string(), message);
        // What is new beyond the bound is counted alone, so that the map is bounded too.
        if shown > MAX_FINDINGS && !self.alike.contains_key(&sameness) {
            self.dropped += 1;
            return;
        }
        let key = sameness.1.clone();
        let alike = self.alike.entry(sameness).or_default();
        alike.times += 1;
        if alike.times > MAX_ALIKE {
            let first = alike.hidden.map_or(span, |(first, _)| first);
            alike.hidden = Some((first, span));
            return;
        }
        self.kept.push(Finding { severity, span, key, problem });
    }

    /// Whether a part of the file cannot be read.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// The text of a span.
    pub(super) fn text(&self, span: Span) -> &'s str {
        self.source.get(span.start..span.end).unwrap_or("")
    }

    /// The whole line on which a span begins.
    pub(super) fn line_text(&self, span: Span) -> &'s str {
        let rest = self.source.get(self.lines.start(self.line(span))..).unwrap_or("");
        rest.lines().next().unwrap_or("")
    }

    /// No further error will be shown, so a suggestion for it is not worth its cost.
    pub(super) fn full_of_errors(&self) -> bool {
        self.errors >= MAX_FINDINGS
    }

    pub(super) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// The line that a span begins on, from 1.
    pub(super) fn line(&self, span: Span) -> usize {
        self.lines.line(span.start)
    }

    /// Everything in the file's order.
    pub(super) fn into_diagnostics(mut self) -> Vec<Diagnostic> {
        self.count_alike();
        self.kept.sort_by_key(|finding| finding.span.start);
        let mut columns = Columns { source: self.source, line: 0, offset: 0, column: 1 };
        let mut diagnostics = Vec::with_capacity(self.kept.len());
        for Finding { severity, span, key, problem } in self.kept {
            let line = self.lines.line(span.start);
            let column = columns.column(line, self.lines.start(line), span.start);
            let found = self.source.get(span.start..span.end).filter(|text| !text.is_empty());
            let found = found.filter(|_| problem.shows_value);
            let found = found.map(|text| shorten(text, MAX_FOUND_CHARS));
            let message = shorten(&problem.message, MAX_MESSAGE_CHARS);
            let help = problem.help.map(|help| shorten(&help, MAX_MESSAGE_CHARS));
            diagnostics.push(Diagnostic { severity, line, column, key, found, message, help });
        }
        if self.dropped > 0 {
            let severity = if self.errors > 0 { Severity::Error } else { Severity::Warning };
            diagnostics.push(Diagnostic {
                severity,
                line: self.lines.starts.len(),
                column: 1,
                key: String::new(),
                found: None,
                message: format!("{} more are not shown; repair these first", self.dropped),
                help: None,
            });
        }
        diagnostics
    }

    /// Says of each message that was found too often how many more there are.
    fn count_alike(&mut self) {
        for ((severity, key, message), Alike { times, hidden }) in std::mem::take(&mut self.alike) {
            let Some((first, last)) = hidden else { continue };
            let (more, line) = (times - MAX_ALIKE, self.line(last));
            let message = match more {
                1 => format!("the same once more: {message}"),
                _ => format!("the same {more} times more, last on line {line}: {message}"),
            };
            let problem = Problem::bare(message);
            self.kept.push(Finding { severity, span: first, key, problem });
        }
    }
}

/// Characters without width: soft hyphen, zero-width spaces and joiners, marks of direction and of
/// byte order.
pub(super) fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

/// The first line of a text, at most `most` characters of it, without control characters: what a
/// file holds must not steer the terminal that shows it. What would not be seen is written as its
/// number.
fn shorten(text: &str, most: usize) -> String {
    let mut short = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == most || c == '\n' || c == '\r' {
            short.push('…');
            break;
        }
        let is_unseen = c.is_control() || is_invisible(c) || (c != ' ' && c.is_whitespace());
        if is_unseen { short.extend(c.escape_default()) } else { short.push(c) }
    }
    short
}

/// Where lines begin, for finding an offset's line in logarithmic time.
struct LineIndex {
    starts: Vec<usize>,
}

impl LineIndex {
    fn new(source: &str) -> Self {
        let newlines = source.bytes().enumerate().filter(|(_, octet)| *octet == b'\n');
        Self { starts: std::iter::once(0).chain(newlines.map(|(at, _)| at + 1)).collect() }
    }

    fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset)
    }

    fn start(&self, line: usize) -> usize {
        self.starts.get(line.saturating_sub(1)).copied().unwrap_or(0)
    }
}

/// Counts columns for ascending offsets, so that many findings on one long line stay linear.
struct Columns<'s> {
    source: &'s str,
    line: usize,
    offset: usize,
    column: usize,
}

impl Columns<'_> {
    fn column(&mut self, line: usize, line_start: usize, offset: usize) -> usize {
        if line != self.line {
            (self.line, self.offset, self.column) = (line, line_start, 1);
        }
        let between = self.source.get(self.offset..offset).unwrap_or("");
        self.column += between.chars().count();
        self.offset = offset;
        self.column
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_from_one_and_in_characters() {
        let source = "a = 1\nü = 2; b\n";
        let mut findings = Findings::new(source);
        let at = source.find('b').expect("in the source");
        findings.error(Path::Root, Span { start: at, end: at + 1 }, Problem::new("late"));
        findings.warn(Path::Root, Span { start: 6, end: 8 }, Problem::new("early"));
        findings.warn(Path::Root, Span { start: at, end: at }, Problem::new("again"));
        let places: Vec<_> = findings
            .into_diagnostics()
            .into_iter()
            .map(|d| (d.line, d.column, d.message, d.found))
            .collect();
        assert_eq!(
            places,
            [
                (2, 1, "early".to_owned(), Some("ü".to_owned())),
                (2, 8, "late".to_owned(), Some("b".to_owned())),
                (2, 8, "again".to_owned(), None),
            ]
        );
    }

    #[test]
    fn paths_quote_what_toml_would_quote_and_count_only_where_it_helps() {
        let (link, names) = (Path::Root.key("private-link"), "data.west");
        let (second, only) = (link.item(1, 2), link.item(0, 1));
        assert_eq!(
            second.key("names").key(names).to_string(),
            "private-link[2].names.\"data.west\""
        );
        assert_eq!(only.key("ttl").to_string(), "private-link.ttl");
    }

    #[test]
    fn a_flood_of_findings_is_bounded_and_says_so() {
        let mut findings = Findings::new("x");
        for number in 0..MAX_FINDINGS + 5 {
            findings.error(Path::Root, Span::FILE, Problem::new(format!("bad {number}")));
        }
        let diagnostics = findings.into_diagnostics();
        assert_eq!(diagnostics.len(), MAX_FINDINGS + 1);
        let last = diagnostics.last().expect("the note");
        assert!(last.message.starts_with("5 more"), "{last}");
    }

    #[test]
    fn a_message_that_repeats_is_shown_a_few_times_and_counted() {
        for (more, wanted) in [(0, None), (1, Some("once more: bad")), (7, Some("7 times more, "))]
        {
            let mut findings = Findings::new("\n\nx");
            for _ in 0..MAX_ALIKE + more {
                findings.error(Path::Root, Span { start: 2, end: 3 }, Problem::new("bad"));
                findings.error(Path::Root.key("a"), Span::FILE, Problem::new("good"));
            }
            let diagnostics = findings.into_diagnostics();
            let bad: Vec<_> = diagnostics.iter().filter(|d| d.key.is_empty()).collect();
            assert_eq!(bad.len(), MAX_ALIKE + usize::from(more > 0), "{more}");
            assert!(bad.iter().all(|d| d.line == 3));
            if let (Some(wanted), Some(last)) = (wanted, bad.last()) {
                assert!(last.message.contains(wanted), "{last}");
            }
        }
    }

    #[test]
    fn values_are_shortened_to_one_line_without_control_characters() {
        assert_eq!(shorten("a\u{7}b\nc", 10), "a\\u{7}b…");
        assert_eq!(shorten("a\u{a0}b\u{200b} c", 10), "a\\u{a0}b\\u{200b} c");
        assert_eq!(shorten(&"x".repeat(500), 80).chars().count(), 81);
    }

    #[test]
    fn keys_and_messages_are_bounded_and_carry_no_control_characters() {
        let long = "x".repeat(1_000_000);
        let mut findings = Findings::new("a");
        let problem = || Problem::bare(format!("\u{1b}[2J{long}")).help(long.clone());
        findings.error(Path::Root.key(&long), Span::FILE, problem());
        let shown = findings.into_diagnostics().remove(0).to_string();
        assert!(shown.len() < 1_000 && !shown.contains('\u{1b}'), "{}", shown.len());
    }
}
