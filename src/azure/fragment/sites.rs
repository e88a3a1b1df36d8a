//! Which networks an endpoint is the first choice for.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::azure::facts::region;
use crate::azure::log::shown;
use crate::azure::model::Inventory;

/// Most names of endpoints or regions that an error repeats.
const MAX_SHOWN: usize = 20;

/// `KEY=NETWORK[,NETWORK…]`: clients of these networks, and the name or region of their endpoints.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SiteSpec {
    /// An endpoint's name, or Azure's name of a region; becomes the site's name.
    pub key: String,
    /// Whose clients these are.
    pub networks: Vec<IpNet>,
}

impl FromStr for SiteSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const WANTED: &str = "write KEY=NETWORK[,NETWORK…], such as westeurope=10.1.0.0/16";
        let (key, networks) = text.rsplit_once('=').ok_or(WANTED)?;
        let key = key.trim();
        if key.is_empty() || key.chars().any(char::is_control) || key.chars().count() > 64 {
            return Err(format!("a site's name has 1 to 64 printable characters; {WANTED}"));
        }
        let network = |text: &str| {
            let text = text.trim();
            let address = || text.parse::<IpAddr>().map(IpNet::from).ok();
            let network = text.parse().ok().or_else(address);
            let network: IpNet = network.ok_or(format!("{text} is no network; {WANTED}"))?;
            match network.trunc() == network {
                true => Ok(network),
                false => Err(format!(
                    "{text} has address bits behind its prefix; write {}",
                    network.trunc()
                )),
            }
        };
        let networks = networks.split(',').map(network).collect::<Result<_, _>>()?;
        Ok(Self { key: key.to_owned(), networks })
    }
}

/// Why sites cannot be assigned.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SitesError {
    /// Nothing has this name or region.
    #[error("--sites {key}: no endpoint and no region is called so; there is: {there_is}")]
    Unmatched {
        /// What was asked for.
        key: String,
        /// Names and regions.
        there_is: String,
    },
    /// Two sites share a network.
    #[error("--sites: {network} is in {first} and in {second}; a network stands in one site only")]
    Twice {
        /// The network.
        network: IpNet,
        /// One of the sites.
        first: String,
        /// The other.
        second: String,
    },
}

/// The sites, and which of them each endpoint is for.
pub(super) struct Sites {
    /// Networks by the site's name.
    pub(super) networks: BTreeMap<String, Vec<IpNet>>,
    /// For each endpoint of the inventory, its sites, sorted; none: everybody.
    pub(super) of: Vec<Vec<String>>,
}

pub(super) fn assign(inventory: &Inventory, specs: &[SiteSpec]) -> Result<Sites, SitesError> {
    let mut networks: BTreeMap<String, Vec<IpNet>> = BTreeMap::new();
    let mut owners: BTreeMap<IpNet, &str> = BTreeMap::new();
    for SiteSpec { key, networks: wanted } in specs {
        for network in wanted {
            let first = *owners.entry(*network).or_insert(key);
            if first != key.as_str() {
                let (first, second) = (first.to_owned(), key.clone());
                return Err(SitesError::Twice { network: *network, first, second });
            }
        }
        networks.entry(key.clone()).or_default().extend(wanted);
    }
    for list in networks.values_mut() {
        list.sort_unstable();
        list.dedup();
    }
    let mut of = vec![Vec::new(); inventory.endpoints.len()];
    for key in networks.keys() {
        let mut matched = false;
        for (endpoint, sites) in inventory.endpoints.iter().zip(&mut of) {
            let by_region = endpoint.region.is_some() && endpoint.region == region(key);
            if endpoint.name.eq_ignore_ascii_case(key) || by_region {
                sites.push(key.clone());
                matched = true;
            }
        }
        if !matched {
            return Err(SitesError::Unmatched { key: key.clone(), there_is: there_is(inventory) });
        }
    }
    Ok(Sites { networks, of })
}

fn there_is(inventory: &Inventory) -> String {
    let regions = inventory.endpoints.iter().filter_map(|e| e.region.as_deref());
    let mut all: Vec<&str> = regions.collect();
    all.sort_unstable();
    all.dedup();
    let mut names: Vec<&str> = inventory.endpoints.iter().map(|e| e.name.as_str()).collect();
    names.dedup();
    all.extend(names);
    let more = all.len().saturating_sub(MAX_SHOWN);
    let mut texts: Vec<String> = all.into_iter().take(MAX_SHOWN).map(shown).collect();
    if more > 0 {
        texts.push(format!("{more} more"));
    }
    if texts.is_empty() { "nothing".to_owned() } else { texts.join(", ") }
}
