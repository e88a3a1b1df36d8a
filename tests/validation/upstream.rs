//! An upstream over signed zones that spoils the replies that a test names, and counts questions.

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use hickory_proto::dnssec::rdata::{DNSSECRData, RRSIG};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};

use super::zones::{Signed, lower_case};

/// The fate of a reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Does {
    /// Its signatures are wrong.
    Corrupt,
    /// Its signatures are missing.
    Strip,
    /// Its signatures are old ones, which have expired.
    Replay,
    /// It says nothing at all.
    Empty,
    /// It is SERVFAIL.
    Fail,
    /// It never comes.
    Lose,
    /// It comes so much later.
    Delay(Duration),
    /// Its addresses are others.
    Forge,
}

/// Which replies are spoilt.
struct Fault {
    /// `None`: all.
    question: Option<(String, u16)>,
    left: usize,
    does: Does,
}

#[derive(Default)]
struct Book {
    faults: Vec<Fault>,
    heard: Vec<u16>,
}

/// A running server; its thread ends with the process.
pub(crate) struct Upstream {
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
}

impl Upstream {
    pub(crate) fn start(zones: &Signed) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let address = socket.local_addr().expect("bound");
        let book = Arc::<Mutex<Book>>::default();
        let (zones, written) = (zones.clone(), Arc::clone(&book));
        thread::spawn(move || {
            let mut octets = [0; 4_096];
            while let Ok((length, client)) = socket.recv_from(&mut octets) {
                let Ok(query) = Message::from_vec(&octets[..length]) else { continue };
                let Some((reply, wait)) = reply(&zones, &written, &query) else { continue };
                let socket = socket.try_clone().expect("a socket");
                let send = move || drop(socket.send_to(&reply, client));
                match wait {
                    Duration::ZERO => send(),
                    wait => drop(thread::spawn(move || {
                        thread::sleep(wait);
                        send();
                    })),
                }
            }
        });
        Self { address, book }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Spoils so many replies to a question from now on.
    pub(crate) fn spoil(&self, qname: &str, rtype: u16, count: usize, does: Does) {
        let question = Some((format!("{qname}."), rtype));
        self.book.lock().expect("unpoisoned").faults.push(Fault { question, left: count, does });
    }

    /// Spoils every reply from now on.
    pub(crate) fn spoil_all(&self, does: Does) {
        let fault = Fault { question: None, left: usize::MAX, does };
        self.book.lock().expect("unpoisoned").faults.push(fault);
    }

    /// How many replies are still to be spoilt.
    pub(crate) fn left(&self) -> usize {
        self.book.lock().expect("unpoisoned").faults.iter().map(|fault| fault.left).sum()
    }

    /// How often it was asked for this type, probes of the root aside.
    pub(crate) fn heard(&self, rtype: u16) -> usize {
        let book = self.book.lock().expect("unpoisoned");
        book.heard.iter().filter(|heard| **heard == rtype).count()
    }
}

fn reply(zones: &Signed, book: &Mutex<Book>, query: &Message) -> Option<(Vec<u8>, Duration)> {
    let asked = lower_case(query.queries.first()?);
    let rtype = u16::from(asked.query_type());
    let does = {
        let mut book = book.lock().expect("unpoisoned");
        // The daemon's own probes ask for NS of the root and for names of chance.
        if !(rtype == 2 && asked.name().is_root()) {
            book.heard.push(rtype);
        }
        let shown = asked.name().to_ascii();
        let is_it = |fault: &&mut Fault| {
            let question = fault.question.as_ref();
            fault.left > 0 && question.is_none_or(|(name, of)| *name == shown && *of == rtype)
        };
        book.faults.iter_mut().find(is_it).map(|fault| {
            fault.left -= 1;
            fault.does
        })
    };
    let mut reply = zones.answer(&asked);
    let mut wait = Duration::ZERO;
    match does {
        None => {}
        Some(Does::Lose) => return None,
        Some(Does::Delay(by)) => wait = by,
        Some(Does::Corrupt) => corrupt(&mut reply),
        Some(Does::Strip) => {
            let is_data = |record: &Record| record.record_type() != RecordType::RRSIG;
            reply.answers.retain(is_data);
            reply.authorities.retain(is_data);
        }
        Some(Does::Replay) => zones.age(&mut reply),
        Some(does @ (Does::Empty | Does::Fail)) => {
            reply.answers.clear();
            reply.authorities.clear();
            if does == Does::Fail {
                reply.metadata.response_code = ResponseCode::ServFail;
            }
        }
        Some(Does::Forge) => {
            for record in &mut reply.answers {
                if let RData::A(address) = &mut record.data {
                    *address = A::new(192, 0, 2, 66);
                }
            }
        }
    }
    // The question in the letters that it came in.
    reply.queries.clone_from(&query.queries);
    reply.metadata.id = query.metadata.id;
    Some((reply.to_vec().expect("encodable"), wait))
}

fn corrupt(reply: &mut Message) {
    for record in [&mut reply.answers, &mut reply.authorities].into_iter().flatten() {
        if let RData::DNSSEC(DNSSECRData::RRSIG(signature)) = &mut record.data {
            let mut octets = signature.sig().to_vec();
            octets[9] ^= 1;
            *signature = RRSIG::from_sig(signature.input().clone(), octets);
        }
    }
}
