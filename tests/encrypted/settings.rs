//! An HTTP/2 server that allows no streams: from the beginning or from some time on, for ever or
//! until later (RFC 9113 §5.1.2). Written octet by octet, because `h2` changes no such setting.

use std::cell::Cell;

use tokio::io::{AsyncReadExt, AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::*;

/// Types of frames (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
/// SETTINGS_MAX_CONCURRENT_STREAMS.
const MAX_CONCURRENT_STREAMS: u8 = 3;
const REFUSED_STREAM: u8 = 7;
/// Octets of the client's preface.
const PREFACE: usize = 24;

/// What a server does with a stream that it does not allow: the client may not know that yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Beyond {
    Refuse,
    Ignore,
}

/// A server whose tasks end with the test's `LocalSet`. It answers what it allows.
pub(crate) struct Limited {
    pub(crate) address: SocketAddr,
    /// Streams that it allows at once.
    streams: watch::Sender<u8>,
    connections: Rc<Cell<usize>>,
}

impl Limited {
    pub(crate) async fn start(identity: &Identity, streams: u8, beyond: Beyond) -> Self {
        let listener = TcpListener::bind(anywhere()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(identity.server_config(b"h2"));
        let (streams, allowed) = watch::channel(streams);
        let connections = Rc::new(Cell::new(0));
        let counted = Rc::clone(&connections);
        spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counted.set(counted.get() + 1);
                let served = serve(acceptor.clone(), stream, allowed.clone(), beyond);
                // The client may go at any time.
                spawn_local(async move { served.await.is_ok() });
            }
        });
        Self { address, streams, connections }
    }

    /// Allows so many streams from now on.
    pub(crate) fn allow(&self, streams: u8) {
        self.streams.send_replace(streams);
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.get()
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let octets = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&octets[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn settings(streams: u8) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[0, MAX_CONCURRENT_STREAMS, 0, 0, 0, streams])
}

async fn serve(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    mut allowed: watch::Receiver<u8>,
    beyond: Beyond,
) -> io::Result<()> {
    let (mut reader, mut writer) = split(acceptor.accept(stream).await?);
    let said = *allowed.borrow_and_update();
    writer.write_all(&settings(said)).await?;
    writer.flush().await?;
    reader.read_exact(&mut [0; PREFACE]).await?;
    let (sender, mut frames) = tokio::sync::mpsc::unbounded_channel();
    spawn_local(async move {
        loop {
            let mut head = [0; 9];
            reader.read_exact(&mut head).await?;
            let octets = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; octets.try_into().unwrap()];
            reader.read_exact(&mut payload).await?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            if sender.send((head[3], head[4], stream, payload)).is_err() {
                return io::Result::Ok(());
            }
        }
    });
    loop {
        let octets = tokio::select! {
            changed = allowed.changed() => match changed {
                Ok(()) => settings(*allowed.borrow_and_update()),
                Err(_) => return Ok(()),
            },
            received = frames.recv() => match received {
                None => return Ok(()),
                Some((SETTINGS, flags, ..)) if flags & ACK == 0 => frame(SETTINGS, ACK, 0, &[]),
                Some((HEADERS, _, stream, _)) if *allowed.borrow() == 0 => match beyond {
                    Beyond::Refuse => frame(RST_STREAM, 0, stream, &[0, 0, 0, REFUSED_STREAM]),
                    Beyond::Ignore => continue,
                },
                Some((DATA, _, stream, query)) if *allowed.borrow() != 0 => {
                    let reply = server::reply(&query, &[[192, 0, 2, 1]]);
                    // ":status: 200" (RFC 7541, appendix A).
                    let head = frame(HEADERS, END_HEADERS, stream, &[0x88]);
                    [head, frame(DATA, END_STREAM, stream, &reply)].concat()
                }
                Some(_) => continue,
            },
        };
        writer.write_all(&octets).await?;
        writer.flush().await?;
    }
}

/// Sends so many queries at once, and waits for all of them.
async fn ask_at_once(link: &Rc<Link>, queries: usize) -> Vec<Result<(), TryError>> {
    let ask = |_| {
        let link = Rc::clone(link);
        spawn_local(async move { asked(&link).await })
    };
    let mut outcomes = Vec::new();
    for ask in (0..queries).map(ask).collect::<Vec<_>>() {
        outcomes.push(ask.await.unwrap());
    }
    outcomes
}

#[tokio::test]
async fn queries_wait_until_the_server_allows_streams_again() {
    local(async {
        let authority = Authority::new();
        let identity = authority.sign(&["127.0.0.1"]);
        let server = Limited::start(&identity, 100, Beyond::Ignore).await;
        let link = Rc::new(link(upstream(Scheme::Https, server.address, trusting(&authority))));
        assert_eq!(asked(&link).await, Ok(()));
        server.allow(0);
        let waiting = spawn_local({
            let link = Rc::clone(&link);
            async move { ask_at_once(&link, 50).await }
        });
        // Shorter than a connection may be silent.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!waiting.is_finished());
        server.allow(100);
        assert_eq!(waiting.await.unwrap(), vec![Ok(()); 50], "{}", reason(&link));
        // A machine that is busy may make the connection silent for too long.
        assert!(server.connections() <= 2, "{} connections", server.connections());
    })
    .await;
}

#[tokio::test]
async fn a_server_that_refuses_every_stream_fails_and_is_not_dialled_for_each_query() {
    local(async {
        let authority = Authority::new();
        let identity = authority.sign(&["127.0.0.1"]);
        let server = Limited::start(&identity, 0, Beyond::Refuse).await;
        let link = Rc::new(link(upstream(Scheme::Https, server.address, trusting(&authority))));
        for _ in 0..50 {
            assert_eq!(asked(&link).await, Err(TryError::Unprocessed));
        }
        for outcome in ask_at_once(&link, 200).await {
            assert_eq!(outcome, Err(TryError::Unprocessed));
        }
        assert!(server.connections() <= 40, "{} connections", server.connections());
        server.allow(100);
        while asked(&link).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_allows_no_streams_for_ever_is_dialled_at_the_pace_of_silence() {
    local(async {
        let authority = Authority::new();
        let identity = authority.sign(&["127.0.0.1"]);
        let server = Limited::start(&identity, 100, Beyond::Ignore).await;
        let link = Rc::new(link(upstream(Scheme::Https, server.address, trusting(&authority))));
        assert_eq!(asked(&link).await, Ok(()));
        server.allow(0);
        let begun = Instant::now();
        for _ in 0..20 {
            let budget = Duration::from_millis(100);
            let asks = ask_at_once(&link, 20);
            assert!(timeout(budget, asks).await.is_err(), "nothing can come");
        }
        // A connection is silent after 500 ms.
        let most = 2 + begun.elapsed().as_millis() / 500;
        let connections = server.connections();
        assert!(u128::try_from(connections).unwrap() <= most, "{connections} connections");
        server.allow(100);
        while asked(&link).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
