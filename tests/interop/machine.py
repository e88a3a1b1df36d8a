"""What the run needs of the machine: packages, a namespace of its own, processes that end with it.

Knows nothing of DNS.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

# Debian package -> a file of it that we use.
PACKAGES = {
    "unbound": "/usr/sbin/unbound",
    "bind9": "/usr/sbin/named",
    "dnsmasq-base": "/usr/sbin/dnsmasq",
    "bind9-dnsutils": "/usr/bin/dig",
    "knot-dnsutils": "/usr/bin/kdig",
    "knot": "/usr/sbin/knotd",
    "dnsdist": "/usr/bin/dnsdist",
    "knot-resolver": "/usr/sbin/kresd",
    "openssl": "/usr/bin/openssl",
    "golang-go": "/usr/bin/go",
    "musl-tools": "/usr/bin/musl-gcc",
    "iproute2": "/usr/sbin/ip",
    "python3-yaml": "/usr/lib/python3/dist-packages/yaml/__init__.py",
}
# systemd-resolved is unpacked only: its package would take over the machine's /etc/resolv.conf.
RESOLVED_PACKAGES = ["systemd-resolved", "libsystemd-shared"]
# What libsystemd-shared is linked with; most machines have them all.
RESOLVED_LIBRARIES = [
    "libacl1", "libblkid1", "libcap2", "libcrypt1", "libgcrypt20", "libidn2-0", "libip4tc2",
    "libkmod2", "liblz4-1", "libmount1", "libpam0g", "libseccomp2", "libselinux1", "libssl3",
    "libzstd1",
]
RESOLVED_USER_ID = 996
POLICY = Path("/usr/sbin/policy-rc.d")
INSIDE = "PRIVATELINKD_INTEROP_INSIDE"


class Missing(Exception):
    """Something that cannot be had on this machine."""


def install(cache, skipped):
    """Installs what is missing; gives package -> what is wrong for those that cannot be had."""
    wanted = [p for p, f in PACKAGES.items() if p not in skipped and not Path(f).exists()]
    resolved = cache / "resolved"
    unpack = "systemd-resolved" not in skipped and not resolved_binary(cache).exists()
    if not wanted and not unpack:
        return {}
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120"]
    wrong = {}
    subprocess.run([*apt, "update"], env=env, check=False, timeout=300)
    with services_held_back():
        add = [*apt, "install", "-y", "--no-install-recommends"]
        if wanted and subprocess.run([*add, *wanted], env=env, stdout=2, timeout=900).returncode:
            for package in wanted:
                subprocess.run([*add, package], env=env, stdout=2, timeout=600, check=False)
        wrong |= {p: "cannot be installed" for p in wanted if not Path(PACKAGES[p]).exists()}
        if unpack:
            lacking = [library for library in RESOLVED_LIBRARIES if not is_installed(library)]
            if lacking:
                subprocess.run([*add, *lacking], env=env, stdout=2, timeout=600, check=False)
            resolved.mkdir(parents=True, exist_ok=True)
            command = [*apt, "-o", "APT::Sandbox::User=root", "download", *RESOLVED_PACKAGES]
            subprocess.run(command, env=env, cwd=resolved, timeout=300, check=False)
            for archive in resolved.glob("*.deb"):
                subprocess.run(["dpkg", "-x", archive, resolved / "root"], check=False)
            if not resolved_binary(cache).exists():
                wrong["systemd-resolved"] = "cannot be downloaded"
    return wrong


def is_installed(package):
    command = ["dpkg-query", "-W", "-f", "${db:Status-Status}", package]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return done.stdout.startswith("installed")


def resolved_binary(cache):
    return cache / "resolved/root/lib/systemd/systemd-resolved"


def resolved_libraries(cache):
    return next((cache / "resolved/root/usr/lib").glob("*/systemd"))


class services_held_back:
    """While it lasts, no package that is installed starts its service (Debian's policy-rc.d)."""

    def __enter__(self):
        self.ours = not POLICY.exists()
        if self.ours:
            POLICY.write_text("#!/bin/sh\nexit 101\n")
            POLICY.chmod(0o755)

    def __exit__(self, *_):
        if self.ours:
            POLICY.unlink(missing_ok=True)


def enter_namespace():
    """Starts this script again where the network is a loopback of its own, mounts are private, and
    every process ends with the script. Does not return outside."""
    if os.environ.get(INSIDE):
        del os.environ[INSIDE]
        return
    unshare = shutil.which("unshare")
    if unshare is None or os.geteuid() != 0:
        sys.exit("interop: needs root and util-linux' unshare, for a network namespace of its own")
    os.environ[INSIDE] = "1"
    flags = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    flags += ["--propagation", "private"]
    os.execv(unshare, [unshare, *flags, sys.executable, *sys.argv])


def furnish(work):
    """Inside: the loopback up, an uplink that leads nowhere, own /run and own resolver files."""
    ip = PACKAGES["iproute2"]
    for line in [
        "link set lo up",
        # A second address of each family, to ask from and to ask at.
        "addr add 127.0.0.77/32 dev lo",
        "addr add fd00:53::77/128 dev lo",
        # systemd-resolved asks no server while the machine has no link but the loopback.
        "link add uplink type veth peer name nowhere",
        "addr add 192.0.2.1/24 dev uplink",
        "link set uplink up",
        "link set nowhere up",
    ]:
        subprocess.run([ip, *line.split()], check=True, timeout=10)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    Path("/run/systemd").mkdir()
    user = f"systemd-resolve:x:{RESOLVED_USER_ID}:"
    cover("/etc/passwd", work, with_line("/etc/passwd", f"{user}{RESOLVED_USER_ID}::/:/bin/false"))
    cover("/etc/group", work, with_line("/etc/group", user))
    cover("/etc/nsswitch.conf", work, "passwd: files\ngroup: files\nhosts: dns\n")
    cover("/etc/resolv.conf", work, "nameserver 127.0.0.78\noptions timeout:2 attempts:2\n")


def with_line(file, line):
    lines = Path(file).read_text().splitlines()
    name = line.split(":")[0] + ":"
    return "\n".join([*(old for old in lines if not old.startswith(name)), line, ""])


def cover(file, work, text):
    """Lays `text` over `file`, in this mount namespace only."""
    own = work / Path(file).name
    own.write_text(text)
    own.chmod(0o644)
    target = os.path.realpath(file)
    if not os.path.exists(target):
        raise Missing(f"{file} does not exist")
    subprocess.run(["mount", "--bind", own, target], check=True)


def cover_folder(folder, own):
    Path(folder).mkdir(exist_ok=True)
    subprocess.run(["mount", "--bind", own, folder], check=True)


class Processes:
    """Servers started here; each is ended by its own process id."""

    def __init__(self, logs):
        self.logs = logs
        self.running = {}

    def start(self, name, command, ready, env=None, seconds=15):
        """Starts `command` and waits until `ready()` says so."""
        log = self.logs / f"{name}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                env={**os.environ, **(env or {})}, cwd=self.logs,
            )
        self.running[name] = process
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if process.poll() is not None:
                raise Missing(f"{name} ended with {process.returncode}: {tail(log)}")
            if ready():
                return process
            time.sleep(0.05)
        raise Missing(f"{name} did not answer within {seconds} s: {tail(log)}")

    def log(self, name):
        return (self.logs / f"{name}.log").read_text(errors="replace")

    def stop(self, name, seconds=5):
        """Ends one with SIGTERM, after `seconds` with SIGKILL; gives its exit code."""
        process = self.running.pop(name)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def stop_all(self):
        for name in reversed(list(self.running)):
            self.stop(name)


def tail(log, lines=4):
    return " / ".join(log.read_text(errors="replace").splitlines()[-lines:])
