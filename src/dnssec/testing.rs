//! Signed zones for tests, and a resolver over them that says whatever a test wants.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use hickory_proto::dnssec::crypto::EcdsaSigningKey;
use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData, DS, NSEC, NSEC3, RRSIG, SigInput};
use hickory_proto::dnssec::{
    Algorithm, DigestType, DnssecSigner, Nsec3HashAlgorithm, SigningKey, TBS, Verifier,
};
use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, NS, SOA};
use hickory_proto::rr::{DNSClass, Name as HickoryName, RData, Record, RecordType, SerialNumber};

use super::parts::now_seconds;
use super::wildcard::base32_hex;

/// TTL of everything, seconds.
pub(crate) const TTL: u32 = 300;
/// Half of a signature's life, seconds: it begins and ends so far from now.
const LIFE: u32 = 3_600;

/// How a zone proves what there is not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Denial {
    Nsec,
    Nsec3 { iterations: u16, opt_out: bool },
}

/// When signatures hold, seconds from now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Life {
    pub(crate) from: i64,
    pub(crate) until: i64,
}

impl Default for Life {
    fn default() -> Self {
        Self { from: -i64::from(LIFE), until: i64::from(LIFE) }
    }
}

pub(crate) struct Zone {
    pub(crate) name: HickoryName,
    signer: Option<DnssecSigner>,
    /// Signs all but the keys, where it is not `signer`.
    of_data: Option<DnssecSigner>,
    /// Signs the keys beside `signer`.
    of_keys_too: Option<DnssecSigner>,
    denial: Denial,
    records: BTreeMap<(HickoryName, u16), Vec<Record>>,
}

/// Zones, the root's first, and what is done to answers about them.
pub(crate) struct Zones {
    zones: Vec<Zone>,
    #[expect(clippy::type_complexity, reason = "spelt once")]
    tampering: Mutex<Option<Box<dyn FnMut(&Zones, &Query, &mut Message) + Send>>>,
}

pub(crate) fn name(text: &str) -> HickoryName {
    HickoryName::from_ascii(format!("{}.", text.trim_end_matches('.'))).expect("a name")
}

/// A new key of a zone.
fn new_signer(zone: &HickoryName) -> DnssecSigner {
    let algorithm = Algorithm::ECDSAP256SHA256;
    let pkcs8 = EcdsaSigningKey::generate_pkcs8(algorithm).expect("a key");
    let key = EcdsaSigningKey::from_pkcs8(&pkcs8, algorithm).expect("the same key");
    let public = DNSKEY::from_key(&key.to_public_key().expect("a public key"));
    DnssecSigner::new(public, Box::new(key), zone.clone(), std::time::Duration::ZERO)
}

impl Zone {
    fn new(apex: &str, is_signed: bool, denial: Denial) -> Self {
        let apex = name(apex);
        let signer = is_signed.then(|| new_signer(&apex));
        let (of_data, of_keys_too) = (None, None);
        let records = BTreeMap::new();
        let mut zone = Self { name: apex.clone(), signer, of_data, of_keys_too, denial, records };
        let nobody = name("nobody.invalid");
        let soa = SOA::new(nobody.clone(), nobody.clone(), 1, 3_600, 300, 86_400, TTL);
        zone.add(apex.clone(), RData::SOA(soa));
        zone.add(apex.clone(), RData::NS(NS(nobody)));
        if let Some(signer) = &zone.signer {
            let key = RData::DNSSEC(DNSSECRData::DNSKEY(signer.dnskey().clone()));
            zone.add(apex, key);
        }
        zone
    }

    pub(crate) fn add(&mut self, owner: HickoryName, data: RData) {
        let key = (owner.clone(), data.record_type().into());
        self.records.entry(key).or_default().push(Record::from_rdata(owner, TTL, data));
    }

    pub(crate) fn key(&self) -> DNSKEY {
        self.signer.as_ref().expect("a signed zone").dnskey().clone()
    }

    /// Publishes one more key, which signs nothing yet.
    pub(crate) fn publish_another(&mut self) -> DnssecSigner {
        let signer = new_signer(&self.name);
        let data = RData::DNSSEC(DNSSECRData::DNSKEY(signer.dnskey().clone()));
        self.add(self.name.clone(), data);
        signer
    }

    /// Signs all but the keys with another key from now on.
    pub(crate) fn sign_data_with(&mut self, signer: DnssecSigner) {
        self.of_data = Some(signer);
    }

    /// Signs the keys with another key too from now on.
    pub(crate) fn sign_keys_too_with(&mut self, signer: DnssecSigner) {
        self.of_keys_too = Some(signer);
    }

    /// Makes the second key that signs the keys the zone's own; gives the one before.
    pub(crate) fn change_over(&mut self) -> DNSKEY {
        let before = self.key();
        self.signer = self.of_keys_too.take();
        before
    }

    /// Publishes a key no more.
    pub(crate) fn withdraw(&mut self, key: &DNSKEY) {
        let keys = self.records.get_mut(&(self.name.clone(), RecordType::DNSKEY.into()));
        let gone = RData::DNSSEC(DNSSECRData::DNSKEY(key.clone()));
        keys.expect("a signed zone").retain(|record| record.data != gone);
    }

    /// Names another key of a child.
    pub(crate) fn name_key(&mut self, child: &HickoryName, digest: DS) {
        self.records.remove(&(child.clone(), RecordType::DS.into()));
        self.add(child.clone(), RData::DNSSEC(DNSSECRData::DS(digest)));
    }

    pub(crate) fn ds(&self) -> DS {
        let key = self.key();
        let digest = key.to_digest(&self.name, DigestType::SHA256).expect("a digest");
        let tag = key.calculate_key_tag().expect("a tag");
        DS::new(tag, key.algorithm(), DigestType::SHA256, digest.as_ref().to_vec())
    }

    /// The signature over records of one name and type; `labels`: of a wildcard.
    pub(crate) fn sign(&self, records: &[Record], labels: Option<u8>, life: Life) -> Record {
        let of_data = self.of_data.as_ref();
        let of_data = of_data.filter(|_| records[0].record_type() != RecordType::DNSKEY);
        let signer = of_data.or(self.signer.as_ref()).expect("a signed zone");
        self.sign_with(signer, records, labels, life)
    }

    fn sign_with(
        &self,
        signer: &DnssecSigner,
        records: &[Record],
        labels: Option<u8>,
        life: Life,
    ) -> Record {
        let owner = records[0].name.clone();
        let now = i64::from(now_seconds().get());
        let at = |offset: i64| SerialNumber::new(u32::try_from(now + offset).expect("a time"));
        let input = SigInput {
            type_covered: records[0].record_type(),
            algorithm: signer.key().algorithm(),
            num_labels: labels.unwrap_or_else(|| owner.num_labels()),
            original_ttl: TTL,
            sig_expiration: at(life.until),
            sig_inception: at(life.from),
            key_tag: signer.calculate_key_tag().expect("a tag"),
            signer_name: self.name.clone(),
        };
        let tbs = TBS::from_input(&owner, DNSClass::IN, &input, records.iter()).expect("input");
        let signature = RRSIG::from_sig(input, signer.sign(&tbs).expect("signed"));
        Record::from_rdata(owner, TTL, RData::DNSSEC(DNSSECRData::RRSIG(signature)))
    }

    /// The records with their signature, where the zone is signed. A cut's NS have none.
    fn signed(&self, records: Vec<Record>, labels: Option<u8>) -> Vec<Record> {
        let mut all = records;
        let cut = all[0].record_type() == RecordType::NS && all[0].name != self.name;
        if self.signer.is_some() && !cut {
            let one = self.sign(&all, labels, Life::default());
            let too = self.of_keys_too.as_ref();
            let too = too.filter(|_| all[0].record_type() == RecordType::DNSKEY);
            let too = too.map(|signer| self.sign_with(signer, &all, labels, Life::default()));
            all.push(one);
            all.extend(too);
        }
        all
    }

    fn rrset(&self, owner: &HickoryName, rtype: RecordType) -> Option<&Vec<Record>> {
        self.records.get(&(owner.clone(), rtype.into()))
    }

    fn types(&self, owner: &HickoryName) -> Vec<RecordType> {
        let all = self.records.keys().filter(|(name, _)| name == owner);
        all.map(|(_, rtype)| RecordType::from(*rtype)).collect()
    }

    fn owners(&self) -> Vec<HickoryName> {
        let mut owners: Vec<_> = self.records.keys().map(|(owner, _)| owner.clone()).collect();
        owners.dedup();
        owners
    }

    /// All names, those without records between them too.
    fn tree(&self) -> BTreeSet<HickoryName> {
        let mut tree = BTreeSet::new();
        for mut owner in self.owners() {
            while self.name.zone_of(&owner) && tree.insert(owner.clone()) && !owner.is_root() {
                owner = owner.base_name();
            }
        }
        tree
    }

    fn exists(&self, owner: &HickoryName) -> bool {
        self.records.keys().any(|(name, _)| owner.zone_of(name))
    }

    fn closest_encloser(&self, owner: &HickoryName) -> HickoryName {
        let mut encloser = owner.base_name();
        while !self.exists(&encloser) {
            encloser = encloser.base_name();
        }
        encloser
    }

    fn hash(&self, owner: &HickoryName, iterations: u16) -> Vec<u8> {
        let hash = Nsec3HashAlgorithm::SHA1.hash(&[0xab], owner, iterations);
        hash.expect("a hash").as_ref().to_vec()
    }

    /// The denial that matches `owner`, or covers it.
    fn denial(&self, owner: &HickoryName) -> Vec<Record> {
        let record = match self.denial {
            Denial::Nsec => {
                let owners = self.owners();
                let place = owners.iter().rposition(|known| known <= owner).expect("the apex");
                let (this, next) = (&owners[place], &owners[(place + 1) % owners.len()]);
                let data = NSEC::new_cover_self(next.clone(), self.types(this));
                Record::from_rdata(this.clone(), TTL, RData::DNSSEC(DNSSECRData::NSEC(data)))
            }
            Denial::Nsec3 { iterations, opt_out } => {
                let hashed = |owner: &HickoryName| (self.hash(owner, iterations), owner.clone());
                let mut all: Vec<_> = self.tree().iter().map(hashed).collect();
                all.sort();
                let wanted = self.hash(owner, iterations);
                let last = all.len() - 1;
                let place = all.iter().rposition(|(hash, _)| *hash <= wanted).unwrap_or(last);
                let ((hash, this), (next, _)) = (&all[place], &all[(place + 1) % all.len()]);
                let types = self.types(this).into_iter().chain([RecordType::RRSIG]);
                let algorithm = Nsec3HashAlgorithm::SHA1;
                let data =
                    NSEC3::new(algorithm, opt_out, iterations, vec![0xab], next.clone(), types);
                let owner = self.name.prepend_label(base32_hex(hash).as_str()).expect("a name");
                Record::from_rdata(owner, TTL, RData::DNSSEC(DNSSECRData::NSEC3(data)))
            }
        };
        self.signed(vec![record], None)
    }
}

impl Zones {
    /// `.` and `test` are signed; below them: `signed.test` (NSEC), `hashed.test` (NSEC3), each with
    /// `www`, `a.wild` by a wildcard; `unsigned.test` with `www` and no DS; and some that link.
    pub(crate) fn new() -> Self {
        Self::with_hashed(Denial::Nsec3 { iterations: 0, opt_out: false })
    }

    pub(crate) fn with_hashed(denial: Denial) -> Self {
        let mut root = Zone::new("", true, Denial::Nsec);
        let mut test = Zone::new("test", true, Denial::Nsec3 { iterations: 0, opt_out: false });
        let mut children = [
            Zone::new("signed.test", true, Denial::Nsec),
            Zone::new("hashed.test", true, denial),
            Zone::new("unsigned.test", false, Denial::Nsec),
        ];
        for child in &mut children {
            let apex = child.name.clone();
            for owner in ["www", "mail", "*", "*.wild"] {
                let owner = name(owner).append_domain(&apex).expect("short");
                child.add(owner, RData::A(A::new(192, 0, 2, 1)));
            }
        }
        let mut link = |from: &str, to: &str| {
            children[0].add(name(from), RData::CNAME(CNAME(name(to))));
        };
        link("in.signed.test", "www.signed.test");
        link("over.signed.test", "www.hashed.test");
        link("out.signed.test", "www.unsigned.test");
        link("lost.signed.test", "none.mail.hashed.test");
        for child in &children {
            test.delegate(child);
        }
        root.delegate(&test);
        let zones = [root, test].into_iter().chain(children).collect();
        Self { zones, tampering: Mutex::new(None) }
    }

    pub(crate) fn zone_mut(&mut self, apex: &str) -> &mut Zone {
        self.zones.iter_mut().find(|zone| zone.name == name(apex)).expect("a zone")
    }

    pub(crate) fn zone(&self, apex: &str) -> &Zone {
        self.zones.iter().find(|zone| zone.name == name(apex)).expect("a zone")
    }

    /// Does something to every answer from now on.
    pub(crate) fn tamper(
        &self,
        tampering: impl FnMut(&Self, &Query, &mut Message) + Send + 'static,
    ) {
        *self.tampering.lock().expect("unpoisoned") = Some(Box::new(tampering));
    }

    /// The zone that answers for `owner`: a DS stands on the parent's side.
    fn zone_of(&self, owner: &HickoryName, rtype: RecordType) -> &Zone {
        let above = self.zones.iter().filter(|zone| {
            zone.name.zone_of(owner)
                && (rtype != RecordType::DS || zone.name != *owner || owner.is_root())
        });
        above.max_by_key(|zone| zone.name.num_labels()).expect("the root")
    }

    /// What a resolver answers that is asked with DO and CD.
    pub(crate) fn answer(&self, query: &Query) -> Message {
        let mut message = self.untampered(query);
        if let Some(tamper) = self.tampering.lock().expect("unpoisoned").as_mut() {
            tamper(self, query, &mut message);
        }
        message
    }

    /// The same before anything is done to it.
    pub(crate) fn untampered(&self, query: &Query) -> Message {
        let mut message = Message::response(0, OpCode::Query);
        message.add_query(query.clone());
        message.metadata.recursion_available = true;
        let mut owner = query.name().clone();
        let rtype = query.query_type();
        loop {
            let zone = self.zone_of(&owner, rtype);
            let (stands_at, labels) = if zone.exists(&owner) {
                (owner.clone(), None)
            } else {
                let encloser = zone.closest_encloser(&owner);
                let wildcard = encloser.prepend_label("*").expect("short");
                if zone.exists(&wildcard) && zone.signer.is_some() {
                    let closer = match zone.denial {
                        Denial::Nsec => owner.clone(),
                        Denial::Nsec3 { .. } => {
                            owner.trim_to(usize::from(encloser.num_labels()) + 1)
                        }
                    };
                    message.add_authorities(zone.denial(&closer));
                }
                (wildcard, Some(encloser.num_labels()))
            };
            let as_asked = |records: &[Record]| -> Vec<Record> {
                let renamed =
                    |record: &Record| Record::from_rdata(owner.clone(), TTL, record.data.clone());
                zone.signed(records.iter().map(renamed).collect(), labels)
            };
            if let Some(records) = zone.rrset(&stands_at, rtype) {
                message.add_answers(as_asked(records));
                break;
            }
            if let Some(records) = zone.rrset(&stands_at, RecordType::CNAME) {
                message.add_answers(as_asked(records));
                let RData::CNAME(CNAME(target)) = &records[0].data else { unreachable!() };
                owner = target.clone();
                continue;
            }
            zone.deny(&mut message, &owner, zone.exists(&stands_at));
            break;
        }
        message
    }
}

impl Zone {
    fn delegate(&mut self, child: &Zone) {
        self.add(child.name.clone(), RData::NS(NS(name("nobody.invalid"))));
        if child.signer.is_some() {
            self.add(child.name.clone(), RData::DNSSEC(DNSSECRData::DS(child.ds())));
        }
    }

    /// NODATA where the name exists, else NXDOMAIN, with what proves it.
    fn deny(&self, message: &mut Message, owner: &HickoryName, exists: bool) {
        let soa = self.rrset(&self.name, RecordType::SOA).expect("a SOA").clone();
        let mut authorities = self.signed(soa, None);
        if !exists {
            message.metadata.response_code = ResponseCode::NXDomain;
        }
        if self.signer.is_some() {
            let mut about = vec![owner.clone()];
            if !self.exists(owner) {
                let encloser = self.closest_encloser(owner);
                about.push(encloser.prepend_label("*").expect("short"));
                if let Denial::Nsec3 { .. } = self.denial {
                    about[0] = owner.trim_to(usize::from(encloser.num_labels()) + 1);
                    about.push(encloser);
                }
            }
            let mut proofs: Vec<Vec<Record>> = about.iter().map(|name| self.denial(name)).collect();
            proofs.sort_by(|one, two| one[0].name.cmp(&two[0].name));
            proofs.dedup_by(|one, two| one[0] == two[0]);
            authorities.extend(proofs.into_iter().flatten());
        }
        message.authorities = authorities;
    }
}

/// Trust anchors in a file, which is gone when this is dropped.
pub(crate) struct AnchorFile(pub(crate) PathBuf);

impl AnchorFile {
    pub(crate) fn new(text: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let file = format!("privatelinkd-anchors-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(file);
        std::fs::write(&path, text).expect("a file");
        Self(path)
    }

    /// The root's key.
    pub(crate) fn of_root(zones: &Zones) -> Self {
        Self::new(&format!("; the root\n. 3600 IN DNSKEY {}\n", zones.zone("").key()))
    }
}

impl Drop for AnchorFile {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}
