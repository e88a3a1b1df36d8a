//! HTTP servers that do as a test tells them: over HTTP/2 by `h2`, over HTTP/3 by `h3`.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use h2::Reason;
use http::{Request, Response};
use privatelinkd::config::Scheme;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio_rustls::TlsAcceptor;

use super::identity::Identity;
use super::{anywhere, server};

/// What a server does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Responds with this status, these headers and this body.
    Respond(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Refuses the stream without a look at the request: REFUSED_STREAM, H3_REQUEST_REJECTED.
    Refuse,
    /// Responds as told, and ends the connection in good order.
    RespondAndLeave(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Says nothing.
    Ignore,
}

/// One request.
pub(crate) struct Asked {
    /// From 0.
    pub(crate) number: usize,
    /// The same of its connection.
    pub(crate) of_connection: usize,
    pub(crate) query: Vec<u8>,
}

type Behaviour = Rc<dyn Fn(&Asked) -> Act>;

/// A server whose tasks end with the test's `LocalSet`.
#[derive(Clone)]
pub(crate) struct Web {
    pub(crate) address: SocketAddr,
    shared: Rc<Shared>,
}

/// What the tasks of one connection share.
#[derive(Default)]
struct Connection {
    requests: Cell<usize>,
    /// Rings when the server is to leave.
    leave: Notify,
}

struct Shared {
    behaviour: Behaviour,
    requests: Cell<usize>,
    /// The URLs that were asked for.
    urls: RefCell<Vec<String>>,
}

impl Act {
    /// A reply with 192.0.2.1.
    pub(crate) fn answer(asked: &Asked) -> Self {
        Self::answer_with(asked, &[])
    }

    /// The same with these headers.
    pub(crate) fn answer_with(asked: &Asked, headers: &[(&'static str, &str)]) -> Self {
        let mut all = vec![("content-type", "application/dns-message".to_owned())];
        all.extend(headers.iter().map(|(name, value)| (*name, (*value).to_owned())));
        Self::Respond(200, all, server::reply(&asked.query, &[[192, 0, 2, 1]]))
    }
}

impl Web {
    /// `builder` has the limits of HTTP/2.
    pub(crate) async fn start(
        scheme: Scheme,
        identity: &Identity,
        builder: h2::server::Builder,
        behaviour: impl Fn(&Asked) -> Act + 'static,
    ) -> Self {
        let shared = Rc::new(Shared {
            behaviour: Rc::new(behaviour),
            requests: Cell::new(0),
            urls: RefCell::default(),
        });
        let address = match scheme {
            Scheme::H3 => http3(identity, Rc::clone(&shared)),
            _ => http2(identity, builder, Rc::clone(&shared)).await,
        };
        Self { address, shared }
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.shared.requests.get()
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.shared.urls.borrow().clone()
    }
}

impl Shared {
    fn act(&self, connection: &Connection, request: &Request<()>, query: Vec<u8>) -> Act {
        self.urls.borrow_mut().push(request.uri().to_string());
        let number = self.requests.replace(self.requests.get() + 1);
        let of_connection = connection.requests.replace(connection.requests.get() + 1);
        (self.behaviour)(&Asked { number, of_connection, query })
    }
}

fn head(status: u16, headers: Vec<(&'static str, String)>) -> Response<()> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(()).unwrap()
}

async fn http2(
    identity: &Identity,
    builder: h2::server::Builder,
    shared: Rc<Shared>,
) -> SocketAddr {
    let listener = TcpListener::bind(anywhere()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(identity.server_config(b"h2"));
    spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, builder) = (acceptor.clone(), builder.clone());
            let shared = Rc::clone(&shared);
            spawn_local(async move {
                let _ended = serve_http2(acceptor, builder, stream, shared).await;
            });
        }
    });
    address
}

/// The client may go at any time.
type Gone = Box<dyn std::error::Error>;

async fn serve_http2(
    acceptor: TlsAcceptor,
    builder: h2::server::Builder,
    stream: TcpStream,
    shared: Rc<Shared>,
) -> Result<(), Gone> {
    let stream = acceptor.accept(stream).await?;
    let mut connection = builder.handshake::<_, Bytes>(stream).await?;
    let own = Rc::new(Connection::default());
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            () = own.leave.notified() => {
                connection.graceful_shutdown();
                continue;
            }
        };
        let Some(accepted) = accepted else { return Ok(()) };
        let (request, respond) = accepted?;
        let (shared, own) = (Rc::clone(&shared), Rc::clone(&own));
        spawn_local(async move { respond_http2(request, respond, &shared, &own).await.is_ok() });
    }
}

async fn respond_http2(
    request: Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    shared: &Shared,
    own: &Connection,
) -> Result<(), Gone> {
    let (parts, mut body) = request.into_parts();
    let mut query = Vec::new();
    while let Some(chunk) = body.data().await {
        query.extend_from_slice(&chunk?);
    }
    match shared.act(own, &Request::from_parts(parts, ()), query) {
        Act::Respond(status, headers, body) => {
            respond.send_response(head(status, headers), false)?.send_data(body.into(), true)?;
        }
        Act::RespondAndLeave(status, headers, body) => {
            respond.send_response(head(status, headers), false)?.send_data(body.into(), true)?;
            own.leave.notify_one();
        }
        Act::Refuse => respond.send_reset(Reason::REFUSED_STREAM),
        Act::Ignore => pending().await,
    }
    Ok(())
}

fn http3(identity: &Identity, shared: Rc<Shared>) -> SocketAddr {
    let config = (*identity.server_config(b"h3")).clone();
    let config = quinn::crypto::rustls::QuicServerConfig::try_from(config).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(config));
    let endpoint = quinn::Endpoint::server(config, anywhere()).unwrap();
    let address = endpoint.local_addr().unwrap();
    spawn_local(async move {
        while let Some(incoming) = endpoint.accept().await {
            let shared = Rc::clone(&shared);
            spawn_local(async move { serve_http3(incoming, shared).await.is_ok() });
        }
    });
    address
}

type Stream3 = h3::server::RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;

async fn serve_http3(incoming: quinn::Incoming, shared: Rc<Shared>) -> Result<(), Gone> {
    let quic = h3_quinn::Connection::new(incoming.await?);
    let mut connection = h3::server::Connection::<_, Bytes>::new(quic).await?;
    let own = Rc::new(Connection::default());
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted?,
            () = own.leave.notified() => {
                connection.shutdown(0).await?;
                continue;
            }
        };
        let Some(resolver) = accepted else { return Ok(()) };
        let (shared, own) = (Rc::clone(&shared), Rc::clone(&own));
        spawn_local(async move {
            let Ok((request, stream)) = resolver.resolve_request().await else { return false };
            respond_http3(request, stream, &shared, &own).await.is_ok()
        });
    }
}

async fn respond_http3(
    request: Request<()>,
    mut stream: Stream3,
    shared: &Shared,
    own: &Connection,
) -> Result<(), Gone> {
    let mut query = Vec::new();
    while let Some(mut chunk) = stream.recv_data().await? {
        query.extend_from_slice(&chunk.copy_to_bytes(chunk.remaining()));
    }
    let act = shared.act(own, &request, query);
    let leaves = matches!(act, Act::RespondAndLeave(..));
    match act {
        Act::Respond(status, headers, body) | Act::RespondAndLeave(status, headers, body) => {
            stream.send_response(head(status, headers)).await?;
            stream.send_data(body.into()).await?;
            stream.finish().await?;
        }
        Act::Refuse => {
            stream.stop_sending(h3::error::Code::H3_REQUEST_REJECTED);
            stream.stop_stream(h3::error::Code::H3_REQUEST_REJECTED);
        }
        Act::Ignore => pending().await,
    }
    if leaves {
        own.leave.notify_one();
    }
    Ok(())
}
