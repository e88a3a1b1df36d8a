//! A question as people type it: dig's words in any order, types in front, addresses, URLs, and what
//! clings to a pasted name.

use std::net::IpAddr;

use super::TypedWrongly;
use crate::wire::{Name, Rtype};

/// What to write for a record type.
const WANTED_TYPE: &str = "write a record type such as A, AAAA, HTTPS, or TYPE64";
/// Characters that come with a pasted name and show nothing: zero-width space, joiners, byte order mark.
const INVISIBLE: [char; 5] = ['\u{200b}', '\u{200c}', '\u{200d}', '\u{2060}', '\u{feff}'];
/// Quotes and commas that stand around a pasted name.
const AROUND: [char; 12] = ['"', '\'', '`', '“', '”', '„', '‘', '’', '«', '»', ',', ';'];

/// What the words of a question say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Typed {
    /// The name; none only where the caller has it from elsewhere.
    pub(super) name: Option<Name>,
    /// The type; none where no word is one.
    pub(super) rtype: Option<Rtype>,
    /// The server, without its `@`.
    pub(super) server: Option<String>,
    /// What was made of a word that is no plain name.
    pub(super) notes: Vec<String>,
}

impl Typed {
    /// Reads NAME, TYPE and @SERVER in any order. `rtype` is the type of an option, and `has_name`
    /// says that an option has the name already.
    pub(super) fn read(
        words: &[String],
        rtype: Option<Rtype>,
        has_name: bool,
    ) -> Result<Self, TypedWrongly> {
        let mut typed = Self { name: None, rtype, server: None, notes: Vec::new() };
        let mut plain = Vec::new();
        for word in words.iter().map(|word| bare(word)) {
            match word.strip_prefix('@') {
                Some(server) if typed.server.is_some() => {
                    return Err(TypedWrongly(format!(
                        "@{server}: a second server; one question goes to one @SERVER"
                    )));
                }
                Some(server) => typed.server = Some(server.to_owned()),
                None if word.starts_with('+') => {
                    return Err(TypedWrongly(format!(
                        "{word}: an option of dig; write --tcp for +tcp, --dnssec for +dnssec, \
                         --timeout 2s for +time=2"
                    )));
                }
                None => plain.push(word),
            }
        }
        let split = if has_name { split_without_name(&plain, rtype) } else { split(&plain, rtype) };
        let (name, rtype) = split.map_err(TypedWrongly)?;
        typed.rtype = rtype;
        if let Some(word) = name {
            let (name, implied) = name_of(word, &mut typed.notes).map_err(TypedWrongly)?;
            typed.name = Some(name);
            typed.rtype = rtype.or(implied);
        }
        Ok(typed)
    }
}

/// A word without what clings to it when it is pasted.
fn bare(word: &str) -> &str {
    word.trim_matches(|c: char| c.is_whitespace() || INVISIBLE.contains(&c) || AROUND.contains(&c))
}

/// The word that is the name, and the type. Of two words that are both types the second is the type,
/// because the name stands first in our own help.
fn split<'w>(
    plain: &[&'w str],
    given: Option<Rtype>,
) -> Result<(Option<&'w str>, Option<Rtype>), String> {
    match *plain {
        [] => Ok((None, given)),
        [name] => Ok((Some(name), given)),
        [name, word] => match (Rtype::parse(word), Rtype::parse(name), given) {
            (Some(rtype), _, None) => Ok((Some(name), Some(rtype))),
            (None, Some(rtype), None) => Ok((Some(word), Some(rtype))),
            (Some(_), _, Some(_)) => Err(format!("{word}: a second type; -t has one already")),
            (None, Some(_), Some(_)) => Err(format!("{name}: a second type; -t has one already")),
            // The class of dig; there is no other here.
            (None, None, given) if word.eq_ignore_ascii_case("IN") => Ok((Some(name), given)),
            (None, None, given) if name.eq_ignore_ascii_case("IN") => Ok((Some(word), given)),
            (None, None, Some(_)) => Err(format!("{word}: a second name; ask for one at a time")),
            (None, None, None) => Err(format!("{word}: {WANTED_TYPE}; ask for one name at a time")),
        },
        [first, second, third] => {
            let words = [first, second, third];
            match words.iter().position(|word| word.eq_ignore_ascii_case("IN")) {
                Some(class) => {
                    let rest: Vec<_> = (0..3).filter(|at| *at != class).collect();
                    let rest: Vec<_> =
                        rest.into_iter().filter_map(|at| words.get(at).copied()).collect();
                    split(&rest, given)
                }
                None => Err(format!("{third}: too many words; write one name and one type")),
            }
        }
        [_, _, _, fourth, ..] => {
            Err(format!("{fourth}: too many words; write one name and one type"))
        }
    }
}

fn split_without_name<'w>(
    plain: &[&'w str],
    given: Option<Rtype>,
) -> Result<(Option<&'w str>, Option<Rtype>), String> {
    match (plain, given) {
        ([], given) => Ok((None, given)),
        ([word], None) if Rtype::parse(word).is_some() => Ok((None, Rtype::parse(word))),
        ([word, ..], _) => Err(format!("{word}: -x has the address already; write no name")),
    }
}

/// The name that a word means and, of an address, the type that its reverse name is asked for.
fn name_of(word: &str, notes: &mut Vec<String>) -> Result<(Name, Option<Rtype>), String> {
    let host = host_of(word);
    if host != word {
        notes.push(format!("{word}: the host of this is {host}"));
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        let name = reverse(address)?;
        notes.push(format!("{host} is an address: its reverse name is {name}"));
        return Ok((name, Some(Rtype::PTR)));
    }
    Ok((parse_name(host)?, None))
}

/// The host of a URL, of `host/path` and of `host:port`; anything else as it is.
fn host_of(word: &str) -> &str {
    if let Some((_, rest)) = word.split_once("://") {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        return without_port(authority.rsplit('@').next().unwrap_or(authority));
    }
    match word.split_once('/') {
        // A name may have a slash (RFC 2317 has `0/25.2.0.192.in-addr.arpa`), but in its first label.
        Some((host, _)) if host.contains('.') => without_port(host),
        _ => without_port(word),
    }
}

fn without_port(host: &str) -> &str {
    if let Some((address, port)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_number);
        return if is_port { address } else { host };
    }
    match host.split_once(':') {
        Some((host, port)) if is_number(port) => host,
        _ => host,
    }
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|octet| octet.is_ascii_digit())
}

/// The name under which an address stands in DNS (RFC 1035 §3.5, RFC 3596 §2.5).
pub(super) fn reverse(address: IpAddr) -> Result<Name, String> {
    let text = match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(v6) => {
            let octets = v6.octets();
            let nibbles = octets.iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa"
        }
    };
    parse_name(&text)
}

/// A domain name on the command line.
fn parse_name(text: &str) -> Result<Name, String> {
    if text.is_empty() {
        return Err("the name is empty; write one such as api.cloud.defender.microsoft.com".into());
    }
    if let Some(odd) = text.chars().find(|c| !c.is_ascii()) {
        let code = u32::from(odd);
        return Err(if odd.is_alphanumeric() {
            format!(
                "{text}: `{odd}` (U+{code:04X}) is not ASCII; DNS has such a name in its xn-- form, \
                 which a browser or idn2 shows: write that"
            )
        } else {
            format!(
                "{text}: U+{code:04X} cannot stand in a domain name; it probably came with a copy \
                 from a document: type the name by hand"
            )
        });
    }
    if text.contains(char::is_whitespace) {
        return Err(format!("{text}: a space cannot stand in a domain name; write one name"));
    }
    text.parse().map_err(|error| format!("{text}: not a valid domain name: {error}"))
}

/// A record type on the command line.
pub(super) fn parse_rtype(text: &str) -> Result<Rtype, String> {
    Rtype::parse(text).ok_or_else(|| WANTED_TYPE.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Typed, TypedWrongly> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Typed::read(&words, None, false)
    }

    fn name(text: &str) -> Option<Name> {
        Some(text.parse().expect("a name"))
    }

    #[test]
    fn words_come_in_any_order() {
        for words in [
            ["a.example", "AAAA", "@10.0.0.4"],
            ["a.example", "@10.0.0.4", "aaaa"],
            ["AAAA", "a.example", "@10.0.0.4"],
            ["@10.0.0.4", "a.example.", "AAAA"],
            ["@10.0.0.4", "AAAA", " a.example "],
        ] {
            let typed = read(&words).expect("a question");
            assert_eq!((typed.name, typed.rtype), (name("a.example"), Some(Rtype::AAAA)));
            assert_eq!(typed.server.as_deref(), Some("10.0.0.4"), "{words:?}");
            assert_eq!(typed.notes, [""; 0]);
        }
    }

    #[test]
    fn a_name_may_read_as_a_type_and_the_class_is_no_name() {
        for (words, wanted, rtype) in [
            (&["mx"][..], "mx", None),
            (&["mx", "A"], "mx", Some(Rtype::A)),
            (&["A", "in"], "in", Some(Rtype::A)),
            (&["a.example", "IN"], "a.example", None),
            (&["a.example", "IN", "AAAA"], "a.example", Some(Rtype::AAAA)),
            (&["IN", "AAAA", "a.example"], "a.example", Some(Rtype::AAAA)),
        ] {
            let typed = read(words).expect("a question");
            assert_eq!((typed.name, typed.rtype), (name(wanted), rtype), "{words:?}");
        }
    }

    #[test]
    fn the_host_of_a_url_is_taken_and_said() {
        for word in [
            "https://a.example/x?y#z",
            "HTTPS://user:secret@a.example:8443",
            "a.example:443",
            "a.example/path",
            "“https://a.example”,",
            "https://a.example:443/a@b",
        ] {
            let typed = read(&[word]).expect("a question");
            assert_eq!((typed.name, typed.rtype), (name("a.example"), None), "{word}");
            let [note] = typed.notes.as_slice() else { panic!("one note: {:?}", typed.notes) };
            assert!(note.ends_with("the host of this is a.example"), "{note}");
        }
        // A slash in the first label is the name's own.
        let classless = "0/25.2.0.192.in-addr.arpa";
        assert_eq!(read(&[classless]).expect("a question").name, name(classless));
    }

    #[test]
    fn an_address_is_asked_by_its_reverse_name() {
        const V6: &str = "5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.d.f.ip6.arpa";
        for (word, wanted) in [
            ("10.1.0.5", "5.0.1.10.in-addr.arpa"),
            ("https://10.1.0.5:443/", "5.0.1.10.in-addr.arpa"),
            ("fd01::5", V6),
            ("[fd01::5]:443", V6),
        ] {
            let typed = read(&[word]).expect("a question");
            assert_eq!((typed.name, typed.rtype), (name(wanted), Some(Rtype::PTR)), "{word}");
        }
        let typed = read(&["10.1.0.5", "NS"]).expect("a question");
        assert_eq!(typed.rtype, Some(Rtype::NS));
    }

    #[test]
    fn what_makes_no_sense_says_what_to_write() {
        for (words, wanted) in [
            (&["a.example", "b.example"][..], "b.example: write a record type"),
            (&["a.example", "A", "AAAA"], "AAAA: too many words"),
            (&["@10.0.0.4", "a.example", "@10.0.0.5"], "@10.0.0.5: a second server"),
            (&["a.example", "+short"], "+short: an option of dig"),
            (&["bücher.example"], "`ü` (U+00FC) is not ASCII; DNS has such a name in its xn--"),
            (&["a\u{2013}b.example"], "U+2013 cannot stand in a domain name"),
            (&["a b.example"], "a space cannot stand"),
            (&[""], "the name is empty"),
            (&["https:///x"], "the name is empty"),
            (&["a..example"], "a..example: not a valid domain name: an empty label"),
        ] {
            let error = read(words).expect_err("no question").to_string();
            assert!(error.contains(wanted), "{words:?}: {error}");
        }
    }
}
