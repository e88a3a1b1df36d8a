//! One worker's way to one server.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;

use super::case::{Case, Repeats};
use super::connections;
use super::cookie::{CookieOption, Found, Sent};
use super::failure::{Evidence, Flaw, TryError};
use super::pool;
use super::query::{self, Edns, Opt, Reading, is_rejection};
use super::race::first_of;
use super::server::{Upstream, count};
use super::socket::ReceiveBuffer;
use super::stream::Stream;
use super::transport::Reply;
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

impl Link {
    /// The most descriptors that one link has open. After a change of the network an old link lives
    /// on beside the new one until its last query has ended.
    pub const MOST_DESCRIPTORS: usize = pool::OPEN + Self::MOST_CONNECTIONS;
    /// The same of a link that asks over connections alone.
    pub const MOST_CONNECTIONS: usize = connections::SOCKETS;

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
        let outcome = self.ask_with_or_without_cookie(question).await;
        match &outcome {
            Ok(_) => self.upstream.note_reply(),
            Err(TryError::Unreachable(_) | TryError::Unprocessed) => {
                count(&self.upstream.counters.unreachable);
            }
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

    /// Asks with a cookie, or without one after silence or trouble with cookies.
    async fn ask_with_or_without_cookie(&self, question: &Question) -> Result<Answer, TryError> {
        let (edns, is_after_silence) = self.first_edns();
        let answer = self.ask_with(question, edns).await?;
        if is_after_silence {
            self.upstream.note_answered_without_cookie();
        }
        Ok(answer)
    }

    /// What a query has at first, and whether it lacks a cookie because of the server's silence.
    fn first_edns(&self) -> (Edns, bool) {
        let (Some(udp), cookies) = (&self.udp, &self.upstream.cookies) else {
            return (Edns::With, false);
        };
        if cookies.is_off_now() {
            udp.jar().clear();
            return (Edns::With, false);
        }
        // A server that has given a cookie is silent for another reason, unless it is down: a box on
        // a new path may drop queries with a cookie, and probes must find that out.
        let has_shown_one =
            udp.jar().is_proven() || (cookies.is_proven() && !self.upstream.is_down());
        match self.upstream.is_silent() && !has_shown_one {
            true => (Edns::With, true),
            false => (Edns::WithCookie, false),
        }
    }

    /// With `edns`, and with less where the server rejects it.
    async fn ask_with(&self, question: &Question, edns: Edns) -> Result<Answer, TryError> {
        if let Some(answer) = self.exchange(question, edns).await? {
            return Ok(answer);
        }
        Box::pin(self.ask_with_less(question, edns)).await
    }

    /// With less than `first`, which the server has rejected.
    async fn ask_with_less(&self, question: &Question, first: Edns) -> Result<Answer, TryError> {
        let mut rejected = first;
        while let Some(edns) = rejected.less() {
            if edns == Edns::Without {
                // Not remembered: such servers are rare, and the next query may find it repaired.
                count(&self.upstream.counters.without_edns);
            }
            if let Some(answer) = self.exchange(question, edns).await? {
                // One that rejects every query of that name says nothing about cookies.
                if first == Edns::WithCookie && answer.rcode().is_answer() {
                    self.upstream.note_cookie_trouble(false);
                }
                return Ok(answer);
            }
            rejected = edns;
        }
        Err(TryError::Garbled)
    }

    /// `None`: the server rejects `edns`.
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
        let mut heard = asked.hear().await?;
        // All that is rare is on the heap, so that the future of every query is not as large.
        if matches!(heard, Heard::Reply(Reading::BadCookie)) && asked.has_new_cookie() {
            self.upstream.note_sign_of_life();
            // Once: the second time the reply leads to TCP (RFC 7873 §5.3).
            (asked, heard) = Box::pin(async {
                let mut again = udp.ask(question, edns, case).await?;
                let heard = again.hear().await?;
                Ok::<_, TryError>((again, heard))
            })
            .await?;
        }
        match heard {
            Heard::Reply(Reading::Answer(answer)) => Ok(Some(answer)),
            Heard::Reply(reading) => {
                drop(asked);
                Box::pin(self.settle(reading, question, edns)).await
            }
            Heard::MaybeNoEdns => {
                let other = Box::pin(self.ask_with_less(question, edns));
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
            Heard::OtherCookie => {
                let other = Box::pin(self.ask_where_cookies_fail(udp, question, edns, case));
                Box::pin(self.hear_both(asked, other, question, edns)).await
            }
            Heard::TooManyMismatches => {
                drop(asked);
                let other = Box::pin(self.over_connection(question, edns)).await;
                other.map_err(|error| match error.evidence() {
                    // The sender of the datagrams may want to have the server blamed.
                    Evidence::Failing { .. } => TryError::Mismatched,
                    Evidence::Alive | Evidence::Declines | Evidence::Nothing => error,
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
            Reading::BadCookie => Flaw::BadCookie,
            Reading::Truncated => Flaw::RestMissing,
            // Something on the path may have cut it.
            Reading::Unusable(Flaw::Malformed) => Flaw::Malformed,
            Reading::Unusable(flaw) => return Err(TryError::Unusable(flaw)),
            // Not genuine.
            Reading::Bare(_)
            | Reading::OtherCase
            | Reading::OtherCookie
            | Reading::OtherQuestion
            | Reading::NotAReply => return Err(TryError::Mismatched),
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
        let over_tcp: Attempt<'_> = Box::pin(async {
            let (case, cookie) = (Case::draw(), self.cookie_for_connection(edns));
            let opt = opt(edns, &cookie);
            let mut message = self.stream.exchange_in(question, opt, case).await?.octets;
            let is_proof = case.take_off(&mut message, question) == Repeats::InOtherCase;
            match self.read_from_connection(&message, question, edns)? {
                Some(answer) => Ok((answer, is_proof)),
                None => Ok((self.ask_with_less(question, edns).await?, is_proof)),
            }
        });
        let in_lower_case: Attempt<'_> = Box::pin(async {
            let answer = match self.over_udp(udp, question, edns, None).await? {
                Some(answer) => answer,
                None => self.ask_with_less(question, edns).await?,
            };
            Ok((answer, false))
        });
        let (answer, is_proof) = first_success([over_tcp, in_lower_case]).await?;
        self.upstream.note_folded(is_proof);
        Ok(answer)
    }

    /// Asks after a datagram without the query's cookie: over a connection, then also over UDP
    /// without a cookie, the name in letters of a new case if there was one. The answer shows
    /// whether the server still repeats our cookie.
    async fn ask_where_cookies_fail(
        &self,
        udp: &Udp,
        question: &Question,
        edns: Edns,
        case: Option<Case>,
    ) -> Result<Answer, TryError> {
        let over_tcp: Attempt<'_> = Box::pin(async {
            let cookie = self.cookie_for_connection(edns);
            let message = self.stream.exchange(question, opt(edns, &cookie)).await?.octets;
            let is_ours =
                |(sent, _): &(Sent, _)| matches!(sent.find(&message, question), Found::Ours(_));
            let is_proof = !cookie.as_ref().is_some_and(is_ours);
            match self.read_from_connection(&message, question, edns)? {
                Some(answer) => Ok((answer, is_proof)),
                None => Ok((self.ask_with_less(question, edns).await?, is_proof)),
            }
        });
        let without: Attempt<'_> = Box::pin(async {
            let case = case.map(|_| Case::draw());
            let answer = match self.over_udp(udp, question, Edns::With, case).await? {
                Some(answer) => answer,
                None => self.ask_with_less(question, Edns::With).await?,
            };
            Ok((answer, false))
        });
        let (answer, is_proof) = first_success([over_tcp, without]).await?;
        // An error may come from a box before the server, which leaves the options out.
        if answer.rcode().is_answer() {
            self.upstream.note_cookie_trouble(is_proof);
        }
        Ok(answer)
    }

    /// Over connections, with `edns` and with less where the server rejects it.
    async fn ask_over_connection(
        &self,
        question: &Question,
        edns: Edns,
    ) -> Result<Answer, TryError> {
        let mut edns = edns;
        loop {
            if let Some(answer) = self.over_connection(question, edns).await? {
                return Ok(answer);
            }
            edns = edns.less().ok_or(TryError::Garbled)?;
            if edns == Edns::Without {
                count(&self.upstream.counters.without_edns);
            }
        }
    }

    /// Over a connection, whose peer has sent whatever comes. `None`: it rejects `edns`.
    async fn over_connection(
        &self,
        question: &Question,
        edns: Edns,
    ) -> Result<Option<Answer>, TryError> {
        let cookie = self.cookie_for_connection(edns);
        let reply = self.stream.exchange(question, opt(edns, &cookie)).await?;
        let Reply { octets, age_seconds } = reply;
        let answer = self.read_from_connection(&octets, question, edns)?;
        Ok(answer.map(|answer| answer.aged(age_seconds)))
    }

    /// The cookie that the server knows from datagrams. What a connection brings is kept for none: a
    /// server that repeats cookies over TCP may not do so over UDP.
    fn cookie_for_connection(&self, edns: Edns) -> Option<(Sent, CookieOption)> {
        let udp = self.udp.as_ref().filter(|_| edns == Edns::WithCookie)?;
        Some(udp.jar().take_for_connection())
    }

    fn read_from_connection(
        &self,
        message: &[u8],
        question: &Question,
        edns: Edns,
    ) -> Result<Option<Answer>, TryError> {
        match query::read(message, question, edns) {
            Reading::Answer(answer) if edns == Edns::WithCookie && is_rejection(&answer) => {
                Ok(None)
            }
            Reading::Answer(answer) => Ok(Some(answer)),
            Reading::NoEdns => Ok(None),
            Reading::BadCookie => {
                count(&self.upstream.counters.bad_cookie);
                match edns {
                    Edns::WithCookie => Ok(None),
                    Edns::With | Edns::Without => Err(TryError::Unusable(Flaw::BadCookie)),
                }
            }
            Reading::Bare(Rcode::FORMERR | Rcode::NOTIMP) if edns.has_opt() => Ok(None),
            Reading::Bare(rcode) => {
                query::bare_answer(rcode, question).map(Some).ok_or(TryError::Garbled)
            }
            Reading::Truncated => Err(TryError::Unusable(Flaw::RestMissing)),
            Reading::Unusable(flaw) => Err(TryError::Unusable(flaw)),
            Reading::OtherCase | Reading::OtherCookie | Reading::OtherQuestion => {
                Err(TryError::Unusable(Flaw::OtherQuestion))
            }
            Reading::NotAReply => Err(TryError::Garbled),
        }
    }
}

/// An attempt after a datagram that any host can have sent. Gives the answer, and whether it proves
/// that the server has sent that datagram.
type Attempt<'a> = Pin<Box<dyn Future<Output = Result<(Answer, bool), TryError>> + 'a>>;

/// The first success of `attempts`, or the error that tells most.
async fn first_success(attempts: [Attempt<'_>; 2]) -> Result<(Answer, bool), TryError> {
    first_of(attempts).await.map_err(|errors| {
        let is_ours = |error: &TryError| matches!(error, TryError::Busy | TryError::OwnShortage);
        let said = errors.iter().find(|error| error.is_sign_of_life());
        let said = said.or_else(|| errors.iter().find(|error| is_ours(error)));
        // The server is not to blame: any host can have sent the datagram.
        said.copied().unwrap_or(TryError::Mismatched)
    })
}

/// The options of a query with `edns` over a connection.
fn opt(edns: Edns, cookie: &Option<(Sent, CookieOption)>) -> Opt<'_> {
    let options = cookie.as_ref().map_or(&[][..], |(_, option)| option.as_octets());
    edns.has_opt().then_some(options)
}
