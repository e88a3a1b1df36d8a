//! RDATA in the form that signatures cover: names uncompressed and in lower case (RFC 4034 §6.2, RFC
//! 6840 §5.1).
//!
//! hickory knows this form for the types that it has. It has no type for DNAME and others, and takes
//! their RDATA as it came. It also sorts all records by their RDATA as it came, in the case of their
//! letters. So the RDATA is brought into this form before hickory sees it.

use hickory_proto::rr::rdata::NULL;
use hickory_proto::rr::{RData, Record as HickoryRecord, RecordType};
use hickory_proto::serialize::binary::{BinDecoder, Restrict};

use crate::wire::{Record, canonical_rdata, compressed_names};

const A6: u16 = 38;
/// Octets of an IPv6 address, which A6 has a part of.
const ADDRESS_OCTETS: usize = 16;

/// Brings the RDATA of `decoded`, which hickory has read from `record` of `message`, into canonical
/// form. Leaves it alone if it holds no names, or cannot be read.
pub(super) fn canonicalize(decoded: &mut HickoryRecord, message: &[u8], record: &Record<'_>) {
    if let Some(data) = canonical(&decoded.data, message, record) {
        decoded.data = data;
    }
}

fn canonical(data: &RData, message: &[u8], record: &Record<'_>) -> Option<RData> {
    let mut octets = Vec::new();
    // The types whose names are in lower case are those whose names may be compressed, and A6.
    let (mut at, names) = match (compressed_names(record), record.rtype.0) {
        (Some(names), _) => names,
        // The rest of an address, and a name where the prefix has any bits (RFC 2874 §3.1).
        (None, A6) => {
            let prefix_bits = usize::from(*record.rdata.first()?);
            let prefix_octets = prefix_bits / 8;
            (1 + ADDRESS_OCTETS.checked_sub(prefix_octets)?, usize::from(prefix_bits > 0))
        }
        (None, _) => return None,
    };
    canonical_rdata(message, record, &mut octets).ok()?;
    for _ in 0..names {
        at = lower_case_name(&mut octets, at)?;
    }
    let rtype = RecordType::from(record.rtype.0);
    match data {
        RData::Unknown { code, .. } => {
            Some(RData::Unknown { code: *code, rdata: NULL::with(octets) })
        }
        _ => {
            let length = Restrict::new(u16::try_from(octets.len()).ok()?);
            RData::read(&mut BinDecoder::new(&octets), rtype, length).ok()
        }
    }
}

/// Puts the uncompressed name at `at` into lower case. Gives where the octets behind it begin.
fn lower_case_name(octets: &mut [u8], mut at: usize) -> Option<usize> {
    loop {
        let length = usize::from(*octets.get(at)?);
        let label = octets.get_mut(at + 1..at + 1 + length)?;
        label.make_ascii_lowercase();
        at += 1 + length;
        if length == 0 {
            return Some(at);
        }
    }
}
