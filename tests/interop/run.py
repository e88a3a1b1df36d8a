#!/usr/bin/env python3
"""Real resolvers and real clients against the daemon, in a network namespace of their own.

    tests/interop/run.py [--binary target/release/privatelinkd] [--skip bind9] [--keep]

Installs what is missing from Debian's packages (as root), starts Knot as the public DNS, the daemon,
then each asking resolver with what `snippet` prints for it, and runs the commands that it brings;
then servers of TLS and HTTPS and of DNS cookies as the daemon's upstreams. One line a check, the last line counts. A
package that cannot be had is a failure unless --skip names it.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

import asking
import checks
import cookies
import doctoring
import encrypted
import machine
import programs
import resolvers
import snippets
import upstream

ROOT = Path(__file__).resolve().parents[2]
PARTS = [*machine.PACKAGES, "systemd-resolved"]


def main():
    arguments = parse()
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
    binary = Path(arguments.binary or target / "release/privatelinkd").resolve()
    if not os.access(binary, os.X_OK):
        sys.exit(f"interop: {binary} is not there: run `cargo build --release`, or say --binary")
    cache = target / "interop"
    if machine.INSIDE not in os.environ:
        cache.mkdir(parents=True, exist_ok=True)
        for package, wrong in machine.install(cache, arguments.skip).items():
            print(f"# {package} {wrong}", flush=True)
    machine.enter_namespace()

    tally = checks.Tally()
    work = Path(tempfile.mkdtemp(prefix="privatelinkd-interop-"))
    # systemd-resolved and others give up root, but must reach what we wrote for them.
    work.chmod(0o755)
    processes = machine.Processes(work)
    try:
        machine.furnish(work)
        everything(tally, processes, binary, cache, work, arguments)
    except machine.Missing as missing:
        tally.check("interop", "set-up", False, "a running server", missing)
    finally:
        processes.stop_all()
        if arguments.keep:
            print(f"# logs and configurations: {work}")
        else:
            shutil.rmtree(work, ignore_errors=True)
    print(f"{tally.passed} passed, {tally.failed} failed", flush=True)
    sys.exit(1 if tally.failed or not tally.passed else 0)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", help="the daemon (default: target/release/privatelinkd)")
    parser.add_argument(
        "--skip", action="append", default=[], choices=PARTS, metavar="PACKAGE",
        help=f"do without one of: {', '.join(PARTS)}",
    )
    parser.add_argument(
        "--only", help="askers whose name begins so; others: daemon, encrypted, cookies, programs, coredns, doctor"
    )
    parser.add_argument("--seed", default="1", help="of the random names")
    parser.add_argument("--keep", action="store_true", help="keep logs and configurations")
    return parser.parse_args()


def everything(tally, processes, binary, cache, work, arguments):
    start_upstreams(processes, work, arguments.skip)
    anchors = upstream.trust_anchors()
    start_daemons(processes, binary, work)
    wanted = arguments.only or ""
    if "daemon".startswith(wanted):
        checks.direct(tally)
        if "unbound" not in arguments.skip:
            checks.behind_recursor(tally)
    snippet = snippets.Maker(binary, work / "daemon.toml")
    for package, make in resolvers.all_of(cache, work, anchors, snippet):
        if package not in arguments.skip:
            one_asker(tally, processes, package, make, wanted, arguments.seed)
    if not wanted or wanted == "encrypted":
        encrypted.all_servers(tally, processes, binary, work, arguments.skip)
    if not wanted or wanted == "cookies":
        cookies.all_servers(tally, processes, binary, work, arguments.skip)
    if not wanted or wanted == "programs":
        text = snippet("resolv-conf", resolvers.DAEMON_53[0])
        machine.cover("/etc/resolv.conf", work, text)
        snippets.follow(tally, "resolv.conf (snippet)", text)
        own_lookups(tally, cache, arguments)
    if (not wanted or wanted == "coredns") and "python3-yaml" not in arguments.skip:
        snippets.config_map(tally, snippet)
    if not wanted or wanted == "doctor":
        doctoring.look(tally, processes, binary, work, arguments.skip)
    for name in ("daemon", "daemon-recursor"):
        code = processes.stop(name)
        tally.check(name, "ends with 0 on SIGTERM", code == 0, 0, code)


def start_upstreams(processes, work, skip):
    knot = upstream.KNOT
    processes.start(
        "knot", upstream.knot_files(work),
        lambda: all(asking.ask(knot, zone, "SOA").answer for zone in upstream.ZONES)
        and all(asking.ask(knot, zone, "DNSKEY").answer for zone in upstream.SIGNED),
    )
    if "unbound" not in skip:
        recursor = upstream.RECURSOR
        processes.start(
            "recursor", resolvers.recursor_command(work),
            lambda: asking.ask(recursor, "www.example.test").addresses(),
        )


def start_daemons(processes, binary, work):
    v4, v6, standard = resolvers.DAEMON, resolvers.DAEMON_V6, resolvers.DAEMON_53
    sockets = [f"{v4[0]}:{v4[1]}", f"[{v6[0]}]:{v6[1]}", f"{standard[0]}:{standard[1]}"]
    everywhere = [f"0.0.0.0:{resolvers.WILDCARD_PORT}", f"[::]:{resolvers.WILDCARD_PORT}"]
    both = [resolvers.API, resolvers.DEFENDER_V6]
    texts = {
        "daemon": (sockets, upstream.KNOT, ["loopback"], [resolvers.API]),
        "daemon-recursor": (everywhere, upstream.RECURSOR, ["loopback", "private"], both),
    }
    for name, (listen, to, allow, wildcard) in texts.items():
        config = work / f"{name}.toml"
        config.write_text(resolvers.daemon_config(listen, f"{to[0]}:{to[1]}", allow, wildcard))
        port = int(listen[0].rsplit(":", 1)[1])
        probe = f"ready.{checks.P}"
        processes.start(
            name, [binary, "run", "--config", config],
            lambda port=port: asking.ask(("127.0.0.1", port), probe).addresses(),
        )


def one_asker(tally, processes, package, make, wanted, seed):
    """Starts one resolver, asks it everything, ends it: they share the machine's two cores."""
    name = package
    try:
        asker = make()
        name = asker.name
        if not name.startswith(wanted):
            return
        key = name.replace(" ", "-").replace("(", "").replace(")", "").replace(",", "")
        processes.start(
            key, asker.command,
            lambda: asking.ask(asker.server, f"ready.{checks.P}").addresses(), asker.env,
        )
        if asker.ours_alone:
            checks.bogus_elsewhere(tally, asker)
        else:
            checks.through(tally, asker, seed)
        if asker.snippet:
            snippets.follow(tally, asker.name, asker.snippet)
        if package == "systemd-resolved" and not asker.ours_alone:
            checks.full_features(tally, processes.log(key))
        processes.stop(key)
    except (machine.Missing, OSError, StopIteration) as missing:
        tally.check(name, "starts", False, "a running server", missing or "not installed")


def own_lookups(tally, cache, arguments):
    programs.glibc(tally)
    for package, kind in (("musl-tools", "musl"), ("golang-go", "go")):
        if package in arguments.skip:
            continue
        try:
            program = programs.build(kind, cache)
        except OSError as missing:
            program = str(missing)
        if isinstance(program, str):
            tally.check(kind, "is built", False, "a program", program)
        else:
            programs.lookups(tally, kind, program, arguments.seed)


if __name__ == "__main__":
    main()
