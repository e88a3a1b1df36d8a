//! Files that name upstreams, such as this host's own resolv.conf.

use std::path::{Path, PathBuf};

use super::finding::Finding;
use crate::config::{Forward, UpstreamSource};
use crate::forward::{OwnAddresses, ResolvConf, read_resolv_conf};
use crate::sys::{FileError, ScopedAddress};

/// What each file that the rules name says.
pub(super) fn findings(forwards: &[Forward], own: &OwnAddresses) -> Vec<Finding> {
    let mut paths: Vec<&PathBuf> = Vec::new();
    for source in forwards.iter().flat_map(|forward| &forward.upstreams) {
        if let UpstreamSource::ResolvConf(path) = source
            && !paths.contains(&path)
        {
            paths.push(path);
        }
    }
    paths.iter().map(|path| finding(path, &read_resolv_conf(path), own)).collect()
}

fn finding(path: &Path, said: &Result<ResolvConf, FileError>, own: &OwnAddresses) -> Finding {
    let path = path.display();
    let about = format!("upstreams of {path}");
    let instead = "write upstreams = [\"<the servers themselves>\"] in place of resolv.conf";
    let (servers, left_out) = match said {
        Ok(said) if said.servers.is_empty() && said.without_interface.is_empty() => {
            return Finding::problem("resolv-conf", about, "it names no server").advise(instead);
        }
        Ok(said) => (&said.servers, &said.without_interface),
        Err(error) => {
            return Finding::problem("resolv-conf", about, error.to_string()).advise(instead);
        }
    };
    if let Some(server) = left_out.first() {
        let found = format!(
            "it names {server} without a network interface, which every link-local address needs: \
             that server is left out"
        );
        let advice = format!("write such as: nameserver {server}%eth0 (`ip link` lists them)");
        let finding = match servers.is_empty() {
            true => Finding::problem("resolv-conf", about, found),
            false => Finding::warning("resolv-conf", about, found),
        };
        return finding.advise(advice);
    }
    let (us, others): (Vec<_>, Vec<_>) = servers.iter().partition(|server| own.is_us(server));
    let words = |servers: &[&ScopedAddress]| {
        servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    match (us.is_empty(), others.is_empty()) {
        (true, _) => Finding::fine("resolv-conf", about, format!("it names {}", words(&others))),
        (false, true) => {
            let found = format!(
                "it names {} alone, which is this daemon: nobody is left to ask",
                words(&us)
            );
            Finding::problem("resolv-conf", about, found).advise(instead).advise(
                "with systemd-resolved: upstreams = [\"resolv.conf:/run/systemd/resolve/resolv.conf\"]",
            )
        }
        (false, false) => {
            let found = format!(
                "it names {}, which is this daemon and is left out; {} is asked",
                words(&us),
                words(&others)
            );
            Finding::warning("resolv-conf", about, found).advise(instead)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::doctor::Severity;

    #[test]
    fn a_host_that_asks_us_is_nobody_to_ask() {
        let own = OwnAddresses {
            listen: vec!["127.0.0.1:53".parse().unwrap()],
            local: vec!["127.0.0.1".parse::<IpAddr>().unwrap().into()],
        };
        let check = |servers: &[&str]| {
            let servers = servers.iter().map(|text| text.parse().unwrap()).collect();
            let said = ResolvConf { servers, ..Default::default() };
            finding("/etc/resolv.conf".as_ref(), &Ok(said), &own).severity
        };
        assert_eq!(check(&["10.0.0.4:53"]), Severity::Fine);
        assert_eq!(check(&["127.0.0.1:53", "10.0.0.4:53"]), Severity::Warning);
        assert_eq!(check(&["127.0.0.1:53"]), Severity::Problem);
        assert_eq!(check(&[]), Severity::Problem);
        // Another server on this host is not us.
        assert_eq!(check(&["127.0.0.53:53"]), Severity::Fine);
    }

    #[test]
    fn a_server_without_its_interface_is_said() {
        let check = |servers: &[&str]| {
            let said = ResolvConf {
                servers: servers.iter().map(|text| text.parse().unwrap()).collect(),
                without_interface: vec!["fe80::1".parse().unwrap()],
            };
            let own = OwnAddresses::default();
            finding("/etc/resolv.conf".as_ref(), &Ok(said), &own).severity
        };
        assert_eq!(check(&[]), Severity::Problem);
        assert_eq!(check(&["10.0.0.4:53"]), Severity::Warning);
    }
}
