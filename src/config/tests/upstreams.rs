//! The forms of an upstream: what each means, and what is said of one that means nothing.

use super::{Case, E, LISTEN, Said, W, check, config, rest, whole};
use crate::config::{Scheme, Trust, UpstreamHost, UpstreamServer, UpstreamSource};

/// A rule with a plain upstream and, as its second, this one (line 5).
fn up(entry: &str, said: Said) -> Case {
    whole(&format!("{LISTEN}[[forward]]\nzones = ['.']\nupstreams = ['10.0.0.4', '{entry}']"), said)
}

const KEY: &str = "forward.upstreams[2]";

/// What `entry` means, beside a plain upstream.
fn server(entry: &str) -> UpstreamServer {
    let case = up(entry, &[]);
    match config(&case.text).forwards.remove(0).upstreams.pop() {
        Some(UpstreamSource::Server(server)) => server,
        other => panic!("{entry}: {other:?}"),
    }
}

#[test]
fn a_server_has_a_scheme_a_place_a_path_and_a_name() {
    use Scheme::{H3, Https, Plain, Quic, Tcp, Tls};
    let cases = [
        ("10.0.0.5", Plain, "10.0.0.5:53", "", None),
        ("udp://10.0.0.5", Plain, "10.0.0.5:53", "", None),
        ("udp://[fd00::5]:5300", Plain, "[fd00::5]:5300", "", None),
        ("udp://[fe80::5%2]", Plain, "[fe80::5%2]:53", "", None),
        ("fe80::5%eth0", Plain, "[fe80::5%eth0]:53", "", None),
        ("fe80::5%2", Plain, "[fe80::5%2]:53", "", None),
        ("[fe80::5%eth0.7]:5300", Plain, "[fe80::5%eth0.7]:5300", "", None),
        ("tls://[fe80::5%eth0]#dns.example", Tls, "[fe80::5%eth0]:853", "", Some("dns.example")),
        ("https://[fe80::5%25eth0]:8443/q", Https, "[fe80::5%eth0]:8443", "/q", None),
        ("tcp://[fe80::5%25]", Tcp, "[fe80::5%25]:53", "", None),
        ("tcp://169.254.0.5", Tcp, "169.254.0.5:53", "", None),
        ("tcp://10.0.0.5", Tcp, "10.0.0.5:53", "", None),
        ("tcp://dns.example:5353", Tcp, "dns.example 5353", "", None),
        ("tls://9.9.9.9#dns.quad9.net", Tls, "9.9.9.9:853", "", Some("dns.quad9.net")),
        ("tls://[2620:fe::fe]", Tls, "[2620:fe::fe]:853", "", None),
        ("tls://Dns.Example.:8853", Tls, "dns.example 8853", "", None),
        ("tls://dns#Own.Example.", Tls, "dns 853", "", Some("own.example")),
        ("quic://94.140.14.14:8853", Quic, "94.140.14.14:8853", "", None),
        ("https://dns.example", Https, "dns.example 443", "/dns-query", None),
        (
            "https://1.1.1.1/dns-query#cloudflare-dns.com",
            Https,
            "1.1.1.1:443",
            "/dns-query",
            Some("cloudflare-dns.com"),
        ),
        ("https://[fd00::5]:8443/a/b%20c", Https, "[fd00::5]:8443", "/a/b%20c", None),
        ("h3://8.8.8.8/#dns.google", H3, "8.8.8.8:443", "/", Some("dns.google")),
        ("h3://8.8.8.8#dns.google", H3, "8.8.8.8:443", "/dns-query", Some("dns.google")),
    ];
    for (entry, scheme, place, path, tls_name) in cases {
        let host = match place.split_once(' ') {
            Some((name, port)) => UpstreamHost::Name {
                name: name.parse().expect("a name"),
                port: port.parse().expect("a port"),
            },
            None => UpstreamHost::Address(place.parse().expect("an address")),
        };
        let expected = UpstreamServer {
            scheme,
            host,
            tls_name: tls_name.map(str::to_owned),
            path: path.to_owned(),
            trust: Trust::default(),
        };
        let found = server(entry);
        assert_eq!(found, expected, "{entry}");
        // What is shown can be written.
        assert_eq!(server(&found.to_string()), found, "{entry} is shown as {found}");
    }
}

#[test]
fn a_server_stands_once_however_it_is_written() {
    check([
        up("udp://10.0.0.4", &[(E, 5, KEY, "stands twice")]),
        up("udp://10.0.0.4:53", &[(E, 5, KEY, "stands twice")]),
        up("tcp://10.0.0.4", &[]),
        up("tls://10.0.0.4", &[]),
    ]);
}

#[test]
fn schemes_are_known_or_said() {
    check([
        up("gopher://10.0.0.5", &[(E, 5, KEY, "tls://, https://, quic:// or h3://")]),
        up("htps://10.0.0.5", &[(E, 5, KEY, "did you mean \"https\"?")]),
        up("TLS://10.0.0.5", &[(E, 5, KEY, "write \"tls://10.0.0.5\"")]),
        up("dns://10.0.0.5", &[(E, 5, KEY, "write \"udp://10.0.0.5\"")]),
        up("dot://10.0.0.5", &[(E, 5, KEY, "write \"tls://10.0.0.5\"")]),
        up("tcp-tls://10.0.0.5", &[(E, 5, KEY, "write \"tls://10.0.0.5\"")]),
        up("doh://10.0.0.5/q", &[(E, 5, KEY, "write \"https://10.0.0.5/q\"")]),
        up("http://10.0.0.5/q", &[(E, 5, KEY, "write \"https://10.0.0.5/q\"")]),
        up("doq://10.0.0.5", &[(E, 5, KEY, "write \"quic://10.0.0.5\"")]),
        up("http3://10.0.0.5", &[(E, 5, KEY, "write \"h3://10.0.0.5\"")]),
        up("://10.0.0.5", &[(E, 5, KEY, "write an address such as")]),
        up("sdns://AgcAAAAAAAAABzEuMC4wLjE", &[(E, 5, KEY, "write what the stamp says, such as")]),
    ]);
}

#[test]
fn places_are_addresses_or_names() {
    const NEITHER: &str = "no server's address or name; write such as";
    check([
        up("tls://", &[(E, 5, KEY, "write one such as \"tls://10.0.0.4\"")]),
        up("https:///dns-query", &[(E, 5, KEY, "write one such as \"https://10.0.0.4\"")]),
        up("tls://fd00::5", &[(E, 5, KEY, "write \"tls://[fd00::5]\"")]),
        up("tls://[fd00::5", &[(E, 5, KEY, NEITHER)]),
        up("tls://[10.0.0.5]", &[(E, 5, KEY, NEITHER)]),
        up("tls://10.0.0", &[(E, 5, KEY, NEITHER)]),
        up("tls://10.0.0.256", &[(E, 5, KEY, NEITHER)]),
        up("tls://0x7f000001", &[(E, 5, KEY, NEITHER)]),
        up("tls://a..b", &[(E, 5, KEY, NEITHER)]),
        up("tls://-a.example", &[(E, 5, KEY, NEITHER)]),
        up("tls://a b.example", &[(E, 5, KEY, NEITHER)]),
        up("tls://ä.example", &[(E, 5, KEY, NEITHER)]),
        up("https://me@dns.example/", &[(E, 5, KEY, NEITHER)]),
        up("tls://[::ffff:10.0.0.5]", &[(E, 5, KEY, "write \"10.0.0.5:853\"")]),
        up("tls://10.0.0.5:0", &[(E, 5, KEY, "port 0 cannot be asked; write 853")]),
        up("https://10.0.0.5:0/", &[(E, 5, KEY, "port 0 cannot be asked; write 443")]),
        up("tls://10.0.0.5:99999", &[(E, 5, KEY, "a number from 1 to 65535")]),
        up("tls://[fd00::5]:https", &[(E, 5, KEY, "a number from 1 to 65535")]),
        up("tls://dns.example:0", &[(E, 5, KEY, "a number from 1 to 65535")]),
        up("tls://dns.example:+53", &[(E, 5, KEY, "a number from 1 to 65535")]),
        up("tls://dns.example:", &[(E, 5, KEY, "a number from 1 to 65535")]),
        up("tls://10.0.0.5@8853", &[(E, 5, KEY, "write \"tls://10.0.0.5:8853\"")]),
        up("udp://dns.example", &[(E, 5, KEY, "a host name would need another DNS server")]),
        up("dns.example:53", &[(E, 5, KEY, "\"tls://dns.example\", if it speaks")]),
        up("tls://0.0.0.0", &[(E, 5, "forward.upstreams", "no server has this address")]),
        up("quic://224.0.0.1", &[(E, 5, "forward.upstreams", "no server has this address")]),
    ]);
    let long = format!("tls://{}", ["a"; 127].join("."));
    check([up(&long, &[]), up(&format!("{long}.a"), &[(E, 5, KEY, NEITHER)])]);
}

#[test]
fn link_local_addresses_have_an_interface_and_others_none() {
    const NONE_BEHIND: &str = "no network interface behind \"%\"; write its name or its number";
    check([
        up(
            "fe80::5",
            &[(E, 5, KEY, "needs its network interface; write such as \"fe80::5%eth0\"")],
        ),
        up("[fe80::5]:5300", &[(E, 5, KEY, "write such as \"[fe80::5%eth0]:5300\"")]),
        up("tls://[fe80::5]", &[(E, 5, KEY, "write such as \"[fe80::5%eth0]\"")]),
        up("https://[febf::5]:8443/q", &[(E, 5, KEY, "write such as \"[febf::5%eth0]:8443\"")]),
        up("fd00::5%eth0", &[(E, 5, KEY, "has an interface; write \"fd00::5\"")]),
        up("[fd00::5%2]:53", &[(E, 5, KEY, "has an interface; write \"[fd00::5]:53\"")]),
        up("tls://[fd00::5%eth0]:8853", &[(E, 5, KEY, "write \"[fd00::5]:8853\"")]),
        up("fe80::5%", &[(E, 5, KEY, NONE_BEHIND)]),
        up("[fe80::5%0]:53", &[(E, 5, KEY, NONE_BEHIND)]),
        up("fe80::5%a b", &[(E, 5, KEY, "such as \"fe80::5%eth0\"")]),
        up("tls://[fe80::5%sixteen-octets-x]", &[(E, 5, KEY, NONE_BEHIND)]),
        up("tls://fe80::5%eth0", &[(E, 5, KEY, "write \"tls://[fe80::5%eth0]\"")]),
        up("[fe80::5%eth0]", &[(E, 5, KEY, "without a port, write \"fe80::5%eth0\"")]),
        up("tls://[fe80::5%251]", &[(E, 5, KEY, "the interface 251, or 1 as URLs write it")]),
        up("10.0.0.5%eth0", &[(E, 5, KEY, "write an address such as")]),
        up("[ff02::fb%eth0]:53", &[(E, 5, "forward.upstreams", "no server has this address")]),
        up("ff02::fb", &[(E, 5, "forward.upstreams", "no server has this address")]),
        up("fe80::5%eth0", &[]),
        up("udp://[fe80::5%eth0]:53", &[]),
    ]);
}

#[test]
fn paths_are_for_http() {
    check([
        up("tls://10.0.0.5/", &[(E, 5, KEY, "no path belongs here; write \"tls://10.0.0.5\"")]),
        up("tcp://10.0.0.5/a", &[(E, 5, KEY, "write \"tcp://10.0.0.5\"")]),
        up("https://10.0.0.5/q{?dns}", &[(E, 5, KEY, "without \"{?dns}\": \"/q\"")]),
        up("https://10.0.0.5/q?a=b", &[(E, 5, KEY, "no \"?\"")]),
        up("h3://10.0.0.5/a b", &[(E, 5, KEY, "no usable path")]),
        up("h3://10.0.0.5/\u{e9}", &[(E, 5, KEY, "no usable path")]),
    ]);
    let path = |octets: usize| format!("https://10.0.0.5/{}", "a".repeat(octets - 1));
    check([up(&path(512), &[]), up(&path(513), &[(E, 5, KEY, "up to 512 characters")])]);
}

#[test]
fn names_of_certificates_are_for_encrypted_upstreams() {
    check([
        up("tcp://10.0.0.5#a.example", &[(E, 5, KEY, "tcp:// proves no name; leave out")]),
        up("udp://10.0.0.5#a.example", &[(E, 5, KEY, "write \"tls://10.0.0.5#a.example\"")]),
        up("9.9.9.9#dns.quad9.net", &[(E, 5, KEY, "write \"tls://9.9.9.9#dns.quad9.net\"")]),
        up("9.9.9.9:53#dns.quad9.net", &[(E, 5, KEY, "\"tls://9.9.9.9#dns.quad9.net\"")]),
        up("9.9.9.9@853#dns.quad9.net", &[(E, 5, KEY, "\"tls://9.9.9.9#dns.quad9.net\"")]),
        up("2620:fe::9@8853#dns.quad9.net", &[(E, 5, KEY, "\"tls://[2620:fe::9]:8853#dns.q")]),
        up("10.0.0.5#5353", &[(E, 5, KEY, "write \"10.0.0.5:5353\"")]),
        up("10.0.0.5@5353", &[(E, 5, KEY, "write \"10.0.0.5:5353\"")]),
        up("10.0.0.5@x", &[(E, 5, KEY, "write an address such as")]),
        up("tls://10.0.0.5#", &[(E, 5, KEY, "no name behind \"#\"")]),
        up("tls://10.0.0.5#10.0.0.5", &[(E, 5, KEY, "an address behind \"#\"")]),
        up("tls://10.0.0.5#a_b.example", &[]),
        up("tls://10.0.0.5#*.example", &[(E, 5, KEY, "no host name behind \"#\"")]),
        up("tls://10.0.0.5#a#b", &[(E, 5, KEY, "no host name behind \"#\"")]),
        up("https://10.0.0.5#a.example/q", &[(E, 5, KEY, "the path stands before \"#\"")]),
    ]);
}

#[test]
fn own_listeners_are_no_upstreams_of_plain_dns() {
    check([
        up("udp://127.0.0.1", &[(E, 5, "forward.upstreams", "forwarding loop: this is our own")]),
        up("tcp://127.0.0.1", &[(E, 5, "forward.upstreams", "forwarding loop: this is our own")]),
        up("tcp://127.0.0.1:54", &[]),
        up("tls://127.0.0.1", &[]),
        // Nonsense, but no loop: we do not speak TLS.
        up("tls://127.0.0.1:53", &[]),
    ]);
}

#[test]
fn a_host_name_needs_somebody_to_find_it() {
    const NOBODY: &str = "no upstream can be asked where this name is";
    let alone = |entries: &str, said: Said| {
        whole(&format!("{LISTEN}[[forward]]\nzones = ['.']\nupstreams = [{entries}]"), said)
    };
    const KEY: &str = "forward.upstreams";
    check([
        alone("'tls://dns.example'", &[(E, 5, KEY, NOBODY)]),
        alone("'tls://dns.example'", &[(E, 5, KEY, "\"tls://ADDRESS#dns.example\"")]),
        alone(
            "'https://dns.example:8443/q#other.example'",
            &[(E, 5, KEY, "\"https://ADDRESS:8443/q#other.example\"")],
        ),
        // An encrypted one might be asked, but is found out to be down when it is too late.
        alone("'tls://dns.example', 'tls://10.0.0.4'", &[(E, 5, KEY, NOBODY)]),
        alone("'tcp://dns.example'", &[(E, 5, KEY, "\"tcp://ADDRESS\"")]),
        alone("'tls://dns.example', 'tcp://10.0.0.4'", &[]),
        alone("'tls://dns.example', 'resolv.conf'", &[]),
        alone("'tls://10.0.0.4'", &[]),
        // What the wrong one was meant to be is not known.
        alone("'tls://dns.example', '10.0.0'", &[(E, 5, "forward.upstreams[2]", "write an addr")]),
        // Any rule's will do.
        rest("[[forward]]\nzones = ['a.example']\nupstreams = ['h3://dns.example']", &[]),
    ]);
}

#[test]
fn certificates_are_held_against_a_file_and_pins() {
    const PIN: &str = "sha256/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let text = |more: &str| {
        format!(
            "{LISTEN}[[forward]]\nzones = ['.']\nupstreams = ['10.0.0.4', 'tcp://10.0.0.5', \
             'tls://10.0.0.6', 'h3://10.0.0.7']\n{more}"
        )
    };
    let config = config(&text(&format!("ca-file = '/etc/ca.pem'\npins = ['{PIN}']")));
    let trusted = Trust {
        ca_file: Some("/etc/ca.pem".into()),
        pins: vec![std::array::from_fn(|octet| u8::try_from(octet).expect("below 32"))],
    };
    let found: Vec<_> = config.forwards[0]
        .upstreams
        .iter()
        .map(|source| match source {
            UpstreamSource::Server(server) => server.trust.clone(),
            UpstreamSource::ResolvConf(path) => panic!("{path:?}"),
        })
        .collect();
    assert_eq!(found, [Trust::default(), Trust::default(), trusted.clone(), trusted]);

    let trust = |more: &str, said: Said| whole(&text(more), said);
    let pin = |pin: &str, said: Said| whole(&text(&format!("pins = ['{PIN}', '{pin}']")), said);
    let bare = &PIN["sha256/".len()..];
    const RIGHT: Said = &[(E, 6, "forward.pins[2]", "write \"sha256/AAECAwQFBgcICQoLDA0ODxAREhM")];
    const WRONG: Said = &[(E, 6, "forward.pins[2]", "SHA-256 of the public key in base64")];
    check([
        trust("ca-file = 'ca.pem'", &[(E, 6, "forward.ca-file", "write the whole path")]),
        trust("ca-file = ''", &[(E, 6, "forward.ca-file", "write the whole path")]),
        trust("ca-file = '/etc/'", &[(E, 6, "forward.ca-file", "this is a directory")]),
        trust("ca-file = '/etc/..'", &[(E, 6, "forward.ca-file", "this is a directory")]),
        trust("ca-file = \"/a\\u0000b\"", &[(E, 6, "forward.ca-file", "write the whole path")]),
        trust("ca-file = true", &[(E, 6, "forward.ca-file", "a boolean cannot stand here")]),
        trust("pins = []", &[(E, 6, "forward.pins", "the list is empty; write \"sha256/\"")]),
        trust(&format!("pins = '{PIN}'"), &[(E, 6, "forward.pins", "write a list")]),
        pin(PIN, &[(E, 6, "forward.pins[2]", "stands twice")]),
        pin(bare, RIGHT),
        pin(&format!("sha256//{bare}"), RIGHT),
        pin(&format!("pin-sha256=\"{bare}\""), RIGHT),
        pin("", WRONG),
        pin("sha256/", WRONG),
        pin("sha256/AAEC", WRONG),
        pin(&PIN[..PIN.len() - 1], WRONG),
        // The bits behind the last octet must be nought.
        pin(&PIN.replace("8=", "9="), WRONG),
        pin(&PIN.replace("sha256", "sha1"), WRONG),
    ]);
    let pins: Vec<_> = (0..129).map(|at| PIN.replace("AAEC", &format!("A{at:03}"))).collect();
    let many = |count: usize| format!("pins = {:?}", &pins[..count]);
    check([
        trust(&many(128), &[]),
        trust(&many(129), &[(E, 6, "forward.pins", "129 entries; at most 128")]),
    ]);
    // Where nothing is encrypted, there is nothing to prove.
    check([
        rest(
            "ca-file = '/etc/ca.pem'\npins = ['sha256/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=']",
            &[(W, 6, "forward.ca-file", "no effect: none"), (W, 7, "forward.pins", "no effect")],
        ),
        whole(
            &format!(
                "{LISTEN}[[forward]]\nzones = ['.']\nupstreams = ['10.0.0.4', 'tls://']\n\
                 ca-file = '/etc/ca.pem'"
            ),
            &[(E, 5, "forward.upstreams[2]", "no server behind")],
        ),
    ]);
}
