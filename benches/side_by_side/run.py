#!/usr/bin/env python3
"""privatelinkd beside the DNS servers that people use, measured in one run.

Installs the peers from Debian's packages (as root), gives each one thread on core 0, loads it from
core 1, inside a network namespace of its own. Tables go to stdout, progress to stderr.

examples:
  run.py                                          all works, all servers, 3 rounds
  run.py --quick                                  a first impression within 3 minutes
  run.py --works private,cached --servers echo,privatelinkd,NSD --rounds 5
  run.py --privatelinkd other/privatelinkd --json /tmp/figures.json
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Processes, the namespace and the asking tool are the interop run's.
sys.path.append(str(ROOT / "tests/interop"))

import figures
import load
import machine
import measure
import servers

WORKS = list(load.SHAPES)
ROUNDS, SECONDS = 3, 3.0
QUICK_ROUNDS, QUICK_SECONDS = 3, 1.0
TOOLS = {"dnsperf": "/usr/bin/dnsperf", "knot-dnsutils": "/usr/bin/kdig"}


def main():
    arguments = parse()
    binary = arguments.privatelinkd
    if machine.INSIDE not in os.environ:
        if not arguments.no_install:
            install(servers.all_of(binary))
        if not arguments.given:
            subprocess.run(
                ["cargo", "build", "--release", "--locked"], cwd=ROOT, check=True, stdout=2
            )
    if not os.access(binary, os.X_OK):
        sys.exit(f"side by side: {binary} is not there")
    machine.enter_namespace()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    known = [one for one in servers.all_of(binary) if chosen(one.name, arguments.servers)]
    folder = Path(tempfile.mkdtemp(prefix="privatelinkd-side-by-side-"))
    # Servers that give up root still read what we wrote for them.
    folder.chmod(0o755)
    bench = None
    try:
        measure.compile_programs(folder)
        bench = measure.Bench(folder, known)
        results = everything(bench, arguments)
    finally:
        if bench:
            bench.processes.stop_all()
        shutil.rmtree(folder, ignore_errors=True)
    print(figures.tables(results))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    sys.exit(1 if results["skipped"] else 0)


def everything(bench, arguments):
    works = {}
    for work in arguments.works:
        measure.say(f"{work}:")
        works[work] = bench.run(work, arguments.rounds, arguments.seconds)
    notes = {}
    for server in bench.known:
        for work, note in server.notes.items():
            notes.setdefault(work, {})[server.name] = note
    return {
        "works": works,
        "notes": notes,
        "idle_mib": bench.idle_mib,
        "skipped": [f"{name} at {work}: {why}" for (work, name), why in bench.failures.items()],
    }


def chosen(name, wanted):
    return not wanted or name.lower() in wanted


def install(known):
    """Installs the packages whose program is absent; who cannot be had is skipped later, aloud."""
    wanted = [p for p, file in TOOLS.items() if not Path(file).exists()]
    wanted += [one.package for one in known if one.package and not Path(one.program).exists()]
    if not wanted:
        return
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120"]
    with machine.services_held_back():
        subprocess.run([*apt, "update"], env=env, stdout=2, check=False)
        for package in wanted:
            add = [*apt, "install", "-y", "--no-install-recommends", package]
            subprocess.run(add, env=env, stdout=2, check=False)


def parse():
    summary, _, rest = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--works", type=words, default=WORKS, help=f"of {','.join(WORKS)} (default: all)")
    add("--servers", type=words, default=[], help="names as in the tables (default: all)")
    add("--rounds", type=int, help=f"each server's turns at each work (default: {ROUNDS})")
    add("--seconds", type=float, help=f"of one turn (default: {SECONDS})")
    add("--quick", action="store_true", help=f"turns of {QUICK_SECONDS} s")
    add("--json", type=Path, metavar="FILE", help="write all figures there")
    add("--privatelinkd", type=Path, metavar="PATH", help="the daemon (default: built here)")
    add("--no-install", action="store_true", help="install no package")
    arguments = parser.parse_args()
    if unknown := set(arguments.works) - set(WORKS):
        parser.error(f"--works: {', '.join(unknown)} is none of {', '.join(WORKS)}")
    names = {one.name.lower() for one in servers.all_of("")}
    if unknown := set(arguments.servers) - names:
        parser.error(f"--servers: {', '.join(unknown)} is none of {', '.join(sorted(names))}")
    arguments.rounds = arguments.rounds or (QUICK_ROUNDS if arguments.quick else ROUNDS)
    arguments.seconds = arguments.seconds or (QUICK_SECONDS if arguments.quick else SECONDS)
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
    arguments.given = arguments.privatelinkd is not None
    arguments.privatelinkd = (arguments.privatelinkd or target / "release/privatelinkd").resolve()
    return arguments


def words(text):
    return [word.strip().lower() for word in text.split(",") if word.strip()]


if __name__ == "__main__":
    main()
