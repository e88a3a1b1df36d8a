"""Real servers of DNS over TLS and HTTPS as the daemon's upstreams, each before Knot.

They show a certificate of the run's own authority, for a name and for their address.
"""

import base64
import hashlib
import socket
import subprocess
import time

import asking
import checks
import machine
import resolvers
from upstream import KNOT

# What the certificate is for.
NAME = "dns.interop.test"
# Where the daemons listen that forward to them.
FIRST_PORT = 5481
# Questions at a time: as many as Azure lets a VM have pending.
AT_ONCE = 200
AT_ONCE_SECONDS = 20
# What a daemon gets that is asked so many on a busy machine.
PATIENT = 'timeout = "10s"\n'
# Queries that a server takes on a connection, and the first of its two ports.
CLOSING = [(1, 8541), (10, 8543)]
NXDOMAIN = 3


def openssl(*words, **settings):
    command = ["openssl", *(str(word) for word in words)]
    return subprocess.run(
        command, check=True, capture_output=True, timeout=30, **settings
    ).stdout


class Identity:
    """An authority, and a server's key and certificate that it signed."""

    def __init__(self, folder):
        folder.mkdir()
        self.authority, self.stranger = folder / "ca.pem", folder / "stranger.pem"
        self.certificate, self.key = folder / "dns.pem", folder / "dns.key"
        ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        for file, name in ((self.authority, "CN=interop"), (self.stranger, "CN=stranger")):
            key = file.with_suffix(".key")
            openssl("req", "-x509", *ec, "-keyout", key, "-out", file, "-subj", f"/{name}")
        request, names = folder / "dns.csr", folder / "names"
        openssl("req", *ec, "-keyout", self.key, "-out", request, "-subj", f"/CN={NAME}")
        names.write_text(f"subjectAltName=DNS:{NAME},IP:127.0.0.1\n")
        openssl(
            "x509", "-req", "-in", request, "-CA", self.authority, "-CAkey",
            self.authority.with_suffix(".key"), "-CAcreateserial", "-days", "2",
            "-extfile", names, "-out", self.certificate,
        )
        # dnsdist and others give up root before they read them.
        for file in (self.key, self.certificate):
            file.chmod(0o644)
        folder.chmod(0o755)

    def pin(self):
        """As docs/CONFIG.md tells to make it."""
        key = openssl("pkey", "-in", self.key, "-pubout", "-outform", "DER")
        return "sha256/" + base64.b64encode(hashlib.sha256(key).digest()).decode()


def unbound(folder, identity):
    options = (
        "  interface: 127.0.0.1@8531\n  interface: 127.0.0.1@4431\n"
        "  tls-port: 8531\n  https-port: 4431\n"
        f'  tls-service-key: "{identity.key}"\n  tls-service-pem: "{identity.certificate}"\n'
        "  qname-minimisation: no\n"
    )
    stub = f"stub-zone:\n  name: .\n  stub-addr: {KNOT[0]}@{KNOT[1]}\n"
    return resolvers.unbound_config(folder, 5471, options, stub)


def dnsdist(folder, identity):
    config = folder / "dnsdist.conf"
    pair = f'"{identity.certificate}", "{identity.key}"'
    config.write_text(
        'setLocal("127.0.0.1:5472")\nsetACL({"127.0.0.0/8"})\nsetSecurityPollSuffix("")\n'
        f'addTLSLocal("127.0.0.1:8532", {pair})\n'
        f'addDOHLocal("127.0.0.1:4432", {pair}, "/dns-query")\n'
        f'newServer({{address="{KNOT[0]}:{KNOT[1]}", healthCheckMode="up"}})\n'
    )
    return ["/usr/bin/dnsdist", "--supervised", "--disable-syslog", "-C", config]


def closing_dnsdist(folder, identity, queries, port):
    """One that closes connections: TCP at `port`, TLS at the next."""
    config = folder / f"dnsdist-{port}.conf"
    pair = f'"{identity.certificate}", "{identity.key}"'
    config.write_text(
        f'setLocal("127.0.0.1:{port}")\nsetACL({{"127.0.0.0/8"}})\nsetSecurityPollSuffix("")\n'
        f'addTLSLocal("127.0.0.1:{port + 1}", {pair})\n'
        f"setMaxTCPQueriesPerConnection({queries})\n"
        f'newServer({{address="{KNOT[0]}:{KNOT[1]}", healthCheckMode="up"}})\n'
    )
    return ["/usr/bin/dnsdist", "--supervised", "--disable-syslog", "-C", config]


def knot_resolver(folder, identity):
    home = folder / "kresd"
    home.mkdir(exist_ok=True)
    config = home / "kresd.conf"
    config.write_text(
        "net.listen('127.0.0.1', 5473, { kind = 'dns' })\n"
        "net.listen('127.0.0.1', 8533, { kind = 'tls' })\n"
        "net.listen('127.0.0.1', 4433, { kind = 'doh2' })\n"
        f"net.tls('{identity.certificate}', '{identity.key}')\n"
        "modules = { 'policy' }\ntrust_anchors.remove('.')\ncache.size = 10 * MB\n"
        f"policy.add(policy.all(policy.STUB('{KNOT[0]}@{KNOT[1]}')))\n"
    )
    return ["/usr/sbin/kresd", "-n", "-c", config, home]


# Package, name, how to start it, its plain port, its ports of TLS and HTTPS.
SERVERS = [
    ("unbound", "Unbound", unbound, 5471, 8531, 4431),
    ("dnsdist", "dnsdist", dnsdist, 5472, 8532, 4432),
    ("knot-resolver", "Knot Resolver", knot_resolver, 5473, 8533, 4433),
]


def daemon(processes, binary, work, port, upstream, trust):
    """A daemon that knows one upstream; gives where it listens."""
    config = work / f"encrypted-{port}.toml"
    listen = [f"127.0.0.1:{port}"]
    text = resolvers.daemon_config(listen, upstream, ["loopback"], [resolvers.API])
    config.write_text(text + trust)
    processes.start(
        f"encrypted-{port}", [binary, "run", "--config", config],
        lambda: asking.ask(("127.0.0.1", port), f"ready.{checks.P}").addresses(),
    )
    return ("127.0.0.1", port)


def all_servers(tally, processes, binary, work, skip):
    try:
        identity = Identity(work / "identity")
    except (OSError, subprocess.SubprocessError) as wrong:
        tally.check("encrypted", "certificates are made", False, "openssl", wrong)
        return
    ca = f'ca-file = "{identity.authority}"\n'
    ports = iter(range(FIRST_PORT, FIRST_PORT + 100))
    for package, name, command, plain, tls, https in SERVERS:
        if package in skip:
            continue
        server = f"encrypted {package}"

        def start():
            processes.start(
                server, command(work, identity),
                lambda: asking.ask(("127.0.0.1", plain), "www.example.test").addresses(),
            )

        try:
            start()
            for upstream in (
                f"tls://127.0.0.1:{tls}", f"tls://127.0.0.1:{tls}#{NAME}",
                f"https://127.0.0.1:{https}/dns-query", f"https://127.0.0.1:{https}#{NAME}",
            ):
                who = f"daemon before {name} {upstream}"
                port = next(ports)
                address = daemon(processes, binary, work, port, upstream, ca)
                for case in checks.forwarded_cases():
                    checks.run(tally, who, address, case)
                processes.stop(server)
                start()
                reply = asking.ask(address, "afresh.example.test")
                good = reply.status == "NXDOMAIN"
                tally.check(who, "asks again after a restart", good, "NXDOMAIN", reply)
                processes.stop(f"encrypted-{port}")
            many_at_once(
                tally, processes, binary, work, next(ports), f"tls://127.0.0.1:{tls}", ca, name
            )
            trusted_or_not(tally, processes, binary, work, identity, tls, ports)
            processes.stop(server)
        except (machine.Missing, OSError) as missing:
            tally.check(name, "serves TLS and HTTPS", False, "a running server", missing)
    if "dnsdist" not in skip:
        for queries, port in CLOSING:
            closing(tally, processes, binary, work, identity, queries, port, ports)


def closing(tally, processes, binary, work, identity, queries, port, ports):
    """dnsdist that takes few queries on a connection."""
    server = f"closing dnsdist {queries}"
    processes.start(
        server, closing_dnsdist(work, identity, queries, port),
        lambda: asking.ask(("127.0.0.1", port), "www.example.test").addresses(),
    )
    ca = f'ca-file = "{identity.authority}"\n'
    for upstream, trust in ((f"tcp://127.0.0.1:{port}", ""), (f"tls://127.0.0.1:{port + 1}", ca)):
        many_at_once(tally, processes, binary, work, next(ports), upstream, trust, server)
    processes.stop(server)


def many_at_once(tally, processes, binary, work, port, upstream, trust, server):
    """AT_ONCE questions together, twice: the daemon may learn from the first ones."""
    address = daemon(processes, binary, work, port, upstream, trust + PATIENT)
    who = f"daemon before {server} {upstream}"
    for turn in ("first", "second"):
        denied = denied_at_once(address, turn)
        what = f"answers {AT_ONCE} questions at a time, the {turn} time"
        tally.check(who, what, denied == AT_ONCE, AT_ONCE, denied)
    lines = [line for line in processes.log(f"encrypted-{port}").splitlines() if "is down" in line]
    tally.check(who, "stays up", not lines, "no line", lines)
    processes.stop(f"encrypted-{port}")


def denied_at_once(address, label):
    """Asks for AT_ONCE names that do not exist; gives how many replies say so."""
    denied = set()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
        here.connect(address)
        for number in range(AT_ONCE):
            name = b"".join(
                bytes([len(part)]) + part.encode()
                for part in (f"n{number}-{label}", "example", "test")
            )
            header = number.to_bytes(2) + b"\1\0\0\1\0\0\0\0\0\0"
            here.send(header + name + b"\0\0\1\0\1")
        end = time.monotonic() + AT_ONCE_SECONDS
        while len(denied) < AT_ONCE and (left := end - time.monotonic()) > 0:
            here.settimeout(left)
            try:
                reply = here.recv(4096)
            except OSError:
                break
            if reply[3] & 0xF == NXDOMAIN:
                denied.add(reply[:2])
    return len(denied)


def trusted_or_not(tally, processes, binary, work, identity, tls, ports):
    """Whom the daemon believes, and what its log says of the others."""
    wrong_pin = "sha256/" + base64.b64encode(bytes(32)).decode()
    upstream = f"tls://127.0.0.1:{tls}"
    for what, upstream, trust, said in (
        ("a pin", upstream, f'pins = ["{identity.pin()}"]\n', None),
        ("a wrong pin", upstream, f'pins = ["{wrong_pin}"]\n', identity.pin()),
        ("the system's authorities", upstream, "", "not trusted"),
        ("another authority", upstream, f'ca-file = "{identity.stranger}"\n', "no authority"),
        ("another name", f"{upstream}#x.test", f'ca-file = "{identity.authority}"\n', NAME),
    ):
        port = next(ports)
        address = daemon(processes, binary, work, port, upstream, trust)
        who = f"daemon before {upstream}, {what}"
        reply = asking.ask(address, "www.example.test")
        if said is None:
            good = reply.addresses() == ["198.51.100.1"]
            tally.check(who, "is answered", good, "198.51.100.1", reply)
        else:
            tally.check(who, "SERVFAIL", reply.status == "SERVFAIL", "SERVFAIL", reply)
            log = processes.log(f"encrypted-{port}")
            lines = [line for line in log.splitlines() if "is not trusted" in line]
            good = len(lines) == 1 and said in lines[0]
            tally.check(who, "the log says why, once", good, said, lines or log)
        processes.stop(f"encrypted-{port}")
