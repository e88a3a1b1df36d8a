//! `[[private-link]]` and its endpoints as typed.

use std::net::IpAddr;
use std::ops::Range;

use toml::de::DeValue;

use super::{ENDPOINT, MANY, PRIVATE_LINK, endpoint_addresses};
use crate::catalog::Cloud;
use crate::config::findings::{Findings, Problem, Span};
use crate::config::limits;
use crate::config::model::{Names, Unlisted};
use crate::config::probes::{AllDown, Probe};
use crate::config::table::{At, Field, List, Listed, Table, read_items};
use crate::config::values;
use crate::wire::Name;

pub(in crate::config) struct PrivateLinkSpec {
    pub(in crate::config) service: Field<String>,
    pub(in crate::config) cloud: Field<Cloud>,
    pub(in crate::config) variables: Vec<VariableSpec>,
    /// Where `variables` stands, if it is there.
    pub(in crate::config) variables_span: Option<Span>,
    /// `variables` is no table; that has been said.
    pub(in crate::config) variables_wrong: bool,
    pub(in crate::config) public_zone: Field<Name>,
    pub(in crate::config) private_zone: Field<Name>,
    pub(in crate::config) unlisted: Field<Unlisted>,
    pub(in crate::config) ttl_seconds: u32,
    pub(in crate::config) negative_ttl_seconds: u32,
    pub(in crate::config) require_private: Field<bool>,
    pub(in crate::config) all_down: Field<AllDown>,
    pub(in crate::config) endpoints: Vec<EndpointSpec>,
    /// `endpoint` is there and not an empty list; a wrong one counts.
    pub(in crate::config) endpoints_given: bool,
    /// An entry above has the same zones, and an endpoint of the same name with the same names; that
    /// has been said.
    pub(in crate::config) repeats_another: bool,
    pub(in crate::config) span: Span,
}

/// An entry of `variables`; without a value when that is wrong, which has been said.
pub(in crate::config) struct VariableSpec {
    pub(in crate::config) name: String,
    pub(in crate::config) span: Span,
    pub(in crate::config) value: Option<String>,
}

pub(in crate::config) struct EndpointSpec {
    pub(in crate::config) name: Field<String>,
    pub(in crate::config) sites: List<String>,
    pub(in crate::config) addresses: List<IpAddr>,
    pub(in crate::config) names: NamesSpec,
    /// `names` is there and not an empty table; a wrong one counts.
    pub(in crate::config) names_given: bool,
    pub(in crate::config) probe: Field<Option<Probe>>,
    pub(in crate::config) span: Span,
}

impl EndpointSpec {
    /// Whether it is probed, or was meant to be.
    pub(in crate::config) fn is_probed(&self) -> bool {
        match &self.probe {
            Field::Good(at) => at.value.is_some(),
            Field::Wrong => true,
            Field::Missing => false,
        }
    }
}

/// `names`: very many in large files, so neither texts nor addresses are allocated one by one.
#[derive(Default)]
pub(in crate::config) struct NamesSpec {
    /// In the file's order.
    pub(in crate::config) entries: Vec<NameSpec>,
    texts: String,
    addresses: Vec<At<IpAddr>>,
}

/// An entry of `names`.
pub(in crate::config) struct NameSpec {
    pub(in crate::config) name: Name,
    pub(in crate::config) span: Span,
    text: Range<usize>,
    addresses: Range<usize>,
}

impl NamesSpec {
    /// The name as typed, for messages.
    pub(in crate::config) fn text(&self, entry: &NameSpec) -> &str {
        self.texts.get(entry.text.clone()).unwrap_or("")
    }

    /// What is listed for the name.
    pub(in crate::config) fn addresses(&self, entry: &NameSpec) -> &[At<IpAddr>] {
        self.addresses.get(entry.addresses.clone()).unwrap_or(&[])
    }

    /// Gives every name what `rename` makes of it and its text; those it makes nothing of go.
    pub(in crate::config) fn rename(
        &mut self,
        mut rename: impl FnMut(&str, &NameSpec) -> Option<Name>,
    ) {
        let texts = &self.texts;
        self.entries.retain_mut(|entry| {
            let text = texts.get(entry.text.clone()).unwrap_or("");
            rename(text, entry).map(|name| entry.name = name).is_some()
        });
    }

    pub(in crate::config) fn values(self) -> Names {
        let mut names = Names::with_capacity(self.entries.len());
        for NameSpec { name, addresses, .. } in self.entries {
            let addresses = self.addresses.get(addresses).unwrap_or(&[]);
            names.push(name, addresses.iter().map(|at| at.value));
        }
        names
    }
}

pub(super) fn read(table: &Table<'_>, findings: &mut Findings<'_>) -> PrivateLinkSpec {
    table.only(PRIVATE_LINK, findings);
    let service =
        table.text("service", "write a service's name", findings, |text| Ok(text.to_owned()));
    let clouds = Cloud::ALL.map(|cloud| (cloud.word(), cloud));
    let cloud = table.choice("cloud", &clouds, findings);
    let (variables, variables_wrong) = read_variables(table, findings);
    let zone = |key, findings: &mut Findings<'_>| {
        table.text(key, values::WANTED_ZONE, findings, |text| {
            values::zone(text).and_then(|name| match name.label_count() {
                0 => {
                    Err(Problem::new(format!("the root is no zone here; {}", values::WANTED_ZONE)))
                }
                _ => Ok(name),
            })
        })
    };
    let (public_zone, private_zone) =
        (zone("public-zone", findings), zone("private-zone", findings));
    let choices = [Unlisted::Wildcard, Unlisted::Nxdomain, Unlisted::Forward];
    let choices = choices.map(|unlisted| (unlisted.word(), unlisted));
    let unlisted = table.choice("unlisted", &choices, findings);
    let ttl = |key, range: &limits::TimeRange, findings: &mut Findings<'_>| {
        let wanted = values::wanted_duration(range);
        let field = table.text(key, &wanted, findings, |text| values::ttl(text, range));
        field.or(u32::try_from(range.default.as_secs()).unwrap_or(u32::MAX))
    };
    let ttl_seconds = ttl("ttl", &limits::TTL, findings);
    let negative_ttl_seconds = ttl("negative-ttl", &limits::NEGATIVE_TTL, findings);
    let require_private = table.flag("require-private", findings);
    let choices = [AllDown::ServeAll, AllDown::Servfail, AllDown::Public];
    let choices = choices.map(|choice| (choice.as_str(), choice));
    let all_down = table.choice("all-down", &choices, findings);
    let endpoints = table.tables("endpoint", "private-link.endpoint", findings, read_endpoint);
    PrivateLinkSpec {
        service,
        cloud,
        variables,
        variables_span: table.entries.get("variables").map(|value| value.span().into()),
        variables_wrong,
        public_zone,
        private_zone,
        unlisted,
        ttl_seconds,
        negative_ttl_seconds,
        require_private,
        all_down,
        endpoints,
        endpoints_given: table
            .entries
            .get("endpoint")
            .is_some_and(|value| value.get_ref().as_array().is_none_or(|all| !all.is_empty())),
        repeats_another: false,
        span: table.span,
    }
}

/// The variables, and whether they are no table at all.
fn read_variables(table: &Table<'_>, findings: &mut Findings<'_>) -> (Vec<VariableSpec>, bool) {
    const WANTED: &str = "write a table of names and values: { regionName = \"westeurope\" }";
    let Some(value) = table.entries.get("variables") else { return (Vec::new(), false) };
    let path = table.path.key("variables");
    let DeValue::Table(entries) = value.get_ref() else {
        findings.error(path, value.span().into(), Problem::new(WANTED));
        return (Vec::new(), true);
    };
    let inner = Table { entries, path, span: value.span().into() };
    let read = |name: &str, span, findings: &mut Findings<'_>| {
        let wanted = values::WANTED_VARIABLE;
        let value = inner.text(name, wanted, findings, values::variable);
        let value = value.good().map(|at| at.value.clone());
        VariableSpec { name: name.to_owned(), span, value }
    };
    let keys = entries.keys().map(|key| (&**key.get_ref(), key.span().into()));
    (keys.map(|(name, span)| read(name, span, findings)).collect(), false)
}

fn read_endpoint(table: &Table<'_>, findings: &mut Findings<'_>) -> EndpointSpec {
    table.only(ENDPOINT, findings);
    let name = table.text("name", values::WANTED_LABEL, findings, values::label);
    if name.is_missing() {
        table.missing("name", values::WANTED_LABEL, findings);
    }
    let wanted = "write the names of sites, such as \"frankfurt\"; leave sites out for everybody";
    let listed = Listed { wanted, at_least_one: true, at_most: MANY };
    let sites = table.list("sites", &listed, findings, values::label);
    let listed = endpoint_addresses(true);
    let addresses = table.list("addresses", &listed, findings, values::endpoint_address);
    EndpointSpec {
        name,
        sites,
        addresses,
        names: read_names(table, findings),
        names_given: names_given(table),
        probe: table.text("probe", values::WANTED_ENDPOINT_PROBE, findings, values::endpoint_probe),
        span: table.span,
    }
}

fn names_given(table: &Table<'_>) -> bool {
    let names = table.entries.get("names").map(|value| value.get_ref());
    names.is_some_and(|names| names.as_table().is_none_or(|table| !table.is_empty()))
}

fn read_names(table: &Table<'_>, findings: &mut Findings<'_>) -> NamesSpec {
    let mut names = NamesSpec::default();
    let Some(value) = table.entries.get("names") else { return names };
    let path = table.path.key("names");
    let DeValue::Table(entries) = value.get_ref() else {
        let wanted = "write a table of names and addresses: { \"api\" = [\"10.1.0.5\"] }";
        findings.error(path, value.span().into(), Problem::new(wanted));
        return names;
    };
    names.entries.reserve_exact(entries.len());
    names.addresses.reserve_exact(entries.len());
    let listed = endpoint_addresses(true);
    for (key, value) in entries {
        let (text, span): (&str, Span) = (key.get_ref(), key.span().into());
        let path = path.key(text);
        if let DeValue::Table(inner) = value.get_ref() {
            let next: &str = inner.keys().next().map_or("…", |key| key.get_ref());
            let problem = "a name with a dot needs quotes around all of it";
            let help = format!("write \"{text}.{next}\" = [\"10.1.0.5\"]");
            findings.error(path, span, Problem::bare(problem).help(help));
            continue;
        }
        let (addresses, texts) = (names.addresses.len(), names.texts.len());
        let mut read = |at| names.addresses.push(at);
        read_items(value, path, &listed, findings, values::endpoint_address, &mut read);
        match listed_name(text) {
            Ok(name) => {
                names.texts.push_str(text);
                let text = texts..names.texts.len();
                let addresses = addresses..names.addresses.len();
                names.entries.push(NameSpec { name, span, text, addresses });
            }
            Err(problem) => findings.error(path, span, problem),
        }
    }
    // The table is in alphabetical order; messages speak of the first and the second in the file.
    names.entries.sort_unstable_by_key(|entry| entry.span.start);
    names
}

/// A name relative to its zone, or a whole one: that depends on the zones.
fn listed_name(text: &str) -> Result<Name, Problem> {
    const WANTED: &str = "write a name such as \"api\" or \"data.westeurope\"";
    if text.split('.').any(|label| label == "*") {
        return Err(Problem::bare(
            "a wildcard is not a name here; write its addresses into the endpoint's addresses",
        ));
    }
    if text.contains(['{', '}']) {
        return Err(Problem::bare(format!("a placeholder is left over; {WANTED}")));
    }
    match text.parse::<Name>() {
        Ok(name) if name.label_count() == 0 => Err(Problem::bare(WANTED)),
        Ok(name) => Ok(name),
        Err(error) => Err(Problem::bare(format!("{error}; {WANTED}"))),
    }
}
