//! YAML text to a tree in which every node knows its line and column.
//!
//! Refuses what a configuration file has no use for: anchors, aliases (and with them exponential
//! expansion), tags, several documents, duplicate keys, and nesting deeper than any schema here. It must
//! never recurse deeper than [`MAX_DEPTH`].

use crate::error::{ConfigError, Problem};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};

/// The schema is three deep; more is a mistake or an attack on the stack.
const MAX_DEPTH: usize = 16;

/// Line and column, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl From<Marker> for Position {
    fn from(mark: Marker) -> Self {
        Self { line: mark.line().max(1), column: mark.col() + 1 }
    }
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) at: Position,
    pub(crate) value: Value,
}

#[derive(Debug)]
pub(crate) enum Value {
    /// A scalar; `plain` ones have the type that they look like, quoted ones are strings.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Mapping(Vec<Entry>),
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_at: Position,
    pub(crate) value: Node,
}

/// What the value of a plain scalar is in YAML's core schema; quoted scalars are always strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScalarKind {
    Null,
    Boolean,
    Number,
    String,
}

impl Node {
    pub(crate) fn scalar_kind(text: &str, plain: bool) -> ScalarKind {
        if !plain {
            return ScalarKind::String;
        }
        match text {
            "" | "~" | "null" | "Null" | "NULL" => ScalarKind::Null,
            "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => ScalarKind::Boolean,
            _ if looks_like_number(text) => ScalarKind::Number,
            _ => ScalarKind::String,
        }
    }

    /// Absent and null are the same: a section whose lines are all commented out is null.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain } if Self::scalar_kind(text, *plain) == ScalarKind::Null)
    }

    /// What a person would call this node.
    pub(crate) fn describe(&self) -> &'static str {
        match &self.value {
            Value::List(_) => "a list",
            Value::Mapping(_) => "a mapping",
            Value::Scalar { text, plain } => match Self::scalar_kind(text, *plain) {
                ScalarKind::Null => "nothing",
                ScalarKind::Boolean => "a boolean",
                ScalarKind::Number => "a number",
                ScalarKind::String => "a string",
            },
        }
    }
}

fn looks_like_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') && text.parse::<f64>().is_ok()
}

/// Reads one document; `None` for an empty file or one of comments only.
pub(crate) fn read(text: &str) -> Result<Option<Node>, ConfigError> {
    let mut reader = Reader { parser: Parser::new_from_str(text), problems: Vec::new() };
    let outcome = reader.document();
    match outcome {
        Ok(root) if reader.problems.is_empty() => Ok(root.filter(|root| !root.is_null())),
        Ok(_) => Err(ConfigError::new(reader.problems)),
        Err(problem) => {
            reader.problems.push(problem);
            Err(ConfigError::new(reader.problems))
        }
    }
}

struct Reader<'input> {
    parser: Parser<'input, saphyr_parser::StrInput<'input>>,
    /// Problems that do not stop the reading.
    problems: Vec<Problem>,
}

fn problem(at: Position, message: impl Into<String>) -> Problem {
    Problem { line: at.line, column: at.column, message: message.into() }
}

impl<'input> Reader<'input> {
    fn next(&mut self) -> Result<(Event<'input>, Span), Problem> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(problem(
                (*error.marker()).into(),
                format!("not valid YAML: {}; see the example file for the form", error.info()),
            )),
            None => Ok((Event::StreamEnd, Span::empty(Marker::new(0, 1, 0)))),
        }
    }

    fn document(&mut self) -> Result<Option<Node>, Problem> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
                Event::StreamEnd => return Ok(root),
                _ if root.is_some() => {
                    return Err(problem(span.start.into(), "a second YAML document; give one only"));
                }
                event => root = Some(self.node(event, span, 0)?),
            }
        }
    }

    fn node(&mut self, event: Event<'input>, span: Span, depth: usize) -> Result<Node, Problem> {
        let at = Position::from(span.start);
        if depth > MAX_DEPTH {
            return Err(problem(at, format!("nested too deeply; at most {MAX_DEPTH} levels are allowed")));
        }
        self.refuse_extras(&event, at);
        let value = match event {
            Event::Scalar(text, style, _, _) => {
                Value::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain }
            }
            Event::SequenceStart(..) => Value::List(self.items(depth)?),
            Event::MappingStart(..) => Value::Mapping(self.entries(depth)?),
            // Already noted as a problem; the value no longer matters.
            _ => Value::Scalar { text: String::new(), plain: true },
        };
        Ok(Node { at, value })
    }

    fn refuse_extras(&mut self, event: &Event<'input>, at: Position) {
        let (anchor, tag) = match event {
            Event::Scalar(_, _, anchor, tag)
            | Event::SequenceStart(anchor, tag)
            | Event::MappingStart(anchor, tag) => (*anchor, tag.is_some()),
            _ => (1, false),
        };
        if anchor != 0 {
            self.problems
                .push(problem(at, "YAML anchors and aliases are not supported; write the value out"));
        }
        if tag {
            self.problems.push(problem(at, "YAML tags are not supported; leave the tag out"));
        }
    }

    fn items(&mut self, depth: usize) -> Result<Vec<Node>, Problem> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::SequenceEnd | Event::StreamEnd => return Ok(items),
                event => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn entries(&mut self, depth: usize) -> Result<Vec<Entry>, Problem> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd | Event::StreamEnd) {
                return Ok(entries);
            }
            let key = self.node(event, span, depth + 1)?;
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            let Value::Scalar { text, .. } = key.value else {
                self.problems.push(problem(key.at, "a key that is not a plain word; write `key: value`"));
                continue;
            };
            if let Some(first) = entries.iter().find(|entry| entry.key == text) {
                self.problems.push(problem(
                    key.at,
                    format!(
                        "key `{}` is given twice (first on line {}); give it once",
                        text.escape_debug(),
                        first.key_at.line
                    ),
                ));
                continue;
            }
            entries.push(Entry { key: text, key_at: key.at, value });
        }
    }
}
