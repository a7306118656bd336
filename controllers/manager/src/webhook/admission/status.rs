//! Refusals as the API server passes them on: the same `Status` objects that it makes itself.
//!
//! Never decides what is refused.

use std::fmt::Write;

use serde_json::{Value, json};

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Fields have values that they cannot have.
    Invalid { group: &'static str, kind: &'static str, name: String, causes: Vec<Cause> },
    /// The request as a whole cannot be done.
    BadRequest(String),
}

/// A field and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    pub field: String,
    pub message: String,
}

impl Cause {
    /// A text that is none of those that are valid.
    pub(super) fn not_one_of(field: String, value: &str, valid: &[&str]) -> Self {
        let valid: Vec<String> = valid.iter().map(|word| quoted(word)).collect();
        let message = format!("Invalid value: {}: valid values are: [{}]", quoted(value), valid.join(" "));
        Self { field, message }
    }
}

impl Refusal {
    pub fn status(&self) -> Value {
        let status = |code: u16, reason: &str, message: String| {
            json!({ "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
                "message": message, "reason": reason, "code": code })
        };
        match self {
            Self::BadRequest(message) => status(400, "BadRequest", message.clone()),
            Self::Invalid { group, kind, name, causes } => {
                let message = format!("{kind}.{group} {} is invalid: {}", quoted(name), together(causes));
                let mut status = status(422, "Invalid", message);
                let causes: Vec<Value> = causes
                    .iter()
                    .map(|Cause { field, message }| {
                        json!({ "reason": "FieldValueInvalid", "message": message, "field": field })
                    })
                    .collect();
                status["details"] = json!({ "name": name, "group": group, "kind": kind, "causes": causes });
                status
            }
        }
    }
}

/// One cause stands alone; several are a list in brackets, in which nothing stands twice.
fn together(causes: &[Cause]) -> String {
    let mut lines: Vec<String> = Vec::new();
    for Cause { field, message } in causes {
        let line = format!("{field}: {message}");
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    match lines.as_slice() {
        [line] => line.clone(),
        lines => format!("[{}]", lines.join(", ")),
    }
}

/// A text in quotes, with Go's escapes.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        // Writing to a string cannot fail.
        let _ = match character {
            '"' | '\\' => write!(quoted, "\\{character}"),
            '\n' => write!(quoted, "\\n"),
            '\r' => write!(quoted, "\\r"),
            '\t' => write!(quoted, "\\t"),
            '\u{7}' => write!(quoted, "\\a"),
            '\u{8}' => write!(quoted, "\\b"),
            '\u{b}' => write!(quoted, "\\v"),
            '\u{c}' => write!(quoted, "\\f"),
            character if character < ' ' || character == '\u{7f}' => {
                write!(quoted, "\\x{:02x}", u32::from(character))
            }
            character if character.is_control() => write!(quoted, "\\u{:04x}", u32::from(character)),
            character => write!(quoted, "{character}"),
        };
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_as_go_does() {
        for (text, expected) in [
            ("", r#""""#),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("\n\t\r\u{7}\u{1}\u{7f}\u{85}", r#""\n\t\r\a\x01\x7f\u0085""#),
            ("größe", "\"größe\""),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }
}
