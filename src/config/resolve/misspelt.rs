//! A pair that is spelled out with the same slip in both zones: it looks like a pair of Azure's, and
//! no client ever asks for a name in it.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::pairs::Pair;
use crate::catalog::{self, Cloud, Role, Service};
use crate::config::findings::Problem;
use crate::config::suggest::distance;

/// Most octets that two zones may differ in, labels that are equal left out.
const MAX_DISTANCE: usize = 2;
/// One octet in so many of a label may be wrong, and one in a shorter label; more is another word,
/// as `web` and `dev` are.
const OCTETS_PER_SLIP: usize = 4;
/// Last labels that are taken for each other. Others, such as `us` and `cn`, are clouds.
const SAME_CLOUD: [&str; 2] = ["com", "net"];
/// What separates words in a zone, and is forgotten or replaced.
const SEPARATORS: [char; 3] = ['.', '-', '_'];

/// A public zone of the catalogue.
struct Known {
    service: &'static Service,
    pair: &'static catalog::Pair,
    labels: Vec<&'static str>,
    /// The zone without its separators; empty if it has variables.
    bare: String,
    octets: usize,
}

/// Those of one zone stand together, the likeliest service first.
static KNOWN: LazyLock<Vec<Known>> = LazyLock::new(|| {
    let pairs = catalog::services().iter().flat_map(|service| {
        let pairs: &'static [catalog::Pair] = service.pairs;
        pairs.iter().map(move |pair| (service, pair))
    });
    let mut known: Vec<Known> = pairs
        .map(|(service, pair)| Known {
            service,
            pair,
            labels: pair.public.split('.').collect(),
            bare: if is_variable(pair.public) { String::new() } else { bare(pair.public) },
            octets: pair.public.len(),
        })
        .collect();
    known.sort_by_cached_key(|known| {
        let Service { name, cloud, pairs, relative_to, group_ids, .. } = known.service;
        // A service of many zones is seldom meant, and Azure calls groups as their zones: `blob`.
        let own = group_ids.iter().any(|id| known.labels.first() == Some(id));
        (known.pair.public, *cloud, relative_to.is_none(), !own, pairs.len(), *name)
    });
    known.dedup_by_key(|known| known.pair.public);
    known
});

/// What is wrong with a pair that the catalogue does not have, if its public zone is nearly one that
/// the catalogue has.
pub(super) fn problem(pair: &Pair) -> Option<Problem> {
    let zone = pair.public.value.to_string();
    let at = catalog::zones_at(&zone);
    if at.iter().any(|place| place.role == Role::Public) {
        return None;
    }
    let (service, right) = nearest(&zone)?;
    let problem = Problem::new(format!(
        "the catalogue has no such zone, but it has \"{right}\" of {}; if you mean that one, clients \
         never ask for a name in yours, and their traffic stays public",
        service.name
    ));
    let cloud = match service.cloud {
        Cloud::Commercial => String::new(),
        cloud => format!(" and cloud = \"{cloud}\""),
    };
    Some(problem.help(format!(
        "did you mean \"{right}\"? Then write service = \"{}\"{cloud}, without public-zone and \
         private-zone",
        service.name
    )))
}

/// The zone of the catalogue that `zone` is nearly, variables replaced.
fn nearest(zone: &str) -> Option<(&'static Service, String)> {
    let labels: Vec<&str> = zone.split('.').collect();
    let bare = bare(zone);
    let near =
        KNOWN.iter().filter_map(|known| Some((known.distance(zone, &labels, &bare)?, known)));
    let (_, nearest) = near.min_by_key(|(distance, _)| *distance)?;
    Some((nearest.service, nearest.filled(&labels)))
}

impl Known {
    /// How far `zone` is from this one; `None`: it is another zone.
    fn distance(&self, zone: &str, labels: &[&str], bare: &str) -> Option<usize> {
        // Cheap to see, and it is so for nearly all: a file may have very many zones.
        let is_far = self.octets.abs_diff(zone.len()) > MAX_DISTANCE + SEPARATORS.len();
        if is_far && !is_variable(self.pair.public) {
            return None;
        }
        if labels.len() == self.labels.len() {
            return self.distance_by_labels(labels);
        }
        // A separator that is missing, or is another one, and one more slip.
        let fits = !self.bare.is_empty() && self.bare.len().abs_diff(bare.len()) <= 1;
        let distance = fits.then(|| distance(bare.as_bytes(), self.bare.as_bytes()))?;
        (distance <= 1).then_some(distance + 1)
    }

    /// The same for a zone with as many labels as this one.
    fn distance_by_labels(&self, labels: &[&str]) -> Option<usize> {
        let mut differing =
            labels.iter().zip(&self.labels).enumerate().filter(|(_, (is, known))| {
                let fits_variable = is_variable(known) && !is.starts_with("privatelink");
                is != known && !fits_variable
            });
        let (mut total, last) = (0, labels.len() - 1);
        let mut slips = |(place, (is, known)): (usize, (&&str, &&'static str))| {
            let slips = if place == last { slips_at_end(is, known) } else { slips(is, known) };
            total += slips.unwrap_or(usize::MAX / 2);
            total <= MAX_DISTANCE
        };
        if differing.all(&mut slips) {
            return (total > 0).then_some(total);
        }
        let set = |labels: &[&str]| labels.iter().map(|l| (*l).to_owned()).collect::<BTreeSet<_>>();
        // Labels in another order.
        (set(labels) == set(&self.labels)).then_some(MAX_DISTANCE)
    }

    /// The zone, with the labels of `labels` for its variables.
    fn filled(&self, labels: &[&str]) -> String {
        let filled = self.labels.iter().enumerate().map(|(place, known)| match labels.get(place) {
            Some(label) if is_variable(known) => *label,
            _ => *known,
        });
        filled.collect::<Vec<_>>().join(".")
    }
}

/// How many octets of a label are wrong; `None`: it is another word.
fn slips(label: &str, known: &str) -> Option<usize> {
    let tolerated = (known.len() / OCTETS_PER_SLIP).clamp(1, MAX_DISTANCE);
    if label.len().abs_diff(known.len()) > tolerated {
        return None;
    }
    let swapped = is_swapped(label.as_bytes(), known.as_bytes());
    let distance = if swapped { 1 } else { distance(label.as_bytes(), known.as_bytes()) };
    (distance <= tolerated).then_some(distance)
}

/// The same of the last label: another cloud's is no slip.
fn slips_at_end(label: &str, known: &str) -> Option<usize> {
    if SAME_CLOUD.contains(&label) && SAME_CLOUD.contains(&known) {
        return Some(1);
    }
    let is_real = KNOWN.iter().any(|known| known.labels.last() == Some(&label)) || label == "de";
    if is_real { None } else { slips(label, known) }
}

/// Whether two neighbours are swapped: `vualt`.
fn is_swapped(label: &[u8], known: &[u8]) -> bool {
    let Some(at) = label.iter().zip(known).position(|(is, known)| is != known) else {
        return false;
    };
    let (Some([a, b, rest @ ..]), Some([c, d, others @ ..])) = (label.get(at..), known.get(at..))
    else {
        return false;
    };
    (a, b) == (d, c) && rest == others
}

fn is_variable(text: &str) -> bool {
    text.contains('{')
}

fn bare(zone: &str) -> String {
    zone.chars().filter(|c| !SEPARATORS.contains(c)).collect()
}
