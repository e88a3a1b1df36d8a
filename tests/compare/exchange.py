"""One query and its reply, read for comparison (dnspython)."""

from dataclasses import dataclass

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

# A forwarder's own time for a question is 2 s.
SECONDS = 4
# Of an answer, in a line about it.
SHOWN_RECORDS = 6
COMPARED_FLAGS = dns.flags.QR | dns.flags.RD | dns.flags.CD


@dataclass(frozen=True)
class Seen:
    """What a client sees of one reply, with nothing that may differ between good servers."""

    rcode: str
    answer: tuple
    # Owners of the SOA records of a negative answer.
    soa: tuple
    flags: int

    def __str__(self):
        shown = ["/".join(record) for record in self.answer[:SHOWN_RECORDS]]
        more = len(self.answer) - len(shown)
        shown += [f"and {more} more"] if more > 0 else []
        soa = f" SOA {' '.join(self.soa)}" if self.soa else ""
        return f"{self.rcode} {dns.flags.to_text(self.flags)} [{', '.join(shown)}]{soa}"

    def parts(self):
        return {"rcode": self.rcode, "answer": self.answer, "SOA": self.soa, "flags": self.flags}


def query_of(question):
    """The message of `names.Question`."""
    query = dns.message.make_query(
        question.name, question.rtype, want_dnssec=question.wants_dnssec,
        use_edns=None if question.size is None else 0, payload=question.size or 0,
    )
    query.flags |= dns.flags.CD if question.checking_disabled else 0
    query.flags |= dns.flags.AD if question.authentic_data else 0
    return query


def ask(address, port, question):
    """Asks over UDP, and over TCP where the reply is truncated. Gives what is wrong as a text."""
    query = query_of(question)
    try:
        reply = dns.query.udp(query, address, SECONDS, port, raise_on_truncation=False)
        if reply.flags & dns.flags.TC:
            reply = dns.query.tcp(query, address, SECONDS, port)
    except dns.exception.Timeout:
        return "no reply"
    except (dns.exception.DNSException, OSError, EOFError, ValueError) as wrong:
        return f"unreadable: {type(wrong).__name__}"
    return seen(reply)


def seen(reply):
    answer = sorted(
        (str(rrset.name).lower(), dns.rdatatype.to_text(rrset.rdtype), text.lower())
        for rrset in reply.answer for text in (rdata.to_text() for rdata in rrset)
    )
    negative = not any(rrset.rdtype != dns.rdatatype.CNAME for rrset in reply.answer)
    soa = sorted(
        str(rrset.name).lower() for rrset in reply.authority
        if negative and rrset.rdtype == dns.rdatatype.SOA
    )
    rcode = dns.rcode.to_text(reply.rcode())
    return Seen(rcode, tuple(answer), tuple(soa), reply.flags & COMPARED_FLAGS)
