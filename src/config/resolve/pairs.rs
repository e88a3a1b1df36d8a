//! Which pairs of zones an entry stands for: those of its service, or the one that it spells out.

use super::misspelt;
use crate::catalog::{self, Cloud, Role, Service};
use crate::config::findings::{Findings, Path, Problem};
use crate::config::model::Unlisted;
use crate::config::spec::{PrivateLinkSpec, VariableSpec};
use crate::config::suggest::{any_of, did_you_mean};
use crate::config::table::{At, Field};
use crate::wire::{Name, NameMap, QName};

/// Most services that a message suggests.
const MAX_SUGGESTED: usize = 3;
/// Shortest word of which services are suggested that hold it; a letter stands in nearly all.
const MIN_WORD_OCTETS: usize = 3;

/// A public zone and its private one, each with the place that it comes from.
pub(super) struct Pair {
    pub(super) public: At<Name>,
    pub(super) private: At<Name>,
}

impl Pair {
    /// Whether the private zone is `privatelink.` and the public zone.
    fn is_usual(&self) -> bool {
        let (public, private) = (&self.public.value, &self.private.value);
        private.labels().next() == Some(b"privatelink")
            && private.parent().is_some_and(|parent| parent == *public)
    }
}

/// The zones of an entry.
pub(super) struct Zones {
    /// At least one.
    pub(super) pairs: Vec<Pair>,
    /// What is known of them.
    pub(super) service: Option<&'static Service>,
    /// They were not spelled out, but found by the service's name.
    pub(super) by_service: bool,
    pub(super) cloud: Cloud,
    /// Both zones of all pairs, with the place of the first pair of the same private zone.
    places: NameMap<(usize, Role)>,
}

impl Zones {
    fn new(pairs: Vec<Pair>, service: Option<&'static Service>) -> Self {
        let mut places = NameMap::with_capacity(2 * pairs.len());
        for pair in &pairs {
            let same = |other: &Pair| other.private.value == pair.private.value;
            let first = pairs.iter().position(same).unwrap_or(0);
            places.insert(&QName::from(&pair.public.value), (first, Role::Public));
            places.insert(&QName::from(&pair.private.value), (first, Role::Private));
        }
        Self { pairs, service, by_service: false, cloud: Cloud::default(), places }
    }

    /// The private zone that relative names belong to, where the entry has several: the service's
    /// first one.
    pub(super) fn first_private(&self) -> Option<&Name> {
        self.service.filter(|_| self.by_service)?.relative_to?;
        self.pairs.first().map(|pair| &pair.private.value)
    }

    /// The private zone, where all pairs share it: names are relative to it then, and full ones
    /// otherwise.
    pub(super) fn one_private(&self) -> Option<&Name> {
        let mut all = self.pairs.iter().map(|pair| &pair.private.value);
        let first = all.next()?;
        all.all(|other| other == first).then_some(first)
    }

    /// The zone of this entry that a full name stands in: the first pair with its private zone,
    /// and how many labels stand in front of the zone.
    pub(super) fn place(&self, name: &Name) -> Option<(usize, usize)> {
        let (labels, (pair, _)) = self.places.deepest(&QName::from(name))?;
        Some((*pair, labels))
    }

    /// Whether Azure, as far as we know, leads names of the pair's public zone to its private one.
    pub(super) fn are_trusted(&self, pair: &Pair) -> bool {
        self.service.is_some() || pair.is_usual()
    }

    /// Whether `zone` is one of them.
    pub(super) fn have(&self, zone: &Name) -> bool {
        self.pairs.iter().any(|pair| pair.public.value == *zone || pair.private.value == *zone)
    }
}

/// What a name gets that no endpoint lists; `None` where that cannot be said.
pub(super) fn unlisted(spec: &PrivateLinkSpec, zones: Option<&Zones>) -> Option<Unlisted> {
    match &spec.unlisted {
        Field::Good(at) => Some(at.value),
        Field::Wrong => None,
        Field::Missing => zones.map(|zones| match zones.service {
            Some(service) if zones.by_service && service.other_tenants => Unlisted::Forward,
            _ => Unlisted::Wildcard,
        }),
    }
}

/// The entry's zones, or nothing when they are not known; that has been said then.
pub(super) fn zones_of(
    spec: &PrivateLinkSpec,
    path: Path<'_>,
    findings: &mut Findings<'_>,
) -> Option<Zones> {
    let given = !spec.public_zone.is_missing() || !spec.private_zone.is_missing();
    if !spec.service.is_missing() {
        let service = spec.service.good()?;
        if given {
            let problem = "write either service, or public-zone and private-zone, not both";
            findings.error(path.key("service"), service.span, Problem::new(problem));
            return None;
        }
        return zones_of_service(spec, service, path, findings);
    }
    warn_of_unused_keys(spec, path, findings);
    if !given {
        let problem =
            "write service = \"defender-for-containers\", or public-zone and private-zone";
        findings.error(path, spec.span, Problem::bare(problem));
        return None;
    }
    missing_zones(spec, path, findings);
    let private_fits = spec.private_zone.good().is_none_or(|zone| {
        let fault = hijacking(spec, &zone.value);
        fault.map(|p| findings.error(path.key("private-zone"), zone.span, p)).is_none()
    });
    let public_fits = spec.public_zone.good().is_none_or(|zone| {
        let fault = too_wide(&zone.value);
        fault.map(|p| findings.error(path.key("public-zone"), zone.span, p)).is_none()
    });
    let (public, private) = (spec.public_zone.good()?.clone(), spec.private_zone.good()?.clone());
    if !private_fits || !public_fits {
        return None;
    }
    let service = known_pair(&public.value, &private.value);
    let pair = Pair { public, private };
    if service.is_none() {
        warn_of_unknown_pair(&pair, path, findings);
    }
    Some(Zones::new(vec![pair], service))
}

/// A slip in both zones, or a private zone that does not look like one.
fn warn_of_unknown_pair(pair: &Pair, path: Path<'_>, findings: &mut Findings<'_>) {
    if let Some(problem) = misspelt::problem(pair) {
        findings.warn(path.key("public-zone"), pair.public.span, problem);
    } else if !pair.is_usual() {
        let problem = Problem::new("neither \"privatelink.\" and the public zone nor one we know");
        let help = format!("usual here: \"privatelink.{}\"", pair.public.value);
        findings.warn(path.key("private-zone"), pair.private.span, problem.help(help));
    }
}

fn zones_of_service(
    spec: &PrivateLinkSpec,
    service: &At<String>,
    path: Path<'_>,
    findings: &mut Findings<'_>,
) -> Option<Zones> {
    let cloud = match &spec.cloud {
        Field::Good(at) => at.value,
        Field::Missing => Cloud::default(),
        Field::Wrong => return None,
    };
    let Some(known) = catalog::find(&service.value, cloud) else {
        let problem = no_such_service(&service.value, cloud);
        findings.error(path.key("service"), service.span, problem);
        return None;
    };
    if !variables_fit(spec, known, path, findings) {
        return None;
    }
    let value = |name: &str| {
        let given = spec.variables.iter().find(|variable| variable.name == name)?;
        given.value.as_deref()
    };
    let zone = |pair: &catalog::Pair, role| {
        let value = pair.filled(role, value)?.parse().ok()?;
        Some(At { value, span: service.span })
    };
    let pairs = known.pairs.iter().map(|pair| {
        Some(Pair { public: zone(pair, Role::Public)?, private: zone(pair, Role::Private)? })
    });
    let zones = Zones::new(pairs.collect::<Option<_>>()?, Some(known));
    Some(Zones { by_service: true, cloud, ..zones })
}

fn no_such_service(name: &str, cloud: Cloud) -> Problem {
    if let Some(reason) = catalog::not_offered(name, cloud) {
        return Problem::new(format!(
            "not offered in this cloud: {reason}; if it has zones there all the same, write \
             public-zone and private-zone"
        ));
    }
    let problem = Problem::new(
        "not in the catalogue; write one of the names that `privatelinkd services` lists, or \
         public-zone and private-zone",
    );
    let word = name.to_ascii_lowercase();
    let here = || catalog::services().iter().filter(move |service| service.cloud == cloud);
    let some = |fits: &dyn Fn(&Service) -> bool| {
        let fitting: Vec<_> =
            here().filter(|service| fits(service)).map(|service| service.name).collect();
        // `storage-blob-dns-zone` is a kind of `storage-blob`.
        let is_kind = |name: &&&str| {
            let of =
                |other: &&str| name.strip_prefix(*other).is_some_and(|rest| rest.starts_with('-'));
            fitting.iter().any(of)
        };
        let names: Vec<_> =
            fitting.iter().filter(|name| !is_kind(name)).copied().take(MAX_SUGGESTED).collect();
        (!names.is_empty()).then(|| format!("did you mean {}?", any_of(names)))
    };
    let near = some(&|service| service.aliases.contains(&word.as_str()))
        .or_else(|| did_you_mean(&word, here().map(|service| service.name)))
        .or_else(|| some(&|known| word.len() >= MIN_WORD_OCTETS && known.name.contains(&word)));
    near.into_iter().fold(problem, Problem::help)
}

/// Whether every variable of the service has a value, and none is too many.
fn variables_fit(
    spec: &PrivateLinkSpec,
    service: &Service,
    path: Path<'_>,
    findings: &mut Findings<'_>,
) -> bool {
    let needed = service.variables();
    let key = path.key("variables");
    for VariableSpec { name, span, .. } in &spec.variables {
        if needed.contains(&name.as_str()) {
            continue;
        }
        let problem = match needed.as_slice() {
            [] => Problem::bare(format!("the zones of {} have no variables", service.name)),
            needed => {
                let known = any_of(needed.iter().copied());
                let problem = format!("no variable of {}; write {known}", service.name);
                let near = did_you_mean(name, needed.iter().copied());
                near.into_iter().fold(Problem::bare(problem), Problem::help)
            }
        };
        findings.error(key.key(name), *span, problem);
    }
    let given = |name: &str| spec.variables.iter().find(|variable| variable.name == name);
    if spec.variables_wrong || spec.variables.iter().any(|v| v.value.is_none()) {
        return false;
    }
    let missing: Vec<_> = needed.iter().filter(|name| given(name).is_none()).collect();
    if missing.is_empty() {
        return spec.variables.len() == needed.len();
    }
    let holes: Vec<_> = missing.iter().map(|name| format!("{{{name}}}")).collect();
    let values = needed.iter().map(|name| {
        let value = given(name).and_then(|variable| variable.value.as_deref());
        format!("{name} = \"{}\"", value.unwrap_or_else(|| catalog::example_value(name)))
    });
    let problem = format!(
        "missing; the zones of {} hold {}: write variables = {{ {} }}",
        service.name,
        holes.join(" and "),
        values.collect::<Vec<_>>().join(", ")
    );
    findings.error(key, spec.variables_span.unwrap_or(spec.span), Problem::bare(problem));
    false
}

/// `cloud` and `variables` choose among the catalogue's zones, and say nothing of others.
fn warn_of_unused_keys(spec: &PrivateLinkSpec, path: Path<'_>, findings: &mut Findings<'_>) {
    let problem = "not used: it belongs to service, and the zones here are spelled out";
    if let Some(at) = spec.cloud.good() {
        findings.warn(path.key("cloud"), at.span, Problem::new(problem));
    }
    if let Some(span) = spec.variables_span {
        findings.warn(path.key("variables"), span, Problem::bare(problem));
    }
}

fn missing_zones(spec: &PrivateLinkSpec, path: Path<'_>, findings: &mut Findings<'_>) {
    if spec.public_zone.is_missing() {
        let private = spec.private_zone.good().map(|zone| zone.value.to_string());
        let public = private.as_deref().and_then(|text| text.strip_prefix("privatelink."));
        let problem = match public {
            Some(public) => format!("missing; write public-zone = \"{public}\""),
            None => "missing; write the zone that clients ask".to_owned(),
        };
        findings.error(path.key("public-zone"), spec.span, Problem::bare(problem));
    }
    if spec.private_zone.is_missing() {
        let problem = match spec.public_zone.good() {
            Some(public) => {
                format!("missing; write private-zone = \"privatelink.{}\"", public.value)
            }
            None => "missing; write the zone that holds the addresses".to_owned(),
        };
        findings.error(path.key("private-zone"), spec.span, Problem::bare(problem));
    }
}

/// A public zone, or one above it, given as private zone: it would hide public names.
fn hijacking(spec: &PrivateLinkSpec, private: &Name) -> Option<Problem> {
    let own = spec.public_zone.good().map(|zone| &zone.value);
    let own = own.filter(|public| public.is_within(private));
    let known = known_pair_within(private);
    let public = match (own, &known) {
        (Some(own), _) => own.to_string(),
        (None, Some((public, _))) => public.clone(),
        (None, None) => return None,
    };
    let right = match known {
        Some((known, right)) if known == public => right,
        _ => format!("privatelink.{public}"),
    };
    let what = if public == private.to_string() {
        "this is the public zone".to_owned()
    } else {
        format!("the public zone {public} lies inside it")
    };
    Some(Problem::new(format!(
        "{what}: as private zone it would hijack every public name; write \"{right}\""
    )))
}

/// A public zone above one that we know, such as the `*.defender.microsoft.com` of some drafts.
fn too_wide(public: &Name) -> Option<Problem> {
    let (known, _) = known_pair_within(public)?;
    (known != public.to_string()).then(|| {
        Problem::new(format!(
            "wider than the service: every name below it would be answered privately; write \
             \"{known}\""
        ))
    })
}

/// The zones of a known pair, public one first, whose public zone is `zone`, or else lies in it.
fn known_pair_within(zone: &Name) -> Option<(String, String)> {
    let text = zone.to_string();
    let at = catalog::zones_at(&text).into_iter().find(|place| place.role == Role::Public);
    at.map(|place| (place.public_zone, place.private_zone)).or_else(|| {
        let (_, pair) = catalog::public_zone_below(&text)?;
        let filled = |role| pair.filled(role, |name| Some(catalog::example_value(name)));
        Some((filled(Role::Public)?, filled(Role::Private)?))
    })
}

/// The service that has just this pair.
fn known_pair(public: &Name, private: &Name) -> Option<&'static Service> {
    let private = private.to_string();
    let places = catalog::zones_at(&public.to_string());
    let is_it =
        |place: &catalog::Place| place.role == Role::Public && place.private_zone == private;
    places.into_iter().find(is_it).map(|place| place.service)
}
