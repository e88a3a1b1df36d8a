//! The second implementation of special names: master data for each zone, and a look-up in it.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_server::proto::op::ResponseCode;
use hickory_server::proto::rr::rdata::{A, AAAA, NS, PTR, SOA};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};

use super::reference::Told;
use super::world;

/// TTL of all records.
const TTL: u32 = 300;

/// A special zone as a server would load it.
pub(crate) struct SpecialZone {
    pub(crate) apex: Name,
    /// Owner and data, but for the SOA and the NS of the apex.
    records: Vec<(Name, RData)>,
    /// The data stand at every name of the zone, whatever their owner.
    at_every_name: bool,
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}

/// Those that packets ask for; `none` of them has a DS anywhere, as there is no rule for everything.
pub(crate) fn zones() -> Vec<SpecialZone> {
    let empty = |apex: &str, at_every_name| {
        let apex = name(apex);
        SpecialZone { apex, records: Vec::new(), at_every_name }
    };
    let loopback = [RData::A(A(Ipv4Addr::LOCALHOST)), RData::AAAA(AAAA(Ipv6Addr::LOCALHOST))];
    let localhost = name("localhost.");
    let records = loopback.map(|data| (localhost.clone(), data)).to_vec();
    let pointer = RData::PTR(PTR(localhost.clone()));
    let reverse = vec![(name("1.0.0.127.in-addr.arpa."), pointer)];
    let mut zones = vec![
        SpecialZone { apex: localhost, records, at_every_name: true },
        SpecialZone { records: reverse, ..empty("127.in-addr.arpa.", false) },
        empty("resolver.arpa.", true),
        empty("invalid.", false),
    ];
    zones.extend(world::ANSWERED.iter().map(|apex| empty(apex, false)));
    zones
}

impl SpecialZone {
    /// What `name` has, and whether it is there: the name itself, a record's owner or a forwarded
    /// zone lies at or below it.
    pub(crate) fn tell(&self, name: &Name, rtype: RecordType, forwarded: &[Name]) -> Told {
        let is_apex = self.apex == *name;
        let soa = Record::from_rdata(self.apex.clone(), TTL, self.soa());
        let mut data: Vec<RData> = self
            .records
            .iter()
            .filter(|(owner, _)| self.at_every_name || owner == name)
            .map(|(_, data)| data.clone())
            .collect();
        if is_apex {
            data.push(self.soa());
            data.push(RData::NS(NS(self.apex.clone())));
        }
        let is_wanted = |data: &RData| rtype == RecordType::ANY || data.record_type() == rtype;
        let answers = data.into_iter().filter(is_wanted).take(1);
        let answers: Vec<_> =
            answers.map(|data| Record::from_rdata(name.clone(), TTL, data)).collect();
        if !answers.is_empty() {
            return Told { authoritative: true, answers, ..Told::default() };
        }
        let owners = self.records.iter().map(|(owner, _)| owner);
        let exists = self.at_every_name
            || is_apex
            || owners.chain(forwarded).any(|owner| name.zone_of(owner));
        let rcode = if exists { ResponseCode::NoError } else { ResponseCode::NXDomain };
        Told { rcode, authoritative: true, authorities: vec![soa], ..Told::default() }
    }

    fn soa(&self) -> RData {
        let rname = name("nobody.invalid.");
        RData::SOA(SOA::new(self.apex.clone(), rname, 1, 3_600, 300, 2_419_200, TTL))
    }
}
