//! Addresses that an upstream's answer must not hold: public ones for names that must be private,
//! private ones where a name of the public DNS could be bound to a host of ours (rebinding).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::recorder::Step;
use crate::addresses::{Class, reaches};
use crate::config::{Dnssec, PrivateLink};
use crate::forward::{Rule, Unwanted};
use crate::wire::{AnswerRef, Name, NameMap, QName, Rtype, Section, skip_name, u16_at};

/// Keys of SvcParams that hold addresses (RFC 9460 §7.3).
const IPV4HINT: u16 = 4;
const IPV6HINT: u16 = 6;

/// Which zones' names must be private, whatever rule forwards them.
pub(super) struct Guard {
    /// P and Q of each private-link zone with `require-private`, with its P.
    private: NameMap<Arc<Name>>,
    /// The same names, in order, to be compared.
    names: Vec<Name>,
}

/// Why an answer is not let through.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    /// The zone whose setting it breaks.
    pub(super) zone: Name,
    /// What it holds.
    pub(super) unwanted: Unwanted,
}

impl Guard {
    pub(super) fn new(links: &[PrivateLink]) -> Self {
        let mut guard = Self { private: NameMap::default(), names: Vec::new() };
        for link in links.iter().filter(|link| link.require_private) {
            let public = Arc::new(link.public_zone.clone());
            for zone in [&link.public_zone, &link.private_zone] {
                guard.private.insert(&QName::from(zone), Arc::clone(&public));
                guard.names.push(zone.clone());
            }
        }
        guard.names.sort_unstable();
        guard
    }

    /// Whether it lets through nothing that `other` would refuse.
    pub(super) fn is_as_strict_as(&self, other: &Self) -> bool {
        other.names.iter().all(|name| self.names.binary_search(name).is_ok())
    }

    /// Looks for addresses that must not go out. `answer` came by `rule`. The caller has checked that
    /// its chain does not enter a zone that we serve, since such a chain is cut there.
    ///
    /// Rebind protection goes by the name asked, because browsers tell origins apart by that name.
    /// It does not look at the other names of the chain: the owner of the name asked chooses them.
    pub(super) fn check(
        &self,
        rule: &Rule,
        qname: &Name,
        answer: &AnswerRef<'_>,
    ) -> Result<(), Refusal> {
        let private = match self.private_by(rule, qname, answer) {
            None if rule.rebind_protection().is_none() => return Ok(()),
            private => private,
        };
        let rebind = rebind_zone(rule, qname);
        let in_answer = answer.records().take_while(|record| record.section == Section::Answer);
        for record in in_answer {
            let mut refusal = None;
            each_address(record.rtype, record.rdata, |address| {
                let refused = match (&private, rebind) {
                    _ if refusal.is_some() => None,
                    (Some(zone), _) if is_public(address) => {
                        Some((zone, Unwanted::Public(address)))
                    }
                    (_, Some(zone)) if is_inside(address) => {
                        Some((zone, Unwanted::Private(address)))
                    }
                    _ => None,
                };
                if let Some((zone, unwanted)) = refused {
                    refusal = Some(Refusal { zone: zone.clone(), unwanted });
                }
            });
            refusal.map_or(Ok(()), Err)?;
        }
        Ok(())
    }

    /// The zone that wants the answer's addresses to be private, if any does.
    fn private_by(&self, rule: &Rule, qname: &Name, answer: &AnswerRef<'_>) -> Option<Name> {
        if rule.require_private() {
            return rule.zone_of(qname).cloned();
        }
        if self.names.is_empty() {
            return None;
        }
        let protected = |name: &QName| self.private.deepest(name).map(|(_, zone)| &**zone);
        let asked = protected(&qname.into()).cloned();
        asked.or_else(|| answer.links().find_map(|link| protected(&link.target).cloned()))
    }

    /// What is looked for in answers for `qname`, in words; `None`: nothing.
    pub(super) fn step(&self, rule: &Rule, qname: &Name) -> Option<Step> {
        let require_private = self.private_by(rule, qname, &AnswerRef::default());
        let rebind_protection = rebind_zone(rule, qname).is_some();
        let validated = rule.dnssec() == Dnssec::Validate;
        (require_private.is_some() || rebind_protection || validated).then(|| Step::Checks {
            require_private: require_private.map(|zone| zone.to_string()),
            rebind_protection,
            dnssec: validated,
        })
    }
}

/// The zone of `rule` for which no private address may be answered to the question.
fn rebind_zone<'a>(rule: &'a Rule, qname: &Name) -> Option<&'a Name> {
    let exceptions = rule.rebind_protection()?;
    let excepted = exceptions.iter().any(|exception| qname.is_within(exception));
    rule.zone_of(qname).filter(|_| !excepted)
}

/// Whether traffic to `address` may leave the private network. Addresses that no host should have
/// (documentation, multicast, reserved) count too: a name that must be private has none of them.
fn is_public(address: IpAddr) -> bool {
    reaches(address, |class| match class {
        Class::Private | Class::Loopback | Class::LinkLocal | Class::Unspecified => false,
        Class::Public | Class::Documentation | Class::Multicast | Class::Reserved => true,
    })
}

/// Whether traffic to `address` may reach a host of the private network. Reserved addresses count,
/// because some networks route them inside.
fn is_inside(address: IpAddr) -> bool {
    reaches(address, |class| match class {
        Class::Private
        | Class::Loopback
        | Class::LinkLocal
        | Class::Unspecified
        | Class::Reserved => true,
        Class::Public | Class::Documentation | Class::Multicast => false,
    })
}

/// Gives `visit` the addresses that a record holds. What breaks the form of its type holds none:
/// nobody can read one out of it.
fn each_address(rtype: Rtype, rdata: &[u8], mut visit: impl FnMut(IpAddr)) {
    match rtype {
        Rtype::A => each_in::<4>(rdata, |octets| visit(Ipv4Addr::from(octets).into())),
        Rtype::AAAA => each_in::<16>(rdata, |octets| visit(Ipv6Addr::from(octets).into())),
        Rtype::SVCB | Rtype::HTTPS => {
            // Priority, target, parameters (RFC 9460 §2.2).
            let Ok(mut at) = skip_name(rdata, 2) else { return };
            while let (Some(key), Some(octets)) = (u16_at(rdata, at), u16_at(rdata, at + 2)) {
                let end = at + 4 + usize::from(octets);
                let Some(value) = rdata.get(at + 4..end) else { return };
                match key {
                    IPV4HINT => each_in::<4>(value, |octets| visit(Ipv4Addr::from(octets).into())),
                    IPV6HINT => each_in::<16>(value, |octets| visit(Ipv6Addr::from(octets).into())),
                    _ => {}
                }
                at = end;
            }
        }
        _ => {}
    }
}

fn each_in<const N: usize>(octets: &[u8], visit: impl FnMut([u8; N])) {
    octets.chunks_exact(N).filter_map(|chunk| chunk.try_into().ok()).for_each(visit);
}
