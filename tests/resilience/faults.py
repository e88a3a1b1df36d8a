"""The faults: what is broken and when, what is asked meanwhile, and what must hold.

Every trial begins with BEGINS seconds of health, which bring names into caches and give the healthy
round trip that waits are held against.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import statuses
from rivals import HTTPS, PLAIN, TCP, TLS
from world import DELAY_MS

BEGINS = 3.0
# What a server may take to notice (the words: "after the first 5 s").
NOTICED_SECONDS = 5.0
ENDS = 15.0
LOST_SHARE = 0.3
SLOW_MS = 800
FLAP_SECONDS = 3
# Reordering: a packet takes up to this much longer than the one before it.
JITTER_MS = 60
# Of names that all clients ask: long-lived, and such that expire within every trial.
HOT_TTL, SHORT_TTL = 300, 5


@dataclass(frozen=True)
class Kind:
    """One kind of question, asked at a steady rate."""

    a_second: int
    names: int | None = None  # asked in turn; None: each is new
    ttl: int = 60


NEW, BURST, HOT, SHORT, AGED, PRIVATE, ECHO = (
    "new", "burst", "hot", "short", "aged", "private", "echo"
)
# Questions of a burst: as many as Azure lets a VM have pending.
AT_ONCE = 200
KINDS = {
    NEW: Kind(100),
    # New ones too, AT_ONCE at a time.
    BURST: Kind(100),
    HOT: Kind(50, 50, HOT_TTL),
    SHORT: Kind(50, 20, SHORT_TTL),
    # Asked once while all is well, and once long after they expired.
    AGED: Kind(80, ttl=SHORT_TTL),
    PRIVATE: Kind(50, 50),
    # Of a program beside the server that only sends back: what the machine itself delays.
    ECHO: Kind(50),
}
# Names that no cache has.
UNSEEN = (NEW, BURST)
# Names that the server has had an answer for: a fault of the upstreams need not be seen in them.
SEEN = (HOT, SHORT, AGED)
USUAL = (NEW, HOT, SHORT)
REVISITING = (HOT, SHORT, AGED)


@dataclass(frozen=True)
class Step:
    at: float
    act: Callable  # of the trial


@dataclass(frozen=True)
class Fault:
    name: str
    says: str
    steps: list = field(default_factory=list)
    lasts: float = ENDS
    # When everything is well again, seconds from the start; None: never.
    back: float | None = None
    kinds: tuple = USUAL
    transport: str = PLAIN
    # The upstreams' HTTPS is `web_end`, which fails as told.
    is_web: bool = False
    # The upstreams are named by host.
    names_hosts: bool = False
    # What is so before the server starts. Then queries come at once, to a server without connections.
    before: Callable | None = None  # of the world
    # Nothing is asked in this span.
    quiet: tuple = (0.0, 0.0)
    keeps_cache: bool = False
    # Bars of this fault, by name; those that hold everywhere stand in `verdicts`.
    bars: tuple = ()
    # Its bars hold with a wide margin on a busy machine.
    is_quick: bool = False


def on(act):
    """A step on the network."""
    return lambda trial: act(trial.world)


def first_drops(world):
    world.drop(world.a)


def second_drops(world):
    world.drop(world.b)


def all_drop(world):
    world.drop(*world.both)


def all_return(world):
    world.restore(*world.both)


def outage(until):
    """Both upstreams fall silent, and are back at `until`."""
    return [Step(BEGINS, on(all_drop)), Step(until, on(all_return))]


def flaps(addresses, until):
    """Away for FLAP_SECONDS, back for as long, again and again."""
    steps, at = [], BEGINS
    while at < until:
        steps.append(Step(at, on(lambda world: world.drop(*addresses(world)))))
        steps.append(Step(at + FLAP_SECONDS, on(lambda world: world.restore(*addresses(world)))))
        at += 2 * FLAP_SECONDS
    return steps


def lines_of(addresses, **values):
    delay_ms = values.pop("delay_ms", DELAY_MS)
    return [Step(BEGINS, on(lambda world: world.line(delay_ms, addresses(world), **values)))]


def lying(mode, addresses):
    return [Step(BEGINS, on(lambda world: world.upstream(mode, *addresses(world))))]


def first(world):
    return (world.a,)


def both(world):
    return world.both


def new_address(world):
    world.address(world.later)
    world.route()


def refusing_and_dead():
    return [
        Step(BEGINS, on(lambda world: world.upstream("refused", world.a))),
        Step(BEGINS, on(second_drops)),
    ]


HOSTS = {
    "aaaa-silent": "no question for an IPv6 address is answered",
    "aaaa-late": "that they have no IPv6 address is said 0.8 s late",
    "a-late": "their IPv4 addresses are said 0.8 s late",
}


def hosts():
    return [
        Fault(
            f"host-{mode}", f"the upstreams are named by host; {says}",
            before=lambda world, mode=mode: world.upstream(mode, world.hosts),
            names_hosts=True, transport=TCP, lasts=10,
            bars=(NONE_LOST, SAYS_SO, LOSES_NO_MORE, WAITS_NO_LONGER),
            is_quick=mode == "aaaa-silent",
        )
        for mode, says in HOSTS.items()
    ]


def drop_udp(world):
    world.drop(*world.both, of="meta l4proto udp")


# Bars that some faults have.
NONE_LOST, UNNOTICED, ANSWERS_SEEN, RECOVERS, SAYS_SO, MARKED, FEW_LOST = (
    "none lost", "unnoticed", "answers seen", "recovers", "says so", "marked", "few lost"
)
# Beside the better of the peers in the same run.
LOSES_NO_MORE, WAITS_NO_LONGER = "loses no more", "waits no longer"
# The second upstream is good, and nobody needs the first.
LEFT_ONE = (NONE_LOST, UNNOTICED)
COMES_BACK = (SAYS_SO, ANSWERS_SEEN, RECOVERS)


def silence():
    return [
        Fault("healthy", "nothing is broken", bars=(NONE_LOST,), lasts=10, is_quick=True),
        Fault(
            "black-hole-first", "the first upstream is silent: its packets are dropped",
            [Step(BEGINS, on(first_drops))], bars=LEFT_ONE, is_quick=True,
        ),
        Fault(
            "black-hole-turns",
            "the first upstream is silent from 3 s to 8 s, the second from 13 s on",
            [Step(BEGINS, on(first_drops)), Step(8, on(all_return)), Step(13, on(second_drops))],
            lasts=20, bars=LEFT_ONE,
        ),
        Fault(
            "black-hole-all", "both upstreams are silent for 10 s",
            outage(13), back=13, lasts=20, bars=COMES_BACK, is_quick=True,
        ),
        Fault(
            "black-hole-minute",
            "both upstreams are silent for a minute: what waits longer from try to try must not "
            "wait too long",
            outage(63), back=63, lasts=78, bars=COMES_BACK,
        ),
        Fault(
            "all-gone",
            "both upstreams stay silent; names that were asked once, and have expired, are asked "
            "again",
            [Step(BEGINS, on(all_drop))], kinds=REVISITING, lasts=18,
            bars=(ANSWERS_SEEN, MARKED), is_quick=True,
        ),
        Fault(
            "restart", "both upstreams stay silent and the server is restarted",
            [Step(BEGINS, on(all_drop)), Step(BEGINS, lambda trial: trial.restart())],
            kinds=REVISITING, quiet=(BEGINS, BEGINS + 2), keeps_cache=True,
            bars=(ANSWERS_SEEN, MARKED),
        ),
        Fault(
            "closed-first", "the first upstream's ports are closed: ICMP unreachable, RST",
            lying("closed", first), bars=LEFT_ONE, is_quick=True,
        ),
        Fault(
            "refusing-and-dead", "the first upstream refuses every query, the second is silent",
            refusing_and_dead(), kinds=(NEW,), bars=(SAYS_SO, UNNOTICED, WAITS_NO_LONGER),
            is_quick=True,
        ),
        Fault(
            "flapping-first", f"the first upstream goes and comes every {FLAP_SECONDS} s",
            flaps(first, 18), lasts=21, bars=(NONE_LOST,),
        ),
        Fault(
            "flapping-all", f"both upstreams go and come every {FLAP_SECONDS} s",
            flaps(both, 18), lasts=24, back=18, bars=COMES_BACK,
        ),
    ]


def bad_lines():
    slow = (SLOW_MS - 2 * DELAY_MS) / 2
    return [
        Fault(
            "loss-first", "30 % of the first upstream's packets are lost, each way",
            lines_of(first, loss=LOST_SHARE), bars=(NONE_LOST,),
        ),
        Fault(
            "loss-all", "30 % of both upstreams' packets are lost, each way",
            lines_of(both, loss=LOST_SHARE),
        ),
        Fault(
            "slow-first", f"the first upstream answers after {SLOW_MS} ms",
            lines_of(first, delay_ms=slow), bars=(NONE_LOST,),
        ),
        Fault(
            "slow-all", f"both upstreams answer after {SLOW_MS} ms",
            lines_of(both, delay_ms=slow), bars=(NONE_LOST,),
        ),
        Fault(
            "reordering", f"packets overtake each other, by up to {JITTER_MS} ms",
            lines_of(both, jitter_ms=JITTER_MS), bars=(NONE_LOST,),
        ),
    ]


def tunnel():
    return [
        Fault(
            "link-down", "the tunnel's device is down for 5 s",
            [Step(BEGINS, on(lambda world: world.link("down"))),
             Step(8, on(lambda world: world.link("up")))],
            back=8, lasts=16, bars=COMES_BACK,
        ),
        Fault(
            "address-change", "the tunnel's address goes; a second later it has another",
            [Step(BEGINS, on(lambda world: world.address(None))),
             Step(BEGINS + 1, on(new_address))],
            back=BEGINS + 1, lasts=13, bars=COMES_BACK, is_quick=True,
        ),
        Fault(
            "black-hole-route", "black-hole routes to both upstreams for 5 s",
            [Step(BEGINS, on(lambda world: world.black_hole_routes("add", *world.both))),
             Step(8, on(lambda world: world.black_hole_routes("delete", *world.both)))],
            back=8, lasts=16, bars=COMES_BACK,
        ),
    ]


def transports():
    found = [
        Fault(
            "udp-dropped",
            "all UDP to both upstreams is dropped, TCP goes through; the servers are configured "
            "for UDP",
            [Step(BEGINS, on(drop_udp))], bars=(SAYS_SO, ANSWERS_SEEN),
        ),
        Fault(
            "64k", "every answer is 64 KiB, over TCP", lying("64k", both), bars=(NONE_LOST,),
        ),
        Fault(
            "tcp-black-hole-first",
            "configured for TCP alone, UDP is dropped; the first upstream falls silent under open "
            "connections",
            [Step(0, on(drop_udp)), Step(BEGINS, on(first_drops))], transport=TCP, bars=LEFT_ONE,
        ),
    ]
    found += [
        Fault(
            f"closes-{queries}",
            f"configured for TCP alone; both upstreams close each connection after "
            f"{'one query' if queries == 1 else f'{queries} queries'}; {AT_ONCE} questions come at "
            "a time",
            [Step(0, on(lambda world, mode=f"takes-{queries}": world.upstream(mode, *world.both)))],
            kinds=(BURST,), transport=TCP, bars=(NONE_LOST, LOSES_NO_MORE),
        )
        for queries in (1, 10, 100)
    ]
    for transport, called in ((TLS, "DNS over TLS"), (HTTPS, "DNS over HTTPS")):
        found += [
            Fault(
                f"{transport}-black-hole-first",
                f"{called}; the first upstream falls silent under open connections",
                [Step(BEGINS, on(first_drops))], transport=transport, bars=LEFT_ONE,
            ),
            Fault(
                f"{transport}-black-hole-all",
                f"{called}; both upstreams are silent for 10 s under open connections",
                outage(13), transport=transport, back=13, lasts=20, bars=COMES_BACK,
            ),
        ]
    found.append(Fault(
        "tls-garbage-first", "DNS over TLS; the first upstream speaks no TLS any more",
        lying("garbage", first), transport=TLS, bars=LEFT_ONE,
    ))
    return found


LIES = {
    "wrong-id": "answers with another identity",
    "wrong-question": "answers another question",
    "tc-loop": "says truncated over UDP and over TCP",
    "tc-close": "says truncated, then closes TCP",
    "tc-rst": "says truncated, then resets TCP",
    "tc-half-length": "says truncated, then sends half a TCP length",
    "tc-short": "says truncated, then sends half a message over TCP",
    "garbage": "answers with octets that are no DNS",
    "servfail": "answers SERVFAIL",
    "refused": "answers REFUSED",
}


def first_lies():
    return [
        Fault(
            f"{mode}-first", f"the first upstream {says}", lying(mode, first), lasts=12,
            bars=(NONE_LOST,), is_quick=mode == "tc-loop",
        )
        for mode, says in LIES.items()
    ]


def all_lie():
    return [
        Fault(
            f"{mode}-all", f"every upstream {says}", lying(mode, both), lasts=10,
            bars=(SAYS_SO, ANSWERS_SEEN), is_quick=mode == "wrong-id",
        )
        for mode, says in LIES.items()
    ]


def attacks():
    def attack(name):
        return [Step(BEGINS, on(lambda world: world.attack(name)))]

    return [
        Fault(
            "attack-silent",
            "one client asks for 5,000 new names a second of a zone that no upstream answers",
            attack("silent"), bars=(FEW_LOST,), is_quick=True,
        ),
        Fault(
            "attack-endless",
            "one client asks for 200 names a second whose CNAME leads to itself",
            attack("endless"), bars=(NONE_LOST,), is_quick=True,
        ),
        Fault(
            "attack-churn", "one client opens and closes TCP connections, one after the other",
            attack("churn"), bars=(NONE_LOST,),
        ),
        Fault(
            "attack-half",
            "one client holds 2,000 TCP connections, each with one octet of a query",
            attack("half"), bars=(NONE_LOST,),
        ),
    ]


GROUPS = {
    "Upstreams that are silent": silence(),
    "Lines that are slow and lossy": bad_lines(),
    "Upstreams that are named by host": hosts(),
    "The tunnel": tunnel(),
    "TCP, TLS and HTTPS": transports(),
    "HTTPS with statuses, the second upstream is good": statuses.rows(
        Fault, Step, BEGINS, LEFT_ONE
    ),
    "The first upstream lies, the second is good": first_lies(),
    "Every upstream lies": all_lie(),
    "A hostile client": attacks(),
}
ALL = {fault.name: fault for group in GROUPS.values() for fault in group}
