//! Any octets as a cache file: as they are, and as the records of a file whose header fits them, so
//! that the fuzzer gets behind the checksum. What is taken from it can be found, written and read.
#![no_main]

use std::io::Cursor;
use std::time::{Duration, Instant, SystemTime};

use libfuzzer_sys::fuzz_target;
use privatelinkd::cache::Cache;
use privatelinkd::cache::file::{LoadProblem, Loaded, Moment, Tag, read_from, write_to};
use privatelinkd::wire::{
    Answer, HEADER_OCTETS, Question, Record, Rtype, canonical_rdata, read_name, u16_at,
};
use ring::digest::{SHA256, digest};

/// Small, so that a new one for each input costs little; far more than one input fills.
const CACHE_OCTETS: u64 = 256 * 1_024;
const STALE: Duration = Duration::from_secs(86_400);
const TAG: Tag = [7; 32];
/// Octets of a record before its message, and of its age.
const RECORD_HEAD_OCTETS: usize = 13;
const AGE_OCTETS: usize = 8;
/// When the files are written, milliseconds since 1970, and read.
const WRITTEN_MS: u64 = 1_800_000_000_000;
const READ_MS: u64 = WRITTEN_MS + 1_000;

fuzz_target!(|input: &[u8]| {
    let at = Moment {
        now: Instant::now(),
        wall: SystemTime::UNIX_EPOCH + Duration::from_millis(READ_MS),
    };
    let cache = Cache::new(CACHE_OCTETS, STALE);
    if read(&cache, input, at).is_err() {
        assert!(cache.is_empty(), "nothing of a file that is not whole");
    }
    let cache = Cache::new(CACHE_OCTETS, STALE);
    let records = records(input);
    let count = records.as_ref().map_or(1, |records| records.len() as u64);
    match (read(&cache, &sealed(input, count), at), &records) {
        (Ok(loaded), Some(records)) => {
            assert_eq!(loaded.entries + loaded.left_out, records.len() as u64);
            // One takes the place of another where the questions are the same.
            assert!(cache.len() as u64 <= loaded.entries);
            assert!(cache.octets() <= CACHE_OCTETS);
            check(&cache, records, at);
        }
        (Err(LoadProblem::Damaged), None) => assert!(cache.is_empty()),
        (other, _) => panic!("{other:?}"),
    }
});

fn read(cache: &Cache, file: &[u8], at: Moment) -> Result<Loaded, LoadProblem> {
    read_from(cache, &TAG, at, &mut Cursor::new(file))
}

/// A whole file with `input` for its records.
fn sealed(input: &[u8], count: u64) -> Vec<u8> {
    let fields = [
        &b"PLinkD\r\n"[..],
        &1_u32.to_le_bytes(),
        &TAG,
        &WRITTEN_MS.to_le_bytes(),
        &(input.len() as u64).to_le_bytes(),
        &count.to_le_bytes(),
    ]
    .concat();
    let checksum = digest(&SHA256, &[input, &fields].concat());
    [&fields, checksum.as_ref(), input].concat()
}

/// Flags and message of each record; `None` where their lengths do not add up.
fn records(mut input: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut records = Vec::new();
    while !input.is_empty() {
        let (head, rest) = input.split_at_checked(RECORD_HEAD_OCTETS)?;
        let octets = u32::from_le_bytes(head[AGE_OCTETS + 1..].try_into().ok()?);
        let (message, rest) = rest.split_at_checked(octets as usize)?;
        records.push((head[AGE_OCTETS], message));
        input = rest;
    }
    Some(records)
}

fn question_of(flags: u8, message: &[u8]) -> Option<Question> {
    let (qname, end) = read_name(message, HEADER_OCTETS).ok()?;
    Some(Question {
        qname: qname.to_name(),
        qtype: Rtype(u16_at(message, end)?),
        qclass: u16_at(message, end + 2)?,
        dnssec_ok: flags & 1 != 0,
        checking_disabled: flags & 2 != 0,
    })
}

/// What was taken can be found, is a reply to its question, and comes back from a file as it is.
fn check(cache: &Cache, records: &[(u8, &[u8])], at: Moment) {
    let mut file = Cursor::new(Vec::new());
    let saved = write_to(cache, &TAG, at, &mut file).expect("memory does not fail");
    assert_eq!(saved.octets, file.get_ref().len() as u64);
    assert_eq!(saved.entries, cache.len() as u64);
    let again = Cache::new(CACHE_OCTETS, STALE);
    let loaded = read(&again, file.get_ref(), at).expect("what was written can be read");
    // A bucket may be full here that was not there, where an input has so many.
    assert_eq!(loaded.entries + loaded.left_out, saved.entries);
    assert!(records.len() > 8 || loaded.left_out == 0);
    for (flags, message) in records {
        let Some(question) = question_of(*flags, message) else { continue };
        let Some(hit) = cache.find_stale(&question.borrowed(), at.now) else { continue };
        assert_eq!(hit.is_stale(), cache.find(&question.borrowed(), at.now).is_none());
        let answer = hit.answer();
        assert!(answer.message().len() <= message.len().max(65_535));
        for record in answer.records().collect::<Vec<Record<'_>>>() {
            let mut rdata = Vec::new();
            let _ = canonical_rdata(answer.message(), &record, &mut rdata);
        }
        assert!(answer.ttl_places().all(|place| place + 4 <= answer.message().len()));
        let mut same = answer.message().to_vec();
        same[10..HEADER_OCTETS].fill(0);
        assert!(Answer::parse(&same, &question).is_ok(), "a reply to its question");
        if records.len() <= 8 {
            let back = again.find_stale(&question.borrowed(), at.now).expect("it came back");
            assert_eq!(back.answer().to_answer(), answer.to_answer());
            assert_eq!(back.age_seconds, hit.age_seconds);
            assert_eq!(back.needs_us, hit.needs_us);
        }
    }
}
