//! The inventory: what files of any shape come down to.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

/// All that the files say.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Inventory {
    /// Usable endpoints, sorted by name; those that complaints leave out are not among them.
    pub endpoints: Vec<Endpoint>,
    /// Those that are left out, as far as the files tell their names and addresses.
    pub left_out: Vec<LeftOut>,
    /// Endpoints of private link services, which have addresses and no names in Azure. Sorted.
    pub nameless: Vec<Endpoint>,
    /// Names that the files have, and that complaints leave out because of what the files say of
    /// them: where they lead is not known. Sorted.
    pub doubtful: Vec<String>,
    /// What was refused, left out or doubtful, by file and place.
    pub complaints: Vec<Complaint>,
    /// Zones that the catalogue lacks, as the files show them to belong together; sorted.
    pub pairs: Vec<ZonePair>,
    /// Lists that private endpoints or their interfaces stand in, sorted by place. An object that
    /// stands alone is in no list: it says nothing about others.
    pub lists: Vec<EndpointList>,
    /// The zones of each name above, of the catalogue or of `pairs`; `None`: the files do not tell.
    #[serde(skip)]
    pub homes: BTreeMap<String, Option<ZonePair>>,
}

/// A list of private endpoints, or of network interfaces.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct EndpointList {
    /// Where it stands.
    pub source: Source,
    /// How many private endpoints it has; for a list of interfaces, how many of them are private
    /// endpoints'.
    pub count: usize,
    /// It has network interfaces, and no private endpoint.
    pub of_interfaces: bool,
    /// It is all that Azure had to say, not one page of several. Whether Azure was asked for one
    /// resource group or for all subscriptions, the list does not tell.
    pub is_complete: bool,
}

/// A public zone and its private one, which keeps the labels in front.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ZonePair {
    /// Lower case, without a final dot.
    pub public_zone: String,
    /// Lower case, without a final dot.
    pub private_zone: String,
}

/// A private endpoint, or what stands for one: a zone's records that no endpoint claims.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Endpoint {
    /// Its name in Azure, unchecked; for records without an endpoint, their zone's.
    pub name: String,
    /// Azure's name of the region, `westeurope`.
    pub region: Option<String>,
    /// What it leads to: `Microsoft.Storage/storageAccounts`.
    pub resource_type: Option<String>,
    /// Azure's group ids (subresources): `blob`.
    pub group_ids: Vec<String>,
    /// Its names and addresses, sorted by name.
    pub records: Vec<Record>,
    /// Where it stands.
    pub source: Source,
}

impl Endpoint {
    /// What to call it in messages, unchecked like its name: what was cut out of its object has none.
    pub fn title(&self) -> &str {
        called(&self.name)
    }
}

/// A name, or a word where there is none.
pub(super) fn called(name: &str) -> &str {
    if name.trim().is_empty() { "(unnamed)" } else { name }
}

/// An endpoint that must not be served.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct LeftOut {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Why, in few words: `its connection is Rejected`.
    pub why: String,
    /// It carries no traffic. Otherwise it may, and only its names are not known.
    pub is_unfit: bool,
}

/// A name and its addresses.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    /// The public or the private name: lower case, without a final dot.
    pub fqdn: String,
    /// Sorted, none twice.
    pub addresses: Vec<IpAddr>,
    /// The group id that the name belongs to, where the file says so.
    pub group_id: Option<String>,
    /// The member of that group: `api`.
    pub member: Option<String>,
    /// Where it stands first.
    pub source: Source,
    /// Other places that say the same.
    pub also: Vec<Source>,
}

/// A place in a file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Source {
    /// The file's name as given.
    pub file: String,
    /// `[3].properties.customDnsConfigs[0]`, `line 12`; empty: the file as a whole.
    pub at: String,
}

/// Something that an answer must not silently rest on.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Complaint {
    /// Where it stands.
    pub source: Source,
    /// What became of it.
    pub severity: Severity,
    /// What was found, why it matters, what to do.
    pub text: String,
}

/// What became of the thing that a complaint is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The file cannot be used.
    Refused,
    /// It is missing from the inventory.
    LeftOut,
    /// It was taken, and deserves a look.
    Noted,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at.as_str() {
            "" => f.write_str(&self.file),
            at => write!(f, "{}: {at}", self.file),
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused",
            Self::LeftOut => "left out",
            Self::Noted => "note",
        })
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.source, self.severity, self.text)
    }
}
