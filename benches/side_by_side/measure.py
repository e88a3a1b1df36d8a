"""Rounds: every server measured in turn, again and again: the machine's drift meets all alike.

Knows how to start, verify and repeat; a turn itself stands in `turns`, what figures mean in
`figures`.
"""

import json
import subprocess
import sys
from statistics import median

import asking
import facts
import load
import machine
import network
import processes
import servers
import turns

LOAD_CPU = turns.LOAD_CPU
# A closed loop keeps its server busy. A turn that left it idle for more than this share of a core,
# at a rate this far below the server's other turns, tells of the generator.
IDLE_SHARE, FAR_OFF = 0.2, 0.3
REPEATS = 2


def say(text):
    print(text, file=sys.stderr, flush=True)


def compile_programs(folder):
    """The echo and the upstream, compiled into `folder`."""
    for name in ("echo", "upstream"):
        source = servers.HERE / f"{name}.c"
        subprocess.run(["cc", "-O2", "-pthread", "-o", folder / name, source], check=True)


class Bench:
    """The servers under way, the upstream, and what was skipped."""

    def __init__(self, folder, known):
        self.folder = folder
        self.processes = machine.Processes(folder)
        self.questions = load.Questions(folder)
        self.known = known
        self.skipped = {}  # server -> why, of the work under way
        self.idle_mib = {}  # server -> resident before its first query, MiB
        self.upstream = None  # (mode, namespace) of the one under way

    def run(self, work, rounds, seconds):
        """Measures one work; gives server -> figures, one a round, in the order of rounds."""
        rounds = work.rounds or rounds
        self.skipped = {}
        self.start_upstream(work)
        chosen = {one.name: one for one in self.known if work.suits(one)}
        figures = {name: [] for name in chosen}
        if not work.fresh:
            for server in chosen.values():
                self.guarded(figures, server.name, self.start, work, server)
        for turn in range(rounds):
            questions = self.of_round(work, seconds)
            for name in list(figures):
                step = (self.turn, work, chosen[name], questions, seconds)
                figure = self.guarded(figures, name, *step)
                if figure:
                    figures[name].append(figure)
                    say(f"  {work.name} {turn + 1}/{rounds} {name}: {brief(figure)}")
        if work.turn is turns.closed_loop:
            for name in list(figures):
                self.repeat(work, figures, chosen[name], seconds)
        for name in figures:
            self.stop(name)
        return figures

    def guarded(self, figures, name, step, *arguments):
        """One step of one server; who fails is skipped with all its figures: pairs are whole."""
        try:
            return step(*arguments)
        except (OSError, subprocess.SubprocessError, machine.Missing) as wrong:
            why = str(wrong)
            self.skipped[name] = why
            say(f"  {name}: SKIPPED: {why}")
            self.stop(name)
            del figures[name]
            return None

    def of_round(self, work, seconds):
        """The question files of one round: what is watched, and what floods beside it."""
        if work.turn is turns.filled:
            return None, None
        most = load.MIXED_A_SECOND if work.kind == "mix" else load.MISSES_A_SECOND
        watched = self.questions.of(work.kind, int(seconds * most))
        if work.turn is not turns.flooded:
            return watched, None
        # The flood lasts up to two seconds longer than what it disturbs.
        return watched, self.questions.of("miss", int((seconds + 2) * work.rate))

    def turn(self, work, server, questions, seconds):
        if work.fresh:
            self.start(work, server)
        running = turns.Running(
            server, self.place(work, server), self.processes.running[server.name].pid, *questions,
            folder=self.folder, idle_mib=self.idle_mib[server.name],
        )
        figure = work.turn(work, running, seconds)
        if work.fresh:
            self.stop(server.name)
        return figure

    def repeat(self, work, figures, server, seconds):
        """Measures a server's turns again that tell of the generator and not of the server."""
        own = figures[server.name]
        for index in range(len(own)):
            for _ in range(REPEATS):
                figure = own[index]
                usual = median(one["rate"] for one in own)
                if figure["cores"] > 1 - IDLE_SHARE or figure["rate"] > (1 - FAR_OFF) * usual:
                    break
                say(f"  {work.name} {server.name}: {figure['rate']:,.0f}/s beside {usual:,.0f}/s "
                    "with the server idle: the generator's fault, measured again")
                step = (self.turn, work, server, self.of_round(work, seconds), seconds)
                again = self.guarded(figures, server.name, *step)
                if again is None:
                    return
                own[index] = again

    def start_upstream(self, work):
        wanted = (work.upstream, work.network.space)
        if self.upstream == wanted:
            return
        if self.upstream:
            self.stop("upstream")
        command = [self.folder / "upstream", *facts.UPSTREAM, work.upstream]
        self.pinned("upstream", LOAD_CPU, work.network.inside(command), lambda: True)
        self.upstream = wanted

    def pinned(self, name, cpus, command, ready):
        return self.processes.start(name, ["taskset", "-c", str(cpus), *command], ready)

    def place(self, work, server):
        return work.network.address, servers.FIRST_PORT + self.known.index(server)

    def start(self, work, server):
        """Starts one server and looks at its answer before anything is measured."""
        folder = self.folder / f"of-{server.name.replace(' ', '-').replace(',', '')}"
        folder.mkdir(exist_ok=True)
        at = self.place(work, server)
        place = servers.Place(folder, self.folder, *at, cache_mib=work.cache_mib)
        first = facts.private_names()[0]
        process = self.pinned(
            server.name, server.cpus, work.network.inside(server.command(place)),
            lambda: server.is_echo or asking.ask(at, first, tool="kdig").answer,
        )
        self.idle_mib[server.name] = processes.resident_mib(process.pid)
        if not server.is_echo:
            for kind in sorted(work.kinds):
                verify(server, kind, at, work)

    def stop(self, name):
        if name in self.processes.running:
            self.processes.stop(name)


def verify(server, kind, at, work):
    """One answer of a kind, looked at."""
    if kind != "private" and work.upstream == "silent":
        return
    name, address = {
        "private": (facts.private_names()[-1], facts.PRIVATE_ADDRESS),
    }.get(kind, (f"verify-{kind}.example.net", facts.UPSTREAM_ADDRESS))
    reply = asking.ask(at, name, tool="kdig", tcp=bool(work.connections))
    if reply.status != "NOERROR" or reply.addresses() != [address]:
        raise machine.Missing(f"{name} A got {reply}, wanted {address}")
    if kind == "private" and server.has_chain and not reply.chain():
        raise machine.Missing(f"{name} A came without its CNAME: {reply}")


def brief(figure):
    """One turn on one line."""
    if "cpu_us" in figure and "p50_us" not in figure:
        return (f"{figure['cpu_us']:.2f} us, {figure['rate']:,.0f}/s of {figure['sent']:,}, "
                f"{figure['cores']:.2f} cores, {figure['resident_mib']:.1f} MiB")
    return json.dumps({key: round(value, 3) for key, value in figure.items()})
