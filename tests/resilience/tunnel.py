#!/usr/bin/env python3
"""The tunnel between the server under test and its upstreams, with the faults of a bad line.

    tunnel.py CONTROL NEAR FAR ADDRESS…

Makes two TUN devices, NEAR and FAR, and carries every IPv4 packet from one to the other; who
started it moves them into network namespaces. Each ADDRESS is an upstream at the far end with a
path of its own: how long a packet takes, how much longer at random (which reorders), how many get
lost, each way alike. CONTROL is a socket that takes
{"ADDRESS": {"delay_ms": …, "jitter_ms": …, "loss": …}}.

It works on packets, so TCP retransmits and reorders, ICMP is lost and TLS stalls as on a real line.
"""

import asyncio
import fcntl
import heapq
import ipaddress
import os
import random
import struct
import sys

import control

# linux/if_tun.h: layer 3, no packet information before each packet.
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
MOST_OCTETS = 2048
# A packet more than this many under way is lost, as at any queue: 4,096 are 2 s at 2,000 a second.
MOST_UNDER_WAY = 4096
# Where addresses stand in an IPv4 header (RFC 791 3.1).
SOURCE, DESTINATION = slice(12, 16), slice(16, 20)
HEALTHY = {"delay_ms": 0.0, "jitter_ms": 0.0, "loss": 0.0}


class Tunnel:
    """Both ends, and the packets under way."""

    def __init__(self, near, far, addresses):
        self.loop = asyncio.get_running_loop()
        self.paths = {octets_of(address): dict(HEALTHY) for address in addresses}
        self.under_way = []  # heap of (due, serial, device, packet)
        self.serial = 0
        self.timer = None
        ends = device(near), device(far)
        for here, there, address in ((*ends, DESTINATION), (*reversed(ends), SOURCE)):
            self.loop.add_reader(here, self.take, here, there, address)

    def change(self, wanted):
        for address, values in wanted.items():
            self.paths[octets_of(address)].update(values)

    def take(self, here, there, address):
        try:
            while packet := os.read(here, MOST_OCTETS):
                # IPv6 has no path here: what the kernel says of itself over it goes nowhere.
                path = self.paths.get(packet[address], HEALTHY)
                if packet[0] >> 4 == 4 and random.random() >= path["loss"]:
                    self.carry(there, packet, path)
        except BlockingIOError:
            pass
        except OSError:
            # The device is down: what it would have carried is lost.
            pass

    def carry(self, there, packet, path):
        seconds = (path["delay_ms"] + random.random() * path["jitter_ms"]) / 1000
        if len(self.under_way) < MOST_UNDER_WAY:
            self.serial += 1
            due = self.loop.time() + seconds
            heapq.heappush(self.under_way, (due, self.serial, there, packet))
            self.wake()

    def wake(self):
        """Sets the timer for the packet that is due first."""
        if self.timer:
            self.timer.cancel()
        self.timer = None
        if self.under_way:
            self.timer = self.loop.call_at(self.under_way[0][0], self.deliver)

    def deliver(self):
        now = self.loop.time()
        while self.under_way and self.under_way[0][0] <= now:
            _, _, there, packet = heapq.heappop(self.under_way)
            try:
                os.write(there, packet)
            except OSError:
                # Down, or its queue is full: lost.
                pass
        self.wake()


def octets_of(address):
    return ipaddress.IPv4Address(address).packed


def device(name):
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    request = struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI)
    fcntl.ioctl(file, TUNSETIFF, request)
    return file


async def main():
    socket, near, far, *addresses = sys.argv[1:]
    tunnel = Tunnel(near, far, addresses)
    await control.serve(socket, tunnel.change)


if __name__ == "__main__":
    asyncio.run(main())
