"""The programs that are held side by side: what each is, what it can be measured at, how it starts.

Knows nothing of load and figures; the peers' configurations stand in `peers`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import facts
import peers
from facts import PRIVATE_ADDRESS, UPSTREAM

HERE = Path(__file__).resolve().parent
FIRST_PORT = 5300
# Room for everything that a run puts into a cache within a round, the same for all.
CACHE_MIB = 256

EVERYTHING = frozenset({"private", "cached", "miss"})
PRIVATE_ONLY = frozenset({"private"})
# What an echo is the floor of: one datagram in, one out.
ONE_FOR_ONE = frozenset({"private", "cached"})

OURS, ECHO = "privatelinkd", "echo"
# Another build of the daemon, for what a change costs.
OTHER_BUILD = "privatelinkd, other build"
PLAIN_ECHO, TWO_WORKERS = "plain echo", "privatelinkd, 2 workers"
DNSDIST_PLAIN = "dnsdist, unbatched"


@dataclass(frozen=True)
class Place:
    """Where one server lives while it is measured."""

    folder: Path  # its own
    programs: Path  # where what the run compiled is
    address: str
    port: int
    cache_mib: int = CACHE_MIB

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
    answers: frozenset = EVERYTHING  # kinds of questions
    package: str | None = None
    version: tuple = ()
    # kind of question -> what the table says of its set-up or answers.
    notes: dict = field(default_factory=dict)
    # Whether it can answer a private name with the CNAME that keeps the label.
    has_chain: bool = True
    # It sends back what it got over UDP; there is no answer to verify.
    is_echo: bool = False
    # Works that it is measured at; None: all that ask what it answers.
    only_at: frozenset | None = None
    cpus: str = "0"


def echo(mode):
    return lambda place: [place.programs / "echo", place.address, place.port, mode]


def privatelinkd(binary, workers=1):
    def command(place):
        config = place.write("privatelinkd.toml", f"""
[listen]
dns = ["{place.address}:{place.port}"]

[[private-link]]
service = "defender-for-containers"

[[private-link.endpoint]]
name      = "hub"
addresses = ["{PRIVATE_ADDRESS}"]

[[forward]]
zones     = ["."]
upstreams = ["{UPSTREAM[0]}:{UPSTREAM[1]}"]

[cache]
size = "{place.cache_mib}MiB"

[log]
level = "warn"

[limits]
workers = {workers}
""")
        return [binary, "run", "--config", config]

    return command


LISTED = {"private": "addresses listed: it follows no CNAME to a wildcard"}
BARE = {"private": "A alone: it cannot keep the label in a CNAME"}


def all_of(binary, hickory=None, other_build=None):
    """Returns every server that the run knows, in the order of its rounds.

    `hickory` is the program of hickory-dns and `other_build` another privatelinkd; None leaves one
    out.
    """
    ours = (binary, "--version")
    known = [
        Server(ECHO, "echo", echo("batched"), ONE_FOR_ONE, is_echo=True),
        Server(
            PLAIN_ECHO, "echo", echo("plain"), ONE_FOR_ONE, is_echo=True,
            only_at=frozenset({"overload-private", "overload-cached"}),
        ),
        Server(OURS, str(binary), privatelinkd(binary), version=ours),
        Server(
            TWO_WORKERS, str(binary), privatelinkd(binary, workers=2), version=ours,
            only_at=frozenset({"scale-private", "scale-cached"}), cpus="0,1",
        ),
        Server("NSD", "/usr/sbin/nsd", peers.nsd, PRIVATE_ONLY, "nsd", ("nsd", "-v")),
        Server("Knot", "/usr/sbin/knotd", peers.knot, PRIVATE_ONLY, "knot", ("knotd", "-V")),
        Server(
            "Unbound", "/usr/sbin/unbound", peers.unbound, package="unbound",
            version=("unbound", "-V"), notes=LISTED,
        ),
        Server(
            "dnsdist", "/usr/bin/dnsdist", peers.dnsdist, package="dnsdist",
            version=("dnsdist", "--version"), notes=BARE, has_chain=False,
        ),
        Server(
            DNSDIST_PLAIN, "/usr/bin/dnsdist", lambda place: peers.dnsdist(place, batch=1),
            notes=BARE, has_chain=False, only_at=frozenset({"private", "cached", "miss"}),
            version=("dnsdist", "--version"),
        ),
        Server(
            "Recursor", "/usr/sbin/pdns_recursor", peers.recursor, package="pdns-recursor",
            version=("pdns_recursor", "--version"),
        ),
        Server(
            "Knot Resolver", "/usr/sbin/kresd", peers.kresd, package="knot-resolver",
            version=("kresd", "-V"), notes=BARE, has_chain=False,
        ),
        Server("BIND", "/usr/sbin/named", peers.bind, package="bind9", version=("named", "-v")),
        Server(
            "dnsmasq", "/usr/sbin/dnsmasq", peers.dnsmasq, package="dnsmasq-base",
            version=("dnsmasq", "-v"), notes=BARE, has_chain=False,
        ),
    ]
    if other_build:
        known.append(Server(
            OTHER_BUILD, str(other_build), privatelinkd(other_build),
            version=(other_build, "--version"),
        ))
    if hickory:
        known.append(Server(
            "hickory-dns", str(hickory), lambda place: peers.hickory(place, hickory),
            version=(hickory, "--version"),
        ))
    return known
