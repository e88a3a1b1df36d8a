#!/usr/bin/env python3
"""The upstreams: DNS servers at the tunnel's far end that answer every name, and lie if told to.

    far_end.py CONTROL CERTIFICATE KEY ADDRESS…

Each ADDRESS answers over UDP and TCP on port 53 and over TLS on port 853. CONTROL takes
{"ADDRESS": "MODE"}; the modes stand in MODES.
"""

import asyncio
import socket
import ssl
import struct
import sys

import control
import message
from message import LIE, NOERROR, REFUSED, SERVFAIL, TC

DNS, DOT = 53, 853
LARGEST = 65_535
# What is left of 64 KiB for header, question, the address and OPT.
BESIDE_PADDING = 600
OTHER_ID = 0x5555
GARBAGE = b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(range(256))
# A server that takes a question and then says half a length holds the connection: longer than any
# client waits.
HOLD_SECONDS = 20
IDLE_SECONDS = 30
# Connections that wait to be accepted. Python's own 100 are fewer than AT_ONCE of the trials, and what
# does not fit waits for TCP's retransmission; dnsdist and Unbound have queues of 256 and more.
BACKLOG = 1024
# How late an answer about a host is.
LATE_SECONDS = 0.8
# Questions about hosts: whether their answers are late or missing, by type.
HOST_ANSWERS = {
    "aaaa-silent": (message.AAAA, None),
    "aaaa-late": (message.AAAA, LATE_SECONDS),
    "a-late": (message.A, LATE_SECONDS),
}
# Queries that it takes on a connection.
TAKES = {f"takes-{queries}": queries for queries in (1, 10, 100)}

MODES = {
    "honest": "answers",
    "closed": "no socket: the kernel answers ICMP port unreachable and RST",
    "wrong-id": "another identity, and a lie",
    "wrong-question": "answers a question that nobody asked, with a lie",
    "tc-loop": "truncated over UDP and over TCP, again and again",
    "tc-close": "truncated over UDP; TCP is closed without an answer",
    "tc-rst": "truncated over UDP; TCP is reset",
    "tc-half-length": "truncated over UDP; over TCP one octet of the length, then nothing",
    "tc-short": "truncated over UDP; over TCP half of the message, then the end",
    "64k": "truncated over UDP; 64 KiB over TCP, the right address among them",
    "garbage": "octets that are no DNS, over UDP, TCP and the TLS port",
    "servfail": "SERVFAIL to everything",
    "refused": "REFUSED to everything",
    "aaaa-silent": "the IPv4 address of a host; nothing to questions for its IPv6 address",
    "aaaa-late": "the IPv4 address of a host, and late that it has no IPv6 address",
    "a-late": "late the IPv4 address of a host, and at once that it has no IPv6 address",
    **{
        mode: f"truncated over UDP; over TCP and TLS it answers {queries} and closes, whatever waits"
        for mode, queries in TAKES.items()
    },
}
OVER_TCP = ("tc-loop", "tc-close", "tc-rst", "tc-half-length", "tc-short", "64k", *TAKES)


class Upstream:
    """One address and what it does at present."""

    def __init__(self, address, tls):
        self.address = address
        self.tls = tls
        self.mode = "honest"
        self.open = []  # transports and servers
        self.datagrams = None
        self.streams = set()

    async def listen(self):
        loop = asyncio.get_running_loop()
        transport, self.datagrams = await loop.create_datagram_endpoint(
            lambda: Datagrams(self), local_addr=(self.address, DNS)
        )
        self.open.append(transport)
        for port, tls in ((DNS, None), (DOT, None if self.mode == "garbage" else self.tls)):
            self.open.append(await asyncio.start_server(
                self.stream, self.address, port, ssl=tls, reuse_address=True, backlog=BACKLOG,
                **({"ssl_handshake_timeout": HOLD_SECONDS} if tls else {}),
            ))

    async def become(self, mode):
        """Listens anew: connections of the mode before do not outlive it."""
        if mode not in MODES:
            raise ValueError(f"mode {mode}")
        self.mode = mode
        for one in self.open:
            one.close()
        for writer in list(self.streams):
            writer.transport.abort()
        if self.open:
            # The next one binds to the same port.
            await self.datagrams.closed.wait()
        self.open = []
        if mode != "closed":
            await self.listen()

    def lateness(self, asked):
        """How late the answer is in seconds; None: it never comes."""
        qtype, late = HOST_ANSWERS.get(self.mode, (None, 0))
        return late if message.question(asked)[1] == qtype else 0

    def over_udp(self, asked):
        """The reply, or None for a name that gets none."""
        mode = self.mode
        if is_below(asked, message.SILENT_ZONE):
            return None
        if mode == "garbage":
            return GARBAGE
        if mode in OVER_TCP:
            return message.answer(asked, flags=TC)
        return self.plainly(asked)

    def plainly(self, asked):
        """What every transport says that does nothing special."""
        mode = self.mode
        if mode == "wrong-id":
            identity = int.from_bytes(asked[:2]) ^ OTHER_ID
            return message.answer(asked, identity=identity, address=LIE)
        if mode == "wrong-question":
            # Another first letter: as long, never the name that was asked.
            at = message.HEADER.size + 1
            other = asked[:at] + bytes([asked[at] ^ 1]) + asked[at + 1:]
            return message.answer(other, address=LIE)
        if is_below(asked, message.ENDLESS_ZONE):
            return message.endless(asked)
        if host := message.address_of_host(message.question(asked)[0]):
            return message.answer(asked, address=host)
        rcode = {"servfail": SERVFAIL, "refused": REFUSED}.get(mode, NOERROR)
        return message.answer(asked, rcode=rcode)

    async def stream(self, reader, writer):
        """One connection, question by question (RFC 1035 4.2.2)."""
        self.streams.add(writer)
        try:
            if self.mode == "garbage":
                writer.write(GARBAGE)
                await asyncio.wait_for(reader.read(), HOLD_SECONDS)
                return
            answers = 0
            while answers != TAKES.get(self.mode):
                octets = await asyncio.wait_for(reader.readexactly(2), IDLE_SECONDS)
                asked = await reader.readexactly(int.from_bytes(octets))
                if not await self.one_answer(asked, writer):
                    return
                answers += 1
        except (OSError, EOFError, TimeoutError, asyncio.TimeoutError, message.Malformed):
            pass
        finally:
            self.streams.discard(writer)
            writer.close()

    async def one_answer(self, asked, writer):
        """Gives whether the connection goes on."""
        mode = self.mode
        late = self.lateness(asked)
        if late is None or is_below(asked, message.SILENT_ZONE):
            return True
        await asyncio.sleep(late)
        if mode == "tc-close":
            return False
        if mode == "tc-rst":
            own = writer.get_extra_info("socket")
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return False
        if mode == "tc-half-length":
            writer.write(b"\0")
            await asyncio.sleep(HOLD_SECONDS)
            return False
        if mode == "tc-loop":
            whole = message.answer(asked, flags=TC)
        elif mode == "64k":
            more, count = message.padding(LARGEST - BESIDE_PADDING)
            whole = message.answer(asked, more=more, more_count=count)
        else:
            whole = self.plainly(asked)
        framed = len(whole).to_bytes(2) + whole
        if mode == "tc-short":
            writer.write(framed[:len(framed) // 2])
            return False
        writer.write(framed)
        await writer.drain()
        return True


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, upstream):
        self.upstream = upstream
        self.closed = asyncio.Event()

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, _):
        # Told before the socket is closed, in the same turn of the loop.
        asyncio.get_running_loop().call_soon(self.closed.set)

    def datagram_received(self, octets, asker):
        try:
            late, reply = self.upstream.lateness(octets), self.upstream.over_udp(octets)
            if late:
                loop = asyncio.get_running_loop()
                loop.call_later(late, self.send, reply, asker)
            elif late is not None:
                self.send(reply, asker)
        except (message.Malformed, struct.error):
            pass

    def send(self, reply, asker):
        if reply and not self.transport.is_closing():
            self.transport.sendto(reply, asker)


def is_below(asked, zone):
    return message.question(asked)[0].endswith(f".{zone}")


async def main():
    socket_path, certificate, key, *addresses = sys.argv[1:]
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    upstreams = {address: Upstream(address, tls) for address in addresses}
    for one in upstreams.values():
        await one.listen()

    async def change(wanted):
        for address, mode in wanted.items():
            await upstreams[address].become(mode)

    await control.serve(socket_path, change)


if __name__ == "__main__":
    asyncio.run(main())
