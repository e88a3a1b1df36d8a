//! Reading cases, and holding replies against them.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use hickory_proto::op::Message;
use hickory_proto::rr::{DNSClass, Record};

/// How a query is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// A query and what it must get.
pub(crate) struct Exchange {
    pub(crate) place: String,
    pub(crate) client: IpAddr,
    pub(crate) only: Option<Transport>,
    pub(crate) query: Vec<u8>,
    /// The words of the line behind the query: rcode, flags, and so on.
    expected: Vec<String>,
    /// Records, those of the authority section with `authority: ` in front.
    records: Vec<String>,
}

/// All exchanges of a file.
pub(crate) fn read(file: &Path) -> Vec<Exchange> {
    let text = fs::read_to_string(file).expect("a case file");
    let name = file.file_name().expect("a name").to_string_lossy().into_owned();
    let mut title = String::new();
    let mut exchanges: Vec<Exchange> = Vec::new();
    let mut open = false;
    for (number, line) in text.lines().enumerate() {
        if let Some(text) = line.strip_prefix("## ") {
            title = text.to_owned();
            open = false;
        } else if line.starts_with("# ") || line.trim().is_empty() {
            open = false;
        } else if let Some(asked) = line.strip_prefix('>') {
            let place = format!("{name}:{} ({title}) {}", number + 1, &line[..line.len().min(60)]);
            exchanges.push(parse_query(asked, place));
            open = true;
        } else {
            let exchange = exchanges.last_mut().filter(|_| open).expect("a line outside a case");
            if exchange.expected.is_empty() {
                exchange.expected = line.split_whitespace().map(str::to_owned).collect();
            } else {
                exchange.records.push(line.to_owned());
            }
        }
    }
    for exchange in &exchanges {
        assert!(!exchange.expected.is_empty(), "{}: nothing is expected", exchange.place);
    }
    exchanges
}

fn parse_query(asked: &str, place: String) -> Exchange {
    let client = IpAddr::from([127, 0, 0, 1]);
    let mut exchange = Exchange {
        place,
        client,
        only: None,
        query: Vec::new(),
        expected: vec![],
        records: vec![],
    };
    if let Some(octets) = asked.strip_prefix('>') {
        exchange.query = parse_octets(octets);
        return exchange;
    }
    let mut words = asked.split_whitespace();
    let name = words.next().expect("a name");
    let rtype = words.next().expect("a type");
    let rtype = privatelinkd::wire::Rtype::parse(rtype).expect("a known type").0;
    let (mut flags, mut class, mut edns, mut dnssec_ok) = (0x0100_u16, 1_u16, 1_232_u16, false);
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("from", ip) => exchange.client = ip.parse().expect("an address"),
            ("edns", size) => edns = size.parse().expect("a size"),
            ("class", number) => class = number.parse().expect("a class"),
            ("do", _) => dnssec_ok = true,
            ("cd", _) => flags |= 0x0010,
            ("ad", _) => flags |= 0x0020,
            ("norec", _) => flags &= !0x0100,
            ("udp", _) => exchange.only = Some(Transport::Udp),
            ("tcp", _) => exchange.only = Some(Transport::Tcp),
            (other, _) => panic!("{}: what is {other}?", exchange.place),
        }
    }
    let query = &mut exchange.query;
    query.extend([0x5a, 0xa5]);
    query.extend(flags.to_be_bytes());
    query.extend([0, 1, 0, 0, 0, 0, 0, u8::from(edns > 0)]);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        query.push(u8::try_from(label.len()).expect("a label"));
        query.extend(label.as_bytes());
    }
    query.push(0);
    query.extend(rtype.to_be_bytes());
    query.extend(class.to_be_bytes());
    if edns > 0 {
        query.extend([0, 0, 41]);
        query.extend(edns.to_be_bytes());
        query.extend([0, 0, if dnssec_ok { 0x80 } else { 0 }, 0, 0, 0]);
    }
    exchange
}

/// Hexadecimal digits and quoted text.
fn parse_octets(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for (index, part) in text.split('"').enumerate() {
        if index % 2 == 1 {
            octets.extend(part.as_bytes());
            continue;
        }
        let digits: Vec<u8> = part.bytes().filter(|octet| !octet.is_ascii_whitespace()).collect();
        assert!(digits.len().is_multiple_of(2), "half an octet in {text}");
        for pair in digits.chunks(2) {
            let pair = std::str::from_utf8(pair).expect("ASCII");
            octets.push(u8::from_str_radix(pair, 16).expect("hexadecimal digits"));
        }
    }
    octets
}

impl Exchange {
    /// Holds a reply against what is expected.
    pub(crate) fn compare(&self, query: &[u8], reply: Option<&[u8]>) -> Result<(), String> {
        let Some(reply) = reply else {
            let silence = self.expected.iter().any(|word| word == "silence");
            return if silence { Ok(()) } else { Err("silence".to_owned()) };
        };
        if self.expected.iter().any(|word| word == "silence") {
            return Err(format!("a reply of {} octets instead of silence", reply.len()));
        }
        let message = Message::from_vec(reply).map_err(|error| format!("undecodable: {error}"))?;
        self.compare_echo(query, reply, &message)?;
        let found = summary(&message);
        let mut expected: Vec<&str> = Vec::new();
        for word in &self.expected {
            match word.split_once("<=") {
                Some(("size", octets)) => {
                    let bound: usize = octets.parse().expect("a number");
                    if reply.len() > bound {
                        return Err(format!("{} octets", reply.len()));
                    }
                }
                _ => expected.push(word),
            }
        }
        for (word, has) in [("opt", message.edns.is_some()), ("noopt", message.edns.is_none())] {
            if expected.contains(&word) && !has {
                return Err(format!("not {word}"));
            }
        }
        expected.retain(|word| *word != "opt" && *word != "noopt");
        let (mut want, mut got) =
            (expected.clone(), found.iter().map(String::as_str).collect::<Vec<_>>());
        want.sort_unstable();
        got.sort_unstable();
        if want != got {
            return Err(format!("expected {expected:?}, got {found:?}"));
        }
        self.compare_records(&message)
    }

    /// The id, and the question octet for octet, unless the fault is in the header or question.
    fn compare_echo(&self, query: &[u8], reply: &[u8], message: &Message) -> Result<(), String> {
        if reply[..2] != query[..2] {
            return Err("another id".to_owned());
        }
        if message.queries.is_empty() {
            let header_only = ["FORMERR", "NOTIMP"].contains(&self.expected[0].as_str());
            return if header_only { Ok(()) } else { Err("no question".to_owned()) };
        }
        let mut end = 12;
        while query[end] != 0 {
            end += 1 + usize::from(query[end]);
        }
        let question = 12..end + 5;
        if reply.get(question.clone()) == query.get(question) {
            Ok(())
        } else {
            Err("another question".to_owned())
        }
    }

    fn compare_records(&self, message: &Message) -> Result<(), String> {
        let answers = message.answers.iter().map(|record| (record, ""));
        let authorities = message.authorities.iter().map(|record| (record, "authority: "));
        let found: Vec<(String, u32)> = answers
            .chain(authorities)
            .map(|(record, prefix)| (format!("{prefix}{}", text(record)), record.ttl))
            .collect();
        if message.metadata.truncation {
            return if found.is_empty() { Ok(()) } else { Err("records beside TC".to_owned()) };
        }
        let matches = |expected: &String, (found, ttl): &(String, u32)| {
            *expected == found.replacen(&format!(" {ttl} "), " * ", 1) && *ttl <= 300
                || expected == found
        };
        let all = self.records.len() == found.len()
            && self.records.iter().zip(&found).all(|(expected, found)| matches(expected, found));
        let found: Vec<_> = found.into_iter().map(|(text, _)| text).collect();
        if all {
            Ok(())
        } else {
            Err(format!("expected\n  {}\ngot\n  {}", self.records.join("\n  "), found.join("\n  ")))
        }
    }
}

fn text(record: &Record) -> String {
    assert_eq!(record.dns_class, DNSClass::IN, "all we serve is class IN");
    let data = match &record.data {
        hickory_proto::rr::RData::Unknown { rdata, .. } => {
            let octets: String = rdata.anything.iter().map(|o| format!("{o:02x}")).collect();
            format!("\\# {} {octets}", octets.len() / 2)
        }
        data => data.to_string(),
    };
    format!("{} {} {} {data}", record.name, record.ttl, type_text(record))
}

fn type_text(record: &Record) -> String {
    privatelinkd::wire::Rtype(u16::from(record.record_type())).to_string()
}

/// The rcode, the flags that are set but QR, and extended errors.
fn summary(message: &Message) -> Vec<String> {
    let metadata = &message.metadata;
    let code = u16::from(metadata.response_code);
    let mut words = vec![privatelinkd::wire::Rcode(code).to_string()];
    let flags = [
        (metadata.authoritative, "aa"),
        (metadata.truncation, "tc"),
        (metadata.recursion_desired, "rd"),
        (metadata.recursion_available, "ra"),
        (metadata.authentic_data, "ad"),
        (metadata.checking_disabled, "cd"),
    ];
    words.extend(flags.into_iter().filter(|(set, _)| *set).map(|(_, name)| name.to_owned()));
    for (code, option) in message.edns.iter().flat_map(|edns| edns.options().as_ref()) {
        if u16::from(*code) == 15 {
            let octets = Vec::<u8>::try_from(option).expect("an option's octets");
            words.push(format!("ede={}", u16::from_be_bytes([octets[0], octets[1]])));
        }
    }
    words
}
