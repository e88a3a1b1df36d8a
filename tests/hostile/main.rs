//! The real binary against what networks, upstreams and people do to it. All on loopback; every wait
//! ends when what it waits for is there, or fails at its bound.

mod closes;
#[path = "../harness/closing.rs"]
mod closing;
mod connections;
mod cookies;
mod daemon;
mod floods;
mod load;
mod logs;
mod loop_floods;
mod loops;
#[path = "../harness/process.rs"]
mod process;
mod reloads;
mod replies;
mod restarts;
mod shares;
mod special;
mod starts;
#[path = "../harness/temporary.rs"]
mod temporary;
mod upstream;
