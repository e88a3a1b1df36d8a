//! The daemon and one client of it.

use std::fmt::Write as _;
use std::net::{SocketAddr, UdpSocket};

use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

use super::process::{self, PATIENCE, Process};
use super::temporary::File;

/// The flags of a client.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flags {
    /// AD: it wants to know whether the answer is validated.
    Ad,
    /// CD and DO: it validates itself.
    CdAndDo,
}

pub(crate) struct Client {
    _process: Process,
    _files: [File; 2],
    address: SocketAddr,
}

impl Client {
    /// Starts the daemon with one rule, which validates the answers of `servers` from `anchor` on.
    pub(crate) fn start(anchor: &str, servers: &str) -> Self {
        let anchors = File::new(anchor);
        let config = File::new(&format!(
            "[listen]\ndns = [\"127.0.0.1:0\"]\n\
             [access]\nallow = [\"127.0.0.0/8\"]\n\
             [dnssec]\ntrust-anchors = {:?}\n\
             [[forward]]\nzones = [\".\"]\nupstreams = [{servers}]\ndnssec = \"validate\"\n\
             policy = \"ordered\"\ntimeout = \"4s\"\n",
            anchors.path()
        ));
        let mut process = Process::start(&mut process::run(config.path()));
        let address = process.address();
        Self { _process: process, _files: [anchors, config], address }
    }

    /// Asks once; gives the rcode, `ad` if it is set, and the addresses.
    pub(crate) fn ask(&self, qname: &str, rtype: u16, client: Flags) -> String {
        let name: Name = format!("{}.", qname.trim_end_matches('.')).parse().expect("a name");
        let mut query = Message::query();
        query.metadata.op_code = OpCode::Query;
        query.metadata.id = 0x4242;
        query.metadata.recursion_desired = true;
        query.metadata.authentic_data = client == Flags::Ad;
        query.metadata.checking_disabled = client == Flags::CdAndDo;
        query.add_query(Query::query(name, RecordType::from(rtype)));
        if client == Flags::CdAndDo {
            let mut edns = Edns::new();
            edns.set_max_payload(4_096);
            edns.enable_dnssec();
            query.set_edns(edns);
        }
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.connect(self.address).expect("connected");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        socket.send(&query.to_vec().expect("encodable")).expect("sent");
        let mut octets = [0; 4_096];
        let length = socket.recv(&mut octets).unwrap_or_else(|error| panic!("{qname}: {error}"));
        let reply = Message::from_vec(&octets[..length]).expect("a reply");
        let mut text = match reply.metadata.response_code {
            ResponseCode::NoError => "NOERROR".to_owned(),
            ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
            code => format!("{code:?}").to_uppercase(),
        };
        if reply.metadata.authentic_data {
            text += " ad";
        }
        for record in &reply.answers {
            if let RData::A(address) = &record.data {
                write!(text, " {address}").expect("a string takes all");
            }
        }
        text
    }
}
