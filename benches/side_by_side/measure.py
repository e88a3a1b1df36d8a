"""Rounds: every server measured in turn, again and again, each figure with the server's CPU time.

Knows how to start servers and to load them; what figures mean stands in `figures`.
"""

import subprocess
import sys
from dataclasses import asdict, dataclass

import asking
import load
import machine
import processes
import servers

SERVER_CPU, LOAD_CPU = 0, 1
WARM_UP_SECONDS = 0.5
# Warming asks every cached name this often; the second pass shows that nothing is missing.
WARM_PASSES = 2
WARM_RATE = 20_000


@dataclass(frozen=True)
class Figure:
    """One server in one round of one work."""

    cpu_us: float  # the server's CPU time for each answered query, microseconds
    rate: float  # answers a second
    sent: int
    answered: int
    lost: int
    resident_mib: float  # after the round


def say(text):
    print(text, file=sys.stderr, flush=True)


def compile_programs(folder):
    """The echo and the upstream, compiled into `folder`."""
    for name in ("echo", "upstream"):
        source = servers.HERE / f"{name}.c"
        subprocess.run(["cc", "-O2", "-o", folder / name, source], check=True)


class Bench:
    """The servers under way, the upstream, and what they were measured at."""

    def __init__(self, folder, known):
        self.folder = folder
        self.processes = machine.Processes(folder)
        self.questions = load.Questions(folder)
        self.known = known
        self.failures = {}  # (work, server) -> why it was skipped
        self.idle_mib = {}  # server -> resident before its first query
        self.pinned("upstream", LOAD_CPU, [folder / "upstream", *servers.UPSTREAM], lambda: True)

    def pinned(self, name, cpu, command, ready):
        return self.processes.start(name, ["taskset", "-c", str(cpu), *command], ready)

    def run(self, work, rounds, seconds):
        """Measures one work; gives server -> figures, one a round, in the order of rounds."""
        kind, in_flight = load.SHAPES[work]
        running = self.start_all(work, kind)
        figures = {name: [] for name in running}
        for turn in range(rounds):
            questions = self.questions.of(kind, seconds)
            for name in list(running):
                port, process = running[name]
                try:
                    figure = self.one(kind, port, process.pid, questions, seconds, in_flight)
                except (subprocess.SubprocessError, machine.Missing) as wrong:
                    self.skip(work, name, wrong)
                    # A server without its round has no pairs: its earlier figures stay out too.
                    del running[name], figures[name]
                    continue
                figures[name].append(asdict(figure))
                say(f"  {work} {turn + 1}/{rounds} {name}: {figure.cpu_us:.2f} us, "
                    f"{figure.rate:,.0f}/s, {figure.lost} lost")
        for name in running:
            self.processes.stop(name)
        return figures

    def start_all(self, work, kind):
        running = {}
        for index, server in enumerate(self.known):
            if kind not in server.works:
                continue
            port = servers.FIRST_PORT + index
            try:
                running[server.name] = (port, self.start(server, port))
                verify(server, kind, port)
            except (OSError, machine.Missing) as wrong:
                running.pop(server.name, None)
                self.skip(work, server.name, wrong)
        return running

    def start(self, server, port):
        folder = self.folder / f"of-{server.name.replace(' ', '-')}"
        folder.mkdir(exist_ok=True)
        place = servers.Place(folder, self.folder, port)
        first = servers.private_names()[0]
        process = self.pinned(
            server.name, SERVER_CPU, server.command(place),
            lambda: server.is_echo or asking.ask((servers.LOOPBACK, port), first, tool="kdig").answer,
        )
        self.idle_mib.setdefault(server.name, processes.resident_mib(process.pid))
        return process

    def one(self, kind, port, pid, questions, seconds, in_flight):
        if kind == "cached":
            warm(port, questions)
        if kind != "miss":
            load.dnsperf(port, questions, LOAD_CPU, seconds=WARM_UP_SECONDS)
        before = processes.cpu_seconds(pid)
        # Names of misses are asked once: the file's end ends the round.
        times = 1 if kind == "miss" else None
        seen = load.dnsperf(
            port, questions, LOAD_CPU, seconds=seconds, times=times, in_flight=in_flight
        )
        used = processes.cpu_seconds(pid) - before
        if not seen.answered:
            raise machine.Missing(f"nothing was answered of {seen.sent} queries")
        return Figure(
            cpu_us=used / seen.answered * 1e6, rate=seen.rate, sent=seen.sent,
            answered=seen.answered, lost=seen.lost, resident_mib=processes.resident_mib(pid),
        )

    def skip(self, work, name, why):
        self.failures[work, name] = str(why)
        say(f"  {work} {name}: SKIPPED: {why}")
        if name in self.processes.running:
            self.processes.stop(name)


def warm(port, questions):
    """Brings every name of the file into the cache, or says that it cannot."""
    seen = load.dnsperf(port, questions, LOAD_CPU, times=WARM_PASSES, rate=WARM_RATE)
    if seen.lost or seen.answered != seen.sent:
        raise machine.Missing(
            f"warming lost {seen.lost} of {seen.sent}, {seen.answered} were answered NOERROR"
        )


def verify(server, kind, port):
    """One answer of each kind, looked at before anything is measured."""
    if server.is_echo:
        return
    name, address = {
        "private": (servers.private_names()[-1], servers.PRIVATE_ADDRESS),
    }.get(kind, (f"verify-{kind}.example.net", servers.UPSTREAM_ADDRESS))
    reply = asking.ask((servers.LOOPBACK, port), name, tool="kdig")
    wants_chain = kind == "private" and server.has_chain
    if reply.status != "NOERROR" or reply.addresses() != [address]:
        raise machine.Missing(f"{name} A got {reply}, wanted {address}")
    if wants_chain and not reply.chain():
        raise machine.Missing(f"{name} A came without its CNAME: {reply}")
