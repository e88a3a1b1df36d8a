//! The statements of a file as a reader sees them, one line or more each: for messages about a file
//! that the TOML parser refuses. The parser says what it expected; this says where a statement begins
//! and ends, which table it belongs to, and where the same key stands first.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::findings::Span;

/// What a statement is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// `[table]`.
    Table,
    /// `[[table]]`.
    EachTable,
    /// `key = value`.
    Pair,
    /// A line without `=` that is no header.
    Junk,
}

/// One statement. All places are octet offsets in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Statement {
    pub(super) kind: Kind,
    /// From the first octet that is no space to the end of its last line.
    pub(super) span: Span,
    /// The key, or the inside of the header.
    pub(super) key: Span,
    /// The bracket of a list that is never closed, or a quote in a list that is not closed on its line:
    /// the parser takes what follows for entries.
    pub(super) open: Option<usize>,
}

impl Statement {
    pub(super) fn is_header(&self) -> bool {
        matches!(self.kind, Kind::Table | Kind::EachTable)
    }
}

/// All statements of a text, in its order.
pub(super) struct Outline<'s> {
    text: &'s str,
    pub(super) statements: Vec<Statement>,
}

impl<'s> Outline<'s> {
    pub(super) fn read(text: &'s str) -> Self {
        let mut statements = Vec::new();
        let mut at = 0;
        while let Some(start) = start_of_statement(text, at) {
            let statement = statement(text, start);
            at = statement.span.end.max(start + 1);
            statements.push(statement);
        }
        Self { text, statements }
    }

    /// The statement that holds the octet at `offset`.
    pub(super) fn at(&self, offset: usize) -> Option<&Statement> {
        let behind = self.statements.partition_point(|statement| statement.span.start <= offset);
        self.statements.get(behind.checked_sub(1)?)
    }

    /// The header above the octet at `offset`.
    pub(super) fn table_of(&self, offset: usize) -> Option<&Statement> {
        let behind = self.statements.partition_point(|statement| statement.span.start <= offset);
        let before = self.statements.get(..behind)?.iter().rev();
        before.into_iter().find(|statement| statement.is_header())
    }

    /// For keys at these offsets that stand in the file twice: the offset of the first of them.
    pub(super) fn first_of(&self, offsets: &[usize]) -> HashMap<usize, usize> {
        let mut wanted: HashMap<String, Vec<usize>> = HashMap::new();
        let asked: HashSet<usize> = offsets.iter().copied().collect();
        self.walk(|path, key| {
            if asked.contains(&key.start) {
                wanted.entry(path.to_owned()).or_default().push(key.start);
            }
        });
        let mut first: HashMap<usize, usize> = HashMap::new();
        let mut seen: HashSet<String> = HashSet::new();
        self.walk(|path, key| {
            let Some(offsets) = wanted.get(path).filter(|_| !seen.contains(path)) else { return };
            seen.insert(path.to_owned());
            first.extend(offsets.iter().filter(|at| **at > key.start).map(|at| (*at, key.start)));
        });
        first
    }

    /// Calls `visit` with the whole path of every key of every statement, those on the way included,
    /// and with the key's own place. Entries of a list of tables are counted in the path.
    fn walk(&self, mut visit: impl FnMut(&str, Range<usize>)) {
        let mut counts: HashMap<String, usize> = HashMap::new();
        let mut table = String::new();
        for statement in &self.statements {
            let Statement { kind, key, .. } = statement;
            let keys = split(self.text, *key);
            let is_header = statement.is_header();
            let mut path = if is_header { String::new() } else { table.clone() };
            for (index, (word, place)) in keys.iter().enumerate() {
                path.push('\0');
                path.push_str(word);
                visit(&path, place.clone());
                if *kind == Kind::EachTable && index + 1 == keys.len() {
                    *counts.entry(path.clone()).or_default() += 1;
                }
                if let Some(count) = counts.get(&path).filter(|_| is_header) {
                    path.push_str(&format!("\0[{count}]"));
                }
            }
            if is_header {
                table = path;
            }
        }
    }
}

/// Where the next statement begins: behind spaces, empty lines and comments.
fn start_of_statement(text: &str, from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        let rest = text.get(at..)?;
        // A byte order mark is one at the start of the file alone.
        let rest = if at == 0 { rest.strip_prefix('\u{feff}').unwrap_or(rest) } else { rest };
        at = text.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
        match text.as_bytes().get(at)? {
            b'#' => at = end_of_line(text, at),
            _ => return Some(at),
        }
    }
}

/// The offset of the line's end, its line break not included.
fn end_of_line(text: &str, from: usize) -> usize {
    let rest = text.get(from..).unwrap_or("");
    from + rest.find('\n').unwrap_or(rest.len())
}

fn statement(text: &str, start: usize) -> Statement {
    let line_end = end_of_line(text, start);
    let line = text.get(start..line_end).unwrap_or("");
    if line.starts_with('[') {
        let kind = if line.starts_with("[[") { Kind::EachTable } else { Kind::Table };
        let inside = line.trim_start_matches('[');
        let begin = start + line.len() - inside.len();
        let end = begin + outside_of_quotes(inside, |c| matches!(c, ']' | '#'));
        let (span, key) = (Span { start, end: line_end }, Span { start: begin, end });
        return Statement { kind, span, key, open: None };
    }
    let equals = outside_of_quotes(line, |c| matches!(c, '=' | '#'));
    let key = Span { start, end: start + equals };
    if line.as_bytes().get(equals) != Some(&b'=') {
        let span = Span { start, end: line_end };
        return Statement { kind: Kind::Junk, span, key, open: None };
    }
    let (end, open) = end_of_value(text, start + equals + 1);
    Statement { kind: Kind::Pair, span: Span { start, end }, key, open }
}

/// The first octet of `line` outside of quotes that `fits`, or its end.
fn outside_of_quotes(line: &str, fits: impl Fn(char) -> bool) -> usize {
    let mut quote = None;
    for (at, c) in line.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '\'') => quote = Some(c),
            None if fits(c) => return at,
            None => {}
        }
    }
    line.len()
}

/// Where a value ends, and the bracket of a list that is still open there. A list whose next line is
/// a statement was never closed.
fn end_of_value(text: &str, from: usize) -> (usize, Option<usize>) {
    let mut open: Vec<(char, usize)> = Vec::new();
    let mut at = from;
    loop {
        let line_end = end_of_line(text, at);
        at = match brackets(text, at, line_end, &mut open) {
            Ok(end) => end,
            // A text without its closing quote is the fault then, and not the list around it.
            Err(quote) => return (line_end, (!open.is_empty()).then_some(quote)),
        };
        let Some((bracket, place)) = open.last().copied() else { return (at.max(line_end), None) };
        let next = text.get(end_of_line(text, at) + 1..).unwrap_or("");
        let Some(start) = start_of_statement(next, 0) else {
            return (end_of_line(text, at), Some(place));
        };
        let line = next.get(start..).unwrap_or("").lines().next().unwrap_or("");
        if is_header(line) || (bracket == '[' && is_pair(line)) {
            return (end_of_line(text, at), Some(place));
        }
        // Comments between are behind us; each octet is looked at once.
        at = end_of_line(text, at) + 1 + start;
    }
}

/// Follows the brackets of a line, past texts and comments; returns where it stopped: at the line's
/// end, or behind a text of several lines. Fails with the quote of a text that is not closed.
fn brackets(
    text: &str,
    from: usize,
    line_end: usize,
    open: &mut Vec<(char, usize)>,
) -> Result<usize, usize> {
    let mut at = from;
    while at < line_end {
        let rest = text.get(at..).unwrap_or("");
        let Some(c) = rest.chars().next() else { break };
        match c {
            '#' => break,
            '[' | '{' => open.push((c, at)),
            ']' | '}' => drop(open.pop()),
            '"' | '\'' => {
                let long = if c == '"' { "\"\"\"" } else { "'''" };
                if let Some(inside) = rest.strip_prefix(long) {
                    at += inside.find(long).map_or(rest.len(), |end| end + 2 * long.len());
                    if at > line_end {
                        return Ok(at.min(text.len()));
                    }
                    continue;
                }
                at += length_of_text(rest, c).ok_or(at)?;
                continue;
            }
            _ => {}
        }
        at += c.len_utf8();
    }
    Ok(line_end)
}

/// Octets of a text in quotes, at the start of `rest`; a text ends on its line.
fn length_of_text(rest: &str, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '\n' => return None,
            _ if is_escaped => is_escaped = false,
            '\\' if quote == '"' => is_escaped = true,
            _ if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Whether a line can only be a header: an entry of a list would need quotes.
fn is_header(line: &str) -> bool {
    let inside = line.trim_start_matches('[');
    let brackets = line.len() - inside.len();
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let end = inside.find(|c| !bare(c)).unwrap_or(inside.len());
    let behind = inside.get(end..).unwrap_or("").trim_start_matches(']').trim_start();
    (1..=2).contains(&brackets)
        && inside.starts_with(|c: char| c.is_ascii_alphabetic())
        && inside.get(end..).is_some_and(|rest| rest.starts_with(']'))
        && (behind.is_empty() || behind.starts_with('#'))
}

/// Whether a line begins with `key =`.
fn is_pair(line: &str) -> bool {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let key = line.find(|c| !bare(c)).unwrap_or(line.len());
    key > 0 && line.get(key..).is_some_and(|rest| rest.trim_start().starts_with('='))
}

/// The keys of a dotted key with their places, quotes taken off.
fn split(text: &str, key: Span) -> Vec<(&str, Range<usize>)> {
    let mut keys = Vec::new();
    let mut start = key.start;
    while start <= key.end {
        let rest = text.get(start..key.end).unwrap_or("");
        let end = start + outside_of_quotes(rest, |c| c == '.');
        let raw = text.get(start..end).unwrap_or("");
        let begin = start + raw.len() - raw.trim_start().len();
        let word = raw.trim();
        let bare = word.trim_matches(['"', '\'']);
        keys.push((bare, begin..begin + word.len()));
        start = end + 1;
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outlined(text: &str) -> Vec<(Kind, &str, bool)> {
        let outline = Outline::read(text);
        let statements = outline.statements.into_iter();
        statements.map(|s| (s.kind, &text[s.span.start..s.span.end], s.open.is_some())).collect()
    }

    #[test]
    fn statements_end_with_their_last_line() {
        use Kind::{EachTable, Junk, Pair, Table};
        let text = "\u{feff}# one\n[a] # two\n  b.c = [ # [\n 'x]', \"\\\"]\",\n]\nd = '''\n=\n'''\n\
                    [[e]]\nf = {\n g = [1]\n}\nh: 1\n\"#\" = 2\n";
        assert_eq!(
            outlined(text),
            [
                (Table, "[a] # two", false),
                (Pair, "b.c = [ # [\n 'x]', \"\\\"]\",\n]", false),
                (Pair, "d = '''\n=\n'''", false),
                (EachTable, "[[e]]", false),
                (Pair, "f = {\n g = [1]\n}", false),
                (Junk, "h: 1", false),
                (Pair, "\"#\" = 2", false),
            ]
        );
    }

    #[test]
    fn a_list_without_end_stops_before_the_next_statement() {
        use Kind::{EachTable, Pair, Table};
        for (next, kind) in
            [("[cache]", Table), ("[[forward]]", EachTable), ("size = 1", Pair), ("a.b=1", Pair)]
        {
            let text = format!("dns = [\n 'a',\n\n# c\n{next}\n");
            let found = outlined(&text);
            assert_eq!(found, [(Pair, "dns = [\n 'a',", true), (kind, next, false)], "{next}");
        }
        assert_eq!(outlined("a = [\n"), [(Pair, "a = [", true)]);
        assert_eq!(outlined("a = ['b]\n"), [(Pair, "a = ['b]", true)]);
        assert_eq!(outlined("a = 'b\n"), [(Pair, "a = 'b", false)]);
        assert_eq!(outlined("a = [\n['b'],\n[1, 2]]")[0].1, "a = [\n['b'],\n[1, 2]]");
    }

    #[test]
    fn the_first_of_two_keys_is_found_in_its_own_table() {
        let text = "[listen]\ndns = 1\n[[a]]\nname = 1\n[[a.b]]\nname = 2\n[[a]]\nname = 3\n\
                    name = 4\nc.d = 1\n[a.c]\n[listen]\n'dns' = 2\n";
        let at = |part: &str| text.rfind(part).expect("a part");
        let twice = [at("name = 4"), at("c]"), at("listen]"), at("'dns'"), at("name = 3")];
        let first = Outline::read(text).first_of(&twice);
        let line = |offset: &usize| text[..*offset].matches('\n').count() + 1;
        let lines: Vec<_> = twice.iter().map(|at| first.get(at).map(line)).collect();
        assert_eq!(lines, [Some(8), Some(10), Some(1), Some(2), None]);
    }

    #[test]
    fn any_text_has_an_end() {
        for text in
            ["[", "[[", "=", "\"", "a = \"\"\"", "a = '''x", "a = {", "\\", "é=é", "a = \"\\"]
        {
            let outline = Outline::read(text);
            assert!(outline.statements.len() == 1, "{text}");
            assert!(outline.at(0).is_some());
        }
        assert!(Outline::read(" # x\n\r\n").statements.is_empty());
    }
}
