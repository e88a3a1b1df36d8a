//! What it proves that the files lack a name.

use crate::azure::EndpointList;
use crate::catalog::{self, Place};
use crate::config::PrivateLink;

/// Lists that a sentence names; the others are counted.
const MOST_LISTS: usize = 3;
/// The first label of a private zone as Azure writes it.
const PRIVATE_LABEL: &str = "privatelink.";

/// How much of Azure the files hold.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Coverage {
    /// Everything that the configuration serves. What they lack counts as gone.
    #[default]
    Whole,
    /// A part, such as one subscription of several. What they lack proves nothing.
    Part,
}

/// What the files prove of a zone in which they have no name.
#[derive(Debug)]
pub(super) enum Proof {
    /// No private endpoint has a name there. In words: which lists say so.
    Empty(String),
    /// Nothing. In words: why.
    Nothing(String),
}

impl Proof {
    pub(super) fn new(lists: &[EndpointList], coverage: Coverage) -> Self {
        if coverage == Coverage::Part {
            return Self::Nothing("the files are said to hold only a part".to_owned());
        }
        if let Some(cut) = lists.iter().find(|list| !list.is_complete) {
            return Self::Nothing(format!("{} is one page of a longer list", cut.source));
        }
        if lists.is_empty() {
            return Self::Nothing("no file is a list of private endpoints".to_owned());
        }
        let mut named: Vec<String> = lists.iter().take(MOST_LISTS).map(in_words).collect();
        if let Some(more) = lists.len().checked_sub(MOST_LISTS).filter(|more| *more > 0) {
            named.push(format!("{more} more lists are given"));
        }
        Self::Empty(named.join(", "))
    }
}

fn in_words(list: &EndpointList) -> String {
    let EndpointList { source, count, of_interfaces, .. } = list;
    let what = if *of_interfaces { "network interface" } else { "private endpoint" };
    let plural = if *count == 1 { "" } else { "s" };
    format!("{source} is a list of {count} {what}{plural}")
}

/// Whether Azure itself would name what an endpoint has in these zones. Names in a zone that people
/// made up are in no list of Azure's.
pub(super) fn is_azures(link: &PrivateLink) -> bool {
    let (public, private) = (link.public_zone.to_string(), link.private_zone.to_string());
    // `azure.com` is a zone of the catalogue too, and has names of much else below it.
    let is_below = |place: &Place| place.pair.zone(place.role).matches('.').count() > 1;
    let is_known = |zone: &str| {
        !catalog::zones_at(zone).is_empty() || catalog::places(zone).iter().any(is_below)
    };
    // A service that the catalogue does not know yet, in a domain of Azure's.
    let is_new = || private.starts_with(PRIVATE_LABEL) && is_in_azures_domain(&private);
    link.service.is_some() || is_known(&public) || is_known(&private) || is_new()
}

/// Whether `zone` lies in the same domain, of two labels, as some zone of the catalogue.
fn is_in_azures_domain(zone: &str) -> bool {
    let mut pairs = catalog::services().iter().flat_map(|service| service.pairs);
    pairs.any(|pair| domain(pair.private) == domain(zone))
}

/// The last two labels.
fn domain(zone: &str) -> &str {
    let mut dots = zone.rmatch_indices('.');
    dots.nth(1).map_or(zone, |(dot, _)| zone.get(dot + 1..).unwrap_or(zone))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::azure::Source;
    use crate::config::testing::defender;

    fn list(file: &str, count: usize, is_complete: bool) -> EndpointList {
        let source = Source { file: file.to_owned(), at: String::new() };
        EndpointList { source, count, of_interfaces: file.starts_with("nic"), is_complete }
    }

    fn words(proof: &Proof) -> (bool, &str) {
        match proof {
            Proof::Empty(words) => (true, words),
            Proof::Nothing(words) => (false, words),
        }
    }

    #[test]
    fn only_whole_lists_prove_something() {
        let proof = |lists: &[EndpointList]| Proof::new(lists, Coverage::Whole);
        assert_eq!(words(&proof(&[])), (false, "no file is a list of private endpoints"));
        let (pe, nic) = (list("pe.json", 7, true), list("nic.json", 1, true));
        let one = "pe.json is a list of 7 private endpoints";
        assert_eq!(words(&proof(std::slice::from_ref(&pe))), (true, one));
        let both = "pe.json is a list of 7 private endpoints, nic.json is a list of 1 network \
                    interface";
        assert_eq!(words(&proof(&[pe.clone(), nic])), (true, both));
        let cut = list("cut.json", 2, false);
        let expected = (false, "cut.json is one page of a longer list");
        assert_eq!(words(&proof(&[pe.clone(), cut])), expected);
        let part = Proof::new(std::slice::from_ref(&pe), Coverage::Part);
        assert_eq!(words(&part), (false, "the files are said to hold only a part"));
        let many = vec![pe; MOST_LISTS + 2];
        assert!(words(&proof(&many)).1.ends_with(", 2 more lists are given"));
    }

    #[test]
    fn zones_of_azure_are_told_from_zones_that_people_made_up() {
        let azures = |public: &str, private: &str| {
            is_azures(&PrivateLink {
                service: None,
                public_zone: public.parse().expect("a name"),
                private_zone: private.parse().expect("a name"),
                ..defender(Vec::new())
            })
        };
        assert!(is_azures(&defender(Vec::new())));
        assert!(azures("database.windows.net", "privatelink.database.windows.net"));
        assert!(azures("database.windows.net", "sql.corp.example"));
        assert!(azures("new.azure.com", "privatelink.new.azure.com"));
        let part = ("one.database.windows.net", "one.privatelink.database.windows.net");
        assert!(azures(part.0, part.1));
        // A machine's public name, answered with its private address.
        assert!(!azures("westeurope.cloudapp.azure.com", "vm.internal.cloudapp.azure.com"));
        assert!(!azures("corp.example", "privatelink.corp.example"));
    }
}
