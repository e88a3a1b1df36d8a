//! Texts that are no configuration, and very large ones: no panic, no endless work.

use std::fmt::Write;
use std::fs;
use std::time::Duration;

use super::good::PACKAGED;
use super::{FORWARD, LISTEN, read};

/// Far above what a linear reader needs unoptimised, far below what a quadratic one does.
const SOON: Duration = Duration::from_secs(20);

/// Numbers that are the same in every run (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).expect("below a usize")
    }
}

#[test]
fn no_truncation_panics() {
    for end in (0..PACKAGED.len()).filter(|end| PACKAGED.is_char_boundary(*end)) {
        let _ = read(&PACKAGED[..end]);
    }
}

#[test]
fn no_mutation_panics_and_every_refusal_says_why() {
    const BITS: [&str; 20] = [
        "\"",
        "'",
        "[",
        "]",
        "[[",
        "{",
        "}",
        "=",
        ",",
        ".",
        "\n",
        "#",
        "\\",
        "*",
        "0",
        "-1",
        "é",
        "\u{0}",
        "'''",
        "[[private-link.endpoint]]\n",
    ];
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for _ in 0..3_000 {
        let mut text: Vec<char> = PACKAGED.chars().collect();
        for _ in 0..=numbers.below(4) {
            let at = numbers.below(text.len());
            let end = (at + numbers.below(30)).min(text.len());
            let bit = BITS[numbers.below(BITS.len())].chars();
            match numbers.below(4) {
                0 => drop(text.splice(at..at, bit)),
                1 => drop(text.splice(at..end, bit)),
                2 => drop(text.drain(at..end)),
                _ => {
                    let copy = text[at..end].to_vec();
                    let to = numbers.below(text.len());
                    drop(text.splice(to..to, copy));
                }
            }
        }
        let text: String = text.into_iter().collect();
        let report = read(&text);
        let errors = report.diagnostics.iter().any(|d| d.is_error());
        assert_eq!(report.config.is_none(), errors, "{text}");
        let lines = text.matches('\n').count() + 1;
        assert!(report.diagnostics.iter().all(|d| (1..=lines).contains(&d.line)), "{text}");
    }
}

#[test]
fn deep_nesting_ends() {
    for (open, close) in [("[", "]"), ("{a=", "}")] {
        let text = format!("{LISTEN}{FORWARD}x = {}{}", open.repeat(50_000), close.repeat(50_000));
        assert!(read(&text).config.is_none());
    }
    assert!(read(&format!("{}a = 1", "a.".repeat(50_000))).config.is_none());
    assert!(read(&format!("[{}a]", "a.".repeat(50_000))).config.is_none());
}

/// How long this thread has run so far. What other threads do meanwhile does not count.
fn busy() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanoseconds = text.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number"))
}

#[test]
fn a_flood_of_errors_is_cut_and_counted() {
    let mut text = format!("{LISTEN}{FORWARD}[limits]\n");
    for number in 0..20_000 {
        writeln!(text, "x{number} = {number}").expect("a string takes it");
    }
    let begin = busy();
    let report = read(&text);
    assert!(busy() - begin < SOON);
    let last = report.diagnostics.last().expect("a note");
    assert!(last.message.contains("19000 more are not shown"), "{last}");
    let garbage = "= \"\n".repeat(100_000);
    assert!(read(&garbage).config.is_none());
    assert!(busy() - begin < SOON);
}

/// One zone with so many listed names on an endpoint each `names_each`.
fn names(endpoints: usize, names_each: usize, sites: bool) -> String {
    let mut text = format!("{LISTEN}{FORWARD}");
    for site in (0..endpoints).filter(|_| sites) {
        let (b, c) = (site / 256, site % 256);
        let net = format!("networks = [\"10.{b}.{c}.0/24\"]");
        writeln!(text, "[[site]]\nname = \"s{site}\"\n{net}").expect("a string takes it");
    }
    text.push_str("[[private-link]]\nservice = 'defender-for-containers'\n");
    for endpoint in 0..endpoints {
        writeln!(text, "[[private-link.endpoint]]\nname = 'e{endpoint}'").expect("taken");
        if sites {
            writeln!(text, "sites = ['s{endpoint}']").expect("taken");
        }
        writeln!(text, "addresses = ['10.1.0.5']\n[private-link.endpoint.names]").expect("taken");
        for name in 0..names_each {
            let (b, c) = (name / 256 % 256, name % 256);
            writeln!(
                text,
                "\"n{name}.west\" = ['10.{endpoint_b}.{b}.{c}']",
                endpoint_b = endpoint % 256
            )
            .expect("taken");
        }
    }
    text
}

#[test]
fn work_is_linear_in_the_file() {
    let begin = busy();
    // One endpoint with many names; many endpoints that list the same names for their own sites.
    let one = read(&names(1, 100_000, false));
    assert_eq!(one.config.expect("a good file").private_links[0].endpoints[0].names.len(), 100_000);
    let many = read(&names(1_000, 50, true));
    assert_eq!(many.diagnostics, []);
    // A name that only the last one lists: a warning for each other site.
    let mut text = names(500, 50, true);
    text.push_str("only = ['10.1.0.6']\n");
    assert_eq!(read(&text).diagnostics.len(), 499);
    // Many zones inside one, many networks, many unknown sites.
    let mut text = names(1, 20_000, false);
    for zone in 0..2_000 {
        let zone = format!("z{zone}.cloud.defender.microsoft.com");
        write!(
            text,
            "[[private-link]]\npublic-zone = '{zone}'\nprivate-zone = 'privatelink.{zone}'\n\
             [[private-link.endpoint]]\nname = 'a'\naddresses = ['10.0.0.1']\nsites = ['{zone}']\n"
        )
        .expect("taken");
    }
    let allow: Vec<_> =
        (0..20_000).map(|n| format!("\"10.{}.{}.0/25\"", n / 256, n % 256)).collect();
    write!(text, "[access]\nallow = [\"::1\", {}]\n", allow.join(",")).expect("taken");
    write!(text, "[[site]]\nname = 'w'\nnetworks = [{}]\n", allow.join(",")).expect("taken");
    let report = read(&text);
    assert!(report.config.is_none());
    let taken = busy() - begin;
    assert!(!taken.is_zero() && taken < SOON, "{taken:?}");
}
