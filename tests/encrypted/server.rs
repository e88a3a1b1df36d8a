//! A server for each encrypted transport, by hickory-server; and ones that misbehave, by hand.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::proto::op::{Edns, Header, HeaderCounts, Metadata};
use hickory_server::proto::rr::rdata::A;
use hickory_server::proto::rr::{RData, Record};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use privatelinkd::config::Scheme;
use rustls::{ServerConnection, StreamOwned};
use tokio::net::{TcpListener, UdpSocket};

use super::identity::Identity;

/// Of connections and handshakes, as the server has it.
const SERVER_TIMEOUT: Duration = Duration::from_secs(10);
pub(crate) const PATH: &str = "/dns-query";

/// Answers every question with 192.0.2.1 and keeps the queries' octets. Ends with this.
pub(crate) struct Answering {
    pub(crate) address: SocketAddr,
    queries: Arc<Mutex<Vec<Vec<u8>>>>,
    _server: Server<Handler>,
}

struct Handler {
    queries: Arc<Mutex<Vec<Vec<u8>>>>,
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut handle: R,
    ) -> ResponseInfo {
        self.queries.lock().unwrap().push(request.as_slice().to_vec());
        let mut edns = Edns::new();
        edns.set_max_payload(1_232);
        let name = request.queries.queries()[0].original().name().clone();
        let answer = Record::from_rdata(name, 60, RData::A(A::new(192, 0, 2, 1)));
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.recursion_available = true;
        let builder = MessageResponseBuilder::new(&request.queries, Some(&edns));
        let response = builder.build(metadata, [&answer], [], [], []);
        // The client may have gone.
        handle.send_response(response).await.unwrap_or_else(|_| {
            Header { metadata: request.metadata, counts: HeaderCounts::default() }.into()
        })
    }
}

impl Answering {
    /// Listens at `address`; port 0: a free one.
    pub(crate) async fn start(scheme: Scheme, identity: &Identity, address: SocketAddr) -> Self {
        let queries = Arc::default();
        let mut server = Server::new(Handler { queries: Arc::clone(&queries) });
        let address = match scheme {
            Scheme::Tls | Scheme::Https => {
                let listener = bound(|| TcpListener::bind(address)).await;
                let address = listener.local_addr().unwrap();
                if scheme == Scheme::Tls {
                    let config = identity.server_config(b"dot");
                    server.register_tls_listener_with_tls_config(listener, SERVER_TIMEOUT, config)
                } else {
                    let (config, path) = (identity.server_config(b"h2"), PATH.to_owned());
                    server.register_https_listener_with_tls_config(
                        listener,
                        SERVER_TIMEOUT,
                        config,
                        None,
                        path,
                    )
                }
                .unwrap();
                address
            }
            _ => {
                let socket = bound(|| UdpSocket::bind(address)).await;
                let address = socket.local_addr().unwrap();
                if scheme == Scheme::Quic {
                    let config = identity.server_config(b"doq");
                    server.register_quic_listener_and_tls_config(socket, SERVER_TIMEOUT, config)
                } else {
                    let config = identity.server_config(b"h3");
                    server.register_h3_listener_with_tls_config(
                        socket,
                        SERVER_TIMEOUT,
                        config,
                        None,
                    )
                }
                .unwrap();
                address
            }
        };
        Self { address, queries, _server: server }
    }

    pub(crate) fn queries(&self) -> Vec<Vec<u8>> {
        self.queries.lock().unwrap().clone()
    }
}

/// Waits for one that was there before: its tasks end in their own time.
async fn bound<T, F: Future<Output = io::Result<T>>>(bind: impl Fn() -> F) -> T {
    loop {
        match bind().await {
            Ok(socket) => return socket,
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

pub(crate) type TlsStream = StreamOwned<ServerConnection, std::net::TcpStream>;

/// DNS over TLS by hand: `serve` gets each connection, one after the other, with its number.
pub(crate) fn tls_by_hand(
    identity: &Identity,
    serve: impl Fn(&mut TlsStream, usize) -> io::Result<()> + Send + 'static,
) -> SocketAddr {
    let config = identity.server_config(b"dot");
    tcp_by_hand(move |stream, number| {
        let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        serve(&mut StreamOwned::new(connection, stream), number)
    })
}

/// The same without TLS.
pub(crate) fn tcp_by_hand(
    serve: impl Fn(std::net::TcpStream, usize) -> io::Result<()> + Send + 'static,
) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for number in 0.. {
            let (stream, _) = listener.accept().unwrap();
            // Clients may hang up as they like.
            let _hung_up = serve(stream, number);
        }
    });
    address
}

pub(crate) fn read_query(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut query)?;
    Ok(query)
}

pub(crate) fn write_reply(stream: &mut impl Write, reply: &[u8]) -> io::Result<()> {
    let mut frame = u16::try_from(reply.len()).unwrap().to_be_bytes().to_vec();
    frame.extend_from_slice(reply);
    stream.write_all(&frame)?;
    stream.flush()
}

/// A reply with these addresses to a question for A; NODATA to others.
pub(crate) fn reply(query: &[u8], addresses: &[[u8; 4]]) -> Vec<u8> {
    let name_end = 12 + query[12..].iter().position(|octet| *octet == 0).unwrap() + 1;
    let is_a = query[name_end..name_end + 2] == [0, 1];
    let addresses = if is_a { addresses } else { &[] };
    let mut reply = query[..name_end + 4].to_vec();
    reply[2..4].copy_from_slice(&[0x81, 0x80]);
    reply[6..8].copy_from_slice(&u16::try_from(addresses.len()).unwrap().to_be_bytes());
    reply[8..12].fill(0);
    for address in addresses {
        reply.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04");
        reply.extend_from_slice(address);
    }
    reply
}
