//! Checks whether a record of a reply is valid: its class, its type, and the form of its RDATA.

use super::constants::Rtype;
use super::message::{Record, compressed_names};
use super::pointers::Fields;

/// Octets of a SOA behind its two names: five numbers (RFC 1035 §3.3.13).
const SOA_NUMBERS_OCTETS: usize = 20;

/// Whether `record`, of the message with `fields`, can be data: it has the class of the question, a type that records
/// can have, and RDATA of the form that its type wants. RDATA of types without a known form may be
/// anything (RFC 3597 §3).
///
/// It reads the names in the RDATA, so [`super::effort::Meter`] must have counted the record.
pub(super) fn is_sound(fields: &Fields<'_>, record: &Record<'_>, qclass: u16) -> bool {
    record.class == qclass && !is_meta(record.rtype) && has_its_form(fields, record)
}

/// Whether no record of a zone has this type: the reserved type 0, OPT, and the range of QTYPEs and
/// meta types, for example TSIG, AXFR and ANY (RFC 6895 §3.1).
fn is_meta(rtype: Rtype) -> bool {
    rtype == Rtype::OPT || matches!(rtype.0, 0 | 128..=255)
}

fn has_its_form(fields: &Fields<'_>, record: &Record<'_>) -> bool {
    match record.rtype {
        Rtype::A => record.rdata.len() == 4,
        Rtype::AAAA => record.rdata.len() == 16,
        Rtype::TXT => is_strings(record.rdata),
        _ => compressed_names(record).is_none_or(|names| has_names(fields, record, names)),
    }
}

/// Whether the RDATA consists of character-strings, of which there is one at least (RFC 1035
/// §3.3.14).
fn is_strings(rdata: &[u8]) -> bool {
    let mut rest = rdata;
    while let Some((octets, behind)) = rest.split_first() {
        let Some(behind) = behind.get(usize::from(*octets)..) else { return false };
        rest = behind;
    }
    !rdata.is_empty()
}

/// Whether the RDATA has some fixed octets, then so many names, then the octets that its type has
/// behind them.
fn has_names(fields: &Fields<'_>, record: &Record<'_>, (fixed, names): (usize, usize)) -> bool {
    let mut at = record.rdata_at + fixed;
    for _ in 0..names {
        if at >= record.end() {
            return false;
        }
        let Ok(end) = fields.name_end(at) else { return false };
        at = end;
    }
    let behind = record.end().checked_sub(at);
    match record.rtype.0 {
        6 => behind == Some(SOA_NUMBERS_OCTETS),
        // A signature stands behind the name of SIG, a bit map behind that of NXT.
        24 | 30 => behind.is_some(),
        _ => behind == Some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Section;
    use crate::wire::message::Header;

    fn is_kept(rtype: u16, class: u16, rdata: &[u8]) -> bool {
        let front = b"\0\0\0\0\0\0\0\0\0\0\0\0\x01a\0";
        let message = [front, rdata].concat();
        let record = Record {
            section: Section::Answer,
            owner_at: 12,
            rtype: Rtype(rtype),
            class,
            ttl: 60,
            ttl_at: 12,
            rdata_at: front.len(),
            rdata: &message[front.len()..],
        };
        // The question is the name in front.
        is_sound(&Fields::new(&message, &Header::EMPTY, 15 + 4), &record, 1)
    }

    #[test]
    fn rdata_has_the_form_of_its_type() {
        let names = |before: &[u8], names: &[u8], behind: &[u8]| [before, names, behind].concat();
        let (one, two): (&[u8], &[u8]) = (b"\xc0\x0c", b"\x01b\xc0\x0c\0");
        let good = [
            (1, vec![192, 0, 2, 1]),
            (28, vec![0; 16]),
            (16, b"\x01a".to_vec()),
            (16, b"\0\x02ab".to_vec()),
            (5, one.to_vec()),
            (2, b"\0".to_vec()),
            (12, b"\x01b\xc0\x0c".to_vec()),
            (39, one.to_vec()),
            (15, names(&[0, 10], one, &[])),
            (33, names(&[0; 6], one, &[])),
            (6, names(&[], two, &[0; 20])),
            (14, two.to_vec()),
            (17, two.to_vec()),
            (26, names(&[0; 2], two, &[])),
            (65_280, vec![]),
        ];
        for (rtype, rdata) in good {
            assert!(is_kept(rtype, 1, &rdata), "{rtype} {rdata:?}");
            assert!(!is_kept(rtype, 3, &rdata), "another class: {rtype}");
            if rtype == 65_280 {
                continue;
            }
            let longer = [&rdata[..], &[7]].concat();
            assert!(!is_kept(rtype, 1, &longer), "{rtype} {longer:?}");
            let shorter = &rdata[..rdata.len() - 1];
            let is_strings = rtype == 16 && shorter == b"\0";
            assert!(!is_kept(rtype, 1, shorter) || is_strings, "{rtype} {shorter:?}");
        }
        // A pointer forward, into the header, and a label that does not end.
        for broken in [&b"\xc0\x11"[..], b"\xc0\x04", b"\x05ab"] {
            assert!(!is_kept(5, 1, broken), "{broken:?}");
        }
    }

    #[test]
    fn meta_types_are_no_data() {
        for rtype in [0, 41, 128, 249, 250, 251, 252, 253, 254, 255] {
            assert!(!is_kept(rtype, 1, &[]), "{rtype}");
        }
        for rtype in [127, 256, 32_768, 65_535] {
            assert!(is_kept(rtype, 1, &[]), "{rtype}");
        }
    }
}
