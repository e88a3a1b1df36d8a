#!/usr/bin/env python3
"""privatelinkd beside Unbound, BIND and dnsdist: the same questions, the same upstreams.

Two parts. "Compliance" runs the lists of ISC's genreport and RFC 8906 against each server.
"Differences" asks each server the same drawn questions, over three kinds of upstream, and compares
its replies with those of a reference: Unbound as a recursive resolver of the same zones. Installs
what lacks from Debian's packages (as root) and runs in a network namespace of its own. Exit code 1
when privatelinkd fails a check or differs from the reference.

examples:
  run.py                                 10,000 questions over each upstream: some minutes
  run.py --quick                         300 questions over Knot DNS, privatelinkd alone
  run.py --record                        figures into docs/CONFORMANCE.md too
  run.py --differences /tmp/differences  each difference, one line, into that file
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# Processes are the interop run's; installing and the page's markers are the benches'.
sys.path += [str(ROOT / "tests/interop"), str(ROOT / "benches/side_by_side")]

import install
import machine

# The interpreter that Debian's dnspython lies beside.
PYTHON = "/usr/bin/python3"
DNSPYTHON = "/usr/lib/python3/dist-packages/dns/__init__.py"
QUESTIONS, QUICK_QUESTIONS = 10_000, 300
READY_SECONDS = 20
# Addresses end in 1 for what all servers stand before, in 2 for upstreams, then the servers follow.
KNOT, REFERENCE = ("127.0.0.2", 53), ("127.0.0.3", 5353)
JOBS = 4


def main():
    arguments = parse()
    if machine.INSIDE not in os.environ:
        prepare(arguments)
    machine.enter_namespace()
    # Only now: they need dnspython.
    import outcome

    if not os.access(arguments.privatelinkd, os.X_OK):
        sys.exit(f"compare: {arguments.privatelinkd} is not there: run `cargo build --release`")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=10)
    folder = Path(tempfile.mkdtemp(prefix="privatelinkd-compare-"))
    folder.chmod(0o755)
    processes = machine.Processes(folder)
    try:
        results = everything(arguments, processes, folder)
    finally:
        processes.stop_all()
        if arguments.keep:
            print(f"# logs and configurations: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print(outcome.markdown(results))
    if arguments.differences:
        arguments.differences.write_text(outcome.lines(results))
    if arguments.record:
        outcome.record(ROOT, results)
    faults = outcome.faults(results)
    for fault in faults:
        print(f"FAILED {fault}", file=sys.stderr)
    print(f"{len(faults)} faults of privatelinkd", file=sys.stderr)
    sys.exit(1 if faults else 0)


def parse():
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
    head, _, examples = __doc__.partition("\nexamples:")
    parser = argparse.ArgumentParser(
        description=head, epilog=f"examples:{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--privatelinkd", type=Path, default=target / "release/privatelinkd", metavar="FILE",
        help="the daemon (default: target/release/privatelinkd)",
    )
    parser.add_argument("--quick", action="store_true", help="for every change: a few seconds")
    parser.add_argument("--questions", type=int, metavar="N", help="over each upstream")
    parser.add_argument("--seed", default="1", help="of zones and questions")
    parser.add_argument("--record", action="store_true", help="write docs/CONFORMANCE.md")
    parser.add_argument("--differences", type=Path, metavar="FILE")
    parser.add_argument("--keep", action="store_true", help="keep logs and configurations")
    arguments = parser.parse_args()
    if arguments.questions is None:
        arguments.questions = QUICK_QUESTIONS if arguments.quick else QUESTIONS
    return arguments


def prepare(arguments):
    """Installs missing packages, and continues with the interpreter that has dnspython."""
    import contenders

    wanted = contenders.UPSTREAMS[:2] if arguments.quick else [
        *contenders.UPSTREAMS, *contenders.under_test(arguments.privatelinkd, contenders.KNOT)
    ]
    missing = {one.package for one in wanted if one.package and not Path(one.program).exists()}
    missing |= {"python3-dnspython"} if not Path(DNSPYTHON).exists() else set()
    missing |= {"iproute2"} if not Path("/usr/sbin/ip").exists() else set()
    install.apt(sorted(missing))
    if os.path.realpath(sys.executable) != os.path.realpath(PYTHON):
        os.execv(PYTHON, [PYTHON, *sys.argv])


def everything(arguments, processes, folder):
    import contenders
    import names
    import origin
    import outcome

    zones = names.zone_files(arguments.seed)
    command = contenders.knot(folder / "knot", *KNOT, zones, [names.SIGNED])
    start(processes, "knot", command, *KNOT)
    questions = names.questions(arguments.seed, arguments.questions)
    upstreams = contenders.UPSTREAMS[:1] if arguments.quick else contenders.UPSTREAMS
    results = outcome.Results(origin={}, questions=len(questions))
    measured = {one.name: one for one in upstreams}
    place = contenders.Place(folder / "reference", REFERENCE[0], *KNOT)
    start(processes, "reference", contenders.UNBOUND.command(place), *REFERENCE)
    reference = outcome.replies(REFERENCE, questions)
    for number, upstream in enumerate(upstreams, 1):
        print(f"# over {upstream.name}", file=sys.stderr, flush=True)
        at = KNOT
        if upstream is not contenders.KNOT:
            place = contenders.Place(folder / f"upstream{number}", f"127.0.{number}.2", *KNOT)
            at = (place.address, contenders.PORT)
            start(processes, f"upstream{number}", upstream.command(place), *at)
        under_test = contenders.under_test(arguments.privatelinkd, upstream)
        under_test = under_test[:1] if arguments.quick else under_test
        measured |= {one.name: one for one in under_test}
        asked = started(processes, folder, number, under_test, at)
        with ProcessPoolExecutor(JOBS) as pool:
            if upstream is contenders.KNOT:
                results.compliance = compliance(pool, asked)
            asked = {outcome.ITSELF: at} | asked
            replies = pool.map(outcome.replies, asked.values(), [questions] * len(asked))
            replies = dict(zip(asked, replies))
        results.compare(upstream.name, questions, reference, replies)
        for server in under_test:
            processes.stop(f"{number}-{server.name}")
    results.origin = origin.of(ROOT, list(measured.values()))
    return results


def started(processes, folder, number, under_test, upstream):
    """Starts the servers under test before `upstream`; gives server -> address and port."""
    import contenders

    asked = {}
    for last, server in enumerate(under_test, 3):
        place = contenders.Place(
            folder / f"{number}-{server.name}", f"127.0.{number}.{last}", *upstream
        )
        asked[server.name] = (place.address, contenders.PORT)
        # BIND listens only at addresses that an interface has.
        add = ["ip", "addr", "add", f"{place.address}/32", "dev", "lo"]
        subprocess.run(add, check=True, timeout=10)
        start(processes, f"{number}-{server.name}", server.command(place), *asked[server.name])
    return asked


def compliance(pool, at):
    """Zone and server -> faults. Only privatelinkd is asked about its own private zone."""
    import compliance
    import names
    import contenders

    subjects = {f"{server}, {names.ZONE} (forwarded)": (place, names.ZONE)
                for server, place in at.items()}
    subjects[f"{contenders.OURS}, {names.PRIVATE_APEX} (its own)"] = (
        at[contenders.OURS], names.PRIVATE_APEX
    )
    under_way = {
        subject: pool.submit(compliance.run, *place, zone, names.SIGNED)
        for subject, (place, zone) in subjects.items()
    }
    return {subject: done.result() for subject, done in under_way.items()}


def start(processes, name, command, address, port):
    import exchange
    import names

    probe = names.Question(f"ns.{names.ZONE}", "A", None)

    def is_ready():
        reply = exchange.ask(address, port, probe)
        return not isinstance(reply, str) and reply.rcode == "NOERROR" and bool(reply.answer)

    processes.start(name, command, is_ready, seconds=READY_SECONDS)


if __name__ == "__main__":
    main()
