//! A network namespace with probed addresses on its loopback, each of which can be taken away: what
//! is sent there then goes out on a link that nobody listens on.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::namespaces::{self, ip};

pub(crate) struct Space {
    folder: PathBuf,
}

/// Runs `test` inside namespaces of its own. `name` is unique.
pub(crate) fn within(name: &str, test: impl FnOnce(&Space)) {
    let needs = "ip link set lo up && ip link add void type veth peer name end";
    namespaces::within(name, needs, |folder| {
        let space = Space { folder };
        space.furnish();
        test(&space);
    });
}

impl Space {
    fn furnish(&self) {
        ip("link set lo up");
        // One end is nobody's, and takes what it is sent: it is not asked for its address first.
        ip("link add void type veth peer name end");
        ip("link set end up");
        ip("link set void arp off up");
        ip("addr add 10.99.0.2/24 dev void");
        ip("route add 10.99.9.0/24 dev void");
        for last in 1..=5 {
            self.give_back(Ipv4Addr::new(10, 99, 9, last));
        }
    }

    /// What is sent to `address` is lost from now on.
    pub(crate) fn take_away(&self, address: Ipv4Addr) {
        ip(&format!("addr del {address}/32 dev lo"));
    }

    /// `address` is this host's.
    pub(crate) fn give_back(&self, address: Ipv4Addr) {
        ip(&format!("addr add {address}/32 dev lo"));
    }

    /// Nothing leads anywhere but to this host's own addresses.
    pub(crate) fn lose_routes(&self) {
        ip("link set void down");
    }

    /// What is sent to addresses that are not this host's goes to a gateway from now on, which has
    /// no route there and says so.
    pub(crate) fn send_through_a_lost_gateway(&self) {
        let own = fs::read_link("/proc/self/ns/net").expect("a namespace");
        // Ends with the test's own namespace of processes.
        let gateway = Command::new("unshare").args(["--net", "sleep", "infinity"]).spawn();
        let gateway = gateway.expect("unshare runs").id();
        let its = || fs::read_link(format!("/proc/{gateway}/ns/net")).expect("a namespace");
        while its() == own {
            std::thread::yield_now();
        }
        ip("link add near type veth peer name far");
        ip(&format!("link set far netns {gateway}"));
        ip("addr add 10.99.8.1/24 dev near");
        ip("link set near up");
        let script = "ip addr add 10.99.8.2/24 dev far && ip link set far up && \
                      echo 1 > /proc/sys/net/ipv4/ip_forward";
        let entered = Command::new("nsenter")
            .args(["--net", "--target", &gateway.to_string(), "sh", "-c", script])
            .status();
        assert!(entered.expect("nsenter runs").success());
        ip("route replace 10.99.9.0/24 via 10.99.8.2");
    }

    /// Of the test's own.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}
