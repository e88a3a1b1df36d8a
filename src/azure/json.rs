//! JSON as Azure's tools print it: documents one behind the other, each value with its place.

use serde_json::{Map, Value};

use super::foreign;
use super::log::{Log, shown};
use super::model::Source;

/// Most values in one file: each takes 32 octets and more, and a list of 25,000 record sets, the most
/// that a private zone has, holds a tenth of this.
pub(super) const MAX_VALUES: usize = 4_000_000;

/// Members that Terraform's provider calls by words of its own.
const SYNONYMS: &[(&str, &[&str])] = &[
    ("privateLinkServiceConnections", &["private_service_connection"]),
    (
        "privateLinkServiceId",
        &["private_connection_resource_id", "private_connection_resource_alias"],
    ),
    ("groupIds", &["subresource_names"]),
    ("networkInterfaces", &["network_interface"]),
];

/// The documents of a text, or what is wrong with it. Nesting is serde_json's to bound (128).
pub(super) fn documents(text: &str) -> Result<Vec<Value>, String> {
    // Each value but the first of its list stands behind a comma or a bracket; counted beforehand, as
    // memory is spent while reading.
    let values = text.bytes().filter(|octet| matches!(octet, b',' | b'[' | b'{')).count();
    if values > MAX_VALUES {
        return Err(format!(
            "more than {MAX_VALUES} values; split it, or let az print less with --query"
        ));
    }
    let documents = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    documents.collect::<Result<_, _>>().map_err(|error| {
        let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or("");
        if let Some(why) = foreign::inside_json(text, line) {
            return why;
        }
        let cut = if error.is_eof() { ": the file is cut off" } else { "" };
        format!("no JSON ({error}){cut}; nothing of it is used, write it anew with az … -o json")
    })
}

/// Whether two keys are one word in the spellings of different tools: `ipAddresses` of the CLI,
/// `IpAddresses` of PowerShell, `ip_addresses` of Terraform and steampipe.
pub(super) fn same_word(a: &str, b: &str) -> bool {
    let letters = |text: &str, at: usize| text.as_bytes().get(at).map(u8::to_ascii_lowercase);
    let (mut a_at, mut b_at) = (0, 0);
    loop {
        match (letters(a, a_at), letters(b, b_at)) {
            (Some(b'_'), _) => a_at += 1,
            (_, Some(b'_')) => b_at += 1,
            (None, None) => return true,
            (one, other) if one == other => (a_at, b_at) = (a_at + 1, b_at + 1),
            _ => return false,
        }
    }
}

/// A member by any spelling of its key, Azure's own first, with the file's spelling. A null is none.
fn member<'a>(object: &'a Map<String, Value>, key: &str) -> Option<(&'a str, &'a Value)> {
    let exact = |key: &str| object.get_key_value(key).filter(|(_, value)| !value.is_null());
    let synonyms = || SYNONYMS.iter().find(|(known, _)| *known == key).map(|(_, other)| *other);
    let found = exact(key)
        .or_else(|| object.iter().find(|(here, value)| !value.is_null() && same_word(here, key)))
        // Terraform writes an attribute that is not set as an empty text.
        .or_else(|| synonyms()?.iter().find_map(|o| exact(o).filter(|(_, value)| *value != "")));
    found.map(|(key, value)| (key.as_str(), value))
}

/// A value and the way to it.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    value: &'a Value,
    source: Source,
}

impl<'a> Node<'a> {
    pub(super) fn document(value: &'a Value, file: &str, number: usize, of: usize) -> Self {
        let at = if of == 1 { String::new() } else { format!("document {number}") };
        Self { value, source: Source { file: file.to_owned(), at } }
    }

    pub(super) fn value(&self) -> &'a Value {
        self.value
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// The entries of a list; nothing of another value.
    pub(super) fn items(&self) -> impl Iterator<Item = Node<'a>> {
        let items = self.value.as_array().into_iter().flatten().enumerate();
        items.map(|(index, value)| self.below(value, &format!("[{index}]")))
    }

    /// The entries of an object, whatever they are called.
    pub(super) fn members(&self) -> impl Iterator<Item = Node<'a>> {
        let members = self.value.as_object().into_iter().flatten();
        members.map(|(key, value)| self.below(value, &shown(key)))
    }

    /// The value of a key, here or below `properties`: the CLI flattens what REST nests. The place
    /// has the spelling of the file.
    pub(super) fn get(&self, key: &str) -> Option<Node<'a>> {
        if let Some(here) = self.own(key) {
            return Some(here);
        }
        let (nest, properties) = member(self.value.as_object()?, "properties")?;
        let (key, value) = member(properties.as_object()?, key)?;
        Some(self.below(value, &format!("{}.{}", shown(nest), shown(key))))
    }

    /// The value of a key of this very object.
    pub(super) fn own(&self, key: &str) -> Option<Node<'a>> {
        let (key, value) = member(self.value.as_object()?, key)?;
        Some(self.below(value, &shown(key)))
    }

    /// The first of several spellings.
    pub(super) fn get_any(&self, keys: &[&str]) -> Option<Node<'a>> {
        keys.iter().find_map(|key| self.get(key))
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// A text; another kind of value is complained about.
    pub(super) fn text(&self, key: &str, log: &mut Log) -> Option<&'a str> {
        self.get(key).and_then(|node| node.as_text(log))
    }

    pub(super) fn as_text(&self, log: &mut Log) -> Option<&'a str> {
        let text = self.value.as_str();
        if text.is_none() {
            log.left_out(&self.source, format!("{}, where a text belongs", kind(self.value)));
        }
        text
    }

    /// The entries of a list; another kind of value is complained about.
    pub(super) fn list(&self, key: &str, log: &mut Log) -> Vec<Node<'a>> {
        let Some(list) = self.get(key) else { return Vec::new() };
        if !list.value.is_array() {
            log.left_out(&list.source, format!("{}, where a list belongs", kind(list.value)));
        }
        list.items().collect()
    }

    /// A list of texts.
    pub(super) fn texts(&self, key: &str, log: &mut Log) -> Vec<&'a str> {
        let list = self.list(key, log);
        list.iter().filter_map(|node| node.as_text(log)).collect()
    }

    fn below(&self, value: &'a Value, step: &str) -> Self {
        let Source { file, at } = &self.source;
        let dot = if at.is_empty() || step.starts_with('[') { "" } else { "." };
        let at = match at.strip_prefix("document ") {
            Some(number) if !number.contains(", ") => format!("{at}, {step}"),
            _ => format!("{at}{dot}{step}"),
        };
        Self { value, source: Source { file: file.clone(), at } }
    }
}

/// What kind of value it is, for messages.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_read_like_a_path() {
        let value = serde_json::json!([{ "properties": { "a": [{ "b": 1 }] }, "c": null }]);
        let node = Node::document(&value, "f", 1, 1);
        let item = node.items().next().expect("an item");
        let inner = item.get("a").expect("below properties");
        let b = inner.items().next().expect("an item").get("b").expect("a member");
        assert_eq!(b.source().to_string(), "f: [0].properties.a[0].b");
        assert!(!item.has("c"), "null is none");
        let second = Node::document(&value, "f", 2, 3);
        let item = second.items().next().expect("an item");
        assert_eq!(item.get("a").expect("a").source().at, "document 2, [0].properties.a");
    }

    #[test]
    fn keys_of_every_tool_are_one_word_and_keep_their_spelling() {
        let value = serde_json::json!({
            "Properties": { "IpAddresses": ["a"], "private_ip_address": "b", "Fqdn": null },
            "subresource_names": ["c"], "FQDN": "d", "fqdn": "e",
        });
        let node = Node::document(&value, "f", 1, 1);
        let at = |key: &str| node.get(key).map(|found| found.source().at.clone());
        assert_eq!(at("ipAddresses").as_deref(), Some("Properties.IpAddresses"));
        assert_eq!(at("privateIPAddress").as_deref(), Some("Properties.private_ip_address"));
        assert_eq!(at("groupIds").as_deref(), Some("subresource_names"));
        assert_eq!(at("fqdn").as_deref(), Some("fqdn"), "Azure's own spelling goes first");
        assert_eq!((at("ipAddress"), at("subresourceName")), (None, None));
        assert!(node.own("ipAddresses").is_none());
        for (a, b) in [("", "_"), ("aRecords", "a_records"), ("TTL", "ttl"), ("_a_", "A")] {
            assert!(same_word(a, b) && same_word(b, a), "{a} {b}");
        }
        assert!(!same_word("fqdn", "fqdns") && !same_word("a-b", "ab"));
    }

    #[test]
    fn other_kinds_of_values_are_complained_about() {
        let value = serde_json::json!({ "a": 5, "b": "x", "c": [1, "y"] });
        let node = Node::document(&value, "f", 1, 1);
        let mut log = Log::new();
        assert_eq!(node.text("a", &mut log), None);
        assert!(node.list("b", &mut log).is_empty());
        assert_eq!(node.texts("c", &mut log), ["y"]);
        assert_eq!(node.text("none", &mut log), None);
        let said: Vec<_> = log.into_complaints("f").iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "f: a: left out: a number, where a text belongs",
                "f: b: left out: a text, where a list belongs",
                "f: c[0]: left out: a number, where a text belongs"
            ]
        );
    }

    #[test]
    fn nesting_and_values_are_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(documents(&nested(127)).is_ok());
        let error = documents(&nested(128)).expect_err("too deep");
        assert!(error.contains("recursion limit"), "{error}");
        let list = |values: usize| format!("[{}0]", "0,".repeat(values - 1));
        assert!(documents(&list(MAX_VALUES)).is_ok());
        assert!(documents(&list(MAX_VALUES + 1)).expect_err("too many").contains("split it"));
    }

    #[test]
    fn documents_may_follow_each_other_but_not_break_off() {
        assert_eq!(documents("{}\n[1]\r\n{}").expect("JSON").len(), 3);
        assert!(documents("{}{\"a\":").expect_err("cut").contains("cut off"));
        assert!(documents("[1,]").expect_err("wrong").contains("line 1 column 4"));
    }
}
