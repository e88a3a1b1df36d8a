//! From an answer to what it is worth, part by part.

use std::collections::HashSet;
use std::sync::Arc;

use hickory_proto::dnssec::Proof;
use hickory_proto::dnssec::rdata::DNSSECRData;
use hickory_proto::op::{DnsRequest, DnsRequestOptions, Message, ResponseCode};
use hickory_proto::rr::{Name as HickoryName, RData, Record, RecordType};
use hickory_proto::serialize::binary::BinDecodable;
use hickory_resolver::net::xfer::FirstAnswer;
use hickory_resolver::net::{DnsError, DnsHandle, NetError};

use super::anchors::{AnchorError, Anchors};
use super::clerk::Clerk;
use super::learn::learn;
use super::parts::{Part, from_hickory, to_hickory};
use super::reason::{bogus, opts_out, why};
use super::session::Session;
use super::trust::{Start, Trust};
use super::whole::{Unfit, Whole, signature};
use super::{Judged, Security, Source};
use crate::config::{DnssecConfig, PrivateLink};
use crate::forward::Failure;
use crate::wire::{AnswerRef, Ede, Name, NameMap, QName, Question, Rcode, Rtype};

/// Holds answers against trust anchors.
pub struct Validator {
    anchors: Anchors,
    /// Negative trust anchors (RFC 7646): nothing at or below them is validated.
    negative: NameMap<()>,
    /// The same names, in order, to be compared.
    names: Vec<Name>,
}

impl Validator {
    /// Trusts the root, with the keys built in; validates nothing at or below `config`'s negative
    /// anchors and the private-link zones, public and private.
    pub fn built_in(config: &DnssecConfig, links: &[PrivateLink]) -> Self {
        Self::with(Anchors::built_in(), config, links)
    }

    /// Trusts what the configuration's file says, if it names one; else see [`Self::built_in`].
    ///
    /// # Errors
    /// A file that cannot be read, or that holds something else.
    pub fn new(config: &DnssecConfig, links: &[PrivateLink]) -> Result<Self, AnchorError> {
        let anchors = match &config.trust_anchors {
            Some(path) => Anchors::read(path)?,
            None => Anchors::built_in(),
        };
        Ok(Self::with(anchors, config, links))
    }

    fn with(anchors: Anchors, config: &DnssecConfig, links: &[PrivateLink]) -> Self {
        let zones = links.iter().flat_map(|link| [&link.public_zone, &link.private_zone]);
        let mut names: Vec<_> = zones.chain(&config.negative_trust_anchors).cloned().collect();
        names.sort_unstable();
        names.dedup();
        let mut negative = NameMap::with_capacity(names.len());
        for name in &names {
            negative.insert(&QName::from(name), ());
        }
        Self { anchors, negative, names }
    }

    /// The file of trust anchors as it was read; `None`: they are those built in.
    pub fn anchor_file(&self) -> Option<&str> {
        match &self.anchors {
            Anchors::BuiltIn(_) => None,
            Anchors::File { text, .. } => Some(text),
        }
    }

    /// Whether it lets through nothing that `other` might have refused.
    pub fn is_as_strict_as(&self, other: &Self) -> bool {
        self.anchors.are(&other.anchors)
            && self.names.iter().all(|name| other.names.binary_search(name).is_ok())
    }

    /// Says what `answer`, asked with DO and CD, is worth. `links`: only so many CNAMEs of it
    /// matter, what follows is thrown away. `session` is the question's: a second round with it
    /// shares what the question may cost.
    ///
    /// Takes as long as `source` does; drop it when the time is up.
    ///
    /// # Errors
    /// [`Failure::Bogus`]: it ought to be signed, and is not, or not well. [`Failure::Unvalidated`]:
    /// nobody brought what would tell.
    pub async fn validate<S: Source>(
        &self,
        question: &Question,
        answer: &AnswerRef<'_>,
        links: Option<usize>,
        source: &S,
        session: &mut Session,
    ) -> Result<Judged, Failure> {
        // Signatures sign other records. No signature signs them.
        if question.qtype == Rtype::RRSIG {
            return Ok(INSECURE);
        }
        let steps = steps(question, answer, links);
        let is_validated = |step: &Step| {
            let name = QName::from(&step.name);
            source.validates(&name) && self.negative.deepest(&name).is_none()
        };
        if !steps.iter().any(is_validated) {
            return Ok(INSECURE);
        }
        session.begin(&question.qname);
        let unfit = |unfit: Unfit| bogus(Ede::DnssecIndeterminate, unfit.text(""));
        let whole = Whole::read(answer).map_err(unfit)?;
        session.effort.steps += whole.len();
        let proves_absence = matches!(answer.rcode(), Rcode::NOERROR | Rcode::NXDOMAIN);
        let mut clerk = Clerk::new(source, session);
        let mut trust = Trust::new(&self.anchors);
        let mut security = Security::Secure { ttl_seconds: u32::MAX };
        let mut looked_at = LookedAt::default();
        for step in steps {
            let name = step.hickory_name()?;
            if !is_validated(&step) {
                security = Security::Insecure;
                looked_at.passed.insert(name);
                continue;
            }
            for part in step.parts(&whole, &name, question.qtype)? {
                // Nothing proves an error; the links that lead to it must hold all the same.
                if !proves_absence && !part.is_positive() {
                    security = Security::Insecure;
                    continue;
                }
                looked_at.note(part.stands_for().clone(), part.asked);
                let of_part = validate_whole(part, &mut clerk, &mut trust).await?;
                security = security.and(of_part);
            }
        }
        // Signatures alone say nothing.
        let security = if looked_at.sets.is_empty() { Security::Insecure } else { security };
        // What follows a chain to us is thrown away.
        let strangers = if links.is_none() { looked_at.strangers(&whole) } else { Vec::new() };
        if strangers.is_empty() {
            return Ok(Judged { security, stripped: None });
        }
        let stripped = answer.without_answers(question, &strangers);
        let stripped = stripped.map_err(|_| unfit(Unfit::Undecodable))?;
        Ok(Judged { security, stripped: Some(stripped) })
    }
}

/// The verdict where nothing is validated.
const INSECURE: Judged = Judged { security: Security::Insecure, stripped: None };

/// Validates a part, and what proves that a wildcard may have given it.
async fn validate_whole<S: Source>(
    part: Part,
    clerk: &mut Clerk<'_, S>,
    trust: &mut Trust<'_>,
) -> Result<Security, Failure> {
    let part = Arc::new(part);
    let security = validate_part(&part, clerk, trust).await?;
    let is_secure = matches!(security, Security::Secure { .. });
    // Where nothing is signed, nothing can be denied.
    let Some(expansion) = part.expansion.as_ref().filter(|_| is_secure) else {
        return Ok(security);
    };
    let denial = expansion.denial().ok_or_else(|| {
        let name = expansion.name();
        bogus(Ede::NsecMissing, format!("no proof that only a wildcard has {name}"))
    })?;
    let denied = validate_part(&Arc::new(denial.part), clerk, trust).await?;
    Ok(if denial.is_weak { Security::Insecure } else { security.and(denied) })
}

async fn validate_part<S: Source>(
    part: &Arc<Part>,
    clerk: &mut Clerk<'_, S>,
    trust: &mut Trust<'_>,
) -> Result<Security, Failure> {
    if let Some(name) = from_hickory(&part.name) {
        clerk.session().fail_at(&name);
    }
    if !clerk.put(Arc::clone(part)) {
        return Err(bogus(
            Ede::DnssecIndeterminate,
            "too many records or signatures in the answer",
        ));
    }
    let Start::At { handle, top } = trust.above(part, clerk).await? else {
        return Ok(Security::Insecure);
    };
    let Some(query) = part.message.queries.first() else { return Ok(Security::Insecure) };
    // A part can take milliseconds: let the worker's other clients go on, and the deadline come.
    tokio::task::yield_now().await;
    let request = DnsRequest::from_query(query.clone(), DnsRequestOptions::default());
    let validated = clerk.serve(handle.send(request).first_answer()).await;
    let security = match validated {
        Ok(message) => worth(part, &message).ok_or_else(|| why(part, clerk)),
        Err(NetError::Dns(DnsError::Nsec { proof: Proof::Insecure, .. })) => Ok(Security::Insecure),
        Err(_) => Err(why(part, clerk)),
    }?;
    learn(part, security, &handle, &top, clerk).await;
    Ok(security)
}

impl Security {
    /// What both together are worth.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Secure { ttl_seconds: one }, Self::Secure { ttl_seconds: two }) => {
                Self::Secure { ttl_seconds: one.min(two) }
            }
            _ => Self::Insecure,
        }
    }
}

/// A name on the way from the question to the end.
struct Step {
    name: Name,
    /// It leads on by a CNAME.
    is_link: bool,
}

fn steps(question: &Question, answer: &AnswerRef<'_>, links: Option<usize>) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut name = question.qname.clone();
    for link in answer.links().take(links.unwrap_or(usize::MAX)) {
        steps.push(Step { name, is_link: true });
        name = link.target.to_name();
    }
    // Who asks for the link gets the link alone; what lies behind ours is thrown away.
    let ends = links.is_none() && (question.qtype != Rtype::CNAME || steps.is_empty());
    if ends {
        steps.push(Step { name, is_link: false });
    }
    steps
}

impl Step {
    fn hickory_name(&self) -> Result<HickoryName, Failure> {
        let unknown = || bogus(Ede::DnssecIndeterminate, "a name cannot be decoded");
        to_hickory(&self.name).ok_or_else(unknown)
    }

    /// What `whole` says of it, each record set by itself; nothing, where nothing may be said.
    fn parts(&self, whole: &Whole, name: &HickoryName, qtype: Rtype) -> Result<Vec<Part>, Failure> {
        let part = |rtype: RecordType| Part::new(whole, name.clone(), rtype);
        let (asked, cname) = (RecordType::from(qtype.0), RecordType::CNAME);
        if qtype == Rtype::ANY {
            let types: Vec<_> = whole.types(name).collect();
            // ANY ends with a CNAME or goes on, as the server likes (RFC 8482).
            let message = whole.message();
            let may_end =
                message.response_code == ResponseCode::NoError && !message.answers.is_empty();
            if !types.is_empty() || may_end {
                let parts = types.into_iter().map(part);
                return Ok(parts.map(|link| by_dname(whole, &link).unwrap_or(link)).collect());
            }
        }
        if self.is_link {
            let link = part(cname);
            return Ok(vec![by_dname(whole, &link).unwrap_or(link)]);
        }
        let end = part(asked);
        if end.is_positive() && whole.message().response_code != ResponseCode::NoError {
            return Err(bogus(Ede::DnssecBogus, "an answer, and NXDOMAIN for the same name"));
        }
        Ok(vec![end])
    }
}

/// What of an answer section has been judged.
#[derive(Default)]
struct LookedAt {
    sets: HashSet<(HickoryName, RecordType)>,
    /// Owners of the DNAMEs among them.
    dnames: Vec<HickoryName>,
    /// Names that are not validated.
    passed: HashSet<HickoryName>,
}

impl LookedAt {
    fn note(&mut self, name: HickoryName, rtype: RecordType) {
        if rtype == RecordType::DNAME {
            self.dnames.push(name.clone());
        }
        self.sets.insert((name, rtype));
    }

    /// Records of the answer section that were not judged, though they ought to be, by number, in
    /// order. Beside those that were judged, a client could take them for the answer.
    fn strangers(&self, whole: &Whole) -> Vec<usize> {
        let sets = whole.sets().filter(|(owner, rtype, _)| !self.covers(owner, *rtype));
        let mut strangers: Vec<_> = sets.flat_map(|(_, _, places)| places).copied().collect();
        // Signatures over missing records do no harm.
        let answers = &whole.message().answers;
        let is_data =
            |place: &usize| answers.get(*place).is_some_and(|record| signature(record).is_none());
        if !strangers.iter().any(is_data) {
            return Vec::new();
        }
        strangers.sort_unstable();
        strangers
    }

    /// Whether the records of a type at `owner` were judged, or need not be.
    fn covers(&self, owner: &HickoryName, rtype: RecordType) -> bool {
        self.passed.contains(owner)
            || self.sets.contains(&(owner.clone(), rtype))
            // A CNAME that a DNAME made comes with it.
            || (rtype == RecordType::CNAME && self.dnames.iter().any(|above| above.zone_of(owner)))
            || (rtype == RecordType::DNAME && self.passed.iter().any(|name| owner.zone_of(name)))
    }
}

/// The DNAME that an unsigned CNAME was made from, if it was (RFC 6672 §5.3.1).
fn by_dname(whole: &Whole, link: &Part) -> Option<Part> {
    let is_made = link.asked == RecordType::CNAME && link.signatures(link.asked).next().is_none();
    if !is_made {
        return None;
    }
    let target = link.message.answers.iter().find_map(|record| match &record.data {
        RData::CNAME(target) => Some(&target.0),
        _ => None,
    })?;
    let makes = |kept: usize, owner: &HickoryName| {
        // A name has one DNAME (RFC 6672 §2.4).
        let dname =
            whole.set(owner, RecordType::DNAME).find(|record| signature(record).is_none())?;
        // hickory has no type for it.
        let RData::Unknown { rdata, .. } = &dname.data else { return None };
        let to = HickoryName::from_bytes(&rdata.anything).ok()?;
        let above = HickoryName::from_labels(link.name.iter().take(kept)).ok()?;
        (above.append_domain(&to).ok()? == *target).then(|| owner.clone())
    };
    let parents = std::iter::successors(Some(link.name.base_name()), |name| {
        (!name.is_root()).then(|| name.base_name())
    });
    let owner = parents.enumerate().find_map(|(above, owner)| makes(above + 1, &owner))?;
    Some(Part::new(whole, owner, RecordType::DNAME))
}

/// What the proofs that the validator left on the records of a part come to; `None`: bogus.
fn worth(part: &Part, validated: &Message) -> Option<Security> {
    let data = |records: &[Record]| -> Vec<(Proof, u32)> {
        let data = records.iter().filter(|record| signature(record).is_none());
        data.map(|record| (record.proof, record.ttl)).collect()
    };
    let judged =
        if part.is_positive() { data(&validated.answers) } else { data(&validated.authorities) };
    if judged.iter().any(|(proof, _)| proof.is_bogus()) {
        return None;
    }
    let is_secure = if part.is_positive() {
        judged.iter().all(|(proof, _)| proof.is_secure())
    } else {
        // Without a denial that holds it is the zone that is unsigned.
        let denies = |record: &&Record| {
            matches!(&record.data, RData::DNSSEC(DNSSECRData::NSEC(_) | DNSSECRData::NSEC3(_)))
        };
        let mut denials = validated.authorities.iter().filter(denies).peekable();
        denials.peek().is_some() && denials.all(|d| d.proof.is_secure() && !opts_out(d))
    };
    let ttl_seconds = judged.iter().map(|(_, ttl)| *ttl).min().unwrap_or(0);
    Some(if is_secure { Security::Secure { ttl_seconds } } else { Security::Insecure })
}

/// Returns a validator that trusts what the text of a trust anchor file says, for every name. For
/// the fuzz target `dnssec`.
#[cfg(fuzzing)]
pub fn validator_with_anchors(text: &str) -> Result<Validator, AnchorError> {
    let anchors = Anchors::parse(std::path::Path::new("anchors"), text.to_owned())?;
    Ok(Validator::with(anchors, &DnssecConfig::default(), &[]))
}
