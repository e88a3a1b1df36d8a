//! Reads the catalogue's tables. What does not parse is left out; the tests show that nothing is.

use std::collections::BTreeMap;

use super::{Basis, Cloud, Evidence, Pair, Service};

/// Azure's table of private zones ("Azure Private Endpoint private DNS zone values"), and Defender's
/// row, which is missing there. A header line first; several values are separated by `;`.
pub(super) const ZONES: &str = include_str!("data/azure-zones.tsv");
/// Which of our services each row is.
pub(super) const NAMES: &str = include_str!("data/services.tsv");
/// The pairs that the rows do not say plainly.
pub(super) const PAIRS: &str = include_str!("data/pairs.tsv");
/// Zones that Azure's table does not have.
pub(super) const ADDITIONS: &str = include_str!("data/additions.tsv");
/// Other words for services.
pub(super) const ALIASES: &str = include_str!("data/aliases.tsv");

/// What nearly all private zones begin with.
pub(super) const PREFIX: &str = "privatelink.";

type Text = &'static str;

/// A row of Azure's table, or of the additions to it.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) cloud: Cloud,
    pub(super) resource_type: Text,
    pub(super) subresource: Text,
    pub(super) private: Text,
    pub(super) public: Text,
    /// `None` in Azure's table.
    pub(super) added: Option<Added>,
}

/// What an addition says besides.
#[derive(Clone, Copy)]
pub(super) struct Added {
    pub(super) service: Text,
    basis: Basis,
    source: Text,
}

/// Which service a row is.
struct Naming {
    name: Text,
    resource_type: Text,
    subresource: Text,
    only: Option<Cloud>,
    members: Vec<Text>,
    own_zones: bool,
}

/// A service while its rows are gathered.
#[derive(Default)]
struct Draft {
    resource_types: Vec<Text>,
    group_ids: Vec<Text>,
    pairs: Vec<Pair>,
    /// The private zone of all pairs before the additions.
    relative_to: Option<Text>,
    also_public: Vec<Text>,
    evidence: Vec<Evidence>,
    members: Vec<Text>,
    own_zones: bool,
}

impl Draft {
    /// Adds what every row says of its service.
    fn describe(&mut self, row: &Row) {
        let types = without_remark(row.resource_type).split(';');
        types.for_each(|text| add(&mut self.resource_types, text));
        row.subresource.split(';').for_each(|text| add(&mut self.group_ids, text));
    }

    /// The private zone of all its pairs.
    fn one_private(&self) -> Option<Text> {
        let first = self.pairs.first()?.private;
        self.pairs.iter().all(|pair| pair.private == first).then_some(first)
    }
}

/// All services, sorted by name, then by cloud.
pub(super) fn read() -> Vec<Service> {
    let namings: Vec<Naming> = lines(NAMES).filter_map(naming).collect();
    let mut drafts: BTreeMap<(Text, Cloud), Draft> = BTreeMap::new();
    for row in rows() {
        let is_row = |n: &&Naming| {
            (n.resource_type, n.subresource) == (row.resource_type, row.subresource)
                && n.only.is_none_or(|cloud| cloud == row.cloud)
        };
        for naming in namings.iter().filter(is_row) {
            let draft = drafts.entry((naming.name, row.cloud)).or_default();
            draft.describe(&row);
            plain_pairs(&row).into_iter().for_each(|pair| add(&mut draft.pairs, pair));
            naming.members.iter().for_each(|text| add(&mut draft.members, text));
            draft.own_zones |= naming.own_zones;
        }
    }
    spell_out(&mut drafts);
    for draft in drafts.values_mut() {
        draft.relative_to = draft.one_private();
    }
    add_on(&mut drafts);
    let whole = drafts.into_iter().filter(|(_, draft)| !draft.pairs.is_empty());
    whole.map(|((name, cloud), draft)| service(name, cloud, draft)).collect()
}

/// Adds the zones that Azure's table does not have, behind those that it has.
fn add_on(drafts: &mut BTreeMap<(Text, Cloud), Draft>) {
    for row in additions() {
        let Some(Added { service, basis, source }) = row.added else { continue };
        let draft = drafts.entry((service, row.cloud)).or_default();
        draft.describe(&row);
        match row.private {
            "" => add(&mut draft.also_public, row.public),
            private => add(&mut draft.pairs, Pair { public: row.public, private }),
        }
        draft.evidence.push(Evidence { public: row.public, basis, source });
    }
}

/// Puts the pairs that are written out in place of those that the rows say.
fn spell_out(drafts: &mut BTreeMap<(Text, Cloud), Draft>) {
    let mut written: BTreeMap<(Text, Cloud), Draft> = BTreeMap::new();
    for line in lines(PAIRS) {
        let mut cells = line.split('\t');
        let (Some(name), Some(cloud), Some(public)) =
            (cells.next(), cells.next().and_then(Cloud::parse), cells.next())
        else {
            continue;
        };
        let said = written.entry((name, cloud)).or_default();
        match cells.next() {
            Some(private) => said.pairs.push(Pair { public, private }),
            None => said.also_public.push(public),
        }
        let inferred = |source| Evidence { public, basis: Basis::Inferred, source };
        said.evidence.extend(cells.next().map(inferred));
    }
    for (key, said) in written {
        if let Some(draft) = drafts.get_mut(&key) {
            draft.pairs = said.pairs;
            draft.also_public = said.also_public;
            draft.evidence = said.evidence;
        }
    }
}

fn service(name: Text, cloud: Cloud, draft: Draft) -> Service {
    let aliases = lines(ALIASES).filter_map(|line| line.split_once('\t'));
    // Additions do not change what names of older configurations are relative to.
    let relative_to = draft.relative_to.or_else(|| draft.one_private());
    let aliases = aliases.filter(|(of, _)| *of == name).flat_map(|(_, words)| words.split(','));
    Service {
        name,
        cloud,
        aliases: aliases.collect::<Vec<_>>().leak(),
        // Once in the life of a process, and as long as it lives.
        resource_types: draft.resource_types.leak(),
        group_ids: draft.group_ids.leak(),
        relative_to,
        pairs: draft.pairs.leak(),
        also_public: draft.also_public.leak(),
        evidence: draft.evidence.leak(),
        members: draft.members.leak(),
        other_tenants: !draft.own_zones,
    }
}

fn add<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

/// Lines with content.
pub(super) fn lines(table: Text) -> impl Iterator<Item = Text> {
    table.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Azure's table.
pub(super) fn rows() -> impl Iterator<Item = Row> {
    ZONES.lines().skip(1).filter_map(row)
}

/// The additions to it.
pub(super) fn additions() -> impl Iterator<Item = Row> {
    lines(ADDITIONS).filter_map(row).filter(|row| row.added.is_some())
}

fn row(line: Text) -> Option<Row> {
    let mut cells = line.split('\t');
    let mut row = Row {
        cloud: Cloud::parse(cells.next()?)?,
        resource_type: cells.next()?,
        subresource: cells.next()?,
        private: cells.next()?,
        public: cells.next()?,
        added: None,
    };
    if let Some(service) = cells.next() {
        let basis = match cells.next()? {
            "documented" => Basis::Documented,
            "inferred" => Basis::Inferred,
            _ => return None,
        };
        row.added = Some(Added { service, basis, source: cells.next()? });
    }
    Some(row)
}

fn naming(line: Text) -> Option<Naming> {
    let mut cells = line.split('\t');
    let mut naming = Naming {
        name: cells.next()?,
        resource_type: cells.next()?,
        subresource: cells.next()?,
        only: None,
        members: Vec::new(),
        own_zones: false,
    };
    for remark in cells.next().unwrap_or("").split_whitespace() {
        match remark.split_once('=') {
            Some(("only", cloud)) => naming.only = Some(Cloud::parse(cloud)?),
            Some(("members", members)) => naming.members.extend(members.split(',')),
            None if remark == "own-zones" => naming.own_zones = true,
            _ => return None,
        }
    }
    Some(naming)
}

/// `Microsoft.Cache/RedisEnterprise (Azure Managed Redis)` without what stands behind the type.
fn without_remark(resource_type: Text) -> Text {
    resource_type.split_once(" (").map_or(resource_type, |(front, _)| front)
}

/// A row's pairs, where it has one public zone for each private one and the usual spelling.
pub(super) fn plain_pairs(row: &Row) -> Vec<Pair> {
    let (private, public) = (row.private.split(';'), row.public.split(';'));
    if private.clone().count() != public.clone().count() {
        return Vec::new();
    }
    let pairs = public.zip(private).map(|(public, private)| Pair { public, private });
    let plain =
        |pair: Pair| (pair.private.strip_prefix(PREFIX) == Some(pair.public)).then_some(pair);
    pairs.map(plain).collect::<Option<Vec<_>>>().unwrap_or_default()
}
