//! Any octets as the kernel's news: every datagram ends, and what two datagrams say is what one says
//! that holds the messages of both.
//!
//! The input: two octets with the first datagram's length, that datagram, the rest is the second.
#![no_main]

use libfuzzer_sys::fuzz_target;
use privatelinkd::sys::read_network_changes;
use privatelinkd_fuzz::field;

const HEADER_OCTETS: usize = 16;
const ALIGNMENT: usize = 4;

fuzz_target!(|input: &[u8]| {
    let mut second = input;
    let Some(first) = field(&mut second) else { return };
    let mut both = read_network_changes(first);
    assert!(!both.lost, "only the socket knows of lost news");
    // Octets that are no whole message tell at most of one more change.
    let whole = &first[..whole_messages(first)];
    if whole.len() == first.len() {
        both |= read_network_changes(second);
        assert_eq!(read_network_changes(&[first, second].concat()), both);
    }
    // A message may say more when there is more of it, never less.
    let (mut less, all) = (read_network_changes(whole), read_network_changes(first));
    less |= all;
    assert_eq!(less, all);
});

/// Octets of the whole messages that a datagram begins with, each padded.
fn whole_messages(datagram: &[u8]) -> usize {
    let mut at = 0;
    while let Some(length) = datagram[at..].first_chunk().copied().map(u32::from_ne_bytes) {
        let octets = (length as usize).next_multiple_of(ALIGNMENT);
        if (length as usize) < HEADER_OCTETS || octets > datagram.len() - at {
            break;
        }
        at += octets;
    }
    at
}
