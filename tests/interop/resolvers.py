"""The daemon, and the resolvers that ask it, each with its configuration and command."""

from dataclasses import dataclass, field

import machine
from names import ALL, DATABASE, DEFENDER, VAULT
from upstream import KNOT, RECURSOR

# Two daemons: one before Knot alone, one before a recursor and on all addresses of the machine.
DAEMON = ("127.0.0.1", 5300)
DAEMON_V6 = ("::1", 5300)
DAEMON_53 = ("127.0.0.1", 53)
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


def unbound(folder, port, note, options="", stub=False, anchors=None):
    at = f"{DAEMON[0]}@{DAEMON[1]}"
    kind, addr = ("stub-zone", "stub-addr") if stub else ("forward-zone", "forward-addr")
    zones = "".join(f"{kind}:\n  name: {zone}\n  {addr}: {at}\n" for zone in private_zones())
    zones += f"forward-zone:\n  name: .\n  forward-addr: {at}\n"
    modules = "iterator"
    if anchors:
        modules = "validator iterator"
        lines = [f'  trust-anchor: "{zone}. DNSKEY {key}"\n' for zone, key in anchors.items()]
        options += "".join(lines)
    command = unbound_config(folder, port, options, zones, modules)
    server = ("127.0.0.1", port)
    return Asker(f"unbound ({note})", "unbound", server, command, validates=bool(anchors))


def bind(folder, port, note, policy, anchors=None):
    at = f"{{ {DAEMON[0]} port {DAEMON[1]}; }}"
    home = folder / f"bind-{port}"
    home.mkdir()
    config = home / "named.conf"
    zones = "".join(
        f'zone "{zone}" {{ type forward; forward {policy}; forwarders {at}; }};\n'
        for zone in private_zones()
    )
    validation = "yes" if anchors else "no"
    config.write_text(
        f'options {{ directory "{home}"; pid-file none; session-keyfile none;\n'
        f"  listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};\n"
        f"  dnssec-validation {validation}; recursion yes; empty-zones-enable no;\n"
        f"  forward only; forwarders {at}; }};\ncontrols {{ }};\n{bind_anchors(anchors)}{zones}"
    )
    command = ["/usr/sbin/named", "-g", "-n", "1", "-c", config]
    server = ("127.0.0.1", port)
    return Asker(f"bind ({note})", "bind9", server, command, validates=bool(anchors))


def bind_anchors(anchors):
    if not anchors:
        return ""
    lines = ""
    for zone, key in anchors.items():
        flags, protocol, algorithm, octets = key.split(None, 3)
        octets = octets.replace(" ", "")
        lines += f' "{zone}" static-key {flags} {protocol} {algorithm} "{octets}";\n'
    return f"trust-anchors {{\n{lines}}};\n"


def dnsmasq(port):
    at = f"{DAEMON[0]}#{DAEMON[1]}"
    command = [
        "/usr/sbin/dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root",
        "--group=root", "--pid-file", "--no-resolv", "--no-hosts", "--bind-interfaces",
        "--listen-address=127.0.0.1", f"--port={port}", "--log-facility=-", f"--server={at}",
        *(f"--server=/{zone}/{at}" for zone in private_zones()),
    ]
    return Asker("dnsmasq", "dnsmasq-base", ("127.0.0.1", port), command)


def resolved(cache, folder, port):
    """systemd-resolved, unpacked and not installed; it reads /etc/systemd/resolved.conf."""
    routes = " ".join(f"~{zone}" for zone in private_zones())
    home = folder / "resolved"
    home.mkdir()
    (home / "resolved.conf").write_text(
        f"[Resolve]\nDNS={DAEMON[0]}:{DAEMON[1]}\nFallbackDNS=\nDomains={routes} ~.\n"
        "DNSSEC=no\nDNSOverTLS=no\nLLMNR=no\nMulticastDNS=no\nReadEtcHosts=no\n"
        f"DNSStubListenerExtra=127.0.0.1:{port}\n"
    )
    home.chmod(0o755)
    machine.cover_folder("/etc/systemd", home)
    env = {
        "SYSTEMD_LOG_LEVEL": "debug",
        "SYSTEMD_LOG_TARGET": "console",
        "LD_LIBRARY_PATH": str(machine.resolved_libraries(cache)),
    }
    command = [machine.resolved_binary(cache)]
    server = ("127.0.0.1", port)
    return Asker(
        "systemd-resolved", "systemd-resolved", server, command, env, passes_authority=False
    )


def all_of(cache, folder, anchors):
    """Name of a package -> how to make the askers that need it. Made late: a package may lack."""
    minimal = "  qname-minimisation: yes\n  qname-minimisation-strict: yes\n"
    guarded = "".join(
        ["  private-address: 10.0.0.0/8\n  private-address: fd00::/8\n"]
        + [f"  private-domain: {zone}\n" for zone in [*private_zones(), "example.test"]]
    )
    return [
        ("unbound", lambda: unbound(folder, 5311, "forward")),
        ("unbound", lambda: unbound(folder, 5312, "caps", "  use-caps-for-id: yes\n")),
        ("unbound", lambda: unbound(folder, 5313, "stub", stub=True)),
        ("unbound", lambda: unbound(folder, 5314, "stub, strict qmin", minimal, stub=True)),
        ("unbound", lambda: unbound(folder, 5315, "private-domain", guarded)),
        ("unbound", lambda: unbound(folder, 5316, "validating", anchors=anchors)),
        ("bind9", lambda: bind(folder, 5321, "forward only", "only")),
        ("bind9", lambda: bind(folder, 5322, "forward first", "first")),
        ("bind9", lambda: bind(folder, 5323, "validating", "only", anchors)),
        ("dnsmasq-base", lambda: dnsmasq(5331)),
        ("systemd-resolved", lambda: resolved(cache, folder, 5341)),
    ]
