"""The upstreams and the servers that forward to them: command lines and configurations.

Each forwards everything, with a cache, and validates nothing, as privatelinkd does by default.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from names import PRIVATE_ADDRESS

OURS = "privatelinkd"
PORT = 5353


@dataclass(frozen=True)
class Place:
    """Where one server runs, and the upstream that it asks."""

    folder: Path
    address: str
    upstream: str
    upstream_port: int

    def write(self, name, text):
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / name
        path.write_text(text)
        return path


@dataclass(frozen=True)
class Server:
    name: str
    package: str | None
    program: str
    command: Callable[[Place], list]
    version: tuple


def privatelinkd(binary):
    def command(place):
        config = place.write("privatelinkd.toml", f"""
[listen]
dns = ["{place.address}:{PORT}"]

[[private-link]]
service = "sql"

[[private-link.endpoint]]
name  = "hub"
names = {{ "mine" = ["{PRIVATE_ADDRESS}"] }}

[[forward]]
zones     = ["."]
upstreams = ["{place.upstream}:{place.upstream_port}"]
""")
        return [binary, "run", "--config", config]

    return command


UNBOUND_CONF = """
server:
  interface: {address}
  port: {port}
  access-control: 127.0.0.0/8 allow_snoop
  chroot: ""
  username: ""
  pidfile: ""
  directory: "{folder}"
  use-syslog: no
  num-threads: 1
  do-not-query-localhost: no
  local-zone: "test." nodefault
  module-config: "iterator"
  qname-minimisation: no
remote-control:
  control-enable: no
{zone}-zone:
  name: .
  {zone}-addr: {upstream}@{upstream_port}
"""


def unbound(zone):
    """`zone` is "forward" to ask a resolver, "stub" to ask a server that is authoritative."""
    def command(place):
        text = UNBOUND_CONF.format(
            address=place.address, port=PORT, folder=place.folder, zone=zone,
            upstream=place.upstream, upstream_port=place.upstream_port,
        )
        return ["/usr/sbin/unbound", "-d", "-c", place.write("unbound.conf", text)]

    return command


def bind(place):
    config = place.write("named.conf", f"""
options {{
  directory "{place.folder}";
  pid-file none;
  session-keyfile none;
  listen-on port {PORT} {{ {place.address}; }};
  listen-on-v6 {{ none; }};
  allow-query {{ any; }};
  forward only;
  forwarders port {place.upstream_port} {{ {place.upstream}; }};
  dnssec-validation no;
  empty-zones-enable no;
}};
controls {{ }};
""")
    return ["/usr/sbin/named", "-g", "-n", "1", "-c", config]


def dnsdist(place):
    config = place.write("dnsdist.conf", f"""
setLocal("{place.address}:{PORT}")
setACL("0.0.0.0/0")
setSecurityPollSuffix("")
newServer({{address="{place.upstream}:{place.upstream_port}", healthCheckMode="up"}})
getPool(""):setCache(newPacketCache(100000, {{maxTTL=86400}}))
""")
    return ["/usr/bin/dnsdist", "--supervised", "--disable-syslog", "-C", config]


def recursor(place):
    place.write("recursor.conf", f"""
local-address={place.address}
local-port={PORT}
socket-dir={place.folder}
forward-zones-recurse=.={place.upstream}:{place.upstream_port}
dont-query=
dnssec=process-no-validate
daemon=no
write-pid=no
security-poll-suffix=
""")
    return ["/usr/sbin/pdns_recursor", f"--config-dir={place.folder}"]


def knot(folder, address, port, zones, signed):
    """Writes the zones and gives Knot's command."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = ""
    for origin, lines in zones.items():
        dotted = "." if origin == "." else f"{origin}."
        file = f"{'root' if origin == '.' else origin}.zone"
        head = ["$TTL 3600", "@ SOA ns.names.test. host.names.test. 1 3600 300 2419200 300",
                "@ NS ns.names.test."]
        (folder / file).write_text("\n".join([f"$ORIGIN {dotted}", *head, *lines, ""]))
        signing = "on" if origin in signed else "off"
        entries += f'  - domain: "{dotted}"\n    file: {file}\n    dnssec-signing: {signing}\n'
    config = folder / "knot.conf"
    config.write_text(
        f"server:\n    rundir: {folder}\n    listen: {address}@{port}\n"
        "    udp-workers: 1\n    tcp-workers: 1\n    background-workers: 1\n"
        f"log:\n  - target: stderr\n    any: warning\ndatabase:\n    storage: {folder}\n"
        f"template:\n  - id: default\n    storage: {folder}\n    zonefile-sync: -1\n"
        f"    zonefile-load: difference-no-serial\n    journal-content: all\nzone:\n{entries}"
    )
    return ["/usr/sbin/knotd", "-c", config]


UNBOUND = Server(
    "Unbound", "unbound", "/usr/sbin/unbound", unbound("stub"), ("unbound", "-V")
)
RECURSOR = Server(
    "PowerDNS Recursor", "pdns-recursor", "/usr/sbin/pdns_recursor", recursor,
    ("pdns_recursor", "--version"),
)
KNOT = Server("Knot DNS", "knot", "/usr/sbin/knotd", None, ("knotd", "--version"))
# What stands behind the servers under test; Knot stands behind the resolvers in turn.
UPSTREAMS = [KNOT, UNBOUND, RECURSOR]


def under_test(binary, upstream):
    """The servers that are compared over one kind of upstream."""
    zone = "stub" if upstream is KNOT else "forward"
    return [
        Server(OURS, None, str(binary), privatelinkd(binary), (str(binary), "--version")),
        Server("Unbound", "unbound", "/usr/sbin/unbound", unbound(zone), ("unbound", "-V")),
        Server("BIND", "bind9", "/usr/sbin/named", bind, ("named", "-v")),
        Server("dnsdist", "dnsdist", "/usr/bin/dnsdist", dnsdist, ("dnsdist", "--version")),
    ]
