//! Private DNS zones as `az network private-dns zone export` writes them: master files (RFC 1035 §5).
//!
//! Own code, as a library's parser knows no lines, follows `$INCLUDE` into files, and gives up the
//! zone for one record that it does not know. Only addresses are of interest here.

use std::collections::BTreeMap;

use super::facts::{Facts, Origin, Said, addresses, fqdn};
use super::log::{Log, shown};
use super::model::{Record, Source};
use super::records::other_type;

/// Whether a text that is no JSON looks like a master file.
pub(super) fn is_master_file(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("$ORIGIN") || line.starts_with("$TTL"))
}

/// Reads a zone. A file that cannot be understood is refused as a whole.
pub(super) fn read(file: &str, text: &str, facts: &mut Facts, log: &mut Log) {
    let mut zone = Zone { file, origin: None, owner: None, sets: BTreeMap::new() };
    for entry in Entries::new(text) {
        let line = entry.as_ref().map_or_else(|fault| fault.0, |entry| entry.line);
        let source = zone.source(line);
        let outcome = entry.map_err(|fault| fault.1).and_then(|entry| zone.entry(&entry, log));
        if let Err(why) = outcome {
            log.refused(&source, format!("{why}; nothing of this file is used"));
            return;
        }
    }
    for ((_, owner, _), (line, texts)) in std::mem::take(&mut zone.sets) {
        facts.records.extend(zone.said(owner, line, &texts, log));
    }
}

/// Addresses of an RRset by the zone's origin, owner and type, with the line of the first.
type Sets = BTreeMap<(String, String, String), (usize, Vec<String>)>;

struct Zone<'a> {
    file: &'a str,
    origin: Option<String>,
    owner: Option<String>,
    sets: Sets,
}

impl Zone<'_> {
    fn source(&self, line: usize) -> Source {
        Source { file: self.file.to_owned(), at: format!("line {line}") }
    }

    fn entry(&mut self, entry: &Entry, log: &mut Log) -> Result<(), String> {
        let mut words = entry.words.iter().map(String::as_str);
        if !entry.blank {
            let first = words.next().unwrap_or("");
            match first {
                "$TTL" => return Ok(()),
                "$ORIGIN" => {
                    let origin = words.next().unwrap_or("");
                    self.origin = Some(self.absolute(origin)?);
                    return Ok(());
                }
                "$INCLUDE" => return Err("$INCLUDE leads to another file; give that one".into()),
                _ if first.starts_with('$') => {
                    return Err(format!("{} is no directive of a zone export", shown(first)));
                }
                name => self.owner = Some(self.absolute(name)?),
            }
        }
        let is_ttl = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
        let is_class = |word: &str| word.eq_ignore_ascii_case("IN");
        let mut rest = words.skip_while(|word| is_ttl(word) || is_class(word));
        let Some(kind) = rest.next().map(str::to_uppercase) else {
            return Err("a line without a record type".to_owned());
        };
        let owner = self.owner.clone().ok_or("a record without an owner in front of it")?;
        match kind.as_str() {
            "A" | "AAAA" => {}
            "SOA" | "NS" => return Ok(()),
            other => {
                log.left_out(&self.source(entry.line), other_type(other));
                return Ok(());
            }
        }
        let (Some(address), None) = (rest.next(), rest.next()) else {
            return Err(format!("one address belongs behind {kind}"));
        };
        let origin = self.origin.clone().unwrap_or_default();
        let set = self.sets.entry((origin, owner, kind)).or_insert((entry.line, Vec::new()));
        set.1.push(address.to_owned());
        Ok(())
    }

    /// A name of the file with the origin behind it where it is relative.
    fn absolute(&self, name: &str) -> Result<String, String> {
        if name.is_empty() {
            return Err("a name is missing".to_owned());
        }
        if let Some(absolute) = name.strip_suffix('.') {
            return Ok(absolute.to_lowercase());
        }
        let origin = self.origin.as_deref();
        let origin = origin.ok_or("a relative name before any $ORIGIN; export the whole zone")?;
        Ok(if name == "@" { origin.to_owned() } else { format!("{name}.{origin}").to_lowercase() })
    }

    fn said(&self, owner: String, line: usize, texts: &[String], log: &mut Log) -> Option<Said> {
        let source = self.source(line);
        let fqdn = fqdn(&owner, &source, log)?;
        let addresses = addresses(&fqdn, texts.iter().map(|text| (text.as_str(), &source)), log)?;
        let place = source.clone();
        let record = Record {
            fqdn,
            addresses,
            group_id: None,
            member: None,
            source: place,
            also: Vec::new(),
        };
        Some(Said { record, origin: Origin::Zone, zone: self.origin.clone(), of: source })
    }
}

/// A line, or several inside parentheses.
struct Entry {
    /// From 1.
    line: usize,
    /// It begins with a blank: the owner is the one of the entry before.
    blank: bool,
    words: Vec<String>,
}

/// A fault and its line.
struct Fault(usize, String);

/// The entries of a master file that are not empty.
struct Entries<'a> {
    lines: std::iter::Enumerate<std::str::Lines<'a>>,
    broken: bool,
}

impl<'a> Entries<'a> {
    fn new(text: &'a str) -> Self {
        Self { lines: text.lines().enumerate(), broken: false }
    }

    /// The words of one entry; an empty list for an empty line.
    fn next_entry(&mut self, first: (usize, &str)) -> Result<Entry, String> {
        let mut entry =
            Entry { line: first.0 + 1, blank: first.1.starts_with([' ', '\t']), words: Vec::new() };
        let mut open = words(first.1, false, &mut entry.words)?;
        while open {
            let (_, line) = self.lines.next().ok_or("a parenthesis is never closed")?;
            open = words(line, open, &mut entry.words)?;
        }
        Ok(entry)
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.broken {
            let first = self.lines.next()?;
            match self.next_entry(first) {
                Ok(entry) if entry.words.is_empty() => {}
                Ok(entry) => return Some(Ok(entry)),
                Err(why) => {
                    self.broken = true;
                    return Some(Err(Fault(first.0 + 1, why)));
                }
            }
        }
        None
    }
}

/// Adds the words of a line; whether a parenthesis is open behind it.
fn words(line: &str, mut open: bool, into: &mut Vec<String>) -> Result<bool, String> {
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ';' => break,
            '(' if open => return Err("a parenthesis inside another".to_owned()),
            ')' if !open => return Err("a parenthesis that was never opened".to_owned()),
            '(' => open = true,
            ')' => open = false,
            c if c.is_whitespace() => {}
            '"' => {
                let mut word = String::new();
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => word.extend(chars.next()),
                        Some(c) => word.push(c),
                        None => return Err("a quotation mark is never closed".to_owned()),
                    }
                }
                into.push(word);
            }
            c => {
                let mut word = String::from(c);
                let mut escaped = c == '\\';
                while let Some(&next) = chars.peek() {
                    let ends = next.is_whitespace() || matches!(next, ';' | '(' | ')' | '"');
                    if ends && !escaped {
                        break;
                    }
                    escaped = next == '\\' && !escaped;
                    word.push(next);
                    chars.next();
                }
                into.push(word);
            }
        }
    }
    Ok(open)
}
