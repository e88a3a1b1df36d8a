//! Which services' zones a name lies in.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::{Pair, Role, Service, services, variable};

/// Where a name stands: in which zone of which service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The service.
    pub service: &'static Service,
    /// The pair, one of the service's.
    pub pair: &'static Pair,
    /// Which of its two zones the name stands in.
    pub role: Role,
    /// The pair's public zone, variables replaced.
    pub public_zone: String,
    /// The pair's private zone, variables replaced: `privatelink.westeurope.azmk8s.io`.
    pub private_zone: String,
    /// What stands in front of the zone.
    pub relative: String,
    /// What the zone's variables stand for here.
    pub variables: Vec<(&'static str, String)>,
}

/// A zone of a service, filed under the labels behind its last variable.
struct Known {
    service: &'static Service,
    pair: &'static Pair,
    role: Role,
    /// Labels from the right, those it is filed under left out.
    head: Vec<&'static str>,
    labels: usize,
}

static KNOWN: LazyLock<HashMap<&'static str, Vec<Known>>> = LazyLock::new(|| {
    let mut known: HashMap<_, Vec<Known>> = HashMap::new();
    for service in services() {
        for pair in service.pairs {
            for role in [Role::Public, Role::Private] {
                let zone = pair.zone(role);
                let (head, tail) = match zone.rsplit_once("}.") {
                    Some((_, tail)) => (zone.split_at(zone.len() - tail.len() - 1).0, tail),
                    None => ("", zone),
                };
                let head = head.rsplit('.').filter(|label| !label.is_empty()).collect();
                let labels = zone.split('.').count();
                known.entry(tail).or_default().push(Known { service, pair, role, head, labels });
            }
        }
    }
    known
});

/// For each name above public zones, the first of these.
static BELOW: LazyLock<HashMap<&'static str, (&'static Service, &'static Pair)>> =
    LazyLock::new(|| {
        let mut below = HashMap::new();
        for service in services() {
            for pair in service.pairs {
                for (dot, _) in pair.public.match_indices('.') {
                    below.entry(pair.public.split_at(dot + 1).1).or_insert((service, pair));
                }
            }
        }
        below
    });

/// Every service that has a zone above `name`, in either role: the zones with most labels first,
/// then by the service's name and cloud. A name below both zones of a pair stands in the deeper one.
///
/// ```
/// let places = privatelinkd::catalog::places("acct.westeurope.batch.azure.com");
/// assert_eq!(places[0].service.name, "batch");
/// assert_eq!(places[0].relative, "acct.westeurope");
/// assert_eq!(places[0].private_zone, "privatelink.batch.azure.com");
/// ```
pub fn places(name: &str) -> Vec<Place> {
    found(name, |relative| !relative.is_empty())
}

/// Every service that has exactly this zone, in either role; `relative` is empty then.
pub fn zones_at(zone: &str) -> Vec<Place> {
    found(zone, str::is_empty)
}

/// A public zone below `zone`, with its service: the first by the service's name.
pub fn public_zone_below(zone: &str) -> Option<(&'static Service, &'static Pair)> {
    BELOW.get(lower(zone).as_str()).copied()
}

fn lower(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn found(name: &str, fits: impl Fn(&str) -> bool) -> Vec<Place> {
    let name = lower(name);
    let mut found: Vec<(usize, Place)> = Vec::new();
    let starts = name.match_indices('.').map(|(at, _)| at + 1);
    for start in std::iter::once(0).chain(starts) {
        let (front, tail) = name.split_at(start);
        let front = front.strip_suffix('.').unwrap_or(front);
        for known in KNOWN.get(tail).into_iter().flatten() {
            if let Some(place) = known.place(front).filter(|place| fits(&place.relative)) {
                found.push((known.labels, place));
            }
        }
    }
    found.sort_by(|(a, at), (b, bt)| {
        let key = |place: &Place| (place.service.name, place.service.cloud);
        b.cmp(a).then_with(|| key(at).cmp(&key(bt)))
    });
    let mut places: Vec<Place> = Vec::with_capacity(found.len());
    for (_, place) in found {
        if !places.iter().any(|deeper| std::ptr::eq(deeper.pair, place.pair)) {
            places.push(place);
        }
    }
    places
}

impl Known {
    /// The place of a name with these labels in front of what this zone is filed under.
    fn place(&self, front: &str) -> Option<Place> {
        let mut variables: Vec<(&'static str, String)> = Vec::new();
        let mut relative = front;
        for label in &self.head {
            let (rest, own) = relative.rsplit_once('.').unwrap_or(("", relative));
            match variable(label) {
                // `privatelink` is never a region, but the beginning of a private zone.
                Some(name) if !own.is_empty() && !own.starts_with("privatelink") => {
                    variables.push((name, own.to_owned()));
                }
                None if own == *label => {}
                _ => return None,
            }
            relative = rest;
        }
        let value = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
        };
        let [public_zone, private_zone] =
            [Role::Public, Role::Private].map(|role| self.pair.filled(role, value));
        Some(Place {
            service: self.service,
            pair: self.pair,
            role: self.role,
            public_zone: public_zone?,
            private_zone: private_zone?,
            relative: relative.to_owned(),
            variables,
        })
    }
}
