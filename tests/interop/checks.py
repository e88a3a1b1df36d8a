"""What must come back, through every resolver and from the daemon itself."""

import re
from dataclasses import dataclass

import asking
import upstream
from names import DATABASE, DEFENDER, VAULT, long_label, octets, random_labels
from resolvers import (
    API, DAEMON, DAEMON_V6, DATA, DEFENDER_V6, MINE_V4, MINE_V6, VAULT_KNOWN, WILDCARD_PORT,
)

RANDOM_NAMES = 50
P, Q = DEFENDER.public, DEFENDER.private
# The private zone's name is 12 octets longer: a name up to here still has a target.
LONGEST_WITH_TARGET = 255 - (octets(Q) - octets(P))


class Tally:
    """Prints one line a check and counts."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def check(self, who, what, good, expected="", got=""):
        if good:
            self.passed += 1
            print(f"ok {who} {what}", flush=True)
        else:
            self.failed += 1
            print(f"FAIL {who} {what}: expected {expected}; got {got}", flush=True)


@dataclass
class Case:
    """One question and its answer."""

    name: str
    rtype: str = "A"
    status: str = "NOERROR"
    addresses: tuple = ()
    # The CNAME targets in order; None: whatever.
    chain: tuple | None = ()
    # The zone whose SOA a negative answer must show.
    soa: str = ""
    options: tuple = ()

    def expected(self):
        soa = (f"SOA {self.soa}",) if self.soa else ()
        return " ".join([self.status, *(self.chain or ()), *sorted(self.addresses), *soa])

    def fits(self, reply, authority):
        return (
            reply.status == self.status
            and (self.rtype not in ("A", "AAAA") or reply.addresses() == sorted(self.addresses))
            and (self.rtype in ("A", "AAAA") or not reply.addresses())
            and (self.chain is None or reply.chain() == list(self.chain))
            and (not self.soa or not authority or reply.soa() == [self.soa])
        )


def private(zone, label, *addresses):
    return Case(f"{label}.{zone.public}", addresses=addresses, chain=(zone.hop(label),))


def nodata(zone, label, rtype):
    hop = zone.hop(label)
    return Case(f"{label}.{zone.public}", rtype, chain=(hop,), soa=zone.private)


def private_cases():
    long = long_label(P, LONGEST_WITH_TARGET)
    longest = long_label(Q)
    return [
        private(DEFENDER, "api", API),
        nodata(DEFENDER, "api", "AAAA"),
        nodata(DEFENDER, "api", "HTTPS"),
        nodata(DEFENDER, "api", "TXT"),
        Case(f"api.{Q}", addresses=(API,)),
        Case(f"api.{Q}", "AAAA", soa=Q),
        Case(f"api.{Q}", "HTTPS", soa=Q),
        private(DEFENDER, "data.westeurope", DATA),
        nodata(DEFENDER, "data.westeurope", "AAAA"),
        Case(f"data.westeurope.{Q}", addresses=(DATA,)),
        # Nothing stands at westeurope itself: no data, but no denial either (RFC 8020).
        nodata(DEFENDER, "westeurope", "A"),
        Case(f"westeurope.{Q}", soa=Q),
        private(DEFENDER, "one.two.three.four", API),
        private(DEFENDER, long, API),
        Case(f"{longest}.{Q}", addresses=(API,)),
        Case(Q, soa=Q),
        private(VAULT, "known", VAULT_KNOWN),
        Case(f"nosuch.{VAULT.public}", status="NXDOMAIN", chain=None),
        Case(f"nosuch.{VAULT.public}", "AAAA", status="NXDOMAIN", chain=None),
        Case(f"nosuch.{VAULT.private}", status="NXDOMAIN", soa=VAULT.private),
        private(DATABASE, "mine", MINE_V4),
        Case(f"mine.{DATABASE.public}", "AAAA", addresses=(MINE_V6,), chain=(DATABASE.hop("mine"),)),
        Case(f"mine.{DATABASE.private}", "AAAA", addresses=(MINE_V6,)),
        # Another tenant's name is none of ours: its public address, never a denial.
        private(DATABASE, "partner", upstream.TENANT),
        Case(f"partner.{DATABASE.private}", addresses=(upstream.TENANT,)),
    ]


def forwarded_cases(wildcard_v6=()):
    hop, x = "hop.example.test", f"x.{Q}"
    many = tuple(f"198.51.100.{number + 10}" for number in range(upstream.MANY))
    return [
        Case("www.example.test", addresses=("198.51.100.1",)),
        Case("www.example.test", "AAAA", addresses=("2001:db8::1",)),
        Case("www.example.test", "MX"),
        Case("txt.example.test", "TXT"),
        Case("big.example.test", "TXT"),
        Case("many.example.test", addresses=many),
        Case("nosuch.example.test", status="NXDOMAIN"),
        Case(P, addresses=(upstream.APEX,)),
        # A public chain that leads into our private zone ends in our address.
        Case("chain.example.test", addresses=(API,), chain=(hop, x)),
        Case("chain.example.test", "AAAA", addresses=wildcard_v6, chain=(hop, x)),
        Case("listed.example.test", addresses=(DATA,), chain=(f"data.westeurope.{Q}",)),
        Case("portal.example.test", addresses=(API,), chain=(f"api.{P}", f"api.{Q}")),
        *proven_cases(),
        Case(
            "tenant.example.test", addresses=(upstream.TENANT,),
            chain=(f"partner.{DATABASE.private}",),
        ),
    ]


def proven_cases():
    """Links to us that a validator accepts only with what proves them."""
    ours = (f"api.{P}", f"api.{Q}")
    wild = "x.wild.example.test"
    return [
        Case(wild, addresses=(API,), chain=ours),
        Case("api.moved.example.test", addresses=(API,), chain=ours),
    ]


RDATA = {
    ("www.example.test", "MX"): 1,
    ("txt.example.test", "TXT"): 1,
    ("big.example.test", "TXT"): 12,
}


def short(name):
    return name if len(name) <= 70 else f"{name[:12]}…{name[-45:]} ({octets(name)} octets)"


def run(tally, who, server, case, tool="dig", tcp=False, authority=True):
    reply = asking.ask(server, case.name, case.rtype, tool, tcp, case.options)
    good = case.fits(reply, authority)
    count = RDATA.get((case.name, case.rtype))
    if count is not None:
        good = good and sum(record[2] == case.rtype for record in reply.answer) == count
    what = f"{'kdig ' if tool == 'kdig' else ''}{'tcp ' if tcp else ''}{case.rtype}"
    tally.check(who, f"{what} {short(case.name)}", good, case.expected(), reply)
    return reply


def through(tally, asker, seed):
    """All that a resolver's own clients would ask."""
    who, server, authority = asker.name, asker.server, asker.passes_authority
    for case in [*private_cases(), *forwarded_cases()]:
        run(tally, who, server, case, authority=authority)
    for case in [private(DEFENDER, "api", API), private(DATABASE, "mine", MINE_V4)]:
        run(tally, who, server, case, tool="kdig", authority=authority)
        run(tally, who, server, case, tcp=True, authority=authority)
    mixed(tally, who, server)
    randoms(tally, who, server, seed)
    if asker.validates:
        secure = asking.ask(server, "www.example.test", options=("+dnssec",))
        tally.check(who, "A www.example.test is secure", "ad" in secure.flags, "ad", secure.flags)
        insecure = asking.ask(server, f"fresh.{P}", options=("+dnssec",))
        good = insecure.addresses() == [API] and "ad" not in insecure.flags
        tally.check(who, f"A fresh.{P} is insecure, not bogus", good, API, insecure)


def bogus_elsewhere(tally, asker):
    """It does validate: what its snippet does not except has no answer here."""
    reply = asking.ask(asker.server, "www.example.test")
    good = reply.status == "SERVFAIL"
    tally.check(asker.name, "A www.example.test is bogus", good, "SERVFAIL", reply)


def mixed(tally, who, server):
    name = "ApI.ClOuD.DeFeNdEr.MiCrOsOfT.cOm"
    reply = asking.ask(server, name)
    good = reply.question == name and reply.addresses() == [API]
    tally.check(who, f"A {name}", good, f"{name} {API}", f"{reply.question} {reply}")


def randoms(tally, who, server, seed):
    labels = random_labels(RANDOM_NAMES, f"{seed} {who}")
    names = [f"{label}.{P}" for label in labels]
    replies = asking.ask_all(server, names)
    wrong = [
        f"{name} -> {reply}"
        for name, label, reply in zip(names, labels, replies)
        if reply.addresses() != [API] or reply.chain() != [DEFENDER.hop(label)]
    ]
    good = len(replies) == RANDOM_NAMES and not wrong
    got = wrong[:3] if wrong else f"{len(replies)} replies"
    tally.check(who, f"A {RANDOM_NAMES} random names", good, f"{API} for each", got)


def direct(tally):
    """What only the daemon itself shows: flags, TTLs, the parent's side, its addresses."""
    who = "daemon"
    for case in [*private_cases(), *forwarded_cases()]:
        for tcp in (False, True):
            run(tally, who, DAEMON, case, tcp=tcp)
        run(tally, who, DAEMON_V6, case, tool="kdig")
    mixed(tally, who, DAEMON)
    randoms(tally, who, DAEMON, "direct")

    reply = asking.ask(DAEMON, f"api.{P}")
    flags = {"qr", "aa", "rd", "ra"}
    tally.check(who, "flags of a private answer", reply.flags == flags, flags, reply.flags)
    ttls = {record[1] for record in reply.answer}
    tally.check(who, "one TTL for CNAME and A", len(ttls) == 1, "one", ttls)
    reply = asking.ask(DAEMON, "www.example.test")
    tally.check(who, "RA on a forwarded answer", "ra" in reply.flags, "ra", reply.flags)
    reply = asking.ask(DAEMON, ".", "NS")
    tally.check(who, "NS . gets a reply", reply.status != "SILENCE", "any", reply)

    for rtype in ("CNAME", "ANY"):
        reply = asking.ask(DAEMON, f"api.{P}", rtype)
        good = reply.chain() == [DEFENDER.hop("api")] and not reply.addresses()
        tally.check(who, f"{rtype} api.{P}", good, "the CNAME alone", reply)
    too_long = f"{long_label(P)}.{P}"
    run(tally, who, DAEMON, Case(too_long, status="YXDOMAIN", chain=None))
    signed = ("+dnssec",)
    reply = asking.ask(DAEMON, P, "DS", options=signed)
    proof = {rtype for _, _, rtype, _ in reply.authority}
    good = reply.status == "NOERROR" and {"NSEC", "RRSIG"} <= proof
    tally.check(who, f"DS {P} is the parent's", good, "NSEC and RRSIG", f"{reply} {proof}")
    run(tally, who, DAEMON, Case(Q, "DS", soa=Q, options=signed))
    reply = asking.ask(DAEMON, "www.example.test", options=signed)
    good = any(rtype == "RRSIG" for _, _, rtype, _ in reply.answer)
    tally.check(who, "signatures pass with DO", good, "RRSIG", reply)


def behind_recursor(tally):
    """The second daemon: a recursor as its upstream, [::] and 0.0.0.0, both families."""
    who = "daemon before a recursor"
    server = ("127.0.0.77", WILDCARD_PORT)
    for case in forwarded_cases((DEFENDER_V6,)):
        run(tally, who, server, case)
    both = Case(
        f"any.{P}", "AAAA", addresses=(DEFENDER_V6,), chain=(DEFENDER.hop("any"),)
    )
    run(tally, who, server, both)
    # dig refuses a reply from another address than the one it asked.
    for address in ("127.0.0.1", "127.0.0.77", "::1", "fd00:53::77"):
        reply = asking.ask((address, WILDCARD_PORT), f"any.{P}")
        good = reply.addresses() == [API] and "unexpected source" not in reply.text
        tally.check(who, f"answers from {address}", good, API, reply)


def full_features(tally, log):
    """systemd-resolved noted no reason to trust the daemon with less."""
    complaints = re.findall(r".*degraded feature set.*", log)
    who = "systemd-resolved"
    tally.check(who, "keeps the daemon's full feature level", not complaints, "none", complaints)
