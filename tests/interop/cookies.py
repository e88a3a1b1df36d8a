"""Real servers of DNS cookies as the daemon's plain upstreams: BIND before Knot, and Knot itself.

What the daemon has learnt is read from its report at SIGUSR1.
"""

import re
import signal
import time

import asking
import checks
import machine
import resolvers
import upstream
from upstream import KNOT

BIND_PORT, KNOT_PORT, DNSDIST_PORT = 5491, 5492, 5493
# Where the daemons listen that forward to them.
FIRST_PORT = 5494
# Seconds for a line of the log.
PATIENCE = 10


def bind(folder, ways):
    """BIND as a forwarder; `ways` is what it does with cookies."""
    home = folder / "bind-cookies"
    home.mkdir(exist_ok=True)
    config = home / "named.conf"
    config.write_text(
        f'options {{ directory "{home}"; pid-file none; session-keyfile none;\n'
        f"  listen-on port {BIND_PORT} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};\n"
        "  dnssec-validation no; recursion yes; empty-zones-enable no;\n"
        f"  forward only; forwarders {{ {KNOT[0]} port {KNOT[1]}; }};\n  {ways}\n}};\n"
        "controls { };\n"
    )
    return ["/usr/sbin/named", "-g", "-n", "1", "-c", config]


def knot(folder):
    """A second Knot, whose module asks for its cookie with each BADCOOKIE."""
    home = folder / "knot-cookies"
    home.mkdir(exist_ok=True)
    module = "mod-cookies:\n  - id: strict\n    badcookie-slip: 1\n"
    return upstream.knot_files(home, ("127.0.0.1", KNOT_PORT), module, "mod-cookies/strict")


def dnsdist(folder):
    """A cache before BIND that keeps the options of replies, as dnsdist has it unless told else."""
    config = folder / "dnsdist-cookies.conf"
    config.write_text(
        f'setLocal("127.0.0.1:{DNSDIST_PORT}")\nsetACL({{"127.0.0.0/8"}})\n'
        'setSecurityPollSuffix("")\n'
        f'newServer({{address="127.0.0.1:{BIND_PORT}", healthCheckMode="up"}})\n'
        'getPool(""):setCache(newPacketCache(1000))\n'
    )
    return ["/usr/bin/dnsdist", "--supervised", "--disable-syslog", "-C", config]


class Daemon:
    """A daemon of one worker, whose upstream is the server at `port`."""

    def __init__(self, processes, binary, work, listen, port):
        self.processes, self.key = processes, f"cookies-{listen}"
        self.address, self.upstream = ("127.0.0.1", listen), f"127.0.0.1:{port}"
        config = work / f"{self.key}.toml"
        text = resolvers.daemon_config(
            [f"127.0.0.1:{listen}"], self.upstream, ["loopback"], [resolvers.API]
        )
        config.write_text(f"{text}[limits]\nworkers = 1\n")
        self.process = processes.start(
            self.key, [binary, "run", "--config", config],
            lambda: asking.ask(self.address, f"ready.{checks.P}").addresses(),
        )

    def report(self):
        """The words of the upstream's line, as the daemon has them now."""
        line = re.compile(rf"upstream {re.escape(self.upstream)} (state=.*)")
        before = len(line.findall(self.processes.log(self.key)))
        self.process.send_signal(signal.SIGUSR1)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            lines = line.findall(self.processes.log(self.key))
            if len(lines) > before:
                return dict(word.split("=", 1) for word in lines[-1].split() if "=" in word)
            time.sleep(0.05)
        return {}


# The one worker meets it once, and so may the thread that sends probes: it has a cookie of its own.
ONE_EACH = ("1", "2")


def holds(tally, who, what, report, **expected):
    """Whether the report has these words, or one of a tuple; an underscore stands for a dash."""
    got = {word: report.get(word.replace("_", "-")) for word in expected}
    fits = [
        said in words if isinstance(words, tuple) else said == words
        for said, words in zip(got.values(), expected.values())
    ]
    tally.check(who, what, all(fits), expected, got)


def ask_all(tally, who, daemon):
    for case in checks.forwarded_cases():
        checks.run(tally, who, daemon.address, case)


def restarts_of_bind(tally, processes, binary, work):
    key, number = "bind cookies", iter(range(100))

    def start(ways):
        processes.start(
            key, bind(work, ways),
            lambda: asking.ask(("127.0.0.1", BIND_PORT), "www.example.test").addresses(),
        )

    def ask(who):
        name = f"fresh{next(number)}.example.test"
        reply = asking.ask(daemon.address, name)
        tally.check(who, name, reply.status == "NXDOMAIN", "NXDOMAIN", reply)

    start("answer-cookie yes;")
    daemon = Daemon(processes, binary, work, FIRST_PORT, BIND_PORT)
    who = "daemon before BIND with cookies"
    ask_all(tally, who, daemon)
    report = daemon.report()
    holds(tally, who, "speaks them", report, cookies="yes", other_cookie="0", mismatches="0")
    holds(tally, who, "says no BADCOOKIE", report, bad_cookie="0", without_edns="0")

    # A new secret: the cookie of before is not BIND's any more, and its reply brings the new one.
    processes.stop(key)
    start("answer-cookie yes; require-server-cookie yes;")
    who = "daemon before BIND that requires cookies"
    for _ in range(5):
        ask(who)
    report = daemon.report()
    holds(tally, who, "asks once more", report, cookies="yes", bad_cookie=ONE_EACH,
          other_cookie="0")

    processes.stop(key)
    start("answer-cookie no;")
    who = "daemon before BIND that has lost its cookies"
    for _ in range(5):
        ask(who)
    report = daemon.report()
    holds(tally, who, "asks once over TCP", report, cookies="off", other_cookie=ONE_EACH)
    log = processes.log(daemon.key)
    said = "it is asked without cookies for ten minutes"
    tally.check(who, "the log says it once", log.count(said) == 1, said, log.count(said))
    processes.stop(daemon.key)
    processes.stop(key)

    start("answer-cookie yes; require-server-cookie yes;")
    daemon = Daemon(processes, binary, work, FIRST_PORT + 1, BIND_PORT)
    who = "daemon before BIND that requires cookies from the start"
    ask_all(tally, who, daemon)
    report = daemon.report()
    holds(tally, who, "speaks them", report, cookies="yes", other_cookie="0", mismatches="0")
    processes.stop(daemon.key)
    processes.stop(key)


def before_knot(tally, processes, binary, work):
    key, who = "knot cookies", "daemon before Knot with mod-cookies"
    processes.start(
        key, knot(work),
        lambda: asking.ask(("127.0.0.1", KNOT_PORT), "www.example.test").addresses(),
    )
    daemon = Daemon(processes, binary, work, FIRST_PORT + 2, KNOT_PORT)
    ask_all(tally, who, daemon)
    report = daemon.report()
    holds(tally, who, "speaks them", report, cookies="yes", other_cookie="0", mismatches="0")
    # One for the first query; a probe has cookies of its own.
    good = int(report.get("bad-cookie", 0)) >= 1
    tally.check(who, "BADCOOKIE brings the cookie", good, "1 or more", report.get("bad-cookie"))
    processes.stop(daemon.key)
    processes.stop(key)


def before_a_cache(tally, processes, binary, work):
    key, name = "bind cookies", "www.example.test"
    processes.start(
        key, bind(work, "answer-cookie yes;"),
        lambda: asking.ask(("127.0.0.1", BIND_PORT), name).addresses(),
    )
    server = ("127.0.0.1", DNSDIST_PORT)
    processes.start("dnsdist cookies", dnsdist(work), lambda: asking.ask(server, name).addresses())
    who = "daemon before dnsdist that caches cookies"
    # The second one meets what the first one left in the cache.
    for number in range(2):
        daemon = Daemon(processes, binary, work, FIRST_PORT + 3 + number, DNSDIST_PORT)
        ask_all(tally, who, daemon)
        report = daemon.report()
        processes.stop(daemon.key)
    holds(tally, who, "finds out", report, cookies="off")
    processes.stop("dnsdist cookies")
    processes.stop(key)


def all_servers(tally, processes, binary, work, skip):
    servers = (("bind9", restarts_of_bind), ("knot", before_knot), ("dnsdist", before_a_cache))
    for package, run in servers:
        if package in skip:
            continue
        try:
            run(tally, processes, binary, work)
        except (machine.Missing, OSError) as missing:
            tally.check(package, "serves cookies", False, "a running server", missing)
