//! Which site the resolvers that clients ask belong to: the daemon sees their addresses, and not those
//! of the clients behind them.

use std::net::{IpAddr, SocketAddr};

use super::finding::Finding;
use super::looping::Loop;
use crate::access::{Clients, SiteId};
use crate::config::Config;

/// What a probe of a loop says that goes to a resolver of clients: that one should send it on to us.
pub(super) fn label(via: SocketAddr) -> String {
    format!("via {via}")
}

/// Queries that resolvers of clients have sent on to us, as they should, and those that our upstreams
/// have sent back.
pub(super) fn part(
    heard: Option<Vec<Loop>>,
    vias: &[SocketAddr],
) -> (Vec<Loop>, Option<Vec<Loop>>) {
    let is_via = |one: &Loop| vias.iter().any(|via| one.server == label(*via));
    let Some(heard) = heard else { return (Vec::new(), None) };
    let (sent_on, sent_back) = heard.into_iter().partition(is_via);
    (sent_on, Some(sent_back))
}

/// Resolvers, and the addresses that they ask us from.
pub(super) struct Askers<'a> {
    config: &'a Config,
    clients: Clients,
    /// The address of a resolver, the address that it asks from, and whether a query of it was heard
    /// from there. Without one, its own address is the best guess.
    askers: Vec<(SocketAddr, IpAddr, bool)>,
}

impl<'a> Askers<'a> {
    /// `heard` has the queries that these resolvers have sent on to us.
    pub(super) fn new(config: &'a Config, vias: &[SocketAddr], heard: &[Loop]) -> Self {
        let mut askers: Vec<(SocketAddr, IpAddr, bool)> = Vec::new();
        for via in vias {
            let sent = heard.iter().filter(|sent| sent.server == label(*via));
            let mut from: Vec<IpAddr> = sent.filter_map(|sent| sent.from).collect();
            from.iter_mut().for_each(|ip| *ip = ip.to_canonical());
            from.sort_unstable();
            from.dedup();
            if from.is_empty() {
                askers.push((*via, via.ip().to_canonical(), false));
            }
            askers.extend(from.into_iter().map(|ip| (*via, ip, true)));
        }
        Self { config, clients: Clients::new(config), askers }
    }

    /// One finding for each address that asks, as far as the file has anything to say of it.
    pub(super) fn findings(&self) -> Vec<Finding> {
        self.askers.iter().filter_map(|asker| self.finding(*asker)).collect()
    }

    fn finding(&self, (via, ip, is_heard): (SocketAddr, IpAddr, bool)) -> Option<Finding> {
        let about = format!("resolver {via}");
        let whose = if is_heard { "its queries come from" } else { "its address is" };
        let client = self.clients.client(ip);
        if !client.allowed {
            // What is known of its own address is said with the zones.
            return (ip != via.ip().to_canonical()).then(|| {
                let found =
                    format!("{whose} {ip}, which is outside [access] allow: they are refused");
                Finding::problem("via-refused", about, found)
                    .advise(format!("write {ip} into [access] allow, beside what stands there"))
            });
        }
        let links = &self.config.private_links;
        let mut endpoints = links.iter().flat_map(|link| &link.endpoints);
        if !endpoints.any(|endpoint| !endpoint.sites.is_empty()) {
            return None;
        }
        if let Some(SiteId(site)) = client.site {
            let site = self.config.sites.get(site).map_or("", |site| &site.name);
            let found = format!("{whose} {ip}: all of its clients count as site {site}");
            return Some(Finding::fine("via-site", about, found));
        }
        Some(self.no_site(about, format!("{whose} {ip}"), ip))
    }

    /// The address belongs to no site, and endpoints are chosen by site.
    fn no_site(&self, about: String, whose: String, ip: IpAddr) -> Finding {
        // Zones of which every endpoint is for some site: another site's endpoint answers.
        let links = &self.config.private_links;
        let of_others = links.iter().find(|link| {
            !link.endpoints.is_empty() && link.endpoints.iter().all(|one| !one.sites.is_empty())
        });
        let gets = match of_others {
            Some(link) => format!(
                "in {} they get the first endpoint of the file, whatever site it is for",
                link.public_zone
            ),
            None => "they get the endpoints that name no site".to_owned(),
        };
        let found =
            format!("{whose}, which is in no [[site]]: none of its clients has a site, and {gets}");
        let network = format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 });
        let sites: Vec<_> = self.config.sites.iter().map(|site| site.name.as_str()).collect();
        Finding::warning("via-no-site", about, found)
            .advise(format!(
                "write \"{network}\" into the networks of the site whose clients ask it ({})",
                sites.join(", ")
            ))
            .advise(
                "clients of several sites ask it: give each site a resolver of its own, or let them \
                 ask privatelinkd itself",
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Site;
    use crate::config::testing::{defender, endpoint, minimal};
    use crate::doctor::Severity;

    /// Two sites; endpoints for these, as indices.
    fn config(endpoints: &[&[usize]]) -> Config {
        let mut config = minimal();
        config.access.allow = vec!["10.0.0.0/8".parse().unwrap()];
        config.sites = [("oslo", "10.1.0.0/16"), ("rome", "10.2.0.0/16")]
            .map(|(name, net)| Site { name: name.into(), networks: vec![net.parse().unwrap()] })
            .into();
        let endpoints = endpoints
            .iter()
            .enumerate()
            .map(|(at, sites)| endpoint(&format!("e{at}"), sites, &[], &[("api", &["10.9.0.5"])]));
        config.private_links = vec![defender(endpoints.collect())];
        config
    }

    fn told(
        config: &Config,
        via: &str,
        from: Option<&str>,
    ) -> Vec<(Severity, &'static str, String)> {
        let via: SocketAddr = via.parse().unwrap();
        let from = from.map(|ip| ip.parse().unwrap());
        let zone = "cloud.defender.microsoft.com".parse().unwrap();
        let heard = from.map(|from| Loop { server: label(via), zone, from: Some(from) });
        let askers = Askers::new(config, &[via], heard.as_slice());
        let findings = askers.findings().into_iter();
        findings.map(|f| (f.severity, f.check, format!("{} {:?}", f.found, f.advice))).collect()
    }

    #[test]
    fn a_resolver_of_no_site_is_warned_about_where_sites_decide() {
        let by_site = config(&[&[0], &[1]]);
        let said = told(&by_site, "10.3.0.1:53", None);
        assert_eq!((said[0].0, said[0].1), (Severity::Warning, "via-no-site"));
        assert!(said[0].2.contains("its address is 10.3.0.1, which is in no [[site]]"), "{said:?}");
        assert!(said[0].2.contains("in cloud.defender.microsoft.com they get"), "{said:?}");
        assert!(said[0].2.contains("10.3.0.1/32"), "{said:?}");
        let with_common = config(&[&[0], &[]]);
        let said = told(&with_common, "10.3.0.1:53", None);
        assert!(said[0].2.contains("the endpoints that name no site"), "{said:?}");
        let no_endpoint_names_a_site = config(&[&[]]);
        assert_eq!(told(&no_endpoint_names_a_site, "10.3.0.1:53", None), []);
    }

    #[test]
    fn the_site_of_a_resolver_is_said() {
        let said = told(&config(&[&[0]]), "10.2.0.1:53", None);
        assert_eq!((said[0].0, said[0].1), (Severity::Fine, "via-site"));
        assert!(said[0].2.contains("count as site rome"), "{said:?}");
    }

    #[test]
    fn the_address_that_a_query_came_from_counts_more_than_the_one_that_clients_ask() {
        let config = config(&[&[0]]);
        let said = told(&config, "10.1.0.1:53", Some("10.3.0.1"));
        assert_eq!((said.len(), said[0].1), (1, "via-no-site"));
        assert!(said[0].2.contains("its queries come from 10.3.0.1"), "{said:?}");
        let said = told(&config, "10.3.0.1:53", Some("::ffff:10.1.0.9"));
        assert_eq!((said.len(), said[0].1), (1, "via-site"));
        let said = told(&config, "10.1.0.1:53", Some("192.0.2.1"));
        assert_eq!((said[0].0, said[0].1), (Severity::Problem, "via-refused"));
        // What is refused at its own address is said with each zone.
        assert_eq!(told(&config, "192.0.2.1:53", None), []);
    }
}
