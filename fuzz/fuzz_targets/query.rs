//! Any octets from a client: a query or a fault, and what a query claims holds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use privatelinkd::wire::{HEADER_OCTETS, MAX_NAME_OCTETS, Query, flags};

fuzz_target!(|message: &[u8]| {
    let Ok(query) = Query::parse(message) else { return };
    assert!(!query.header.has(flags::QR));
    assert_eq!(query.message, message);

    // The question lies inside the message, and what is echoed is what was understood.
    let end = query.question_end();
    assert!(end <= message.len());
    assert_eq!(query.question(), &message[HEADER_OCTETS..end]);
    let wire = query.qname.as_wire();
    assert!(wire.len() <= MAX_NAME_OCTETS);
    assert_eq!(wire.last(), Some(&0));
    assert!(query.qname_as_sent().eq_ignore_ascii_case(wire), "a compressed question");
    assert_eq!(query.qname.to_name().as_wire(), wire);

    // The labels add up to the name.
    let count = query.qname.label_count();
    let labels: usize = (0..count).map(|index| 1 + query.qname.label(index).len()).sum();
    assert_eq!(labels + 1, wire.len());
    for index in 0..=count {
        assert_eq!(query.qname.suffix(index), &wire[query.qname.label_offset(index)..]);
    }

    // Our own echo of the question is a query again, and the same one.
    let mut echo = message[..end].to_vec();
    echo[4..HEADER_OCTETS].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
    let again = Query::parse(&echo).expect("the echo is a query");
    assert_eq!(again.qname.as_wire(), wire);
    assert_eq!((again.qtype, again.qclass), (query.qtype, query.qclass));
    assert_eq!(again.edns, None);
});
