"""Installs what lacks: the peers' and the tools' packages, hickory-dns by cargo."""

import os
import subprocess
from pathlib import Path

import machine

TOOLS = {
    "dnsperf": "/usr/bin/dnsperf",
    "knot-dnsutils": "/usr/sbin/kxdpgun",
    "iproute2": "/usr/sbin/ip",
    "gcc": "/usr/bin/cc",
}
HICKORY_VERSION = "0.26.3"


def packages(known):
    """Installs the packages whose program is absent; who cannot be had is skipped later, aloud."""
    wanted = [package for package, file in TOOLS.items() if not Path(file).exists()]
    wanted += [one.package for one in known if one.package and not Path(one.program).exists()]
    apt(wanted)


def plotting():
    """The interpreter that has matplotlib: Debian's, as its package lies there."""
    python = "/usr/bin/python3"
    if subprocess.run([python, "-c", "import matplotlib"], capture_output=True).returncode:
        apt(["python3-matplotlib"])
    return python


def apt(wanted):
    if not wanted:
        return
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    command = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120"]
    with machine.services_held_back():
        subprocess.run([*command, "update"], env=env, stdout=2, check=False)
        for package in wanted:
            add = [*command, "install", "-y", "--no-install-recommends", package]
            subprocess.run(add, env=env, stdout=2, check=False)


def hickory(folder):
    """Builds hickory-dns into `folder`; cargo does nothing where this version is there already."""
    command = ["cargo", "install", "hickory-dns", "--version", HICKORY_VERSION, "--locked"]
    command += ["--no-default-features", "--features", "resolver", "--root", folder]
    subprocess.run(command, stdout=2, check=True)
