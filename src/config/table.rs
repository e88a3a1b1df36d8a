//! Reads TOML tables by key: types, unknown keys, lists. Every fault becomes a finding, and reading
//! goes on.

use std::collections::HashMap;
use std::hash::Hash;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::findings::{Findings, Path, Problem, Span};
use super::limits::CountRange;
use super::suggest::{any_of, did_you_mean};

/// A value and where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Span,
}

/// What a key holds.
#[derive(Clone, Debug)]
pub(super) enum Field<T> {
    /// The key is not there.
    Missing,
    /// The value is wrong; that has been said.
    Wrong,
    /// The value.
    Good(At<T>),
}

impl<T> Field<T> {
    pub(super) fn good(&self) -> Option<&At<T>> {
        match self {
            Self::Good(at) => Some(at),
            _ => None,
        }
    }

    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Missing)
    }

    /// The value, or `default` when it is missing (or wrong: then nobody will see it).
    pub(super) fn or(self, default: T) -> T {
        match self {
            Self::Good(at) => at.value,
            _ => default,
        }
    }
}

/// A list: its good entries, and where it stands when it is there at all.
#[derive(Clone, Debug)]
pub(super) struct List<T> {
    pub(super) items: Vec<At<T>>,
    pub(super) span: Option<Span>,
    /// Some entry is wrong and left out of `items`; that has been said.
    pub(super) incomplete: bool,
}

impl<T> List<T> {
    pub(super) fn missing() -> Self {
        Self { items: Vec::new(), span: None, incomplete: false }
    }

    pub(super) fn is_missing(&self) -> bool {
        self.span.is_none()
    }

    pub(super) fn values(self) -> Vec<T> {
        self.items.into_iter().map(|at| at.value).collect()
    }
}

/// How a list is read.
pub(super) struct Listed<'a> {
    /// What to write when an entry is no text.
    pub(super) wanted: &'a str,
    /// Fewest entries: 0 or 1.
    pub(super) at_least_one: bool,
    /// Most entries.
    pub(super) at_most: usize,
}

/// A table under its path.
#[derive(Clone, Copy)]
pub(super) struct Table<'t> {
    pub(super) entries: &'t DeTable<'t>,
    pub(super) path: Path<'t>,
    /// The table's header, or the inline table.
    pub(super) span: Span,
}

impl<'t> Table<'t> {
    /// Reports every key that is not one of `known`.
    pub(super) fn only(&self, known: &[&str], findings: &mut Findings<'_>) {
        for key in self.entries.keys() {
            let word: &str = key.get_ref();
            if known.contains(&word) {
                continue;
            }
            let mut problem = Problem::bare(format!("unknown key; allowed: {}", known.join(", ")));
            if let Some(help) = did_you_mean(word, known.iter().copied()) {
                problem = problem.help(help);
            }
            findings.error(self.path.key(word), key.span().into(), problem);
        }
    }

    /// Reports a required key that is not there. In a file with broken lines it may stand in one.
    pub(super) fn missing(&self, key: &str, wanted: &str, findings: &mut Findings<'_>) {
        if findings.is_broken() {
            return;
        }
        let problem = Problem::bare(format!("missing; {wanted}"));
        findings.error(self.path.key(key), self.span, problem);
    }

    /// A text that `parse` understands; `wanted` says what to write when it is no text at all.
    pub(super) fn text<T>(
        &self,
        key: &str,
        wanted: &str,
        findings: &mut Findings<'_>,
        parse: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> Field<T> {
        let Some(value) = self.entries.get(key) else { return Field::Missing };
        let span = value.span().into();
        let parsed = match value.get_ref() {
            DeValue::String(text) => parse(text),
            other => Err(wrong_type(other, wanted)),
        };
        match parsed {
            Ok(value) => Field::Good(At { value, span }),
            Err(problem) => {
                findings.error(self.path.key(key), span, problem);
                Field::Wrong
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &str,
        choices: &[(&str, T)],
        findings: &mut Findings<'_>,
    ) -> Field<T> {
        let words = || choices.iter().map(|(word, _)| *word);
        let wanted = format!("write {}", any_of(words()));
        self.text(key, &wanted, findings, |text| {
            let found = choices.iter().find(|(word, _)| *word == text);
            found.map(|(_, value)| *value).ok_or_else(|| {
                let problem = Problem::new(&wanted);
                match did_you_mean(text, words()) {
                    Some(help) => problem.help(help),
                    None => problem,
                }
            })
        })
    }

    /// Yes or no.
    pub(super) fn flag(&self, key: &str, findings: &mut Findings<'_>) -> Field<bool> {
        let Some(value) = self.entries.get(key) else { return Field::Missing };
        let span = value.span().into();
        match value.get_ref() {
            DeValue::Boolean(value) => Field::Good(At { value: *value, span }),
            other => {
                let problem = wrong_type(other, "write true or false, without quotes");
                findings.error(self.path.key(key), span, problem);
                Field::Wrong
            }
        }
    }

    /// A whole number, written without quotes.
    pub(super) fn count(
        &self,
        key: &str,
        range: &CountRange,
        findings: &mut Findings<'_>,
    ) -> Field<usize> {
        let Some(value) = self.entries.get(key) else { return Field::Missing };
        let span = value.span().into();
        let number = match value.get_ref() {
            DeValue::Integer(integer) => {
                usize::from_str_radix(integer.as_str(), integer.radix()).ok()
            }
            _ => None,
        };
        match number.filter(|number| range.contains(*number)) {
            Some(value) => Field::Good(At { value, span }),
            None => {
                let wanted = format!("write a whole number without quotes ({range})");
                let problem = match value.get_ref() {
                    DeValue::Integer(_) => Problem::new(wanted),
                    other => wrong_type(other, &wanted),
                };
                findings.error(self.path.key(key), span, problem);
                Field::Wrong
            }
        }
    }

    /// A list of texts, none of them twice.
    pub(super) fn list<T: Clone + Eq + Hash>(
        &self,
        key: &str,
        listed: &Listed<'_>,
        findings: &mut Findings<'_>,
        parse: impl FnMut(&str) -> Result<T, Problem>,
    ) -> List<T> {
        match self.entries.get(key) {
            Some(value) => {
                let mut items = Vec::new();
                let push = |at| items.push(at);
                let path = self.path.key(key);
                let incomplete = read_items(value, path, listed, findings, parse, push);
                List { items, span: Some(value.span().into()), incomplete }
            }
            None => List::missing(),
        }
    }

    /// The one table `[key]`, if it is there.
    pub(super) fn table<T>(
        &self,
        key: &str,
        findings: &mut Findings<'_>,
        read: impl FnOnce(&Table<'_>, &mut Findings<'_>) -> T,
    ) -> Option<T> {
        let value = self.entries.get(key)?;
        let (path, span) = (self.path.key(key), value.span().into());
        if let DeValue::Table(entries) = value.get_ref() {
            return Some(read(&Table { entries, path, span }, findings));
        }
        findings.error(path, span, Problem::bare(format!("write it once, as a table: [{key}]")));
        None
    }

    /// The tables `[[key]]`. `header` is how the file writes the key, parents included.
    pub(super) fn tables<T>(
        &self,
        key: &str,
        header: &str,
        findings: &mut Findings<'_>,
        mut read: impl FnMut(&Table<'_>, &mut Findings<'_>) -> T,
    ) -> Vec<T> {
        let Some(value) = self.entries.get(key) else { return Vec::new() };
        let path = self.path.key(key);
        let wanted =
            || Problem::bare(format!("write each as a table in two brackets: [[{header}]]"));
        let DeValue::Array(array) = value.get_ref() else {
            let span = value.span().into();
            let problem = below_nothing(header, findings.line_text(span)).unwrap_or_else(wanted);
            findings.error(path, span, problem);
            return Vec::new();
        };
        let mut tables = Vec::with_capacity(array.len());
        for (index, item) in array.iter().enumerate() {
            let (path, span) = (path.item(index, array.len()), item.span().into());
            match item.get_ref() {
                DeValue::Table(entries) => {
                    tables.push(read(&Table { entries, path, span }, findings));
                }
                _ => findings.error(path, span, wanted()),
            }
        }
        tables
    }
}

/// Reads a value that must be a list of texts, and gives each entry that is good to `take`. Tells
/// whether some are not; that has been said.
pub(super) fn read_items<T: Clone + Eq + Hash>(
    value: &Spanned<DeValue<'_>>,
    path: Path<'_>,
    listed: &Listed<'_>,
    findings: &mut Findings<'_>,
    mut parse: impl FnMut(&str) -> Result<T, Problem>,
    mut take: impl FnMut(At<T>),
) -> bool {
    let span = Span::from(value.span());
    let DeValue::Array(array) = value.get_ref() else {
        findings.error(path, span, not_a_list(value.get_ref(), listed.wanted));
        return true;
    };
    if array.is_empty() && listed.at_least_one {
        findings.error(path, span, Problem::new(format!("the list is empty; {}", listed.wanted)));
    }
    if array.len() > listed.at_most {
        let (entries, most) = (array.len(), listed.at_most);
        let problem = Problem::bare(format!("{entries} entries; at most {most} are allowed"));
        findings.error(path, span, problem);
        return true;
    }
    let mut incomplete = false;
    let mut seen: HashMap<T, Span> = HashMap::new();
    for (index, item) in array.iter().enumerate() {
        let (path, span) = (path.item(index, array.len()), Span::from(item.span()));
        let parsed = match item.get_ref() {
            DeValue::String(text) => parse(text),
            other => Err(wrong_type(other, listed.wanted)),
        };
        match parsed {
            Err(problem) => {
                incomplete = true;
                findings.error(path, span, problem);
            }
            Ok(value) => {
                // A list of one is the rule among 100,000 names; it needs no map.
                let twice = array.len() > 1 && seen.insert(value.clone(), span).is_some();
                if twice {
                    let problem = Problem::new("stands twice in this list; remove one");
                    findings.error(path, span, problem);
                } else {
                    take(At { value, span });
                }
            }
        }
    }
    incomplete
}

/// What is wrong with a header, such as `[[private-link.endpoint]]`, that stands before any table of
/// `above` that it could belong to.
fn below_nothing(above: &str, line: &str) -> Option<Problem> {
    let line = line.trim_start();
    let inside = line.trim_start_matches('[');
    let name = inside.split([']', '#']).next()?.trim();
    let brackets = line.len() - inside.len();
    let is_below = name.strip_prefix(above).is_some_and(|rest| rest.starts_with('.'));
    if !(1..=2).contains(&brackets) || !is_below {
        return None;
    }
    let (open, close) = ("[".repeat(brackets), "]".repeat(brackets));
    let key = if above == "private-link" { "service" } else { "name" };
    Some(
        Problem::bare(format!(
            "{open}{name}{close} stands before any [[{above}]], so it belongs to none"
        ))
        .help(format!("write a [[{above}]] with {key} = \"…\" above it")),
    )
}

fn wrong_type(value: &DeValue<'_>, wanted: &str) -> Problem {
    match value {
        DeValue::Table(_) | DeValue::Array(_) => {
            Problem::bare(format!("{} cannot stand here; {wanted}", article(value)))
        }
        _ => Problem::new(format!("{} cannot stand here; {wanted}", article(value))),
    }
}

fn not_a_list(value: &DeValue<'_>, wanted: &str) -> Problem {
    match value {
        DeValue::String(_) => {
            Problem::new(format!("write a list, in square brackets; in it, {wanted}"))
        }
        other => wrong_type(other, &format!("write a list, in square brackets; in it, {wanted}")),
    }
}

fn article(value: &DeValue<'_>) -> String {
    let kind = value.type_str();
    match value {
        DeValue::Integer(_) | DeValue::Array(_) => format!("an {kind}"),
        _ => format!("a {kind}"),
    }
}
