//! One statement that is no TOML: what its writer probably meant.

use super::lookalikes::{self, Meant};
use crate::config::findings::{Problem, Span};
use crate::config::outline::{Kind, Statement};

/// Longest line that a message shows repaired, characters.
const MAX_SHOWN: usize = 80;
/// What is said of a text without its second quote.
pub(super) const UNCLOSED_TEXT: &str =
    "a quote is opened here and not closed on this line; write it at the end of the text";
/// Words that the parser uses for a value without quotes.
const UNQUOTED: [&str; 8] = [
    "string values must be quoted",
    "missing opening quote",
    "invalid float",
    "invalid mantissa",
    "invalid fraction",
    "invalid integer",
    "invalid datetime",
    "invalid boolean",
];

/// Where the fault is, and what to write. `span` and `message` are the parser's.
pub(super) fn diagnose(
    text: &str,
    statement: &Statement,
    span: Span,
    message: &str,
) -> (Span, Problem) {
    let whole = text.get(statement.span.start..statement.span.end).unwrap_or("");
    if let Some((at, c, meant)) = lookalikes::first(whole) {
        let start = statement.span.start + at;
        return (Span { start, end: start }, lookalike(whole, c, meant));
    }
    let begin = Span { start: statement.span.start, end: statement.span.start };
    if let Some(problem) = foreign(whole) {
        return (begin, problem);
    }
    match statement.kind {
        Kind::Junk => (begin, without_equals(whole)),
        Kind::Table | Kind::EachTable => (begin, header(whole, message)),
        Kind::Pair => pair(text, statement, span, message),
    }
}

/// Whether keys below would come into another table without this statement.
pub(super) fn was_meant_as_header(text: &str, statement: &Statement) -> bool {
    let whole = text.get(statement.span.start..statement.span.end).unwrap_or("");
    statement.is_header() || lookalikes::repaired(whole).trim_start().starts_with('[')
}

fn lookalike(whole: &str, c: char, meant: Meant) -> Problem {
    let code = u32::from(c);
    let problem = match meant {
        Meant::Quote => {
            format!("`{c}` (U+{code:04X}) is no quote of TOML; write straight quotes: \"")
        }
        Meant::Space => format!(
            "U+{code:04X} stands here, which looks like a space or like nothing; delete it, and type a \
             plain space"
        ),
        Meant::Other => {
            format!("`{c}` (U+{code:04X}) can only stand inside quotes or in a comment")
        }
        Meant::Control => {
            format!("a control character (U+{code:04X}) stands here; is this a text file?")
        }
    };
    let problem = Problem::bare(problem);
    match meant {
        Meant::Other | Meant::Control => problem,
        Meant::Quote | Meant::Space => with_line(problem, &lookalikes::repaired(whole)),
    }
}

/// Shows the line that was meant, where it is short.
fn with_line(problem: Problem, line: &str) -> Problem {
    let line = line.trim();
    let fits = !line.contains('\n') && line.chars().count() <= MAX_SHOWN;
    if fits { problem.help(format!("write {line}")) } else { problem }
}

/// Lines that come from somewhere else.
fn foreign(line: &str) -> Option<Problem> {
    let begins = |marks: &[&str]| marks.iter().any(|mark| line.starts_with(mark));
    let problem = if begins(&["<<<<<<<", "=======", ">>>>>>>"]) {
        "a conflict that git could not merge; keep one of both sides, and delete the lines with \
         <<<<<<<, ======= and >>>>>>>"
    } else if begins(&["```", "~~~"]) {
        "a mark that stands around code in Markdown; delete this line"
    } else if begins(&["//", "/*", ";", "--"]) {
        "a comment begins with # in TOML"
    } else if begins(&["$ ", "> ", "% "]) {
        "a prompt; the file has only what stands behind it, or nothing of this line"
    } else {
        return None;
    };
    Some(Problem::bare(problem))
}

/// Whether a line without `=` is written as YAML has it: `key: value`, `key:` or `- item`.
pub(super) fn is_yaml(line: &str) -> bool {
    line.starts_with("- ") || line == "---" || colon(line).is_some()
}

/// The key and the value of `key: value`, quotes of JSON around the key taken off.
fn colon(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(':')?;
    let key = key.trim().trim_matches('"');
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (!key.is_empty() && key.chars().all(bare)).then_some((key, value.trim().trim_end_matches(',')))
}

fn without_equals(line: &str) -> Problem {
    if let Some((key, value)) = colon(line) {
        let problem = Problem::bare("a key and its value are joined by = in TOML, not by a colon");
        return match value {
            "" => problem.help(format!("write [{key}] for a table, or {key} = and a value")),
            value => with_line(problem, &format!("{key} = {value}")),
        };
    }
    if line.starts_with("- ") {
        return Problem::bare("a list is written in square brackets, such as dns = [\"a\", \"b\"]");
    }
    if line.starts_with(['{', '}', ']', ')']) {
        return Problem::bare("a bracket that closes or opens nothing; delete it");
    }
    let mut words = line.splitn(2, [' ', '\t']);
    let (key, value) = (words.next().unwrap_or(""), words.next().unwrap_or("").trim());
    match value {
        "" => Problem::bare(format!("a key without a value; write {key} = and the value")),
        value if value.starts_with(['"', '\'', '[', '{']) => {
            let problem = Problem::bare("= is missing between the key and its value");
            with_line(problem, &format!("{key} = {value}"))
        }
        _ => Problem::bare("neither a table such as [cache] nor a key with = and a value"),
    }
}

fn header(line: &str, message: &str) -> Problem {
    let inside = line.trim_start_matches('[');
    let opened = line.len() - inside.len();
    let closed = inside.find(']').map_or(0, |at| {
        let rest = inside.get(at..).unwrap_or("");
        rest.len() - rest.trim_start_matches(']').len()
    });
    if opened == closed {
        return Problem::bare(message.replace('\n', " "));
    }
    let name = inside.split([']', '#']).next().unwrap_or("").trim();
    let right = if opened > 1 { format!("[[{name}]]") } else { format!("[{name}]") };
    with_line(Problem::bare("the brackets of a table's name do not close"), &right)
}

fn pair(text: &str, statement: &Statement, span: Span, message: &str) -> (Span, Problem) {
    let begin = Span { start: span.start, end: span.start };
    let key = text.get(statement.key.start..statement.key.end).unwrap_or("").trim();
    let behind = text.get(statement.key.end + 1..statement.span.end).unwrap_or("");
    let value = behind.split('#').next().unwrap_or("").trim();
    if key.is_empty() {
        return (begin, Problem::bare("the key before = is missing"));
    }
    if span.start < statement.key.end {
        if let Some((name, rest)) = colon(key) {
            let problem =
                Problem::bare("a key and its value are joined by = in TOML, not by a colon");
            let line = format!("{name} = {rest}{}", if rest.is_empty() { value } else { "" });
            return (begin, with_line(problem, &line));
        }
        let problem = "a key has only letters, digits, - and _; others need quotes around it";
        return (begin, Problem::bare(problem).help(format!("write \"{key}\" = …")));
    }
    if value.is_empty() {
        return (begin, Problem::bare(format!("a value is missing; write it behind {key} =")));
    }
    if is_about_escapes(message) {
        let problem = "a backslash inside \"…\" begins an escape";
        let help = "write the text in single quotes: '…', or \\\\ for each backslash";
        return (begin, Problem::bare(problem).help(help));
    }
    if UNQUOTED.iter().any(|words| message.starts_with(words)) {
        return unquoted(text, statement, span);
    }
    let problem = if message.starts_with("missing comma") {
        "a comma is missing between two entries of the list"
    } else if message.starts_with("invalid basic string")
        || message.starts_with("invalid literal string")
    {
        UNCLOSED_TEXT
    } else if message.starts_with("unexpected key or value") {
        "only a comment (# …) may follow a value on its line"
    } else {
        return (span, Problem::new(message.replace('\n', " ")));
    };
    (begin, Problem::bare(problem))
}

fn is_about_escapes(message: &str) -> bool {
    ["escape", "unicode value"].iter().any(|words| message.contains(words))
}

/// A value without quotes: the whole of it, though the parser may have stopped within.
fn unquoted(text: &str, statement: &Statement, span: Span) -> (Span, Problem) {
    let is_end =
        |c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']' | '{' | '}' | '=' | '#');
    let from = statement.key.end + 1;
    let at = span.start.clamp(from, statement.span.end);
    let before = text.get(from..at).unwrap_or("");
    let start = from + before.rfind(is_end).map_or(0, |end| end + 1);
    let rest = text.get(start..statement.span.end).unwrap_or("");
    // An IPv6 listener has brackets of its own.
    let start = if rest.is_empty() { from } else { start };
    let rest = text.get(start..statement.span.end).unwrap_or("").trim_start();
    let start = statement.span.end - rest.len().min(statement.span.end);
    let word = rest.split(is_end).next().unwrap_or("").trim_matches(['"', '\'']);
    let found = Span { start, end: start + word.len() };
    let problem = match word.to_ascii_lowercase().as_str() {
        "" => Problem::bare("a text needs quotes around it: \"…\""),
        "true" | "false" => Problem::new(format!("write {}", word.to_ascii_lowercase())),
        "yes" | "on" => Problem::new("write true"),
        "no" | "off" => Problem::new("write false"),
        _ => Problem::new(format!("a text needs quotes around it; write \"{word}\"")),
    };
    (found, problem)
}
