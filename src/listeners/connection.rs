//! One TCP connection: one task that reads, answers, and writes.
//!
//! Queries are answered as they come; one that must wait for an upstream waits in a task of its own
//! and its answer is written when it is there, out of order (RFC 7766 §6.2.1.1, §7). Every wait is
//! bounded: see [`Clocks`].

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::select;
use tokio::time::{Instant, sleep_until};

use super::answer::{Admission, Answer};
use super::clocks::{Clocks, Expired, Progress};
use super::connections::{OverClientCap, Ticket};
use super::context::{Context, Work};
use super::frames::{Input, Output};
use super::late::{Finished, LateAnswers};
use crate::config::Limits;
use crate::engine::{Transport, Verdict};

pub(super) struct Connection<A: Answer> {
    stream: TcpStream,
    client: IpAddr,
    /// Those in force when it opened.
    limits: Limits,
    input: Input,
    output: Output,
    clocks: Clocks,
    /// Nothing more is read: the client ended its side, broke the framing, or we stop.
    ended: bool,
    late: LateAnswers,
    ticket: Ticket,
    context: Rc<Context<A>>,
    _work: Work,
}

/// Why a connection is closed.
enum End {
    /// The client is done, or its socket broke.
    Client,
    /// For a newcomer, or for answers that others wait for.
    GaveWay,
    Expired(Expired),
}

impl<A: Answer> Connection<A> {
    /// Takes the connection into the table.
    pub(super) fn admit(
        stream: TcpStream,
        peer: SocketAddr,
        limits: Limits,
        context: Rc<Context<A>>,
    ) -> Result<Self, OverClientCap> {
        let now = Instant::now();
        let ticket = context.shared.connections.admit(peer.ip(), now, &limits)?;
        context.shared.tally.tcp_gave_way.add(ticket.displaced);
        // Answers are coalesced here; the kernel must not wait for more. A failure only slows.
        let _ = stream.set_nodelay(true);
        Ok(Self {
            stream,
            client: peer.ip(),
            limits,
            input: Input::new(),
            output: Output::default(),
            clocks: Clocks::new(now, &limits),
            ended: false,
            late: LateAnswers::new(limits.tcp_pipelined, ticket.account()),
            ticket,
            _work: context.in_flight.begin(),
            context,
        })
    }

    /// Whether another connection gives way for it.
    pub(super) fn displaces(&self) -> bool {
        self.ticket.displaced > 0
    }

    /// Serves it to its end.
    pub(super) async fn run(mut self) {
        let end = self.serve().await;
        let tally = &self.context.shared.tally;
        match end {
            // Whoever displaced it has counted it.
            End::Client | End::GaveWay => {}
            End::Expired(Expired::Idle) => tally.tcp_idle.add(1),
            End::Expired(Expired::Message) => tally.tcp_slow_message.add(1),
            End::Expired(Expired::Reader) => tally.tcp_slow_reader.add(1),
        }
    }

    async fn serve(&mut self) -> End {
        let mut shutdown = self.context.shutdown.clone();
        let mut alarm = pin!(sleep_until(Instant::now() + self.limits.tcp_idle));
        loop {
            self.answer_input();
            self.note_progress();
            if self.is_done() {
                return End::Client;
            }
            // An alarm that rings early costs one more turn; one moved for every query costs more.
            let due = self.clocks.next();
            if let Some(due) = due.filter(|due| *due < alarm.deadline() || alarm.is_elapsed()) {
                alarm.as_mut().reset(due);
            }
            let (reads, has_room) = (self.reads(), self.output.has_room());
            let (mut reader, mut writer) = self.stream.split();
            select! {
                biased;
                // First, for a client can keep the others ready.
                () = self.ticket.displaced() => return End::GaveWay,
                written = writer.write(self.output.pending()), if !self.output.is_empty() => {
                    match written {
                        Ok(octets) if octets > 0 => self.output.took(octets),
                        _ => return End::Client,
                    }
                }
                Some(late) = self.late.next(), if has_room => self.take_late(&late),
                read = reader.read(self.input.space()), if reads => match read {
                    Ok(0) => self.ended = true,
                    Ok(octets) => self.input.filled(octets),
                    Err(_) => return End::Client,
                },
                () = &mut alarm, if due.is_some() => {
                    if let Some(expired) = self.clocks.expired(Instant::now()) {
                        return End::Expired(expired);
                    }
                }
                _ = shutdown.begun(), if !self.ended => self.ended = true,
            }
        }
    }

    /// Answers what has come, as far as the bounds let it.
    fn answer_input(&mut self) {
        if !self.input.has_frame() || !self.may_answer() {
            return;
        }
        let context = Rc::clone(&self.context);
        let snapshot = context.worker.snapshot();
        if A::admission(&snapshot, self.client) != Admission::Served {
            // A reload has taken the client's right to ask, and with it its place.
            context.shared.tally.tcp_outside_access.add(1);
            self.input.clear();
            self.ended = true;
            return;
        }
        let now = Instant::now();
        while self.may_answer() {
            let Some(request) = self.input.next_message() else { break };
            self.clocks.message_ended();
            if request.is_empty() {
                // No message is that short, so the client has lost the framing or plays with us;
                // to skip it would let a connection live on two octets at a time. What it asked
                // before is still answered.
                self.input.clear();
                self.ended = true;
                break;
            }
            let asked = context.asked(self.client, Transport::Tcp, now.into_std());
            let verdict = self.output.frame(
                |out| context.worker.answer(&snapshot, &asked, request, out),
                |verdict| matches!(verdict, Verdict::Reply(_)),
            );
            match verdict {
                // Does not count as activity: silence must not keep a connection.
                Verdict::Drop(_) => continue,
                Verdict::Reply(_) => {}
                Verdict::Forward => {
                    let (context, request) = (Rc::clone(&context), A::kept(request));
                    self.late.start(context, Arc::clone(&snapshot), asked, request);
                }
            }
            self.clocks.active(now);
            self.ticket.set_active(now);
        }
    }

    /// Takes `late` and what else is finished, so that one write carries all of it.
    fn take_late(&mut self, late: &Finished) {
        self.output.push(&late.frame);
        while self.output.has_room() {
            let Some(late) = self.late.next_now() else { break };
            self.output.push(&late.frame);
        }
        let now = Instant::now();
        self.clocks.active(now);
        self.ticket.set_active(now);
    }

    /// Starts and stops the clocks, by what stands in the buffers now.
    fn note_progress(&mut self) {
        let partial = !self.ended && !self.input.is_empty() && !self.input.has_frame();
        let waiting = self.late.outstanding() > 0 || self.input.has_frame();
        let progress = Progress {
            partial,
            waiting,
            given_octets: self.output.given_octets(),
            taken_octets: self.output.taken_octets(),
        };
        self.clocks.update(Instant::now(), progress);
        self.ticket.set_busy(waiting || !self.output.is_empty());
    }

    /// Another query may be answered.
    fn may_answer(&self) -> bool {
        self.late.outstanding() < self.limits.tcp_pipelined.max(1) && self.output.has_room()
    }

    /// More may be read. A message that waits here already means that we cannot keep up with this
    /// client: what it sends then waits in the kernel, and at last with the client.
    fn reads(&self) -> bool {
        !self.ended && !self.input.has_frame() && self.may_answer()
    }

    /// A client that ended its side still gets what it asked for (RFC 7766 §6.2.4).
    fn is_done(&self) -> bool {
        self.ended
            && self.late.outstanding() == 0
            && self.output.is_empty()
            && !self.input.has_frame()
    }
}
