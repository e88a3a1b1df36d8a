//! The network changes while queries wait.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::task::yield_now;

use crate::config::UpstreamServer;
use crate::forward::race::Attempt;
use crate::forward::{Epoch, Forwarder};
use crate::upstream::Upstream;
use crate::upstream::tests::{local, question, reply};
use crate::wire::Rcode;

/// A server whose every word is the test's.
struct Server(UdpSocket);

impl Server {
    async fn new() -> (Self, Arc<Upstream>) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        (Self(socket), Arc::new(Upstream::new(UpstreamServer::plain(address))))
    }

    /// The next query and who sent it.
    async fn query(&self) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 512];
        let (octets, peer) = self.0.recv_from(&mut buffer).await.unwrap();
        (buffer[..octets].to_vec(), peer)
    }

    async fn reply(&self, (query, peer): &(Vec<u8>, SocketAddr)) {
        self.0.send_to(&reply(query, 0, 1), peer).await.unwrap();
    }
}

#[tokio::test]
async fn who_waits_is_asked_again_at_once_from_another_socket() {
    local(async {
        let (server, upstream) = Server::new().await;
        let epoch = Arc::new(Epoch::new());
        let forwarder = Forwarder::within(Arc::clone(&epoch));
        let question = question();
        let asked = forwarder.attempt(&upstream, &question);
        let answers = async {
            let (_, before) = server.query().await;
            epoch.advance();
            let again = server.query().await;
            // The first one is still open, so this is no accident.
            assert_ne!(again.1, before);
            server.reply(&again).await;
        };
        let (answer, ()) = tokio::join!(asked, answers);
        assert_eq!(answer.unwrap().rcode(), Rcode::NOERROR);
    })
    .await;
}

#[tokio::test]
async fn a_reply_on_the_old_way_still_counts() {
    local(async {
        let (server, upstream) = Server::new().await;
        let epoch = Arc::new(Epoch::new());
        let forwarder = Forwarder::within(Arc::clone(&epoch));
        let question = question();
        let asked = forwarder.attempt(&upstream, &question);
        let answers = async {
            let first = server.query().await;
            epoch.advance();
            server.query().await;
            server.reply(&first).await;
        };
        let (answer, ()) = tokio::join!(asked, answers);
        assert_eq!(answer.unwrap().rcode(), Rcode::NOERROR);
    })
    .await;
}

#[tokio::test]
async fn a_query_is_repeated_once_however_often_the_network_changes() {
    local(async {
        let (server, upstream) = Server::new().await;
        let epoch = Arc::new(Epoch::new());
        let forwarder = Forwarder::within(Arc::clone(&epoch));
        let question = question();
        let asked = forwarder.attempt(&upstream, &question);
        let answers = async {
            server.query().await;
            epoch.advance();
            let second = server.query().await;
            for _ in 0..100 {
                epoch.advance();
                yield_now().await;
            }
            server.reply(&second).await;
        };
        let (answer, ()) = tokio::join!(asked, answers);
        answer.unwrap();
        assert_eq!(upstream.tally().queries, 2);
    })
    .await;
}

#[tokio::test]
async fn an_old_way_that_fails_does_not_end_the_new_one() {
    local(async {
        let (server, upstream) = Server::new().await;
        let epoch = Arc::new(Epoch::new());
        let forwarder = Forwarder::within(Arc::clone(&epoch));
        let question = question();
        let asked = forwarder.attempt(&upstream, &question);
        let answers = async {
            let (query, before) = server.query().await;
            epoch.advance();
            let second = server.query().await;
            // It is asked over TCP what that means, and nobody listens there.
            server.0.send_to(&reply(&query, 0x0200, 0), before).await.unwrap();
            while upstream.tally().replies == 0 {
                yield_now().await;
            }
            server.reply(&second).await;
        };
        let (answer, ()) = tokio::join!(asked, answers);
        answer.unwrap();
    })
    .await;
}
