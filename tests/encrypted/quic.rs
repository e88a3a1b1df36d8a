//! QUIC servers that do as a test tells them, octet by octet: DNS over QUIC, and HTTP/3 without a
//! library that keeps its rules.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use privatelinkd::config::Scheme;
use privatelinkd::upstream::{Link, TryError};
use quinn::{Connection, RecvStream, SendStream, TransportConfig, VarInt};
use tokio::task::spawn_local;

use super::identity::{Authority, Identity};
use super::{anywhere, asked, link, reason, server, trusting, upstream};

/// Octets of a query that a server takes at once, if it is to stop the stream before the others come.
const PART_OF_A_QUERY: u32 = 16;

/// What a server does with a query on a stream of its own.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Replies with 192.0.2.1.
    Answer,
    /// Sends these octets, one piece after the other, and ends the stream.
    Send(Vec<Vec<u8>>),
    /// The same, and leaves the stream open.
    SendOn(Vec<Vec<u8>>),
    /// Sends the first octets once, and the others again and again until the client stops the stream.
    Repeat(Vec<u8>, Vec<u8>),
    /// Resets the stream.
    Reset(u64),
    /// Closes the connection.
    Close(u64, &'static str),
    /// Says nothing.
    Ignore,
}

/// What a server does first on each connection, beside what the protocol wants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Opening {
    /// Unidirectional streams that it opens, with their octets. They stay open.
    pub(crate) streams: Vec<Vec<u8>>,
    /// Streams that a client may open; `None`: as many as quinn allows.
    pub(crate) client_streams: Option<u32>,
    /// Codes with which it stops the first streams, before the whole query has come.
    pub(crate) stops: Vec<u64>,
    /// What each of the unidirectional streams holds that it opens and ends, one after the other, as
    /// long as the client lets it.
    pub(crate) flood: Option<Vec<u8>>,
}

/// One query.
pub(crate) struct Asked {
    /// Of all queries, from 0.
    pub(crate) number: usize,
    /// The DNS message.
    pub(crate) query: Vec<u8>,
}

/// A server whose tasks end with the test's `LocalSet`.
pub(crate) struct QuicServer {
    pub(crate) address: SocketAddr,
    shared: Rc<Shared>,
}

struct Shared {
    scheme: Scheme,
    behaviour: Box<dyn Fn(&Asked) -> Act>,
    opening: Opening,
    queries: Cell<usize>,
    connections: Cell<usize>,
    octets: Cell<usize>,
    /// That it has opened one after the other.
    streams: Cell<usize>,
    /// Codes with which clients stopped streams.
    stops: RefCell<Vec<u64>>,
    /// Codes with which clients closed connections.
    closes: RefCell<Vec<u64>>,
}

/// The client may go at any time.
type Gone = Box<dyn std::error::Error>;

/// A server and a link to it.
pub(super) struct Pair {
    pub(super) server: QuicServer,
    pub(super) link: Rc<Link>,
    _authority: Authority,
}

impl Pair {
    pub(super) fn start(
        scheme: Scheme,
        opening: Opening,
        behaviour: impl Fn(&Asked) -> Act + 'static,
    ) -> Self {
        let authority = Authority::new();
        let identity = authority.sign(&["127.0.0.1"]);
        let server = QuicServer::start(scheme, &identity, opening, behaviour);
        let link = Rc::new(link(upstream(scheme, server.address, trusting(&authority))));
        Self { server, link, _authority: authority }
    }

    pub(super) async fn ask(&self) -> Result<(), TryError> {
        asked(&self.link).await
    }

    pub(super) async fn failure(&self) -> (TryError, String) {
        let error = self.ask().await.expect_err("a failure");
        (error, reason(&self.link))
    }

    pub(super) fn dials(&self) -> u64 {
        self.link.upstream().tally().tcp_dials
    }
}

impl QuicServer {
    /// `scheme` is [`Scheme::Quic`] or [`Scheme::H3`].
    pub(crate) fn start(
        scheme: Scheme,
        identity: &Identity,
        opening: Opening,
        behaviour: impl Fn(&Asked) -> Act + 'static,
    ) -> Self {
        let alpn: &[u8] = if scheme == Scheme::H3 { b"h3" } else { b"doq" };
        let config = (*identity.server_config(alpn)).clone();
        let config = quinn::crypto::rustls::QuicServerConfig::try_from(config).unwrap();
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(config));
        let mut transport = TransportConfig::default();
        if let Some(streams) = opening.client_streams {
            transport.max_concurrent_bidi_streams(VarInt::from_u32(streams));
        }
        if !opening.stops.is_empty() {
            transport.stream_receive_window(VarInt::from_u32(PART_OF_A_QUERY));
        }
        config.transport_config(Arc::new(transport));
        let endpoint = quinn::Endpoint::server(config, anywhere()).unwrap();
        let address = endpoint.local_addr().unwrap();
        let shared = Rc::new(Shared {
            scheme,
            behaviour: Box::new(behaviour),
            opening,
            queries: Cell::new(0),
            connections: Cell::new(0),
            octets: Cell::new(0),
            streams: Cell::new(0),
            stops: RefCell::default(),
            closes: RefCell::default(),
        });
        let kept = Rc::clone(&shared);
        spawn_local(async move {
            while let Some(incoming) = endpoint.accept().await {
                let shared = Rc::clone(&kept);
                spawn_local(async move { serve(incoming, shared).await.is_ok() });
            }
        });
        Self { address, shared }
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.get()
    }

    /// Octets that it has sent to replies.
    pub(crate) fn octets(&self) -> usize {
        self.shared.octets.get()
    }

    /// Streams that it has opened one after the other.
    pub(crate) fn streams(&self) -> usize {
        self.shared.streams.get()
    }

    /// Codes with which clients stopped streams, in their order.
    pub(crate) fn stops(&self) -> Vec<u64> {
        self.shared.stops.borrow().clone()
    }

    /// Codes with which clients closed connections, in their order.
    pub(crate) fn closes(&self) -> Vec<u64> {
        self.shared.closes.borrow().clone()
    }
}

async fn serve(incoming: quinn::Incoming, shared: Rc<Shared>) -> Result<(), Gone> {
    let connection = incoming.await?;
    shared.connections.set(shared.connections.get() + 1);
    let mut opened = Vec::new();
    for octets in &shared.opening.streams {
        let mut stream = connection.open_uni().await?;
        stream.write_all(octets).await?;
        opened.push(stream);
    }
    if let Some(octets) = shared.opening.flood.clone() {
        spawn_local(flood(connection.clone(), octets, Rc::clone(&shared)));
    }
    let closed = loop {
        let (sending, receiving) = match connection.accept_bi().await {
            Ok(streams) => streams,
            Err(closed) => break closed,
        };
        let (connection, shared) = (connection.clone(), Rc::clone(&shared));
        spawn_local(async move { respond(&connection, sending, receiving, &shared).await.is_ok() });
    };
    if let quinn::ConnectionError::ApplicationClosed(close) = closed {
        shared.closes.borrow_mut().push(close.error_code.into_inner());
    }
    Ok(())
}

async fn flood(connection: Connection, octets: Vec<u8>, shared: Rc<Shared>) -> Result<(), Gone> {
    loop {
        let mut stream = connection.open_uni().await?;
        // The client may have stopped it.
        let _stopped = stream.write_all(&octets).await;
        let _stopped = stream.finish();
        shared.streams.set(shared.streams.get() + 1);
    }
}

async fn respond(
    connection: &Connection,
    mut sending: SendStream,
    mut receiving: RecvStream,
    shared: &Rc<Shared>,
) -> Result<(), Gone> {
    let number = shared.queries.get();
    let code = |code| VarInt::from_u64(code).unwrap();
    if let Some(with) = shared.opening.stops.get(number) {
        shared.queries.set(number + 1);
        receiving.stop(code(*with))?;
        // The sending half stays open.
        let _gone = sending.stopped().await;
        return Ok(());
    }
    let request = receiving.read_to_end(1 << 16).await?;
    let query = match shared.scheme {
        Scheme::H3 => http3::body(&request),
        _ => request[2..].to_vec(),
    };
    let number = shared.queries.get();
    shared.queries.set(number + 1);
    let asked = Asked { number, query };
    let (pieces, ends) = match (shared.behaviour)(&asked) {
        Act::Answer => (vec![answer(shared.scheme, &asked.query)], true),
        Act::Send(pieces) => (pieces, true),
        Act::SendOn(pieces) => (pieces, false),
        Act::Repeat(first, then) => {
            sending.write_all(&first).await?;
            while sending.write_all(&then).await.is_ok() {
                shared.octets.set(shared.octets.get() + then.len());
            }
            (Vec::new(), false)
        }
        Act::Reset(with) => {
            sending.reset(code(with))?;
            return Ok(());
        }
        Act::Close(with, reason) => {
            connection.close(code(with), reason.as_bytes());
            return Ok(());
        }
        Act::Ignore => (Vec::new(), false),
    };
    for piece in pieces {
        sending.write_all(&piece).await?;
        shared.octets.set(shared.octets.get() + piece.len());
    }
    if ends {
        sending.finish()?;
    }
    // The client may stop the stream.
    if let Ok(Some(stopped)) = sending.stopped().await {
        shared.stops.borrow_mut().push(stopped.into_inner());
    }
    Ok(())
}

/// A whole reply with 192.0.2.1, as the stream carries it.
pub(crate) fn answer(scheme: Scheme, query: &[u8]) -> Vec<u8> {
    let reply = server::reply(query, &[[192, 0, 2, 1]]);
    match scheme {
        Scheme::H3 => [http3::head(200), http3::frame(http3::DATA, &reply)].concat(),
        _ => framed(&reply),
    }
}

/// A message with its length before it (RFC 9250 §4.2).
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

/// HTTP/3 as octets (RFC 9114, RFC 9204).
pub(crate) mod http3 {
    /// Types of frames (RFC 9114 §7.2).
    pub(crate) const DATA: u64 = 0x0;
    pub(crate) const HEADERS: u64 = 0x1;
    pub(crate) const CANCEL_PUSH: u64 = 0x3;
    pub(crate) const SETTINGS: u64 = 0x4;
    pub(crate) const PUSH_PROMISE: u64 = 0x5;
    pub(crate) const GOAWAY: u64 = 0x7;
    pub(crate) const MAX_PUSH_ID: u64 = 0xd;
    /// Reserved so that clients show that they ignore it (RFC 9114 §7.2.8).
    pub(crate) const GREASE: u64 = 0x1f * 7 + 0x21;
    /// Of an extension that does not exist.
    pub(crate) const UNKNOWN: u64 = 0x2a_2a2a;
    /// HTTP/2's PING (RFC 9114 §7.2.8).
    pub(crate) const H2_PING: u64 = 0x6;

    /// Types of unidirectional streams (RFC 9114 §6.2).
    pub(crate) const CONTROL_STREAM: u64 = 0x0;
    pub(crate) const PUSH_STREAM: u64 = 0x1;
    pub(crate) const ENCODER_STREAM: u64 = 0x2;

    /// A variable-length integer (RFC 9000 §16).
    pub(crate) fn number(value: u64) -> Vec<u8> {
        match value {
            0..0x40 => vec![u8::try_from(value).unwrap()],
            0x40..0x4000 => (0x4000 | u16::try_from(value).unwrap()).to_be_bytes().to_vec(),
            _ => (0x8000_0000 | u32::try_from(value).unwrap()).to_be_bytes().to_vec(),
        }
    }

    pub(crate) fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
        let octets = u64::try_from(payload.len()).unwrap();
        [&number(kind)[..], &number(octets), payload].concat()
    }

    /// A frame's beginning that promises so many octets.
    pub(crate) fn promise(kind: u64, octets: u64) -> Vec<u8> {
        [number(kind), number(octets)].concat()
    }

    /// A field section: a status of one that RFC 9204, appendix A, lists, and these fields.
    pub(crate) fn section(status: u16, fields: &[(&str, &str)]) -> Vec<u8> {
        let status = match status {
            103 => 24,
            200 => 25,
            404 => 27,
            503 => 28,
            other => panic!("{other} is not in the table"),
        };
        let mut section = vec![0, 0, 0xc0 | status];
        for (name, value) in fields {
            section.extend(literal(name, value));
        }
        section
    }

    /// A literal field line with a literal name (RFC 9204 §4.5.6).
    pub(crate) fn literal(name: &str, value: &str) -> Vec<u8> {
        [prefixed(0x20, 3, name.len()), name.into(), prefixed(0, 7, value.len()), value.into()]
            .concat()
    }

    /// An integer behind a prefix of so many bits (RFC 7541 §5.1).
    fn prefixed(flags: u8, bits: u32, value: usize) -> Vec<u8> {
        let most = (1 << bits) - 1;
        if value < most {
            return vec![flags | u8::try_from(value).unwrap()];
        }
        let (mut octets, mut rest) = (vec![flags | u8::try_from(most).unwrap()], value - most);
        while rest >= 128 {
            octets.push(u8::try_from(rest % 128).unwrap() | 128);
            rest /= 128;
        }
        octets.push(u8::try_from(rest).unwrap());
        octets
    }

    /// A HEADERS frame with this status alone.
    pub(crate) fn head(status: u16) -> Vec<u8> {
        frame(HEADERS, &section(status, &[]))
    }

    /// A control stream whose server has nothing to say.
    pub(crate) fn control() -> Vec<u8> {
        [number(CONTROL_STREAM), frame(SETTINGS, &[])].concat()
    }

    /// What the DATA frames of a request hold.
    pub(super) fn body(mut request: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        while !request.is_empty() {
            let kind = take(&mut request);
            let octets = usize::try_from(take(&mut request)).unwrap();
            let (payload, rest) = request.split_at(octets);
            if kind == DATA {
                body.extend_from_slice(payload);
            }
            request = rest;
        }
        body
    }

    fn take(octets: &mut &[u8]) -> u64 {
        let length = 1 << (octets[0] >> 6);
        let (number, rest) = octets.split_at(length);
        *octets = rest;
        let first = u64::from(number[0] & 0x3f);
        number[1..].iter().fold(first, |value, octet| value << 8 | u64::from(*octet))
    }
}
