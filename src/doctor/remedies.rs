//! Lines to paste, for the programs that clients ask.

use std::net::{IpAddr, SocketAddr};

use crate::wire::Name;

/// The two zones of a private link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Pair {
    pub(super) public: Name,
    pub(super) private: Name,
}

/// DNS's port, which no program has to be told.
const PORT: u16 = 53;

impl Pair {
    /// The zones that both lie in: one where the private zone is part of the public one.
    fn tops(&self) -> Vec<&Name> {
        if self.private.is_within(&self.public) {
            vec![&self.public]
        } else {
            vec![&self.public, &self.private]
        }
    }
}

/// Conditional forwarders for both zones, to us.
pub(super) fn forward_both(pair: &Pair, us: SocketAddr) -> Vec<String> {
    let both = [&pair.public, &pair.private];
    let mut lines = vec![format!("forward both zones, and only to {us}, without any fallback:")];
    if us.port() == PORT {
        lines.extend(both.map(|zone| {
            format!(
                "Windows: Add-DnsServerConditionalForwarderZone -Name {zone} -MasterServers {} \
                 -ForwarderTimeout 2",
                us.ip()
            )
        }));
    } else {
        lines.push(format!("Windows: listen on port {PORT}, it forwards to no other"));
    }
    lines.extend(both.map(|zone| {
        let port = if us.port() == PORT { String::new() } else { format!(" port {}", us.port()) };
        format!(
            "BIND: zone \"{zone}\" {{ type forward; forward only; forwarders {{ {}{port}; }}; }};",
            us.ip()
        )
    }));
    lines.extend(both.map(|zone| {
        format!(
            "Unbound: forward-zone: name: \"{zone}\" forward-addr: {}@{} forward-first: no",
            us.ip(),
            us.port()
        )
    }));
    lines.extend(
        both.map(|zone| format!("dnsmasq: server=/{zone}/{}", in_dnsmasq(us.ip(), us.port()))),
    );
    lines
}

fn in_dnsmasq(ip: IpAddr, port: u16) -> String {
    if port == PORT { ip.to_string() } else { format!("{ip}#{port}") }
}

/// What lets private addresses of these zones through a filter against DNS rebinding.
pub(super) fn let_private_through(pair: &Pair) -> Vec<String> {
    let mut lines = Vec::new();
    let both = [&pair.public, &pair.private];
    lines.extend(both.map(|zone| format!("Unbound: server: private-domain: \"{zone}\"")));
    lines.extend(both.map(|zone| format!("dnsmasq: rebind-domain-ok=/{zone}/")));
    lines.push(
        "others (routers, AdGuard, pfSense, OpenWrt): look for DNS rebind protection, and except \
         the same zones"
            .to_owned(),
    );
    lines
}

/// What keeps validators from asking for signatures below these zones.
pub(super) fn trust_no_signatures(pair: &Pair) -> Vec<String> {
    let tops = pair.tops();
    let mut lines: Vec<_> =
        tops.iter().map(|zone| format!("Unbound: server: domain-insecure: \"{zone}\"")).collect();
    let listed: Vec<_> = tops.iter().map(|zone| format!("\"{zone}\";")).collect();
    lines.push(format!("BIND: options {{ validate-except {{ {} }}; }};", listed.join(" ")));
    lines.extend(
        tops.iter().map(|zone| format!("BIND, until it is written there: rndc nta {zone}")),
    );
    lines.extend(tops.iter().map(|zone| {
        format!("systemd-resolved: a line {zone} in /etc/dnssec-trust-anchors.d/azure.negative")
    }));
    lines
}

#[cfg(test)]
pub(super) fn defender() -> Pair {
    Pair {
        public: "cloud.defender.microsoft.com".parse().expect("a name"),
        private: "privatelink.cloud.defender.microsoft.com".parse().expect("a name"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_named_where_it_is_another() {
        let lines = |us: &str| forward_both(&defender(), us.parse().unwrap()).join("\n");
        let standard = lines("10.0.0.9:53");
        assert!(standard.contains("forwarders { 10.0.0.9; }"), "{standard}");
        assert!(standard.contains("server=/cloud.defender.microsoft.com/10.0.0.9\n"), "{standard}");
        assert!(standard.contains("-MasterServers 10.0.0.9 "), "{standard}");
        let other = lines("10.0.0.9:5300");
        assert!(other.contains("forwarders { 10.0.0.9 port 5300; }"), "{other}");
        assert!(other.contains("/10.0.0.9#5300"), "{other}");
        // Windows would ask port 53, whatever stands there.
        assert!(!other.contains("-MasterServers") && other.contains("on port 53"), "{other}");
        assert!(other.contains("forward-addr: 10.0.0.9@5300"), "{other}");
    }

    #[test]
    fn a_zone_inside_the_other_needs_no_anchor_of_its_own() {
        let lines = trust_no_signatures(&defender()).join("\n");
        assert!(lines.contains("domain-insecure: \"cloud.defender.microsoft.com\""), "{lines}");
        assert!(!lines.contains("privatelink"), "{lines}");
        let vault = Pair {
            public: "vault.azure.net".parse().unwrap(),
            private: "privatelink.vaultcore.azure.net".parse().unwrap(),
        };
        let lines = trust_no_signatures(&vault).join("\n");
        let both = "validate-except { \"vault.azure.net\"; \"privatelink.vaultcore.azure.net\"; }";
        assert!(lines.contains(both), "{lines}");
    }
}
