//! What an upstream's replies say of it, and of who stands on the way.

use super::finding::Finding;
use super::seen::{Outcome, Seen, Silence, in_words, list};
use crate::wire::{Name, Rcode, UDP_PAYLOAD_OCTETS};

/// Azure's own resolver: every virtual network has it, and nobody else.
const AZURE: &str = "168.63.129.16";

/// What was asked of one server of a rule, and what came.
#[derive(Clone)]
pub(super) struct Observed {
    /// As in the configuration.
    pub(super) server: String,
    pub(super) host: String,
    /// The zones of the rules that name it.
    pub(super) zones: String,
    /// Whether those rules forward everything.
    pub(super) covers_root: bool,
    /// Whether a rule that names it validates.
    pub(super) validates: bool,
    /// What it was asked.
    pub(super) probe: String,
    pub(super) asked: Asked,
    /// Names that nobody has.
    pub(super) absent: Vec<(Name, Outcome)>,
}

/// How the question went.
#[derive(Clone)]
pub(super) enum Asked {
    /// Plain DNS.
    Plain(Box<Datagrams>),
    /// A connection of its own kind.
    Connection(Outcome),
}

/// How it went in each way that plain DNS has.
#[derive(Clone)]
pub(super) struct Datagrams {
    /// Over UDP without EDNS.
    pub(super) bare: Outcome,
    /// Over UDP with EDNS, DO and CD.
    pub(super) edns: Outcome,
    /// Over TCP.
    pub(super) tcp: Outcome,
    /// A question of a large answer, over UDP and over TCP.
    pub(super) large: Option<(Outcome, Outcome)>,
}

impl Observed {
    fn about(&self) -> String {
        format!("upstream {} (rule for {})", self.server, self.zones)
    }

    fn problem(&self, check: &'static str, found: impl Into<String>) -> Finding {
        Finding::problem(check, self.about(), found)
    }

    fn warning(&self, check: &'static str, found: impl Into<String>) -> Finding {
        Finding::warning(check, self.about(), found)
    }

    /// All that is wrong with it; that nothing is, else.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = match &self.asked {
            Asked::Plain(datagrams) => {
                let mut findings = self.datagrams(datagrams);
                findings.extend(self.large(datagrams.large.as_ref()));
                findings
            }
            Asked::Connection(outcome) => self.connection(outcome).into_iter().collect(),
        };
        findings.extend(self.lies());
        if findings.is_empty() {
            let over = match &self.asked {
                Asked::Plain(_) => "answers over UDP and TCP, and keeps EDNS",
                Asked::Connection(_) => "answers",
            };
            findings.push(Finding::fine("upstream", self.about(), over));
        }
        findings
    }

    fn datagrams(&self, datagrams: &Datagrams) -> Vec<Finding> {
        let Datagrams { bare, edns, tcp, .. } = datagrams;
        if [bare, edns, tcp].iter().any(|outcome| **outcome == Err(Silence::NotAsked)) {
            return vec![self.not_asked()];
        }
        let Some(reply) = [edns, bare].into_iter().find_map(|outcome| outcome.as_ref().ok()) else {
            return vec![match tcp {
                Ok(_) => self
                    .problem(
                        "upstream-udp",
                        format!("answers over TCP, and not over UDP: {}", in_words(bare)),
                    )
                    .advise(format!("let UDP to {} through the firewall, both ways", self.host))
                    .advise(format!("or write upstreams = [\"tcp://{}\"]", self.server)),
                Err(_) => self.unreachable(bare),
            }];
        };
        let mut findings: Vec<_> = self.rcode(reply).into_iter().collect();
        if let Err(silence) = tcp {
            let found = format!(
                "TCP is closed ({silence}): answers that do not fit into a datagram are lost, and \
                 clients get SERVFAIL for them"
            );
            findings.push(
                self.problem("upstream-tcp", found)
                    .advise(format!("open TCP to {}, on it and on firewalls between", self.host))
                    .advise(format!("look again: privatelinkd query . NS @{} --tcp", self.server)),
            );
        }
        match (bare, edns) {
            (Ok(_), Err(silence)) => findings.push(
                self.problem(
                    "upstream-edns",
                    format!(
                        "answers without EDNS, and not with it ({silence}): somebody on the way \
                         drops such queries, which all of ours are"
                    ),
                )
                .advise(
                    "look for a firewall that inspects DNS (Cisco: no inspect dns, or \
                     message-length maximum client auto) and let EDNS through",
                )
                .advise(format!("or write upstreams = [\"tcp://{}\"]", self.server)),
            ),
            (_, Ok(seen)) => findings.extend(self.edns(seen)),
            _ => {}
        }
        findings
    }

    fn not_asked(&self) -> Finding {
        self.warning("upstream-not-asked", Silence::NotAsked.to_string())
            .advise("look again; the examination ends after its time, whoever is silent")
    }

    fn unreachable(&self, outcome: &Outcome) -> Finding {
        let found = format!("does not answer: {}", in_words(outcome));
        let finding = self.problem("upstream-unreachable", found);
        let finding = match outcome {
            Err(silence) if silence.is_of_the_way() => finding.advise(format!(
                "look for the way: ip route get {0}; for VPN or ExpressRoute, whether the tunnel is \
                 up and its firewall lets UDP and TCP to it through",
                self.host
            )),
            _ => finding.advise(format!("does a DNS server listen on {}, and does a firewall on the way reject it?", self.server)),
        };
        if self.host == AZURE {
            finding.advise(
                "168.63.129.16 answers inside Azure's virtual networks alone: from elsewhere, name a \
                 Private Resolver's inbound endpoint, or a forwarder in the network",
            )
        } else {
            finding
        }
    }

    fn rcode(&self, reply: &Seen) -> Option<Finding> {
        let probe = &self.probe;
        match reply.rcode {
            Rcode::REFUSED => Some(
                self.problem("upstream-refuses", format!("says REFUSED to {probe}"))
                    .advise(
                        "it must let this host ask: BIND allow-recursion, Unbound access-control, \
                         Windows its DNS policies",
                    )
                    .advise("a server of some zones alone belongs into a rule for those zones"),
            ),
            Rcode::SERVFAIL => Some(
                self.warning(
                    "upstream-fails",
                    format!("says SERVFAIL to {probe}: its own way may be broken"),
                )
                .advise(
                    "where it cannot know that name: write probe = \"NAME TYPE\" into the rule",
                ),
            ),
            _ if self.covers_root && !reply.recursion_available => Some(
                self.problem(
                    "upstream-no-recursion",
                    "does not recurse for us (RA is not set): other zones than its own fail",
                )
                .advise("let it recurse for this host, or ask a resolver in the rule for \".\""),
            ),
            _ => None,
        }
    }

    fn edns(&self, seen: &Seen) -> Option<Finding> {
        let dnssec = if self.validates {
            "the rule validates, so every signed name fails"
        } else {
            "who validates behind us may get SERVFAIL"
        };
        let finding = |found: String| {
            let finding = if self.validates {
                self.problem("upstream-edns", found)
            } else {
                self.warning("upstream-edns", found)
            };
            finding.advise(
                "name a server that keeps EDNS, or one over tcp:// or tls://, where nobody on the \
                 way can change it",
            )
        };
        if matches!(seen.rcode, Rcode::FORMERR | Rcode::NOTIMP | Rcode::BADVERS) {
            let rcode = seen.rcode;
            return Some(finding(format!(
                "says {rcode} to EDNS: each query is asked twice, and {dnssec}"
            )));
        }
        if !seen.has_opt {
            return Some(finding(format!(
                "the reply to a query with EDNS has none: it, or somebody on the way, takes that \
                 out; {dnssec}"
            )));
        }
        let lost = match (seen.dnssec_ok, seen.checking_disabled) {
            (Some(false), false) => "the bits DO and CD come",
            (Some(false), true) => "the bit DO comes",
            (_, false) => "the bit CD comes",
            _ => return None,
        };
        Some(finding(format!("{lost} back cleared: it leaves DNSSEC out, and {dnssec}")))
    }

    fn large(&self, large: Option<&(Outcome, Outcome)>) -> Option<Finding> {
        let (Ok(udp), Ok(tcp)) = large? else { return None };
        let offered = usize::from(UDP_PAYLOAD_OCTETS);
        let is_cut = udp.truncated && tcp.octets <= offered;
        is_cut.then(|| {
            let octets = tcp.octets;
            self.warning(
                "upstream-cuts",
                format!(
                    "cuts an answer of {octets} octets over UDP, where {offered} are offered: larger \
                     answers take two queries, and TCP"
                ),
            )
            .advise("look for a firewall that keeps DNS to 512 octets, or for a small limit there")
        })
    }

    fn connection(&self, outcome: &Outcome) -> Option<Finding> {
        match outcome {
            Err(Silence::NotAsked) => Some(self.not_asked()),
            Err(Silence::Status(words)) => {
                let found = format!("answers, but not with DNS: {words}");
                Some(
                    self.problem("upstream-http", found)
                        .advise(
                            "write the URL that its operator names into upstreams: host, port and \
                             path",
                        )
                        .advise("ask its operator whether this host may ask, and how often"),
                )
            }
            Err(silence) => {
                let found = format!("cannot be asked: {silence}");
                let finding = self.problem("upstream-unreachable", found);
                let words = silence.to_string();
                Some(if words.contains("certificate") {
                    finding.advise(
                        "write the name that its certificate has behind #, its authority as \
                         ca-file, or its key as pins; the system's clock matters too",
                    )
                } else {
                    let host = &self.host;
                    finding.advise(format!(
                        "does it listen there, and does a firewall let it through? ip route get {host}"
                    ))
                })
            }
            Ok(seen) => self.rcode(seen).or_else(|| {
                let lacks = !seen.has_opt;
                lacks.then(|| self.edns(seen)).flatten()
            }),
        }
    }

    fn lies(&self) -> Option<Finding> {
        let lie = |(name, outcome): &(Name, Outcome)| {
            let seen = outcome.as_ref().ok().filter(|seen| !seen.addresses.is_empty())?;
            Some((name.clone(), seen.clone()))
        };
        let (name, seen) = self.absent.iter().find_map(lie)?;
        let found = format!(
            "gives {name}, which does not exist, the address {}: it redirects what is missing, so \
             typing errors and search lists lead there",
            list(&seen.addresses)
        );
        Some(
            self.problem("upstream-lies", found).advise(
                "turn that off there (error search, NXDOMAIN redirection), or name another",
            ),
        )
    }
}

#[cfg(test)]
mod tests;
