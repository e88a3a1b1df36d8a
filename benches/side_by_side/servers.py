"""The servers that are held side by side: for each its package, configuration and command.

Every one gets one thread that answers, no query log, and what its own manual says for speed. Knows
nothing of load and figures.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOOPBACK = "127.0.0.1"
UPSTREAM = (LOOPBACK, 5299)
FIRST_PORT = 5300

PUBLIC = "cloud.defender.microsoft.com"
PRIVATE = f"privatelink.{PUBLIC}"
PRIVATE_ADDRESS = "10.1.0.5"
UPSTREAM_ADDRESS = "198.51.100.7"
PRIVATE_NAMES = 1_000
# Room for everything that a run puts into a cache within a round, the same for all.
CACHE_MIB = 256

ALL_WORKS = frozenset({"private", "cached", "miss"})
PRIVATE_ONLY = frozenset({"private"})
# What an echo is the floor of: one datagram in, one out.
ONE_FOR_ONE = frozenset({"private", "cached"})


def private_names():
    return [f"h{number:04}.{PUBLIC}" for number in range(PRIVATE_NAMES)]


@dataclass(frozen=True)
class Place:
    """Where one server lives while it is measured."""

    folder: Path  # its own
    programs: Path  # where what the run compiled is
    port: int
    workers: int = 1

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return path


@dataclass(frozen=True)
class Server:
    """One program, how to start it, and what it can be measured at."""

    name: str
    program: str
    command: Callable[[Place], list]
    works: frozenset = ALL_WORKS
    package: str | None = None
    version: tuple = ()
    # work -> what the table says of its set-up or answers.
    notes: dict = field(default_factory=dict)
    # Whether it can answer a private name with the CNAME that keeps the label.
    has_chain: bool = True
    # It sends back what it got; there is no answer to verify.
    is_echo: bool = False


def zone_file(place, wildcard=True):
    """The two private zones as one: every name listed as CNAME, a wildcard holds the address.

    Without `wildcard` every target is listed too: Unbound follows a CNAME to listed names alone.
    """
    lines = [
        f"$ORIGIN {PUBLIC}.",
        "$TTL 60",
        f"@ SOA {PUBLIC}. nobody.invalid. 1 3600 600 86400 10",
        f"@ NS ns.{PUBLIC}.",
        f"ns A {PRIVATE_ADDRESS}",
    ]
    if wildcard:
        lines.append(f"*.privatelink A {PRIVATE_ADDRESS}")
    for name in private_names():
        label = name.split(".", 1)[0]
        lines.append(f"{label} CNAME {label}.privatelink")
        if not wildcard:
            lines.append(f"{label}.privatelink A {PRIVATE_ADDRESS}")
    return place.write("private.zone", "\n".join(lines) + "\n")


def echo(mode):
    return lambda place: [place.programs / "echo", LOOPBACK, place.port, mode]


def privatelinkd(binary):
    def command(place):
        config = place.write("privatelinkd.toml", f"""
[listen]
dns = ["{LOOPBACK}:{place.port}"]

[[private-link]]
service = "defender-for-containers"

[[private-link.endpoint]]
name      = "hub"
addresses = ["{PRIVATE_ADDRESS}"]

[[forward]]
zones     = ["."]
upstreams = ["{UPSTREAM[0]}:{UPSTREAM[1]}"]

[cache]
size = "{CACHE_MIB}MiB"

[log]
level = "warn"

[limits]
workers = {place.workers}
""")
        return [binary, "run", "--config", config]

    return command


def nsd(place):
    config = place.write("nsd.conf", f"""
server:
  server-count: 1
  ip-address: {LOOPBACK}@{place.port}
  username: ""
  database: ""
  zonesdir: "{place.folder}"
  pidfile: ""
  xfrdfile: "{place.folder}/xfrd.state"
  zonelistfile: "{place.folder}/zone.list"
  xfrdir: "{place.folder}"
  minimal-responses: yes
  # Debian builds the limiter in; its default answers 200 a second of one network.
  rrl-ratelimit: 0
remote-control:
  control-enable: no
zone:
  name: {PUBLIC}
  zonefile: {zone_file(place)}
""")
    return ["/usr/sbin/nsd", "-d", "-c", config]


def unbound(place):
    config = place.write("unbound.conf", f"""
server:
  interface: {LOOPBACK}
  port: {place.port}
  chroot: ""
  username: ""
  pidfile: ""
  directory: "{place.folder}"
  use-syslog: no
  num-threads: 1
  so-reuseport: yes
  so-rcvbuf: 4m
  so-sndbuf: 4m
  outgoing-range: 8192
  num-queries-per-thread: 4096
  msg-cache-size: {CACHE_MIB // 2}m
  rrset-cache-size: {CACHE_MIB}m
  msg-cache-slabs: 1
  rrset-cache-slabs: 1
  infra-cache-slabs: 1
  key-cache-slabs: 1
  minimal-responses: yes
  module-config: "iterator"
  do-not-query-localhost: no
auth-zone:
  name: {PUBLIC}
  zonefile: {zone_file(place, wildcard=False)}
  for-upstream: no
forward-zone:
  name: .
  forward-addr: {UPSTREAM[0]}@{UPSTREAM[1]}
remote-control:
  control-enable: no
""")
    return ["/usr/sbin/unbound", "-d", "-c", config]


def dnsdist(place):
    config = place.write("dnsdist.conf", f"""
setLocal("{LOOPBACK}:{place.port}", {{reusePort=true}})
-- recvmmsg; its default of one datagram a call costs a fifth more here.
setUDPMultipleMessagesVectorSize(64)
setACL("127.0.0.0/8")
setSecurityPollSuffix("")
newServer({{address="{UPSTREAM[0]}:{UPSTREAM[1]}"}})
getPool(""):setCache(newPacketCache(1000000, {{numberOfShards=1}}))
addAction("{PUBLIC}.", SpoofAction({{"{PRIVATE_ADDRESS}"}}, {{ttl=60}}))
""")
    return ["/usr/bin/dnsdist", "--supervised", "--disable-syslog", "-C", config]


def all_of(binary):
    """Every server that the run knows, in the order of its rounds."""
    return [
        Server("echo", "echo", echo("batched"), ONE_FOR_ONE, is_echo=True),
        Server("privatelinkd", str(binary), privatelinkd(binary), version=(binary, "--version")),
        Server("NSD", "/usr/sbin/nsd", nsd, PRIVATE_ONLY, "nsd", ("/usr/sbin/nsd", "-v")),
        Server(
            "Unbound", "/usr/sbin/unbound", unbound, package="unbound",
            version=("/usr/sbin/unbound", "-V"),
            notes={"private": "addresses listed: it follows no CNAME to a wildcard"},
        ),
        Server(
            "dnsdist", "/usr/bin/dnsdist", dnsdist, package="dnsdist",
            version=("/usr/bin/dnsdist", "--version"),
            notes={"private": "A alone: it cannot keep the label in a CNAME"}, has_chain=False,
        ),
    ]
