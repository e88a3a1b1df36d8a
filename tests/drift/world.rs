//! The real binary, Azure's JSON, and servers on loopback.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::{Command, Output};
use std::thread;

use serde_json::{Value, json};

use super::process::{self, PROGRAM, Process};
use super::temporary::{File, Folder};

pub(crate) const API: &str = "api.cloud.defender.microsoft.com";
pub(crate) const DATA: &str = "data.westeurope.cloud.defender.microsoft.com";

impl Folder {
    /// Runs `drift` with these arguments in here, so that files are named without their directory.
    pub(crate) fn drift(&self, args: &[&str]) -> Outcome {
        Outcome::of(&self.run(&[&["drift"], args].concat()))
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        Command::new(PROGRAM).args(args).current_dir(self.path()).output().expect("it runs")
    }
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    fn of(output: &Output) -> Self {
        let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).expect("text");
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        Self { code: output.status.code(), stdout, stderr }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A private endpoint as `az network private-endpoint list` prints it.
pub(crate) fn endpoint(name: &str, status: &str, names: &[(&str, &[&str])]) -> Value {
    let names = names.iter().map(|(fqdn, ips)| json!({ "fqdn": fqdn, "ipAddresses": ips }));
    let id = "/subscriptions/s/resourceGroups/hub/providers/";
    json!({
        "id": format!("{id}Microsoft.Network/privateEndpoints/{name}"),
        "name": name,
        "type": "Microsoft.Network/privateEndpoints",
        "location": "westeurope",
        "provisioningState": "Succeeded",
        "privateLinkServiceConnections": [{
            "privateLinkServiceId": format!("{id}Microsoft.Security/privateLinks/spl"),
            "groupIds": ["containers"],
            "privateLinkServiceConnectionState": { "status": status, "actionsRequired": "None" },
        }],
        "manualPrivateLinkServiceConnections": [],
        "networkInterfaces": [],
        "customDnsConfigs": names.collect::<Vec<_>>(),
    })
}

/// What the configuration of these tests serves, as Azure has it.
pub(crate) fn hub() -> Value {
    endpoint("hub-pe", "Approved", &[(API, &["10.1.0.5"]), (DATA, &["10.1.0.6"])])
}

pub(crate) fn list(endpoints: &[Value]) -> String {
    serde_json::to_string_pretty(endpoints).expect("JSON")
}

/// A running daemon; ended with the test.
pub(crate) struct Daemon {
    _process: Process,
    _config: File,
    pub(crate) dns: SocketAddr,
}

impl Daemon {
    pub(crate) fn start(config: &str) -> Self {
        let config = File::new(config);
        let mut process = Process::start(&mut process::run(config.path()));
        Self { dns: process.address(), _process: process, _config: config }
    }
}

/// A server that says to each datagram what `says` makes of it, in order.
pub(crate) fn udp(says: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("bound");
    serve(socket, says);
    format!("@{address}")
}

fn serve(socket: UdpSocket, says: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) {
    thread::spawn(move || {
        let mut buffer = [0; 1_500];
        while let Ok((octets, client)) = socket.recv_from(&mut buffer) {
            for reply in says(&buffer[..octets]) {
                let _lost = socket.send_to(&reply, client);
            }
        }
    });
}

/// A server that truncates every datagram and gives `says` over TCP, behind its length.
pub(crate) fn truncating(says: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> String {
    // Until a port is free for both.
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("bound")) {
            break (udp, tcp);
        }
    };
    let address = udp.local_addr().expect("bound");
    serve(udp, |query| vec![reply(query, 0x8380, &[])]);
    thread::spawn(move || {
        let mut held = Vec::new();
        for stream in tcp.incoming() {
            let mut stream = stream.expect("a connection");
            let mut query = vec![0; 2];
            stream.read_exact(&mut query).expect("a length");
            query = vec![0; usize::from(u16::from_be_bytes([query[0], query[1]]))];
            stream.read_exact(&mut query).expect("a query");
            let _gone = stream.write_all(&says(&query));
            // Left open: who waits for more waits for its own time-out.
            held.push(stream);
        }
    });
    format!("@{address}")
}

/// What stands behind the question's name: type and class.
pub(crate) fn question_end(query: &[u8]) -> usize {
    12 + query[12..].iter().position(|octet| *octet == 0).expect("a name") + 5
}

pub(crate) fn asks_for_a(query: &[u8]) -> bool {
    let end = question_end(query);
    query[end - 4..end] == [0, 1, 0, 1]
}

/// A reply with these flags, and with these addresses where A is asked for.
pub(crate) fn reply(query: &[u8], flags: u16, addresses: &[[u8; 4]]) -> Vec<u8> {
    let addresses = if asks_for_a(query) { addresses } else { &[] };
    let answers = u16::try_from(addresses.len()).expect("few");
    let head = [flags, 1, answers, 0, 0].map(u16::to_be_bytes).concat();
    let mut reply = [&query[..2], &head, &query[12..question_end(query)]].concat();
    for address in addresses {
        reply.extend([&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4], &address[..]].concat());
    }
    reply
}
