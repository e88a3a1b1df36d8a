//! A restart while no upstream can be reached: what was kept before goes on answering.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hickory_proto::op::ResponseCode;

use crate::daemon::{Daemon, config};
use crate::temporary::Folder;
use crate::upstream::{self, Keeping};

const NAME: &str = "kept.example.";
const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);

/// A daemon's state directory, and its upstream until the tunnel goes down.
struct House {
    directory: Folder,
    config: String,
    upstream: Option<Keeping>,
}

impl House {
    /// Runs a daemon that asks for the name once, and stops it.
    fn after_a_run() -> Self {
        let directory = Folder::new();
        let upstream = Keeping::start(PUBLIC);
        let config = with_file(&upstream.address().to_string(), &directory.path().join("cache"));
        let mut daemon = Daemon::start(&config);
        let reply = daemon.ask_udp(NAME).expect("a reply");
        assert_eq!(reply.address(), Some(PUBLIC));
        stop(&mut daemon);
        Self { directory, config, upstream: Some(upstream) }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("cache")
    }

    /// From now on nobody answers.
    fn lose_tunnel(&mut self) {
        self.upstream = None;
    }
}

fn with_file(upstream: &str, file: &Path) -> String {
    format!("{}[cache]\nfile = '{}'\n", config(upstream, "2s"), file.display())
}

fn stop(daemon: &mut Daemon) {
    daemon.signal("-TERM");
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
}

/// It says why it begins with nothing, knows nothing of the name, and serves.
fn assert_begins_empty(config: &str, why: &str) {
    let mut daemon = Daemon::start(config);
    daemon.wait_for_log(why);
    daemon.wait_for_log("the cache begins empty");
    let reply = daemon.ask_udp(NAME).expect("a reply");
    assert_eq!(reply.rcode(), ResponseCode::ServFail, "{}", daemon.log());
    daemon.assert_well();
}

#[test]
fn answers_outlive_a_restart_behind_a_dead_tunnel() {
    let mut house = House::after_a_run();
    let mode = fs::metadata(house.file()).expect("written").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    house.lose_tunnel();
    for _ in 0..2 {
        let mut daemon = Daemon::start(&house.config);
        daemon.wait_for_log("answers kept from before the restart: 1;");
        let reply = daemon.ask_udp(NAME).expect("a reply");
        assert_eq!(reply.address(), Some(PUBLIC), "{}", daemon.log());
        daemon.assert_well();
        stop(&mut daemon);
    }
}

#[test]
fn a_damaged_file_is_said_and_left_aside() {
    let mut house = House::after_a_run();
    house.lose_tunnel();
    let mut octets = fs::read(house.file()).expect("written");
    let last = octets.last_mut().expect("not empty");
    *last ^= 1;
    fs::write(house.file(), &octets).expect("written");
    assert_begins_empty(&house.config, "is damaged");
    octets.truncate(20);
    fs::write(house.file(), &octets).expect("written");
    assert_begins_empty(&house.config, "the cache file");
}

#[test]
fn answers_of_other_upstreams_are_left_aside() {
    let mut house = House::after_a_run();
    house.lose_tunnel();
    let other = with_file(&upstream::closed().to_string(), &house.file());
    assert_begins_empty(&other, "another configuration");
}

#[test]
fn a_directory_that_is_not_there_costs_the_file_alone() {
    let upstream = Keeping::start(PUBLIC);
    let folder = Folder::new();
    let nowhere = folder.path().join("none/cache");
    let mut daemon = Daemon::start(&with_file(&upstream.address().to_string(), &nowhere));
    assert_eq!(daemon.ask_udp(NAME).expect("a reply").address(), Some(PUBLIC));
    daemon.assert_well();
    stop(&mut daemon);
    daemon.wait_for_log("the file of the save before stays");
}
