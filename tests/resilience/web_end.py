#!/usr/bin/env python3
"""The upstreams' side of DNS over HTTPS where HTTP itself fails: answers every name, or a share of
the requests with a status.

    web_end.py CONTROL CERTIFICATE KEY ADDRESS…

Each ADDRESS answers over HTTP/2 on port 443. CONTROL takes {"ADDRESS": "MODE"}: "honest", a status
for every request ("429"), or for one request in four ("429-quarter").

It speaks as much of HTTP/2 (RFC 9113) as this takes. It never looks at a request's headers, so their
compression does not matter. Queries and replies are far smaller than the windows of flow control.
"""

import asyncio
import itertools
import ssl
import struct
import sys

import control
import message

HTTPS = 443
STATUSES = (404, 429, 500, 503)
# One request in as many, where a share fails.
SHARE = 4
IDLE_SECONDS = 30

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_OCTETS = 9
# Types and flags of frames (RFC 9113 section 6).
DATA, HEADERS, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 4, 6, 7, 8
ACK, END_STREAM, END_HEADERS, PADDED = 1, 1, 4, 8
# Of the static table (RFC 7541, appendix A): the name alone, its value follows.
STATUS, CONTENT_TYPE = b"\x08", b"\x0f\x10"


def field(name, value):
    """A header that no table remembers."""
    return name + bytes([len(value)]) + value


def frame(kind, flags, stream, payload=b""):
    head = struct.pack("!IBBI", len(payload), kind, flags, stream)
    return head[1:] + payload


def response(stream, status, body=b""):
    headers = field(STATUS, str(status).encode())
    if not body:
        return frame(HEADERS, END_HEADERS | END_STREAM, stream, headers)
    headers += field(CONTENT_TYPE, b"application/dns-message")
    return frame(HEADERS, END_HEADERS, stream, headers) + frame(DATA, END_STREAM, stream, body)


class Upstream:
    """One address and what it does at present."""

    def __init__(self):
        self.mode = "honest"
        self.requests = itertools.count()

    def become(self, mode):
        if mode != "honest" and int(mode.removesuffix("-quarter")) not in STATUSES:
            raise ValueError(f"mode {mode}")
        self.mode = mode

    def reply(self, stream, query):
        number = next(self.requests)
        status = self.mode.removesuffix("-quarter")
        is_spared = self.mode.endswith("-quarter") and number % SHARE
        if self.mode == "honest" or is_spared:
            return response(stream, 200, message.answer(query))
        return response(stream, status)

    async def connection(self, reader, writer):
        try:
            await self.serve(reader, writer)
        except (OSError, EOFError, TimeoutError, asyncio.TimeoutError, message.Malformed):
            pass
        finally:
            writer.transport.abort()

    async def serve(self, reader, writer):
        if await reader.readexactly(len(PREFACE)) != PREFACE:
            return
        writer.write(frame(SETTINGS, 0, 0))
        queries = {}
        while True:
            head = await asyncio.wait_for(reader.readexactly(FRAME_OCTETS), IDLE_SECONDS)
            octets, kind, flags, stream = struct.unpack("!IBBI", b"\0" + head)
            payload = await reader.readexactly(octets)
            if kind == SETTINGS and not flags & ACK:
                writer.write(frame(SETTINGS, ACK, 0))
            elif kind == PING and not flags & ACK:
                writer.write(frame(PING, ACK, 0, payload))
            elif kind == GOAWAY:
                return
            elif kind == DATA:
                if flags & PADDED:
                    payload = payload[1:len(payload) - payload[0]]
                queries[stream] = queries.get(stream, b"") + payload
                if octets:
                    # What was taken may be sent again.
                    writer.write(frame(WINDOW_UPDATE, 0, 0, struct.pack("!I", octets)))
                if flags & END_STREAM:
                    writer.write(self.reply(stream, queries.pop(stream)))
            await writer.drain()


async def main():
    socket_path, certificate, key, *addresses = sys.argv[1:]
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    tls.set_alpn_protocols(["h2"])
    upstreams = {address: Upstream() for address in addresses}
    # They serve as long as somebody holds them.
    servers = [
        await asyncio.start_server(one.connection, address, HTTPS, ssl=tls)
        for address, one in upstreams.items()
    ]

    def change(wanted):
        for address, mode in wanted.items():
            upstreams[address].become(mode)

    await control.serve(socket_path, change)
    del servers


if __name__ == "__main__":
    asyncio.run(main())
