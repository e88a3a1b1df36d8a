"""The public side: Knot with the zones that the world would see, and Unbound as a recursor on it.

Every private name has a PUBLIC address here, so that a leak shows as a wrong address.
"""

import subprocess

from names import DATABASE, DEFENDER, VAULT

KNOT = ("127.0.0.1", 5401)
RECURSOR = ("127.0.0.1", 5402)

# What the public zones say of names that are ours.
LEAK_V4 = "20.50.1.1"
LEAK_V6 = "2603:1030::1"
# The public apex of the Defender zone, and another tenant's database.
APEX = "20.50.1.9"
TENANT = "20.60.1.1"
MANY = 100

SIGNED = ["microsoft.com", "example.test", "azure.net"]
# Signed, and says so of a zone below it that is not: who validates that one needs an exception.
MISTAKEN = "azure.net"

LEAK = f"* A {LEAK_V4}\n* AAAA {LEAK_V6}\n"

ZONES = {
    ".": "",
    "example.test": "\n".join([
        "ns A 127.0.0.1",
        "www A 198.51.100.1",
        "www AAAA 2001:db8::1",
        "www MX 10 mail",
        "mail A 198.51.100.2",
        'txt TXT "a text with spaces" "and a second"',
        # 3,000 octets: more than any UDP answer here may hold.
        *(f'big TXT "{number:02} {"t" * 240}"' for number in range(12)),
        *(f"many A 198.51.100.{number + 10}" for number in range(MANY)),
        # Out there, a name leads through a second one into our private zone.
        "chain CNAME hop",
        f"hop CNAME x.{DEFENDER.private}.",
        f"listed CNAME data.westeurope.{DEFENDER.private}.",
        f"portal CNAME api.{DEFENDER.public}.",
        # Validators need a denial for the first, and the DNAME itself for the second.
        f"*.wild CNAME api.{DEFENDER.public}.",
        f"moved DNAME {DEFENDER.public}.",
        f"tenant CNAME partner.{DATABASE.private}.",
    ]),
    # Signed, with an unsigned delegation: validators ask it for DS of the public zone.
    "microsoft.com": "www A 198.51.100.3\ncloud.defender NS ns.example.test.\n",
    MISTAKEN: f"vault NS ns.example.test.\nvault DS 4711 13 2 {'5e' * 32}\n",
    DEFENDER.public: f"@ A {APEX}\n{LEAK}privatelink NS ns.example.test.\n",
    DEFENDER.private: LEAK,
    VAULT.public: LEAK,
    VAULT.private: LEAK,
    DATABASE.public: (
        f"mine A {LEAK_V4}\npartner CNAME partner.{DATABASE.private}.\n"
        "privatelink NS ns.example.test.\n"
    ),
    DATABASE.private: f"mine A {LEAK_V4}\npartner A {TENANT}\n",
}


def knot_files(folder, server=KNOT, modules="", module=""):
    """Writes zones and configuration; gives the command. `module`: one of `modules`, for all zones."""
    use = f"    global-module: {module}\n" if module else ""
    storage = folder / "knot"
    storage.mkdir(parents=True)
    zones = ""
    for origin, records in ZONES.items():
        name = "root" if origin == "." else origin
        dotted = "." if origin == "." else f"{origin}."
        (storage / f"{name}.zone").write_text(
            f"$ORIGIN {dotted}\n$TTL 60\n"
            "@ SOA ns.example.test. host.example.test. 1 3600 300 2419200 10\n"
            f"@ NS ns.example.test.\n{records}\n"
        )
        signing = "on" if origin in SIGNED else "off"
        zones += f'  - domain: "{dotted}"\n    file: {name}.zone\n    dnssec-signing: {signing}\n'
    config = storage / "knot.conf"
    config.write_text(
        f"server:\n    rundir: {storage}\n    listen: {server[0]}@{server[1]}\n"
        "    udp-workers: 1\n    tcp-workers: 1\n    background-workers: 1\n"
        "log:\n  - target: stderr\n    any: info\n"
        f"database:\n    storage: {storage}\n{modules}"
        f"template:\n  - id: default\n    storage: {storage}\n    zonefile-sync: -1\n{use}"
        f"    zonefile-load: difference-no-serial\n    journal-content: all\nzone:\n{zones}"
    )
    return ["/usr/sbin/knotd", "-c", config]


def trust_anchors():
    """The key-signing keys that Knot made: zone -> DNSKEY RDATA."""
    anchors = {}
    for zone in SIGNED:
        command = ["kdig", f"@{KNOT[0]}", "-p", str(KNOT[1]), "+short", zone, "DNSKEY"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
        keys = [line for line in done.stdout.splitlines() if line.startswith("257 ")]
        anchors[zone] = keys[0]
    return anchors
