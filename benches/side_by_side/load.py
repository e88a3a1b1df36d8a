"""The load: question files, and the programs that ask them. Knows nothing of who answers.

dnsperf asks in a closed loop (as many queries under way as it was told) or at a fixed rate; kxdpgun
floods from outside the kernel's stack, at a rate that no answer slows down.
"""

import random
import re
import subprocess
from dataclasses import dataclass, field

import facts
import network

CACHED_NAMES = 1_000
# More than any server here answers in a second: a file that is too short would ask names twice.
MISSES_A_SECOND, MIXED_A_SECOND = 120_000, 250_000
CLIENT_SOCKETS = 128
# Below the 277 small datagrams that a socket's default receive buffer holds: nothing need be lost.
IN_FLIGHT = 200
# Of the realistic mix: how often a private, a new, else an already cached name is asked.
MIX_PRIVATE, MIX_MISSES = 0.10, 0.05
# Exponent of the cached names' popularity; resolvers see about 1.
ZIPF = 1.0
# A query is lost after this many seconds.
LOST_AFTER = 2


@dataclass(frozen=True)
class Load:
    """What a generator saw. `answered` counts NOERROR alone."""

    seconds: float
    sent: int
    answered: int
    lost: int
    # Microseconds of each answered query, sorted; filled where they were asked for.
    latencies_us: list = field(default_factory=list)

    @property
    def rate(self):
        """Answers a second."""
        return self.answered / self.seconds if self.seconds else 0.0


class Questions:
    """Files of questions, one for each kind; those of misses never repeat a name."""

    def __init__(self, folder):
        self.folder = folder
        self.asked = 0  # new names given out so far
        self.private = self.write("private", facts.private_names())
        self.cached = self.write("cached", cached_names())

    def write(self, kind, questions):
        """`questions` are names, asked for A, or a name and a type."""
        path = self.folder / f"{kind}.questions"
        lines = (one if " " in one else f"{one} A" for one in questions)
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    def of(self, kind, count):
        """The file for one round; call it once a round, so that every server gets the same.

        `count` is how many questions will be needed at most, where no name may come twice.
        """
        if kind == "miss":
            # One file: the round before is over when the next begins.
            return self.write("miss", self.unique(count))
        if kind == "mix":
            return self.write("mix", self.mixed(count))
        return {"private": self.private, "cached": self.cached}[kind]

    def unique(self, count):
        """Names that were never asked in this run."""
        first, self.asked = self.asked, self.asked + count
        return (f"m{number:08x}.miss.example.net" for number in range(first, self.asked))

    def mixed(self, count):
        """What a resolver sees: popular names again and again, some private, some new."""
        dice = random.Random(self.asked)
        weights = [1 / rank**ZIPF for rank in range(1, CACHED_NAMES + 1)]
        private, new = int(count * MIX_PRIVATE), int(count * MIX_MISSES)
        found = dice.choices(cached_names(), weights, k=count - private - new)
        for name in dice.choices(facts.private_names(), k=private):
            found.append(f"{name} {dice.choice(['A', 'AAAA', 'HTTPS'])}")
        found += self.unique(new)
        dice.shuffle(found)
        return found


def cached_names():
    names = [f"h{number:04}.cached.example.net" for number in range(CACHED_NAMES)]
    random.Random(1).shuffle(names)
    return names


def dnsperf(at, questions, cpus, seconds=None, times=None, rate=None, in_flight=IN_FLIGHT,
            connections=None, timed=False):
    """Asks `questions` of `at` (address, port) from the cores `cpus`.

    `times` is how often the whole file, `rate` in queries a second; with `connections` over that
    many TCP connections; `timed` keeps every answer's time.
    """
    address, port = at
    command = ["taskset", "-c", str(cpus), "dnsperf", "-s", address, "-p", str(port)]
    # With more sockets than queries under way dnsperf 2.10 waits on sockets that expect nothing.
    sockets = connections or min(CLIENT_SOCKETS, in_flight)
    command += ["-d", str(questions), "-c", str(sockets), "-t", str(LOST_AFTER)]
    command += ["-q", str(in_flight), "-O", "suppress=timeouts,unexpected"]
    command += ["-m", "tcp"] if connections else []
    command += ["-v"] if timed else []
    for option, value in (("-l", seconds), ("-n", times), ("-Q", rate)):
        if value is not None:
            command += [option, str(value)]
    limit = 60 + (seconds or 0)
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=True)
    return read_dnsperf(done.stdout)


def read_dnsperf(text):
    return Load(
        seconds=number(r"Run time \(s\):\s+([\d.]+)", text),
        sent=int(number(r"Queries sent:\s+(\d+)", text)),
        answered=int(number(r"Response codes:.*?NOERROR (\d+)", text)),
        lost=int(number(r"Queries lost:\s+(\d+)", text)),
        latencies_us=sorted(
            float(took) * 1e6 for took in re.findall(r"^> NOERROR \S+ \S+ ([\d.]+)", text, re.M)
        ),
    )


class Flood:
    """kxdpgun under way, out of its own namespace at the servers' one."""

    def __init__(self, at, questions, cpu, seconds, rate):
        address, port = at
        command = [*network.within(network.FLOOD_SPACE), "taskset", "-c", str(cpu), "kxdpgun"]
        command += ["-t", str(seconds), "-Q", str(rate), "-F", str(cpu), "-i", str(questions)]
        command += ["-I", network.FLOOD_LINK, "-p", str(port), address]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.limit = 30 + seconds

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # Whatever went wrong: the next server must not meet this flood.
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def end(self):
        text, _ = self.process.communicate(timeout=self.limit)
        if self.process.returncode:
            raise subprocess.SubprocessError(f"kxdpgun: {text.strip()}")
        sent = int(number(r"total queries:\s+(\d+)", text))
        replies = int(number(r"total replies:\s+(\d+)", text))
        return Load(
            seconds=number(r"duration:\s+([\d.]+) s", text), sent=sent,
            answered=int(number(r"responded NOERROR:\s+(\d+)", text)), lost=sent - replies,
        )


def number(pattern, text):
    found = re.search(pattern, text)
    return float(found[1]) if found else 0.0
