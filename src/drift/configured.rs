//! What the configuration lists, beside what the files know.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::known::Known;
use super::pairs::Names;
use crate::config::{Endpoint, PrivateLink};
use crate::wire::Name;

/// One endpoint's addresses for a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Listing {
    pub endpoint: String,
    pub addresses: Vec<IpAddr>,
}

/// An endpoint's own addresses, for every name below its zone.
pub(super) struct Wildcard {
    pub names: Vec<String>,
    pub listing: Listing,
    /// Indices into the configuration's sites.
    pub sites: Vec<usize>,
}

/// All that the configuration lists.
pub(super) struct Listed {
    by_private: HashMap<Name, Vec<Listing>>,
    /// Names that the files lack, in zones of which they have others.
    pub strangers: Vec<Names>,
    /// Wildcards in zones of the files.
    pub wildcards: Vec<Wildcard>,
    /// What the files prove nothing of.
    pub unproven: Vec<String>,
}

impl Listed {
    pub(super) fn new(links: &[PrivateLink], known: &Known) -> Self {
        let mut listed = Self {
            by_private: HashMap::new(),
            strangers: Vec::new(),
            wildcards: Vec::new(),
            unproven: Vec::new(),
        };
        let (mut strangers, mut wildcards) = (BTreeMap::new(), BTreeMap::new());
        for link in links {
            let covered = known.covers(&link.private_zone) || known.covers(&link.public_zone);
            if !covered {
                let (public, private) = (&link.public_zone, &link.private_zone);
                listed.unproven.push(format!(
                    "zone {public} -> {private}: the files have no name in it, so nothing is known \
                     of its endpoints"
                ));
            }
            for endpoint in &link.endpoints {
                if covered && !endpoint.addresses.is_empty() {
                    listed.note_wildcard(link, endpoint, known, &mut wildcards);
                }
                for (name, addresses) in endpoint.names.iter() {
                    let Ok(private) = name.under(&link.private_zone) else { continue };
                    if covered {
                        listed.note_stranger(&private, endpoint, known, &mut strangers);
                    }
                    listed.note_listing(private, endpoint, addresses);
                }
            }
        }
        listed.strangers = strangers.into_values().collect();
        listed.wildcards = wildcards.into_values().collect();
        listed.unproven.dedup();
        listed
    }

    fn note_listing(&mut self, private: Name, endpoint: &Endpoint, addresses: &[IpAddr]) {
        let listing = Listing::new(endpoint, addresses);
        let all = self.by_private.entry(private).or_default();
        // Public zones may share a private one, and an entry has their endpoints once for each.
        if !all.contains(&listing) {
            all.push(listing);
        }
    }

    /// Notes a listed name that the files lack.
    fn note_stranger(
        &mut self,
        private: &Name,
        endpoint: &Endpoint,
        known: &Known,
        strangers: &mut BTreeMap<Name, Names>,
    ) {
        if strangers.contains_key(private) {
            return;
        }
        let names = known.pairs.names(private);
        if names.iter().any(|name| known.has(name)) {
            return;
        }
        match known.why_lacking(private, &endpoint.name) {
            Some(why) => self.unproven.push(format!("{private}: the files do not tell; {why}")),
            None => {
                strangers.insert(private.clone(), names);
            }
        }
    }

    /// Notes an endpoint's own addresses.
    fn note_wildcard(
        &mut self,
        link: &PrivateLink,
        endpoint: &Endpoint,
        known: &Known,
        wildcards: &mut BTreeMap<WildcardKey, Wildcard>,
    ) {
        let any = "*".parse::<Name>().ok();
        let Some(private) = any.and_then(|any| any.under(&link.private_zone).ok()) else { return };
        let is_proven = endpoint.addresses.iter().all(|ip| known.owner(*ip).is_some());
        let why = known.why_lacking(&private, &endpoint.name);
        if let Some(why) = why.filter(|_| !is_proven) {
            self.unproven.push(format!("{private}: the files do not tell; {why}"));
            return;
        }
        let listing = Listing::new(endpoint, &endpoint.addresses);
        let key = (link.private_zone.clone(), listing.endpoint.clone(), listing.addresses.clone());
        let sites = endpoint.sites.clone();
        let new = || Wildcard { names: vec![private.to_string()], listing, sites };
        let wildcard = wildcards.entry(key).or_insert_with(new);
        // Public zones may share a private one.
        let public = format!("*.{}", link.public_zone);
        if !wildcard.names.contains(&public) {
            let last = wildcard.names.len() - 1;
            wildcard.names.insert(last, public);
        }
    }

    /// Who lists these names.
    pub(super) fn of(&self, names: &Names) -> &[Listing] {
        let private = names.private.as_ref();
        private.and_then(|private| self.by_private.get(private)).map_or(&[], Vec::as_slice)
    }
}

/// What tells wildcards apart: the private zone, the endpoint, its addresses.
type WildcardKey = (Name, String, Vec<IpAddr>);

impl Listing {
    fn new(endpoint: &Endpoint, addresses: &[IpAddr]) -> Self {
        let mut addresses = addresses.to_vec();
        addresses.sort_unstable();
        addresses.dedup();
        Self { endpoint: endpoint.name.clone(), addresses }
    }
}
