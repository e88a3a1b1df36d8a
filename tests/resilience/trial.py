"""One fault on one server: network, programs, load and timeline, from nothing to figures."""

import asyncio
import random
import time

import client
import facts
import machine
import message
import network
import rivals
import verdicts
import world
from faults import AGED, AT_ONCE, BEGINS, BURST, ECHO, KINDS, PRIVATE, SHORT_TTL

# The last queries of the time of health have their answers before it ends.
HEALTHY_TAIL = 0.5
# Names that were asked once come back when they have been expired for a second.
REVISITED_AT = BEGINS + SHORT_TTL + 1
READY_SECONDS = 15
ECHO_PORT = 5301


class Trial:
    """What the timeline's steps work on."""

    def __init__(self, number, folder, fault, server, certificate, authority):
        self.folder = folder
        self.fault = fault
        self.server = server
        self.processes = machine.Processes(folder)
        self.world = world.World(number, folder, self.processes, certificate)
        self.authority = authority
        self.done = []  # when each step was done, seconds from the load's start

    def run(self):
        """Gives the figures; raises Missing or OSError where server or network cannot be had."""
        try:
            self.world.build()
            if self.fault.is_web:
                self.world.web_end()
            elif self.fault.transport == rivals.HTTPS:
                self.front()
            if self.fault.before:
                self.fault.before(self.world)
                self.start(self.accepts)
            else:
                self.start(self.answers)
            ours = self.server.name == rivals.OURS
            load = client.Load(self.at, queries(self.fault, ours), self.echo() if ours else None)
            asyncio.run(self.act_and_ask(load))
            alive = self.processes.running[self.server.name].poll() is None
            return verdicts.figures(load.queries, self.fault, self.done, alive)
        finally:
            self.processes.stop_all()
            self.world.remove()

    @property
    def at(self):
        return self.world.served, rivals.PORT

    @property
    def place(self):
        return rivals.Place(
            self.folder, self.world.served, self.world.both, self.fault.transport,
            self.authority, self.fault.keeps_cache,
            self.world.hosts if self.fault.names_hosts else None,
        )

    def echo(self):
        """Starts the program that shows what the machine does to any answer; gives where it is."""
        at = self.world.served, ECHO_PORT
        command = [self.folder.parent / "echo", *at, "plain"]
        inside = network.within(self.world.server_space)
        self.processes.start("echo", inside + command, lambda: True)
        return at

    def front(self):
        """What speaks HTTPS for the upstreams; it is ready when the server has its first answer."""
        command = rivals.doh_front(self.place, *self.world.certificate, self.world.behind)
        inside = network.within(self.world.far_space)
        self.processes.start("doh-front", inside + command, lambda: True)

    def start(self, ready):
        command = network.within(self.world.server_space) + self.server.command(self.place)
        self.processes.start(self.server.name, command, ready, seconds=READY_SECONDS)

    def answers(self):
        name = f"ttl1.ready-{time.monotonic_ns()}.{message.ZONE}"
        return client.answers_once(self.at, name, message.address_of(name))

    def accepts(self):
        return client.accepts(self.at)

    def restart(self):
        self.processes.stop(self.server.name)
        self.start(self.accepts)

    async def act_and_ask(self, load):
        asking = asyncio.create_task(load.run())
        acting = asyncio.create_task(self.act(load))
        try:
            await asyncio.gather(asking, acting)
        finally:
            acting.cancel()
            asking.cancel()

    async def act(self, load):
        loop = asyncio.get_running_loop()
        # The load's clock begins with its task.
        await asyncio.sleep(0)
        for step in self.fault.steps:
            await asyncio.sleep(max(0, step.at - load.now()))
            # In a thread: the commands take some milliseconds, in which queries are due.
            await loop.run_in_executor(None, step.act, self)
            self.done.append(load.now())


def queries(fault, has_private):
    """All that a trial asks, with the times."""
    found = []
    for kind in fault.kinds:
        if kind == AGED:
            found += visits(0, BEGINS - HEALTHY_TAIL, kind)
            found += visits(REVISITED_AT, fault.lasts, kind)
        elif kind == BURST:
            found += bursts(fault, kind)
        else:
            found += steady(fault, kind)
    if has_private:
        found += steady(fault, PRIVATE) + steady(fault, ECHO)
    begins, ends = fault.quiet
    return [one for one in found if not begins <= one.due < ends]


def steady(fault, kind):
    shape = KINDS[kind]
    count = int(fault.lasts * shape.a_second)
    # Kinds do not fall due together.
    offset = random.random() / shape.a_second
    return [
        asked(kind, number % shape.names if shape.names else number,
              offset + number / shape.a_second)
        for number in range(count)
    ]


def bursts(fault, kind):
    """AT_ONCE new names at the same moment, again and again."""
    count = int(fault.lasts * KINDS[kind].a_second)
    every = AT_ONCE / KINDS[kind].a_second
    return [asked(kind, number, every * (number // AT_ONCE)) for number in range(count)]


def visits(begins, ends, kind):
    """Each of the kind's names once, evenly over the span."""
    count = int((BEGINS - HEALTHY_TAIL) * KINDS[kind].a_second)
    return [
        asked(kind, number, begins + (ends - begins) * number / count) for number in range(count)
    ]


def asked(kind, number, due):
    if kind == PRIVATE:
        name = facts.private_names()[number]
        return client.Asked(kind, name, facts.PRIVATE_ADDRESS, due)
    name = f"ttl{KINDS[kind].ttl}.{kind}-{number}.{message.ZONE}"
    return client.Asked(kind, name, message.address_of(name), due)
