"""`doctor` beside real resolvers: as they should be, and with each fault that their settings make.

Needs the run's daemon (`resolvers.daemon_config`) and Knot; `look` is called while both are up.
"""

import json
import subprocess

import asking
import machine
import resolvers
from names import DEFENDER

# Where the resolvers of this part listen.
FIRST_PORT = 5351
READY = f"ready.{DEFENDER.public}"
# A key that has signed nothing here: whoever has it as an anchor takes what is below for forged.
STRANGE_ANCHOR = "microsoft.com. DS 12345 8 2 " + "00" * 32
# The filter of Unbound, and what excepts our zones from it.
PRIVATE = "  private-address: 10.0.0.0/8\n  private-address: fd00::/8\n"
DOMAINS = "".join(f"  private-domain: {zone}\n" for zone in resolvers.private_zones())
# The same of dnsmasq.
REBIND = "--stop-dns-rebind"
EXCEPT = [f"--rebind-domain-ok=/{zone}/" for zone in resolvers.private_zones()]


def unbound(folder, port, note, options="", validating=False):
    asker = resolvers.unbound(folder, port, note, options)
    if validating:
        config = asker.command[-1]
        text = config.read_text().replace('"iterator"', '"validator iterator"')
        anchor = f'server:\n  trust-anchor: "{STRANGE_ANCHOR}"\n'
        config.write_text(text.replace("server:\n", anchor))
    return asker


def dnsmasq(port, note, *options):
    at = f"{resolvers.DAEMON[0]}#{resolvers.DAEMON[1]}"
    command = [
        "/usr/sbin/dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root",
        "--group=root", "--pid-file", "--no-resolv", "--no-hosts", "--bind-interfaces",
        "--listen-address=127.0.0.1", f"--port={port}", "--log-facility=-", f"--server={at}",
        *(f"--server=/{zone}/{at}" for zone in resolvers.private_zones()), *options,
    ]
    return resolvers.Asker(f"dnsmasq ({note})", "dnsmasq-base", ("127.0.0.1", port), command)


def askers(folder):
    """Package, how to make the asker, and what `doctor` must say of it."""
    zone = DEFENDER.public
    insecure = f'  domain-insecure: "{zone}"\n'
    ports = iter(range(FIRST_PORT, FIRST_PORT + 20))
    return [
        ("unbound", unbound(folder, next(ports), "plain"), "via"),
        ("unbound", unbound(folder, next(ports), "private-address", PRIVATE), "via-rebind-filter"),
        ("unbound", unbound(folder, next(ports), "as advised", PRIVATE + DOMAINS), "via"),
        ("unbound", unbound(folder, next(ports), "validating", validating=True), "via-validates"),
        ("unbound", unbound(folder, next(ports), "anchored", insecure, validating=True), "via"),
        ("dnsmasq-base", dnsmasq(next(ports), "plain"), "via"),
        ("dnsmasq-base", dnsmasq(next(ports), "stop-dns-rebind", REBIND), "via-rebind-filter"),
        ("dnsmasq-base", dnsmasq(next(ports), "rebind-domain-ok", REBIND, *EXCEPT), "via"),
    ]


def look(tally, processes, binary, work, skip=()):
    """Every resolver in turn, looked at by `doctor` with the running daemon's own file."""
    folder = work / "doctoring"
    folder.mkdir()
    folder.chmod(0o755)
    for package, asker, expected in askers(folder):
        if package in skip:
            continue
        key = asker.name.replace(" ", "-").replace("(", "").replace(")", "")
        try:
            processes.start(
                f"doctored-{key}", asker.command,
                # Whatever it says to a private name: that is what is looked at.
                lambda asker=asker: asking.ask(asker.server, READY).status != "SILENCE",
            )
        except (machine.Missing, OSError) as missing:
            tally.check(asker.name, "starts", False, "a running server", missing)
            continue
        said = doctor(binary, work / "daemon.toml", asker.server)
        tally.check(asker.name, "doctor", said == {expected}, {expected}, said)
        processes.stop(f"doctored-{key}")


def doctor(binary, config, server):
    """The kinds of findings about Defender's zone at the resolver."""
    via = f"{server[0]}:{server[1]}"
    command = [binary, "doctor", "--json", "--config", config, "--via", via]
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=60
    )
    if done.returncode not in (0, 1):
        return {f"exit {done.returncode}: {done.stderr.strip()}"}
    about = f"resolver {via}, "
    findings = [one for one in json.loads(done.stdout) if one["about"].startswith(about)]
    return {one["check"] for one in findings if DEFENDER.public in one["about"]}
