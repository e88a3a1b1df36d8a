//! The resolver that clients ask, held against what we would answer.

use std::net::{IpAddr, SocketAddr};

use super::finding::Finding;
use super::mistakes::is_without_hop;
use super::remedies::{Pair, forward_both, let_private_through, trust_no_signatures};
use super::seen::{Outcome, Seen, in_words, list};
use crate::wire::{Name, Rcode};

/// What a resolver says of one private-link zone.
#[derive(Clone)]
pub(super) struct Sight {
    pub(super) via: SocketAddr,
    pub(super) pair: Pair,
    /// A name of the public zone that has addresses.
    pub(super) name: Name,
    /// What it is called in the private zone.
    pub(super) private_name: Name,
    pub(super) ours: Ours,
    /// What we may answer in place of it while an endpoint is down.
    pub(super) standby: Vec<IpAddr>,
    /// A of the public name; the same with CD; AAAA of it; A of the private name.
    pub(super) a: Outcome,
    pub(super) unchecked: Outcome,
    pub(super) aaaa: Outcome,
    pub(super) private: Outcome,
    /// Where the resolver should forward to.
    pub(super) us: SocketAddr,
    /// Whether privatelinkd runs on this host.
    pub(super) is_running: bool,
}

/// What we would answer the resolver.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Ours {
    /// These addresses to A and to AAAA, in their order.
    Addresses(Vec<IpAddr>, Vec<IpAddr>),
    /// It is outside `[access] allow`.
    Refused,
}

impl Sight {
    fn about(&self) -> String {
        format!("resolver {}, {}", self.via, self.name)
    }

    fn problem(&self, check: &'static str, found: impl Into<String>) -> Finding {
        Finding::problem(check, self.about(), found)
    }

    /// All that is wrong; that nothing is, else.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let (expected, expected_six) = match &self.ours {
            Ours::Addresses(four, six) => (four, six),
            Ours::Refused => return vec![self.refused()],
        };
        let first = match &self.a {
            Err(_) => return vec![self.silent()],
            Ok(seen) => self.address(seen, expected),
        };
        let mut findings: Vec<_> = first.into_iter().collect();
        if findings.is_empty() {
            findings.extend(self.direct(expected));
        }
        findings.extend(self.six(expected_six));
        if findings.is_empty() {
            let found = format!(
                "{}, as we answer, also for the private name itself; AAAA as it should be",
                list(expected)
            );
            findings.push(Finding::fine("via", self.about(), found));
        }
        findings
    }

    fn refused(&self) -> Finding {
        let ip = self.via.ip();
        let found = format!("{ip} is outside [access] allow: its queries get REFUSED here");
        // What it says would not be so, if it asked from that address.
        let is_served = |seen: &Seen| seen.is_private() && seen.passes(&self.pair.private);
        let finding = if self.a.as_ref().is_ok_and(is_served) {
            let found = format!("{found}; it has private answers all the same, by another address");
            Finding::warning("via-refused", self.about(), found)
        } else {
            self.problem("via-refused", found)
        };
        finding
            .advise(format!("write allow = [\"loopback\", \"private\", \"{ip}/{}\"]", bits(ip)))
            .advise("where it asks from another address of its own, that one")
    }

    fn silent(&self) -> Finding {
        let found = format!("does not answer: {}", in_words(&self.a));
        self.problem("via-unreachable", found)
            .advise(format!(
                "is {} the resolver that clients ask, and may this host ask it?",
                self.via
            ))
            .advise(format!(
                "where it waits for us: is UDP and TCP to {} open from there? {}",
                self.us,
                self.running_word()
            ))
    }

    fn running_word(&self) -> &'static str {
        if self.is_running { "" } else { "(no privatelinkd answers on this host now: start it)" }
    }

    /// What is wrong with the answer to A.
    fn address(&self, seen: &Seen, expected: &[IpAddr]) -> Option<Finding> {
        if seen.addresses == expected && seen.rcode == Rcode::NOERROR {
            return None;
        }
        if seen.is_public() {
            return Some(self.public(seen, expected));
        }
        match seen.rcode {
            Rcode::SERVFAIL => return Some(self.fails(expected)),
            Rcode::REFUSED => {
                let found = "says REFUSED: it does not let this host ask, or passes on our refusal";
                return Some(
                    self.problem("via-refuses", found)
                        .advise("BIND: allow-query and allow-recursion; Unbound: access-control")
                        .advise(format!(
                            "here: privatelinkd explain {} --client {}",
                            self.name,
                            self.via.ip()
                        )),
                );
            }
            _ => {}
        }
        if seen.addresses.is_empty() {
            return Some(self.empty(seen, expected));
        }
        if is_without_hop(seen, &self.pair) {
            let found = format!(
                "{} without a CNAME into {}, where we answer {}: another zone named {} stands in \
                 the way",
                seen,
                self.pair.private,
                list(expected),
                self.pair.public
            );
            return Some(
                self.problem("public-zone-hijacked", found)
                    .advise(format!(
                        "remove the zone {} there, or where it forwards to",
                        self.pair.public
                    ))
                    .advise_all(forward_both(&self.pair, self.us)),
            );
        }
        if seen.is_among(&self.standby) {
            return Some(self.standby(seen, expected));
        }
        let found = format!(
            "{seen}, where we answer {}: it asks somebody else, keeps an old answer, or we take it \
             for a client of another site",
            list(expected)
        );
        Some(
            self.problem("via-differs", found)
                .advise(format!(
                    "see which site we take it for: privatelinkd explain {} --client {}",
                    self.name,
                    self.via.ip()
                ))
                .advise("empty its cache, and look again")
                .advise_all(forward_both(&self.pair, self.us)),
        )
    }

    fn standby(&self, seen: &Seen, expected: &[IpAddr]) -> Finding {
        let found = format!(
            "{seen}, where we answer {} while all is up: probes have found an endpoint down, or we \
             take it for a client of another site",
            list(expected)
        );
        let (name, ip) = (&self.name, self.via.ip());
        Finding::warning("via-standby", self.about(), found)
            .advise(format!("see which: privatelinkd explain {name} --client {ip} --live"))
    }

    fn public(&self, seen: &Seen, expected: &[IpAddr]) -> Finding {
        let found = format!(
            "{seen}, a public address, where we answer {}: it has no conditional forwarder for {}, \
             or falls back to other servers when we do not answer at once (Windows: root hints; \
             BIND: forward first)",
            list(expected),
            self.pair.public
        );
        let finding = self.problem("via-public", found);
        let finding = if self.is_running { finding } else { finding.advise(self.running_word()) };
        finding
            .advise_all(forward_both(&self.pair, self.us))
            .advise("Windows, no fallback: Set-DnsServerForwarder -UseRootHint $false")
            .advise("then empty its cache: Clear-DnsServerCache, rndc flush, unbound-control flush_zone")
    }

    fn fails(&self, expected: &[IpAddr]) -> Finding {
        let has_answer = |seen: &Seen| seen.addresses == expected || seen.is_private();
        if self.unchecked.as_ref().is_ok_and(has_answer) {
            let found = format!(
                "{}, and {} when it is told not to check signatures (CD): it validates, and takes \
                 our answer for forged",
                in_words(&self.a),
                in_words(&self.unchecked)
            );
            return self
                .problem("via-validates", found)
                .advise_all(trust_no_signatures(&self.pair));
        }
        let found =
            format!("{}: it does not reach us, or gets no answer from us", in_words(&self.a));
        let finding = self
            .problem("via-fails", found)
            .advise(format!("from there: privatelinkd query {} @{}", self.name, self.us))
            .advise("let UDP and TCP through between the two");
        if self.is_running { finding } else { finding.advise(self.running_word()) }
    }

    /// No address where we have one.
    fn empty(&self, seen: &Seen, expected: &[IpAddr]) -> Finding {
        if seen.rcode == Rcode::NXDOMAIN {
            let found = format!(
                "NXDOMAIN, where we answer {}: a zone of its own, or of whom it asks, has the name's \
                 zone and not the name",
                list(expected)
            );
            return self
                .problem("via-denies", found)
                .advise(format!(
                    "look there for zones named {} and {}, and remove them",
                    self.pair.public, self.pair.private
                ))
                .advise_all(forward_both(&self.pair, self.us));
        }
        let found = format!(
            "{seen}, where we answer {}: a filter against DNS rebinding takes private addresses out",
            list(expected)
        );
        self.problem("via-rebind-filter", found).advise_all(let_private_through(&self.pair))
    }

    /// The public name is right; what of the private one, asked by itself?
    fn direct(&self, expected: &[IpAddr]) -> Option<Finding> {
        let right = |seen: &Seen| seen.addresses == expected;
        if self.private.as_ref().is_ok_and(right) {
            return None;
        }
        let found = format!(
            "the public name is right, and {} is not: {}. Only {} is forwarded here: once the CNAME \
             is kept longer than the address, clients get that",
            self.private_name,
            in_words(&self.private),
            self.pair.public
        );
        Some(self.problem("via-only-public", found).advise_all(forward_both(&self.pair, self.us)))
    }

    fn six(&self, expected: &[IpAddr]) -> Option<Finding> {
        let seen = self.aaaa.as_ref().ok()?;
        if seen.is_public() {
            let found = format!(
                "AAAA gives {seen}, a public address: clients with IPv6 go around the private endpoint"
            );
            return Some(
                self.problem("via-public-ipv6", found)
                    .advise_all(forward_both(&self.pair, self.us)),
            );
        }
        // What is wrong with A is wrong with AAAA too.
        let is_denied = matches!(seen.rcode, Rcode::NXDOMAIN | Rcode::SERVFAIL);
        let a_is_answered = self.a.as_ref().is_ok_and(|a| !a.addresses.is_empty());
        if is_denied && a_is_answered && expected.is_empty() {
            let found = format!(
                "AAAA gives {} for a name that has an A: musl (Alpine) takes the whole name for \
                 missing",
                seen.rcode
            );
            return Some(self.problem("via-aaaa", found).advise(
                "look for a filter of AAAA on the way, or let it answer NOERROR without records",
            ));
        }
        None
    }
}

fn bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests;
