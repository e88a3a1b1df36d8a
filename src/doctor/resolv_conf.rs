//! Files that name upstreams, such as this host's own resolv.conf.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::finding::Finding;
use crate::config::{Forward, UpstreamSource};
use crate::forward::{OwnAddresses, read_resolv_conf};
use crate::sys::FileError;

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

fn finding(
    path: &Path,
    servers: &Result<Vec<SocketAddr>, FileError>,
    own: &OwnAddresses,
) -> Finding {
    let path = path.display();
    let about = format!("upstreams of {path}");
    let instead = "write upstreams = [\"<the servers themselves>\"] in place of resolv.conf";
    let servers = match servers {
        Ok(servers) if servers.is_empty() => {
            return Finding::problem("resolv-conf", about, "it names no server").advise(instead);
        }
        Ok(servers) => servers,
        Err(error) => {
            return Finding::problem("resolv-conf", about, error.to_string()).advise(instead);
        }
    };
    let (us, others): (Vec<_>, Vec<_>) = servers.iter().partition(|server| own.is_us(**server));
    let words = |servers: &[&SocketAddr]| {
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
    use super::*;
    use crate::doctor::Severity;

    #[test]
    fn a_host_that_asks_us_is_nobody_to_ask() {
        let own = OwnAddresses {
            listen: vec!["127.0.0.1:53".parse().unwrap()],
            local: vec!["127.0.0.1".parse().unwrap()],
        };
        let check = |servers: &[&str]| {
            let servers = servers.iter().map(|text| text.parse().unwrap()).collect();
            finding("/etc/resolv.conf".as_ref(), &Ok(servers), &own).severity
        };
        assert_eq!(check(&["10.0.0.4:53"]), Severity::Fine);
        assert_eq!(check(&["127.0.0.1:53", "10.0.0.4:53"]), Severity::Warning);
        assert_eq!(check(&["127.0.0.1:53"]), Severity::Problem);
        assert_eq!(check(&[]), Severity::Problem);
        // Another server on this host is not us.
        assert_eq!(check(&["127.0.0.53:53"]), Severity::Fine);
    }
}
