//! Seats among the questions that wait for one server.

use std::task::{Context, Waker};
use std::time::Duration;

use tokio::time::Instant;

use crate::addresses::HostBlock;
use crate::config::UpstreamServer;
use crate::upstream::Upstream;
use crate::upstream::in_flight::SILENT_MIN;
use crate::wire::{Name, Rcode};

fn upstream() -> Upstream {
    Upstream::new(UpstreamServer::plain("192.0.2.1:53".parse().unwrap()))
}

#[tokio::test(start_paused = true)]
async fn no_more_wait_than_may() {
    let (upstream, begun) = (upstream(), Instant::now());
    let (client, name) = (HostBlock::of([192, 0, 2, 9].into()), Name::root());
    let enter = |limit| upstream.enter(limit, client, &name, begun);
    let mut seats: Vec<_> = (0..3).filter_map(|_| enter(3)).collect();
    let newest = enter(3).expect("the oldest gives way");
    let context = Context::from_waker(Waker::noop());
    let lost: Vec<_> = seats.iter().map(|seat| seat.poll_lost(&context)).collect();
    assert_eq!((lost, newest.poll_lost(&context)), (vec![true, false, false], false));
    assert_eq!((upstream.report().in_flight, upstream.tally().busy), (3, 1));
    assert!(enter(0).is_none());
    seats.pop().expect("a seat").end(true);
    assert_eq!(upstream.report().in_flight, 2);
    drop((seats, newest));
    assert_eq!(upstream.report().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn silent_zones_of_a_server_that_answers_others_have_fewer_seats() {
    const LIMIT: u32 = 64;
    let (upstream, client) = (upstream(), HostBlock::of([192, 0, 2, 9].into()));
    let name = |number: u32, zone: &str| -> Name { format!("n{number}.{zone}").parse().unwrap() };
    // What waits of 200 questions about the zone, all of one client.
    let waiting = |zone: &str| {
        let names: Vec<_> = (0..200).map(|number| name(number, zone)).collect();
        let now = Instant::now();
        let seats: Vec<_> =
            names.iter().filter_map(|name| upstream.enter(LIMIT, client, name, now)).collect();
        let waiting = upstream.report().in_flight;
        seats.into_iter().for_each(|seat| seat.end(false));
        waiting
    };
    let silent = name(0, "tarpit.example");
    for _ in 0..40 {
        let begun = Instant::now();
        let seat = upstream.enter(LIMIT, client, &silent, begun);
        tokio::time::advance(SILENT_MIN).await;
        drop(seat);
    }
    assert_eq!(waiting("tarpit.example"), LIMIT, "the server has said nothing at all");
    let now = Instant::now();
    upstream.note_answer(Rcode::NOERROR, now, now + Duration::from_millis(20));
    assert_eq!(waiting("tarpit.example"), LIMIT / 2, "half of the seats stay free");
    assert_eq!(waiting("other.test"), LIMIT);
    upstream.enter(LIMIT, client, &silent, now).expect("a seat").end(true);
    assert_eq!(waiting("tarpit.example"), LIMIT, "it has answered");
}
