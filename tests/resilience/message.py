"""DNS messages as far as the asking client and the upstreams need them (RFC 1035 section 4), and
the zone that both know: every name exists, has an address of its own and says its TTL itself.

    ttl60.new-17.names.example  A  198.18.….…   TTL 60
"""

import ipaddress
import re
import struct
import zlib

ZONE = "names.example"
# Zones of names that no upstream answers, and whose CNAME leads to itself.
SILENT_ZONE, ENDLESS_ZONE = "silent.example", "endless.example"
# Host names of the upstreams: each is its address, with hyphens.
HOSTS_ZONE = "hosts.example"
# RFC 2544's addresses: nobody's, and 131,072 of them.
NETWORK = int(ipaddress.IPv4Address("198.18.0.0"))
HOST_BITS = 17
# What liars say: RFC 5737, and in no answer that is right.
LIE = "203.0.113.66"

HEADER = struct.Struct("!6H")
QR, TC, RD, RA = 0x8000, 0x0200, 0x0100, 0x0080
NOERROR, SERVFAIL, NXDOMAIN, REFUSED = 0, 2, 3, 5
RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
A, CNAME, AAAA, OPT, IN = 1, 5, 28, 41, 1
EXTENDED_ERROR = 15
UDP_OCTETS = 1232
OPT_RECORD = struct.pack("!BHHIH", 0, OPT, UDP_OCTETS, 0, 0)
POINTER_TO_QUESTION = b"\xc0\x0c"
DEFAULT_TTL = 60


class Malformed(Exception):
    """Not a message that we can read."""


def address_of(name):
    """The one right address of a name in the zone."""
    host = zlib.crc32(name.lower().encode()) >> 32 - HOST_BITS
    return str(ipaddress.IPv4Address(NETWORK + host))


def host_of(address):
    """The host name of an upstream."""
    return f"{address.replace('.', '-')}.{HOSTS_ZONE}"


def address_of_host(name):
    """The address of an upstream's host name; None for other names."""
    label, _, zone = name.partition(".")
    return label.replace("-", ".") if zone == HOSTS_ZONE else None


def ttl_of(name):
    found = re.match(r"ttl(\d+)\.", name)
    return int(found[1]) if found else DEFAULT_TTL


def query(identity, name):
    header = HEADER.pack(identity, RD, 1, 0, 0, 1)
    return header + encoded(name) + struct.pack("!HH", A, IN) + OPT_RECORD


def encoded(name):
    labels = (label.encode() for label in name.split("."))
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def name_at(message, at):
    """The name that begins there, lower case, and where it ends."""
    labels, end, jumps = [], None, 0
    try:
        while size := message[at]:
            if size >= 0xC0:
                end = end or at + 2
                at, jumps = (size & 0x3F) << 8 | message[at + 1], jumps + 1
                if jumps > 10:
                    raise Malformed("a loop of pointers")
                continue
            labels.append(message[at + 1:at + 1 + size].decode("ascii", "replace").lower())
            at += 1 + size
    except IndexError:
        raise Malformed("a name without an end") from None
    return ".".join(labels), end or at + 1


def question(message):
    """(name, qtype, where it ends)."""
    name, end = name_at(message, HEADER.size)
    if end + 4 > len(message):
        raise Malformed("a question without an end")
    return name, int.from_bytes(message[end:end + 2]), end + 4


def records(message):
    """(is it in the answer section, type, RDATA) of all records."""
    try:
        _, _, _, answers, authorities, additional = HEADER.unpack_from(message)
        _, _, at = question(message)
        found = []
        for number in range(answers + authorities + additional):
            _, at = name_at(message, at)
            rtype, _, _, octets = struct.unpack_from("!HHIH", message, at)
            at += 10 + octets
            found.append((number < answers, rtype, message[at - octets:at]))
    except struct.error:
        raise Malformed("a record without an end") from None
    return found


def addresses(message):
    """The A records of the answer section, whoever owns them."""
    return [
        str(ipaddress.IPv4Address(rdata))
        for is_answer, rtype, rdata in records(message)
        if is_answer and rtype == A and len(rdata) == 4
    ]


def extended_errors(message):
    """The codes of RFC 8914 that it holds."""
    found = []
    for _, rtype, rdata in records(message):
        at = 0
        while rtype == OPT and at + 4 <= len(rdata):
            code, octets = struct.unpack_from("!HH", rdata, at)
            if code == EXTENDED_ERROR and octets >= 2:
                found.append(int.from_bytes(rdata[at + 4:at + 6]))
            at += 4 + octets
    return found


def answer(asked, rcode=NOERROR, flags=0, address=None, more=b"", more_count=0, identity=None):
    """The answer to `asked`: the name's own address, or the one given, unless it fails."""
    name, qtype, end = question(asked)
    own_identity, asked_flags, _, _, _, additional = HEADER.unpack_from(asked)
    records = b""
    if rcode == NOERROR and not flags & TC and qtype == A:
        given = ipaddress.IPv4Address(address or address_of(name)).packed
        records = POINTER_TO_QUESTION + struct.pack("!HHIH", A, IN, ttl_of(name), 4) + given
    header = HEADER.pack(
        own_identity if identity is None else identity,
        QR | RA | asked_flags & RD | flags | rcode, 1, bool(records) + more_count, 0,
        bool(additional),
    )
    opt = OPT_RECORD if additional else b""
    return header + asked[HEADER.size:end] + records + more + opt


def endless(asked):
    """The answer to `asked` whose CNAME leads to itself."""
    target = POINTER_TO_QUESTION
    record = target + struct.pack("!HHIH", CNAME, IN, DEFAULT_TTL, len(target)) + target
    bare = answer(asked, rcode=SERVFAIL)
    _, _, end = question(asked)
    own_identity, flags, _, _, _, additional = HEADER.unpack_from(bare)
    header = HEADER.pack(own_identity, flags & ~SERVFAIL, 1, 1, 0, additional)
    return header + bare[HEADER.size:end] + record + bare[end:]


def padding(octets):
    """TXT records of the question's name that fill so many octets, and their number."""
    text = 255
    record = POINTER_TO_QUESTION + struct.pack("!HHIHB", 16, IN, DEFAULT_TTL, 1 + text, text)
    record += b"t" * text
    count = octets // len(record)
    return record * count, count
