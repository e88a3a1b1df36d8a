//! Messages in words, through hickory's decoder.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Context;
use hickory_proto::op::{Edns, Message, ResponseCode};
use hickory_proto::rr::Record;
use hickory_proto::rr::rdata::opt::EdnsOption;
use serde::Serialize;

use crate::wire::{Ede, Rcode, u16_at};

/// The option code of extended errors (RFC 8914).
const OPTION_EDE: u16 = 15;

/// A reply, for people and for JSON.
#[derive(Serialize, Debug)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Shown {
    /// The rcode's mnemonic.
    pub(super) rcode: String,
    /// The header's bits that are set.
    pub(super) flags: Vec<&'static str>,
    /// Answer section.
    pub(super) answer: Vec<ShownRecord>,
    /// Authority section.
    pub(super) authority: Vec<ShownRecord>,
    /// Extended errors.
    pub(super) extended_errors: Vec<String>,
}

/// One record.
#[derive(Serialize, Debug)]
pub(super) struct ShownRecord {
    name: String,
    ttl: u32,
    r#type: String,
    data: String,
}

impl Shown {
    /// Decodes a reply.
    pub(super) fn read(reply: &[u8]) -> anyhow::Result<Self> {
        let message = Message::from_vec(reply).context("the reply cannot be decoded")?;
        let metadata = &message.metadata;
        let flags = [
            (true, "qr"),
            (metadata.authoritative, "aa"),
            (metadata.truncation, "tc"),
            (metadata.recursion_desired, "rd"),
            (metadata.recursion_available, "ra"),
            (metadata.authentic_data, "ad"),
            (metadata.checking_disabled, "cd"),
        ];
        Ok(Self {
            rcode: Rcode(rcode_number(metadata.response_code)).to_string(),
            flags: flags.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect(),
            answer: message.answers.iter().map(ShownRecord::new).collect(),
            authority: message.authorities.iter().map(ShownRecord::new).collect(),
            extended_errors: message.edns.as_ref().map(extended_errors).unwrap_or_default(),
        })
    }

    /// The reply's lines, each after `indent`.
    pub(super) fn lines(&self, indent: &str) -> String {
        let mut text = format!("{indent}{} ({})\n", self.rcode, self.flags.join(" "));
        for error in &self.extended_errors {
            text += &format!("{indent}extended error: {error}\n");
        }
        for record in &self.answer {
            text += &format!("{indent}{record}\n");
        }
        for record in &self.authority {
            text += &format!("{indent}authority: {record}\n");
        }
        text
    }
}

impl ShownRecord {
    fn new(record: &Record) -> Self {
        Self {
            name: record.name.to_string(),
            ttl: record.ttl,
            r#type: record.record_type().to_string(),
            data: record.data.to_string(),
        }
    }
}

impl std::fmt::Display for ShownRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {} {}", self.name, self.ttl, self.r#type, self.data)
    }
}

fn rcode_number(code: ResponseCode) -> u16 {
    code.into()
}

fn extended_errors(edns: &Edns) -> Vec<String> {
    let options = edns.options();
    let errors = options.as_ref().iter().filter(|(code, _)| u16::from(*code) == OPTION_EDE);
    errors.filter_map(|(_, option)| extended_error(option)).collect()
}

fn extended_error(option: &EdnsOption) -> Option<String> {
    let octets = match option {
        EdnsOption::Unknown(_, octets) => octets,
        _ => return None,
    };
    let code = u16_at(octets, 0)?;
    // Text of others is hostile: control characters must not reach a terminal.
    let text = String::from_utf8_lossy(octets.get(2..)?);
    let text: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    let name = Ede::name(code);
    Some(if text.is_empty() {
        format!("{code} ({name})")
    } else {
        format!("{code} ({name}): {text}")
    })
}

/// The address under which a listening address can be asked from this host.
pub(super) fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}
