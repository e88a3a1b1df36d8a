#!/usr/bin/env python3
"""Follows docs/GUIDE.md word for word: its blocks are run as a reader pastes them.

    tests/guide/run.py [--binary target/debug/privatelinkd] [--only on-prem|hybrid|isolated]
                       [--guide docs/GUIDE.md] [--keep]

Each of the three deployments gets network namespaces and folders of its own. A block of the shell
must succeed. A block of output must be what the block before it printed, and a block of TOML must be
in the configuration. A block of YAML is saved under its name. Then the run tries the chapter's
claims: answers by client, a dead upstream, a dead endpoint, a second host. It lists steps that need
Windows, a container engine or a real systemd as skipped, and says what stands in for them. It prints
one line for each check; the last line counts.

Needs root, for namespaces and an overlay over /etc; without, it says so and checks nothing.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import book
import place
from place import machine
import snippets
from checks import Tally

CONFIG = Path("/etc/privatelinkd/privatelinkd.toml")
INSIDE = "PRIVATELINKD_GUIDE_INSIDE"
PACKAGES = ["unbound", "bind9-dnsutils", "iproute2", "python3-yaml"]
API = "api.cloud.defender.microsoft.com"
HOP = "api.privatelink.cloud.defender.microsoft.com."
WEU, NEU = "10.1.0.5", "10.2.0.5"
# What the guide says of rules for zones: those inside others are Windows' alone.
OUTER = ["cloud.defender.microsoft.com", "vault.azure.net", "vaultcore.azure.net"]
INNER = ["privatelink.cloud.defender.microsoft.com", "privatelink.vaultcore.azure.net"]
RULES = {
    "windows": r"^    '([a-z.]+)'$",
    "bind": r'^zone "([^"]+)"',
    "unbound": r'^    name: "([^"]+)"',
    "dnsmasq": r"^server=/([^/]+)/",
    "systemd-resolved": r"^Domains=~(\S+)$",
    "coredns": r"^([a-z.]+):53 {",
    "coredns-custom": r"^    ([a-z.]+):53 {",
}
TWO_SERVICES = """
[listen]
dns = ["0.0.0.0:53"]

[[private-link]]
service = "defender-for-containers"

[[private-link.endpoint]]
name = "hub"
addresses = ["10.1.0.5"]

[[private-link]]
service = "key-vault"

[[private-link.endpoint]]
name = "vault"
names = { "contoso" = ["10.1.0.8"] }

[[forward]]
zones = ["."]
upstreams = ["10.0.0.4"]
"""
# `fall` × `interval` of the guide, and what a busy machine may add.
FAILOVER_SECONDS = 15 + 15


class Reader:
    """Follows blocks in their order, and remembers what the last command printed."""

    def __init__(self, who, tally):
        self.who, self.tally = who, tally
        self.said, self.commands = "", 0

    def check(self, what, good, expected="", got=""):
        self.tally.check(self.who, what, good, expected, got)

    def skip(self, block, reason):
        print(f"skipped {self.who} {block.step} (line {block.line}): {reason}", flush=True)

    def follow(self, block):
        what = f"{block.step or 'before the steps'} (line {block.line})"
        if block.language == "sh":
            code, self.said = place.run(block.text)
            self.commands += 1
            self.check(f"{what} runs", code == 0, "exit 0", f"exit {code}: {self.said.strip()}")
            clean = "PROBLEM" not in self.said
            self.check(f"{what} finds no problem", clean, "none", self.said.strip())
        elif block.language == "text":
            missing = book.lacks(block.text, self.said)
            self.check(f"{what} is what was printed", missing is None, missing, self.said.strip())
        elif block.language == "toml":
            lines = [line for line in block.text.splitlines() if line.strip()]
            missing = [line for line in lines if line not in CONFIG.read_text()]
            self.check(f"{what} is in the file", not missing, missing, CONFIG.read_text())
        elif block.language == "yaml" and block.file:
            (place.CHECKOUT / block.file).write_text(block.text)
        elif block.language == "dockerfile":
            self.skip(block, "needs a container engine; the pod runs the binary under test")
        else:
            self.check(f"{what} is of a kind that can be followed", False, "sh", block.language)

    def asks(self, what, host, server, name, expected, source=None):
        got = place.look_up(host, name, server, source)
        self.check(what, got == expected, expected, got)


def on_prem(reader, processes, guide, chapter):
    place.unbound(processes, "world", place.UPSTREAMS, place.WORLD)
    etc = Path("/etc/unbound/unbound.conf")
    place.unbound(processes, "dns", [place.DNS, "127.0.0.1"], place.ON_PREM, etc)
    for block in guide[""].blocks + chapter.blocks:
        reader.follow(block)
        if "systemctl" in block.text:
            reader.skip(block, "systemd itself; a stub runs the unit's commands")
            # The guide installs it on two hosts; this one has the same files.
            command = place.at("second", "privatelinkd", "run", "--config", CONFIG)
            processes.start("second-host", command, place.answers("second", place.SECOND))
        if "snippet windows" in block.text:
            reader.skip(block, "what it prints runs in PowerShell on a Windows DNS server")
        if "snippet unbound" in block.text:
            load_snippet(reader, chapter)
    zones_of_snippets(reader, chapter)
    asks = reader.asks
    asks("clients get the private address", "client", place.DNS, API, [HOP, WEU])
    asks("others are forwarded", "client", place.DNS, "www.example.com", ["192.0.2.80"])
    place.run("systemctl stop privatelinkd")
    code, said = place.run("unbound-control -q flush_zone .")
    reader.check("the DNS server's cache is emptied", code == 0, "exit 0", said)
    asks("the second host answers while the first is down", "client", place.DNS, API, [HOP, WEU])
    processes.stop("unbound-world")
    asks("private names need no upstream", "client", place.SECOND, API, [HOP, WEU])


def load_snippet(reader, chapter):
    """Does what the guide says between its blocks: saves the snippet, runs its commands."""
    named = re.search(r"save what this prints as `(\S+?)`", chapter.text)
    reader.check("the guide says where the snippet goes", named, "a path", chapter.title)
    printed = place.CHECKOUT / "privatelinkd.conf"
    text = printed.read_text()
    shutil.move(printed, named[1])
    for command, expected in snippets.commands(text):
        code, said = place.run(place.at("dns", "sh", "-c", command), "/")
        got = sorted(said.lower().split("\n")[:-1])
        wanted = sorted(line for line in expected if not line.startswith("("))
        good = code == 0 and got == wanted
        reader.check(f"the snippet's command: {command}", good, wanted, f"exit {code}: {said}")


def zones_of_snippets(reader, chapter):
    """What the guide says of zones inside others, and of Key Vault's, holds for every target."""
    config = place.CHECKOUT / "two-services.toml"
    config.write_text(TWO_SERVICES)
    for target, rule in RULES.items():
        command = ["privatelinkd", "snippet", target, "--config", config, "--server", place.US]
        code, said = place.run(command)
        got = sorted(re.findall(rule, said, re.MULTILINE))
        wanted = sorted(OUTER + INNER if target == "windows" else OUTER)
        reader.check(f"snippet {target} has the rules that the guide names", got == wanted, wanted,
                     got or f"exit {code}: {said}")
    missing = [zone for zone in OUTER + INNER if f"`{zone}`" not in chapter.text]
    reader.check("the guide names these zones", not missing, "all", missing)


def hybrid(reader, processes, guide, chapter):
    place.unbound(processes, "world", place.UPSTREAMS, place.WORLD)
    for host in ("weu", "neu"):
        place.open_ports(processes, host)
    install = guide[ON_PREM].blocks[0]
    reader.follow(install)
    for block in chapter.blocks:
        reader.follow(block)
        if "systemctl" in block.text:
            reader.skip(block, "systemd itself; a stub runs the unit's commands")

    def answer(source):
        return place.look_up("client", API, place.US, source)

    for source, address in ((place.CLIENT_WEU, WEU), (place.CLIENT_NEU, NEU)):
        got = answer(source)
        reader.check(f"{source} gets the near endpoint", got == [HOP, address], address, got)
    place.silence("weu")
    begun = time.monotonic()
    got = wait_for(lambda: answer(place.CLIENT_WEU), [HOP, NEU], FAILOVER_SECONDS)
    reader.check(
        f"a client of a dead endpoint gets the other one, after {time.monotonic() - begun:.0f} s",
        got == [HOP, NEU], NEU, got,
    )
    live = f"privatelinkd explain {API} --client {place.CLIENT_WEU} --live"
    code, said = place.run(live)
    reader.check("explain --live says that it is down", "down" in said, "down", said)
    place.end_silence("weu")
    got = wait_for(lambda: answer(place.CLIENT_WEU), [HOP, WEU], FAILOVER_SECONDS)
    reader.check("and the near one again when that is back", got == [HOP, WEU], WEU, got)
    reader.asks("others are forwarded", "client", place.US, "www.example.com", ["192.0.2.80"])
    processes.stop("unbound-world")
    got = answer(place.CLIENT_NEU)
    reader.check("private names need no upstream", got == [HOP, NEU], NEU, got)
    reader.asks("a cached name outlives its upstream", "client", place.US, "www.example.com",
                ["192.0.2.80"])


def wait_for(ask, expected, seconds):
    end = time.monotonic() + seconds
    while (got := ask()) != expected and time.monotonic() < end:
        time.sleep(0.5)
    return got


def isolated(reader, processes, guide, chapter):
    place.unbound(processes, "world", place.UPSTREAMS, place.WORLD)
    place.unbound(processes, "dns", [place.DNS], place.CLUSTER)
    image = next(block for block in chapter.blocks if block.language == "dockerfile").text
    target = re.search(r"^COPY target/release/privatelinkd (\S+)$", image, re.MULTILINE)
    reader.check("the image gets the binary that cargo builds", target, "COPY", image)
    entry = f'ENTRYPOINT ["{target[1]}"]'
    reader.check("the image runs what it copied", entry in image, entry, image)
    place.run(f"install -m 755 {os.environ['GUIDE_BINARY']} {target[1]}")
    for block in chapter.blocks:
        reader.follow(block)
        if "kubectl apply" in block.text:
            reader.skip(block, "a cluster; a stub starts the sidecar as its pod says")
        if "snippet coredns-custom" in block.text:
            reader.skip(block, "CoreDNS; tests/interop and tests/snippets read what it prints")

    def getent(name, expected):
        code, said = place.run(["getent", "ahostsv4", name], "/")
        got = sorted({line.split()[0] for line in said.splitlines()})
        reader.check(f"a neighbour looks up {name}", got == expected, expected, got)

    getent(API, [WEU])
    getent("data.westeurope.cloud.defender.microsoft.com", ["10.1.0.6"])
    getent("www.example.com", ["192.0.2.80"])
    getent("kubernetes.default.svc.cluster.local", ["10.0.0.1"])
    getent("kubernetes", ["10.0.0.1"])


ON_PREM = "On-prem: behind the conditional forwarders you have"
CHAPTERS = {
    "on-prem": (ON_PREM, on_prem),
    "hybrid": ("A hybrid site: several networks, several endpoints", hybrid),
    "isolated": ("An isolated VNet: beside your containers", isolated),
}
TROUBLE = "What goes wrong, and how it looks"


def names_of_checks(tally, guide):
    """Each name in the tables is one that doctor gives: people search for it."""
    source = "".join(file.read_text() for file in (place.ROOT / "src/doctor").rglob("*.rs"))
    names = book.names_of_checks(guide[TROUBLE])
    unknown = sorted(name for name in names if f'"{name}"' not in source)
    tally.check("tables", f"{len(names)} names of findings", len(names) > 20 and not unknown,
                "names that doctor gives", unknown)


def one_chapter(name, text, binary, work):
    """Inside fresh namespaces."""
    tally = Tally()
    title, follow = CHAPTERS[name]
    guide = book.chapters(text)
    processes = machine.Processes(work)
    try:
        place.build(binary)
        reader = Reader(name, tally)
        follow(reader, processes, guide, guide[title])
        reader.check(f"{reader.commands} blocks of commands were run", reader.commands >= 4)
    except (machine.Missing, place.Refused) as missing:
        tally.check(name, "set-up", False, "a machine to follow the guide on", missing)
    finally:
        processes.stop_all()
    (work / "tally").write_text(f"{tally.passed} {tally.failed}")


def in_namespaces(name, text, binary, work):
    work.mkdir()
    unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
               "--propagation", "private"]
    command = [*unshare, sys.executable, __file__, "--binary", binary, "--guide", text]
    command += ["--only", name]
    subprocess.run(list(map(str, command)), env={**os.environ, INSIDE: str(work)}, timeout=600)
    counted = work / "tally"
    if not counted.exists():
        return 0, 1
    return tuple(map(int, counted.read_text().split()))


def main():
    arguments = parse()
    target = Path(os.environ.get("CARGO_TARGET_DIR") or place.ROOT / "target").resolve()
    binary = Path(arguments.binary or target / "debug/privatelinkd").resolve()
    text = Path(arguments.guide or place.ROOT / "docs/GUIDE.md").resolve()
    if not os.access(binary, os.X_OK):
        sys.exit(f"guide: {binary} is not there: run `cargo build`, or say --binary")
    if inside := os.environ.pop(INSIDE, None):
        return one_chapter(arguments.only, text, binary, Path(inside))
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        print("guide: skipped: needs root and util-linux' unshare, for namespaces of its own")
        return None
    cache = target / "guide"
    cache.mkdir(parents=True, exist_ok=True)
    others = [package for package in machine.PACKAGES if package not in PACKAGES]
    for package, wrong in machine.install(cache, [*others, "systemd-resolved"]).items():
        print(f"# {package} {wrong}", flush=True)
    tally = Tally()
    names_of_checks(tally, book.chapters(text))
    work = Path(tempfile.mkdtemp(prefix="privatelinkd-guide-"))
    try:
        for name in [arguments.only] if arguments.only else CHAPTERS:
            passed, failed = in_namespaces(name, text, binary, work / name)
            tally.passed += passed
            tally.failed += failed
    finally:
        if arguments.keep:
            print(f"# logs: {work}")
        else:
            shutil.rmtree(work, ignore_errors=True)
    print(f"{tally.passed} passed, {tally.failed} failed", flush=True)
    sys.exit(1 if tally.failed or not tally.passed else 0)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", help="the daemon (default: target/debug/privatelinkd)")
    parser.add_argument("--only", choices=CHAPTERS, help="one deployment")
    parser.add_argument("--guide", help="another text (default: docs/GUIDE.md)")
    parser.add_argument("--keep", action="store_true", help="keep logs")
    return parser.parse_args()


if __name__ == "__main__":
    main()
