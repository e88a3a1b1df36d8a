//! The cache in a file: what comes back, and what is not believed.

use std::cell::Cell;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::time::SystemTime;

use ::ring::digest::{SHA256, digest};

use super::super::file::{LoadProblem, Loaded, Moment, Tag, read_from, tag_of, write_to};
use super::*;

pub(super) const TAG: Tag = [7; 32];
const STALE: Duration = Duration::from_secs(3_600);
/// Octets of the header and of its part before the checksum.
const HEADER: usize = 100;
const FIELDS: usize = 68;

pub(super) fn cache() -> Cache {
    Cache::new(1 << 20, STALE)
}

pub(super) fn name(index: usize) -> String {
    format!("name-{index}.example")
}

/// A fixed time on the wall.
fn moment(now: Instant, after_seconds: u64) -> Moment {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + after_seconds);
    Moment { now, wall }
}

fn written(cache: &Cache, at: Moment) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    let saved = write_to(cache, &TAG, at, &mut file).expect("memory");
    assert_eq!(saved.octets, file.get_ref().len() as u64);
    file.into_inner()
}

fn read(cache: &Cache, file: &[u8], at: Moment) -> Result<Loaded, LoadProblem> {
    read_from(cache, &TAG, at, &mut Cursor::new(file))
}

/// A whole file around `records`.
fn sealed(records: &[u8], count: u64, written_seconds: u64) -> Vec<u8> {
    let fields = [
        &b"PLinkD\r\n"[..],
        &1_u32.to_le_bytes(),
        &TAG,
        &((1_800_000_000 + written_seconds) * 1_000).to_le_bytes(),
        &(records.len() as u64).to_le_bytes(),
        &count.to_le_bytes(),
    ]
    .concat();
    let checksum = digest(&SHA256, &[records, &fields].concat());
    [&fields, checksum.as_ref(), records].concat()
}

fn record(age_ms: u64, flags: u8, message: &[u8]) -> Vec<u8> {
    let octets = u32::try_from(message.len()).expect("short");
    [&age_ms.to_le_bytes()[..], &[flags], &octets.to_le_bytes(), message].concat()
}

#[test]
fn what_was_kept_is_kept_after_a_restart_and_goes_on_ageing() {
    let (old, start) = (cache(), Instant::now());
    keep_addresses(&old, (0..1_000).map(name), start);
    assert_eq!(keep_nxdomain(&old, "gone.example", 300, start), Some(300));
    let saved = written(&old, moment(start + Duration::from_secs(10), 0));

    let (new, now) = (cache(), Instant::now());
    let loaded = read(&new, &saved, moment(now, 20)).expect("a good file");
    // The hash is another: a bucket may be full here that was not there.
    assert!(loaded.entries > 990, "{loaded:?}");
    assert_eq!(new.len() as u64, loaded.entries);
    let age = |name: &str, seconds| {
        let question = question(name, Rtype::A);
        let hit = new.find_stale(&question.borrowed(), now + Duration::from_secs(seconds))?;
        assert_eq!(hit.is_stale(), hit.age_seconds >= 300);
        Some(hit.age_seconds)
    };
    let ages = |seconds| (0..1_000).filter_map(|index| age(&name(index), seconds)).min();
    assert_eq!(ages(0), Some(30));
    assert_eq!(age("gone.example", 1), Some(31));
    assert_eq!(ages(269), Some(299));
    assert_eq!(ages(270), Some(300));
    assert_eq!(ages(270 + 3_600), None);
}

#[test]
fn an_answer_comes_back_octet_by_octet_with_its_key_its_mark_and_its_use() {
    let (old, now) = (cache(), Instant::now());
    let plain = question("a.example", Rtype::A);
    let signed = Question { dnssec_ok: true, checking_disabled: true, ..plain.clone() };
    let ours = question("ours.example", Rtype::A);
    // With an OPT record that has an extended error (code 18, "no") and bits of an extended rcode.
    let mut message = reply(&plain, 0, &[A]).borrowed().message().to_vec();
    message[11] = 1;
    message.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 8, 0, 15, 0, 4, 0, 18, b'n', b'o']);
    let with_opt = Answer::parse(&message, &plain).expect("a reply");
    let cname = (Section::Answer, Rtype::CNAME, 60, &[1, b'b', 0][..]);
    let chain = reply(&ours, Rcode::SERVFAIL.0, &[cname]);
    old.insert(&plain, &with_opt, false, now);
    old.insert(&signed, &reply(&plain, 0, &[A]), false, now);
    old.insert(&ours, &chain, true, now);
    // One is used; one came back, and was not used since.
    assert!(old.find(&plain.borrowed(), now).is_some());
    old.insert(&signed, &reply(&plain, 0, &[A]), false, now);

    let new = cache();
    let loaded = read(&new, &written(&old, moment(now, 0)), moment(now, 0)).expect("a good file");
    assert_eq!(loaded, Loaded { entries: 3, left_out: 0 });
    let at = now + Duration::from_secs(59);
    let hit = new.find(&plain.borrowed(), at).expect("the first");
    assert_eq!(hit.answer().to_answer(), with_opt);
    assert_eq!(hit.answer().ede_options(), [0, 15, 0, 4, 0, 18, b'n', b'o']);
    assert!(hit.was_used && !hit.needs_us);
    let hit = new.find(&signed.borrowed(), at).expect("the second");
    assert!(!hit.answer().has_opt() && hit.was_used);
    let hit = new.find(&ours.borrowed(), at).expect("the third");
    assert_eq!(hit.answer().to_answer(), chain);
    assert!(hit.needs_us && !hit.was_used);
}

#[test]
fn the_upper_bits_of_an_rcode_come_back() {
    let (old, now) = (cache(), Instant::now());
    let ours = question("ours.example", Rtype::A);
    let cname = (Section::Answer, Rtype::CNAME, 60, &[1, b'b', 0][..]);
    let mut message = reply(&ours, 0, &[cname]).borrowed().message().to_vec();
    message[11] = 1;
    message.extend([0, 0, 41, 4, 208, 1, 0, 0, 0, 0, 0]);
    let answer = Answer::parse(&message, &ours).expect("a reply");
    assert_eq!(answer.rcode(), Rcode(16));
    assert_eq!(old.insert(&ours, &answer, true, now), Some(60));
    let new = cache();
    read(&new, &written(&old, moment(now, 0)), moment(now, 0)).expect("a good file");
    let hit = new.find(&ours.borrowed(), now).expect("it came back");
    assert_eq!(hit.answer().to_answer(), answer);
}

#[test]
fn only_what_still_serves_is_written_and_read() {
    let (old, start) = (cache(), Instant::now());
    keep_addresses(&old, (0..10).map(name), start);
    let at = |seconds| start + Duration::from_secs(seconds);
    keep_addresses(&old, (10..20).map(name), at(3_000));
    let count = |file: &[u8]| u64::from_le_bytes(file[60..68].try_into().expect("eight"));
    assert_eq!(count(&written(&old, moment(at(3_899), 0))), 20);
    assert_eq!(count(&written(&old, moment(at(3_900), 0))), 10);
    let file = written(&old, moment(at(3_899), 0));
    let loaded = |after| read(&cache(), &file, moment(Instant::now(), after)).expect("a file");
    assert_eq!(loaded(0), Loaded { entries: 20, left_out: 0 });
    assert_eq!(loaded(1), Loaded { entries: 10, left_out: 10 });
    assert_eq!(loaded(1_000_000), Loaded { entries: 0, left_out: 20 });
}

#[test]
fn what_a_clock_that_was_set_back_cannot_tell_serves_only_as_stale() {
    let (old, start) = (cache(), Instant::now());
    keep_addresses(&old, [name(0)].into_iter(), start);
    let file = written(&old, moment(start, 100));
    let (new, now) = (cache(), Instant::now());
    let loaded = read(&new, &file, moment(now, 99)).expect("a good file");
    assert_eq!(loaded, Loaded { entries: 1, left_out: 0 });
    assert!(!finds(&new, &name(0), now));
    let hit = new.find_stale(&question(&name(0), Rtype::A).borrowed(), now);
    assert_eq!(hit.map(|hit| hit.expired_seconds()), Some(0));
}

#[test]
fn what_is_there_and_younger_stays() {
    let (old, now) = (cache(), Instant::now());
    keep_addresses(&old, [name(0), name(1)].into_iter(), now);
    let file = written(&old, moment(now, 0));
    let new = cache();
    keep_nxdomain(&new, &name(0), 300, now);
    let loaded = read(&new, &file, moment(now, 5)).expect("a good file");
    assert_eq!(loaded, Loaded { entries: 1, left_out: 1 });
    let hit = new.find(&question(&name(0), Rtype::A).borrowed(), now).expect("the younger");
    assert_eq!((hit.answer().rcode(), hit.age_seconds), (Rcode::NXDOMAIN, 0));
}

#[test]
fn a_file_that_is_not_whole_is_said_and_none_of_it_kept() {
    let (old, now) = (cache(), Instant::now());
    keep_addresses(&old, (0..20).map(name), now);
    let file = written(&old, moment(now, 0));
    let said = |file: &[u8]| {
        let new = cache();
        let problem = read(&new, file, moment(now, 0)).expect_err("not whole");
        assert!(new.is_empty(), "{problem}");
        problem.to_string()
    };
    assert_eq!(said(&[]), "is no cache file");
    assert_eq!(said(&file[..HEADER - 1]), "is no cache file");
    assert_eq!(said(&[b"[listen]\n", &file[..]].concat()), "is no cache file");
    let octets = file.len();
    let short = format!("has {} octets where its header says {octets}", octets - 1);
    assert_eq!(said(&file[..octets - 1]), short);
    let long = format!("has {} octets where its header says {octets}", octets + 1);
    assert_eq!(said(&[&file[..], &[0]].concat()), long);
    let other = [&file[..8], &2_u32.to_le_bytes(), &file[12..]].concat();
    assert_eq!(said(&other), "has format 2, this version reads format 1");
    // Any bit of any octet.
    for at in 0..octets {
        let mut damaged = file.clone();
        damaged[at] ^= 1 << (at % 8);
        said(&damaged);
    }
    let mut damaged = file.clone();
    damaged[octets / 2] ^= 1;
    assert_eq!(said(&damaged), "is damaged: its checksum is wrong");
}

#[test]
fn another_configurations_answers_are_not_taken() {
    let (old, now) = (cache(), Instant::now());
    keep_addresses(&old, [name(0)].into_iter(), now);
    let file = written(&old, moment(now, 0));
    assert_ne!(tag_of("10.0.0.1"), tag_of("10.0.0.2"));
    let new = cache();
    let problem = read_from(&new, &tag_of("10.0.0.2"), moment(now, 0), &mut Cursor::new(file));
    assert!(matches!(problem, Err(LoadProblem::OtherConfiguration)), "{problem:?}");
    assert!(new.is_empty());
}

#[test]
fn a_file_larger_than_the_cache_is_not_read() {
    let now = Instant::now();
    let file = |octets: usize| sealed(&vec![0; octets], 0, 0);
    let said = |octets| read(&cache(), &file(octets), moment(now, 0)).expect_err("no records");
    // At the bound it is read, and found to be nothing.
    assert!(matches!(said(1 << 20), LoadProblem::Damaged));
    let problem = said((1 << 20) + 1);
    assert_eq!(problem.to_string(), "has 1048677 octets, more than cache.size (1048576)");
    // What a full cache writes is never that large.
    let full = cache();
    keep_addresses(&full, (0..20_000).map(name), now);
    let octets = written(&full, moment(now, 0)).len();
    assert!((300_000..1 << 20).contains(&octets), "{octets}");
}

#[test]
fn records_are_believed_in_nothing_though_the_checksum_is_right() {
    let now = Instant::now();
    let question = question("a.example", Rtype::A);
    let good = reply(&question, 0, &[A]).borrowed().message().to_vec();
    let mut query = good.clone();
    query[2] &= 0x7f;
    let mut cut = good.clone();
    cut.pop();
    let endless_name = [&good[..12], &[0xc0, 12, 0, 1, 0, 1]].concat();
    let records = [
        record(0, 0, &good),
        record(0, 0, &query),
        record(0, 0, &cut),
        record(0, 0, &endless_name),
        record(0, 0, &[]),
        record(0, 0x20, &good),
        record(u64::MAX, 0, &good),
    ];
    let new = cache();
    let loaded = read(&new, &sealed(&records.concat(), 7, 0), moment(now, 0)).expect("it is whole");
    assert_eq!(loaded, Loaded { entries: 1, left_out: 6 });
    assert!(finds(&new, "a.example", now));

    // Lengths and counts that do not fit are no file at all.
    let new = cache();
    let long = vec![0; 65_803];
    for (records, count) in [
        (record(0, 0, &good), 2),
        (record(0, 0, &good)[..30].to_vec(), 1),
        (record(0, 0, &good)[..12].to_vec(), 1),
        (record(0, 0, &long), 1),
    ] {
        let problem = read(&new, &sealed(&records, count, 0), moment(now, 0));
        assert!(matches!(problem, Err(LoadProblem::Damaged)), "{problem:?}");
    }
    let longest = record(0, 0, &long[1..]);
    let loaded = read(&new, &sealed(&longest, 1, 0), moment(now, 0)).expect("as long as allowed");
    assert_eq!(loaded, Loaded { entries: 0, left_out: 1 });
    // A time beyond what clocks show.
    let loaded = read(&new, &sealed(&record(0, 0, &good), 1, u64::MAX / 2_000), moment(now, 0));
    assert!(loaded.is_ok(), "{loaded:?}");
    assert!(!finds(&new, "a.example", now));
}

/// A file during whose reading the machine sleeps once, before so many reads more.
struct Sleeping<'a> {
    file: Cursor<&'a [u8]>,
    cache: &'a Cache,
    reads: &'a Cell<Option<usize>>,
}

impl Read for Sleeping<'_> {
    fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        if self.reads.get() == Some(0) {
            self.cache.advance(Duration::from_secs(100));
        }
        self.reads.set(self.reads.get().and_then(|reads| reads.checked_sub(1)));
        self.file.read(octets)
    }
}

impl Seek for Sleeping<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

#[test]
fn a_sleep_while_a_file_is_read_counts_once() {
    let (old, now) = (cache(), Instant::now());
    keep_addresses(&old, (0..2_000).map(name), now);
    let saved = written(&old, moment(now, 0));
    // Reads are of 64 KiB: some for the checksum, as many again for what is kept.
    let mut slept = 0;
    for reads in 0.. {
        let (new, left) = (cache(), Cell::new(Some(reads)));
        let mut file = Sleeping { file: Cursor::new(&saved), cache: &new, reads: &left };
        read_from(&new, &TAG, moment(now, 20), &mut file).expect("a good file");
        if left.get().is_some() {
            break;
        }
        slept += 1;
        let ages = (0..2_000).filter_map(|index| {
            let hit = new.find_stale(&question(&name(index), Rtype::A).borrowed(), now)?;
            Some(hit.age_seconds)
        });
        assert!(ages.clone().count() > 1_900);
        assert!(ages.clone().all(|age| age == 120), "after {reads} reads");
    }
    assert!(slept >= 4, "{slept}");
}

/// A disk with room for so many octets.
struct Disk(Cursor<Vec<u8>>, u64);

impl Write for Disk {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if self.0.position() + octets.len() as u64 > self.1 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Disk {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

#[test]
fn what_a_full_disk_holds_is_not_taken_for_a_file() {
    let (old, now) = (cache(), Instant::now());
    keep_addresses(&old, (0..20).map(name), now);
    let octets = written(&old, moment(now, 0)).len() as u64;
    for room in 0..octets {
        let mut disk = Disk(Cursor::new(Vec::new()), room);
        let error = write_to(&old, &TAG, moment(now, 0), &mut disk).expect_err("it is full");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(read(&cache(), disk.0.get_ref(), moment(now, 0)).is_err());
    }
    let mut disk = Disk(Cursor::new(Vec::new()), octets);
    assert!(write_to(&old, &TAG, moment(now, 0), &mut disk).is_ok());
}

#[test]
fn the_header_is_as_long_as_is_said() {
    let file = written(&cache(), moment(Instant::now(), 0));
    assert_eq!(file.len(), HEADER);
    assert_eq!(file[..FIELDS], sealed(&[], 0, 0)[..FIELDS]);
    assert_eq!(file, sealed(&[], 0, 0));
}
