//! One worker's way to one server.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;

use super::case::{Case, Repeats};
use super::failure::{Evidence, Flaw, TryError};
use super::pool;
use super::query::{self, Edns, Reading};
use super::race::first_of;
use super::server::{Upstream, count};
use super::socket::ReceiveBuffer;
use super::stream::Stream;
use super::udp::{Asked, Heard, Udp};
use crate::config::Scheme;
use crate::wire::{Answer, Question, Rcode};

/// One worker's sockets and connections towards one server. Lives on that worker's thread, inside a
/// `LocalSet`.
pub struct Link {
    upstream: Arc<Upstream>,
    /// Of plain servers.
    udp: Option<Udp>,
    stream: Stream,
}

/// Connections that one link may have open at once: the current one, two that were silent and still
/// have waiters, and dials of four addresses.
const CONNECTIONS: usize = 7;

impl Link {
    /// The most descriptors that one link has open. After a change of the network an old link lives
    /// on beside the new one until its last query has ended.
    pub const MOST_DESCRIPTORS: usize = pool::OPEN + Self::MOST_CONNECTIONS;
    /// The same of a link that asks over connections alone.
    pub const MOST_CONNECTIONS: usize = CONNECTIONS;

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
            Err(error) if error.is_sign_of_life() => self.upstream.note_reply(),
            Err(_) => {}
        }
        outcome
    }

    /// Asks once, over a connection only: TCP for a plain server. Other hosts cannot write into the
    /// connection, so the reply is the server's own. Otherwise like [`Self::ask`], but leaves the
    /// server's health unchanged.
    pub async fn ask_connected(&self, question: &Question) -> Result<Answer, TryError> {
        self.ask_over_connection(question, Edns::With).await
    }

    async fn ask_with_and_without_edns(&self, question: &Question) -> Result<Answer, TryError> {
        if let Some(answer) = self.exchange(question, Edns::With).await? {
            return Ok(answer);
        }
        self.ask_without_edns(question).await
    }

    async fn ask_without_edns(&self, question: &Question) -> Result<Answer, TryError> {
        // Not remembered: such servers are rare, and the next query may find it repaired.
        count(&self.upstream.counters.without_edns);
        self.exchange(question, Edns::Without).await?.ok_or(TryError::Garbled)
    }

    /// `None`: the server does not understand EDNS.
    async fn exchange(&self, question: &Question, edns: Edns) -> Result<Option<Answer>, TryError> {
        let Some(udp) = &self.udp else {
            return Box::pin(self.over_connection(question, edns)).await;
        };
        let is_folded = self.upstream.folding.is_known(Instant::now());
        self.over_udp(udp, question, edns, (!is_folded).then(Case::draw)).await
    }

    /// Over UDP, the name in letters of `case`, and over a connection where the reply asks for it.
    async fn over_udp(
        &self,
        udp: &Udp,
        question: &Question,
        edns: Edns,
        case: Option<Case>,
    ) -> Result<Option<Answer>, TryError> {
        let mut asked = udp.ask(question, edns, case).await?;
        // All that is rare is on the heap, so that the future of every query is not as large.
        match asked.hear().await? {
            Heard::Reply(Reading::Answer(answer)) => Ok(Some(answer)),
            Heard::Reply(reading) => {
                drop(asked);
                Box::pin(self.settle(reading, question, edns)).await
            }
            Heard::MaybeNoEdns => {
                let other = Box::pin(self.ask_without_edns(question));
                Box::pin(self.hear_both(asked, other, question, edns)).await
            }
            Heard::Mismatches | Heard::IcmpError => {
                let other = Box::pin(self.ask_over_connection(question, edns));
                Box::pin(self.hear_both(asked, other, question, edns)).await
            }
            Heard::OtherCase => {
                let other = Box::pin(self.ask_where_case_is_folded(udp, question, edns));
                Box::pin(self.hear_both(asked, other, question, edns)).await
            }
            Heard::TooManyMismatches => {
                drop(asked);
                let other = Box::pin(self.over_connection(question, edns)).await;
                other.map_err(|error| match error.evidence() {
                    // The sender of the datagrams may want to have the server blamed.
                    Evidence::Failing { .. } => TryError::Mismatched,
                    Evidence::Alive | Evidence::Nothing => error,
                })
            }
        }
    }

    /// Takes what comes first: the genuine reply to `asked`, or what `other` brings. One that fails
    /// leaves the time to the other one.
    async fn hear_both(
        &self,
        mut asked: Asked<'_>,
        mut other: Pin<Box<dyn Future<Output = Result<Answer, TryError>> + '_>>,
        question: &Question,
        edns: Edns,
    ) -> Result<Option<Answer>, TryError> {
        let heard = tokio::select! {
            biased;
            heard = asked.hear_on() => heard,
            outcome = &mut other => match outcome {
                Ok(answer) => return Ok(Some(answer)),
                Err(error) if error.is_sign_of_life() => return Err(error),
                Err(error) if asked.is_doubted() && error.proves_icmp() => {
                    let reading = asked.hear_in_time(error).await?;
                    return self.settle(reading, question, edns).await;
                }
                Err(_) => {
                    let reading = asked.hear_on().await?.ok_or(TryError::Mismatched)?;
                    return self.settle(reading, question, edns).await;
                }
            },
        };
        match heard {
            Ok(Some(reading)) => self.settle(reading, question, edns).await,
            Ok(None) | Err(_) => other.await.map(Some),
        }
    }

    /// What a reply over UDP leads to that the server itself has sent.
    async fn settle(
        &self,
        reading: Reading,
        question: &Question,
        edns: Edns,
    ) -> Result<Option<Answer>, TryError> {
        let flaw = match reading {
            Reading::Answer(answer) => return Ok(Some(answer)),
            Reading::NoEdns => return Ok(None),
            Reading::Truncated => Flaw::RestMissing,
            // Something on the path may have cut it.
            Reading::Unusable(Flaw::Malformed) => Flaw::Malformed,
            Reading::Unusable(flaw) => return Err(TryError::Unusable(flaw)),
            // Not genuine.
            Reading::Bare(_) | Reading::OtherCase | Reading::OtherQuestion | Reading::NotAReply => {
                return Err(TryError::Mismatched);
            }
        };
        self.upstream.note_sign_of_life();
        let whole = self.over_connection(question, edns).await;
        whole.map_err(|error| match error {
            TryError::Busy | TryError::OwnShortage => error,
            // The server has just replied, so the failure of its TCP is not an outage.
            _ => TryError::Unusable(flaw),
        })
    }

    /// Asks after a datagram in another case: over a connection, then also over UDP in lower case.
    /// The answer shows whether the server, or a box on the path, folds the case.
    async fn ask_where_case_is_folded(
        &self,
        udp: &Udp,
        question: &Question,
        edns: Edns,
    ) -> Result<Answer, TryError> {
        type Attempt<'a> = Pin<Box<dyn Future<Output = Result<(Answer, bool), TryError>> + 'a>>;
        let over_tcp: Attempt<'_> = Box::pin(async {
            let case = Case::draw();
            let mut message = self.stream.exchange_in(question, edns, case).await?;
            let is_proof = case.take_off(&mut message, question) == Repeats::InOtherCase;
            match self.read_from_connection(&message, question, edns)? {
                Some(answer) => Ok((answer, is_proof)),
                None => Ok((self.ask_without_edns(question).await?, is_proof)),
            }
        });
        let in_lower_case: Attempt<'_> = Box::pin(async {
            let answer = match self.over_udp(udp, question, edns, None).await? {
                Some(answer) => answer,
                None => {
                    let bare = self.over_udp(udp, question, Edns::Without, None).await?;
                    bare.ok_or(TryError::Garbled)?
                }
            };
            Ok((answer, false))
        });
        match first_of([over_tcp, in_lower_case]).await {
            Ok((answer, is_proof)) => {
                self.upstream.note_folded(is_proof);
                Ok(answer)
            }
            // The server is not to blame: any host can have sent the datagram.
            Err(errors) => {
                let is_ours =
                    |error: &TryError| matches!(error, TryError::Busy | TryError::OwnShortage);
                let said = errors.iter().find(|error| error.is_sign_of_life());
                let said = said.or_else(|| errors.iter().find(|error| is_ours(error)));
                Err(said.copied().unwrap_or(TryError::Mismatched))
            }
        }
    }

    async fn ask_over_connection(
        &self,
        question: &Question,
        edns: Edns,
    ) -> Result<Answer, TryError> {
        if let Some(answer) = self.over_connection(question, edns).await? {
            return Ok(answer);
        }
        count(&self.upstream.counters.without_edns);
        self.over_connection(question, Edns::Without).await?.ok_or(TryError::Garbled)
    }

    /// Over a connection, whose peer has sent whatever comes. `None`: it does not understand EDNS.
    async fn over_connection(
        &self,
        question: &Question,
        edns: Edns,
    ) -> Result<Option<Answer>, TryError> {
        let message = self.stream.exchange(question, edns).await?;
        self.read_from_connection(&message, question, edns)
    }

    fn read_from_connection(
        &self,
        message: &[u8],
        question: &Question,
        edns: Edns,
    ) -> Result<Option<Answer>, TryError> {
        match query::read(message, question, edns) {
            Reading::Answer(answer) => Ok(Some(answer)),
            Reading::NoEdns => Ok(None),
            Reading::Bare(Rcode::FORMERR | Rcode::NOTIMP) if edns == Edns::With => Ok(None),
            Reading::Bare(rcode) => {
                query::bare_answer(rcode, question).map(Some).ok_or(TryError::Garbled)
            }
            Reading::Truncated => Err(TryError::Unusable(Flaw::RestMissing)),
            Reading::Unusable(flaw) => Err(TryError::Unusable(flaw)),
            Reading::OtherCase | Reading::OtherQuestion => {
                Err(TryError::Unusable(Flaw::OtherQuestion))
            }
            Reading::NotAReply => Err(TryError::Garbled),
        }
    }
}
