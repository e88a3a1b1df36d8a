"""The asking clients: many stubs on one loop, each query sent once and waited for.

Nobody sends a query again here: what a client sees of a lost query is what is counted. Times are
the kernel's: an answer's is taken where the datagram arrives, so that a busy run looks no slower.
"""

import asyncio
import socket
import struct
import time
from dataclasses import dataclass, field

import message

# A stub's time-out: glibc's and Windows'.
WAIT_SECONDS = 5.0
# As many source ports as a small site's clients show.
SOCKETS = 16
MOST_OCTETS = 4096
# Linux' SO_TIMESTAMPNS (asm-generic/socket.h), also the ancillary message's type; Python has no
# name for it.
TIMESTAMP_NS = 35
TIMESPEC = struct.Struct("qq")
# Datagrams taken at a time, so that sending is not held up.
BATCH = 64
SILENCE = "silence"
ECHO = "echo"


@dataclass
class Asked:
    """One query and what came of it."""

    kind: str
    name: str
    address: str
    due: float  # seconds from the load's start
    at: float = 0.0  # when it was sent, same clock
    wait: float = WAIT_SECONDS  # seconds until the last word, or the time-out
    said: str = SILENCE  # right, wrong, an rcode or silence
    errors: list = field(default_factory=list)  # extended ones, codes

    @property
    def is_right(self):
        return self.said == "right"


def verdict(octets, asked):
    """What an answer is worth to who asked."""
    try:
        _, flags, _, answers, _, _ = message.HEADER.unpack_from(octets)
        rcode = flags & 0xF
        if rcode == message.NOERROR:
            if flags & message.TC:
                return "truncated"
            name, qtype, _ = message.question(octets)
            same = (name, qtype) == (asked.name, message.A)
            right = asked.address in message.addresses(octets)
            lied = message.LIE in message.addresses(octets)
            return "right" if same and right and not lied else "wrong"
    except (message.Malformed, struct.error):
        return "wrong"
    # The zone has every name: that one does not exist is a wrong answer, not a failure.
    return "wrong" if rcode == message.NXDOMAIN else message.RCODES.get(rcode, str(rcode))


def errors_in(octets):
    try:
        return message.extended_errors(octets)
    except (message.Malformed, struct.error):
        return []


@dataclass
class Load:
    """A list of queries, sent when they are due."""

    server: tuple
    queries: list
    echo: tuple | None = None  # where queries of a kind of that name go
    start: float = 0.0
    waiting: dict = field(default_factory=dict)  # (socket, identity) -> Asked
    streams: set = field(default_factory=set)

    def now(self):
        return time.clock_gettime(time.CLOCK_REALTIME) - self.start

    async def run(self):
        """Sends everything and waits for the last answer; gives the queries."""
        loop = asyncio.get_running_loop()
        self.start = time.clock_gettime(time.CLOCK_REALTIME)
        sockets = [self.opened(self.server) for _ in range(SOCKETS)]
        echo = self.opened(self.echo) if self.echo else None
        everyone = [*sockets, *([echo] if echo else [])]
        for here in everyone:
            loop.add_reader(here, self.take, here)
        try:
            for number, asked in enumerate(sorted(self.queries, key=lambda one: one.due)):
                if (early := asked.due - self.now()) > 0:
                    await asyncio.sleep(early)
                here = echo if asked.kind == ECHO else sockets[number % SOCKETS]
                # Each socket has identities enough for all queries of a trial.
                self.send(here, number & 0xFFFF, asked)
            end = self.now() + WAIT_SECONDS
            while (self.waiting or self.streams) and self.now() < end:
                await asyncio.sleep(0.05)
        finally:
            for one in self.streams:
                one.cancel()
            for here in everyone:
                loop.remove_reader(here)
                here.close()
        return self.queries

    def opened(self, server):
        here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        here.setblocking(False)
        here.setsockopt(socket.SOL_SOCKET, TIMESTAMP_NS, 1)
        here.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        here.connect(server)
        return here

    def send(self, here, identity, asked):
        self.waiting[here, identity] = asked
        octets = message.query(identity, asked.name)
        asked.at = self.now()
        for _ in range(2):
            try:
                here.send(octets)
                return
            except OSError:
                # An ICMP error of a query before, while the server was away; the next try sends.
                pass

    def take(self, here):
        for _ in range(BATCH):
            try:
                octets, ancillary, _, _ = here.recvmsg(MOST_OCTETS, 64)
            except BlockingIOError:
                return
            except OSError:
                # Nobody listens: the query stays without an answer.
                continue
            asked = self.waiting.get((here, int.from_bytes(octets[:2])))
            if asked is None:
                continue
            wait = self.arrived(ancillary) - asked.at
            if wait > WAIT_SECONDS:
                continue
            said = "right" if asked.kind == ECHO else verdict(octets, asked)
            asked.errors = errors_in(octets)
            del self.waiting[here, int.from_bytes(octets[:2])]
            if said == "truncated":
                task = asyncio.ensure_future(self.over_tcp(asked))
                self.streams.add(task)
                task.add_done_callback(self.streams.discard)
            else:
                asked.said, asked.wait = said, wait

    def arrived(self, ancillary):
        for level, kind, octets in ancillary:
            if level == socket.SOL_SOCKET and kind == TIMESTAMP_NS:
                seconds, nanoseconds = TIMESPEC.unpack(octets[:TIMESPEC.size])
                return seconds + nanoseconds / 1e9 - self.start
        return self.now()

    async def over_tcp(self, asked):
        """The second half of a truncated answer, within the same time-out."""
        left = WAIT_SECONDS - (self.now() - asked.at)
        writer = None
        try:
            async with asyncio.timeout(max(0, left)):
                reader, writer = await asyncio.open_connection(*self.server)
                octets = message.query(1, asked.name)
                writer.write(len(octets).to_bytes(2) + octets)
                octets = await reader.readexactly(2)
                octets = await reader.readexactly(int.from_bytes(octets))
        except (OSError, EOFError, TimeoutError):
            return
        finally:
            if writer:
                writer.close()
        asked.said, asked.errors = verdict(octets, asked), errors_in(octets)
        asked.wait = self.now() - asked.at


def answers_once(server, name, address, seconds=0.5):
    """Whether the server gives the right answer now; blocks that long at most."""
    asked = Asked("ready", name, address, 0.0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
        here.settimeout(seconds)
        try:
            here.connect(server)
            here.send(message.query(1, name))
            return verdict(here.recv(MOST_OCTETS), asked) == "right"
        except OSError:
            return False


def accepts(server, seconds=0.5):
    """Whether the server takes TCP connections: it is up, whatever its upstreams do."""
    try:
        socket.create_connection(server, seconds).close()
    except OSError:
        return False
    return True
