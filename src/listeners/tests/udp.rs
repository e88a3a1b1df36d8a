//! UDP through the whole loop.

use tokio::net::UdpSocket;

use super::*;
use crate::engine::Transport;
use crate::listeners::udp::{FLOODED_AFTER, STARTS, STARTS_FLOODED};
use crate::sys::BATCH_SLOTS;

async fn client(server: &Server) -> UdpSocket {
    let client = UdpSocket::bind((server.address.ip(), 0)).await.unwrap();
    client.connect(server.address).await.unwrap();
    client
}

async fn receive(client: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 2_000];
    let octets = in_time(client.recv(&mut buffer)).await.unwrap();
    buffer.truncate(octets);
    buffer
}

#[test]
fn a_slow_miss_blocks_nobody_and_drops_are_silent() {
    for ip in ["127.0.0.1", "::1"] {
        local(async {
            let server = Server::start(ip, LIMITS);
            let client = client(&server).await;
            for query in [b"w1", b"d2", b"e3", b"e4"] {
                client.send(query).await.unwrap();
            }
            assert_eq!(receive(&client).await, b"e3");
            assert_eq!(receive(&client).await, b"e4");
            server.fake.release(b"w1").await;
            assert_eq!(receive(&client).await, b"w1");
            let seen = server.fake.seen.borrow();
            assert_eq!(seen.iter().map(|asked| asked.rotation).collect::<Vec<_>>(), [0, 1, 2, 3]);
            assert!(seen.iter().all(|asked| asked.transport == Transport::Udp));
            assert!(seen.iter().all(|asked| asked.client == server.address.ip()));
        });
    }
}

#[test]
fn a_late_answer_leaves_from_the_address_asked() {
    local(async {
        let server = Server::start("0.0.0.0", LIMITS);
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let asked = SocketAddr::new("127.0.0.2".parse().unwrap(), server.address.port());
        client.send_to(b"w", asked).await.unwrap();
        server.fake.release(b"w").await;
        let (_, from) = in_time(client.recv_from(&mut [0; 16])).await.unwrap();
        assert_eq!(from, asked);
    });
}

#[test]
fn a_bunch_of_late_answers_larger_than_a_batch_goes_out_whole() {
    local(async {
        let server = Server::start("127.0.0.1", LIMITS);
        let client = client(&server).await;
        client.writable().await.unwrap();
        for index in 0..150_u8 {
            client.try_send(&[b'w', index]).unwrap();
        }
        // All of them can go on in one turn; nothing else ever wakes the thread.
        server.fake.open(150).await;
        let mut seen = Vec::new();
        for _ in 0..150 {
            seen.push(receive(&client).await[1]);
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..150).collect::<Vec<_>>());
        assert_eq!(server.shared.tally.udp_unsent.total(), 0);
    });
}

#[test]
fn a_stop_sends_a_whole_bunch() {
    local(async {
        let server = Server::start("127.0.0.1", LIMITS);
        let client = client(&server).await;
        for index in 0..20_u8 {
            client.send(&[b'w', index]).await.unwrap();
        }
        until(|| server.fake.waiting.borrow().len() == 20).await;
        let fake = Rc::clone(&server.fake);
        let stopped = server.stop_by(Instant::now() + PATIENCE);
        let released = async {
            tokio::task::yield_now().await;
            fake.open(20).await;
        };
        tokio::join!(stopped, released);
        for index in 0..20_u8 {
            assert_eq!(receive(&client).await, [b'w', index]);
        }
    });
}

/// A backlog of queries from `peer`, without a worker that serves its socket.
struct Waiting {
    peer: SocketAddr,
    socket: Rc<late_udp::Socket>,
    fake: Rc<Fake>,
    context: Rc<Context<Fake>>,
    backlog: late_udp::Backlog<Fake>,
    _stopper: Stopper,
}

impl Waiting {
    fn new(peer: SocketAddr) -> Self {
        let mut bound = bind(&["127.0.0.1:0".parse().unwrap()], 1, false).unwrap();
        let socket = late_udp::Socket::new(bound.workers.remove(0).udp.remove(0)).unwrap();
        let (stopper, shutdown) = Stopper::new();
        let fake = Rc::new(Fake::new(LIMITS));
        let context = Context::new(Rc::clone(&fake), Arc::default(), shutdown);
        Self {
            peer,
            socket: Rc::new(socket),
            fake,
            context: Rc::new(context),
            backlog: late_udp::Backlog::default(),
            _stopper: stopper,
        }
    }

    fn push(&mut self, query: &[u8]) -> bool {
        let now = std::time::Instant::now();
        let asked = self.context.asked(self.peer.ip(), Transport::Udp, now);
        let socket = Rc::clone(&self.socket);
        let way = late_udp::Way { socket, peer: self.peer, path: sys::ReplyPath::Bound };
        self.backlog.push(&self.context, way, asked, &self.fake.limits, query)
    }
}

#[test]
fn tasks_of_late_answers_are_used_again_and_bounded() {
    local(async {
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut waiting = Waiting::new(client.local_addr().unwrap());
        let (fake, context) = (Rc::clone(&waiting.fake), Rc::clone(&waiting.context));
        let mut start = |octet: u8| {
            assert!(waiting.push(&[b'w', octet]));
            waiting.backlog.start(&context, 1);
        };
        (0..=255).for_each(&mut start);
        start(0);
        fake.open(late_udp::IDLE_TASKS + 1).await;
        until(|| context.idle.count() == late_udp::IDLE_TASKS).await;
        in_time(context.in_flight.drained()).await;
        assert_eq!(context.idle.count(), late_udp::IDLE_TASKS);
        // The next one's query is what comes back, by a task that was there.
        while client.try_recv(&mut [0; 16]).is_ok() {}
        start(77);
        assert_eq!(context.idle.count(), late_udp::IDLE_TASKS - 1);
        assert_eq!(receive(&client).await, [b'w', 77]);
        until(|| context.idle.count() == late_udp::IDLE_TASKS).await;
    });
}

#[test]
fn who_can_be_answered_at_once_does_not_wait_for_a_flood_of_others() {
    local(async {
        let server = Server::start("127.0.0.1", LIMITS);
        let client = client(&server).await;
        client.writable().await.unwrap();
        const BATCHES: usize = 8;
        for index in 0..BATCHES * BATCH_SLOTS {
            client.try_send(&[&b"w"[..], &index.to_ne_bytes()].concat()).unwrap();
        }
        client.try_send(b"e").unwrap();
        assert_eq!(receive(&client).await, b"e");
        let begun = server.fake.waiting.borrow().len();
        let before = FLOODED_AFTER as usize;
        let most = before * STARTS + (BATCHES - before) * STARTS_FLOODED;
        assert!(begun <= most, "{begun}");
        until(|| server.fake.waiting.borrow().len() == BATCHES * BATCH_SLOTS).await;
        assert_eq!(server.shared.tally.udp_shed.total(), 0);
    });
}

#[test]
fn a_backlog_is_bounded() {
    local(async {
        let mut waiting = Waiting::new("127.0.0.1:9".parse().unwrap());
        let pushed = (0..late_udp::BACKLOG + 10).filter(|_| waiting.push(b"w")).count();
        assert_eq!(pushed, late_udp::BACKLOG);
    });
}

#[test]
fn more_than_a_batch_is_answered_whole() {
    local(async {
        let server = Server::start("127.0.0.1", LIMITS);
        let client = client(&server).await;
        client.writable().await.unwrap();
        // Within the smallest receive queue that Linux gives by default.
        for index in 0..150_u8 {
            client.try_send(&[b'e', index]).unwrap();
        }
        for index in 0..150_u8 {
            assert_eq!(receive(&client).await, [b'e', index]);
        }
    });
}

#[test]
fn a_bug_in_the_engine_does_not_silence_the_socket() {
    local(async {
        let server = Server::start("127.0.0.1", LIMITS);
        let client = client(&server).await;
        client.send(b"p").await.unwrap();
        until(|| !server.fake.seen.borrow().is_empty()).await;
        client.send(b"e").await.unwrap();
        assert_eq!(receive(&client).await, b"e");
    });
}

#[test]
fn a_stop_lets_late_answers_go() {
    local(async {
        let server = Server::start("127.0.0.1", LIMITS);
        let client = client(&server).await;
        client.send(b"w").await.unwrap();
        server.fake.until_waiting(b"w").await;
        let fake = Rc::clone(&server.fake);
        let stopped = server.stop_by(Instant::now() + PATIENCE);
        let released = async {
            // The stop has begun when nothing new is answered.
            tokio::task::yield_now().await;
            fake.release(b"w").await;
        };
        tokio::join!(stopped, released);
        assert_eq!(receive(&client).await, b"w");
    });
}

#[test]
fn a_stop_does_not_wait_past_its_deadline() {
    local(async {
        let server = Server::start("127.0.0.1", LIMITS);
        let client = client(&server).await;
        client.send(b"w").await.unwrap();
        server.fake.until_waiting(b"w").await;
        // Nobody ever releases it.
        server.stop_by(Instant::now()).await;
    });
}

#[test]
fn a_query_longer_than_its_slot_is_counted() {
    local(async {
        let server = Server::start("127.0.0.1", LIMITS);
        let client = client(&server).await;
        client.send(&[b'd'; crate::sys::RECEIVE_OCTETS + 1]).await.unwrap();
        client.send(&[b'd'; crate::sys::RECEIVE_OCTETS]).await.unwrap();
        until(|| server.fake.seen.borrow().len() == 2).await;
        assert_eq!(server.shared.tally.udp_truncated.total(), 1);
    });
}

#[test]
fn sockets_that_come_later_are_served_too() {
    local(async {
        let server = Server::start("127.0.0.1", LIMITS);
        let mut late = bind(&["127.0.0.1:0".parse().unwrap()], 1, false).unwrap();
        assert!(server.giver.give(late.workers.remove(0)));
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(late.addresses[0]).await.unwrap();
        client.send(b"e").await.unwrap();
        assert_eq!(receive(&client).await, b"e");
        server.stop_by(Instant::now()).await;
    });
}
