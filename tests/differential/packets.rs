//! Packets from a seed: queries for names in and around the zones, and what else may come.

use std::net::IpAddr;

use super::Packet;
use super::world;

/// SplitMix64: the same packets on every machine.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    fn octet(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }

    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

const LABELS: [&[u8]; 18] = [
    b"1",
    b"7",
    b"api",
    b"data",
    b"westeurope",
    b"many",
    b"own",
    b"a",
    b"b",
    b"c",
    b"d",
    b"six",
    b"m",
    b"x",
    b"privatelink",
    b"_tcp",
    b"*",
    b"\x00\xff",
];
const APEXES: [&str; 20] = [
    "localhost.",
    "invalid.",
    "resolver.arpa.",
    "0.0.127.in-addr.arpa.",
    "127.in-addr.arpa.",
    "10.in-addr.arpa.",
    "7.10.in-addr.arpa.",
    "local.",
    "cloud.defender.microsoft.com.",
    "privatelink.cloud.defender.microsoft.com.",
    "vault.azure.net.",
    "privatelink.vaultcore.azure.net.",
    "vaultcore.azure.net.",
    "blob.core.windows.net.",
    "privatelink.blob.core.windows.net.",
    "defender.microsoft.com.",
    "com.",
    "test.",
    "example.",
    ".",
];
/// Names with answers, so that many packets find some.
const LISTED: [&str; 8] =
    ["api.", "data.westeurope.", "many.", "own.", "d.b.c.", "six.", "a.d.", "westeurope."];
/// A NS CNAME SOA PTR MX TXT AAAA SRV NAPTR DNAME OPT DS RRSIG DNSKEY SVCB HTTPS IXFR AXFR ANY CAA
const TYPES: [u16; 21] =
    [1, 2, 5, 6, 12, 15, 16, 28, 33, 35, 39, 41, 43, 46, 48, 64, 65, 251, 252, 255, 257];

/// A name in wire form, in random case.
pub(crate) fn name(dice: &mut Dice) -> Vec<u8> {
    let mut labels: Vec<Vec<u8>> = Vec::new();
    let zone = *dice.pick(&APEXES);
    if dice.once_in(3) {
        let listed = dice.pick(&LISTED).split_terminator('.');
        labels.extend(listed.map(|label| label.as_bytes().to_vec()));
    }
    for _ in 0..dice.below(4) {
        let label = if dice.once_in(5) {
            (0..=dice.below(63)).map(|_| dice.octet()).collect()
        } else {
            dice.pick(&LABELS).to_vec()
        };
        let at = if dice.once_in(4) { labels.len() } else { 0 };
        labels.insert(at, label);
    }
    if dice.once_in(12) {
        // As long as names get, or nearly: the target of a CNAME may then be too long.
        labels = (0..3).map(|_| vec![b'l'; 63]).collect();
        labels.push(vec![b'm'; 1 + dice.below(40)]);
    }
    labels.extend(zone.split_terminator('.').map(|label| label.as_bytes().to_vec()));
    let mut wire = Vec::new();
    for mut label in labels.into_iter().filter(|label| !label.is_empty()) {
        label.iter_mut().filter(|_| dice.once_in(2)).for_each(u8::make_ascii_uppercase);
        wire.push(u8::try_from(label.len()).expect("at most 63"));
        wire.extend(label);
    }
    // Cut from the left, label by label, to what a name may have.
    while wire.len() + 1 > 255 {
        wire.drain(..=usize::from(wire[0]));
    }
    wire.push(0);
    wire
}

fn question(dice: &mut Dice) -> Vec<u8> {
    let mut octets = name(dice);
    let rtype = if dice.once_in(10) {
        u16::from_be_bytes([dice.octet() & 1, dice.octet()])
    } else if dice.once_in(2) {
        *dice.pick(&[1, 28])
    } else {
        *dice.pick(&TYPES)
    };
    let class = if dice.once_in(20) { *dice.pick(&[0, 2, 3, 4, 254, 255]) } else { 1 };
    octets.extend(rtype.to_be_bytes());
    octets.extend(u16::to_be_bytes(class));
    octets
}

fn opt(dice: &mut Dice) -> Vec<u8> {
    let payload = *dice.pick(&[0u16, 511, 512, 513, 600, 1_232, 1_400, 4_096, 65_535]);
    let flags = if dice.once_in(2) { 0x80 } else { 0 } | if dice.once_in(9) { 0x41 } else { 0 };
    // Option 10, cookie; 12, padding; 65001, local use.
    let options: &[u8] = match dice.below(4) {
        0 => b"\0\x0a\0\x0812345678",
        1 => b"\0\x0c\0\x03\0\0\0\xfd\xe9\0\0",
        _ => b"",
    };
    record(&[0], 41, payload, [0, 0, flags, 0], options)
}

fn record(owner: &[u8], rtype: u16, class: u16, ttl: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut octets = owner.to_vec();
    octets.extend(rtype.to_be_bytes());
    octets.extend(class.to_be_bytes());
    octets.extend(ttl);
    octets.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
    octets.extend(data);
    octets
}

/// A query as it should be.
struct Parts {
    flags: u16,
    questions: Vec<Vec<u8>>,
    /// By section.
    records: [Vec<Vec<u8>>; 3],
}

impl Parts {
    fn draw(dice: &mut Dice) -> Self {
        // RD, AD, CD and, now and then, bits that mean nothing in a query.
        let mut flags = u16::from_be_bytes([dice.octet() & 1, dice.octet() & 0x30]);
        if dice.once_in(10) {
            flags |= u16::from_be_bytes([dice.octet() & 0x06, dice.octet() & 0xcf]);
        }
        let opts = if dice.once_in(3) { Vec::new() } else { vec![opt(dice)] };
        Self { flags, questions: vec![question(dice)], records: [Vec::new(), Vec::new(), opts] }
    }

    fn octets(&self, id: u16) -> Vec<u8> {
        let count = |list: &[Vec<u8>]| u16::try_from(list.len()).expect("few").to_be_bytes();
        let mut octets = [id.to_be_bytes(), self.flags.to_be_bytes()].concat();
        octets.extend(count(&self.questions));
        octets.extend(self.records.iter().flat_map(|records| count(records)));
        octets.extend(self.questions.concat());
        octets.extend(self.records.iter().flatten().flatten());
        octets
    }

    /// One thing that queries do not have.
    fn oddity(&mut self, dice: &mut Dice) {
        let addresses: [&[u8]; 3] = [&[10, 0, 0, 1], &[10, 0], &[]];
        match dice.below(11) {
            0 => self.flags |= u16::try_from(1 + dice.below(15)).expect("four bits") << 11,
            1 => self.flags |= 0x8000,
            2 => self.questions.push(question(dice)),
            3 => self.questions.clear(),
            4 => self.records[2] = vec![record(&[0], 41, 1_232, [0, 1, 0x80, 0], b"")],
            5 => self.records[2] = vec![opt(dice), opt(dice)],
            6 => self.records[dice.below(2)].push(opt(dice)),
            7 => {
                let broken = *dice.pick(&[&b"\0\x0a\0"[..], b"\0\x0a\0\x09x", b"\0"]);
                self.records[2] = vec![record(&[0], 41, 1_232, [0; 4], broken)];
            }
            8 => self.records[2] = vec![record(&name(dice), 41, 1_232, [0; 4], b"")],
            9 => {
                let address: &[u8] = addresses[dice.below(addresses.len())];
                let extra = record(&name(dice), 1, 1, [0; 4], address);
                self.records[dice.below(3)].insert(0, extra);
            }
            // Type 250, TSIG, with data that is none.
            _ => self.records[2].push(record(&[0], 250, 255, [0; 4], b"tsig")),
        }
    }
}

/// Damages octets.
fn damage(dice: &mut Dice, octets: &mut Vec<u8>) {
    match dice.below(5) {
        0 => octets.truncate(dice.below(octets.len())),
        1 | 2 => {
            for _ in 0..=dice.below(3) {
                let at = dice.below(octets.len());
                octets[at] ^= 1 << dice.below(8);
            }
        }
        3 => octets.extend((0..=dice.below(20)).map(|_| dice.octet()).collect::<Vec<_>>()),
        // A name that points into the header, or at itself.
        _ => {
            let target = u8::try_from(dice.below(20)).expect("small");
            octets.splice(12..12, [0xc0, target]);
        }
    }
}

pub(crate) fn draw(dice: &mut Dice) -> Packet {
    let mut parts = Parts::draw(dice);
    let wild = dice.below(10);
    if wild < 3 {
        parts.oddity(dice);
    }
    let id = u16::from_be_bytes([dice.octet(), dice.octet()]);
    let mut octets = parts.octets(id);
    if wild == 2 || wild == 3 {
        damage(dice, &mut octets);
    }
    let client = if dice.once_in(2) { world::SITE_CLIENT } else { world::OTHER_CLIENT };
    let client: IpAddr = client.parse().expect("an address");
    Packet { client, tcp: dice.once_in(4), octets }
}
