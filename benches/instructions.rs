//! The guard of the hot path: instructions of one `decide`, by kind of query, held against the
//! committed figures in `instructions.txt`, and the same query's over small and large tables held
//! against each other. Unlike time, instructions are the same whatever else the machine does.
//!
//!     cargo bench --bench instructions               # checks
//!     cargo bench --bench instructions -- --record   # writes the figures anew
//!
//! Runs itself under valgrind's callgrind and needs nothing else: a runner such as gungraun's would
//! have to be compiled on every new machine in just the version of its library, and keeps its
//! baselines in files that nobody can review. callgrind counts inside `measured` only, and
//! writes what it counted whenever `finished` is called.
#![allow(clippy::print_stdout, reason = "a program for people and CI: it prints what it found")]

#[path = "workload/growth.rs"]
mod growth;
#[path = "workload/kinds.rs"]
mod kinds;
#[path = "workload/messages.rs"]
mod messages;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use privatelinkd::engine::{Asked, Silent, Snapshot, Verdict, decide};

use growth::{Ask, Draw, SMALL, Size};

/// How far a figure may be from the committed one, either way: a gain is to be recorded, or the
/// next loss would hide in it.
const TOLERANCE: f64 = 0.05;
/// How much more a query may cost over large tables than over small ones.
const MAX_GROWTH: f64 = 1.1;
/// Queries of each figure, which is their mean. Keyed hashes differ from run to run, so single
/// look-ups do.
const QUERIES: u32 = 2_000;
/// In the inner process's environment: the outer one started it, under callgrind.
const INSIDE: &str = "PRIVATELINKD_UNDER_CALLGRIND";
/// The figures, beside this file.
const COMMITTED: &str = "benches/instructions.txt";

/// Queries whose cost must not grow: what is asked, what grows, and both sizes. Cache entries stop
/// at a tenth of the million that `decide` measures: under callgrind each takes its time to make.
#[rustfmt::skip]
const GROWTH: [(Ask, &str, Size, Size); 11] = {
    let names = Size { names: 100_000, ..SMALL };
    let zones = Size { zones: 1_000, ..SMALL };
    let prefixes = Size { prefixes: 10_000, ..SMALL };
    let entries = Size { entries: 100_000, ..SMALL };
    [
        (Ask::Listed, "names", SMALL, names),
        (Ask::ListedAaaa, "names", SMALL, names),
        (Ask::Wildcard, "names", SMALL, names),
        (Ask::Cached, "names", SMALL, names),
        (Ask::Miss, "names", SMALL, names),
        (Ask::Wildcard, "zones", SMALL, zones),
        (Ask::Cached, "zones", SMALL, zones),
        (Ask::Miss, "zones", SMALL, zones),
        (Ask::Clients, "prefixes", SMALL, prefixes),
        (Ask::Cached, "entries", SMALL, entries),
        (Ask::Miss, "entries", SMALL, entries),
    ]
};

/// Instructions of one query, by name, in the order measured.
type Figures = Vec<(String, u64)>;

fn main() -> ExitCode {
    if std::env::var_os(INSIDE).is_some() {
        inside();
        return ExitCode::SUCCESS;
    }
    let figures = match outside() {
        Ok(figures) => figures,
        Err(why) => {
            println!("instructions: {why}");
            return ExitCode::FAILURE;
        }
    };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(COMMITTED);
    if std::env::args().any(|argument| argument == "--record") {
        fs::write(&file, written(&figures)).expect("the figures' file is writable");
        println!("recorded {} figures in {COMMITTED}", figures.len());
    }
    check(&figures, &fs::read_to_string(&file).unwrap_or_default())
}

/// The one place where callgrind counts.
#[inline(never)]
fn measured(snapshot: &Snapshot, asked: &Asked, request: &[u8], out: &mut Vec<u8>) -> Verdict {
    decide(snapshot, asked, request, out, &mut Silent)
}

/// Here callgrind writes what it has counted since the last time.
#[inline(never)]
fn finished(figure: usize) {
    black_box(figure);
}

/// Asks everything; the order is that of [`names`].
fn inside() {
    let mut out = Vec::with_capacity(65_535);
    let mut figure = 0;
    let mut done = || {
        finished(figure);
        figure += 1;
    };
    let snapshot = kinds::snapshot();
    for kind in kinds::kinds() {
        let asked = kind.asked(Instant::now());
        // Not counted: what the first call sets up, and whether it is what it is called.
        let verdict = decide(&snapshot, &asked, &kind.request, &mut out, &mut Silent);
        assert_eq!(kinds::said(verdict, &out), kind.gets, "{}", kind.name);
        for _ in 0..QUERIES {
            out.clear();
            black_box(measured(&snapshot, &asked, &kind.request, &mut out));
        }
        out.clear();
        done();
    }
    // Large tables take long to build under callgrind: each once.
    let mut built: Vec<(Size, Snapshot)> = Vec::new();
    for (ask, _, small, large) in GROWTH {
        for size in [small, large] {
            if !built.iter().any(|(other, _)| *other == size) {
                built.push((size, growth::snapshot(size)));
            }
            let (_, snapshot) = built.iter().find(|(other, _)| *other == size).expect("built");
            let mut draw = Draw::new(ask, size, None);
            for _ in 0..QUERIES {
                out.clear();
                let (request, asked) = draw.next();
                let verdict = measured(snapshot, &asked, request, &mut out);
                assert!(ask.is_met_by(verdict), "{ask:?} over {size:?}: {verdict:?}");
            }
            done();
        }
    }
}

/// The names of what [`inside`] measures.
fn names() -> Vec<String> {
    let kinds = kinds::kinds().into_iter().map(|kind| kind.name.to_owned());
    let growth = GROWTH.iter().flat_map(|growth| [grown(growth, false), grown(growth, true)]);
    kinds.chain(growth).collect()
}

/// What one of the two figures of a growth is called.
fn grown((ask, what, small, large): &(Ask, &str, Size, Size), is_large: bool) -> String {
    let size = if is_large { large } else { small };
    let count = match *what {
        "names" => size.names,
        "zones" => size.zones,
        "prefixes" => size.prefixes,
        _ => size.entries,
    };
    format!("{ask:?} over {what}: {count}")
}

/// Runs this program under callgrind and reads what that counted.
fn outside() -> Result<Figures, String> {
    let scratch = Scratch::new()?;
    let out = scratch.0.join("callgrind");
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--quiet", "--toggle-collect=instructions::measured*"])
        .arg("--dump-before=instructions::finished*")
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe().map_err(|why| why.to_string())?)
        .env(INSIDE, "1");
    let status = valgrind.status().map_err(|why| {
        format!("valgrind cannot be run ({why}); install it: apt-get install valgrind")
    })?;
    if !status.success() {
        return Err(format!("the run under valgrind failed: {status}"));
    }
    let mut figures = Figures::new();
    for (index, name) in names().into_iter().enumerate() {
        let part = PathBuf::from(format!("{}.{}", out.display(), index + 1));
        let text = fs::read_to_string(&part)
            .map_err(|why| format!("callgrind wrote no part {} for {name}: {why}", index + 1))?;
        let counted = total(&text).filter(|counted| *counted > 0);
        let counted = counted.ok_or_else(|| format!("callgrind counted nothing for {name}"))?;
        figures.push((name, counted / u64::from(QUERIES)));
    }
    Ok(figures)
}

/// The sum of a callgrind file.
fn total(text: &str) -> Option<u64> {
    let lines = text.lines();
    lines.filter_map(|line| line.strip_prefix("summary: ")).find_map(|sum| sum.trim().parse().ok())
}

/// A folder that is gone afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, String> {
        let folder = std::env::temp_dir();
        let folder = folder.join(format!("privatelinkd-instructions-{}", std::process::id()));
        fs::create_dir_all(&folder).map_err(|why| format!("{}: {why}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

/// What compiles here: figures hold for one compiler and one processor family.
fn compiler() -> String {
    let output = Command::new("rustc").arg("-vV").current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = text.unwrap_or_default();
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or("unknown");
    format!("{}, {host}", text.lines().next().unwrap_or("an unknown rustc"))
}

fn written(figures: &Figures) -> String {
    let mut text = format!(
        "# Instructions of one query in `decide`, counted by callgrind.\n\
         # Written by: cargo bench --bench instructions -- --record\n\
         # Compiler: {}\n",
        compiler()
    );
    for (name, count) in figures {
        writeln!(text, "{count:>7}  {name}").expect("a string");
    }
    text
}

fn check(figures: &Figures, committed: &str) -> ExitCode {
    let recorded_with = committed.lines().find_map(|line| line.strip_prefix("# Compiler: "));
    let recorded_with = recorded_with.unwrap_or("nobody knows what");
    let compiler = compiler();
    let lines = committed.lines().filter(|line| !line.starts_with('#'));
    let committed: BTreeMap<&str, u64> = lines
        .filter_map(|line| line.trim().split_once("  "))
        .filter_map(|(count, name)| Some((name, count.parse().ok()?)))
        .collect();
    println!("{:>9} {:>9} {:>6}  instructions of one query", "committed", "measured", "ratio");
    let mut moved = 0;
    for (name, measured) in figures {
        let Some(committed) = committed.get(name.as_str()) else {
            println!("{:>9} {measured:>9} {:>6}  {name}: NOT COMMITTED", "-", "-");
            moved += 1;
            continue;
        };
        let ratio = ratio(*measured, *committed);
        let verdict = match ratio - 1.0 {
            difference if difference > TOLERANCE => ": DEARER",
            difference if difference < -TOLERANCE => ": CHEAPER",
            _ => "",
        };
        moved += usize::from(!verdict.is_empty());
        println!("{committed:>9} {measured:>9} {ratio:>6.3}  {name}{verdict}");
    }
    for name in committed.keys().filter(|name| figures.iter().all(|(other, _)| other != **name)) {
        println!("{:>9} {:>9} {:>6}  {name}: NOT MEASURED ANY MORE", committed[name], "-", "-");
        moved += 1;
    }
    let grew = check_growth(figures);
    if recorded_with != compiler {
        println!("the committed figures are those of {recorded_with};\nthis is {compiler}:");
        println!("a difference everywhere may be the compiler's alone");
    }
    if moved > 0 {
        println!(
            "{moved} figures are more than {:.0} % off. Dearer: find out why (the last change of \
             what `decide` calls; callgrind_annotate shows where). Meant, or cheaper: commit what \
             `cargo bench --bench instructions -- --record` writes to {COMMITTED}.",
            TOLERANCE * 100.0
        );
    }
    if grew > 0 {
        println!("{grew} queries cost more over larger tables: look for a loop over the table");
    }
    println!("{} passed, {} failed", figures.len().saturating_sub(moved), moved + grew);
    if moved + grew == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How many queries cost more over large tables than they may.
fn check_growth(figures: &Figures) -> usize {
    let figure = |name: &str| {
        figures.iter().find(|(other, _)| other == name).map_or(0, |(_, measured)| *measured)
    };
    println!("\n{:>9} {:>9} {:>6}  from small tables to large ones", "small", "large", "ratio");
    let mut grew = 0;
    for growth in &GROWTH {
        let (small, large) = (figure(&grown(growth, false)), figure(&grown(growth, true)));
        let ratio = ratio(large, small);
        let verdict = if ratio > MAX_GROWTH { ": GROWS" } else { "" };
        grew += usize::from(ratio > MAX_GROWTH);
        println!("{small:>9} {large:>9} {ratio:>6.3}  {}{verdict}", grown(growth, true));
    }
    println!();
    grew
}

#[allow(clippy::cast_precision_loss, reason = "thousands")]
fn ratio(measured: u64, committed: u64) -> f64 {
    measured as f64 / committed.max(1) as f64
}
