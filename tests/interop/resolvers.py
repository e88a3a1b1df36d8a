"""The daemon, and the resolvers that ask it, each with its configuration and command."""

import subprocess
from dataclasses import dataclass, field

import machine
import snippets
from names import ALL, DATABASE, DEFENDER, VAULT
from upstream import KNOT, MISTAKEN, RECURSOR

# Two daemons: one before Knot alone, one before a recursor and on all addresses of the machine.
DAEMON = ("127.0.0.1", 5300)
DAEMON_V6 = ("::1", 5300)
# Not 127.0.0.1: there, snippets ask the resolver that they are for.
DAEMON_53 = ("127.0.0.78", 53)
RESOLVER = ("127.0.0.1", 53)
WILDCARD_PORT = 5301

API, DATA, VAULT_KNOWN = "10.1.0.5", "10.1.0.6", "10.1.0.8"
MINE_V4, MINE_V6 = "10.1.0.7", "fd00::7"
DEFENDER_V6 = "fd00::5"


def daemon_config(listen, upstream, allow, wildcard):
    """`upstream` as the file has it, the end of the text is its rule's."""

    def strings(values):
        return ", ".join(f'"{value}"' for value in values)

    return f"""
[listen]
dns = [{strings(listen)}]

[access]
allow = [{strings(allow)}]

[[private-link]]
service = "defender-for-containers"

[[private-link.endpoint]]
name = "weu"
addresses = [{strings(wildcard)}]
names = {{ "api" = ["{API}"], "data.westeurope" = ["{DATA}"] }}

[[private-link]]
public-zone = "{VAULT.public}"
private-zone = "{VAULT.private}"
unlisted = "nxdomain"

[[private-link.endpoint]]
name = "vault"
names = {{ "known" = ["{VAULT_KNOWN}"] }}

[[private-link]]
public-zone = "{DATABASE.public}"
private-zone = "{DATABASE.private}"
unlisted = "forward"

[[private-link.endpoint]]
name = "sql"
names = {{ "mine" = ["{MINE_V4}", "{MINE_V6}"] }}

[[forward]]
zones = ["."]
upstreams = ["{upstream}"]
"""


@dataclass
class Asker:
    """One resolver in one set-up."""

    name: str
    package: str
    server: tuple
    command: list
    env: dict = field(default_factory=dict)
    # systemd-resolved leaves the authority section out.
    passes_authority: bool = True
    validates: bool = False
    # What the daemon printed for it, if that is what it reads.
    snippet: str = ""
    # It validates below a root that is not signed here: our zones alone resolve.
    ours_alone: bool = False


# The world's own anchor of the root (KSK-2017), which no key of this run's root fits.
ROOT_ANCHOR = "20326,8,2,e06d44b80b8f1d39a95c0b0d7c65d08458e880409bbc683457104237c7f8ec8d"
DNSMASQ_DNSSEC = f"dnssec\ntrust-anchor=.,{ROOT_ANCHOR}\n"


def both_families():
    """The daemon as `--server` names it."""
    return f"{DAEMON[0]}:{DAEMON[1]}", f"[{DAEMON_V6[0]}]:{DAEMON_V6[1]}"


UNBOUND_BASE = """
server:
  interface: 127.0.0.1
  port: {port}
  chroot: ""
  username: ""
  pidfile: ""
  directory: "{folder}"
  use-syslog: no
  num-threads: 1
  do-not-query-localhost: no
  local-zone: "test." nodefault
  module-config: "{modules}"
{options}
remote-control:
  control-enable: no
"""


def unbound_config(folder, port, options="", zones="", modules="iterator"):
    config = folder / f"unbound-{port}.conf"
    text = UNBOUND_BASE.format(port=port, folder=folder, options=options, modules=modules)
    config.write_text(text + zones)
    return ["/usr/sbin/unbound", "-d", "-c", config]


def recursor_command(folder):
    stub = f"stub-zone:\n  name: .\n  stub-addr: {KNOT[0]}@{KNOT[1]}\n"
    return unbound_config(folder, RECURSOR[1], "  qname-minimisation: no\n", stub)


def private_zones():
    return [name for zone in ALL for name in (zone.public, zone.private)]


def to_daemon():
    """Whatever a snippet does not forward: this machine has no other resolver."""
    return f"forward-zone:\n  name: .\n  forward-addr: {DAEMON[0]}@{DAEMON[1]}\n"


def unbound(folder, port, note, options=""):
    """By hand: stub zones, which our snippets do not make."""
    at = f"{DAEMON[0]}@{DAEMON[1]}"
    stubs = [f"stub-zone:\n  name: {zone}\n  stub-addr: {at}\n" for zone in private_zones()]
    command = unbound_config(folder, port, options, "".join(stubs) + to_daemon())
    return Asker(f"unbound ({note})", "unbound", ("127.0.0.1", port), command)


def unbound_snippet(folder, make, note, options="", anchors=None, text=None):
    """Debian's files: unbound.conf, and a folder of which it includes all."""
    text = text or make("unbound", *both_families())
    home = folder / f"unbound {note}".replace(" ", "-")
    snippets.save(text, home / "unbound.conf.d/privatelinkd.conf")
    modules = "iterator"
    if anchors:
        modules = "validator iterator"
        lines = [f'  trust-anchor: "{zone}. DNSKEY {key}"\n' for zone, key in anchors.items()]
        options += "".join(lines)
    # No do-not-query-localhost: the snippet brings it where it is needed.
    base = UNBOUND_BASE.replace("  do-not-query-localhost: no\n", "").replace(
        "  control-enable: no", "  control-enable: yes\n  control-interface: /run/unbound.ctl"
    )
    base = base.format(port=RESOLVER[1], folder=folder, options=options, modules=modules)
    include = 'include-toplevel: "/etc/unbound/unbound.conf.d/*.conf"\n'
    snippets.save(base + to_daemon() + include, home / "unbound.conf")
    machine.cover_folder("/etc/unbound", home)
    command = ["/usr/sbin/unbound", "-d"]
    name = f"unbound (snippet{note and ', '}{note})"
    return Asker(name, "unbound", RESOLVER, command, validates=bool(anchors), snippet=text)


def bind_options(home, port, validation, more=""):
    at = f"{{ {DAEMON[0]} port {DAEMON[1]}; }}"
    return (
        f'options {{ directory "{home}"; pid-file none; session-keyfile none;\n'
        f"  listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};\n"
        f"  dnssec-validation {validation}; recursion yes; empty-zones-enable no;\n"
        f"  forward only; forwarders {at};\n{more}}};\n"
    )


def bind(folder, port, note):
    """By hand: `forward first`, which our snippets warn of."""
    at = f"{{ {DAEMON[0]} port {DAEMON[1]}; }}"
    home = folder / f"bind-{port}"
    home.mkdir()
    config = home / "named.conf"
    zones = "".join(
        f'zone "{zone}" {{ type forward; forward first; forwarders {at}; }};\n'
        for zone in private_zones()
    )
    config.write_text(f"{bind_options(home, port, 'no')}controls {{ }};\n{zones}")
    command = ["/usr/sbin/named", "-g", "-n", "1", "-c", config]
    return Asker(f"bind ({note})", "bind9", ("127.0.0.1", port), command)


def bind_snippet(folder, make, note="", anchors=None, exceptions=True):
    """Debian's files: named.conf and rndc's key in /etc/bind."""
    text = make("bind", *both_families())
    home = folder / f"bind {note}".replace(" ", "-")
    snippets.save(text, home / "privatelinkd.conf")
    subprocess.run(
        ["/usr/sbin/rndc-confgen", "-a", "-c", home / "rndc.key"], check=True, timeout=10,
        capture_output=True,
    )
    # A filter, so that the text's word on it is tried too.
    zones = "".join(f' "{zone}";' for zone in [*private_zones(), "example.test"])
    more = f"  deny-answer-addresses {{ 10/8; fd00::/8; }} except-from {{{zones} }};\n"
    if anchors and exceptions:
        more += snippets.quoted(text, "validate-except {", "};")
    options = bind_options(home, RESOLVER[1], "yes" if anchors else "no", more)
    line = 'include "/etc/bind/privatelinkd.conf";'
    include = snippets.quoted(text, line, line)
    snippets.save(options + bind_anchors(anchors) + include, home / "named.conf")
    machine.cover_folder("/etc/bind", home)
    command = ["/usr/sbin/named", "-g", "-n", "1"]
    name = f"bind (snippet{note and ', '}{note})"
    return Asker(name, "bind9", RESOLVER, command, validates=bool(anchors), snippet=text)


def bind_anchors(anchors):
    if not anchors:
        return ""
    lines = ""
    for zone, key in anchors.items():
        flags, protocol, algorithm, octets = key.split(None, 3)
        octets = octets.replace(" ", "")
        lines += f' "{zone}" static-key {flags} {protocol} {algorithm} "{octets}";\n'
    return f"trust-anchors {{\n{lines}}};\n"


def dnsmasq_snippet(folder, make, dnssec=False):
    text = make("dnsmasq", *both_families())
    snippets.save(text, folder / "dnsmasq.d/privatelinkd.conf")
    config = folder / f"dnsmasq-{dnssec}.conf"
    # With the filter against rebinding, but for public names that lead into our zones.
    config.write_text(
        "user=root\ngroup=root\npid-file\nno-resolv\nno-hosts\nbind-interfaces\n"
        f"listen-address={RESOLVER[0]}\nport={RESOLVER[1]}\nlog-facility=-\n"
        f"server={DAEMON[0]}#{DAEMON[1]}\nstop-dns-rebind\nrebind-domain-ok=/example.test/\n"
        f"conf-dir={folder}/dnsmasq.d/,*.conf\n{DNSMASQ_DNSSEC if dnssec else ''}"
    )
    command = ["/usr/sbin/dnsmasq", "--keep-in-foreground", f"--conf-file={config}"]
    name = f"dnsmasq (snippet{', dnssec' if dnssec else ''})"
    return Asker(name, "dnsmasq-base", RESOLVER, command, snippet=text, ours_alone=dnssec)


def resolved_snippet(cache, folder, make, dnssec="no"):
    """systemd-resolved, unpacked and not installed; it reads /etc/systemd/resolved.conf."""
    text = make("systemd-resolved", *both_families())
    home = folder / f"resolved-{dnssec}"
    if dnssec == "yes":
        exceptions = snippets.quoted(text, DEFENDER.public, DATABASE.public)
        # As good as the folder in /etc, and this run's own.
        snippets.save(exceptions, "/run/dnssec-trust-anchors.d/privatelinkd.negative")
    snippets.save(text, home / "resolved.conf.d/privatelinkd.conf")
    snippets.save(
        f"[Resolve]\nFallbackDNS=\nDNSSEC={dnssec}\nDNSOverTLS=no\nLLMNR=no\nMulticastDNS=no\n"
        "ReadEtcHosts=no\n",
        home / "resolved.conf",
    )
    home.chmod(0o755)
    machine.cover_folder("/etc/systemd", home)
    env = {
        "SYSTEMD_LOG_LEVEL": "debug",
        "SYSTEMD_LOG_TARGET": "console",
        "LD_LIBRARY_PATH": str(machine.resolved_libraries(cache)),
    }
    command = [machine.resolved_binary(cache)]
    return Asker(
        f"systemd-resolved (snippet, DNSSEC={dnssec})", "systemd-resolved", ("127.0.0.53", 53),
        command, env, passes_authority=False, snippet=text, ours_alone=dnssec == "yes",
    )


def all_of(cache, folder, anchors, make):
    """Name of a package -> how to make the askers that need it. Made late: a package may lack."""
    minimal = "  qname-minimisation: yes\n  qname-minimisation-strict: yes\n"
    caps = "  use-caps-for-id: yes\n"
    guarded = (
        "  private-address: 10.0.0.0/8\n  private-address: fd00::/8\n"
        "  private-domain: example.test\n"
    )
    # These show that the parent's word on the zones, which the daemon passes on, is enough.
    honest = {zone: key for zone, key in anchors.items() if zone != MISTAKEN}

    def without_exceptions():
        text = make("unbound", *both_families())
        return "".join(line for line in text.splitlines(True) if "domain-insecure" not in line)

    return [
        ("unbound", lambda: unbound(folder, 5313, "stub")),
        ("unbound", lambda: unbound(folder, 5314, "stub, strict qmin", minimal)),
        ("unbound", lambda: unbound_snippet(folder, make, "")),
        ("unbound", lambda: unbound_snippet(folder, make, "caps", caps)),
        ("unbound", lambda: unbound_snippet(folder, make, "private-address", guarded)),
        ("unbound", lambda: unbound_snippet(folder, make, "validating", anchors=anchors)),
        (
            "unbound",
            lambda: unbound_snippet(
                folder, make, "validating all", anchors=honest, text=without_exceptions()
            ),
        ),
        ("bind9", lambda: bind(folder, 5322, "forward first")),
        ("bind9", lambda: bind_snippet(folder, make)),
        ("bind9", lambda: bind_snippet(folder, make, "validating", anchors)),
        ("bind9", lambda: bind_snippet(folder, make, "validating all", honest, False)),
        ("dnsmasq-base", lambda: dnsmasq_snippet(folder, make)),
        ("dnsmasq-base", lambda: dnsmasq_snippet(folder, make, True)),
        ("systemd-resolved", lambda: resolved_snippet(cache, folder, make)),
        ("systemd-resolved", lambda: resolved_snippet(cache, folder, make, "yes")),
    ]
