//! What the configuration lists, beside what the files know.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::absence::{Coverage, Proof, is_azures};
use super::known::Known;
use super::pairs::Names;
use crate::azure::Hints;
use crate::config::{Endpoint, PrivateLink};
use crate::wire::Name;

/// One endpoint's addresses for a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Listing {
    pub endpoint: String,
    pub addresses: Vec<IpAddr>,
}

/// A listed name that the files lack.
pub(super) struct Stranger {
    pub names: Names,
    /// What the files say: that its endpoint is gone, or carries no traffic. `None`: only that they
    /// have other names of the zone.
    pub gone: Option<String>,
}

/// An endpoint's own addresses, for every name below its zone.
pub(super) struct Wildcard {
    pub names: Vec<String>,
    pub listing: Listing,
    /// Indices into the configuration's sites.
    pub sites: Vec<usize>,
    /// As [`Stranger::gone`].
    pub gone: Option<String>,
}

/// All that the configuration lists.
pub(super) struct Listed {
    by_private: HashMap<Name, Vec<Listing>>,
    /// Names that the files lack although they would have them.
    pub strangers: Vec<Stranger>,
    /// Wildcards in zones of which the files prove something.
    pub wildcards: Vec<Wildcard>,
    /// What the files prove nothing of.
    pub unproven: Vec<String>,
}

/// What the files prove by lacking a name of a zone.
#[derive(Clone, Copy)]
enum Lacking<'k> {
    /// That Azure has other names of the zone, and not this one.
    Extra,
    /// That its endpoint is gone: these lists have no endpoint of the zone.
    Gone(&'k str),
    /// Nothing.
    Unproven,
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
            let lacking = listed.lacking(link, known);
            for endpoint in &link.endpoints {
                if !endpoint.addresses.is_empty() {
                    listed.note_wildcard(link, endpoint, lacking, known, &mut wildcards);
                }
                for (name, addresses) in endpoint.names.iter() {
                    let Ok(private) = name.under(&link.private_zone) else { continue };
                    listed.note_stranger(&private, endpoint, lacking, known, &mut strangers);
                    listed.note_listing(private, endpoint, addresses);
                }
            }
        }
        listed.strangers = strangers.into_values().collect();
        listed.wildcards = wildcards.into_values().collect();
        listed.unproven.dedup();
        listed
    }

    /// What the files prove by lacking a name of `link`. Notes why that is nothing.
    fn lacking<'k>(&mut self, link: &PrivateLink, known: &'k Known) -> Lacking<'k> {
        let (public, private) = (&link.public_zone, &link.private_zone);
        let zone = format!("zone {public} -> {private}");
        if known.covers(private) || known.covers(public) {
            if known.coverage == Coverage::Whole {
                return Lacking::Extra;
            }
            let lacks = |name: &Name| {
                name.under(private)
                    .is_ok_and(|name| !known.has_any(&known.pairs.names(&name, Hints::default())))
            };
            let names = link.endpoints.iter().flat_map(|endpoint| endpoint.names.iter());
            let count = names.filter(|(name, _)| lacks(name)).count();
            if count > 0 {
                let names = if count == 1 { "name" } else { "names" };
                self.unproven.push(format!(
                    "{zone}: {count} listed {names} that the files lack, as they are said to hold \
                     only a part"
                ));
            }
            return Lacking::Unproven;
        }
        let why = match &known.proof {
            Proof::Empty(lists) if is_azures(link) => return Lacking::Gone(lists),
            Proof::Empty(_) => "it is no zone of Azure's, whose lists have no such names",
            Proof::Nothing(why) => why,
        };
        self.unproven.push(format!(
            "{zone}: the files have no name in it, so nothing is known of its endpoints; {why}"
        ));
        Lacking::Unproven
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
        lacking: Lacking<'_>,
        known: &Known,
        strangers: &mut BTreeMap<Name, Stranger>,
    ) {
        if matches!(lacking, Lacking::Unproven) || strangers.contains_key(private) {
            return;
        }
        let names = known.pairs.names(private, Hints::default());
        if known.has_any(&names) {
            return;
        }
        match known.why_lacking(private, &endpoint.name) {
            Some(why) => self.unproven.push(format!("{private}: the files do not tell; {why}")),
            None => {
                let gone = lacking.gone(endpoint, known);
                strangers.insert(private.clone(), Stranger { names, gone });
            }
        }
    }

    /// Notes an endpoint's own addresses.
    fn note_wildcard(
        &mut self,
        link: &PrivateLink,
        endpoint: &Endpoint,
        lacking: Lacking<'_>,
        known: &Known,
        wildcards: &mut BTreeMap<WildcardKey, Wildcard>,
    ) {
        let any = "*".parse::<Name>().ok();
        let Some(private) = any.and_then(|any| any.under(&link.private_zone).ok()) else { return };
        let is_left_out = || endpoint.addresses.iter().any(|ip| known.why_left_out(*ip).is_some());
        if matches!(lacking, Lacking::Unproven) && !is_left_out() {
            return;
        }
        let is_proven = endpoint.addresses.iter().all(|ip| known.owner(*ip).is_some());
        let why = known.why_lacking(&private, &endpoint.name);
        if let Some(why) = why.filter(|_| !is_proven) {
            self.unproven.push(format!("{private}: the files do not tell; {why}"));
            return;
        }
        let listing = Listing::new(endpoint, &endpoint.addresses);
        let key = (link.private_zone.clone(), listing.endpoint.clone(), listing.addresses.clone());
        let (sites, gone) = (endpoint.sites.clone(), lacking.gone(endpoint, known));
        let new = || Wildcard { names: vec![private.to_string()], listing, sites, gone };
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

impl Lacking<'_> {
    /// As [`Stranger::gone`], of what `endpoint` has.
    fn gone(self, endpoint: &Endpoint, known: &Known) -> Option<String> {
        let unfit = known.why_unfit(&endpoint.name).map(str::to_owned);
        unfit.or(match self {
            Self::Gone(lists) => Some(format!("{lists}, none of which has a name in this zone")),
            Self::Extra | Self::Unproven => None,
        })
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
