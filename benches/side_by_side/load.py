"""The load: question files, and dnsperf that asks them. Knows nothing of who answers."""

import random
import re
import subprocess
from dataclasses import dataclass

import servers

CACHED_NAMES = 1_000
# More than any server here resolves in a second; a file that is too short would ask names twice.
MISSES_A_SECOND = 120_000
CLIENT_SOCKETS = 128
# Below the 277 small datagrams that a socket's default receive buffer holds: nothing need be lost.
IN_FLIGHT = 200
SMALL_IN_FLIGHT = 10
# work -> what it asks and how much is under way; the rest of a work is the same.
SHAPES = {
    "private": ("private", IN_FLIGHT),
    "cached": ("cached", IN_FLIGHT),
    "miss": ("miss", IN_FLIGHT),
    "private-small": ("private", SMALL_IN_FLIGHT),
    "cached-small": ("cached", SMALL_IN_FLIGHT),
}
# A query is lost after this many seconds.
LOST_AFTER = 2


@dataclass(frozen=True)
class Load:
    """What dnsperf saw. `answered` counts NOERROR alone."""

    seconds: float
    sent: int
    answered: int
    lost: int

    @property
    def rate(self):
        """Answers a second."""
        return self.answered / self.seconds if self.seconds else 0.0


class Questions:
    """Files of questions for dnsperf, one for each work; those of misses never repeat a name."""

    def __init__(self, folder):
        self.folder = folder
        self.misses = 0
        self.private = self.write("private", servers.private_names())
        self.cached = self.write("cached", cached_names())

    def write(self, name, names, rtype="A"):
        path = self.folder / f"{name}.questions"
        path.write_text("".join(f"{name} {rtype}\n" for name in names))
        return path

    def of(self, kind, seconds):
        """The file for one round; call it once a round, so that every server gets the same."""
        if kind == "miss":
            return self.unique(int(seconds * MISSES_A_SECOND))
        return {"private": self.private, "cached": self.cached}[kind]

    def unique(self, count):
        """Names that were never asked in this run."""
        first, self.misses = self.misses, self.misses + count
        # One file: the round before is over when the next begins.
        names = (f"m{number:08x}.miss.example.net" for number in range(first, self.misses))
        return self.write("miss", names)


def cached_names():
    names = [f"h{number:04}.cached.example.net" for number in range(CACHED_NAMES)]
    random.Random(1).shuffle(names)
    return names


def dnsperf(port, questions, cpu, seconds=None, times=None, rate=None, in_flight=IN_FLIGHT):
    """Asks `questions` in a closed loop from the core `cpu`; `times` is how often the whole file."""
    command = ["taskset", "-c", str(cpu), "dnsperf", "-s", servers.LOOPBACK, "-p", str(port)]
    # With more sockets than queries under way dnsperf 2.10 waits on sockets that expect nothing.
    sockets = min(CLIENT_SOCKETS, in_flight)
    command += ["-d", str(questions), "-c", str(sockets), "-t", str(LOST_AFTER)]
    command += ["-q", str(in_flight), "-O", "suppress=timeouts,unexpected"]
    for option, value in (("-l", seconds), ("-n", times), ("-Q", rate)):
        if value is not None:
            command += [option, str(value)]
    limit = 60 + (seconds or 0)
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=True)
    return read(done.stdout)


def read(text):
    def number(pattern, default="0"):
        found = re.search(pattern, text)
        return found[1] if found else default

    return Load(
        seconds=float(number(r"Run time \(s\):\s+([\d.]+)")),
        sent=int(number(r"Queries sent:\s+(\d+)")),
        answered=int(number(r"Response codes:.*?NOERROR (\d+)")),
        lost=int(number(r"Queries lost:\s+(\d+)")),
    )
