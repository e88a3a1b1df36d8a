//! One worker's way to one server.

use std::rc::Rc;
use std::sync::Arc;

use super::TryError;
use super::query::{self, Edns, Reading};
use super::server::{Upstream, count};
use super::socket::ReceiveBuffer;
use super::stream::Stream;
use super::udp::Udp;
use crate::config::Scheme;
use crate::wire::{Answer, Question};

/// One worker's sockets and connections towards one server. Lives on that worker's thread, inside a
/// `LocalSet`.
pub struct Link {
    upstream: Arc<Upstream>,
    /// Of plain servers.
    udp: Option<Udp>,
    stream: Stream,
}

impl Link {
    /// Opens nothing yet. `buffer` is the worker's: see [`Self::receive_buffer`].
    pub fn new(upstream: Arc<Upstream>, buffer: ReceiveBuffer) -> Self {
        let (udp, scheme) = match upstream.server().scheme {
            Scheme::Plain => (Some(Udp::new(Arc::clone(&upstream), buffer)), Scheme::Tcp),
            scheme => (None, scheme),
        };
        Self { udp, stream: Stream::new(Arc::clone(&upstream), scheme), upstream }
    }

    /// The buffer that all links of a worker share.
    pub fn receive_buffer() -> ReceiveBuffer {
        Rc::default()
    }

    /// The server.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// Asks once and waits for the reply, whatever its rcode. Has no time limit of its own: drop
    /// the future to give up; that frees all it held.
    ///
    /// # Panics
    /// Outside a tokio `LocalSet`: sockets are read by tasks of the same thread.
    pub async fn ask(&self, question: &Question) -> Result<Answer, TryError> {
        let outcome = self.ask_with_and_without_edns(question).await;
        match &outcome {
            Ok(_) => self.upstream.note_reply(),
            Err(TryError::Unreachable(_)) => count(&self.upstream.counters.unreachable),
            Err(TryError::Garbled | TryError::Untrusted | TryError::Busy) => {}
        }
        outcome
    }

    async fn ask_with_and_without_edns(&self, question: &Question) -> Result<Answer, TryError> {
        if let Some(answer) = self.exchange(question, Edns::With).await? {
            return Ok(answer);
        }
        // Not remembered: such servers are rare, and the next query may find it repaired.
        count(&self.upstream.counters.without_edns);
        self.exchange(question, Edns::Without).await?.ok_or(TryError::Garbled)
    }

    /// `None`: the server does not understand EDNS.
    async fn exchange(&self, question: &Question, edns: Edns) -> Result<Option<Answer>, TryError> {
        if let Some(udp) = &self.udp {
            let read = |message: &[u8]| query::read(message, question, edns);
            match udp.exchange(question, edns, read).await? {
                Reading::Answer(answer) => return Ok(Some(answer)),
                Reading::NoEdns => return Ok(None),
                Reading::Garbled => return Err(TryError::Garbled),
                Reading::AskTcp { mismatch: true } => count(&self.upstream.counters.mismatches),
                Reading::AskTcp { mismatch: false } => {}
            }
        }
        // On the heap, so that the future of every UDP query is not as large as this one.
        let message = Box::pin(self.stream.exchange(question, edns)).await?;
        match query::read(&message, question, edns) {
            Reading::Answer(answer) => Ok(Some(answer)),
            Reading::NoEdns => Ok(None),
            Reading::Garbled => Err(TryError::Garbled),
            Reading::AskTcp { mismatch } => {
                if mismatch {
                    count(&self.upstream.counters.mismatches);
                }
                Err(TryError::Garbled)
            }
        }
    }
}
