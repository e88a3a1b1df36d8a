"""One trial's network, and what can be broken in it.

    run's own namespace             server<n>                                 far<n>
    asker 10.9x.0.1 ==veth== 10.9x.0.2 SERVED
    attacker  …  .3
                             10.9x.1.2 ==TUN, carried by tunnel.py== 10.9x.1.1
                                                                     10.9x.2.1, 10.9x.3.1 upstreams,
                                                                     10.9x.4.1 resolver of their hosts

Several may stand beside each other, told apart by n. Everything goes with the run's own namespaces.
"""

import subprocess
import sys
from pathlib import Path

import control
import network

HERE = Path(__file__).resolve().parent
FIRST_NET = 90
# As WireGuard's.
TUNNEL_MTU = 1420
# One way. A round trip of 20 ms is a VPN to a data centre of the same country.
DELAY_MS = 10
NFT_TABLE = "inet faults"


class World:
    """Namespaces, links and the two programs of the run's own at them."""

    def __init__(self, number, folder, processes, certificate):
        self.number = number
        self.folder = folder
        self.processes = processes
        self.certificate = certificate  # path, key's path
        net = f"10.{FIRST_NET + number}"
        self.asker, self.served, self.attacker = f"{net}.0.1", f"{net}.0.2", f"{net}.0.3"
        self.gateway, self.near, self.later = f"{net}.1.1", f"{net}.1.2", f"{net}.1.3"
        self.a, self.b = f"{net}.2.1", f"{net}.3.1"
        self.both = (self.a, self.b)
        # The resolver of the upstreams' host names.
        self.hosts = f"{net}.4.1"
        self.far_addresses = (*self.both, self.hosts)
        # Always honest and never dropped, for what stands beside the upstreams.
        self.behind = "127.0.0.1"
        self.server_space, self.far_space = f"server{number}", f"far{number}"
        self.near_link, self.far_link = f"near{number}", f"far{number}"
        self.source = self.near
        self.dropped = {}  # address -> what of it is dropped

    # Set-up

    def build(self):
        server, far = f"-n {self.server_space}", f"-n {self.far_space}"
        ask, asked = f"ask{self.number}", f"asked{self.number}"
        ip(
            f"netns add {self.server_space}",
            f"netns add {self.far_space}",
            f"{server} link set lo up",
            f"{far} link set lo up",
            f"link add {ask} type veth peer name {asked} netns {self.server_space}",
            f"addr add {self.asker}/24 dev {ask}",
            f"addr add {self.attacker}/24 dev {ask}",
            f"{server} addr add {self.served}/24 dev {asked}",
            f"link set {ask} up",
            f"{server} link set {asked} up",
        )
        self.program("tunnel", [self.near_link, self.far_link, *self.far_addresses])
        ip(
            f"link set {self.near_link} mtu {TUNNEL_MTU} netns {self.server_space}",
            f"link set {self.far_link} mtu {TUNNEL_MTU} netns {self.far_space}",
            f"{far} addr add {self.gateway}/24 dev {self.far_link}",
            f"{far} link set {self.far_link} up",
            *(f"{far} addr add {address}/32 dev lo" for address in self.far_addresses),
        )
        self.address(self.near)
        self.link("up")
        self.program("far_end", [*self.certificate, *self.far_addresses, self.behind], self.far_space)
        self.line(DELAY_MS, self.far_addresses)

    def program(self, name, words, space=None):
        """Starts one of our own beside this file and waits until it listens to us."""
        socket = self.socket(name)
        command = [sys.executable, HERE / f"{name}.py", socket, *words]
        self.processes.start(
            name, [*(network.within(space) if space else []), *command],
            lambda: control.listens(socket),
        )

    def socket(self, name):
        return self.folder / f"{name}.socket"

    def remove(self):
        # The kernel takes a namespace's links away in its own time; the next trial has their names.
        subprocess.run(["ip", "link", "delete", f"ask{self.number}"], check=False, timeout=10)
        for space in (self.server_space, self.far_space):
            subprocess.run(["ip", "netns", "delete", space], check=False, timeout=10)

    # Faults

    def attack(self, name):
        """Starts a hostile client, which goes on until the trial's end."""
        command = [sys.executable, HERE / "attacker.py", name, self.attacker, self.served]
        self.processes.start("attacker", command, lambda: True)

    def line(self, delay_ms, addresses, loss=0.0, jitter_ms=0.0):
        """How the line to these is, one way."""
        values = {"delay_ms": delay_ms, "jitter_ms": jitter_ms, "loss": loss}
        control.tell(self.socket("tunnel"), {address: values for address in addresses})

    def drop(self, *addresses, of=""):
        """Packets to these vanish at the far end; `of` narrows it, as nft says it."""
        self.dropped |= {address: of for address in addresses}
        self.filter()

    def restore(self, *addresses):
        for address in addresses:
            self.dropped.pop(address, None)
        self.filter()

    def filter(self):
        rules = "".join(f"    ip daddr {one} {of} drop\n" for one, of in self.dropped.items())
        ruleset = (
            f"table {NFT_TABLE}\ndelete table {NFT_TABLE}\ntable {NFT_TABLE} {{\n  chain in {{\n"
            f"    type filter hook input priority 0; policy accept;\n{rules}  }}\n}}\n"
        )
        command = [*network.within(self.far_space), "nft", "-f", "-"]
        subprocess.run(command, input=ruleset, text=True, check=True, timeout=10)

    def upstream(self, mode, *addresses):
        control.tell(self.socket("far_end"), {address: mode for address in addresses})

    def web_end(self):
        """Starts upstreams of DNS over HTTPS that answer with statuses if told to."""
        self.program("web_end", [*self.certificate, *self.both], self.far_space)

    def web(self, mode, *addresses):
        control.tell(self.socket("web_end"), {address: mode for address in addresses})

    def link(self, state):
        """The tunnel's device; up, its route comes back too, as a VPN client sets it."""
        ip(f"-n {self.server_space} link set {self.near_link} {state}")
        if state == "up":
            self.route()

    def address(self, wanted):
        """The address that the tunnel gives the server, or none."""
        device = f"dev {self.near_link}"
        ip(f"-n {self.server_space} addr flush {device}")
        if wanted:
            ip(f"-n {self.server_space} addr add {wanted}/24 {device}")
            self.source = wanted

    def route(self):
        ip(f"-n {self.server_space} route replace default via {self.gateway} src {self.source}")

    def black_hole_routes(self, verb, *addresses):
        """`verb`: add or delete."""
        ip(*(f"-n {self.server_space} route {verb} blackhole {one}/32" for one in addresses))


def ip(*lines):
    for line in lines:
        subprocess.run(["ip", *line.split()], check=True, timeout=10)
