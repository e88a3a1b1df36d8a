"""One server's turn at a work: how it is loaded, and the figures that come of it.

Every turn takes a `Running` (server, address, process, questions) and gives a dictionary of
figures; their units stand in their names, `rate` is answers a second.
"""

from dataclasses import dataclass
from time import sleep

import load
import machine
import processes
import servers

LOAD_CPU = 1
WARM_UP_SECONDS = 0.3
# Warming asks every cached name this often; the second pass shows that nothing is missing.
WARM_PASSES = 2
WARM_RATE = 20_000
# Beside a flood: how fast the private names are asked. Few enough to be no load themselves.
BESIDE_RATE = 2_000
# The flood starts before the queries that are watched, and ends after the last of them.
FLOOD_LEAD_SECONDS = 0.5
FLOOD_TAIL_SECONDS = 0.5
# Of the memory turn: distinct names that are weighed, which fit into 64 MiB at 800 octets each, and
# that overfill.
WEIGHED_NAMES, OVERFILL_NAMES = 80_000, 1_000_000


@dataclass(frozen=True)
class Running:
    """A server under way, and what it is to be asked."""

    server: servers.Server
    at: tuple  # address, port
    pid: int
    questions: object  # path; for a flood the misses' stand in `flood`
    flood: object = None
    folder: object = None  # for question files of a turn's own
    idle_mib: float = 0.0


class Meter:
    """The server's CPU time since it was made."""

    def __init__(self, pid):
        self.pid = pid
        self.before = processes.cpu_seconds(pid)

    def figures(self, seen):
        """CPU for each answered query, rate, losses, memory."""
        used = processes.cpu_seconds(self.pid) - self.before
        if not seen.answered:
            raise machine.Missing(f"nothing was answered of {seen.sent} queries")
        return {
            "cpu_us": used / seen.answered * 1e6,
            "cores": used / seen.seconds,
            "rate": seen.rate,
            "sent": seen.sent,
            "answered": seen.answered,
            "lost": seen.lost,
            "resident_mib": processes.resident_mib(self.pid),
        }


def closed_loop(work, running, seconds):
    """As many queries under way as the work says, over UDP or TCP."""
    prepare(work, running)
    meter = Meter(running.pid)
    # New names are asked once: the file's end ends the turn.
    times = 1 if work.kind in ("miss", "mix") else None
    return meter.figures(load.dnsperf(
        running.at, running.questions, work.load_cpus, seconds=seconds, times=times,
        in_flight=work.in_flight, connections=work.connections,
    ))


def overloaded(work, running, seconds):
    """Offered more than a core can do, whatever the server answers."""
    prepare(work, running)
    meter = Meter(running.pid)
    # kxdpgun knows whole seconds.
    whole = max(1, round(seconds))
    with load.Flood(running.at, running.questions, LOAD_CPU, whole, work.rate) as flood:
        return meter.figures(flood.end())


def flooded(work, running, seconds):
    """Private names at a modest rate from one address, a flood of misses from another."""
    prepare(work, running)
    lasts = max(2, round(seconds + FLOOD_LEAD_SECONDS + FLOOD_TAIL_SECONDS))
    meter = Meter(running.pid)
    with load.Flood(running.at, running.flood, LOAD_CPU, lasts, work.rate) as flood:
        sleep(FLOOD_LEAD_SECONDS)
        watched = lasts - FLOOD_LEAD_SECONDS - FLOOD_TAIL_SECONDS
        seen = load.dnsperf(
            running.at, running.questions, LOAD_CPU, seconds=watched, rate=BESIDE_RATE,
            timed=True,
            # All that may be lost, and more: losses must not slow the asking.
            in_flight=BESIDE_RATE * (load.LOST_AFTER + 1),
        )
        offered = flood.end()
    figures = {
        # A SERVFAIL for a private name is a loss too.
        "lost_share": 1 - seen.answered / seen.sent if seen.sent else 1.0,
        "sent": seen.sent, "answered": seen.answered, "lost": seen.lost,
        "flood_sent": offered.sent, "flood_answered": offered.answered,
        "cores": (processes.cpu_seconds(running.pid) - meter.before) / lasts,
        "resident_mib": processes.resident_mib(running.pid),
    }
    return figures | percentiles(seen.latencies_us)


def steady(work, running, seconds):
    """A fixed rate that everyone can bear: how long answers take."""
    prepare(work, running)
    meter = Meter(running.pid)
    seen = load.dnsperf(
        running.at, running.questions, LOAD_CPU, seconds=seconds, rate=work.rate, timed=True
    )
    return meter.figures(seen) | percentiles(seen.latencies_us)


def filled(work, running, _seconds):
    """What a cached entry weighs, and how far a flood of distinct names drives the process."""
    ours = running.server.name == servers.OURS
    names = load.Questions(running.folder)
    weighed = pushed(work, running, names, WEIGHED_NAMES)
    figures = {
        "idle_mib": running.idle_mib,
        # From idle: tables that are touched all over by the first names belong to the entries too.
        "entry_octets": (weighed - running.idle_mib) * 2**20 / WEIGHED_NAMES,
        "cache_mib": work.cache_mib,
    }
    if ours:
        full = pushed(work, running, names, OVERFILL_NAMES)
        figures["full_mib"] = full
        figures["growth_over_size"] = (full - running.idle_mib) / work.cache_mib
    return figures


def pushed(work, running, names, count):
    """Asks `count` new names; gives the resident memory after them, MiB."""
    seen = load.dnsperf(
        running.at, names.of("miss", count), LOAD_CPU, times=1, in_flight=work.in_flight
    )
    if seen.answered < 0.99 * count:
        raise machine.Missing(f"{seen.answered} of {count} names were answered")
    return processes.resident_mib(running.pid)


def prepare(work, running):
    """What a turn needs before it counts: names cached, code and tables in the processor's."""
    if work.kind in ("cached", "mix") and not running.server.is_echo:
        warm(work, running)
    if work.kind in ("private", "cached"):
        load.dnsperf(
            running.at, running.questions, work.load_cpus, seconds=WARM_UP_SECONDS,
            connections=work.connections,
        )


def warm(work, running):
    """Brings every cached name into the cache, or says that it cannot."""
    names = running.folder / "cached.questions"
    seen = load.dnsperf(
        running.at, names, LOAD_CPU, times=WARM_PASSES, rate=WARM_RATE,
        connections=work.connections,
    )
    if seen.lost or seen.answered != seen.sent:
        raise machine.Missing(
            f"warming lost {seen.lost} of {seen.sent}, {seen.answered} were answered NOERROR"
        )


def percentiles(latencies_us):
    """Median and tails of sorted times; nothing where nothing was answered."""
    if not latencies_us:
        return {}
    count = len(latencies_us)
    return {
        f"{name}_us": latencies_us[min(count - 1, int(count * share))]
        for name, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))
    }


