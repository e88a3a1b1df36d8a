//! Messages in words, through hickory's decoder. What explanations and `query` show of a reply.

use hickory_proto::op::{Edns, Message, ResponseCode};
use hickory_proto::rr::Record;
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::serialize::binary::DecodeError;
use serde::{Deserialize, Serialize};

use crate::wire::{Ede, OPTION_EDE, Rcode, u16_at};

/// A reply, for people and for JSON.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Shown {
    /// The rcode's mnemonic.
    pub rcode: String,
    /// The header's bits that are set.
    pub flags: Vec<String>,
    /// Answer section.
    pub answer: Vec<ShownRecord>,
    /// Authority section.
    pub authority: Vec<ShownRecord>,
    /// Extended errors.
    pub extended_errors: Vec<String>,
}

/// A reply that is no DNS message.
#[derive(Debug, thiserror::Error)]
#[error("the reply cannot be decoded: {0}")]
pub struct Undecodable(#[from] DecodeError);

/// One record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShownRecord {
    /// The owner.
    pub name: String,
    /// Seconds.
    pub ttl: u32,
    /// The type's mnemonic.
    pub r#type: String,
    /// The data in presentation form.
    pub data: String,
}

impl Shown {
    /// Decodes a reply.
    ///
    /// # Errors
    /// Octets that are no DNS message.
    pub fn read(reply: &[u8]) -> Result<Self, Undecodable> {
        let message = Message::from_vec(reply)?;
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
            flags: flags
                .iter()
                .filter(|(set, _)| *set)
                .map(|(_, name)| (*name).to_owned())
                .collect(),
            answer: message.answers.iter().map(ShownRecord::new).collect(),
            authority: message.authorities.iter().map(ShownRecord::new).collect(),
            extended_errors: message.edns.as_ref().map(extended_errors).unwrap_or_default(),
        })
    }

    /// The reply's lines, each after `indent`.
    pub fn lines(&self, indent: &str) -> String {
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
            data: printable(&record.data.to_string()),
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
    let text = printable(&String::from_utf8_lossy(octets.get(2..)?));
    let name = Ede::name(code);
    Some(if text.is_empty() {
        format!("{code} ({name})")
    } else {
        format!("{code} ({name}): {text}")
    })
}

/// Text of others is hostile: control characters must not reach a terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
