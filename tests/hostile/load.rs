//! A client that asks all the time and misses nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::daemon::{Daemon, PRIVATE, query};

/// Queries in flight at once: no more than any socket's buffer holds.
const BATCH: u16 = 32;
/// Between two batches: up to 32,000 queries a second, and a core is left for what is tested.
const PAUSE: Duration = Duration::from_millis(1);

/// What became of its queries.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Tally {
    pub(crate) asked: u64,
    /// Not answered until the socket's patience ended.
    pub(crate) lost: u64,
    /// Answered otherwise than with CNAME and address.
    pub(crate) wrong: u64,
    /// The longest that one waited for its answer.
    pub(crate) longest: Duration,
}

/// The client, on a thread of its own.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Tally>,
}

impl Load {
    /// Asks for the private name from now on.
    pub(crate) fn start(daemon: &Daemon) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (socket, stopped) = (daemon.udp(), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let queries: Vec<_> = (0..BATCH).map(|id| query(id, PRIVATE)).collect();
            let mut tally = Tally::default();
            let mut reply = [0; 512];
            while !stopped.load(Ordering::Relaxed) {
                let begin = Instant::now();
                for query in &queries {
                    socket.send(query).expect("sent");
                }
                tally.asked += u64::from(BATCH);
                let mut missing: Vec<_> = (0..BATCH).collect();
                while !missing.is_empty() {
                    let Ok(octets) = socket.recv(&mut reply) else { break };
                    let id = u16::from_be_bytes([reply[0], reply[1]]);
                    missing.retain(|other| *other != id);
                    let (rcode, answers) = (reply[3] & 15, reply[7]);
                    tally.wrong += u64::from(octets < 12 || (rcode, answers) != (0, 2));
                    tally.longest = tally.longest.max(begin.elapsed());
                }
                tally.lost += missing.len() as u64;
                thread::sleep(PAUSE);
            }
            tally
        });
        Self { stop, thread }
    }

    /// Ends it and tells.
    pub(crate) fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the client does not panic")
    }
}
