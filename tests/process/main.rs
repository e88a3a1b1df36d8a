//! The real binary and what the system gives it: files that are none, few descriptors, a user.

#[path = "../hostile/daemon.rs"]
#[allow(dead_code, reason = "this suite uses a part")]
mod daemon;
mod descriptors;
#[path = "../harness/process.rs"]
mod process;
mod special_files;
#[path = "../harness/temporary.rs"]
mod temporary;
#[path = "../hostile/upstream.rs"]
#[allow(dead_code, reason = "this suite uses a part")]
mod upstream;
mod user;
