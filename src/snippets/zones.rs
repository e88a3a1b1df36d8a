//! Which zones askers forward.

use std::collections::HashSet;

use super::sheet::Sheet;
use crate::catalog;
use crate::config::Config;
use crate::wire::Name;

/// A zone that askers forward.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Zone {
    /// Its apex.
    pub name: Name,
    /// Whether answers of our own making stand in it, unsigned and with private addresses.
    pub ours: bool,
}

/// The public and the private zone of each `[[private-link]]`: an asker that knows the public one
/// alone asks elsewhere for the target of a CNAME that outlived its address. Behind them, zones
/// from which Azure's own CNAMEs lead there: an asker follows these by itself, and not to us.
pub fn zones(config: &Config) -> Vec<Zone> {
    let links = &config.private_links;
    let ours = links.iter().flat_map(|link| [&link.public_zone, &link.private_zone]);
    let mut zones: Vec<Zone> = ours.map(|name| Zone { name: name.clone(), ours: true }).collect();
    for link in links {
        let service = link.service.as_deref().and_then(|name| catalog::find(name, link.cloud));
        for zone in service.map_or(&[][..], |service| service.also_public) {
            zones.extend(zone.parse().map(|name| Zone { name, ours: false }));
        }
    }
    let mut seen = HashSet::new();
    zones.retain(|zone| seen.insert(zone.name.clone()));
    zones
}

/// Says why zones are here that hold nothing of ours.
pub(super) fn explain_aliases(sheet: &mut Sheet, zones: &[Zone]) {
    let mut aliases = zones.iter().filter(|zone| !zone.ours).peekable();
    if aliases.peek().is_none() {
        return;
    }
    sheet.note(
        "Azure's own aliases lead from these into the other zones; asked for them, privatelinkd \
         follows the alias and answers with the private address:",
    );
    for zone in aliases {
        sheet.quote(&zone.name);
    }
    sheet.between();
}

/// Whether every target reads this name as a name: letters, digits, `-` and `_`, no option's dash
/// in front.
pub fn is_plain(name: &Name) -> bool {
    let plain = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
    name.label_count() > 0
        && name.labels().all(|label| label.iter().all(plain) && label.first() != Some(&b'-'))
}

/// Zones that lie in no other one of them: a rule for a zone covers what is below it.
pub(super) struct Outer<'a> {
    pub(super) zones: Vec<&'a Name>,
    inner: Vec<&'a Name>,
}

impl<'a> Outer<'a> {
    pub(super) fn of(zones: impl Iterator<Item = &'a Zone>) -> Self {
        let all: Vec<&Name> = zones.map(|zone| &zone.name).collect();
        let names: HashSet<&Name> = all.iter().copied().collect();
        let lies_inside = |name: &&Name| {
            let mut above = name.parent();
            while let Some(zone) = above {
                if names.contains(&zone) {
                    return true;
                }
                above = zone.parent();
            }
            false
        };
        let (inner, zones) = all.into_iter().partition(lies_inside);
        Self { zones, inner }
    }

    /// Whether none lies in another.
    pub(super) fn is_all(&self) -> bool {
        self.inner.is_empty()
    }

    /// Says which zones are not repeated, and who would take them away.
    pub(super) fn explain(&self, sheet: &mut Sheet, rule: &str) {
        sheet.note(&format!(
            "Not repeated, as they lie in a zone that is here; {rule} that you have for one of \
             them wins over these, so remove it:"
        ));
        for name in &self.inner {
            sheet.quote(name);
        }
    }
}
