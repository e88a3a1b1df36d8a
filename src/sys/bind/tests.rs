//! Real sockets on loopback, and addresses that no interface has.

use super::*;

fn any(ip: &str) -> ScopedAddress {
    SocketAddr::new(ip.parse().unwrap(), 0).into()
}

#[test]
fn port_zero_gives_one_port_to_all_workers_and_both_transports() {
    let bound = bind(&[any("127.0.0.1"), any("::1")], 3, false).unwrap().listeners;
    assert_eq!(bound.len(), 2);
    for listeners in &bound {
        assert_ne!(listeners.address.port(), 0);
        assert_eq!((listeners.udp.len(), listeners.tcp.len()), (3, 3));
        let udp = listeners.udp.iter().map(|socket| socket.local_addr().unwrap());
        let tcp = listeners.tcp.iter().map(|socket| socket.local_addr().unwrap());
        for address in udp.chain(tcp) {
            assert_eq!(address, listeners.address);
        }
    }
}

#[test]
fn a_port_of_another_program_is_named() {
    let theirs = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = theirs.local_addr().unwrap();
    let error = bind(&[address.into()], 1, false).unwrap_err();
    assert_eq!(error.transport, Transport::Udp);
    assert!(error.to_string().contains(&format!("port {} is taken", address.port())));

    let theirs = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = bind(&[theirs.local_addr().unwrap().into()], 1, false).unwrap_err();
    assert_eq!(error.transport, Transport::Tcp, "{error}");
    assert!(matches!(error.refusal, Refusal::InUse(_)));
}

#[test]
fn a_second_of_us_does_not_share_in_silence() {
    let first = bind(&[any("127.0.0.1")], 2, false).unwrap().listeners;
    let error = bind(&[first[0].address.into()], 2, false).unwrap_err();
    assert!(matches!(error.refusal, Refusal::InUse(_)), "{error}");
    // The TCP half alone is enough to notice.
    let Listeners { address, udp, tcp } = first.into_iter().next().unwrap();
    drop(udp);
    let error = bind(&[address.into()], 2, false).unwrap_err();
    assert_eq!(error.transport, Transport::Tcp);
    drop(tcp);
    bind(&[address.into()], 2, false).unwrap();
}

#[test]
fn a_wildcard_and_one_of_its_addresses_stand_side_by_side() {
    let first = bind(&[any("127.0.0.1")], 1, false).unwrap();
    let port = first.listeners[0].address.port();
    drop(first);
    let both = [
        SocketAddr::new("127.0.0.1".parse().unwrap(), port),
        SocketAddr::new("0.0.0.0".parse().unwrap(), port),
        SocketAddr::new("::".parse().unwrap(), port),
    ];
    let bound = bind(&both.map(Into::into), 2, false).unwrap().listeners;
    assert_eq!(bound.iter().map(|one| one.address).collect::<Vec<_>>(), both);
}

#[test]
fn a_restart_does_not_wait_for_old_connections() {
    use std::io::Read;
    let first = bind(&[any("127.0.0.1")], 1, false).unwrap().listeners.remove(0);
    let mut client = std::net::TcpStream::connect(first.address).unwrap();
    let server = loop {
        match first.tcp[0].accept() {
            Ok((server, _)) => break server,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
    };
    // We close first, so TIME_WAIT stays on our side.
    drop(server);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    drop(client);
    let address = first.address;
    drop(first);
    bind(&[address.into()], 1, false).unwrap();
}

#[test]
fn an_address_of_another_host_is_explained() {
    let error = bind(&["192.0.2.200:0".parse().unwrap()], 1, false).unwrap_err();
    assert!(matches!(error.refusal, Refusal::NoSuchAddress), "{error}");
    assert!(error.to_string().starts_with("cannot listen on 192.0.2.200:0 (UDP): no interface"));
}

#[test]
fn an_interface_that_is_not_there_is_named() {
    for address in ["[fe80::1%none0]:0", "[fe80::1%4294967295]:0"] {
        // The kernel wants the interface with `freebind` too.
        for freebind in [false, true] {
            for error in [
                bind(&[address.parse().unwrap()], 1, freebind).unwrap_err(),
                bind_tcp(&address.parse().unwrap(), 1, freebind).unwrap_err(),
            ] {
                assert!(matches!(error.refusal, Refusal::NoInterface), "{error}");
                assert!(error.to_string().contains(address), "{error}");
            }
        }
    }
}

#[test]
fn an_address_without_its_interface_is_missing_beside_one_that_is_not() {
    for interface in ["none0", "4294967295"] {
        let absent: ScopedAddress = format!("[fe80::1%{interface}]:0").parse().unwrap();
        for freebind in [false, true] {
            let all = [absent.clone(), any("127.0.0.1")];
            let opened = bind(&all, 1, freebind).unwrap();
            assert_eq!(opened.missing, std::slice::from_ref(&absent));
            assert_eq!(opened.listeners.len(), 1);
            assert!(bind_late(&absent, &all, 1, freebind).unwrap_err().is_absent());
        }
    }
}

#[test]
fn refusals_name_the_interface_as_configured() {
    let absent: ScopedAddress = "[fe80::1:2%lo]:5300".parse().unwrap();
    let error = bind(std::slice::from_ref(&absent), 1, false).unwrap_err();
    assert!(matches!(error.refusal, Refusal::NoSuchAddress), "{error}");
    assert_eq!(error.address, absent);
}

#[test]
fn refusals_say_what_to_do() {
    let address = "127.0.0.1:53".parse().unwrap();
    let denied = refused(&address, Transport::Udp, io::Error::from_raw_os_error(libc::EACCES));
    assert!(denied.to_string().contains("CAP_NET_BIND_SERVICE"), "{denied}");
    assert!(denied.to_string().contains("above 1023"), "{denied}");
    let family =
        refused(&address, Transport::Tcp, io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
    assert!(matches!(family.refusal, Refusal::NoFamily));
}

/// Of the range for documentation: no interface has it.
const ABSENT: &str = "192.0.2.200:0";

#[test]
fn an_address_that_is_absent_is_missing_beside_one_that_is_not() {
    let absent: ScopedAddress = ABSENT.parse().unwrap();
    let opened = bind(&[absent.clone(), any("127.0.0.1")], 2, false).unwrap();
    assert_eq!(opened.missing, std::slice::from_ref(&absent));
    assert_eq!(opened.listeners.len(), 1);
    let late = bind_late(&absent, &[any("127.0.0.1"), absent.clone()], 2, false).unwrap_err();
    assert!(late.is_absent() && late.to_string().contains("freebind = true"), "{late}");
    // What is there can be had late too, beside a wildcard of ours as well.
    let port = opened.listeners[0].address.port();
    let all = [any("0.0.0.0").at_port(port), any("127.0.0.1").at_port(port)];
    drop(opened);
    let wildcard = bind(&all[..1], 1, false).unwrap();
    let specific = SocketAddr::new("127.0.0.1".parse().unwrap(), port);
    let late = bind_late(&all[1], &all, 2, false).unwrap();
    assert_eq!((late.address, late.udp.len(), late.tcp.len()), (specific, 2, 2));
    // Another program's port is an error, whatever else can be had.
    drop(wildcard);
    drop(late);
    let theirs = std::net::UdpSocket::bind(specific).unwrap();
    let error = bind(&[absent, theirs.local_addr().unwrap().into()], 1, false).unwrap_err();
    assert!(matches!(error.refusal, Refusal::InUse(_)), "{error}");
}

#[test]
fn freebind_takes_an_address_that_is_absent() {
    for absent in [ABSENT, "[2001:db8::200]:0"] {
        let opened = bind(&[absent.parse().unwrap()], 2, true).unwrap();
        assert_eq!(opened.missing, []);
        let listeners = &opened.listeners[0];
        assert_eq!((listeners.udp.len(), listeners.tcp.len()), (2, 2));
        assert_ne!(listeners.address.port(), 0);
        assert!(bind_tcp(&absent.parse().unwrap(), 1, true).is_ok());
        assert!(bind_tcp(&absent.parse().unwrap(), 1, false).unwrap_err().is_absent());
    }
}
