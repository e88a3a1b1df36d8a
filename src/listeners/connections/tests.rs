use std::time::Duration;

use super::*;

fn limits(all: usize, per_client: usize) -> Limits {
    Limits {
        tcp_connections: all,
        tcp_connections_per_client: per_client,
        tcp_idle: Duration::from_secs(10),
        ..super::super::tests::LIMITS
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Microseconds from now on: later than any table's birth only by what the test takes.
fn at(micros: u64) -> Instant {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *START.get_or_init(Instant::now) + Duration::from_secs(60) + Duration::from_micros(micros)
}

async fn gave_way(ticket: &Ticket) -> bool {
    tokio::time::timeout(Duration::ZERO, ticket.displaced()).await.is_ok()
}

#[test]
fn a_client_has_its_cap_and_gets_its_places_back() {
    let table = Connections::default();
    let limits = limits(10, 2);
    let first = table.admit(ip("192.0.2.1"), at(0), &limits).unwrap();
    let _second = table.admit(ip("192.0.2.1"), at(0), &limits).unwrap();
    // The same client in IPv6 clothes.
    let mapped = table.admit(ip("::ffff:192.0.2.1"), at(0), &limits);
    assert_eq!(mapped.unwrap_err(), OverClientCap);
    table.admit(ip("192.0.2.2"), at(0), &limits).unwrap();
    drop(first);
    assert_eq!(table.open(), 1);
    table.admit(ip("192.0.2.1"), at(0), &limits).unwrap();
}

#[test]
fn descriptors_bound_the_table_where_they_are_fewer_than_the_limit() {
    let table = Connections::default();
    let limits = limits(10, 10);
    let open = || table.admit(ip("192.0.2.1"), at(0), &limits).unwrap();
    table.set_room(2);
    let _held = [open(), open()];
    let third = open();
    assert_eq!((third.displaced, table.open()), (1, 2));
    table.set_room(0);
    let _last = open();
    assert_eq!(table.open(), 1, "one at least");
    table.set_room(usize::MAX);
    let _more = [open(), open()];
    assert_eq!(table.open(), 3);
}

#[test]
fn an_ipv6_client_is_its_64() {
    let table = Connections::default();
    let limits = limits(10, 1);
    let _held = table.admit(ip("2001:db8::1"), at(0), &limits).unwrap();
    assert!(table.admit(ip("2001:db8::ffff:2"), at(0), &limits).is_err());
    assert!(table.admit(ip("2001:db8:0:1::1"), at(0), &limits).is_ok());
}

#[tokio::test]
async fn the_one_idle_longest_gives_way_and_busy_ones_last() {
    let table = Connections::default();
    let limits = limits(3, 3);
    let busy = table.admit(ip("192.0.2.1"), at(1), &limits).unwrap();
    busy.set_busy(true);
    let old = table.admit(ip("192.0.2.2"), at(2), &limits).unwrap();
    let fresh = table.admit(ip("192.0.2.3"), at(3), &limits).unwrap();
    old.set_active(at(5));
    let fourth = table.admit(ip("192.0.2.4"), at(6), &limits).unwrap();
    assert_eq!(fourth.displaced, 1);
    assert!(gave_way(&fresh).await);
    assert!(!gave_way(&old).await && !gave_way(&busy).await);
    assert_eq!(table.open(), 3);
    // The evicted one's own end takes nothing from the table.
    drop(fresh);
    assert_eq!(table.open(), 3);
    for ticket in [&old, &fourth] {
        ticket.set_busy(true);
    }
    let _fifth = table.admit(ip("192.0.2.5"), at(7), &limits).unwrap();
    assert!(gave_way(&busy).await, "all are busy: the oldest of them");
}

#[tokio::test]
async fn a_displacement_looks_at_a_bounded_number_of_places() {
    const ALL: u64 = 10 * LOOKS as u64;
    let table = Connections::default();
    let limits = limits(1_000, 1_000);
    let open = |micros| table.admit(ip("192.0.2.1"), at(micros), &limits).unwrap();
    let tickets: Vec<_> = (0..ALL).map(open).collect();
    // All but the last are busy or were active since.
    for (place, ticket) in tickets.iter().enumerate().take(tickets.len() - 1) {
        ticket.set_busy(place % 2 == 0);
        ticket.set_active(at(2 * ALL));
    }
    let keys = || {
        let entries = |table: &Table| table.places.values().map(|e| e.key).collect::<Vec<_>>();
        entries(&table.lock())
    };
    let before = keys().into_iter().max();
    assert!(table.displace_one(at(3 * ALL)));
    assert!(gave_way(&tickets[0]).await, "all that it looked at are in use: the oldest");
    let corrected = keys().into_iter().filter(|key| Some(*key) > before).count();
    assert_eq!(corrected, LOOKS - 1);
    // What was looked at stands behind the rest now: the idle one is found in the end.
    let idle = tickets.last().unwrap().id;
    let displaced = (0..tickets.len()).find(|_| {
        table.displace_one(at(3 * ALL));
        !table.lock().places.contains_key(&idle)
    });
    assert!(displaced.is_some_and(|turns| turns <= 10), "{displaced:?}");
}

#[test]
fn the_table_gives_its_memory_back_and_tells_of_a_flood_once() {
    const MANY: usize = 5_000;
    let table = Connections::default();
    let limits = limits(MANY, MANY);
    let address = |n: usize| IpAddr::from((u32::try_from(n).unwrap() + 0x0a00_0000).to_be_bytes());
    let mut tickets: Vec<_> =
        (0..MANY).map(|n| table.admit(address(n), at(0), &limits).unwrap()).collect();
    assert!(!table.has_ebbed(), "it is high");
    tickets.truncate(MANY / EBB + 1);
    assert!(!table.has_ebbed());
    tickets.truncate(MANY / EBB);
    assert!(table.has_ebbed() && !table.has_ebbed());
    tickets.truncate(FLOOD - 1);
    assert!(table.has_ebbed() && !table.has_ebbed());
    drop(tickets);
    assert!(!table.has_ebbed(), "no flood");
    let table = table.lock();
    assert!(table.by_activity.is_empty());
    for capacity in [table.places.capacity(), table.clients.capacity()] {
        assert!(capacity <= EBB * MIN_ROOM, "{capacity}");
    }
}

#[tokio::test]
async fn over_the_octets_in_all_the_one_that_holds_most_gives_way() {
    let table = Connections::default();
    let open = |at_micros| table.admit(ip("192.0.2.1"), at(at_micros), &limits(9, 9)).unwrap();
    let (small, most, other) = (open(0), open(1), open(2));
    let first = small.account().hold(1_000);
    let half = LATE_OCTETS_IN_ALL / 2;
    let second = most.account().hold(half);
    let third = other.account().hold(half - 1_000);
    assert_eq!(table.held_octets(), LATE_OCTETS_IN_ALL, "at the bound");
    assert_eq!((first.displaced, second.displaced, third.displaced), (0, 0, 0));
    let over = small.account().hold(1);
    assert_eq!((over.displaced, table.open()), (1, 2));
    assert!(gave_way(&most).await && !gave_way(&small).await && !gave_way(&other).await);
    assert_eq!(table.held_octets(), half + 1);
    // What it still gets is counted, what was taken from the sum is not taken again.
    let fourth = most.account().hold(10);
    drop((second, most, fourth));
    assert_eq!(table.held_octets(), half + 1);
    drop((first, third, over));
    assert_eq!((table.held_octets(), table.open()), (0, 2));
    let own = small.account().hold(LATE_OCTETS_IN_ALL + 1);
    assert_eq!((own.displaced, table.held_octets()), (1, 0));
    assert!(gave_way(&small).await);
}

#[tokio::test]
async fn a_lower_bound_after_a_reload_is_reached() {
    let table = Connections::default();
    let wide = limits(3, 3);
    let held: Vec<_> =
        (0..3).map(|now| table.admit(ip("192.0.2.1"), at(now), &wide).unwrap()).collect();
    let ticket = table.admit(ip("192.0.2.2"), at(9), &limits(1, 1)).unwrap();
    assert_eq!((ticket.displaced, table.open()), (3, 1));
    for ticket in &held {
        assert!(gave_way(ticket).await);
    }
}
