//! The kernel's socket calls: opening sockets, batches of datagrams, the host's addresses and what
//! changes them; reads of files that never wait; the limit of open files; the length of a sleep of
//! the machine; the user of this process.
//!
//! Owns every `unsafe` of the program and what Linux alone offers (`recvmmsg`, `IP_PKTINFO`,
//! `SO_REUSEPORT` groups). Knows octets and addresses; refuses to know what a message says.
//! Another system would be another folder with this face; there is none, on purpose: what we run
//! on is Linux, and a slow path that nobody tests is worse than none.
#![allow(unsafe_code, reason = "the one place that hands pointers to the kernel")]
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

#[cfg(not(target_os = "linux"))]
compile_error!("privatelinkd runs on Linux: its sockets need recvmmsg, IP_PKTINFO, SO_REUSEPORT");

mod addresses;
mod batch;
mod bind;
mod clock;
mod descriptors;
mod files;
mod heap;
mod inbox;
mod netlink;
mod octets;
mod outbox;
mod reconnect;
mod scoped;
mod shortage;
mod udp;
mod user;

pub use addresses::{LocalAddress, local_addresses, scope_id, source_towards};
pub use batch::{BATCH_SLOTS, Batch, RECEIVE_OCTETS, REPLY_OCTETS, Received};
pub use bind::{
    BindError, Listeners, Opened, Refusal, Transport, bind, bind_late, bind_tcp,
    first_unprivileged_port,
};
pub use clock::{is_clock_synchronised, time_asleep};
pub use descriptors::{DescriptorLimit, raise_descriptor_limit};
pub use files::{FileError, FileKind, Links, open_file, read_file, read_input, read_up_to};
pub use heap::give_back_free_memory;
pub use inbox::{INBOX_SLOTS, Inbox};
#[cfg(fuzzing)]
pub use netlink::read_network_changes;
pub use netlink::{NetworkChanges, NetworkWatch};
pub use octets::ReplyPath;
pub use outbox::{Outbox, Unsent};
pub use reconnect::{draw_port, free_port};
pub use scoped::{Interface, NotAnAddress, ScopedAddress, split_host};
pub use shortage::{is_port_shortage, is_shortage};
pub use udp::{Sent, UdpSocket};
pub use user::{Account, UserError, effective_user, host_name};
