//! What is wrong with a text that is no TOML, in words that say what to write. The parser says what it
//! expected, for every place that it stumbles at; this says one thing for each statement.

mod lookalikes;
mod statements;

use std::borrow::Cow;

use toml::de::{DeTable, Error};

use super::findings::{Findings, Path, Problem, Span};
use super::outline::{Kind, Outline};

/// The parser's words for a key or table that stands twice.
const DUPLICATE: &str = "duplicate key";
/// Lines that look like YAML, and no header, before a text is taken for YAML.
const OTHER_FORMAT: usize = 2;
/// Tables that stand in two brackets, as many as there are.
const LISTS: [&str; 5] = ["site", "private-link", "private-link.endpoint", "forward", "expect"];
/// Parses of a broken text: what one statement hides comes to light when it is taken out.
const ROUNDS: usize = 4;

/// `source` with a line break where it has a carriage return alone, as old Macs end lines: the same
/// places, and lines as editors count them.
pub(super) fn with_line_breaks(source: &str) -> Cow<'_, str> {
    if lone_returns(source).next().is_none() {
        return Cow::Borrowed(source);
    }
    let mut text = String::with_capacity(source.len());
    let mut from = 0;
    for at in lone_returns(source) {
        text.push_str(source.get(from..at).unwrap_or(""));
        text.push('\n');
        from = at + 1;
    }
    text.push_str(source.get(from..).unwrap_or(""));
    Cow::Owned(text)
}

/// Offsets of carriage returns without a line feed.
fn lone_returns(source: &str) -> impl Iterator<Item = usize> {
    let returns = source.match_indices('\r').map(|(at, _)| at);
    returns.filter(|at| source.as_bytes().get(at + 1) != Some(&b'\n'))
}

/// Reports carriage returns alone, once for the whole file.
pub(super) fn check_line_breaks(source: &str, findings: &mut Findings<'_>) {
    let mut returns = lone_returns(source);
    let Some(first) = returns.next() else { return };
    let more = returns.count();
    let what = match (source.contains('\n'), more) {
        (false, _) => "every line ends with a carriage return alone".to_owned(),
        (true, 0) => "a carriage return stands here without a line feed".to_owned(),
        (true, 1) => "a carriage return without a line feed, here and once more".to_owned(),
        (true, more) => {
            format!("a carriage return without a line feed, here and {more} times more")
        }
    };
    let problem = Problem::bare(format!("{what}; TOML ends lines with LF or CR LF"))
        .help("save the file with LF in the editor, or convert it: tr '\\r' '\\n' < FILE > NEW");
    findings.broken(Span { start: first, end: first }, problem);
}

/// The part of `text` that is TOML, at its places; reports the rest, of which `faults` are what the
/// parser says. Nothing where the rest would be misunderstood without what is broken.
pub(super) fn readable<'t>(
    text: &'t str,
    mut faults: Vec<Error>,
    findings: &mut Findings<'_>,
) -> Option<Cow<'t, str>> {
    let mut text = Cow::Borrowed(text);
    for _ in 0..ROUNDS {
        let (twice, others): (Vec<&Error>, Vec<&Error>) =
            faults.iter().partition(|fault| fault.message() == DUPLICATE);
        let outline = Outline::read(&text);
        if others.is_empty() {
            duplicates(&twice, &outline, findings);
            return Some(text);
        }
        let left = report(&text, &outline, &others, findings)?;
        text = Cow::Owned(left);
        faults = DeTable::parse_recoverable(&text).1;
    }
    None
}

/// Reports these faults. Returns the text without their statements, or nothing where keys would come
/// into another table then.
fn report(
    text: &str,
    outline: &Outline<'_>,
    faults: &[&Error],
    findings: &mut Findings<'_>,
) -> Option<String> {
    if let Some(problem) = other_format(text, outline) {
        let start = outline.statements.first().map_or(0, |statement| statement.span.start);
        findings.broken(Span { start, end: start }, problem);
        return None;
    }
    let open = outline.statements.iter().filter_map(|statement| {
        let bracket = statement.open?;
        Some((bracket, statement.span))
    });
    let open: Vec<(usize, Span)> = open.collect();
    if !open.is_empty() {
        for (bracket, _) in &open {
            findings.broken(Span { start: *bracket, end: *bracket }, never_closed(text, *bracket));
        }
        // The parser takes all that follows for entries, so its faults say nothing.
        return Some(without(text, open.into_iter().map(|(_, span)| span)));
    }
    let mut places: Vec<(Span, &Error)> = faults.iter().map(|e| (place(e), *e)).collect();
    places.sort_by_key(|(span, _)| span.start);
    let mut broken: Vec<Span> = Vec::new();
    let mut is_header_broken = false;
    for (span, fault) in places {
        let Some(statement) = outline.at(span.start) else {
            findings.broken(span, Problem::new(fault.message().replace('\n', " ")));
            continue;
        };
        if broken.last().is_some_and(|last| last.start == statement.span.start) {
            continue;
        }
        let (span, problem) = statements::diagnose(text, statement, span, fault.message());
        findings.broken(span, problem);
        broken.push(statement.span);
        is_header_broken |= statements::was_meant_as_header(text, statement);
    }
    let is_worth_it = !is_header_broken && !broken.is_empty() && !findings.full_of_errors();
    is_worth_it.then(|| without(text, broken.into_iter()))
}

fn never_closed(text: &str, bracket: usize) -> Problem {
    let (what, closing) = match text.as_bytes().get(bracket) {
        Some(b'"' | b'\'') => return Problem::bare(statements::UNCLOSED_TEXT),
        Some(b'{') => ("table", '}'),
        _ => ("list", ']'),
    };
    Problem::bare(format!("the {what} that begins here has no end; write {closing} behind it"))
}

fn place(fault: &Error) -> Span {
    fault.span().map_or(Span::FILE, Span::from)
}

/// `text` with spaces over these spans; line breaks stay, so that all places hold.
fn without(text: &str, spans: impl Iterator<Item = Span>) -> String {
    let mut left = String::with_capacity(text.len());
    let mut from = 0;
    for span in spans {
        left.push_str(text.get(from..span.start).unwrap_or(""));
        let blank = text.get(span.start..span.end).unwrap_or("").bytes();
        left.extend(blank.map(|octet| if octet == b'\n' { '\n' } else { ' ' }));
        from = span.end;
    }
    left.push_str(text.get(from..).unwrap_or(""));
    left
}

/// Reports what stands twice, with the place of the first.
fn duplicates(faults: &[&Error], outline: &Outline<'_>, findings: &mut Findings<'_>) {
    let offsets: Vec<usize> = faults.iter().map(|fault| place(fault).start).collect();
    let first_of = outline.first_of(&offsets);
    // A list's table in one bracket each time: its keys stand twice only because of that.
    let mut merged: Option<usize> = None;
    for span in faults.iter().map(|fault| place(fault)) {
        let Some(statement) = outline.at(span.start) else { continue };
        let table = outline.table_of(span.start).map(|table| table.span.start);
        if statement.kind == Kind::Pair && merged.is_some() && table == merged {
            continue;
        }
        let first = first_of.get(&span.start).and_then(|at| Some((*at, outline.at(*at)?)));
        let Some((at, first)) = first else {
            findings.error(Path::Root, span, Problem::new(DUPLICATE));
            continue;
        };
        let line = findings.line(Span { start: at, end: at });
        let (header, first_key) = (findings.text(statement.key), findings.text(first.key).trim());
        let problem = match (statement.kind, first.kind) {
            // A table of this one stands before it; that is said where it stands.
            (Kind::EachTable, Kind::EachTable) => continue,
            (Kind::Table | Kind::EachTable, _) if LISTS.contains(&header) => {
                merged = Some(statement.span.start);
                Problem::new(format!("{DUPLICATE}: {header} stands on line {line} already"))
                    .help(format!("write it in two brackets each time: [[{header}]]"))
            }
            (Kind::Table | Kind::EachTable, Kind::Table | Kind::EachTable) => {
                Problem::new(format!("{DUPLICATE}: [{header}] stands on line {line} already"))
                    .help("write all its keys in one place, and delete the other")
            }
            (Kind::Table | Kind::EachTable, Kind::Pair | Kind::Junk) => {
                Problem::new(format!("{DUPLICATE}: {first_key} = … stands on line {line} already"))
                    .help("write all its keys in one place, and delete the other")
            }
            (Kind::Pair | Kind::Junk, _) => {
                Problem::new(format!("{DUPLICATE}: it stands on line {line} already; keep one"))
            }
        };
        findings.error(Path::Root, span, problem);
    }
}

/// Whether the whole text is written in another format.
fn other_format(text: &str, outline: &Outline<'_>) -> Option<Problem> {
    let start = text.trim_start_matches('\u{feff}').trim_start();
    let junk = outline.statements.iter().filter(|statement| statement.kind == Kind::Junk);
    let headers = outline
        .statements
        .iter()
        .filter(|statement| matches!(statement.kind, Kind::Table | Kind::EachTable));
    let lines = junk.map(|statement| text.get(statement.span.start..statement.span.end));
    let yaml = lines.flatten().filter(|line| statements::is_yaml(line)).count();
    let format = if start.starts_with('{') {
        "JSON"
    } else if start.starts_with("<!") || start.starts_with("<html") {
        "a web page"
    } else if yaml >= OTHER_FORMAT && headers.count() == 0 {
        "YAML"
    } else {
        return None;
    };
    Some(Problem::bare(format!("this is {format}, and a configuration is TOML")).help(
        "write tables and keys such as [listen] and dns = [\"0.0.0.0:53\"]; docs/CONFIG.md has all",
    ))
}
