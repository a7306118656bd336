//! From the tree to typed values, noting every problem on the way in place of stopping at the first.
//!
//! Must never drop a key silently: `mapping` names the keys that it accepts, all others are problems.

use crate::error::{ConfigError, Problem};
use crate::node::{Node, Position, ScalarKind, Value};
use crate::values;

/// Longer values are cut in messages.
const MAX_QUOTED: usize = 60;

pub(crate) struct Decoder {
    problems: Vec<Problem>,
}

/// The known entries of a mapping; null ones are left out.
pub(crate) struct Fields<'a> {
    entries: Vec<(&'a str, &'a Node)>,
}

impl<'a> Fields<'a> {
    pub(crate) fn get(&self, key: &str) -> Option<&'a Node> {
        self.entries.iter().find(|(name, _)| *name == key).map(|(_, node)| *node)
    }
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self { problems: Vec::new() }
    }

    pub(crate) fn finish<T>(self, value: T) -> Result<T, ConfigError> {
        if self.problems.is_empty() { Ok(value) } else { Err(ConfigError::new(self.problems)) }
    }

    pub(crate) fn note(&mut self, at: Position, message: impl Into<String>) {
        self.problems.push(Problem { line: at.line, column: at.column, message: message.into() });
    }

    /// The fields of a mapping; every key that is not in `allowed` is a problem.
    pub(crate) fn mapping<'a>(&mut self, node: &'a Node, what: &str, allowed: &[&str]) -> Option<Fields<'a>> {
        let Value::Mapping(entries) = &node.value else {
            self.note(
                node.at,
                format!("{what} is {}; allowed is a mapping of: {}", node.describe(), allowed.join(", ")),
            );
            return None;
        };
        let mut known = Vec::new();
        for entry in entries {
            if !allowed.contains(&entry.key.as_str()) {
                self.note(
                    entry.key_at,
                    format!("unknown key `{}` in {what}; allowed: {}", shown(&entry.key), allowed.join(", ")),
                );
            } else if !entry.value.is_null() {
                known.push((entry.key.as_str(), &entry.value));
            }
        }
        Some(Fields { entries: known })
    }

    /// A string that `parse` accepts; its error says what is wrong and what is allowed.
    pub(crate) fn parsed<T>(
        &mut self,
        node: Option<&Node>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let node = node?;
        let text = self.scalar(node, ScalarKind::String, "a string; put it in quotes")?;
        self.accept(node, text, parse)
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&mut self, node: Option<&Node>) -> Option<bool> {
        let node = node?;
        let text = self.scalar(node, ScalarKind::Boolean, "true or false")?;
        Some(text.eq_ignore_ascii_case("true"))
    }

    /// A whole number from 1 to 65535.
    pub(crate) fn port(&mut self, node: Option<&Node>) -> Option<u16> {
        const ALLOWED: &str = "a whole number from 1 to 65535";
        let node = node?;
        let text = self.scalar(node, ScalarKind::Number, ALLOWED)?;
        match text.parse::<u16>() {
            Ok(port) if port > 0 => Some(port),
            _ => {
                self.note(node.at, format!("`{}` is not a port; allowed: {ALLOWED}", shown(text)));
                None
            }
        }
    }

    /// A probability: a number from 0 to 1.
    pub(crate) fn probability(&mut self, node: Option<&Node>) -> Option<f64> {
        const ALLOWED: &str = "a number from 0 to 1";
        let node = node?;
        let text = self.scalar(node, ScalarKind::Number, ALLOWED)?;
        let value = values::probability(text);
        if value.is_err() {
            self.note(node.at, format!("`{}` is not a probability; allowed: {ALLOWED}", shown(text)));
        }
        value.ok()
    }

    /// The items of a list; anything else is a problem.
    pub(crate) fn items<'a>(&mut self, node: Option<&'a Node>, what: &str, allowed: &str) -> &'a [Node] {
        let Some(node) = node else { return &[] };
        let Value::List(items) = &node.value else {
            self.note(node.at, format!("{what} is {}; allowed is {allowed}", node.describe()));
            return &[];
        };
        items
    }

    /// A list of strings that `parse` accepts.
    pub(crate) fn list<T>(
        &mut self,
        node: Option<&Node>,
        what: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let items = self.items(node, what, "a list of strings");
        items.iter().filter_map(|item| self.parsed(Some(item), &parse)).collect()
    }

    fn scalar<'a>(&mut self, node: &'a Node, wanted: ScalarKind, allowed: &str) -> Option<&'a str> {
        if let Value::Scalar { text, plain } = &node.value
            && Node::scalar_kind(text, *plain) == wanted
        {
            return Some(text);
        }
        self.note(node.at, format!("this is {}; allowed: {allowed}", node.describe()));
        None
    }

    fn accept<T>(&mut self, node: &Node, text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        match parse(text) {
            Ok(value) => Some(value),
            Err(allowed) => {
                self.note(node.at, format!("`{}` is not allowed; allowed: {allowed}", shown(text)));
                None
            }
        }
    }
}

/// A value as it is quoted in a message: printable and not endless.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_QUOTED).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX_QUOTED).is_some() {
        shown.push('…');
    }
    shown
}
