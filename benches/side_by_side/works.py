"""The works: what is asked, how, where, and of whom. How it is done stands in `turns`."""

from dataclasses import dataclass

import servers
import turns
from load import IN_FLIGHT
from network import ON_LOOPBACK, OVER_LINK, Network

SMALL_IN_FLIGHT = 10
# About twice what the fastest server answers on one core with all of the kernel's work on it.
OVERLOAD_RATE = 300_000
# More misses than any server here resolves, fewer than a core takes off the wire.
FLOOD_RATE = 100_000
TCP_CONNECTIONS = 8
# About half of what the slowest peer (dnsmasq) answers a second.
LATENCY_RATE = 15_000
SMALL_CACHE_MIB = 64


@dataclass(frozen=True)
class Work:
    """One thing that is measured."""

    name: str
    kind: str  # of questions: private, cached, miss, mix
    turn: callable  # measures one server in one round
    says: str  # what the reader is told of it
    network: Network = ON_LOOPBACK
    in_flight: int = IN_FLIGHT
    rate: int | None = None  # queries a second that are offered
    connections: int | None = None  # of TCP; None: UDP
    load_cpus: str = "1"
    # Every turn with a new process: what one leaves undone must not take the next one's core.
    # hickory-dns works for half a minute on what two seconds of overload pile up.
    fresh: bool = False
    upstream: str = "answering"
    cache_mib: int = servers.CACHE_MIB
    only: frozenset | None = None  # servers
    rounds: int | None = None  # where one is enough

    @property
    def kinds(self):
        """Kinds of questions that a server must know how to answer."""
        flood = {"miss"} if self.turn is turns.flooded else set()
        return ({"private", "cached", "miss"} if self.kind == "mix" else {self.kind}) | flood

    def suits(self, server):
        if self.only and server.name not in self.only:
            return False
        if server.only_at is not None and self.name not in server.only_at:
            return False
        return self.kinds <= server.answers and not (self.connections and server.is_echo)


OPEN = {"turn": turns.overloaded, "network": OVER_LINK, "rate": OVERLOAD_RATE, "fresh": True}
TCP = {"turn": turns.closed_loop, "connections": TCP_CONNECTIONS}
# Enough to keep two workers busy, so that the size of batches is no difference between one and two.
SCALE_RATE = 500_000
SCALED = {
    "turn": turns.overloaded, "network": OVER_LINK, "rate": SCALE_RATE,
    "only": frozenset({servers.OURS, servers.TWO_WORKERS}),
}
MIXED = {"turn": turns.flooded, "network": OVER_LINK, "rate": FLOOD_RATE, "fresh": True}
STEADY = {"turn": turns.steady, "rate": LATENCY_RATE}

ALL = {work.name: work for work in [
    Work("private", "private", turns.closed_loop, "private names over UDP"),
    Work("cached", "cached", turns.closed_loop, "cached names over UDP"),
    Work("miss", "miss", turns.closed_loop, "names asked once, UDP upstream"),
    Work("miss-small", "miss", turns.closed_loop, f"{SMALL_IN_FLIGHT} queries in flight",
         in_flight=SMALL_IN_FLIGHT),
    Work("miss-single", "miss", turns.closed_loop, "one query in flight", in_flight=1),
    Work("private-small", "private", turns.closed_loop, f"{SMALL_IN_FLIGHT} queries in flight",
         in_flight=SMALL_IN_FLIGHT),
    Work("cached-small", "cached", turns.closed_loop, f"{SMALL_IN_FLIGHT} queries in flight",
         in_flight=SMALL_IN_FLIGHT),
    Work("mix", "mix", turns.closed_loop,
         "cached names by popularity, 10 % private (A, AAAA, HTTPS), 5 % asked once"),
    Work("tcp-private", "private", says="private names, pipelined TCP", **TCP),
    Work("tcp-cached", "cached", says="cached names, pipelined TCP", **TCP),
    Work("overload-private", "private", says="300,000 private names a second offered", **OPEN),
    Work("overload-cached", "cached", says="300,000 cached names a second offered", **OPEN),
    Work("overload-mix-silent", "private", upstream="silent", **MIXED,
         says="private names beside 100,000 misses a second, upstream silent"),
    Work("overload-mix-answering", "private", **MIXED,
         says="private names beside 100,000 misses a second, upstream answers"),
    Work("latency-private", "private", says="private names, 15,000 a second", **STEADY),
    Work("latency-cached", "cached", says="cached names, 15,000 a second", **STEADY),
    Work("scale-private", "private",
         says="500,000 private names a second offered to one and to two workers", **SCALED),
    Work("scale-cached", "cached",
         says="500,000 cached names a second offered to one and to two workers", **SCALED),
    Work("memory", "miss", turns.filled, "resident memory of a cache of 64 MiB", rounds=1,
         fresh=True, cache_mib=SMALL_CACHE_MIB, only=frozenset({servers.OURS, "Unbound"})),
]}
