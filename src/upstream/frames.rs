//! Queries over one stream of octets, TCP or TLS, each told from the others by its id (RFC 7766).
//!
//! One task drives the stream: it writes what queries leave for it, several in one call, and hands
//! each reply to the query that has its id. Ids are drawn from a CSPRNG, one for each query that the
//! server may still answer. Only a reply's length and id are read here.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use rand::RngExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, split};
use tokio::sync::{Notify, SetOnce, oneshot};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::timeout;

use super::failure::kind_of;
use crate::wire::u16_at;

/// Replies that no query asked for before the connection is closed: a server that goes on sending
/// such would keep us busy for ever. A few come from servers that answer a query twice.
const UNASKED: u32 = 16;
/// Queries on one connection that the server may still answer, given up ones included. Far more
/// than wait at once; a server that leaves so many without a reply is dialled again.
const OUTSTANDING: usize = 4_096;
/// How long replies are read from a stream that takes no more queries: they have arrived already.
const LAST_REPLIES: Duration = Duration::from_millis(100);
/// What is read from the stream in one call, octets: several usual replies.
const READ_OCTETS: usize = 4_096;

/// An open stream; dropping it closes it.
pub(super) struct Frames {
    shared: Rc<Shared>,
    driver: AbortHandle,
}

#[derive(Default)]
struct Shared {
    /// Queries with their lengths, not yet written.
    outbox: RefCell<Vec<u8>>,
    /// Something is in the outbox.
    filled: Notify,
    /// By id, the queries that the server may still answer.
    outstanding: RefCell<HashMap<u16, Outstanding>>,
    /// Queries so far.
    queries: Cell<u64>,
    unasked: Cell<u32>,
    /// Why the stream ended.
    end: SetOnce<Ended>,
}

/// A query that the server may still answer.
struct Outstanding {
    /// Its number on this stream: ids come again.
    number: u64,
    /// `None` when it was given up.
    waiting: Option<oneshot::Sender<Vec<u8>>>,
}

/// Why a stream carries no more queries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Ended {
    pub(super) kind: io::ErrorKind,
    /// For people.
    pub(super) reason: String,
}

impl Ended {
    fn new(kind: io::ErrorKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into() }
    }
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::new(kind_of(&error), error.to_string())
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A query's place among those that wait. Dropping it leaves a mark: its reply may still come.
struct Place<'a> {
    shared: &'a Shared,
    id: u16,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(outstanding) = self.shared.outstanding.borrow_mut().get_mut(&self.id)
            && outstanding.number == self.number
        {
            outstanding.waiting = None;
        }
    }
}

impl Frames {
    /// Takes over `stream`.
    ///
    /// # Panics
    /// Outside a tokio `LocalSet`.
    pub(super) fn new<S: AsyncRead + AsyncWrite + 'static>(stream: S) -> Self {
        let shared = Rc::new(Shared::default());
        let driver = spawn_local(drive(stream, Rc::clone(&shared))).abort_handle();
        Self { shared, driver }
    }

    /// Sends `query` under an id of its own and gives the octets of its reply.
    pub(super) async fn ask(&self, query: &[u8]) -> Result<Vec<u8>, Ended> {
        let shared = &*self.shared;
        if let Some(end) = shared.end.get() {
            return Err(end.clone());
        }
        let (sender, receiver) = oneshot::channel();
        let place = shared.enter(sender)?;
        shared.post(place.id, query);
        match receiver.await {
            Ok(reply) => Ok(reply),
            // The driver has ended, and said why.
            Err(_) => Err(shared.ended()),
        }
    }

    /// Waits for the end of the stream. Does not keep it open.
    pub(super) fn ended(&self) -> impl Future<Output = Ended> + use<> {
        let shared = Rc::clone(&self.shared);
        async move { shared.end.wait().await.clone() }
    }
}

impl Shared {
    fn enter(&self, sender: oneshot::Sender<Vec<u8>>) -> Result<Place<'_>, Ended> {
        let mut outstanding = self.outstanding.borrow_mut();
        if outstanding.len() >= OUTSTANDING {
            let reason = format!("{OUTSTANDING} queries on this connection have no reply");
            return Err(Ended::new(io::ErrorKind::TimedOut, reason));
        }
        let number = self.queries.get();
        self.queries.set(number + 1);
        let mut random = rand::rng();
        // Far fewer than 65,536 are taken, so this ends soon.
        let id = loop {
            let id = random.random::<u16>();
            if !outstanding.contains_key(&id) {
                break id;
            }
        };
        outstanding.insert(id, Outstanding { number, waiting: Some(sender) });
        Ok(Place { shared: self, id, number })
    }

    /// Leaves a query, whose first two octets are its id, for the driver.
    fn post(&self, id: u16, query: &[u8]) {
        let mut outbox = self.outbox.borrow_mut();
        let octets = u16::try_from(query.len()).unwrap_or(u16::MAX);
        outbox.extend(octets.to_be_bytes());
        outbox.extend(id.to_be_bytes());
        outbox.extend_from_slice(query.get(2..).unwrap_or(&[]));
        self.filled.notify_one();
    }

    /// Hands a reply to its query.
    fn deliver(&self, reply: Vec<u8>) -> Result<(), Ended> {
        let asked = u16_at(&reply, 0).and_then(|id| self.outstanding.borrow_mut().remove(&id));
        match asked.map(|outstanding| outstanding.waiting) {
            Some(Some(waiting)) => {
                let _given_up = waiting.send(reply);
            }
            // Late, for a query that was given up.
            Some(None) => {}
            None => {
                self.unasked.set(self.unasked.get() + 1);
                if self.unasked.get() > UNASKED {
                    let reason = format!("it sent {} replies that no query asked for", UNASKED + 1);
                    return Err(Ended::new(io::ErrorKind::InvalidData, reason));
                }
            }
        }
        Ok(())
    }

    fn ended(&self) -> Ended {
        self.end
            .get()
            .cloned()
            .unwrap_or_else(|| Ended::new(io::ErrorKind::ConnectionReset, "the connection is gone"))
    }
}

async fn drive<S: AsyncRead + AsyncWrite>(stream: S, shared: Rc<Shared>) {
    let (reader, writer) = split(stream);
    let mut reading = pin!(read(reader, &shared));
    let end = tokio::select! {
        biased;
        end = &mut reading => end,
        // A server that hangs up under queries may have replied to others before.
        end = write(writer, &shared) => timeout(LAST_REPLIES, reading).await.unwrap_or(end),
    };
    // A stream has one driver.
    let _is_first = shared.end.set(end);
    // All who wait hear of it.
    shared.outstanding.borrow_mut().clear();
}

async fn read(reader: impl AsyncRead + Unpin, shared: &Shared) -> Ended {
    let mut reader = BufReader::with_capacity(READ_OCTETS, reader);
    loop {
        let octets = match reader.read_u16().await {
            Ok(octets) => usize::from(octets),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Ended::new(error.kind(), "the server closed the connection");
            }
            Err(error) => return error.into(),
        };
        let mut reply = vec![0; octets];
        if let Err(error) = reader.read_exact(&mut reply).await {
            return error.into();
        }
        if let Err(end) = shared.deliver(reply) {
            return end;
        }
    }
}

async fn write(mut writer: impl AsyncWrite + Unpin, shared: &Shared) -> Ended {
    loop {
        shared.filled.notified().await;
        let queries = shared.outbox.take();
        let written = async {
            writer.write_all(&queries).await?;
            writer.flush().await
        };
        if let Err(error) = written.await {
            return error.into();
        }
    }
}

/// Sends `query` over `stream` and returns the octets of its reply, as [`Frames::ask`] does. For
/// the fuzz target `frames`.
#[cfg(fuzzing)]
pub async fn ask_in_frames(
    stream: tokio::io::DuplexStream,
    query: &[u8],
) -> Result<Vec<u8>, io::ErrorKind> {
    Frames::new(stream).ask(query).await.map_err(|ended| ended.kind)
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};

    use super::*;
    use crate::upstream::tests::local;

    const QUERY: &[u8] = &[0; 20];

    /// A stream, and its other end.
    fn frames() -> (Rc<Frames>, DuplexStream) {
        let (ours, theirs) = duplex(100_000);
        (Rc::new(Frames::new(ours)), theirs)
    }

    async fn query(server: &mut DuplexStream) -> [u8; 2] {
        let mut query = vec![0; usize::from(server.read_u16().await.unwrap())];
        server.read_exact(&mut query).await.unwrap();
        assert_eq!(query.len(), QUERY.len());
        [query[0], query[1]]
    }

    async fn reply(server: &mut DuplexStream, id: [u8; 2], text: &[u8]) {
        let octets = u16::try_from(2 + text.len()).unwrap().to_be_bytes();
        server.write_all(&[&octets[..], &id, text].concat()).await.unwrap();
    }

    #[tokio::test]
    async fn replies_reach_their_queries_in_any_order() {
        local(async {
            let (frames, mut server) = frames();
            let asks: Vec<_> = (0..100)
                .map(|_| {
                    let frames = Rc::clone(&frames);
                    spawn_local(async move { frames.ask(QUERY).await })
                })
                .collect();
            let mut ids = Vec::new();
            for _ in 0..100 {
                ids.push(query(&mut server).await);
            }
            // Queries leave in the order in which they were asked.
            for (number, id) in ids.iter().enumerate().rev() {
                reply(&mut server, *id, &[u8::try_from(number).unwrap()]).await;
            }
            for (number, (ask, id)) in asks.into_iter().zip(ids).enumerate() {
                let octets = ask.await.unwrap().unwrap();
                assert_eq!(octets, [id[0], id[1], u8::try_from(number).unwrap()]);
            }
        })
        .await;
    }

    #[tokio::test]
    async fn late_replies_are_not_unasked_but_those_that_nobody_asked_for_are() {
        local(async {
            let (frames, mut server) = frames();
            let mut given_up = Vec::new();
            for _ in 0..100 {
                let ask = spawn_local({
                    let frames = Rc::clone(&frames);
                    async move { frames.ask(QUERY).await }
                });
                given_up.push(query(&mut server).await);
                ask.abort();
                assert!(ask.await.unwrap_err().is_cancelled());
            }
            for id in &given_up {
                reply(&mut server, *id, b"late").await;
            }
            // The same ones again: nothing waits for them any more.
            for id in given_up.iter().take(16) {
                reply(&mut server, *id, b"twice").await;
            }
            let ask = spawn_local({
                let frames = Rc::clone(&frames);
                async move { frames.ask(QUERY).await }
            });
            let id = query(&mut server).await;
            reply(&mut server, id, b"good").await;
            assert_eq!(&ask.await.unwrap().unwrap()[2..], b"good");
            reply(&mut server, id, b"the seventeenth").await;
            // Closed: nothing more is read.
            assert_eq!(server.read(&mut [0; 9]).await.unwrap(), 0);
            let ended = frames.ask(QUERY).await.unwrap_err();
            assert_eq!(ended.kind, io::ErrorKind::InvalidData);
            assert_eq!(ended.reason, "it sent 17 replies that no query asked for");
        })
        .await;
    }

    #[tokio::test]
    async fn who_waits_hears_of_the_end() {
        local(async {
            for sent in [&[][..], &[0], &[0, 9, 1, 2]] {
                let (frames, mut server) = frames();
                let ask = spawn_local({
                    let frames = Rc::clone(&frames);
                    async move { frames.ask(QUERY).await }
                });
                query(&mut server).await;
                server.write_all(sent).await.unwrap();
                drop(server);
                assert_eq!(ask.await.unwrap().unwrap_err().kind, io::ErrorKind::UnexpectedEof);
            }
        })
        .await;
    }

    #[tokio::test]
    async fn queries_without_a_reply_are_bounded() {
        local(async {
            let (frames, _server) = frames();
            let asks: Vec<_> = (0..OUTSTANDING)
                .map(|_| {
                    let frames = Rc::clone(&frames);
                    spawn_local(async move { frames.ask(QUERY).await })
                })
                .collect();
            while frames.shared.outstanding.borrow().len() < OUTSTANDING {
                tokio::task::yield_now().await;
            }
            assert_eq!(frames.ask(QUERY).await.unwrap_err().kind, io::ErrorKind::TimedOut);
            for ask in asks {
                ask.abort();
                assert!(ask.await.unwrap_err().is_cancelled());
            }
            let full = frames.ask(QUERY).await;
            assert!(full.is_err(), "given up, but the server may still answer them");
        })
        .await;
    }
}
