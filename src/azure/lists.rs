//! Lists of private endpoints: what the files have whole, and so what Azure does not have.

use std::collections::BTreeMap;

use super::facts::{ListFact, Pages, Reach};
use super::json::Node;
use super::model::EndpointList;

/// Sizes of one page of Resource Graph: its default and its largest (`--first`). A plain list of so
/// many rows has lost its envelope, and may have lost further rows with it.
const PAGE_ROWS: [usize; 2] = [100, 1_000];
/// A member of Resource Graph's rows that no other tool prints.
const ROW_MEMBER: &str = "tenantId";

/// How much of Azure's answer a list has that no envelope describes.
pub(super) fn reach_of_plain(list: &Node<'_>) -> Reach {
    let is_page = PAGE_ROWS.contains(&list.items().count());
    let is_row = |item: Node<'_>| item.value().get(ROW_MEMBER).is_some();
    if is_page && list.items().next().is_some_and(is_row) { Reach::Part } else { Reach::Whole }
}

/// How much of Azure's answer the list in an envelope has: of REST (`value`) or of Resource Graph
/// (`data`).
pub(super) fn reach_inside(envelope: &Node<'_>) -> Reach {
    let total = envelope.get_any(&["total_records", "totalRecords"]);
    if let Some(total) = total.and_then(|total| total.value().as_u64()) {
        return Reach::OfTotal(total);
    }
    let goes_on = envelope.get_any(&["nextLink", "skip_token", "$skipToken"]);
    let goes_on = goes_on.is_some_and(|next| next.value().as_str() != Some(""));
    if goes_on { Reach::Part } else { Reach::Whole }
}

/// The lists of the files, sorted by place.
pub(super) fn finish(lists: &[ListFact], pages: &BTreeMap<u64, Pages>) -> Vec<EndpointList> {
    let has_all = |total: &u64| {
        let pages = pages.get(total);
        pages.is_some_and(|pages| pages.rows.len().max(pages.most) as u64 >= *total)
    };
    let finish = |list: &ListFact| EndpointList {
        source: list.source.clone(),
        count: list.count,
        of_interfaces: list.of_interfaces,
        is_complete: match &list.reach {
            Reach::Whole => true,
            Reach::Part => false,
            Reach::OfTotal(total) => has_all(total),
        },
    };
    let mut lists: Vec<_> = lists.iter().map(finish).collect();
    lists.sort_by(|one, other| one.source.cmp(&other.source));
    lists
}
