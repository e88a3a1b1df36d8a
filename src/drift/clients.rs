//! Classes of clients that are answered alike: those of each site, and those of none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::access::Clients;
use crate::config::Config;

/// Clients that are answered alike.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Class {
    /// For people.
    pub words: String,
    /// Index into [`Config::sites`].
    pub site: Option<usize>,
    /// One of them.
    pub client: IpAddr,
}

/// All classes of which somebody may ask, those without a site first; and the names of the sites of
/// which nobody may.
pub(super) fn classes(config: &Config) -> (Vec<Class>, Vec<String>) {
    let clients = Clients::new(config);
    let sites = config.sites.iter().flat_map(|site| &site.networks);
    // What holds for a client changes where a prefix begins, or behind its end, and nowhere else.
    let edges: Vec<IpAddr> = config
        .access
        .allow
        .iter()
        .chain(sites)
        .flat_map(|net| [Some(net.network()), behind(net)])
        .flatten()
        .collect();
    let mut of_site: Vec<Option<IpAddr>> = vec![None; config.sites.len()];
    let mut of_none = None;
    for edge in edges {
        let client = clients.client(edge);
        let place = match client.site {
            Some(site) => of_site.get_mut(site.0),
            None => Some(&mut of_none),
        };
        if let Some(place) = place.filter(|_| client.allowed) {
            place.get_or_insert(edge);
        }
    }
    let (mut classes, mut silent) = (Vec::new(), Vec::new());
    if let Some(client) = of_none {
        classes.push(Class { words: "no site".to_owned(), site: None, client });
    }
    for (index, (site, client)) in config.sites.iter().zip(of_site).enumerate() {
        match client {
            Some(client) => {
                let words = format!("site {}", site.name);
                classes.push(Class { words, site: Some(index), client });
            }
            None => silent.push(site.name.clone()),
        }
    }
    (classes, silent)
}

/// The first address behind a network, if there is one.
fn behind(net: &IpNet) -> Option<IpAddr> {
    match net.broadcast() {
        IpAddr::V4(last) => {
            last.to_bits().checked_add(1).map(|bits| Ipv4Addr::from_bits(bits).into())
        }
        IpAddr::V6(last) => {
            last.to_bits().checked_add(1).map(|bits| Ipv6Addr::from_bits(bits).into())
        }
    }
}
