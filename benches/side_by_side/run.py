#!/usr/bin/env python3
"""privatelinkd beside the DNS servers that people use, measured in one run.

Installs the peers from Debian's packages (as root), gives each one thread on core 0, loads it from
core 1, in network namespaces of its own. Tables go to stdout, progress to stderr.

examples:
  run.py                                          all works, all servers
  run.py --quick                                  a first impression within 3 minutes
  run.py --works private,cached --servers echo,privatelinkd,NSD --rounds 5
  run.py --privatelinkd other/privatelinkd --json /tmp/figures.json
  run.py --works miss --other-build old/privatelinkd   what a change costs beside the old build
  run.py --works memory --record                  that work's figures into docs/, the rest stays
  run.py --merge /tmp/figures.json --draw         docs/ again from stored figures, nothing measured
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Processes and the asking tool are the interop run's.
sys.path.append(str(ROOT / "tests/interop"))

import install
import measure
import network
import origin
import page
import servers
import tables
import works

ROUNDS, SECONDS = 3, 2.0
QUICK_ROUNDS, QUICK_SECONDS = 2, 1.0
QUICK_WORKS = ["private", "cached", "miss", "overload-private", "overload-cached"]
QUICK_SERVERS = [servers.ECHO, servers.OURS, "nsd", "unbound", "dnsdist"]


def main():
    arguments = parse()
    if arguments.draw:
        stored = page.stored(ROOT)
        for file in arguments.merge:
            stored = page.merged(stored, json.loads(file.read_text()))
        page.record(ROOT, stored)
        return
    folder = prepared(arguments)
    if not os.access(arguments.privatelinkd, os.X_OK):
        sys.exit(f"side by side: {arguments.privatelinkd} is not there")
    known = [one for one in known_servers(arguments) if chosen(one.name, arguments.servers)]
    network.furnish()
    measure.compile_programs(folder)
    bench = measure.Bench(folder, known)
    results = {"works": {}}
    try:
        for name in arguments.works:
            results["works"][name] = one_work(bench, works.ALL[name], arguments)
            if arguments.json:
                arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    finally:
        bench.processes.stop_all()
    print(tables.markdown(results))
    if arguments.record:
        page.record(ROOT, page.merged(page.stored(ROOT), results))
    sys.exit(1 if any(work["skipped"] for work in results["works"].values()) else 0)


def one_work(bench, work, arguments):
    """Measures one work; the figures with all that tells where they come from."""
    measure.say(f"{work.name}: {work.says}")
    figures = bench.run(work, arguments.rounds, arguments.seconds)
    measured = [one for one in bench.known if one.name in figures]
    return {
        **origin.of(ROOT, measured),
        "seconds": arguments.seconds,
        "rounds": figures,
        "idle_mib": {name: bench.idle_mib[name] for name in figures},
        "notes": {
            one.name: note for one in measured if (note := one.notes.get(work.kind))
        },
        "skipped": bench.skipped,
    }


def prepared(arguments):
    """Installs and builds what is asked for, outside; gives the temporary folder, inside."""
    if network.is_outside():
        if not arguments.no_install:
            install.packages(known_servers(arguments))
        if arguments.record:
            # Inside there is no network any more.
            install.plotting()
        if arguments.hickory:
            install.hickory(arguments.hickory_folder)
        if not arguments.given:
            build = ["cargo", "build", "--release", "--locked"]
            subprocess.run(build, cwd=ROOT, check=True, stdout=2)
    return network.own_machine()


def known_servers(arguments):
    hickory = arguments.hickory_folder / "bin/hickory-dns" if arguments.hickory else None
    return servers.all_of(arguments.privatelinkd, hickory, arguments.other_build)


def chosen(name, wanted):
    return not wanted or name.lower() in wanted


def parse():
    summary, _, rest = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--works", type=words, help=f"of {', '.join(works.ALL)} (default: all)")
    add("--servers", type=words, help="names as in the tables (default: all); ', ' is no separator")
    add("--rounds", type=int, help=f"each server's turns at a work (default: {ROUNDS})")
    add("--seconds", type=float, help=f"of one turn (default: {SECONDS})")
    add("--quick", action="store_true", help="two short turns, main works and peers")
    add("--json", type=Path, metavar="FILE", help="write all figures there")
    add("--record", action="store_true", help="write docs/performance and docs/PERFORMANCE.md")
    add("--draw", action="store_true", help="write them from the stored figures, measure nothing")
    add("--merge", type=Path, metavar="FILE", action="append", default=[],
        help="with --draw: take the works of this --json file in")
    add("--privatelinkd", type=Path, metavar="PATH", help="the daemon (default: built here)")
    add("--other-build", type=Path, metavar="PATH",
        help="another privatelinkd, measured in the same run")
    add("--no-install", action="store_true", help="install no package")
    add("--hickory", action="store_true", help="hickory-dns too, built by cargo install")
    arguments = parser.parse_args()
    if arguments.merge and not arguments.draw:
        parser.error("--merge goes with --draw")
    if arguments.other_build and arguments.record:
        parser.error("--record is about one build")
    if arguments.other_build:
        arguments.other_build = arguments.other_build.resolve()
    arguments.works = arguments.works or (QUICK_WORKS if arguments.quick else list(works.ALL))
    arguments.servers = arguments.servers or (QUICK_SERVERS if arguments.quick else [])
    known_or_error(parser, "--works", arguments.works, works.ALL)
    names = [one.name.lower() for one in servers.all_of("", hickory="-", other_build="-")]
    known_or_error(parser, "--servers", arguments.servers, names)
    arguments.rounds = arguments.rounds or (QUICK_ROUNDS if arguments.quick else ROUNDS)
    arguments.seconds = arguments.seconds or (QUICK_SECONDS if arguments.quick else SECONDS)
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
    arguments.given = arguments.privatelinkd is not None
    arguments.privatelinkd = (arguments.privatelinkd or target / "release/privatelinkd").resolve()
    arguments.hickory_folder = target / "side-by-side"
    return arguments


def known_or_error(parser, option, given, known):
    if unknown := set(given) - set(known):
        parser.error(f"{option}: {', '.join(sorted(unknown))} is none of {'; '.join(known)}")


def words(text):
    """The parts between commas; a comma with a space behind it belongs to a name."""
    parts = text.replace(", ", "\0").split(",")
    return [part.replace("\0", ", ").strip().lower() for part in parts if part.strip()]


if __name__ == "__main__":
    main()
