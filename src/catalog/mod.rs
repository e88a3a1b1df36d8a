//! The Private Link services that we know by name: their zones and what Azure calls them.
//!
//! Owns facts about Azure, nothing about this installation. They stand in tables under `data`:
//! Azure's own list of zones, kept word for word so that it can be held against a newer one; which
//! of our services each of its rows is; the pairs that its columns do not say plainly; and the zones
//! that it does not have.

mod places;
mod ports;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::LazyLock;

pub use places::{Place, places, public_zone_below, zones_at};
pub use ports::port;

/// One of Azure's clouds, each with zones of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cloud {
    /// The one that everybody means who names none.
    #[default]
    Commercial,
    /// Azure Government (United States).
    Government,
    /// Azure in China, operated by 21Vianet.
    China,
}

impl Cloud {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Commercial, Self::Government, Self::China];

    /// As the configuration writes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Commercial => "commercial",
            Self::Government => "government",
            Self::China => "china",
        }
    }

    /// The cloud that the configuration writes so.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cloud| cloud.word() == word)
    }
}

impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Which zone of a pair.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The zone that clients ask.
    Public,
    /// The zone that holds the addresses.
    Private,
}

/// Two zones, without final dots: `x.public` is an alias of `x.private`, whatever labels `x` is.
///
/// Either may hold variables for one label each, in Azure's own words: `{regionName}`. Both zones of
/// a pair hold the same ones.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize)]
pub struct Pair {
    /// The zone that clients ask.
    pub public: &'static str,
    /// The zone that holds the addresses.
    pub private: &'static str,
}

/// How a zone is known that Azure's table of private zones does not have, or not plainly.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// A text or an example of Microsoft's has it.
    Documented,
    /// It follows from other names of Microsoft's.
    Inferred,
}

/// What a pair, or a public zone without a pair, rests on where it is not Azure's table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Evidence {
    /// The public zone of the pair, one of the service's.
    pub public: &'static str,
    /// Whether it is documented or inferred.
    pub basis: Basis,
    /// Where it is documented, or from what it is inferred.
    pub source: &'static str,
}

/// One service of the catalogue in one cloud.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Service {
    /// What `service = "…"` says.
    pub name: &'static str,
    /// What `cloud = "…"` says.
    pub cloud: Cloud,
    /// What people call it besides: words to find it by, no names.
    pub aliases: &'static [&'static str],
    /// Azure's resource types.
    pub resource_types: &'static [&'static str],
    /// Azure's group ids (also called subresources).
    pub group_ids: &'static [&'static str],
    /// At least one.
    pub pairs: &'static [Pair],
    /// The private zone that relative names belong to: that of the pairs, if they share one. Where
    /// Azure gave the service a further zone later, it is the first one, so that older
    /// configurations go on to mean the same. `None`: names are written whole.
    pub relative_to: Option<&'static str>,
    /// Zones whose names Azure's own CNAMEs lead into the pairs: askers forward these zones too, and
    /// are answered by where the chain ends.
    pub also_public: &'static [&'static str],
    /// What the zones rest on that Azure's table does not have.
    pub evidence: &'static [Evidence],
    /// What one private endpoint holds an address for, each its own; empty where that is not known.
    pub members: &'static [&'static str],
    /// Other tenants have names in the zones too, so that what we do not list is not ours.
    pub other_tenants: bool,
}

/// What a label that stands for a variable begins and ends with.
const VARIABLE: [char; 2] = ['{', '}'];

/// The variable that this label of a zone is.
fn variable(label: &'static str) -> Option<&'static str> {
    label.strip_prefix(VARIABLE[0])?.strip_suffix(VARIABLE[1])
}

impl Pair {
    /// The zone of this role.
    pub fn zone(&self, role: Role) -> &'static str {
        match role {
            Role::Public => self.public,
            Role::Private => self.private,
        }
    }

    /// The variables that must be known, in the order in which they stand.
    pub fn variables(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.public.split('.').filter_map(variable)
    }

    /// The zone of this role with its variables replaced; `None` when `value` does not know one.
    pub fn filled<'v>(
        &self,
        role: Role,
        value: impl Fn(&str) -> Option<&'v str>,
    ) -> Option<String> {
        let labels = self.zone(role).split('.').map(|label| match variable(label) {
            Some(name) => value(name),
            None => Some(label),
        });
        Some(labels.collect::<Option<Vec<_>>>()?.join("."))
    }
}

impl Service {
    /// The variables of all its pairs, each once.
    ///
    /// ```
    /// use privatelinkd::catalog::{Cloud, find};
    /// let aks = find("aks", Cloud::Commercial).unwrap();
    /// assert_eq!(aks.variables(), ["regionName"]);
    /// ```
    pub fn variables(&self) -> Vec<&'static str> {
        let mut all = Vec::new();
        for name in self.pairs.iter().flat_map(Pair::variables) {
            if !all.contains(&name) {
                all.push(name);
            }
        }
        all
    }

    /// Whether the service has resources of Azure's type `resource_type`
    /// (`Microsoft.Storage/storageAccounts`), in any case.
    ///
    /// Goes by the service's rows of all clouds: Azure's table lists a newer type in some clouds only,
    /// and endpoints have it in all. A row that names only the provider means all of its types.
    pub fn has_resource_type(&self, resource_type: &str) -> bool {
        let provider = resource_type.split('/').next().unwrap_or(resource_type);
        let rows = services().iter().filter(|other| other.name == self.name);
        rows.flat_map(|row| row.resource_types).any(|known| {
            let asked = if known.contains('/') { resource_type } else { provider };
            known.eq_ignore_ascii_case(asked)
        })
    }

    /// Whether all its pairs share one private zone, below which names are then unambiguous.
    pub fn has_one_private_zone(&self) -> bool {
        self.pairs.windows(2).all(|two| matches!(two, [a, b] if a.private == b.private))
    }
}

/// What a variable may stand for, as an example.
pub fn example_value(variable: &str) -> &'static str {
    match variable {
        // Azure Backup has short codes of its own for regions; this is West Europe's.
        "regionCode" => "we",
        "dnsPrefix" => "a1b2c3d4e5f6",
        "partitionId" => "2",
        _ => "westeurope",
    }
}

static SERVICES: LazyLock<Vec<Service>> = LazyLock::new(table::read);

/// All services, sorted by name, then by cloud.
pub fn services() -> &'static [Service] {
    &SERVICES
}

/// The service of this name in this cloud.
///
/// ```
/// use privatelinkd::catalog::{Cloud, find};
/// let blob = find("storage-blob", Cloud::China).unwrap();
/// assert_eq!(blob.pairs[0].private, "privatelink.blob.core.chinacloudapi.cn");
/// assert!(find("no-such-service", Cloud::Commercial).is_none());
/// ```
pub fn find(name: &str, cloud: Cloud) -> Option<&'static Service> {
    let all = services();
    let at = all.binary_search_by(|service| (service.name, service.cloud).cmp(&(name, cloud)));
    all.get(at.ok()?)
}

/// Why a service that another cloud has cannot be named with this one; `None` where it can be, or
/// where no cloud has it.
pub fn not_offered(name: &str, cloud: Cloud) -> Option<&'static str> {
    let elsewhere = Cloud::ALL.into_iter().any(|other| find(name, other).is_some());
    if !elsewhere || find(name, cloud).is_some() {
        return None;
    }
    // Microsoft's page on Defender for Cloud and Private Link says so; the others are absent from
    // Azure's table.
    Some(match (name, cloud) {
        ("defender-for-containers", Cloud::Government) => {
            "Defender for Cloud has no private endpoints in Azure Government"
        }
        ("defender-for-containers", Cloud::China) => {
            "Defender for Cloud has no private endpoints in Azure China (21Vianet)"
        }
        (_, Cloud::Commercial) => {
            "Azure's table of private zones has no row of it in the commercial cloud"
        }
        (_, Cloud::Government) => {
            "Azure's table of private zones has no row of it in Azure Government"
        }
        (_, Cloud::China) => {
            "Azure's table of private zones has no row of it in Azure China (21Vianet)"
        }
    })
}
