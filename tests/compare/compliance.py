"""The checks of ISC's genreport and of RFC 8906 §8, as one list.

Each check sends one message and names what is wrong with the reply, in genreport's words. The names
of checks are genreport's; `section` is that of RFC 8906, where it has the check.
"""

import contextlib
import socket
import struct
from dataclasses import dataclass, field

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.tsig

SECONDS = 4
Z = 0x0040
UNKNOWN_OPCODE = 15
# In the header's third octet.
OPCODE_BITS = 0x78
UNKNOWN_OPTION, UNKNOWN_EDNS_FLAG = 100, 0x0040
EXPIRE = 9
CLIENT_COOKIE = bytes.fromhex("0123456789abcdef")
# Types that ISC's tool asks for, besides SOA.
TYPES = [
    "A", "NS", "MD", "MF", "CNAME", "MB", "MG", "MR", "NULL", "WKS", "PTR", "HINFO", "MINFO", "MX",
    "TXT", "RP", "AFSDB", "X25", "ISDN", "RT", "NSAP", "NSAP-PTR", "SIG", "KEY", "PX", "GPOS",
    "AAAA", "LOC", "NXT", "SRV", "NAPTR", "KX", "CERT", "A6", "DNAME", "APL", "DS", "SSHFP",
    "IPSECKEY", "RRSIG", "NSEC", "DNSKEY", "DHCID", "NSEC3", "NSEC3PARAM", "TLSA", "TYPE53", "HIP",
    "CDS", "CDNSKEY", "OPENPGPKEY", "SPF", "NID", "L32", "L64", "LP", "EUI48", "EUI64", "URI", "CAA",
    "AVC", "TYPE259", "DLV", "TYPE1000",
]


@dataclass(frozen=True)
class Check:
    name: str
    section: str = ""
    rtype: str = "SOA"
    flags: int = 0
    opcode: int = 0
    # EDNS version; None without an OPT record.
    edns: int | None = None
    edns_flags: int = 0
    options: tuple = ()
    size: int = 1232
    tcp: bool = False
    signed: bool = False
    rcodes: tuple = ("NOERROR",)
    # Header bits that the reply must not have.
    clear: int = Z
    keeps: int = 0

    def message(self, zone):
        query = dns.message.make_query(zone, self.rtype)
        query.flags = self.flags
        query.set_opcode(self.opcode)
        if self.edns is not None:
            query.use_edns(self.edns, self.edns_flags, self.size, options=list(self.options))
        if self.signed:
            query.use_tsig({"key.test.": b"0123456789abcdef"}, algorithm=dns.tsig.HMAC_SHA256)
        return query

    def wants_soa(self):
        return self.rtype == "SOA" and self.rcodes == ("NOERROR",)


def option(code, octets=b""):
    return dns.edns.GenericOption(code, octets)


COOKIE = option(dns.edns.COOKIE, CLIENT_COOKIE)
NSID = option(dns.edns.NSID)
SUBNET = option(dns.edns.ECS, bytes([0, 1, 0, 0]))
UNKNOWN = option(UNKNOWN_OPTION)
EXPIRE_OPTION = option(EXPIRE)
DO, RD, CD, AD = dns.flags.DO, dns.flags.RD, dns.flags.CD, dns.flags.AD
ALL_BITS = dns.flags.AA | dns.flags.TC | RD | dns.flags.RA | Z | AD | CD
BADVERS, NOTIMP = ("BADVERS",), ("NOTIMP",)

LIST = [
    Check("dns", "8.1.1"),
    Check("aa", flags=dns.flags.AA),
    Check("ad", "8.1.3.2", flags=AD),
    Check("cd", "8.1.3.1", flags=CD),
    Check("ra", flags=dns.flags.RA),
    Check("rd", "8.1.3.4", flags=RD, keeps=RD),
    Check("tc", flags=dns.flags.TC),
    Check("zflag", "8.1.3.3", flags=Z),
    Check("opcode", "8.1.4", opcode=UNKNOWN_OPCODE, rcodes=NOTIMP, clear=ALL_BITS),
    Check("opcodeflg", opcode=UNKNOWN_OPCODE, flags=ALL_BITS, rcodes=NOTIMP, clear=ALL_BITS),
    Check("type666", rtype="TYPE666"),
    Check("type1000", "8.1.2", rtype="TYPE1000"),
    Check("tcp", "8.1.5", tcp=True),
    Check("edns", "8.2.1", edns=0),
    Check("edns1", "8.2.2", edns=1, rcodes=BADVERS),
    Check("ednsopt", "8.2.3", edns=0, options=(UNKNOWN,)),
    Check("ednsflags", "8.2.4", edns=0, edns_flags=UNKNOWN_EDNS_FLAG),
    Check("edns1flags", "8.2.5", edns=1, edns_flags=UNKNOWN_EDNS_FLAG, rcodes=BADVERS),
    Check("edns1opt", "8.2.6", edns=1, options=(UNKNOWN,), rcodes=BADVERS),
    Check("edns@512", "8.2.7", rtype="DNSKEY", edns=0, edns_flags=DO, size=512),
    Check("do", "8.2.8", edns=0, edns_flags=DO),
    Check("edns1do", "8.2.9", edns=1, edns_flags=DO, rcodes=BADVERS),
    Check("optlist", "8.2.10", edns=0, options=(NSID, COOKIE, EXPIRE_OPTION, SUBNET)),
    Check("ednsnsid", edns=0, options=(NSID,)),
    Check("ednscookie", edns=0, options=(COOKIE,)),
    Check("ednsexpire", edns=0, options=(EXPIRE_OPTION,)),
    Check("ednssubnet", edns=0, options=(SUBNET,)),
    Check("edns1nsid", edns=1, options=(NSID,), rcodes=BADVERS),
    Check("edns1cookie", edns=1, options=(COOKIE,), rcodes=BADVERS),
    Check("edns1expire", edns=1, options=(EXPIRE_OPTION,), rcodes=BADVERS),
    Check("edns1subnet", edns=1, options=(SUBNET,), rcodes=BADVERS),
    Check("ednstcp", edns=0, edns_flags=DO, tcp=True),
    Check("docookie", edns=0, edns_flags=DO, options=(COOKIE,)),
    Check("bind11", edns=0, edns_flags=DO, flags=CD, size=4096, options=(COOKIE,)),
    Check("dig11", edns=0, flags=RD | AD, size=4096, options=(COOKIE,), keeps=RD),
    Check("tsig", signed=True, rcodes=("NOTAUTH", "FORMERR")),
    *(Check(f"type {rtype}", rtype=rtype) for rtype in TYPES),
]


@dataclass
class Result:
    """The faults of one server: check -> list of faults, empty if the server passed the check."""

    faults: dict = field(default_factory=dict)

    def passed(self):
        return sum(not wrong for wrong in self.faults.values())

    def failed(self):
        return {name: wrong for name, wrong in self.faults.items() if wrong}


def run(address, port, zone, large_zone):
    """Runs the whole list against one server. `large_zone` has keys, for the check of sizes."""
    result = Result()
    for check in LIST:
        asked = large_zone if check.rtype == "DNSKEY" else zone
        fill_cache(check.rtype, asked, address, port)
        result.faults[check.name] = faults(check, check.message(asked), address, port)
    return result


def fill_cache(rtype, zone, address, port):
    """Asks with RD=1 first: Unbound and BIND answer RD=0 from their caches alone."""
    with contextlib.suppress(OSError):
        exchange(dns.message.make_query(zone, rtype).to_wire(), address, port, tcp=False)


def faults(check, query, address, port):
    try:
        octets = exchange(query.to_wire(), address, port, check.tcp)
    except TimeoutError:
        return ["timeout"]
    except OSError as wrong:
        return ["reset" if isinstance(wrong, ConnectionResetError) else str(wrong)]
    if (octets[2] ^ query.flags >> 8) & OPCODE_BITS:
        return ["another opcode"]
    try:
        # dnspython knows no unknown opcode.
        known = octets[:2] + bytes([octets[2] & ~OPCODE_BITS]) + octets[3:]
        reply = dns.message.from_wire(known, ignore_trailing=True)
    except dns.message.UnknownTSIGKey:
        return []  # The reply has a TSIG record of its own, with its error.
    except (dns.exception.DNSException, struct.error) as wrong:
        return [f"malformed: {type(wrong).__name__}"]
    return list(wrong_with(check, query, reply, octets))


def wrong_with(check, query, reply, octets):
    rcode = dns.rcode.to_text(reply.rcode())
    if reply.id != query.id or not reply.flags & dns.flags.QR:
        yield "not a reply to the query"
    if rcode not in check.rcodes:
        yield rcode.lower()
    has_soa = any(rrset.rdtype == dns.rdatatype.SOA for rrset in reply.answer)
    if check.wants_soa() and not has_soa:
        yield "nosoa"
    if check.rcodes != ("NOERROR",) and has_soa:
        yield "soa"
    for bit in dns.flags.Flag:
        if reply.flags & check.clear & bit:
            yield f"{bit.name.lower()} set"
    if reply.flags & check.clear & Z:
        yield "mbz"
    if check.keeps & ~reply.flags:
        yield "rd not set"
    if not check.tcp and len(octets) > (512 if check.edns is None else check.size):
        yield "toobig"
    yield from wrong_with_edns(check, reply)


def wrong_with_edns(check, reply):
    if check.edns is None:
        if reply.edns >= 0:
            yield "opt"
        return
    if reply.edns < 0:
        yield "noopt"
        return
    if reply.edns != 0:
        yield "version"
    if reply.ednsflags & UNKNOWN_EDNS_FLAG:
        yield "mbz"
    if check.edns == 0 and check.edns_flags & DO and not reply.ednsflags & DO:
        yield "nodo"
    if any(one.otype == UNKNOWN_OPTION for one in reply.options):
        yield "echoed"
    for one in reply.options:
        if one.otype == dns.edns.COOKIE and not one.to_wire().startswith(CLIENT_COOKIE):
            yield "another client's cookie"


def exchange(octets, address, port, tcp):
    """Sends one message and gives the reply's octets."""
    kind = socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as connection:
        connection.settimeout(SECONDS)
        connection.connect((address, port))
        if not tcp:
            connection.send(octets)
            return connection.recv(65535)
        connection.sendall(struct.pack("!H", len(octets)) + octets)
        size = struct.unpack("!H", whole(connection, 2))[0]
        return whole(connection, size)


def whole(connection, count):
    octets = b""
    while len(octets) < count:
        part = connection.recv(count - len(octets))
        if not part:
            raise ConnectionResetError("the connection was closed")
        octets += part
    return octets
