//! Queries over connections: TCP, TLS, HTTP/2, QUIC or HTTP/3.
//!
//! If a server becomes silent, the worker sends the query again over a new connection. If the server
//! closes the connection, the worker sends it again at once, as often as connections end.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::case::Case;
use super::connection::Connection;
use super::connections::{Connections, Lost, Place};
use super::failure::TryError;
use super::query::{self, Opt};
use super::server::Upstream;
use super::transport::Reply;
use crate::config::Scheme;
use crate::wire::Question;

/// Connections that may end with one query on them before it fails. The first end shows how many
/// queries the server takes on each, so few need more than three; but a query that makes a server
/// hang up must not end connections for ever.
const CONNECTIONS: u32 = 16;

/// One worker's connections to one server, and how its queries use them.
pub(super) struct Stream {
    scheme: Scheme,
    connections: Rc<Connections>,
}

impl Stream {
    /// Opens nothing yet. `scheme` is what connections to the server are: TCP for plain ones.
    pub(super) fn new(upstream: Arc<Upstream>, scheme: Scheme) -> Self {
        Self { scheme, connections: Rc::new(Connections::new(upstream, scheme)) }
    }

    /// Sends the query and gives the octets of the reply: it belongs to the query, nothing else has
    /// been checked. Over encrypted transports, padding takes the place of the options of `opt`.
    pub(super) async fn exchange(
        &self,
        question: &Question,
        opt: Opt<'_>,
    ) -> Result<Reply, TryError> {
        let mut query = Vec::new();
        if self.scheme.is_encrypted() {
            query::write_padded(&mut query, question, opt.is_some());
        } else {
            query::write_in(&mut query, 0, question, opt, None);
        }
        self.send(query.into()).await
    }

    /// As [`Self::exchange`] over TCP, the name in letters of `case`.
    pub(super) async fn exchange_in(
        &self,
        question: &Question,
        opt: Opt<'_>,
        case: Case,
    ) -> Result<Reply, TryError> {
        let mut query = Vec::new();
        query::write_in(&mut query, 0, question, opt, Some(case));
        self.send(query.into()).await
    }

    async fn send(&self, query: Rc<[u8]>) -> Result<Reply, TryError> {
        let (begun, place) = (Instant::now(), self.connections.enter().ok_or(TryError::Busy)?);
        for left in (0..CONNECTIONS).rev() {
            let seat = self.connections.seat(&place).await?;
            let connection = Rc::clone(&seat.connection);
            let mut reply = pin!(seat.ask(&query));
            // A connection that is used again may have died unseen; a fresh one may not.
            let outcome = if connection.dialled >= begun {
                reply.await
            } else {
                match self.unless_silent(reply.as_mut(), &connection).await {
                    Some(outcome) => outcome,
                    None => {
                        self.connections.note_silence(&connection);
                        return self.ask_beside(reply, &place, &query, left).await;
                    }
                }
            };
            match outcome {
                Ok(message) => return Ok(message),
                Err(Lost::GoesOn) => {}
                Err(Lost::Failed(error)) => return Err(error),
            }
        }
        Err(TryError::Unprocessed)
    }

    /// Asks over other connections than the silent one that may still bring `reply`.
    async fn ask_beside<F: Future<Output = Result<Reply, Lost>>>(
        &self,
        mut reply: Pin<&mut F>,
        place: &Place,
        query: &Rc<[u8]>,
        connections: u32,
    ) -> Result<Reply, TryError> {
        let mut second = pin!(self.ask_anew(place, query, connections.max(1)));
        // The first may have been slow, not dead.
        tokio::select! {
            outcome = &mut reply => match outcome {
                Ok(message) => Ok(message),
                Err(_) => second.await,
            },
            outcome = &mut second => match outcome {
                Ok(message) => Ok(message),
                Err(error) => reply.await.map_err(|_| error),
            },
        }
    }

    /// Asks over so many connections at most, one after the other, as long as they end.
    async fn ask_anew(
        &self,
        place: &Place,
        query: &Rc<[u8]>,
        connections: u32,
    ) -> Result<Reply, TryError> {
        for _ in 0..connections {
            match self.connections.seat(place).await?.ask(query).await {
                Ok(message) => return Ok(message),
                Err(Lost::GoesOn) => {}
                Err(Lost::Failed(error)) => return Err(error),
            }
        }
        Err(TryError::Unprocessed)
    }

    /// What `reply` brings; `None`: nothing came over the whole connection for as long as that may
    /// be.
    async fn unless_silent<F: Future>(
        &self,
        mut reply: Pin<&mut F>,
        connection: &Connection,
    ) -> Option<F::Output> {
        let asked = Instant::now();
        loop {
            let heard = connection.last_reply.get().map_or(asked, |last| last.max(asked));
            match timeout_at(heard + self.connections.patience(), reply.as_mut()).await {
                Ok(outcome) => return Some(outcome),
                Err(_) if connection.last_reply.get().is_none_or(|last| last <= heard) => {
                    return None;
                }
                Err(_) => {}
            }
        }
    }
}
