//! Probes of endpoints: `probe`, `all-down` and `[probes]`.

use std::time::Duration;

use super::{Case, E, Said, W, check, config, read, rest, whole};
use crate::config::limits::MAX_PROBE_TARGETS;
use crate::config::{AllDown, Probe, Probes};

const KEY: &str = "private-link.endpoint.probe";

/// A zone whose endpoint (from line 8) has `api` and a wildcard (10, 11), and these lines, from 12.
fn hub(text: &str, said: Said) -> Case {
    let hub = "[[private-link]]\nservice = 'defender-for-containers'\n\
               [[private-link.endpoint]]\nname = 'hub'\nnames.api = ['10.1.0.5']\n\
               addresses = ['10.1.0.5']";
    rest(&format!("{hub}\n{text}"), said)
}

#[test]
fn a_probe_is_a_kind_a_port_and_for_certificates_a_name() {
    let probe = |text: &str, said: Said| hub(&format!("probe = '{text}'"), said);
    const WANTED: Said = &[(E, 12, KEY, "write \"tcp:443\", \"tls:443\", ")];
    check([
        probe("tcp:443", &[]),
        probe("tcp:65535", &[]),
        probe("tls:8443", &[]),
        probe("tls:443#api.example", &[]),
        probe("none", &[]),
        probe("", WANTED),
        probe("None", WANTED),
        probe("icmp", WANTED),
        probe("http:80", WANTED),
        probe("tcp", &[(E, 12, KEY, "the port is missing; write \"tcp:443\"")]),
        probe("https", &[(E, 12, KEY, "the port is missing; write \"tls:443\"")]),
        probe("tcp:0", &[(E, 12, KEY, "no port from 1 to 65535")]),
        probe("tcp:65536", &[(E, 12, KEY, "no port from 1 to 65535")]),
        probe("tcp:+1", &[(E, 12, KEY, "no port from 1 to 65535")]),
        probe("tcp:443#api.example", &[(E, 12, KEY, "write \"tls:443#api.example\", or")]),
        probe("tls:443#", &[(E, 12, KEY, "no host name behind \"#\"")]),
        probe("tls:443#.", &[(E, 12, KEY, "no host name behind \"#\"")]),
        probe("tls:443#a b", &[(E, 12, KEY, "no host name behind \"#\"")]),
        probe("tls:443#*.example", &[(E, 12, KEY, "no host name behind \"#\"")]),
        probe("tls:443#10.1.0.5", &[(E, 12, KEY, "an address behind \"#\"")]),
        hub("probe = 443", &[(E, 12, KEY, "an integer cannot stand here")]),
    ]);
}

#[test]
fn a_certificate_needs_a_name_to_be_checked_against() {
    let wildcard = |text: &str, said: Said| hub(&format!("probe = '{text}'"), said);
    let other = "addresses = ['10.1.0.6']\nnames.api = ['10.1.0.5']";
    let link = "[[private-link]]\nservice = 'defender-for-containers'\n\
                [[private-link.endpoint]]\nname = 'hub'";
    let case = |probe: &str, said: Said| rest(&format!("{link}\n{other}\n{probe}"), said);
    check([
        wildcard("tls:443", &[]),
        case(
            "probe = 'tls:443'",
            &[(
                E,
                12,
                KEY,
                "no name lists 10.1.0.6, so there is none to check its certificate against; write \
                 one that the certificate holds, such as \
                 \"tls:443#api.cloud.defender.microsoft.com\", or \"tcp:443\"",
            )],
        ),
        case("probe = 'tls:443#api.cloud.defender.microsoft.com'", &[]),
        case("probe = 'tcp:443'", &[]),
    ]);
}

#[test]
fn what_is_probed_is_each_address_once_with_its_first_public_name() {
    let targets = |probe: &str, endpoint: &str| {
        let text = hub(
            &format!("names.data = ['10.1.0.6', '10.1.0.5']\nprobe = '{probe}'{endpoint}"),
            &[],
        )
        .text;
        let config = config(&text);
        let link = &config.private_links[0];
        let targets = link.endpoints.iter().flat_map(|endpoint| endpoint.targets(link));
        targets.map(|target| format!("{} {}", target.socket(), target.probe)).collect::<Vec<_>>()
    };
    assert_eq!(targets("tcp:443", ""), ["10.1.0.5:443 tcp:443", "10.1.0.6:443 tcp:443"]);
    assert_eq!(
        targets("tls:443", ""),
        [
            "10.1.0.5:443 tls:443#api.cloud.defender.microsoft.com",
            "10.1.0.6:443 tls:443#data.cloud.defender.microsoft.com"
        ]
    );
    assert_eq!(
        targets("tls:443#One.example.", ""),
        ["10.1.0.5:443 tls:443#one.example", "10.1.0.6:443 tls:443#one.example"]
    );
    assert!(targets("none", "").is_empty());
}

#[test]
fn all_down_does_something_and_can() {
    let zone = |all_down: &str, probe: &str, said: Said| {
        let link = format!(
            "[[private-link]]\nservice = 'defender-for-containers'\nall-down = '{all_down}'\n\
             [[private-link.endpoint]]\nname = 'hub'\nnames.api = ['10.1.0.5']\nprobe = '{probe}'\n\
             addresses = ['10.1.0.5']"
        );
        rest(&link, said)
    };
    const AT: &str = "private-link.all-down";
    check([
        zone("serve-all", "tcp:443", &[]),
        zone("servfail", "tcp:443", &[]),
        zone("public", "tcp:443", &[]),
        zone("serve-all", "none", &[]),
        zone("servfail", "none", &[(W, 8, AT, "no effect: no endpoint of this zone has a probe")]),
        zone("public", "none", &[(W, 8, AT, "no effect: no endpoint of this zone has a probe")]),
        zone(
            "forward",
            "tcp:443",
            &[(E, 8, AT, "write \"serve-all\", \"servfail\" or \"public\"")],
        ),
    ]);
    let public = "[[private-link]]\nservice = 'defender-for-containers'\nall-down = 'public'\n";
    let hub = "[[private-link.endpoint]]\nname = 'hub'\nnames.api = ['10.1.0.5']\n\
               probe = 'tcp:443'\naddresses = ['10.1.0.5']\n";
    let listen = "[listen]\ndns = ['127.0.0.1:53']\n";
    check([
        whole(
            &format!("{listen}{public}{hub}"),
            &[(E, 5, AT, "no forward rule covers cloud.defender.microsoft.com")],
        ),
        rest(
            &format!("{public}require-private = true\nunlisted = 'forward'\n{hub}"),
            &[
                (E, 8, AT, "require-private (line 9) refuses the public addresses"),
                (W, 15, "private-link.endpoint.addresses", "never used"),
            ],
        ),
        rest(
            &format!(
                "{public}{hub}[[forward]]\nzones = ['microsoft.com']\nupstreams = ['10.0.0.4']\n\
                 require-private = true\n"
            ),
            &[(
                E,
                8,
                AT,
                "the rule for cloud.defender.microsoft.com has require-private (line 17)",
            )],
        ),
    ]);
}

#[test]
fn probes_have_their_times_and_counts() {
    let probes =
        |text: &str, said: Said| hub(&format!("probe = 'tcp:443'\n[probes]\n{text}"), said);
    let resolved = |text: &str| config(&probes(text, &[]).text).probes;
    check([
        probes("interval = '1s'\ntimeout = '500ms'\nrise = 1\nfall = 100", &[]),
        probes("interval = '999ms'", &[(E, 14, "probes.interval", "(1s to 1h)")]),
        probes("interval = '61m'", &[(E, 14, "probes.interval", "(1s to 1h)")]),
        probes("timeout = '99ms'", &[(E, 14, "probes.timeout", "(100ms to 1m)")]),
        probes(
            "timeout = '2501ms'",
            &[(E, 14, "probes.timeout", "half the interval; write \"2s 500ms\"")],
        ),
        probes(
            "interval = '1s'\ntimeout = '501ms'",
            &[(E, 15, "probes.timeout", "more than half the interval; write \"500ms\" at most")],
        ),
        probes("rise = 0", &[(E, 14, "probes.rise", "(1 to 100)")]),
        probes("fall = 101", &[(E, 14, "probes.fall", "(1 to 100)")]),
        probes("retries = 3", &[(E, 14, "probes.retries", "unknown key")]),
        hub("[probes]\nrise = 1", &[(W, 12, "probes", "no effect: no endpoint has a probe")]),
        hub(
            "probe = 'none'\n[probes]\nrise = 1",
            &[(W, 13, "probes", "no effect: no endpoint has a probe")],
        ),
    ]);
    assert_eq!(resolved(""), Probes::default());
    let quick = resolved("interval = '1s'");
    assert_eq!(quick.timeout, Duration::from_millis(500), "the default follows the interval");
    let all = resolved("interval = '20s'\ntimeout = '3s'\nrise = 4\nfall = 5");
    let seconds = Duration::from_secs;
    assert_eq!(all, Probes { interval: seconds(20), timeout: seconds(3), rise: 4, fall: 5 });
}

#[test]
fn without_a_word_nothing_is_probed_and_everything_served() {
    let config = config(&hub("", &[]).text);
    assert_eq!(config.probes, Probes::default());
    let link = &config.private_links[0];
    assert_eq!((link.all_down, &link.endpoints[0].probe), (AllDown::ServeAll, &None::<Probe>));
}

#[test]
fn so_many_addresses_are_probed_and_no_more() {
    let many = |count: usize| {
        let names = (0..count).map(|n| format!("names.n{n} = ['10.2.{}.{}']", n / 256, n % 256));
        let names: Vec<_> = names.collect();
        // 10.1.0.5 is one too, and the same address by another probe another.
        hub(&format!("{}\nprobe = 'tcp:443'", names.join("\n")), &[]).text
    };
    assert!(read(&many(MAX_PROBE_TARGETS - 1)).diagnostics.is_empty());
    let report = read(&many(MAX_PROBE_TARGETS));
    let [error] = report.diagnostics.as_slice() else { panic!("{:?}", report.diagnostics) };
    assert!(error.is_error() && error.key == KEY, "{error}");
    assert!(error.message.starts_with("more than 4096 addresses to probe"), "{error}");
    // A name is probed in its own zone, not in all of the entry.
    let of_several = |count: usize| {
        let names = (0..count)
            .map(|n| format!("names.'n{n}.monitor.azure.com' = ['10.2.{}.{}']", n / 256, n % 256));
        let names: Vec<_> = names.collect();
        let link = "[[private-link]]\nservice = 'monitor'\n[[private-link.endpoint]]\nname = 'hub'";
        rest(&format!("{link}\n{}\nprobe = 'tls:443'", names.join("\n")), &[]).text
    };
    assert_eq!(read(&of_several(MAX_PROBE_TARGETS)).diagnostics, []);
    assert_eq!(read(&of_several(MAX_PROBE_TARGETS + 1)).diagnostics.len(), 1);
    // One address under many names is probed for each.
    let of_one = |count: usize| {
        let endpoint = |n| {
            format!(
                "[[private-link.endpoint]]\nname = 'e{n}'\nnames.n{n} = ['10.1.0.5']\n\
                 probe = 'tls:443'\n"
            )
        };
        let endpoints: String = (0..count).map(endpoint).collect();
        rest(&format!("[[private-link]]\nservice = 'storage-blob'\n{endpoints}"), &[]).text
    };
    assert_eq!(read(&of_one(MAX_PROBE_TARGETS)).diagnostics, []);
    assert_eq!(read(&of_one(MAX_PROBE_TARGETS + 1)).diagnostics.len(), 1);
}

#[test]
fn behind_one_that_is_probed_another_stands_by() {
    let pair = |probe: &str, said: Said| {
        let one = format!("names.api = ['10.1.0.1']\naddresses = ['10.1.0.1']\nprobe = '{probe}'");
        let two = "names.api = ['10.1.0.2']\naddresses = ['10.1.0.2']";
        let endpoint = |name: &str| format!("[[private-link.endpoint]]\nname = '{name}'");
        let link = "[[private-link]]\nservice = 'defender-for-containers'";
        rest(&format!("{link}\n{}\n{one}\n{}\n{two}", endpoint("one"), endpoint("two")), said)
    };
    check([
        pair("tcp:443", &[]),
        pair(
            "none",
            &[
                (E, 15, "private-link.endpoint[2].names.api", "two different address lists"),
                (W, 16, "private-link.endpoint[2].addresses", "not used"),
            ],
        ),
    ]);
}
