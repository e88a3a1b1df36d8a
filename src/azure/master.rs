//! Private DNS zones as `az network private-dns zone export` and the portal write them: master files
//! (RFC 1035 §5).
//!
//! Own code, as a library's parser knows no lines, follows `$INCLUDE` into files, and gives up the
//! zone for one record that it does not know. Only addresses are of interest here.

use std::collections::BTreeMap;

use super::facts::{Alias, Facts, Said, addresses, fqdn};
use super::foreign::is_of_dig;
use super::log::{Log, shown};
use super::model::Source;
use super::records::other_type;
use crate::catalog::{self, Role};

/// The comment with which an export names its zone, in words of lower case.
const ZONE_COMMENT: &str = "zone name:";
/// Most octets of a quoted string that goes on in the next line: a character string has no more (RFC
/// 1035 §3.3). With more, its quotation mark was never closed.
const MAX_STRING_OCTETS: usize = 255;

/// Whether a text that is no JSON looks like a master file: by a directive, by the comment of an
/// export, or by a first record of class IN.
pub(super) fn is_master_file(text: &str) -> bool {
    let directive = |line: &str| directive(line).is_some_and(|d| d != "$INCLUDE");
    let of_export = |line: &str| zone_comment(line).is_some();
    let is_record = |line: &str| {
        let mut words = line.split_whitespace().skip(1).skip_while(|word| is_ttl(word));
        let known = |word: &str| ["A", "AAAA", "SOA"].iter().any(|k| word.eq_ignore_ascii_case(k));
        words.next().is_some_and(is_class) && words.next().is_some_and(known)
    };
    let mut records = lines(text).map(str::trim).filter(|l| !l.is_empty() && !l.starts_with(';'));
    lines(text).any(|line| directive(line) || of_export(line))
        // What dig prints has records too, but says nothing about a zone.
        || (!is_of_dig(text) && records.next().is_some_and(is_record))
}

/// Reads a zone. A file that cannot be understood is refused as a whole.
pub(super) fn read(file: &str, text: &str, facts: &mut Facts, log: &mut Log) {
    let mut zone = Zone {
        file,
        origin: None,
        stated: false,
        apex: None,
        owner: None,
        sets: BTreeMap::new(),
        aliases: Vec::new(),
    };
    for entry in Entries::new(text) {
        let line = entry.as_ref().map_or_else(|fault| fault.0, |entry| entry.line);
        let source = zone.source(line);
        let outcome = entry.map_err(|fault| fault.1).and_then(|entry| zone.entry(&entry, log));
        if let Err(why) = outcome {
            log.refused(&source, format!("{why}; nothing of this file is used"));
            return;
        }
    }
    for ((apex, owner, _), (line, texts)) in std::mem::take(&mut zone.sets) {
        facts.records.extend(zone.said(&apex, &owner, line, &texts, log));
    }
    facts.aliases.append(&mut zone.aliases);
}

/// Addresses of an RRset by its zone, owner and type, with the line of the first.
type Sets = BTreeMap<(String, String, String), (usize, Vec<String>)>;

struct Zone<'a> {
    file: &'a str,
    origin: Option<String>,
    /// The origin comes from an `$ORIGIN`, not from a comment.
    stated: bool,
    /// The owner of the SOA.
    apex: Option<String>,
    owner: Option<String>,
    sets: Sets,
    aliases: Vec<Alias>,
}

impl Zone<'_> {
    fn source(&self, line: usize) -> Source {
        Source { file: self.file.to_owned(), at: format!("line {line}") }
    }

    fn entry(&mut self, entry: &Entry, log: &mut Log) -> Result<(), String> {
        if let Some(name) = &entry.export_of {
            self.origin = Some(name.trim_end_matches('.').to_lowercase());
            self.stated = false;
            (self.apex, self.owner) = (None, None);
            return Ok(());
        }
        let mut words = entry.words.iter().map(String::as_str);
        let is_directive = entry.words.first().is_some_and(|word| word.starts_with('$'));
        if !entry.blank || is_directive {
            let first = words.next().unwrap_or("");
            match directive(first) {
                Some("$TTL") => return Ok(()),
                Some("$ORIGIN") => {
                    let (Some(origin), None) = (words.next(), words.next()) else {
                        return Err("one name belongs behind $ORIGIN".to_owned());
                    };
                    self.origin = Some(self.new_origin(origin)?);
                    self.stated = true;
                    return Ok(());
                }
                Some(_) => return Err("$INCLUDE leads to another file; give that one".into()),
                None if first.starts_with('$') => {
                    return Err(format!("{} is no directive of a zone export", shown(first)));
                }
                None => self.owner = Some(self.absolute(first)?),
            }
        }
        let mut rest = words.skip_while(|word| is_ttl(word) || is_class(word));
        let Some(kind) = rest.next().map(str::to_uppercase) else {
            return Err("a line without a record type".to_owned());
        };
        let owner = self.owner.clone().ok_or("a record without an owner in front of it")?;
        match kind.as_str() {
            "A" | "AAAA" => {}
            "SOA" => {
                self.apex = Some(owner);
                return Ok(());
            }
            "NS" => return Ok(()),
            "CNAME" => return self.alias(owner, rest.next(), entry.line, log),
            other => {
                log.left_out(&self.source(entry.line), other_type(other));
                return Ok(());
            }
        }
        let (Some(address), None) = (rest.next(), rest.next()) else {
            return Err(format!("one address belongs behind {kind}"));
        };
        let apex = self.apex.clone().or_else(|| self.origin.clone()).unwrap_or_default();
        let set = self.sets.entry((apex, owner, kind)).or_insert((entry.line, Vec::new()));
        set.1.push(address.to_owned());
        Ok(())
    }

    /// The origin that an `$ORIGIN` sets. The portal leaves out the final dot. Without an `$ORIGIN`
    /// before it in this export, a name without that dot can only be absolute. Behind one it is
    /// relative (RFC 1035 §5.1), unless it is a private zone itself: there the dot is missing.
    fn new_origin(&self, origin: &str) -> Result<String, String> {
        if origin == "@" {
            return self.absolute(origin);
        }
        if !self.stated {
            return Ok(origin.trim_end_matches('.').to_lowercase());
        }
        if !origin.ends_with('.') && self.lacks_dot(&origin.to_lowercase()) {
            return Err(format!(
                "$ORIGIN {} has no final dot and follows another $ORIGIN: write the dot, or give \
                 each export in a file of its own",
                shown(origin)
            ));
        }
        self.absolute(origin)
    }

    /// Whether a relative origin is a whole zone: one of the catalogue, or a second private label.
    fn lacks_dot(&self, name: &str) -> bool {
        let has_label = |name: &str| name.split('.').any(|label| label == "privatelink");
        catalog::zones_at(name).iter().any(|place| place.role == Role::Private)
            || has_label(name) && self.origin.as_deref().is_some_and(has_label)
    }

    /// A CNAME record.
    fn alias(
        &mut self,
        owner: String,
        target: Option<&str>,
        line: usize,
        log: &mut Log,
    ) -> Result<(), String> {
        let source = self.source(line);
        let target = self.absolute(target.unwrap_or(""))?;
        let names = fqdn(&owner, &source, log).zip(fqdn(&target, &source, log));
        let zone = self.apex.clone().or_else(|| self.origin.clone());
        self.aliases.extend(names.map(|(owner, target)| Alias::new(owner, target, zone, source)));
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

    fn said(
        &self,
        apex: &str,
        owner: &str,
        line: usize,
        texts: &[String],
        log: &mut Log,
    ) -> Option<Said> {
        let source = self.source(line);
        let fqdn = fqdn(owner, &source, log)?;
        let addresses = addresses(&fqdn, texts.iter().map(|text| (text.as_str(), &source)), log)?;
        let zone = (!apex.is_empty()).then(|| apex.to_owned());
        Some(Said::in_zone(fqdn, addresses, zone, source))
    }
}

/// The lines of a text, whichever way they end: CR LF leaves a blank behind.
fn lines(text: &str) -> std::str::Split<'_, char> {
    text.split(if text.contains('\n') { '\n' } else { '\r' })
}

/// The directive at the beginning of a line, spelled as RFC 1035 has it.
fn directive(line: &str) -> Option<&'static str> {
    let word = line.split_whitespace().next()?;
    let known = ["$ORIGIN", "$TTL", "$INCLUDE"];
    known.into_iter().find(|known| word.eq_ignore_ascii_case(known))
}

/// The zone that a comment of an export names: `; Zone name: privatelink.blob.core.windows.net`, or
/// Windows' `;  Database file (null) for Default zone scope in zone privatelink.blob.core.windows.net.`
fn zone_comment(line: &str) -> Option<&str> {
    let comment = line.trim_start().strip_prefix(';')?.trim();
    let of_windows = comment.starts_with("Database file ").then(|| {
        let name = comment.rsplit_once(" in zone ").map(|(_, name)| name);
        name.or_else(|| comment.strip_suffix(" zone.")?.rsplit(' ').next())
    });
    let of_azure = || {
        let (label, name) = comment.split_at_checked(ZONE_COMMENT.len())?;
        label.eq_ignore_ascii_case(ZONE_COMMENT).then_some(name.trim())
    };
    let is_name = |name: &&str| name.contains('.') && !name.contains(char::is_whitespace);
    of_windows.flatten().or_else(of_azure).filter(is_name)
}

/// A TTL, in seconds or with units: `10`, `1h30m`.
fn is_ttl(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit())
}

fn is_class(word: &str) -> bool {
    word.eq_ignore_ascii_case("IN")
}

/// A line, or several inside parentheses or a quoted string.
struct Entry {
    /// From 1.
    line: usize,
    /// It begins with a blank: the owner is the one of the entry before.
    blank: bool,
    words: Vec<String>,
    /// The zone whose export begins with this comment.
    export_of: Option<String>,
}

/// A fault and its line.
struct Fault(usize, String);

/// The entries of a master file that are not empty.
struct Entries<'a> {
    lines: std::iter::Enumerate<std::str::Split<'a, char>>,
    broken: bool,
}

impl<'a> Entries<'a> {
    fn new(text: &'a str) -> Self {
        Self { lines: lines(text).enumerate(), broken: false }
    }

    /// The words of one entry; an empty list for an empty line.
    fn next_entry(&mut self, first: (usize, &str)) -> Result<Entry, String> {
        let mut entry = Entry {
            line: first.0 + 1,
            blank: first.1.starts_with([' ', '\t']),
            words: Vec::new(),
            export_of: zone_comment(first.1).map(str::to_owned),
        };
        let mut open = Open::default();
        words(first.1, &mut open, &mut entry.words)?;
        while open.parenthesis || open.string.is_some() {
            let Some((_, line)) = self.lines.next() else {
                return Err(match open.string {
                    Some(_) => "a quotation mark is never closed".to_owned(),
                    None => "a parenthesis is never closed".to_owned(),
                });
            };
            words(line, &mut open, &mut entry.words)?;
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
                Ok(entry) if entry.words.is_empty() && entry.export_of.is_none() => {}
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

/// What the end of a line leaves open.
#[derive(Default)]
struct Open {
    parenthesis: bool,
    /// The beginning of a quoted string.
    string: Option<String>,
}

/// Adds the words of a line, and notes what is open behind it.
fn words(line: &str, open: &mut Open, into: &mut Vec<String>) -> Result<(), String> {
    let mut chars = line.chars().peekable();
    if let Some(begun) = open.string.take() {
        open.string = string(begun + "\n", &mut chars, into)?;
    }
    while let Some(c) = chars.next() {
        match c {
            ';' => break,
            '(' if open.parenthesis => return Err("a parenthesis inside another".to_owned()),
            ')' if !open.parenthesis => {
                return Err("a parenthesis that was never opened".to_owned());
            }
            '(' => open.parenthesis = true,
            ')' => open.parenthesis = false,
            c if c.is_whitespace() => {}
            '"' => open.string = string(String::new(), &mut chars, into)?,
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
    Ok(())
}

/// Adds the rest of a quoted string as a word, or returns it where it goes on in the next line.
fn string(
    mut word: String,
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    into: &mut Vec<String>,
) -> Result<Option<String>, String> {
    loop {
        match chars.next() {
            Some('"') => {
                into.push(word);
                return Ok(None);
            }
            Some('\\') => word.extend(chars.next()),
            Some(c) => word.push(c),
            None if word.len() > MAX_STRING_OCTETS => {
                return Err("a quotation mark is never closed".to_owned());
            }
            None => return Ok(Some(word)),
        }
    }
}
