//! The second implementation: the answers table of the design, on hickory-server.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use hickory_server::net::NetError;
use hickory_server::net::runtime::{Time, TokioTime};
use hickory_server::net::xfer::Protocol;
use hickory_server::proto::op::{
    Edns, Header, HeaderCounts, LowerQuery, MessageType, Metadata, OpCode, ResponseCode,
};
use hickory_server::proto::rr::rdata::{A, AAAA, CNAME, SOA};
use hickory_server::proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_server::proto::serialize::binary::{BinDecodable, BinDecoder, BinEncoder};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::{MessageResponse, MessageResponseBuilder};

use super::special::{self, SpecialZone};
use super::world::{self, Unlisted, Zone};
use super::{Packet, Said};

/// What a UDP reply may take with EDNS (DNS flag day 2020).
const UDP_OCTETS: u16 = 1_232;

pub(crate) struct Reference {
    zones: Vec<Zone>,
    forwarded: Vec<Name>,
    special: Vec<SpecialZone>,
}

/// Where the handler's reply arrives.
#[derive(Clone)]
struct Taker {
    limit: u16,
    reply: Arc<Mutex<Option<Vec<u8>>>>,
}

#[async_trait]
impl ResponseHandler for Taker {
    async fn send_response<'a>(
        &mut self,
        response: MessageResponse<
            '_,
            'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
        >,
    ) -> Result<ResponseInfo, NetError> {
        let mut octets = Vec::new();
        let mut encoder = BinEncoder::new(&mut octets);
        encoder.set_max_size(self.limit);
        let info = response.destructive_emit(&mut encoder)?;
        *self.reply.lock().expect("one thread") = Some(octets);
        Ok(info)
    }
}

/// What a name asked for gets.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) rcode: ResponseCode,
    pub(crate) authoritative: bool,
    pub(crate) answers: Vec<Record>,
    pub(crate) authorities: Vec<Record>,
}

impl Told {
    fn plainly(rcode: ResponseCode) -> Self {
        Self { rcode, ..Self::default() }
    }
}

impl Reference {
    pub(crate) fn new() -> Self {
        let name = |text: &&str| Name::from_ascii(*text).expect("a name");
        let forwarded = world::FORWARDED.iter().map(name).collect();
        Self { zones: world::zones(), forwarded, special: special::zones() }
    }

    /// What comes back to `packet`.
    pub(crate) async fn say(&self, packet: &Packet) -> Said {
        let protocol = if packet.tcp { Protocol::Tcp } else { Protocol::Udp };
        let source = SocketAddr::new(packet.client, 4_242);
        let Ok(header) = Header::read(&mut BinDecoder::new(&packet.octets)) else {
            return Said::Silence;
        };
        if header.metadata.message_type == MessageType::Response {
            return Said::Silence;
        }
        let Ok(request) = Request::from_bytes(packet.octets.clone(), source, protocol) else {
            return Said::Reply(unreadable(&header.metadata));
        };
        let limit = match (packet.tcp, &request.edns) {
            (true, _) => u16::MAX,
            (false, None) => 512,
            (false, Some(_)) => request.max_payload().min(UDP_OCTETS),
        };
        let reply = Arc::new(Mutex::new(None));
        let taker = Taker { limit, reply: Arc::clone(&reply) };
        self.handle_request::<_, TokioTime>(&request, taker).await;
        let reply = reply.lock().expect("one thread").take();
        reply.map_or(Said::Forward, Said::Reply)
    }

    /// Whether an upstream may deny `name`: no name that we answer lies below it.
    pub(crate) fn lets_deny(&self, name: &Name) -> bool {
        let ours = self.zones.iter().flat_map(|zone| {
            let listed = zone.listed().flat_map(|listed| {
                let zones = [&zone.public, &zone.private].into_iter();
                zones.filter_map(move |apex| listed.clone().append_domain(apex).ok())
            });
            // A private zone exists, and the wildcard answers some name below each in both.
            let any = Name::from_ascii("any").expect("a name");
            let wild = zone.unlisted == Unlisted::Wildcard;
            let below = [&zone.public, &zone.private].map(|apex| {
                let name = if apex.zone_of(name) { name } else { apex };
                any.clone().append_domain(name).ok().filter(|_| wild)
            });
            listed.chain([zone.private.clone()]).chain(below.into_iter().flatten())
        });
        let is_below = |ours: Name| name.zone_of(&ours) && ours != *name;
        !ours.into_iter().any(is_below)
    }

    /// `None`: somebody else is to be asked.
    fn tell(&self, query: &LowerQuery, client: IpAddr) -> Option<Told> {
        let (name, rtype) = (query.original().name(), query.query_type());
        if query.query_class() != DNSClass::IN
            || matches!(rtype, RecordType::AXFR | RecordType::IXFR)
        {
            return Some(Told::plainly(ResponseCode::Refused));
        }
        let zones = || self.zones.iter();
        if let Some(zone) = zones().find(|zone| zone.private.zone_of(name)) {
            let mut told = zone.tell(name, rtype, client)?;
            told.authoritative = true;
            return Some(told);
        }
        if let Some(zone) = zones().find(|zone| zone.public.zone_of(name) && zone.public != *name) {
            let mut told = zone.tell_public(name, rtype, client)?;
            told.authoritative = true;
            return Some(told);
        }
        if self.forwarded.iter().any(|zone| zone.zone_of(name)) {
            return None;
        }
        let special = self.special.iter().find(|zone| zone.apex.zone_of(name));
        Some(special.map_or_else(
            || Told::plainly(ResponseCode::Refused),
            |zone| zone.tell(name, rtype, &self.forwarded),
        ))
    }
}

#[async_trait]
impl RequestHandler for Reference {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut handle: R,
    ) -> ResponseInfo {
        let edns = request.edns.as_ref().map(|asked| {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_OCTETS).set_dnssec_ok(asked.flags().dnssec_ok);
            edns
        });
        let queries = request.queries.queries();
        let told = if request.metadata.op_code != OpCode::Query {
            Some(Told::plainly(ResponseCode::NotImp))
        } else if request.version() > 0 {
            Some(Told::plainly(ResponseCode::BADVERS))
        } else if let [query] = queries {
            self.tell(query, request.src().ip())
        } else {
            Some(Told::plainly(ResponseCode::FormErr))
        };
        let Some(told) = told else {
            return Header { metadata: request.metadata, counts: HeaderCounts::default() }.into();
        };
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.recursion_available = true;
        metadata.authoritative = told.authoritative;
        metadata.response_code = told.rcode;
        let builder = MessageResponseBuilder::new(&request.queries, edns.as_ref());
        let response =
            builder.build(metadata, &told.answers, &told.authorities, [], std::iter::empty());
        handle.send_response(response).await.expect("encodable")
    }
}

/// A header that says FORMERR, or NOTIMP: what other opcodes mean, nobody has said.
fn unreadable(asked: &Metadata) -> Vec<u8> {
    let rcode = if asked.op_code == OpCode::Query { 1 } else { 4 };
    let mut octets = asked.id.to_be_bytes().to_vec();
    octets.push(0x80 | u8::from(asked.op_code) << 3 | u8::from(asked.recursion_desired));
    octets.push(0x80 | u8::from(asked.checking_disabled) << 4 | rcode);
    octets.extend([0; 8]);
    octets
}

impl Zone {
    /// A name below P: the CNAME that keeps its labels, then what the target has.
    fn tell_public(&self, name: &Name, rtype: RecordType, client: IpAddr) -> Option<Told> {
        let above = labels(name) - labels(&self.public);
        let relative = Name::from_labels(name.iter().take(above)).expect("a part of a name");
        if !self.serves(&relative) {
            return None;
        }
        let Ok(target) = relative.append_domain(&self.private) else {
            return Some(Told::plainly(ResponseCode::YXDomain));
        };
        let cname = RData::CNAME(CNAME(target.clone()));
        let cname = Record::from_rdata(name.clone(), self.ttl, cname);
        if matches!(rtype, RecordType::CNAME | RecordType::ANY) {
            return Some(Told { answers: vec![cname], ..Told::default() });
        }
        let mut told = self.tell(&target, rtype, client)?;
        told.answers.insert(0, cname);
        Some(told)
    }

    /// Q, or a name below it.
    fn tell(&self, name: &Name, rtype: RecordType, client: IpAddr) -> Option<Told> {
        let above = labels(name) - labels(&self.private);
        if above == 0 {
            return Some(match rtype {
                RecordType::SOA | RecordType::ANY => {
                    Told { answers: vec![self.soa()], ..Told::default() }
                }
                _ => self.nothing(ResponseCode::NoError),
            });
        }
        let relative = Name::from_labels(name.iter().take(above)).expect("a part of a name");
        if !self.serves(&relative) {
            return None;
        }
        let Some(addresses) = self.addresses(&relative, client) else {
            let exists = self.is_above_listed(&relative);
            let rcode = if exists { ResponseCode::NoError } else { ResponseCode::NXDomain };
            return Some(self.nothing(rcode));
        };
        let records = |wanted: RecordType| -> Vec<Record> {
            let data = addresses.iter().map(|ip| match ip {
                IpAddr::V4(ip) => RData::A(A(*ip)),
                IpAddr::V6(ip) => RData::AAAA(AAAA(*ip)),
            });
            data.filter(|data| data.record_type() == wanted)
                .map(|data| Record::from_rdata(name.clone(), self.ttl, data))
                .collect()
        };
        let mut answers = match rtype {
            RecordType::A | RecordType::AAAA => records(rtype),
            RecordType::ANY => records(RecordType::A),
            _ => Vec::new(),
        };
        if rtype == RecordType::ANY && answers.is_empty() {
            answers = records(RecordType::AAAA);
        }
        if answers.is_empty() {
            return Some(self.nothing(ResponseCode::NoError));
        }
        Some(Told { answers, ..Told::default() })
    }

    /// Whether it is ours to say what this name has. Where unlisted names are an upstream's, so is
    /// a label above a listed one.
    fn serves(&self, relative: &Name) -> bool {
        self.unlisted != Unlisted::Forward || self.listed().any(|listed| listed == *relative)
    }

    fn listed(&self) -> impl Iterator<Item = Name> {
        let names = self.endpoints.iter().flat_map(|endpoint| &endpoint.names);
        names.map(|(name, _)| relative_name(name))
    }

    fn is_above_listed(&self, relative: &Name) -> bool {
        self.listed().any(|listed| relative.zone_of(&listed) && listed != *relative)
    }

    /// The addresses of the endpoint that is first for this client; `None` where the name has none.
    fn addresses(&self, relative: &Name, client: IpAddr) -> Option<&[IpAddr]> {
        let mut candidates: Vec<(bool, &[IpAddr])> = Vec::new();
        for endpoint in &self.endpoints {
            let listed = endpoint.names.iter().find(|(name, _)| relative_name(name) == *relative);
            candidates.extend(listed.map(|(_, ips)| (endpoint.of_site, &**ips)));
        }
        if candidates.is_empty() {
            if self.unlisted != Unlisted::Wildcard || self.is_above_listed(relative) {
                return None;
            }
            let wildcards = self.endpoints.iter().filter(|e| !e.wildcard.is_empty());
            candidates.extend(wildcards.map(|e| (e.of_site, &*e.wildcard)));
        }
        let is_site = client.to_string() == world::SITE_CLIENT;
        let own = candidates.iter().find(|(of_site, _)| is_site && *of_site);
        let every = candidates.iter().find(|(of_site, _)| !of_site);
        own.or(every).or(candidates.first()).map(|(_, ips)| *ips)
    }

    fn soa(&self) -> Record {
        let rname = Name::from_ascii("nobody.invalid.").expect("a name");
        let ttl = self.negative_ttl;
        let soa = SOA::new(self.private.clone(), rname, 1, 3_600, 300, 2_419_200, ttl);
        Record::from_rdata(self.private.clone(), ttl, RData::SOA(soa))
    }

    fn nothing(&self, rcode: ResponseCode) -> Told {
        Told { rcode, authorities: vec![self.soa()], ..Told::default() }
    }
}

fn relative_name(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).expect("a name")
}

/// `num_labels` leaves a leading asterisk out.
fn labels(name: &Name) -> usize {
    name.iter().count()
}
