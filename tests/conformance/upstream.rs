//! The upstream of the cases: serves `upstream.zone` on loopback, over UDP and TCP.
//!
//! It follows its own CNAMEs, except at names with `!` in front, and has wildcards. Some names are
//! special: `flags` tells what a query looked like, `secure` has AD, `explained` an extended error,
//! `broken` fails, `broken-chain` fails beside a CNAME. Of Fabric's names, `z0a.w.api` is denied
//! with AD and an extended error, and `z0a.blob` fails.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::thread;

use hickory_proto::op::{Edns, Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::rdata::{CNAME, NULL, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// More CNAMEs than any case has.
const MAX_CHAIN: usize = 10;

/// A running server; its threads end with the process.
pub(crate) struct Upstream {
    address: SocketAddr,
}

#[derive(Clone, Default)]
struct Zone {
    records: HashMap<String, Vec<Record>>,
    /// Names whose CNAME is not followed.
    dangling: Vec<String>,
}

impl Upstream {
    pub(crate) fn start(text: &str) -> Self {
        let zone = Zone::read(text);
        let (udp, tcp) = bind();
        let address = udp.local_addr().expect("bound");
        let udp_zone = zone.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4_096];
            while let Ok((octets, client)) = udp.recv_from(&mut buffer) {
                if let Some(reply) = udp_zone.reply(&buffer[..octets], 1_232) {
                    let _lost = udp.send_to(&reply, client);
                }
            }
        });
        thread::spawn(move || {
            for mut stream in tcp.incoming().map_while(Result::ok) {
                let zone = zone.clone();
                thread::spawn(move || {
                    let mut length = [0; 2];
                    while stream.read_exact(&mut length).is_ok() {
                        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                        if stream.read_exact(&mut query).is_err() {
                            return;
                        }
                        let Some(reply) = zone.reply(&query, 65_535) else { return };
                        let length = u16::try_from(reply.len()).expect("fits").to_be_bytes();
                        if stream.write_all(&[&length[..], &reply].concat()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// UDP and TCP on one port.
fn bind() -> (UdpSocket, TcpListener) {
    for _ in 0..50 {
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("bound")) {
            return (udp, tcp);
        }
    }
    panic!("no port is free for both UDP and TCP")
}

impl Zone {
    fn read(text: &str) -> Self {
        let mut zone = Self::default();
        for line in text.lines().filter(|line| !line.starts_with(';') && !line.is_empty()) {
            let mut words = line.splitn(4, ' ');
            let mut word = || words.next().expect("owner, TTL, type, data");
            let (owner, ttl, rtype, data) = (word(), word(), word(), word());
            let owner = owner.strip_prefix('!').map_or(owner, |dangling| {
                zone.dangling.push(dangling.to_owned());
                dangling
            });
            let (rtype, copies) = rtype.split_once('*').unwrap_or((rtype, "1"));
            let name: Name = format!("{owner}.").parse().expect("a name");
            for copy in 0..copies.parse().expect("a number") {
                let data = match data.strip_prefix("\\# ") {
                    Some(octets) => unknown(rtype, octets),
                    None => parse(rtype, data, copy),
                };
                let record = Record::from_rdata(name.clone(), ttl.parse().expect("a TTL"), data);
                zone.records.entry(owner.to_owned()).or_default().push(record);
            }
        }
        zone
    }

    fn reply(&self, query: &[u8], limit: usize) -> Option<Vec<u8>> {
        let query = Message::from_vec(query).ok()?;
        let asked = query.queries.first()?.clone();
        let mut reply = query.clone();
        reply.metadata.message_type = MessageType::Response;
        reply.metadata.recursion_available = true;
        reply.metadata.authentic_data = false;
        let owner = asked.name().to_lowercase().to_string();
        let owner = owner.trim_end_matches('.').to_owned();
        match owner.as_str() {
            "flags.test" => reply.answers.push(describe(&query)),
            "broken-chain.test" => {
                let target: Name =
                    "api.privatelink.cloud.defender.microsoft.com.".parse().expect("a name");
                let cname = RData::CNAME(CNAME(target));
                reply.answers.push(Record::from_rdata(asked.name().clone(), 300, cname));
                reply.metadata.response_code = ResponseCode::ServFail;
            }
            "broken.test" | "z0a.blob.fabric.microsoft.com" => {
                reply.metadata.response_code = ResponseCode::ServFail
            }
            "secure.test" => {
                reply.metadata.authentic_data = query.metadata.authentic_data;
                reply.answers.push(address(asked.name(), "203.0.113.90"));
            }
            _ => self.look_up(&owner, asked.query_type(), &mut reply),
        }
        let is_vouched_for = owner == "z0a.w.api.fabric.microsoft.com";
        reply.metadata.authentic_data |= is_vouched_for && query.metadata.authentic_data;
        if (owner == "explained.test" || is_vouched_for)
            && let Some(edns) = &mut reply.edns
        {
            edns.options_mut().insert(EdnsOption::Unknown(15, b"\x00\x11filtered".to_vec()));
        }
        let octets = reply.to_vec().expect("encodable");
        if octets.len() <= limit {
            return Some(octets);
        }
        reply.answers.clear();
        reply.metadata.truncation = true;
        reply.to_vec().ok()
    }

    fn look_up(&self, owner: &str, rtype: RecordType, reply: &mut Message) {
        let mut owner = owner.to_owned();
        for _ in 0..MAX_CHAIN {
            let wildcard = owner.split_once('.').map(|(_, above)| format!("*.{above}"));
            let by_wildcard = || self.records.get(&wildcard?);
            let Some(records) = self.records.get(&owner).or_else(by_wildcard) else {
                reply.metadata.response_code = ResponseCode::NXDomain;
                reply.authorities.push(soa());
                return;
            };
            let found: Vec<_> = records.iter().filter(|r| r.record_type() == rtype).collect();
            if !found.is_empty() {
                for mut record in found.into_iter().cloned() {
                    // Where it is the wildcard's, as that of the name asked.
                    record.name = format!("{owner}.").parse().expect("a name");
                    reply.answers.push(record);
                }
                return;
            }
            let Some(cname) = records.iter().find(|r| r.record_type() == RecordType::CNAME) else {
                reply.authorities.push(soa());
                return;
            };
            reply.answers.push(cname.clone());
            if self.dangling.contains(&owner) {
                return;
            }
            let RData::CNAME(CNAME(target)) = &cname.data else { return };
            owner = target.to_string().trim_end_matches('.').to_owned();
        }
    }
}

fn parse(rtype: &str, data: &str, copy: usize) -> RData {
    let rtype: RecordType = rtype.parse().expect("a type");
    if rtype == RecordType::TXT {
        // Copies must differ, or they are one record.
        let text = data.trim_matches('"');
        let text = if copy == 0 { text.to_owned() } else { format!("{copy} {text}") };
        return RData::TXT(TXT::new(vec![text]));
    }
    RData::try_from_str(rtype, data).expect("data")
}

/// RFC 3597 §5's form: how many octets, then their digits.
fn unknown(rtype: &str, octets: &str) -> RData {
    let code = privatelinkd::wire::Rtype::parse(rtype).expect("a type").0;
    let (_, digits) = octets.split_once(' ').expect("a count and digits");
    let octets = (0..digits.len() / 2)
        .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).expect("digits"))
        .collect();
    RData::Unknown { code: code.into(), rdata: NULL::with(octets) }
}

fn address(name: &Name, ip: &str) -> Record {
    let data = RData::try_from_str(RecordType::A, ip).expect("an address");
    Record::from_rdata(name.clone(), 300, data)
}

fn soa() -> Record {
    let name: Name = "test.".parse().expect("a name");
    let data = "ns.test. admin.test. 1 3600 600 86400 30";
    Record::from_rdata(name, 300, RData::try_from_str(RecordType::SOA, data).expect("a SOA"))
}

/// What the query looked like, with TTL 0 so that nobody keeps it.
fn describe(query: &Message) -> Record {
    let metadata = &query.metadata;
    let asked = query.queries[0].name();
    let edns = query.edns.as_ref();
    // Every query has the daemon's own cookie.
    let others = |edns: &Edns| {
        let options = edns.options().as_ref().iter();
        options.filter(|(code, _)| *code != EdnsCode::Cookie).count()
    };
    let text = format!(
        "rd={} cd={} ad={} edns={} do={} options={}",
        u8::from(metadata.recursion_desired),
        u8::from(metadata.checking_disabled),
        u8::from(metadata.authentic_data),
        edns.map_or(0, Edns::max_payload),
        u8::from(edns.is_some_and(|edns| edns.flags().dnssec_ok)),
        edns.map_or(0, others),
    );
    Record::from_rdata(asked.clone(), 0, RData::TXT(TXT::new(vec![text])))
}
