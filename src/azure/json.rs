//! JSON as Azure's tools print it: documents one behind the other, each value with its place.

use serde_json::Value;

use super::log::{Log, shown};
use super::model::Source;

/// Most values in one file: each takes 32 octets and more, and a list of 25,000 record sets, the most
/// that a private zone has, holds a tenth of this.
pub(super) const MAX_VALUES: usize = 4_000_000;

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
        let cut = if error.is_eof() { ": the file is cut off" } else { "" };
        format!("no JSON ({error}){cut}; nothing of it is used, write it anew with az … -o json")
    })
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

    /// The value of a key, here or below `properties`: the CLI flattens what REST nests. A null is
    /// none.
    pub(super) fn get(&self, key: &str) -> Option<Node<'a>> {
        let here = |value: &'a Value| value.get(key).filter(|value| !value.is_null());
        if let Some(value) = here(self.value) {
            return Some(self.below(value, key));
        }
        let properties = self.value.get("properties")?;
        Some(self.below(here(properties)?, &format!("properties.{key}")))
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
