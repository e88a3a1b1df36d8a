#!/usr/bin/env python3
"""privatelinkd, Unbound and dnsdist while their upstreams and the way there break.

Installs what lacks from Debian's packages (as root), builds networks of its own, breaks them in
each way that --list names, asks some 200 questions a second meanwhile and counts what the clients
see. Tables go to stdout, progress to stderr; exit code 1 when privatelinkd misses a bar.

examples:
  run.py                                           all faults, all servers: 15 minutes
  run.py --quick                                   privatelinkd alone, the main faults: a minute
  run.py --faults black-hole-first,all-gone --servers privatelinkd,unbound
  run.py --privatelinkd other/privatelinkd --json /tmp/figures.json
  run.py --record                                  figures into docs/RESILIENCE.md too
  run.py --faults restart --record                 that fault's alone, the rest of the page stays
  run.py --draw                                    the page again from its stored figures
  run.py --list                                    what the faults are
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# Processes are the interop run's; own namespaces, installing and the pages' markers the benches'.
sys.path += [str(ROOT / "tests/interop"), str(ROOT / "benches/side_by_side")]

import faults
import install
import machine
import network
import origin
import report
import rivals
import trial
import verdicts

# Trials at a time, each in a network of its own: one takes a tenth of a core.
JOBS, QUICK_JOBS = 3, 4
TOOLS = {
    "nftables": "/usr/sbin/nft",
    "iproute2": "/usr/sbin/ip",
    "openssl": "/usr/bin/openssl",
    "gcc": "/usr/bin/cc",
}
CERTIFICATE_DAYS = 2


def main():
    arguments = parse()
    if arguments.list:
        print(report.fault_list())
        return
    if arguments.draw:
        report.record(ROOT, report.stored(ROOT))
        return
    known = rivals.all_of(arguments.privatelinkd)
    known = [one for one in known if one.name.lower() in arguments.servers]
    folder = prepared(arguments, known)
    ours = any(one.name == rivals.OURS for one in known)
    if ours and not os.access(arguments.privatelinkd, os.X_OK):
        sys.exit(f"resilience: {arguments.privatelinkd} is not there")
    furnish()
    certify(folder)
    compile_echo(folder)
    results = {"trials": {}, "origins": {}}
    where = origin.of(ROOT, [one for one in known if Path(one.program).exists()])
    for name, server, found in trials(arguments, known, folder):
        results["trials"].setdefault(name, {})[server] = found
        results["origins"][name] = where
        say(line(name, server, found))
    results = report.merged({"trials": {}, "origins": {}}, results)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    print(report.markdown(results))
    if arguments.record:
        report.record(ROOT, report.merged(report.stored(ROOT), results))
    missed = verdicts.missed(results["trials"], faults.ALL, arguments.quick)
    for one in missed:
        say(f"MISSED {one}")
    say(f"{len(missed)} bars missed by {rivals.OURS}")
    sys.exit(1 if missed else 0)


def trials(arguments, known, folder):
    """Runs everything, some at a time; gives (fault, server, figures) as they come."""
    numbers = multiprocessing.Queue()
    for number in range(arguments.jobs):
        numbers.put(number)
    with ProcessPoolExecutor(arguments.jobs, initializer=take_number, initargs=(numbers,)) as pool:
        under_way = {
            pool.submit(one_trial, name, server.name, arguments.privatelinkd, folder):
                (name, server.name)
            for name in arguments.faults for server in known
        }
        try:
            for done in as_completed(under_way):
                yield *under_way[done], done.result()
        except BaseException:
            # What waits its turn is not begun any more.
            pool.shutdown(cancel_futures=True)
            raise


def take_number(numbers):
    """Which of the networks beside each other is this process' own."""
    global own_number
    own_number = numbers.get()


def one_trial(name, server, binary, folder):
    own = folder / f"{name}-{server}"
    own.mkdir()
    own.chmod(0o755)
    chosen = next(one for one in rivals.all_of(binary) if one.name == server)
    certificate = (folder / "upstream.pem", folder / "upstream.key")
    one = trial.Trial(
        own_number, own, faults.ALL[name], chosen, certificate, folder / "authority.pem"
    )
    try:
        return one.run()
    except (OSError, subprocess.SubprocessError, machine.Missing) as wrong:
        # A page says what was wrong, not where on which machine.
        return {"skipped": str(wrong).replace(f"{own}/", "").replace(f"{binary.parent}/", "")}


def prepared(arguments, known):
    """Installs and builds what is asked for, outside; gives the temporary folder, inside."""
    if network.is_outside():
        missing = [package for package, file in TOOLS.items() if not Path(file).exists()]
        if arguments.no_install and missing:
            sys.exit(f"resilience: install {' and '.join(missing)}, or leave out --no-install")
        if not arguments.no_install:
            wanted = missing + [
                one.package for one in known if one.package and not Path(one.program).exists()
            ]
            install.apt(wanted)
        if not arguments.given and any(one.name == rivals.OURS for one in known):
            build = ["cargo", "build", "--release", "--locked"]
            subprocess.run(build, cwd=ROOT, check=True, stdout=2)
    return network.own_machine("resilience")


def furnish():
    for kind, at in (("tmpfs", "/run"), ("sysfs", "/sys")):
        subprocess.run(["mount", "-t", kind, kind, at], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def compile_echo(folder):
    """The benches' echo, beside the trials' folders."""
    source = ROOT / "benches/side_by_side/echo.c"
    subprocess.run(["cc", "-O2", "-o", folder / "echo", source], check=True, timeout=60)


def certify(folder):
    """An authority, and the certificate of both upstreams that it signed."""
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
           "-nodes", "-days", str(CERTIFICATE_DAYS)]
    authority = ["-keyout", folder / "authority.key", "-out", folder / "authority.pem",
                 "-subj", "/CN=authority of this run"]
    upstream = ["-keyout", folder / "upstream.key", "-out", folder / "upstream.pem",
                "-subj", f"/CN={rivals.TLS_NAME}",
                "-addext", f"subjectAltName=DNS:{rivals.TLS_NAME}",
                "-addext", "basicConstraints=critical,CA:FALSE",
                "-CA", folder / "authority.pem", "-CAkey", folder / "authority.key"]
    for words in (authority, upstream):
        command = [str(word) for word in new + words]
        subprocess.run(command, check=True, capture_output=True, timeout=60)


def line(name, server, found):
    if "skipped" in found:
        return f"  {name} {server}: SKIPPED: {found['skipped']}"
    of_all = found["all"]
    back = found.get("back_s", "")
    back = "" if back == "" else f", back after {report.number(back, 1, 'never')} s"
    ended = "" if found["alive"] else ", IT ENDED"
    return (f"  {name} {server}: {of_all['failed']} failed and {of_all['wrong']} wrong of "
            f"{of_all['sent']}, p99 {of_all['p99_ms']:.0f} ms{back}{ended}")


def say(text):
    print(text, file=sys.stderr, flush=True)


def parse():
    summary, _, rest = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    servers = [one.name.lower() for one in rivals.all_of("")]
    add = parser.add_argument
    add("--faults", type=words, help="names as --list has them (default: all)")
    add("--servers", type=words, help=f"of {', '.join(servers)} (default: all)")
    add("--quick", action="store_true",
        help="privatelinkd alone, faults whose bars hold on a busy machine too")
    add("--jobs", type=int, help=f"trials at a time (default: {JOBS}, with --quick {QUICK_JOBS})")
    add("--json", type=Path, metavar="FILE", help="write all figures there")
    add("--record", action="store_true", help="write docs/resilience and docs/RESILIENCE.md")
    add("--draw", action="store_true", help="write them from the stored figures, measure nothing")
    add("--privatelinkd", type=Path, metavar="PATH", help="the daemon (default: built here)")
    add("--no-install", action="store_true", help="install no package")
    add("--list", action="store_true", help="say what the faults are")
    arguments = parser.parse_args()
    if arguments.quick and arguments.record:
        parser.error("--record wants all of it, not --quick")
    quick = [one.name for one in faults.ALL.values() if one.is_quick]
    arguments.faults = arguments.faults or (quick if arguments.quick else list(faults.ALL))
    arguments.servers = arguments.servers or (
        [rivals.OURS] if arguments.quick else servers
    )
    for option, given, known in (
        ("--faults", arguments.faults, faults.ALL), ("--servers", arguments.servers, servers),
    ):
        if unknown := set(given) - set(known):
            parser.error(f"{option}: {', '.join(sorted(unknown))} is none of {', '.join(known)}")
    arguments.jobs = arguments.jobs or (QUICK_JOBS if arguments.quick else JOBS)
    if not 1 <= arguments.jobs <= 100:
        parser.error("--jobs: 1 to 100")
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
    arguments.given = arguments.privatelinkd is not None
    arguments.privatelinkd = (arguments.privatelinkd or target / "release/privatelinkd").resolve()
    return arguments


def words(text):
    return [part.strip().lower() for part in text.split(",") if part.strip()]


if __name__ == "__main__":
    main()
