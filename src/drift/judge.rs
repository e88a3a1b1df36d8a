//! Whether an answer is what Azure has.

use std::net::IpAddr;

use super::absence::Coverage;
use super::answered::{Answered, Outcome};
use super::configured::Listing;
use super::known::{Known, Subject};
use super::report::{Expected, Kind};
use crate::addresses::{Class, reaches};

/// What an answer is held against.
#[derive(Clone, Copy)]
pub(super) struct Case<'k> {
    pub known: &'k Known,
    /// What Azure has for the name; `None`: nothing.
    pub subject: Option<&'k Subject>,
    /// Where the configuration lists the name.
    pub listings: &'k [Listing],
    /// As [`Stranger::gone`](super::configured::Stranger::gone).
    pub gone: Option<&'k str>,
    /// A server said it, not the configuration: a failure is its own, and no missing name.
    pub live: bool,
}

impl Case<'_> {
    /// Which kind of finding the answer is, and why; `None` where all is well.
    pub(super) fn judge(&self, answered: &Answered) -> Option<(Kind, String)> {
        let azure = self.subject.map_or(&[][..], |subject| &subject.azure);
        let addresses = &answered.addresses;
        if addresses.is_empty() {
            return (!azure.is_empty()).then(|| self.unanswered(&answered.outcome));
        }
        let is_public = |ip: &IpAddr| reaches(*ip, |class| class == Class::Public);
        if azure.is_empty() && addresses.iter().all(is_public) {
            // The public service, where nothing private is to be had.
            return None;
        }
        let strangers: Vec<IpAddr> =
            addresses.iter().copied().filter(|ip| self.known.owner(*ip).is_none()).collect();
        match self.subject {
            None => Some(self.lacks(addresses, &strangers)),
            Some(subject) if azure.is_empty() => {
                let serves = !self.listings.is_empty() || !strangers.is_empty();
                serves.then(|| (Kind::Stale, subject.left_out.join("; ")))
            }
            Some(_) if fits(addresses, azure) => None,
            Some(_) if self.may_be_elsewhere(&strangers, azure) => None,
            Some(_) => Some(self.differs(addresses, &strangers, azure)),
        }
    }

    /// A name that the files lack has these addresses.
    fn lacks(&self, addresses: &[IpAddr], strangers: &[IpAddr]) -> (Kind, String) {
        let Some(gone) = self.gone else {
            let mut why = "no endpoint of the files has the name".to_owned();
            if !strangers.is_empty() {
                why += &format!(", and none has {}", listed(strangers));
            }
            return (Kind::Extra, why);
        };
        let owner = |ip: &IpAddr| Some(format!("{ip} is of endpoint {}", self.known.owner(*ip)?));
        let whose = match addresses.iter().find_map(owner) {
            Some(whose) => whose,
            None => format!("no approved endpoint has {}", listed(strangers)),
        };
        (Kind::Stale, format!("{gone}; {whose}"))
    }

    /// Whether the addresses may be of an endpoint in a part of Azure that the files do not hold:
    /// the configuration lists the name at Azure's addresses too.
    fn may_be_elsewhere(&self, strangers: &[IpAddr], azure: &[Expected]) -> bool {
        self.known.coverage == Coverage::Part
            && !strangers.is_empty()
            && strangers.iter().all(|ip| self.known.why_left_out(*ip).is_none())
            && self.listings.iter().any(|listing| fits(&listing.addresses, azure))
    }

    fn unanswered(&self, outcome: &Outcome) -> (Kind, String) {
        let (no_answer, why) = match outcome {
            Outcome::Failed(how) => (true, how.as_str()),
            Outcome::Refused => (true, "the query is refused"),
            Outcome::Dropped => (true, "the query is dropped"),
            Outcome::Nodata | Outcome::Addresses => {
                (false, "the name is answered without an address")
            }
            Outcome::Nxdomain => (false, "the name is denied"),
            Outcome::Forwarded => (false, "the name is not answered here, but forwarded"),
        };
        let kind = if no_answer && self.live { Kind::Unanswered } else { Kind::Missing };
        (kind, why.to_owned())
    }

    fn differs(
        &self,
        addresses: &[IpAddr],
        strangers: &[IpAddr],
        azure: &[Expected],
    ) -> (Kind, String) {
        let theirs = |ip: &IpAddr| azure.iter().any(|one| one.addresses.contains(ip));
        let others: Vec<IpAddr> = addresses.iter().copied().filter(|ip| !theirs(ip)).collect();
        if others.iter().any(|ip| reaches(*ip, |class| class == Class::Public)) {
            return (Kind::Public, "traffic goes around the private link".to_owned());
        }
        if let Some(first) = strangers.first() {
            let why = match self.known.why_left_out(*first) {
                Some(why) => format!("{first} is of {why}"),
                None => format!("no approved endpoint of the files has {}", listed(strangers)),
            };
            return (Kind::Stale, why);
        }
        let why = match others.first() {
            Some(first) => {
                format!("{first} is of endpoint {}", self.known.owner(*first).unwrap_or("?"))
            }
            None => "a part of the addresses only".to_owned(),
        };
        (Kind::Different, why)
    }
}

/// Whether `addresses` are Azure's, and all that one endpoint has at least: which of several
/// endpoints a client gets is for the configuration to say.
fn fits(addresses: &[IpAddr], azure: &[Expected]) -> bool {
    let theirs = |ip: &IpAddr| azure.iter().any(|one| one.addresses.contains(ip));
    let whole = |one: &Expected| one.addresses.iter().all(|ip| addresses.contains(ip));
    addresses.iter().all(theirs) && azure.iter().any(whole)
}

/// Addresses in words.
pub(super) fn listed(addresses: &[IpAddr]) -> String {
    let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    texts.join(", ")
}
