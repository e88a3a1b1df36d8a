//! A DNS server that tells what it was asked.

use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use super::process::PATIENCE;

/// Replies NOERROR without records to every question.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    questions: Receiver<(String, u16)>,
}

impl Server {
    pub(crate) fn start(address: &str) -> Self {
        let socket = UdpSocket::bind(address).expect("a socket");
        let address = socket.local_addr().expect("bound");
        let (sender, questions) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 1_500];
            while let Ok((octets, client)) = socket.recv_from(&mut buffer) {
                let (name, rtype, end) = question(&buffer[..octets]);
                // QR, RD, RA; one question and nothing else.
                let head = [&buffer[..2], &[0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
                let _lost = socket.send_to(&[&head, &buffer[12..end]].concat(), client);
                if sender.send((name, rtype)).is_err() {
                    return;
                }
            }
        });
        Self { address, questions }
    }

    /// The name and the type of the next question.
    pub(crate) fn asked(&self) -> (String, u16) {
        self.questions.recv_timeout(PATIENCE).expect("a question")
    }
}

/// The name, the type, and where the question ends.
fn question(message: &[u8]) -> (String, u16, usize) {
    let (mut labels, mut at) = (Vec::new(), 12);
    while message[at] != 0 {
        let end = at + 1 + usize::from(message[at]);
        labels.push(String::from_utf8_lossy(&message[at + 1..end]).into_owned());
        at = end;
    }
    (labels.join("."), u16::from_be_bytes([message[at + 1], message[at + 2]]), at + 5)
}
