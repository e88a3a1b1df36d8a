//! Reads the catalogue's tables. What does not parse is left out; the tests show that nothing is.

use std::collections::BTreeMap;

use super::{Cloud, Pair, Service};

/// Azure's table of private zones ("Azure Private Endpoint private DNS zone values"), and Defender's
/// row, which is missing there. A header line first; several values are separated by `;`.
pub(super) const ZONES: &str = include_str!("data/azure-zones.tsv");
/// Which of our services each row is.
pub(super) const NAMES: &str = include_str!("data/services.tsv");
/// The pairs that the rows do not say plainly.
pub(super) const PAIRS: &str = include_str!("data/pairs.tsv");
/// Other words for services.
pub(super) const ALIASES: &str = include_str!("data/aliases.tsv");

/// What nearly all private zones begin with.
pub(super) const PREFIX: &str = "privatelink.";

type Text = &'static str;

/// A row of Azure's table.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) cloud: Cloud,
    pub(super) resource_type: Text,
    pub(super) subresource: Text,
    pub(super) private: Text,
    pub(super) public: Text,
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
    also_public: Vec<Text>,
    members: Vec<Text>,
    own_zones: bool,
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
            let types = without_remark(row.resource_type).split(';');
            types.for_each(|text| add(&mut draft.resource_types, text));
            row.subresource.split(';').for_each(|text| add(&mut draft.group_ids, text));
            plain_pairs(&row).into_iter().for_each(|pair| add(&mut draft.pairs, pair));
            naming.members.iter().for_each(|text| add(&mut draft.members, text));
            draft.own_zones |= naming.own_zones;
        }
    }
    spell_out(&mut drafts);
    let whole = drafts.into_iter().filter(|(_, draft)| !draft.pairs.is_empty());
    whole.map(|((name, cloud), draft)| service(name, cloud, draft)).collect()
}

/// Puts the pairs that are written out in place of those that the rows say.
fn spell_out(drafts: &mut BTreeMap<(Text, Cloud), Draft>) {
    let mut written: BTreeMap<(Text, Cloud), (Vec<Pair>, Vec<Text>)> = BTreeMap::new();
    for line in lines(PAIRS) {
        let mut cells = line.split('\t');
        let (Some(name), Some(cloud), Some(public)) =
            (cells.next(), cells.next().and_then(Cloud::parse), cells.next())
        else {
            continue;
        };
        let (pairs, also_public) = written.entry((name, cloud)).or_default();
        match cells.next() {
            Some(private) => pairs.push(Pair { public, private }),
            None => also_public.push(public),
        }
    }
    for (key, (pairs, also_public)) in written {
        if let Some(draft) = drafts.get_mut(&key) {
            (draft.pairs, draft.also_public) = (pairs, also_public);
        }
    }
}

fn service(name: Text, cloud: Cloud, draft: Draft) -> Service {
    let aliases = lines(ALIASES).filter_map(|line| line.split_once('\t'));
    let aliases = aliases.filter(|(of, _)| *of == name).flat_map(|(_, words)| words.split(','));
    Service {
        name,
        cloud,
        aliases: aliases.collect::<Vec<_>>().leak(),
        // Once in the life of a process, and as long as it lives.
        resource_types: draft.resource_types.leak(),
        group_ids: draft.group_ids.leak(),
        pairs: draft.pairs.leak(),
        also_public: draft.also_public.leak(),
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
    ZONES.lines().skip(1).filter_map(|line| {
        let mut cells = line.split('\t');
        Some(Row {
            cloud: Cloud::parse(cells.next()?)?,
            resource_type: cells.next()?,
            subresource: cells.next()?,
            private: cells.next()?,
            public: cells.next()?,
        })
    })
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
