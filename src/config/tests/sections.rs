//! `[listen]`, `[access]`, `[[site]]`, `[[forward]]`, `[[expect]]`, `[log]`, `[limits]`.

use super::{Case, E, FORWARD, LISTEN, Said, W, check, rest, whole};

fn listen(dns: &str, said: Said) -> Case {
    whole(&format!("{FORWARD}[listen]\n{dns}"), said)
}

#[test]
fn listen_wants_addresses_with_ports() {
    check([
        whole(FORWARD, &[(E, 1, "listen", "missing; write [listen]")]),
        listen("", &[(E, 4, "listen.dns", "missing; write dns = ")]),
        listen("dns = []", &[(E, 5, "listen.dns", "the list is empty")]),
        listen("dns = ['127.0.0.1']", &[(E, 5, "listen.dns", "write \"127.0.0.1:53\"")]),
        listen("dns = ['::1']", &[(E, 5, "listen.dns", "write \"[::1]:53\"")]),
        listen("dns = ['[::1]']", &[(E, 5, "listen.dns", "write \"[::1]:53\"")]),
        listen("dns = ['localhost:53']", &[(E, 5, "listen.dns", "an address with a port")]),
        listen("dns = ['::ffff:10.0.0.1']", &[(E, 5, "listen.dns", "write \"10.0.0.1:53\"")]),
        listen("dns = ['[::ffff:10.0.0.1]:53']", &[(E, 5, "listen.dns", "\"10.0.0.1:53\"")]),
        listen(
            "dns = ['127.0.0.1:53',\n '127.0.0.1:53']",
            &[(E, 6, "listen.dns[2]", "stands twice")],
        ),
        listen(
            "dns = ['127.0.0.1:53',\n '224.0.0.1:53', '[ff02::1]:53']",
            &[(E, 6, "listen.dns[2]", "multicast"), (E, 6, "listen.dns[3]", "multicast")],
        ),
        listen("dns = ['[fe80::1%eth0]:53', '[fe80::1%eth1]:53', '[fe80::1%2]:53']", &[]),
        listen("dns = ['[fe80::1]:53']", &[(E, 5, "listen.dns", "\"[fe80::1%eth0]:53\"")]),
        listen("dns = ['fe80::1%eth0']", &[(E, 5, "listen.dns", "write \"[fe80::1%eth0]:53\"")]),
        listen("dns = ['[fd00::1%eth0]:53']", &[(E, 5, "listen.dns", "write \"[fd00::1]:53\"")]),
        listen("dns = ['[fe80::1%]:53']", &[(E, 5, "listen.dns", "no network interface behind")]),
        listen("dns = ['[ff02::fb%eth0]:53']", &[(E, 5, "listen.dns", "multicast")]),
        listen("dns = ['127.0.0.1:0']", &[(W, 5, "listen.dns", "choose a port")]),
        listen("dns = '127.0.0.1:53'", &[(E, 5, "listen.dns", "write a list")]),
        listen("dns = [53]", &[(E, 5, "listen.dns", "an integer cannot stand here")]),
        whole(&format!("listen = 5\n{FORWARD}"), &[(E, 1, "listen", "as a table: [listen]")]),
        whole(
            &format!("{FORWARD}[[listen]]\ndns = ['[::]:53']"),
            &[(E, 4, "listen", "write it once, as a table: [listen]")],
        ),
    ]);
    let many: Vec<_> = (0..65).map(|port| format!("\"127.0.0.1:{}\"", 1000 + port)).collect();
    let many = format!("dns = [{}]", many.join(","));
    check([listen(&many, &[(E, 5, "listen.dns", "65 entries; at most 64")])]);
}

#[test]
fn access_takes_two_names_and_prefixes() {
    check([
        rest("[access]\nallow = []", &[(E, 7, "access.allow", "the list is empty")]),
        rest(
            "[access]\nallow = ['loopbak', 'anybody']",
            &[
                (E, 7, "access.allow[1]", "did you mean \"loopback\"?"),
                (E, 7, "access.allow[2]", "write \"loopback\", \"private\" or a network"),
            ],
        ),
        rest(
            "[access]\nallow = ['10.1.2.3/16', 'fd00::1/48']",
            &[
                (E, 7, "access.allow[1]", "write \"10.1.0.0/16\""),
                (E, 7, "access.allow[2]", "write \"fd00::/48\""),
            ],
        ),
        rest(
            "[access]\nallow = ['private', '10.0.0.0/33']",
            &[(E, 7, "access.allow[2]", "write a network")],
        ),
        rest(
            "[access]\nallow = ['private', '::ffff:10.0.0.0/104']",
            &[(E, 7, "access.allow[2]", "IPv4 network in IPv6 form")],
        ),
        rest(
            "[access]\nallow = ['private', 'private']",
            &[(E, 7, "access.allow[2]", "stands twice")],
        ),
        rest("[access]\nallow = ['10.0.0.0/8']", &[(W, 7, "access.allow", "no IPv6 client")]),
        rest("[access]\nallow = ['fd00::/8']", &[(W, 7, "access.allow", "no IPv4 client")]),
        rest("[access]\nallow = ['0.0.0.0/0', '::/0']", &[(W, 7, "access.allow", "everybody")]),
        rest("[access]\nrefused = 'dropp'", &[(E, 7, "access.refused", "mean \"drop\"?")]),
        rest("[access]\nrefused = true", &[(E, 7, "access.refused", "a boolean cannot")]),
    ]);
}

#[test]
fn sites_have_one_name_and_networks_of_their_own() {
    const ENDPOINT: &str = "[[private-link]]\npublic-zone = 'a.example'\nprivate-zone = \
                            'privatelink.a.example'\n[[private-link.endpoint]]\nname = 'hub'\n\
                            addresses = ['10.1.0.5']\nsites = ['x', 'y']\n";
    let sites = |text: &str, said: Said| rest(&format!("{text}\n{ENDPOINT}"), said);
    let y = "[[site]]\nname = 'y'\nnetworks = ['10.2.0.0/16']\n";
    check([
        sites(&format!("{y}[[site]]\nname = 'x'\nnetworks = ['10.1.0.0/16']"), &[]),
        sites(
            &format!("{y}[[site]]\nname = 'x'\nnetworks = ['10.2.0.0/16']"),
            &[(E, 11, "site[2].networks", "another site has this network (line 8)")],
        ),
        sites(
            &format!(
                "{y}[[site]]\nname = 'x'\nnetworks = ['10.3.0.0/16']\n\
                 [[site]]\nname = 'x'\nnetworks = ['10.4.0.0/16']"
            ),
            &[(E, 13, "site[3].name", "another site has this name (line 10)")],
        ),
        sites(
            &format!(
                "{y}[[site]]\nname = 'x'\nnetworks = ['8.8.0.0/16', \
                 '0.0.0.0/0', '172.0.0.0/8', '10.9.9.9']"
            ),
            &[
                (W, 11, "site[2].networks", "outside access.allow: these"),
                (W, 11, "site[2].networks", "partly outside"),
                (W, 11, "site[2].networks", "partly outside"),
            ],
        ),
        sites(
            &format!("{y}[[site]]\nname = 'x'"),
            &[(E, 9, "site[2].networks", "missing; write networks")],
        ),
        sites(
            &format!("{y}[[site]]\nnetworks = ['10.1.0.0/16']"),
            &[(E, 9, "site[2].name", "missing; write a name")],
        ),
        sites(
            &format!("{y}[[site]]\nname = ''\nnetworks = []"),
            &[(E, 10, "site[2].name", "1 to 64"), (E, 11, "site[2].networks", "list is empty")],
        ),
        rest(
            "[[site]]\nname = 'lonely'\nnetworks = ['10.1.0.0/16']",
            &[(W, 7, "site.name", "no endpoint names this site")],
        ),
        rest("[site]\nname = 'x'", &[(E, 6, "site", "two brackets: [[site]]")]),
        rest("site = 5", &[(E, 6, "forward.site", "unknown key")]),
    ]);
}

#[test]
fn forward_rules_are_addresses_without_loops() {
    let forward = |text: &str, said: Said| whole(&format!("{LISTEN}[[forward]]\n{text}"), said);
    let up = |entry: &str, said: Said| {
        forward(&format!("zones = ['.']\nupstreams = ['10.0.0.4', '{entry}']"), said)
    };
    const KEY: &str = "forward.upstreams[2]";
    check([
        forward("", &[(E, 3, "forward.zones", "missing"), (E, 3, "forward.upstreams", "missing")]),
        forward(
            "zones = ['.', 'Corp.example', 'corp.example.']\nupstreams = []",
            &[
                (E, 4, "forward.zones[3]", "stands twice"),
                (E, 5, "forward.upstreams", "list is empty"),
            ],
        ),
        forward(
            "zones = ['.', 'a..b']\nupstreams = ['10.0.0.4']",
            &[(E, 4, "forward.zones[2]", "an empty label")],
        ),
        rest(
            "[[forward]]\nzones = ['corp.example', '.']\nupstreams = ['10.0.0.4']",
            &[(E, 7, "forward[2].zones", "another forward rule has this zone (line 4)")],
        ),
        up("dns.google", &[(E, 5, KEY, "a host name would need another DNS server")]),
        up("dns.google:53", &[(E, 5, KEY, "a host name would need another DNS server")]),
        up("10.0.0.4:53", &[(E, 5, KEY, "stands twice")]),
        up("10.0.0.5:0", &[(E, 5, KEY, "port 0")]),
        up("10.0.0.5:66000", &[(E, 5, KEY, "write an address")]),
        up("[fd00::1]", &[(E, 5, KEY, "write \"fd00::1\"")]),
        up("[::ffff:10.0.0.9]:53", &[(E, 5, KEY, "write \"10.0.0.9:53\"")]),
        up("resolv.conf:run/x", &[(E, 5, KEY, "write the whole path")]),
        up("127.0.0.1", &[(E, 5, "forward.upstreams", "forwarding loop: this is our own")]),
        up("0.0.0.0", &[(E, 5, "forward.upstreams", "forwarding loop")]),
        up("0.0.0.0:5353", &[(E, 5, "forward.upstreams", "no server has this address")]),
        up("224.0.0.1", &[(E, 5, "forward.upstreams", "no server has this address")]),
        up("127.0.0.1:54", &[]),
        whole(
            "listen.dns = ['0.0.0.0:53', '[::]:53']\n[[forward]]\nzones = ['.']\n\
             upstreams = ['127.0.0.53', '::1', '10.0.0.4']",
            &[
                (E, 4, "forward.upstreams", "own listen address (line 1)"),
                (E, 4, "forward.upstreams", "own listen address (line 1)"),
            ],
        ),
    ]);
    let time = |text: &str, said: Said| rest(&format!("timeout = {text}"), said);
    check([
        time("'99ms'", &[(E, 6, "forward.timeout", "100ms to 30s")]),
        time("'31s'", &[(E, 6, "forward.timeout", "100ms to 30s")]),
        time("'soon'", &[(E, 6, "forward.timeout", "write a duration such as")]),
        time("2", &[(E, 6, "forward.timeout", "an integer cannot stand here; write a dur")]),
        time("'100ms'", &[]),
        time("'4s'", &[]),
        time("'4001ms'", &[(W, 6, "forward.timeout", "stay below 4s")]),
        time("'30s'", &[(W, 6, "forward.timeout", "Windows DNS")]),
    ]);
}

#[test]
fn expectations_name_client_question_and_answer() {
    let expect = |text: &str, said: Said| rest(&format!("[[expect]]\n{text}"), said);
    check([
        expect(
            "",
            &[
                (E, 6, "expect.client", "missing"),
                (E, 6, "expect.query", "missing"),
                (E, 6, "expect.answer", "missing"),
            ],
        ),
        expect(
            "client = '10.1.2.3:53'\nquery = 'api.example MX'\nanswer = ['10.0.0.5', 'x']",
            &[
                (E, 7, "expect.client", "no port belongs here: \"10.1.2.3\""),
                (E, 8, "expect.query", "A or AAAA"),
                (E, 9, "expect.answer[2]", "write an IP address"),
            ],
        ),
        expect(
            "client = '10.1.2.3'\nquery = 'api.example'\nanswer = ['fd00::5']",
            &[(E, 9, "expect.answer", "write the question as \"api.example AAAA\"")],
        ),
        expect("client = '::1'\nquery = 'api.example aaaa'\nanswer = []", &[]),
        expect(
            "client = '::1'\nquery = 'a..b A'\nanswer = []",
            &[(E, 8, "expect.query", "an empty label")],
        ),
    ]);
}

#[test]
fn log_takes_words() {
    check([
        rest(
            "[log]\nformat = 'xml'\nlevel = 'warning'\nqueries = 'privat'",
            &[
                (E, 7, "log.format", "write \"text\" or \"json\""),
                (E, 8, "log.level", "\"error\", \"warn\", \"info\", \"debug\" or \"trace\""),
                (E, 9, "log.queries", "did you mean \"private\"?"),
            ],
        ),
        rest("[log]\nlevel = 3", &[(E, 7, "log.level", "an integer cannot stand here")]),
    ]);
}

#[test]
fn limits_have_ranges() {
    let limit = |text: &str, said: Said| rest(&format!("[limits]\n{text}"), said);
    check([
        limit(
            "workers = 0\nin-flight = 1000001\ntcp-connections = -1\ntcp-pipelined = '128'",
            &[
                (E, 7, "limits.workers", "1 to 256"),
                (E, 8, "limits.in-flight", "1 to 1000000"),
                (E, 9, "limits.tcp-connections", "1 to 65535"),
                (E, 10, "limits.tcp-pipelined", "a string cannot stand here; write a whole"),
            ],
        ),
        limit(
            "tcp-idle = '999ms'\ntcp-message = '2m'\ntcp-connections-per-client = 1.5",
            &[
                (E, 7, "limits.tcp-idle", "1s to 5m"),
                (E, 8, "limits.tcp-message", "100ms to 1m"),
                (E, 9, "limits.tcp-connections-per-client", "a float cannot stand here"),
            ],
        ),
        limit("in-flight = 0x10\nworkers = 1_6\ntcp-idle = '5m'", &[]),
        limit("tcp-idel = '5s'", &[(E, 7, "limits.tcp-idel", "did you mean \"tcp-idle\"?")]),
    ]);
}

#[test]
fn freebind_is_for_addresses_that_may_be_absent() {
    check([
        listen("dns = ['192.0.2.1:53']\nfreebind = true", &[]),
        listen("dns = ['0.0.0.0:53']\nfreebind = false", &[]),
        listen(
            "dns = ['0.0.0.0:53', '[::]:53']\nfreebind = true",
            &[(W, 6, "listen.freebind", "no effect: 0.0.0.0 and [::] are never absent")],
        ),
        listen("dns = ['192.0.2.1:53']\nfreebind = 1", &[(E, 6, "listen.freebind", "true")]),
    ]);
}
