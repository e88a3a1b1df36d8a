"""Where the run's traffic stays: its own namespaces, one link to ask over and one to flood over.

    run's own namespace          server                    flood
    ASKER  10.53.0.1 ==veth== 10.53.0.2 SERVED
                              10.53.1.2      ==veth== 10.53.1.1  (kxdpgun, native XDP)

Closed loops use the loopback of the run's own namespace. Everything is gone when the run's mount
and network namespaces are: nothing is left on the machine. Knows nothing of DNS.
"""

import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

LOOPBACK = "127.0.0.1"
SERVED = "10.53.0.2"
SERVER_SPACE, FLOOD_SPACE = "server", "flood"
# The flood's link and the way from there to SERVED.
FLOOD_LINK, FLOOD_GATEWAY = "gun", "10.53.1.2"
FOLDER = "PRIVATELINKD_OWN_MACHINE_FOLDER"


@dataclass(frozen=True)
class Network:
    """Where servers stand and listen at one work."""

    address: str
    space: str | None = None  # a network namespace's name; None: the run's own

    def inside(self, command):
        """`command` run where the servers stand; its process id stays the one that is started."""
        return [*within(self.space), *command] if self.space else command


ON_LOOPBACK = Network(LOOPBACK)
OVER_LINK = Network(SERVED, SERVER_SPACE)


def within(space):
    return ["ip", "netns", "exec", space]


def is_outside():
    return FOLDER not in os.environ


def own_machine(run="side-by-side"):
    """Starts this script again in namespaces of its own; gives the temporary folder there.

    `run` is its name, for what it says and for the folder.
    Outside it does not return: it waits, and whatever ends it (Ctrl-C and SIGTERM too) ends all
    that was started and takes the folder away.
    """
    if folder := os.environ.pop(FOLDER, None):
        # Ctrl-C reaches the whole foreground group; who stands outside acts on it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return Path(folder)
    if os.geteuid() != 0:
        sys.exit(f"{run}: needs root, for namespaces of its own")
    for ends in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ends, lambda number, _: sys.exit(128 + number))
    folder = Path(tempfile.mkdtemp(prefix=f"privatelinkd-{run}-"))
    # Servers that give up root still read what we wrote for them.
    folder.chmod(0o755)
    # Killed by SIGKILL we cannot clean up; the kernel then ends the rest for us.
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--fork"]
    command += ["--kill-child", "--mount-proc", "--propagation", "private", sys.executable]
    inner = None
    try:
        inner = subprocess.Popen([*command, *sys.argv], env={**os.environ, FOLDER: str(folder)})
        sys.exit(inner.wait())
    finally:
        if inner and inner.poll() is None:
            # unshare blocks other signals; with it goes the namespaces' first process, and all.
            inner.kill()
            inner.wait()
        rmtree(folder, ignore_errors=True)


def furnish():
    """Builds the links.

    A veth hands a packet on where it was sent: a query's way up to the server's socket is the
    generator's core's work, as with a network card whose interrupts go elsewhere. Packet steering
    would bring it to the server's core; the kernel's softirq thread then competes with the server,
    and one server's figures spread over 20 % instead of 7 %.
    """
    for kind, at in (("tmpfs", "/run"), ("sysfs", "/sys"), ("bpf", "/sys/fs/bpf")):
        subprocess.run(["mount", "-t", kind, kind, at], check=True)
    gun, asker = f"-n {FLOOD_SPACE}", "asker"
    for line in [
        "link set lo up",
        f"netns add {SERVER_SPACE}",
        f"netns add {FLOOD_SPACE}",
        f"-n {SERVER_SPACE} link set lo up",
        f"link add {asker} type veth peer name askers netns {SERVER_SPACE}",
        f"{gun} link add {FLOOD_LINK} type veth peer name floods netns {SERVER_SPACE}",
        f"addr add 10.53.0.1/24 dev {asker}",
        f"-n {SERVER_SPACE} addr add {SERVED}/24 dev askers",
        f"{gun} addr add 10.53.1.1/24 dev {FLOOD_LINK}",
        f"-n {SERVER_SPACE} addr add {FLOOD_GATEWAY}/24 dev floods",
        f"link set {asker} up",
        f"-n {SERVER_SPACE} link set askers up",
        f"{gun} link set {FLOOD_LINK} up",
        f"-n {SERVER_SPACE} link set floods up",
        f"{gun} route add {SERVED} via {FLOOD_GATEWAY}",
    ]:
        subprocess.run(["ip", *line.split()], check=True, timeout=10)
