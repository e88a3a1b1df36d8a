//! The signed zones of the validator's own tests, to be served to the real binary.

use std::sync::{Arc, Mutex, MutexGuard};

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::RecordType;

use testing::{Life, Zones, name};

/// The zones, shared by upstreams, with a key for the data in each zone beside the one that its
/// parent names: so a set of keys needs its signature.
#[derive(Clone)]
pub(crate) struct Signed(Arc<Mutex<Zones>>);

impl Signed {
    pub(crate) fn new() -> Self {
        let mut zones = Zones::new();
        for apex in ["", "test", "signed.test", "hashed.test"] {
            let zone = zones.zone_mut(apex);
            let of_data = zone.publish_another();
            zone.sign_data_with(of_data);
        }
        Self(Arc::new(Mutex::new(zones)))
    }

    fn zones(&self) -> MutexGuard<'_, Zones> {
        self.0.lock().expect("unpoisoned")
    }

    /// A line for a trust anchor file.
    pub(crate) fn anchor(&self) -> String {
        format!(". IN DS {}\n", self.zones().zone("").ds())
    }

    pub(crate) fn answer(&self, query: &Query) -> Message {
        self.zones().untampered(query)
    }

    /// Signs the data with a key that it publishes at the same time.
    pub(crate) fn change_data_key(&self, apex: &str) {
        let mut zones = self.zones();
        let zone = zones.zone_mut(apex);
        let of_data = zone.publish_another();
        zone.sign_data_with(of_data);
    }

    /// Makes the signatures of the answers old ones, which have expired.
    pub(crate) fn age(&self, message: &mut Message) {
        let zones = self.zones();
        let (owner, rtype) = (message.queries[0].name().clone(), message.queries[0].query_type());
        message.answers.retain(|record| record.record_type() != RecordType::RRSIG);
        // The zone that signs: a DS stands in the parent's.
        let apex = if rtype == RecordType::DS { owner.base_name() } else { owner };
        if !message.answers.is_empty() {
            let life = Life { from: -7_200, until: -3_600 };
            let apex = apex.to_ascii().to_lowercase();
            let zone = zones.zone(&apex);
            message.add_answer(zone.sign(&message.answers, None, life));
        }
    }
}

pub(crate) fn lower_case(query: &Query) -> Query {
    let owner = query.name().to_lowercase().to_ascii();
    Query::query(name(&owner), query.query_type())
}

/// Stands for the module of the validator that the zones use.
mod parts {
    use std::time::{SystemTime, UNIX_EPOCH};

    use hickory_proto::rr::SerialNumber;

    pub(super) fn now_seconds() -> SerialNumber {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        SerialNumber::new(u32::try_from(since.as_secs()).expect("before 2106"))
    }
}

mod wildcard {
    pub(super) fn base32_hex(octets: &[u8]) -> String {
        let encoding = data_encoding::BASE32HEX_NOPAD;
        encoding.encode(octets).to_lowercase()
    }
}

#[allow(dead_code, reason = "the validator's own tests use the rest")]
#[path = "../../src/dnssec/testing.rs"]
mod testing;
