//! The numbers of the protocol, each with its source.

use std::fmt;

/// Octets of the fixed header (RFC 1035 §4.1.1).
pub const HEADER_OCTETS: usize = 12;
/// Largest message: the length field of TCP has 16 bits (RFC 1035 §4.2.2).
pub const MAX_MESSAGE_OCTETS: usize = 65_535;
/// CNAMEs that one answer may hold; resolvers give up between 8 and 17. The daemon does not follow
/// a longer chain.
pub const MAX_LINKS: usize = 16;
/// The UDP size we offer and never exceed: 1,280 (IPv6 minimum MTU) less the IPv6 and UDP headers,
/// so that nothing is fragmented (DNS flag day 2020, RFC 9715 §3).
pub const UDP_PAYLOAD_OCTETS: u16 = 1_232;
/// The largest UDP message without EDNS, and the least that EDNS may offer (RFC 1035 §4.2.1, RFC 6891
/// §6.2.3).
pub const CLASSIC_UDP_OCTETS: usize = 512;
/// Octets of an OPT record without options: root name, type, class, TTL and length of the RDATA (RFC
/// 6891 §6.1.2).
pub const OPT_OCTETS: usize = 11;
/// The DO bit among an OPT record's extended flags (RFC 6891 §6.1.4).
pub const DNSSEC_OK: u32 = 0x8000;
/// A compression pointer to the octet behind the header, where the question's name stands (RFC 1035
/// §4.1.4).
pub const POINTER_TO_QUESTION: [u8; 2] = [0xc0, 12];
/// Class Internet (RFC 1035 §3.2.4).
pub const CLASS_IN: u16 = 1;

/// Bits of the header's second 16-bit word (RFC 1035 §4.1.1; AD and CD: RFC 4035 §3).
pub mod flags {
    /// This message is a response.
    pub const QR: u16 = 0x8000;
    /// The four opcode bits; QUERY is 0.
    pub const OPCODE: u16 = 0x7800;
    /// Authoritative answer.
    pub const AA: u16 = 0x0400;
    /// Truncated: ask again over TCP.
    pub const TC: u16 = 0x0200;
    /// Recursion desired.
    pub const RD: u16 = 0x0100;
    /// Recursion available.
    pub const RA: u16 = 0x0080;
    /// Authentic data.
    pub const AD: u16 = 0x0020;
    /// Checking disabled.
    pub const CD: u16 = 0x0010;
    /// The four low bits of the rcode.
    pub const RCODE: u16 = 0x000f;
}

/// A response code, extended bits included (RFC 6895 §2.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rcode(pub u16);

impl Rcode {
    /// No error (RFC 1035).
    pub const NOERROR: Self = Self(0);
    /// The query cannot be parsed (RFC 1035).
    pub const FORMERR: Self = Self(1);
    /// The server, or everything behind it, failed (RFC 1035).
    pub const SERVFAIL: Self = Self(2);
    /// The name does not exist (RFC 1035, RFC 8020).
    pub const NXDOMAIN: Self = Self(3);
    /// The opcode is not implemented (RFC 1035).
    pub const NOTIMP: Self = Self(4);
    /// Refused by policy (RFC 1035).
    pub const REFUSED: Self = Self(5);
    /// A substituted name would be too long (RFC 6672 §2.2).
    pub const YXDOMAIN: Self = Self(6);
    /// Not the server for that, or a signature by a key that it does not have (RFC 8945 §5.2).
    pub const NOTAUTH: Self = Self(9);
    /// The EDNS version is not known here (RFC 6891 §6.1.3).
    pub const BADVERS: Self = Self(16);
    /// The query has no server cookie, or not the server's own (RFC 7873 §8).
    pub const BADCOOKIE: Self = Self(23);

    /// Whether a reply with this code says whether the name exists. YXDOMAIN is what a DNAME makes of
    /// a name that grows too long (RFC 6672 §2.2).
    pub fn is_answer(self) -> bool {
        matches!(self, Self::NOERROR | Self::NXDOMAIN | Self::YXDOMAIN)
    }
}

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("NOERROR"),
            1 => f.write_str("FORMERR"),
            2 => f.write_str("SERVFAIL"),
            3 => f.write_str("NXDOMAIN"),
            4 => f.write_str("NOTIMP"),
            5 => f.write_str("REFUSED"),
            6 => f.write_str("YXDOMAIN"),
            9 => f.write_str("NOTAUTH"),
            16 => f.write_str("BADVERS"),
            23 => f.write_str("BADCOOKIE"),
            code => write!(f, "RCODE{code}"),
        }
    }
}

impl fmt::Debug for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An RR type (or QTYPE) as its number (RFC 6895 §3.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rtype(pub u16);

/// Mnemonics that we print and read; every other type is `TYPE123` (RFC 3597 §5).
const MNEMONICS: &[(u16, &str)] = &[
    (1, "A"),
    (2, "NS"),
    (5, "CNAME"),
    (6, "SOA"),
    (12, "PTR"),
    (13, "HINFO"),
    (15, "MX"),
    (16, "TXT"),
    (28, "AAAA"),
    (29, "LOC"),
    (33, "SRV"),
    (35, "NAPTR"),
    (39, "DNAME"),
    (41, "OPT"),
    (43, "DS"),
    (44, "SSHFP"),
    (46, "RRSIG"),
    (47, "NSEC"),
    (48, "DNSKEY"),
    (50, "NSEC3"),
    (51, "NSEC3PARAM"),
    (52, "TLSA"),
    (59, "CDS"),
    (60, "CDNSKEY"),
    (61, "OPENPGPKEY"),
    (64, "SVCB"),
    (65, "HTTPS"),
    (99, "SPF"),
    (251, "IXFR"),
    (252, "AXFR"),
    (255, "ANY"),
    (257, "CAA"),
];

impl Rtype {
    /// IPv4 address (RFC 1035).
    pub const A: Self = Self(1);
    /// Name server (RFC 1035).
    pub const NS: Self = Self(2);
    /// Canonical name (RFC 1035).
    pub const CNAME: Self = Self(5);
    /// Start of authority (RFC 1035).
    pub const SOA: Self = Self(6);
    /// The name of an address (RFC 1035).
    pub const PTR: Self = Self(12);
    /// Text (RFC 1035).
    pub const TXT: Self = Self(16);
    /// IPv6 address (RFC 3596).
    pub const AAAA: Self = Self(28);
    /// Redirection of a subtree (RFC 6672).
    pub const DNAME: Self = Self(39);
    /// The EDNS pseudo-RR (RFC 6891).
    pub const OPT: Self = Self(41);
    /// Delegation signer: lives on the parent side (RFC 4035 §3.1.4.1).
    pub const DS: Self = Self(43);
    /// Signature (RFC 4034).
    pub const RRSIG: Self = Self(46);
    /// The next name of a zone: a proof that there is none between (RFC 4034).
    pub const NSEC: Self = Self(47);
    /// A zone's key (RFC 4034).
    pub const DNSKEY: Self = Self(48);
    /// The next name's hash (RFC 5155).
    pub const NSEC3: Self = Self(50);
    /// Where a service is, with hints of its addresses (RFC 9460).
    pub const SVCB: Self = Self(64);
    /// The same for HTTP (RFC 9460 §9).
    pub const HTTPS: Self = Self(65);
    /// A signature over one message (RFC 8945).
    pub const TSIG: Self = Self(250);
    /// Incremental transfer, a QTYPE (RFC 1995).
    pub const IXFR: Self = Self(251);
    /// Zone transfer, a QTYPE (RFC 5936).
    pub const AXFR: Self = Self(252);
    /// All records, a QTYPE; answered minimally (RFC 8482).
    pub const ANY: Self = Self(255);

    /// Reads a mnemonic in any case, or `TYPE123` (RFC 3597 §5).
    pub fn parse(text: &str) -> Option<Self> {
        let upper = text.to_ascii_uppercase();
        if let Some(number) = upper.strip_prefix("TYPE") {
            return number.parse().ok().map(Self);
        }
        MNEMONICS.iter().find(|(_, name)| *name == upper).map(|(number, _)| Self(*number))
    }
}

impl fmt::Display for Rtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match MNEMONICS.iter().find(|(number, _)| *number == self.0) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "TYPE{}", self.0),
        }
    }
}

impl fmt::Debug for Rtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why an answer is what it is: an extended DNS error (RFC 8914 §4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum Ede {
    /// None of the others; the text says what.
    Other = 0,
    /// Its time is over, and no upstream gave a new one (RFC 8767).
    StaleAnswer = 3,
    /// Validation came to no end.
    DnssecIndeterminate = 5,
    /// Validation failed.
    DnssecBogus = 6,
    /// All signatures have expired.
    SignatureExpired = 7,
    /// No signature is valid yet.
    SignatureNotYetValid = 8,
    /// The zone's keys, which its parent names, are not there.
    DnskeyMissing = 9,
    /// Signatures that ought to be there are not.
    RrsigsMissing = 10,
    /// The proof that there is no such name or type is not there.
    NsecMissing = 12,
    /// The upstream answers that this is not available now.
    NotReady = 14,
    /// The answer is one that this server was told not to let through.
    Filtered = 17,
    /// The client is not allowed here.
    Prohibited = 18,
    /// As [`Self::StaleAnswer`], for a name that did not exist.
    StaleNxdomain = 19,
    /// Not our zone, and no forward rule covers it.
    NotAuthoritative = 20,
    /// The operation or type is deliberately not supported.
    NotSupported = 21,
    /// No upstream answered.
    NoReachableAuthority = 22,
    /// The network towards the upstream failed.
    NetworkError = 23,
}

impl Ede {
    /// The name of a code in IANA's registry of extended DNS errors.
    pub fn name(code: u16) -> &'static str {
        const NAMES: [&str; 25] = [
            "Other",
            "Unsupported DNSKEY Algorithm",
            "Unsupported DS Digest Type",
            "Stale Answer",
            "Forged Answer",
            "DNSSEC Indeterminate",
            "DNSSEC Bogus",
            "Signature Expired",
            "Signature Not Yet Valid",
            "DNSKEY Missing",
            "RRSIGs Missing",
            "No Zone Key Bit Set",
            "NSEC Missing",
            "Cached Error",
            "Not Ready",
            "Blocked",
            "Censored",
            "Filtered",
            "Prohibited",
            "Stale NXDOMAIN Answer",
            "Not Authoritative",
            "Not Supported",
            "No Reachable Authority",
            "Network Error",
            "Invalid Data",
        ];
        NAMES.get(usize::from(code)).copied().unwrap_or("unknown")
    }
}
