//! What stands in a cache file, as any seekable run of octets.
//!
//! A header, all numbers little-endian: the magic octets, the format's version (4 octets), the tag
//! of the configuration (32), the time of writing in milliseconds since 1970 (8), octets of records
//! (8), records (8), and the SHA-256 of the records followed by the header up to here. Then the
//! records: age at the time of writing in milliseconds (8), flags (1), octets of the message (4), and
//! the message: the kept reply as an upstream could have sent it, with an OPT record where there was
//! one. So the octets in memory may change their form and a file is read all the same, and what
//! reads it is the parser that reads any upstream's reply.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::time::{Duration, SystemTime};

use ::ring::digest::{Context, SHA256};

use super::{LoadProblem, Loaded, Moment, Saved, Tag};
use crate::cache::entry::{Found, Standing};
use crate::cache::{Aged, CHECKING_DISABLED, Cache, DNSSEC_OK, NEEDS_US};
use crate::wire::{
    Answer, AnswerRef, HEADER_OCTETS, MAX_MESSAGE_OCTETS, OPT_OCTETS, Question, Rtype, read_name,
    u16_at,
};

/// What every cache file begins with.
const MAGIC: [u8; 8] = *b"PLinkD\r\n";
/// Raised with each change of the format.
pub(super) const VERSION: u32 = 1;
/// Octets of the header up to the checksum.
const FIELDS_OCTETS: usize = 8 + 4 + 32 + 8 + 8 + 8;
const FILE_HEADER_OCTETS: usize = FIELDS_OCTETS + 32;
/// Octets before a record's message.
const RECORD_HEAD_OCTETS: usize = 8 + 1 + 4;
/// Octets of the longest message: a whole one, and an OPT record with the extended errors that are
/// kept (256).
const MAX_RECORD_MESSAGE_OCTETS: usize = MAX_MESSAGE_OCTETS + OPT_OCTETS + 256;
/// Octets that are read at once.
const READ_OCTETS: usize = 64 * 1_024;

/// Flags of a record beside those of an entry's mark: what is known of its use.
const MAIN: u8 = 8;
const USED: u8 = 16;
const ALL_FLAGS: u8 = DNSSEC_OK | CHECKING_DISABLED | NEEDS_US | MAIN | USED;

/// The header but its magic, version and checksum.
struct Fields {
    tag: Tag,
    written_ms: u64,
    records_octets: u64,
    records: u64,
}

impl Fields {
    fn octets(&self) -> [u8; FIELDS_OCTETS] {
        let mut octets = [0; FIELDS_OCTETS];
        let fields = MAGIC
            .into_iter()
            .chain(VERSION.to_le_bytes())
            .chain(self.tag)
            .chain(self.written_ms.to_le_bytes())
            .chain(self.records_octets.to_le_bytes())
            .chain(self.records.to_le_bytes());
        octets.iter_mut().zip(fields).for_each(|(to, octet)| *to = octet);
        octets
    }

    /// Reads what [`Self::octets`] wrote.
    fn read(from: &mut impl Read) -> Result<Self, LoadProblem> {
        if array(from)? != MAGIC {
            return Err(LoadProblem::Foreign);
        }
        let found = u32::from_le_bytes(array(from)?);
        if found != VERSION {
            return Err(LoadProblem::OtherVersion { found });
        }
        Ok(Self {
            tag: array(from)?,
            written_ms: u64::from_le_bytes(array(from)?),
            records_octets: u64::from_le_bytes(array(from)?),
            records: u64::from_le_bytes(array(from)?),
        })
    }
}

/// Writes what `cache` holds at `at`, but for what no longer serves even as stale. Takes as much
/// memory as the largest answer; nobody who reads or writes the cache waits for it.
///
/// # Errors
/// Those of `to`, which then holds nothing that [`read_from`] would take.
pub fn write_to(
    cache: &Cache,
    tag: &Tag,
    at: Moment,
    to: &mut (impl Write + Seek),
) -> io::Result<Saved> {
    to.seek(SeekFrom::Start(0))?;
    to.write_all(&[0; FILE_HEADER_OCTETS])?;
    let now_ms = cache.ms(at.now);
    let stale_ms = u64::from(cache.stale_seconds) * 1_000;
    let mut checksum = Context::new(&SHA256);
    let mut record = Vec::new();
    let (mut records, mut records_octets) = (0, 0);
    let write = |Found { head, standing }: Found, payload: &[u64]| {
        if !head.is_alive_at(now_ms, stale_ms) {
            return Ok(());
        }
        let Some(answer) = AnswerRef::from_octets(bytemuck::cast_slice(payload)) else {
            return Ok(());
        };
        let main = if standing.main { MAIN } else { 0 };
        let used = if standing.used { USED } else { 0 };
        record.clear();
        record.extend(now_ms.saturating_sub(head.stored_ms).to_le_bytes());
        record.push(head.mark | main | used);
        let message_octets = append_message(&answer, &mut record);
        if let Some(place) = record.get_mut(RECORD_HEAD_OCTETS - 4..RECORD_HEAD_OCTETS) {
            place.copy_from_slice(&message_octets.to_le_bytes());
        }
        checksum.update(&record);
        records += 1;
        records_octets += record.len() as u64;
        to.write_all(&record)
    };
    cache.store().map_or(Ok(()), |store| store.visit(write))?;
    let fields = Fields { tag: *tag, written_ms: unix_ms(at.wall), records_octets, records };
    let fields = fields.octets();
    checksum.update(&fields);
    to.seek(SeekFrom::Start(0))?;
    to.write_all(&fields)?;
    to.write_all(checksum.finish().as_ref())?;
    to.flush()?;
    Ok(Saved { entries: records, octets: FILE_HEADER_OCTETS as u64 + records_octets })
}

/// Appends room for a length, and `answer` as an upstream would send it; gives the message's octets.
fn append_message(answer: &AnswerRef<'_>, out: &mut Vec<u8>) -> u32 {
    out.extend([0; 4]);
    let begin = out.len();
    out.extend_from_slice(answer.message());
    if answer.has_opt() {
        let ede = answer.ede_options();
        // The upper eight of the rcode's twelve bits; 256 octets of options at most.
        let [_, low] = (answer.rcode().0 >> 4).to_be_bytes();
        let [octets_high, octets_low] = u16::try_from(ede.len()).unwrap_or(0).to_be_bytes();
        out.extend([0]);
        out.extend(Rtype::OPT.0.to_be_bytes());
        out.extend([0, 0, low, 0, 0, 0, octets_high, octets_low]);
        out.extend_from_slice(ede);
        if let Some(additionals) = out.get_mut(begin + 10..begin + HEADER_OCTETS) {
            additionals.copy_from_slice(&[0, 1]);
        }
    }
    u32::try_from(out.len() - begin).unwrap_or(u32::MAX)
}

/// Puts into `cache` what [`write_to`] wrote of one, as much older as it has become. What is there
/// already and younger stays. All of it is read and checked before anything is kept; takes as much
/// memory as the largest answer.
///
/// # Errors
/// Nothing was kept, unless `from` has changed or failed while it was read for the second time.
pub fn read_from(
    cache: &Cache,
    tag: &Tag,
    at: Moment,
    from: &mut (impl Read + Seek),
) -> Result<Loaded, LoadProblem> {
    // Once, and before anything takes time. If the machine sleeps while this reads, the cache's clock is
    // put forward by that, and what was kept by then or is kept after has aged by it: its beginning
    // is reckoned from this one moment by both clocks. Were they read anew for each record, a sleep
    // that the cache has not been told of yet would count twice.
    let now_ms = cache.ms(at.now);
    let octets = from.seek(SeekFrom::End(0))?;
    from.seek(SeekFrom::Start(0))?;
    let mut from = io::BufReader::with_capacity(READ_OCTETS, from);
    let fields = Fields::read(&mut from)?;
    let checksum: [u8; 32] = array(&mut from)?;
    if fields.tag != *tag {
        return Err(LoadProblem::OtherConfiguration);
    }
    // Each entry takes less in the file than in memory, so what fitted there is smaller.
    if octets > (cache.size_octets as u64).saturating_add(FILE_HEADER_OCTETS as u64) {
        return Err(LoadProblem::TooLarge { found: octets, most: cache.size_octets as u64 });
    }
    let expected = fields.records_octets.saturating_add(FILE_HEADER_OCTETS as u64);
    if octets != expected {
        return Err(LoadProblem::WrongLength { found: octets, expected });
    }
    let mut found = Context::new(&SHA256);
    let records = each_record(&mut from, fields.records_octets, |head, message| {
        found.update(head);
        found.update(message);
    })?;
    found.update(&fields.octets());
    if found.finish().as_ref() != checksum || records != fields.records {
        return Err(LoadProblem::Damaged);
    }
    from.seek(SeekFrom::Start(FILE_HEADER_OCTETS as u64))?;
    let written = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(fields.written_ms));
    let since = written.and_then(|written| at.wall.duration_since(written).ok());
    let since_ms = since.map(|since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    let mut loaded = Loaded::default();
    each_record(&mut from, fields.records_octets, |head, message| {
        let kept = keep(cache, now_ms, since_ms, head, message).is_some();
        *(if kept { &mut loaded.entries } else { &mut loaded.left_out }) += 1;
    })?;
    Ok(loaded)
}

/// Shows `see` the head and the message of each record in `octets` octets of `from`; gives how many
/// there are.
fn each_record(
    from: &mut impl Read,
    octets: u64,
    mut see: impl FnMut(&[u8; RECORD_HEAD_OCTETS], &[u8]),
) -> Result<u64, LoadProblem> {
    let (mut left, mut records, mut message) = (octets, 0, Vec::new());
    while left > 0 {
        left = left.checked_sub(RECORD_HEAD_OCTETS as u64).ok_or(LoadProblem::Damaged)?;
        let head: [u8; RECORD_HEAD_OCTETS] = array(from)?;
        let (_, message_octets) = head.split_last_chunk().ok_or(LoadProblem::Damaged)?;
        let message_octets = u32::from_le_bytes(*message_octets) as usize;
        left = left.checked_sub(message_octets as u64).ok_or(LoadProblem::Damaged)?;
        if message_octets > MAX_RECORD_MESSAGE_OCTETS {
            return Err(LoadProblem::Damaged);
        }
        message.resize(message_octets, 0);
        from.read_exact(&mut message)?;
        see(&head, &message);
        records += 1;
    }
    Ok(records)
}

/// Keeps one record that may say anything; `since_ms` after it was written, `None` when the clock
/// was set back since, so that nobody knows. `None` for one that is not kept.
fn keep(
    cache: &Cache,
    now_ms: u64,
    since_ms: Option<u64>,
    head: &[u8; RECORD_HEAD_OCTETS],
    message: &[u8],
) -> Option<u32> {
    let (age_ms, rest) = head.split_first_chunk()?;
    let flags = *rest.first().filter(|flags| **flags & !ALL_FLAGS == 0)?;
    let (qname, end) = read_name(message, HEADER_OCTETS).ok()?;
    let question = Question {
        qname: qname.to_name(),
        qtype: Rtype(u16_at(message, end)?),
        qclass: u16_at(message, end + 2)?,
        dnssec_ok: flags & DNSSEC_OK != 0,
        checking_disabled: flags & CHECKING_DISABLED != 0,
    };
    let answer = Answer::parse(message, &question).ok()?;
    let aged = Aged {
        now_ms,
        age_ms: u64::from_le_bytes(*age_ms).saturating_add(since_ms.unwrap_or(0)),
        is_over: since_ms.is_none(),
        standing: Standing { main: flags & MAIN != 0, used: flags & USED != 0 },
    };
    cache.insert_aged(&question, &answer, flags & NEEDS_US != 0, aged)
}

fn array<const N: usize>(from: &mut impl Read) -> Result<[u8; N], LoadProblem> {
    let mut octets = [0; N];
    match from.read_exact(&mut octets) {
        Ok(()) => Ok(octets),
        // Shorter than its header: an empty file, or something else.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(LoadProblem::Foreign),
        Err(error) => Err(error.into()),
    }
}

/// Milliseconds since 1970; 0 before.
fn unix_ms(wall: SystemTime) -> u64 {
    let since = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
