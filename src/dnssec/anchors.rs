//! Trust anchors: the root's, built in, or those of a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData, DS};
use hickory_proto::dnssec::{TrustAnchors, Verifier};
use hickory_proto::rr::{DNSClass, LowerName, RData, RecordType};
use hickory_proto::serialize::txt::ParseError;
use hickory_proto::serialize::txt::trust_anchor::{Entry, Parser};

use super::parts::{Part, now_seconds, seconds_left, to_hickory};
use crate::sys;
use crate::wire::{Name, NameMap, QName};

/// Largest trust anchor file, octets: a key has some hundreds.
const MAX_FILE_OCTETS: u64 = 1 << 20;

/// A trust anchor file that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}{}: {what}", path.display(), line.map(|line| format!(": line {line}")).unwrap_or_default())]
pub struct AnchorError {
    /// The file.
    pub path: PathBuf,
    /// The line, where it is one.
    pub line: Option<usize>,
    /// What is wrong, and what to write instead.
    pub what: String,
}

/// What is trusted without a parent that says so.
pub(super) enum Anchors {
    /// The root's keys, as IANA publishes them.
    BuiltIn(Arc<TrustAnchors>),
    /// Those of a file.
    File { zones: Vec<Anchor>, by_zone: NameMap<usize>, text: String },
}

/// The anchors of one zone.
pub(super) struct Anchor {
    pub(super) zone: Name,
    keys: Vec<DNSKEY>,
    digests: Vec<DS>,
}

impl Anchors {
    pub(super) fn built_in() -> Self {
        Self::BuiltIn(Arc::new(TrustAnchors::default()))
    }

    pub(super) fn read(path: &Path) -> Result<Self, AnchorError> {
        let fail = |what: String| AnchorError { path: path.to_owned(), line: None, what };
        let octets =
            sys::read_file(path, MAX_FILE_OCTETS).map_err(|error| fail(error.to_string()))?;
        let text = String::from_utf8(octets)
            .map_err(|_| fail("not UTF-8 text: no file of trust anchors".to_owned()))?;
        Self::parse(path, text)
    }

    /// Reads the `text` of the file at `path`.
    pub(super) fn parse(path: &Path, text: String) -> Result<Self, AnchorError> {
        let fail = |what: String| AnchorError { path: path.to_owned(), line: None, what };
        let (mut zones, mut by_zone) = (Vec::<Anchor>::new(), NameMap::<usize>::default());
        for (index, line) in text.lines().enumerate() {
            let record = read_line(line)
                .map_err(|what| AnchorError { line: Some(index + 1), ..fail(what) })?;
            let Some((zone, data)) = record else { continue };
            let place = *by_zone.or_insert(&QName::from(&zone), zones.len());
            if place == zones.len() {
                zones.push(Anchor { zone, keys: Vec::new(), digests: Vec::new() });
            }
            let Some(anchor) = zones.get_mut(place) else { continue };
            match data {
                DNSSECRData::DNSKEY(key) => anchor.keys.push(key),
                DNSSECRData::DS(digest) => anchor.digests.push(digest),
                _ => {}
            }
        }
        if zones.is_empty() {
            return Err(fail(format!("no trust anchor in it; {WANTED}")));
        }
        Ok(Self::File { zones, by_zone, text })
    }

    /// The deepest anchor at or above `name`, where they come from a file.
    pub(super) fn above(&self, name: &QName) -> Option<&Anchor> {
        match self {
            Self::BuiltIn(_) => None,
            Self::File { zones, by_zone, .. } => zones.get(*by_zone.deepest(name)?.1),
        }
    }

    /// Whether both are the same.
    pub(super) fn are(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::BuiltIn(_), Self::BuiltIn(_)) => true,
            (Self::File { text, .. }, Self::File { text: other, .. }) => text == other,
            _ => false,
        }
    }
}

impl Anchor {
    /// The keys of a DNSKEY answer, all of them, if one that the anchor names signed it; and for
    /// how long that holds, seconds.
    pub(super) fn trusted(&self, answer: &Part) -> Option<(TrustAnchors, u32)> {
        let zone = to_hickory(&self.zone)?;
        let is_named = |key: &&DNSKEY| {
            let digested = |digest: &DS| digest.covers(&zone, key).unwrap_or(false);
            key.zone_key()
                && !key.revoke()
                && (self.keys.iter().any(|anchor| anchor.public_key() == key.public_key())
                    || self.digests.iter().any(digested))
        };
        let signature_by = |key: &DNSKEY| {
            let tag = key.calculate_key_tag().ok();
            answer.signatures(RecordType::DNSKEY).find(|signature| {
                let input = signature.input();
                tag == Some(input.key_tag)
                    && input.signer_name == zone
                    && answer.is_in_time(signature, now_seconds())
                    && key
                        .verify_rrsig(
                            &zone,
                            DNSClass::IN,
                            signature,
                            answer.records(RecordType::DNSKEY),
                        )
                        .is_ok()
            })
        };
        let signature = answer.keys().filter(is_named).find_map(signature_by)?.input();
        let ttl_seconds = answer.records(RecordType::DNSKEY).map(|record| record.ttl).min()?;
        let ttl_seconds =
            ttl_seconds.min(signature.original_ttl).min(seconds_left(signature.sig_expiration));
        let mut trusted = TrustAnchors::empty();
        for key in answer.keys() {
            trusted.insert_with_name(key.public_key(), LowerName::from(&zone));
        }
        Some((trusted, ttl_seconds))
    }
}

/// What to write on a line of the file.
const WANTED: &str =
    "write DS or DNSKEY records, one a line, such as \". IN DS 20326 8 2 E06D44B8…\"";

/// A record of a zone file; `None` for an empty line.
fn read_line(line: &str) -> Result<Option<(Name, DNSSECRData)>, String> {
    let record = line.split(';').next().unwrap_or_default();
    let mut words = record.split_whitespace();
    let Some(owner) = words.next() else { return Ok(None) };
    let zone: Name = owner.parse().map_err(|error| format!("{owner:?}: {error}; {WANTED}"))?;
    let mut rtype = words.next();
    let is_ttl = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
    while rtype.is_some_and(|word| is_ttl(word) || word.eq_ignore_ascii_case("IN")) {
        rtype = words.next();
    }
    let rtype = match rtype.map(str::to_ascii_uppercase).as_deref() {
        Some("DS") => RecordType::DS,
        Some("DNSKEY") => RecordType::DNSKEY,
        Some(other) => return Err(format!("a {other} record; {WANTED}")),
        None => return Err(format!("a name without a record; {WANTED}")),
    };
    let rdata = words.collect::<Vec<_>>().join(" ");
    let record = if rtype == RecordType::DS { read_ds(&rdata) } else { read_dnskey(&rdata) };
    record
        .map(|data| Some((zone, data)))
        .map_err(|error| format!("this {rtype} record cannot be read ({error}); {WANTED}"))
}

fn read_ds(rdata: &str) -> Result<DNSSECRData, ParseError> {
    match RData::try_from_str(RecordType::DS, rdata)? {
        RData::DNSSEC(digest @ DNSSECRData::DS(_)) => Ok(digest),
        _ => Err(ParseError::UnsupportedRecordType(RecordType::DS)),
    }
}

/// hickory reads this type in its own form of trust anchor files alone.
fn read_dnskey(rdata: &str) -> Result<DNSSECRData, ParseError> {
    let entries = Parser::new(format!(". IN DNSKEY {rdata}\n")).parse()?;
    let key = entries.into_iter().find_map(|entry| match entry {
        Entry::DNSKEY(record) => Some(record.data().clone()),
        _ => None,
    });
    key.map(DNSSECRData::DNSKEY).ok_or(ParseError::UnsupportedRecordType(RecordType::DNSKEY))
}
