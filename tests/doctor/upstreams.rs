//! Upstreams with one fault each.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection};

use super::patient::{Told, config, daemon, free};
use super::process::until;
use super::servers::{
    A, AAAA, Asked, DS, NXDOMAIN, REFUSED, Said, address, internet, record, relay, serve,
    serve_without_tcp, through,
};
use super::temporary::File;

fn told_of(upstream: SocketAddr) -> Told {
    Told::by(&File::new(&config("127.0.0.1:0", upstream)), &[])
}

#[test]
fn closed_tcp_is_found() {
    let told = told_of(serve_without_tcp(internet));
    assert_eq!((told.code, told.problems()), (Some(1), vec!["upstream-tcp"]));
    assert!(told.words("upstream-tcp").contains("connection refused"));
}

#[test]
fn edns_that_is_dropped_or_taken_out_is_found() {
    let dropped = told_of(serve(|asked: &Asked| match asked.edns {
        true => Said::Nothing,
        false => internet(asked),
    }));
    assert_eq!(dropped.problems(), ["upstream-edns"]);
    assert!(dropped.words("upstream-edns").contains("drops such queries"));
    let stripped = told_of(serve(|asked: &Asked| match internet(asked) {
        Said::Reply(rcode, records, _) => Said::Reply(rcode, records, false),
        Said::Nothing => Said::Nothing,
    }));
    assert_eq!((stripped.code, stripped.problems()), (Some(0), vec![]), "a warning");
    assert!(stripped.words("upstream-edns").contains("takes that out"));
}

#[test]
fn invented_addresses_are_found() {
    let told = told_of(serve(|asked: &Asked| match internet(asked) {
        Said::Reply(NXDOMAIN, ..) if asked.rtype == A => {
            Said::records(vec![address("203.0.113.7")])
        }
        said => said,
    }));
    assert_eq!(told.problems(), ["upstream-lies"]);
    assert!(told.words("upstream-lies").contains("203.0.113.7"));
}

#[test]
fn a_private_zone_of_the_public_name_is_seen_from_outside() {
    let told = told_of(serve(|asked: &Asked| match asked.rtype {
        A if asked.name.ends_with("cloud.defender.microsoft.com") => {
            Said::records(vec![address("10.7.7.7")])
        }
        _ => internet(asked),
    }));
    assert_eq!(told.problems(), ["public-zone-hijacked"]);
    // With the privatelink name in between, it is as Azure has it.
    let hop = "api.privatelink.cloud.defender.microsoft.com";
    let told = told_of(serve(move |asked: &Asked| match asked.rtype {
        A if asked.name.ends_with("cloud.defender.microsoft.com") => {
            Said::records(through(hop, Some("10.7.7.7")))
        }
        _ => internet(asked),
    }));
    assert_eq!(told.problems(), Vec::<&str>::new());
}

#[test]
fn a_wildcard_above_the_zone_is_seen_from_outside() {
    let upstream = serve(|asked: &Asked| match asked.rtype {
        A if asked.name.ends_with("defender.microsoft.com")
            && !asked.name.contains(".cloud.defender") =>
        {
            Said::records(vec![address("10.7.7.7")])
        }
        _ => internet(asked),
    });
    let told = told_of(upstream);
    assert_eq!(told.problems(), ["zone-above-hijacked"]);
    // At the resolver that clients ask, too.
    let file = File::new(&config("127.0.0.1:0", serve(internet)));
    let told = Told::by(&file, &["--via", &upstream.to_string()]);
    let words = told.words("zone-above-hijacked");
    assert!(words.contains(&format!("resolver {upstream}")), "{words}");
}

#[test]
fn signatures_above_the_zone_are_told() {
    let told = told_of(serve(|asked: &Asked| match asked.rtype {
        DS if asked.name == "microsoft.com" => {
            Said::records(vec![record(DS, &[0, 1, 8, 2, 9, 9, 9, 9])])
        }
        _ => internet(asked),
    }));
    assert_eq!((told.code, told.problems()), (Some(0), vec![]), "a warning");
    let words = told.words("ds-present");
    assert!(words.contains("microsoft.com has a DS record"), "{words}");
    assert!(words.contains("domain-insecure: \\\"cloud.defender.microsoft.com\\\""), "{words}");
}

#[test]
fn an_encrypted_upstream_that_is_not_there_is_told_in_words() {
    let closed = free();
    let text = config("127.0.0.1:0", closed).replace("['127.0.0.1:", "['tls://127.0.0.1:");
    let text = text.replacen("['tls://127.0.0.1:0']", "['127.0.0.1:0']", 1);
    let told = Told::by(&File::new(&text), &[]);
    assert_eq!(told.problems(), ["upstream-unreachable"]);
    assert!(told.words("upstream-unreachable").to_lowercase().contains("refused"));
}

#[test]
fn a_server_of_some_zones_need_not_know_the_root() {
    let authority = serve(|asked: &Asked| match asked.name.as_str() {
        "corp.example" => Said::code(0),
        _ => Said::code(REFUSED),
    });
    let text = config("127.0.0.1:0", serve(internet))
        + &format!("[[forward]]\nzones = ['corp.example']\nupstreams = ['{authority}']\n");
    let told = Told::by(&File::new(&text), &[]);
    assert_eq!(told.problems(), Vec::<&str>::new(), "{:#?}", told.findings);
    // Where it forwards everything, it must.
    assert!(told_of(authority).problems().contains(&"upstream-refuses"));
}

/// Shakes hands as a server with a certificate of its own making, for other names.
fn tls_of_nobody() -> SocketAddr {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["elsewhere.example".to_owned()]);
    let certificate = params.and_then(|params| params.self_signed(&key)).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a pair");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut tls = ServerConnection::new(Arc::clone(&config)).expect("a connection");
            // Until the client has seen enough.
            while tls.is_handshaking() && tls.complete_io(&mut stream).is_ok() {}
        }
    });
    address
}

#[test]
fn a_certificate_that_does_not_do_is_told_in_words() {
    let upstream = tls_of_nobody();
    let text = config("127.0.0.1:0", upstream)
        .replace(&format!("'{upstream}'"), &format!("'tls://{upstream}#dns.example'"));
    let told = Told::by(&File::new(&text), &[]);
    assert_eq!(told.problems(), ["upstream-unreachable"]);
    let words = told.words("upstream-unreachable");
    assert!(words.contains("certificate") && words.contains("ca-file"), "{words}");
}

#[test]
fn a_loop_is_heard_where_the_daemon_would_listen() {
    let listen = free();
    let told = Told::by(&File::new(&config(&listen.to_string(), relay(listen))), &[]);
    let loops: Vec<_> = told.findings.iter().filter(|finding| finding["check"] == "loop").collect();
    let zones = ["for . back", "for cloud.defender.microsoft.com back"];
    assert_eq!(loops.len(), zones.len(), "{:#?}", told.findings);
    for zone in zones {
        assert!(
            loops.iter().any(|l| l["found"].as_str().is_some_and(|f| f.contains(zone))),
            "{zone}"
        );
    }
}

#[test]
fn the_running_daemon_is_asked_for_loops() {
    let (listen, admin) = (free(), free());
    let text = config(&listen.to_string(), relay(listen));
    let text =
        text.replacen("[[private-link]]", &format!("admin = '{admin}'\n[[private-link]]"), 1);
    let file = File::new(&text);
    let _daemon = daemon(&file);
    // It looks for loops when it starts, and needs a moment for that.
    until("the loop is found", || Told::by(&file, &[]).problems().contains(&"loop").then_some(()));
}

#[test]
fn who_asks_us_and_is_asked_by_us_is_named() {
    let upstream = serve(|asked: &Asked| match asked.rtype {
        A if asked.name.starts_with("api.privatelink") => Said::records(vec![address("10.1.0.5")]),
        A if asked.name.starts_with("api.cloud") => {
            let hop = "api.privatelink.cloud.defender.microsoft.com";
            Said::records(through(hop, Some("10.1.0.5")))
        }
        AAAA if asked.name.starts_with("api.") => Said::code(0),
        _ => internet(asked),
    });
    let text = config("127.0.0.1:0", upstream);
    let via = upstream.to_string();
    let told = Told::by(&File::new(&text), &["--via", &via]);
    assert_eq!(told.problems(), Vec::<&str>::new(), "{:#?}", told.findings);
    assert_eq!(told.the("loop-mutual")["severity"], "warning");
    assert_eq!(told.the("via")["severity"], "fine");
    let forwards = text.replace("service =", "unlisted = 'forward'\nservice =");
    let forwards = forwards.replace("addresses = ['10.1.0.5']\n", "");
    let told = Told::by(&File::new(&forwards), &["--via", &via]);
    assert_eq!(told.problems(), ["loop-mutual"]);
}
