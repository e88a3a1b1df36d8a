//! Listed names: relative to the zone where an entry has one private zone, full names where it has
//! several. A service that got a further zone later takes both forms: a name in one of its zones is a
//! full one, and every other name is relative to the first private zone.

use std::borrow::Cow;

use super::pairs::Zones;
use super::shared::Nested;
use crate::catalog::{self, Place, Role};
use crate::config::findings::{Findings, Path, Problem};
use crate::config::spec::{EndpointSpec, NameSpec, PrivateLinkSpec};
use crate::wire::{MAX_NAME_OCTETS, Name};

/// What a listed name is in front of the zones of the entry's pair `pair`; `None` if it does not
/// stand there.
pub(super) fn relative<'n>(name: &'n Name, zones: &Zones, pair: usize) -> Option<Cow<'n, Name>> {
    if zones.one_private().is_some() {
        return Some(Cow::Borrowed(name));
    }
    let (place, labels) = zones.place(name)?;
    let [own, found] = [pair, place].map(|at| zones.pairs.get(at).map(|p| &p.private.value));
    (own == found).then(|| first_labels(name, labels)).flatten().map(Cow::Owned)
}

/// The first `labels` labels of `name` as a name.
fn first_labels(name: &Name, labels: usize) -> Option<Name> {
    let octets = name.labels().take(labels).map(|label| label.len() + 1).sum();
    Name::from_wire(&[name.as_wire().get(..octets)?, &[0]].concat()).ok()
}

/// Where names are full ones, brings them all into their private zones, so that a name is the same
/// however it is written. Reports those that stand in none of the entry's zones.
pub(super) fn into_private_zones(
    spec: &mut PrivateLinkSpec,
    zones: &Zones,
    path: Path<'_>,
    findings: &mut Findings<'_>,
) {
    if zones.one_private().is_some() {
        return;
    }
    let (top, of) = (path.key("endpoint"), spec.endpoints.len());
    let first = FirstZone::of(zones);
    for (index, endpoint) in spec.endpoints.iter_mut().enumerate() {
        let path = top.item(index, of);
        let path = path.key("names");
        endpoint.names.rename(|text, entry| {
            let private = match (&first, zones.place(&entry.name)) {
                (Some(first), None) => first.private_name(entry, text, path, findings),
                (_, place) => private_name(&entry.name, place, zones),
            };
            private
                .map_err(|problem| {
                    findings.error(path.key(text), entry.span, Problem::bare(problem));
                })
                .ok()
        });
    }
}

/// The zones that relative names belong to where an entry has others besides.
struct FirstZone<'z> {
    public: &'z Name,
    private: &'z Name,
    other: &'z Name,
    relative: Relative,
}

impl<'z> FirstZone<'z> {
    fn of(zones: &'z Zones) -> Option<Self> {
        let private = zones.first_private()?;
        let other = zones.pairs.iter().find(|pair| pair.private.value != *private)?;
        let public = &zones.pairs.first()?.public.value;
        Some(Self { public, private, other: &other.public.value, relative: Relative::to(zones) })
    }

    /// Several labels may be meant for another zone, so that a name with them gets a warning.
    fn private_name(
        &self,
        NameSpec { name, span, .. }: &NameSpec,
        text: &str,
        path: Path<'_>,
        findings: &mut Findings<'_>,
    ) -> Result<Name, String> {
        if let Some(problem) = self.relative.problem(name, text) {
            return Err(problem);
        }
        if name.label_count() > 1 {
            let problem = format!(
                "taken for \"{name}.{}\", the zone that relative names belong to; if you mean \
                 another zone of the service, write the whole name: \"{name}.{}\"",
                self.public, self.other
            );
            findings.warn(path.key(text), *span, Problem::bare(problem));
        }
        name.under(self.private).map_err(|_| too_long())
    }
}

fn too_long() -> String {
    format!("in its private zone, the name would be longer than {MAX_NAME_OCTETS} octets")
}

/// A whole name in its private zone; `place` is its pair and the number of labels before the zone.
fn private_name(name: &Name, place: Option<(usize, usize)>, zones: &Zones) -> Result<Name, String> {
    let first = zones.pairs.first().map(|pair| pair.public.value.to_string()).unwrap_or_default();
    let Some((pair, labels)) = place else {
        let of = zones.service.map_or("this entry", |service| service.name);
        return Err(format!(
            "in no zone of {of}, which has several, so that names are written whole, such as \
             \"{}.{first}\"",
            if name.label_count() == 1 { name.to_string() } else { "api".to_owned() },
        ));
    };
    if labels == 0 {
        return Err(format!(
            "this is the zone itself, which has no address; write a name below it, such as \
             \"api.{name}\""
        ));
    }
    let zone = zones.pairs.get(pair).map(|pair| &pair.private.value);
    let private = zone.and_then(|zone| first_labels(name, labels)?.under(zone).ok());
    private.ok_or_else(too_long)
}

/// Checks names that are relative to the zone, and warns of those that deeper zones have: those of
/// other entries, or others of Azure's.
pub(super) fn check(
    spec: &EndpointSpec,
    zones: &Zones,
    nested: &Nested<'_>,
    path: Path<'_>,
    findings: &mut Findings<'_>,
) {
    let path = path.key("names");
    let nested = nested.has_others(zones).then_some(nested);
    let has_deeper = has_deeper(zones);
    let relative = zones.one_private().is_some().then(|| Relative::to(zones));
    for entry in &spec.names.entries {
        let (NameSpec { name, span, .. }, text) = (entry, spec.names.text(entry));
        let problem = relative.as_ref().and_then(|relative| relative.problem(name, text));
        if let Some(problem) = problem {
            findings.error(path.key(text), *span, Problem::bare(problem));
            continue;
        }
        let inner = nested.and_then(|nested| nested_zone(name, zones, nested));
        let problem = match inner {
            Some(zone) => {
                format!("never answered from here: the zone {zone} of another entry has it")
            }
            // The zone may have any name of one label itself.
            None if has_deeper && name.label_count() > 1 => match deeper_zone(name, zones) {
                Some(Place { service, public_zone, private_zone, .. }) => format!(
                    "Azure has this name in the zone {public_zone}, which leads to {private_zone}; \
                     write it into an entry with service = \"{}\"",
                    service.name
                ),
                None => continue,
            },
            None => continue,
        };
        findings.warn(path.key(text), *span, Problem::bare(problem));
    }
}

/// What names relative to the zones of an entry are held against.
struct Relative {
    /// Zones that no such name ends in: the private one first.
    zones: Vec<Name>,
    longest_octets: usize,
}

impl Relative {
    fn to(zones: &Zones) -> Self {
        let private = zones.pairs.iter().take(1).map(|pair| &pair.private.value);
        let public = zones.pairs.iter().map(|pair| &pair.public.value);
        let mut all: Vec<Name> = private.chain(public).cloned().collect();
        // The private zone is mostly `privatelink` inside the public one; a name ending so is a
        // slip.
        let inner = zones.pairs.iter().find_map(|pair| {
            relative_to(&pair.private.value, &pair.public.value)?.parse::<Name>().ok()
        });
        let longest_octets = all.iter().map(|zone| zone.as_wire().len()).max().unwrap_or(1);
        all.extend(inner);
        Self { zones: all, longest_octets }
    }

    fn problem(&self, name: &Name, text: &str) -> Option<String> {
        // Hardly any name ends so, which is cheaper to see than whole labels.
        let ends = |zone: &&Name| name.as_wire().ends_with(zone.as_wire()) && name.is_within(zone);
        if let Some(zone) = self.zones.iter().find(ends) {
            return Some(match relative_to(name, zone) {
                Some(right) => format!("names are relative to the zone; write \"{right}\""),
                None => "this is the zone itself, which has no address; write a name below it, \
                         such as \"api\""
                    .to_owned(),
            });
        }
        if text.ends_with('.') && !text.ends_with("\\.") {
            let problem = "names are relative to the zone";
            return Some(format!("{problem}; write \"{name}\", without the final dot"));
        }
        (name.as_wire().len() - 1 + self.longest_octets > MAX_NAME_OCTETS).then(|| {
            format!("with the zone behind it, the name is longer than {MAX_NAME_OCTETS} octets")
        })
    }
}

/// What stands in front of `zone` in `name`; nothing if they are equal or unrelated.
fn relative_to(name: &Name, zone: &Name) -> Option<String> {
    let (name, zone) = (name.to_string(), zone.to_string());
    Some(name.strip_suffix(&zone)?.strip_suffix('.')?.to_owned())
}

/// The zone of another entry that takes the name.
fn nested_zone<'z>(name: &Name, zones: &Zones, nested: &Nested<'z>) -> Option<&'z Name> {
    zones.pairs.iter().enumerate().find_map(|(index, pair)| {
        let relative = relative(name, zones, index)?;
        [&pair.public.value, &pair.private.value].into_iter().find_map(|zone| {
            let inner = nested.around(&relative.under(zone).ok()?, zone)?;
            (!zones.have(inner)).then_some(inner)
        })
    })
}

/// Whether Azure has zones inside one of these public ones.
fn has_deeper(zones: &Zones) -> bool {
    let mut public = zones.pairs.iter().map(|pair| pair.public.value.to_string());
    public.any(|zone| catalog::public_zone_below(&zone).is_some())
}

/// The deeper zone of another service that Azure has the name in.
fn deeper_zone(name: &Name, zones: &Zones) -> Option<Place> {
    zones.pairs.iter().enumerate().find_map(|(index, pair)| {
        let public = relative(name, zones, index)?.under(&pair.public.value).ok()?;
        let deepest = catalog::places(&public.to_string()).into_iter().next()?;
        let zone: Name = deepest.public_zone.parse().ok()?;
        let is_deeper = deepest.role == Role::Public
            && zone.label_count() > pair.public.value.label_count()
            && !zones.have(&zone);
        is_deeper.then_some(deepest)
    })
}
