//! Names that private names lie below: the upstream's, but for its denial.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::thread;

use super::daemon::{self, Daemon};
use super::temporary::File;
use super::{json, step};

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/explain/cases").join(name)
}

/// What `explain` says of `name` by the file at `config`.
fn by_file(name: &str, config: &Path) -> String {
    daemon::stdout(&["explain", name, "--config", config.to_str().expect("text")])
}

#[test]
fn a_file_explains_that_private_names_lie_below_a_forwarded_one() {
    let config = case("workspace.toml");
    for (name, golden) in
        [("api.fabric.microsoft.com", "api.txt"), ("microsoft.com", "above-the-zones.txt")]
    {
        let golden = fs::read_to_string(case(golden)).expect("a golden file");
        assert_eq!(by_file(name, &config), golden);
    }
    // Beside it there is nothing to say.
    let beside = by_file("onelake.fabric.microsoft.com", &config);
    assert!(beside.contains("what the upstream says") && !beside.contains("below "), "{beside}");
    let listed =
        by_file("0a1b2c3d111122223333444455556666.z0a.w.api.fabric.microsoft.com", &config);
    assert!(listed.contains(" 60 A 10.1.0.80") && !listed.contains("below "), "{listed}");
}

/// Two sites of one region: `NAME.eastus-01` and `NAME.scm.eastus-01`. The region's label and
/// `scm.eastus-01` are no private names.
#[test]
fn what_is_imported_leaves_the_names_above_to_the_upstream() {
    let imported = case("web-app.json");
    // It says what it left out, an empty zone.
    let output =
        daemon::privatelinkd(&["import", "azure", imported.to_str().expect("text")]).stdout;
    let entry = String::from_utf8(output).expect("text");
    let file = File::new(&format!(
        "[listen]\ndns = [\"127.0.0.1:5300\"]\n{entry}\n[[forward]]\nzones = [\".\"]\n\
         upstreams = [\"192.0.2.53\"]\n"
    ));
    for front in ["eastus-01", "scm.eastus-01"] {
        for zone in ["azurewebsites.net", "privatelink.azurewebsites.net"] {
            let name = format!("{front}.{zone}");
            let said = by_file(&name, file.path());
            assert!(said.contains("answer    what the upstream says"), "{said}");
            assert!(
                said.contains(&format!("below     private names lie below {name}: ")),
                "{said}"
            );
        }
    }
    let site = by_file("test-a6gqaeashthkhkeu.scm.eastus-01.azurewebsites.net", file.path());
    assert!(site.contains(" A 10.1.0.31"), "{site}");
}

/// An upstream that says NXDOMAIN to everything, with a SOA that allows a minute.
fn denying() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("bound");
    thread::spawn(move || {
        let mut buffer = [0; 1_500];
        while let Ok((octets, client)) = socket.recv_from(&mut buffer) {
            let query = &buffer[..octets];
            let Some(name) = query.get(12..).and_then(|rest| rest.iter().position(|o| *o == 0))
            else {
                continue;
            };
            // QR, RD, RA, NXDOMAIN; one question, one record of authority: the root's SOA.
            let head = [&query[..2], &[0x81, 0x83, 0, 1, 0, 0, 0, 1, 0, 0]].concat();
            let mut soa = vec![0, 0, 6, 0, 1, 0, 0, 0, 60, 0, 22, 0, 0];
            soa.extend([[0, 0, 0, 60]; 5].concat());
            let question = query.get(12..12 + name + 5).unwrap_or(&[]);
            let _lost = socket.send_to(&[&head, question, &soa].concat(), client);
        }
    });
    address
}

#[test]
fn a_kept_denial_is_explained_as_clients_hear_it() {
    let text = fs::read_to_string(case("workspace.toml")).expect("a file");
    let listen = "dns = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"";
    let text = text.replace("dns = [\"127.0.0.1:5300\"]", listen);
    let daemon = Daemon::start(&text.replace("192.0.2.53", &denying().to_string()));
    let (above, beside) = ("w.api.fabric.microsoft.com", "onelake.fabric.microsoft.com");
    let before = json(&daemon.explain(&[above, "--json"]));
    assert_eq!(before["verdict"], "forwarded");
    assert_eq!(step(&before, "names-below")["name"], above);
    for (name, rcode) in [(above, "NOERROR"), (beside, "NXDOMAIN")] {
        daemon.query(name);
        let kept = json(&daemon.explain(&[name, "--json"]));
        assert_eq!((&kept["verdict"], &kept["reply"]["rcode"]), (&"cached".into(), &rcode.into()));
        assert_eq!(kept["reply"]["authority"][0]["type"], "SOA");
    }
    let words = daemon.explain(&[above]);
    let below = format!("below     private names lie below {above}: if an upstream says NXDOMAIN");
    assert!(words.contains("kept answer, ") && words.contains(&below), "{words}");
    assert!(words.contains("answer    NOERROR ("), "{words}");
    let words = daemon.explain(&[beside]);
    assert!(words.contains("answer    NXDOMAIN (") && !words.contains("below "), "{words}");
}

/// Its upstream is no server of the site.
#[test]
fn a_file_explains_a_special_name_and_how_to_forward_it() {
    let config = case("workspace.toml");
    let reverse = by_file("10.1.2.3", &config);
    let special = "special   10.in-addr.arpa has no place in the public DNS (RFC 6303 §4.1): not \
                   forwarded, because upstream 192.0.2.53:53 is not known to be inside this site; a \
                   [[forward]] rule for this zone, or [special] forward = [\"10.in-addr.arpa\"], \
                   forwards it\n";
    assert!(reverse.contains(special) && !reverse.contains("forward   rule"), "{reverse}");
    assert!(reverse.contains("answer    NXDOMAIN (qr aa rd ra)\n"), "{reverse}");
    let onion = by_file("x.onion", &config);
    assert!(onion.contains("special   onion has no place in the public DNS (RFC 7686 §2): never"));
    let text = fs::read_to_string(&config).expect("the case").replace("192.0.2.53", "10.0.0.4");
    let inside = by_file("dc1.corp.local", File::new(&text).path());
    let special = "special   local belongs to one site (RFC 6762 §22.1); forwarded, because all \
                   upstreams of the rule are inside; [special] answer = [\"local\"] answers it here";
    assert!(inside.contains(special) && inside.contains("forward   rule for .: "), "{inside}");
}
