//! Which certificates do, and what is said of those that do not.

use std::fs;

use super::*;

/// Asks a server that shows `identity`, trusting as given.
async fn outcome(scheme: Scheme, identity: &Identity, trust: Trust) -> Result<(), String> {
    let server = Answering::start(scheme, identity, anywhere()).await;
    let link = link(upstream(scheme, server.address, trust));
    match asked(&link).await {
        Ok(()) => Ok(()),
        Err(TryError::Untrusted) => {
            assert_eq!(server.queries(), Vec::<Vec<u8>>::new(), "nothing may leave");
            Err(reason(&link))
        }
        Err(error) => panic!("{scheme:?}: {error}: {}", reason(&link)),
    }
}

async fn refused(scheme: Scheme, identity: &Identity, trust: Trust, why: &str) {
    let outcome = outcome(scheme, identity, trust).await;
    let said = outcome.expect_err("refused");
    assert!(said.contains(why), "{scheme:?}: {said:?} does not say {why:?}");
}

#[tokio::test]
async fn certificates_that_do_not_do_are_refused_with_the_reason() {
    for scheme in SCHEMES {
        local(async {
            let (ours, other) = (Authority::new(), Authority::new());
            let us = || trusting(&ours);
            let expired = ours.sign_expired(&["127.0.0.1"]);
            refused(scheme, &expired, us(), "its certificate expired").await;
            let misnamed = ours.sign(&["other.example", "192.0.2.1"]);
            let why = "its certificate is for other.example, 192.0.2.1, not for 127.0.0.1";
            refused(scheme, &misnamed, us(), why).await;
            let unknown = "no authority that we know signed its certificate";
            refused(scheme, &other.sign(&["127.0.0.1"]), us(), unknown).await;
            let alone = Identity::self_signed(&["127.0.0.1"]);
            refused(scheme, &alone, us(), unknown).await;
            refused(scheme, &alone, Trust::default(), "").await;
            assert_eq!(outcome(scheme, &ours.sign(&["127.0.0.1"]), us()).await, Ok(()));
        })
        .await;
    }
}

#[tokio::test]
async fn a_pin_alone_is_enough_and_a_wrong_one_is_not() {
    for scheme in SCHEMES {
        local(async {
            let pins = |pins: &[[u8; 32]]| Trust { ca_file: None, pins: pins.to_vec() };
            let identity = Identity::self_signed_and_expired(&["other.example"]);
            let pin = identity.pin();
            assert_eq!(outcome(scheme, &identity, pins(&[pin])).await, Ok(()));
            assert_eq!(outcome(scheme, &identity, pins(&[[7; 32], pin])).await, Ok(()));
            let shown = data_encoding::BASE64.encode(&pin);
            let why = format!("no pin is its key's, sha256/{shown}");
            refused(scheme, &identity, pins(&[[7; 32]]), &why).await;
        })
        .await;
    }
}

#[tokio::test]
async fn with_authorities_and_pins_both_must_hold() {
    local(async {
        let (ours, other) = (Authority::new(), Authority::new());
        let both = |authority: &Authority, pin| Trust { pins: vec![pin], ..trusting(authority) };
        let identity = ours.sign(&["127.0.0.1"]);
        let right = both(&ours, identity.pin());
        assert_eq!(outcome(Scheme::Tls, &identity, right).await, Ok(()));
        refused(Scheme::Tls, &identity, both(&ours, [7; 32]), "no pin").await;
        refused(Scheme::Tls, &identity, both(&other, identity.pin()), "no authority").await;
        let expired = ours.sign_expired(&["127.0.0.1"]);
        refused(Scheme::Tls, &expired, both(&ours, expired.pin()), "expired").await;
    })
    .await;
}

#[tokio::test]
async fn a_name_behind_the_address_is_the_one_that_counts() {
    for scheme in SCHEMES {
        local(async {
            let authority = Authority::new();
            let identity = authority.sign(&["dns.example"]);
            let server = Answering::start(scheme, &identity, anywhere()).await;
            let named = |name: &str| UpstreamServer {
                tls_name: Some(name.to_owned()),
                ..upstream(scheme, server.address, trusting(&authority))
            };
            assert_eq!(asked(&link(named("dns.example"))).await, Ok(()), "{scheme:?}");
            let wrong = asked(&link(named("other.example"))).await;
            assert_eq!(wrong, Err(TryError::Untrusted), "{scheme:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn an_ipv6_address_is_a_name_too() {
    for scheme in SCHEMES {
        local(async {
            let authority = Authority::new();
            let identity = authority.sign(&["::1"]);
            let address = "[::1]:0".parse().unwrap();
            let server = Answering::start(scheme, &identity, address).await;
            let six = link(upstream(scheme, server.address, trusting(&authority)));
            assert_eq!(asked(&six).await, Ok(()), "{scheme:?}: {}", reason(&six));
            let wrong = authority.sign(&["::2"]);
            let server = Answering::start(scheme, &wrong, address).await;
            let six = link(upstream(scheme, server.address, trusting(&authority)));
            assert_eq!(asked(&six).await, Err(TryError::Untrusted), "{scheme:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_file_of_authorities_is_read_again_when_it_changes() {
    local(async {
        let (ours, other) = (Authority::new(), Authority::new());
        let identity = other.sign(&["127.0.0.1"]);
        // Closes each connection, so that each query dials.
        let address = server::tls_by_hand(&identity, |stream, _| {
            let query = server::read_query(stream)?;
            server::write_reply(stream, &server::reply(&query, &[[192, 0, 2, 1]]))
        });
        let link = link(upstream(Scheme::Tls, address, trusting(&ours)));
        assert_eq!(asked(&link).await, Err(TryError::Untrusted));
        let mut both = fs::read(&ours.file).unwrap();
        both.extend(fs::read(&other.file).unwrap());
        fs::write(&ours.file, both).unwrap();
        tokio::time::sleep(Duration::from_millis(110)).await;
        assert_eq!(asked(&link).await, Ok(()), "{}", reason(&link));
        // Being written, or gone: what was read counts.
        for damage in ["", "-----BEGIN CERTIFICATE-----\nAAAA"] {
            fs::write(&ours.file, damage).unwrap();
            assert_eq!(asked(&link).await, Ok(()), "{}", reason(&link));
        }
        fs::remove_file(&ours.file).unwrap();
        assert_eq!(asked(&link).await, Ok(()), "{}", reason(&link));
        ours.write_file();
        assert_eq!(asked(&link).await, Err(TryError::Untrusted));
    })
    .await;
}

#[tokio::test]
async fn a_file_of_authorities_that_cannot_be_read_is_said() {
    local(async {
        let authority = Authority::new();
        for (octets, why) in [(None, "No such file"), (Some("nothing"), "no certificate")] {
            let _gone = fs::remove_file(&authority.file);
            if let Some(octets) = octets {
                fs::write(&authority.file, octets).unwrap();
            }
            let link = link(upstream(Scheme::Tls, anywhere(), trusting(&authority)));
            assert_eq!(asked(&link).await, Err(TryError::Untrusted));
            let said = reason(&link);
            assert!(said.contains("ca-file /") && said.contains(why), "{said}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_untrusted_server_is_dialled_with_backoff() {
    local(async {
        let identity = Identity::self_signed(&["127.0.0.1"]);
        let authority = Authority::new();
        let server = Answering::start(Scheme::Tls, &identity, anywhere()).await;
        let link = link(upstream(Scheme::Tls, server.address, trusting(&authority)));
        for _ in 0..1_000 {
            assert_eq!(asked(&link).await, Err(TryError::Untrusted));
        }
        let dials = link.upstream().tally().tcp_dials;
        assert!((1..100).contains(&dials), "{dials} dials");
    })
    .await;
}
