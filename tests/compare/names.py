"""The zones of the upstreams, and the questions that are asked: the same for each server.

Everything is drawn from one seed, so a difference can be asked again.
"""

import random
from dataclasses import dataclass

ZONE = "names.test"
OTHER = "other.test"
# Of the server that all zones are delegated to; it listens on port 53.
KNOT_ADDRESS = "127.0.0.2"
# Signed by Knot at start.
SIGNED = "signed.test"
PUBLIC_APEX = "database.windows.net"
PRIVATE_APEX = "privatelink.database.windows.net"
PRIVATE_ADDRESS = "10.1.0.7"

HOSTS = 400
CHAIN_LINKS = 9
LARGE_TEXTS = 12
TYPES = [
    "A", "AAAA", "CNAME", "MX", "TXT", "NS", "SOA", "SRV", "CAA", "HTTPS", "SVCB", "PTR", "DS",
    "DNSKEY", "NAPTR", "TLSA", "LOC", "HINFO", "SSHFP", "TYPE65280",
]
SIZES = [512, 1232, 4096]


@dataclass(frozen=True)
class Question:
    """One query; `size` is the UDP payload size in octets, None without EDNS."""

    name: str
    rtype: str
    size: int | None
    wants_dnssec: bool = False
    checking_disabled: bool = False
    authentic_data: bool = False

    def __str__(self):
        marks = [f"bufsize {self.size}" if self.size else "no EDNS"]
        marks += ["DO"] * self.wants_dnssec + ["CD"] * self.checking_disabled
        marks += ["AD"] * self.authentic_data
        return f"{self.name} {self.rtype} ({', '.join(marks)})"


def records(dice):
    """The records of `ZONE` as lines of a zone file."""
    lines = [
        f"ns A {KNOT_ADDRESS}",
        "mail A 198.51.100.2", "mail AAAA 2001:db8::2",
        '*.wild TXT "a wildcard"', "*.wild A 198.51.100.3",
        "deep.below.an.empty.terminal A 198.51.100.4",
        f"moved DNAME {OTHER}.",
        f"abroad CNAME www.{OTHER}.",
        "loop1 CNAME loop2", "loop2 CNAME loop1",
        "dangling CNAME nothing.here",
        'both\\.dots TXT "a dot inside a label"', 'sp\\032ace A 198.51.100.5',
        f"{'l' * 63} A 198.51.100.6",
        "unknown TYPE65280 \\# 4 0A000001", "empty TYPE65280 \\# 0",
        *(f"link{number} CNAME link{number + 1}" for number in range(CHAIN_LINKS)),
        f"link{CHAIN_LINKS} A 198.51.100.7",
        *(f'large TXT "{number:02} {"t" * 240}"' for number in range(LARGE_TEXTS)),
        *(f"many A 198.51.100.{number}" for number in range(1, 101)),
    ]
    for number in range(HOSTS):
        host = f"h{number}"
        lines.append(f"{host} A 192.0.2.{dice.randrange(1, 255)}")
        lines += [f"{host} A 203.0.113.{n}" for n in dice.sample(range(1, 255), dice.randrange(3))]
        for record in (
            f"AAAA 2001:db8::{number:x}", f"MX {dice.randrange(100)} mail", f'TXT "text of {host}"',
            f"SRV 1 2 {dice.randrange(1, 65535)} mail", 'CAA 0 issue "ca.example"',
            "HTTPS 1 . alpn=h2", "SVCB 1 mail port=853", f"SSHFP 1 1 {'ab' * 20}",
            'NAPTR 10 20 "S" "SIP+D2U" "" mail', f"TLSA 3 1 1 {'cd' * 32}",
            "LOC 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m", 'HINFO "CPU" "OS"',
        ):
            if dice.random() < 0.25:
                lines.append(f"{host} {record}")
        lines.append(f"alias{number} CNAME h{dice.randrange(HOSTS)}")
    return lines


def zone_files(seed):
    """Zone -> its lines."""
    dice = random.Random(f"{seed} zones")
    below = [ZONE, OTHER, SIGNED, PUBLIC_APEX]
    return {
        ".": [f"ns.{ZONE}. A {KNOT_ADDRESS}", *(f"{zone}. NS ns.{ZONE}." for zone in below)],
        ZONE: records(dice),
        OTHER: ["www A 198.51.100.20", "www AAAA 2001:db8::20", "h1 A 198.51.100.21",
                "back CNAME mail.names.test."],
        SIGNED: ["www A 198.51.100.30", "*.wild A 198.51.100.31", "alias CNAME www",
                 "abroad CNAME www.other.test."],
        PUBLIC_APEX: ["@ A 20.50.1.9"],
    }


def questions(seed, count):
    """`count` questions."""
    dice = random.Random(f"{seed} questions")
    return [question(dice) for _ in range(count)]


def question(dice):
    size = dice.choice([None, *SIZES])
    wants_dnssec = size is not None and dice.random() < 0.2
    rtype = dice.choice(TYPES) if dice.random() < 0.6 else dice.choice(["A", "AAAA"])
    return Question(
        mixed_case(name(dice), dice), rtype, size, wants_dnssec,
        checking_disabled=dice.random() < 0.1, authentic_data=dice.random() < 0.1,
    )


def name(dice):
    host, link = dice.randrange(HOSTS), dice.randrange(CHAIN_LINKS + 1)
    kinds = [
        (30, f"h{host}.{ZONE}"), (15, f"alias{host}.{ZONE}"), (10, f"nosuch{host}.{ZONE}"),
        (5, f"x{host}.wild.{ZONE}"), (5, f"link{link}.{ZONE}"), (3, f"abroad.{ZONE}"),
        (3, f"h1.moved.{ZONE}"), (2, f"nosuch{host}.moved.{ZONE}"), (2, f"loop1.{ZONE}"),
        (3, f"dangling.{ZONE}"), (2, f"an.empty.terminal.{ZONE}"), (2, f"large.{ZONE}"),
        (2, f"many.{ZONE}"), (1, f"both\\.dots.{ZONE}"), (1, f"sp\\032ace.{ZONE}"),
        (1, f"{'l' * 63}.{ZONE}"), (2, f"unknown.{ZONE}"), (1, f"empty.{ZONE}"), (2, ZONE),
        (2, f"back.{OTHER}"), (4, f"www.{SIGNED}"), (2, f"alias.{SIGNED}"),
        (2, f"x{host}.wild.{SIGNED}"), (2, f"nosuch{host}.{SIGNED}"), (2, SIGNED),
        (1, f"abroad.{SIGNED}"), (1, f"nosuch{host}.elsewhere"), (1, "."),
    ]
    weights, names = zip(*kinds)
    return dice.choices(names, weights)[0]


def mixed_case(text, dice):
    """Mixes the letter case of a tenth of the names, which must not change any answer."""
    if dice.random() >= 0.1:
        return text
    return "".join(letter.upper() if dice.random() < 0.5 else letter for letter in text)
