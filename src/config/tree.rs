//! YAML text to a tree of nodes that know their line and column.
//!
//! YAML 1.2 core types only (`no` is a string). Anchors are expanded within bounds; merge keys, tags and several
//! documents are refused. Findings do not stop the reading, but for a syntax error.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};
use serde_json::{Number, Value as Json};

use super::path::{Path, Step};
use super::problem::{Position, Report};
use super::substitute::{self, Substitution};

/// Nodes of a file, aliases expanded.
const MAX_NODES: usize = 100_000;
/// Nesting of lists and mappings, aliases expanded.
const MAX_DEPTH: usize = 64;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub at: Position,
    /// Part of it came out of a file by `${file:}`: messages do not repeat it.
    pub secret: bool,
    /// Set where the value was substituted, in whole or in part.
    pub substituted: Option<Box<Substituted>>,
    pub value: Value,
    /// Set once the value turned out to be unusable: what the checks that follow see in its place. It is right by the schema,
    /// so that they can go on, and they report nothing about it.
    pub stand_in: Option<Json>,
}

/// What a substituted scalar can still be taken for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Substituted {
    pub text: String,
    /// Where it came from, for messages.
    pub origin: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// Already reported; not looked at again.
    Broken,
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    pub key_at: Position,
    pub value: Node,
    /// The schema has no such key: reported, and left out of what the checks see.
    pub unknown: bool,
}

impl Entry {
    /// Where to point when the value as a whole is meant: at a short value itself, else at its key.
    pub fn at(&self) -> Position {
        match self.value.value {
            Value::List(_) | Value::Map(_) | Value::Null => self.key_at,
            _ => self.value.at,
        }
    }
}

impl Node {
    pub fn new(at: Position, value: Value) -> Node {
        Node {
            at,
            secret: false,
            substituted: None,
            value,
            stand_in: None,
        }
    }

    /// Is there anything in it that was found to be wrong?
    pub fn has_problems(&self) -> bool {
        self.stand_in.is_some()
            || match &self.value {
                Value::List(items) => items.iter().any(Node::has_problems),
                Value::Map(entries) => entries.iter().any(|e| e.unknown || e.value.has_problems()),
                _ => false,
            }
    }

    /// Is `path`, or something above it, unusable, so that a further problem there would be none of the file's?
    pub fn is_unusable(&self, path: &Path<'_>) -> bool {
        let mut node = Some(self);
        let mut steps = path.steps().into_iter();
        while let Some(at) = node {
            if at.stand_in.is_some() {
                return true;
            }
            node = steps.next().and_then(|step| match (step, &at.value) {
                (Step::Key(key), _) => at.entry(key).map(|e| &e.value),
                (Step::Index(index), Value::List(items)) => items.get(index),
                _ => None,
            });
        }
        false
    }

    /// For the end of a message about this value: where it came from.
    pub fn origin(&self) -> String {
        let substituted = self.substituted.as_ref();
        substituted.map_or(String::new(), |s| format!(" (from {})", s.origin))
    }

    pub fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|e| e.key == key),
            _ => None,
        }
    }

    /// What is at `path`, if it is in the file.
    pub fn get(&self, path: &Path<'_>) -> Option<&Node> {
        path.steps()
            .into_iter()
            .try_fold(self, |node, step| match (step, &node.value) {
                (Step::Key(key), _) => node.entry(key).map(|e| &e.value),
                (Step::Index(index), Value::List(items)) => items.get(index),
                _ => None,
            })
    }

    /// The position of `path`, or of what is nearest above it in the file.
    pub fn position(&self, path: &Path<'_>) -> Position {
        let (mut node, mut at) = (self, self.at);
        for step in path.steps() {
            (node, at) = match (step, &node.value) {
                (Step::Key(key), _) => match node.entry(key) {
                    Some(entry) => (&entry.value, entry.at()),
                    None => break,
                },
                (Step::Index(index), Value::List(items)) if index < items.len() => {
                    (&items[index], items[index].at)
                }
                _ => break,
            };
        }
        at
    }

    /// Keys keep their order.
    pub fn to_json(&self) -> Json {
        if let Some(stand_in) = &self.stand_in {
            return stand_in.clone();
        }
        match &self.value {
            Value::Broken | Value::Null => Json::Null,
            Value::Bool(b) => Json::Bool(*b),
            Value::Number(n) => Json::Number(n.clone()),
            Value::Text(s) => Json::String(s.clone()),
            Value::List(items) => Json::Array(items.iter().map(Node::to_json).collect()),
            Value::Map(entries) => Json::Object(
                entries
                    .iter()
                    .filter(|e| !e.unknown)
                    .map(|e| (e.key.clone(), e.value.to_json()))
                    .collect(),
            ),
        }
    }

    /// Nodes in this one, itself counted, and its nesting.
    fn extent(&self) -> (usize, usize) {
        let of = |(count, depth): (usize, usize), child: &Node| {
            let (c, d) = child.extent();
            (count + c, depth.max(d))
        };
        let (count, depth) = match &self.value {
            Value::List(items) => items.iter().fold((0, 0), of),
            Value::Map(entries) => entries.iter().map(|e| &e.value).fold((0, 0), of),
            _ => return (1, 0),
        };
        (count + 1, depth + 1)
    }
}

/// The file's only document; `None` when there is nothing that could be checked further.
pub(super) fn parse(
    text: &str,
    substitution: &mut Substitution<'_>,
    report: &mut Report,
) -> Option<Node> {
    let hidden = substitute::hide(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut reader = Reader {
        parser: Parser::new_from_str(&hidden),
        substitution,
        report,
        anchors: HashMap::new(),
        nodes: 0,
    };
    match reader.document() {
        Ok(node) => Some(node),
        Err(Stop {
            mut at,
            mut message,
        }) => {
            let line = text
                .lines()
                .nth(at.line.saturating_sub(1))
                .unwrap_or_default();
            let indent = line.len() - line.trim_start().len();
            if let Some(tab) = line[..indent].chars().position(|c| c == '\t') {
                at.column = tab + 1;
                message = "not valid YAML: a tab in the indentation; use spaces".into();
            } else if line.contains("${") {
                message.push_str("; \"${...}\" ends with the first \"}\", on the same line");
            }
            report.error(at, &Path::ROOT, message);
            None
        }
    }
}

/// Ends the reading.
struct Stop {
    at: Position,
    message: String,
}

impl From<ScanError> for Stop {
    fn from(e: ScanError) -> Self {
        let at = Position {
            line: e.marker().line(),
            column: e.marker().col() + 1,
        };
        Stop {
            at,
            message: format!("not valid YAML: {}", e.info()),
        }
    }
}

struct Reader<'t, 's, 'e> {
    parser: Parser<'t, StrInput<'t>>,
    substitution: &'s mut Substitution<'e>,
    report: &'s mut Report,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl<'t> Reader<'t, '_, '_> {
    fn document(&mut self) -> Result<Node, Stop> {
        let root = loop {
            match self.next()? {
                (Event::StreamEnd, _) => {
                    return Err(Stop {
                        at: Position { line: 1, column: 1 },
                        message: "the file is empty".into(),
                    });
                }
                (Event::StreamStart | Event::DocumentStart(_) | Event::Nothing, _) => {}
                (event, at) => break self.node(event, at, &Path::ROOT, 0)?,
            }
        };
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(root),
                (Event::DocumentStart(_), at) => {
                    return Err(Stop {
                        at,
                        message: "a second document begins here; only one is allowed".into(),
                    });
                }
                _ => {}
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, Position), Stop> {
        let (event, span) = self
            .parser
            .next_event()
            .unwrap_or(Ok((Event::StreamEnd, Span::default())))?;
        Ok((
            event,
            Position {
                line: span.start.line(),
                column: span.start.col() + 1,
            },
        ))
    }

    fn node(
        &mut self,
        event: Event<'t>,
        at: Position,
        path: &Path<'_>,
        depth: usize,
    ) -> Result<Node, Stop> {
        self.count(1, depth, at)?;
        let (value, anchor, tagged) = match event {
            Event::Alias(id) => return self.alias(id, at, path, depth),
            Event::Scalar(text, style, anchor, tag) => {
                let text = substitute::reveal(&text);
                let node = self.scalar(&text, style == ScalarStyle::Plain, at, path);
                self.remember(anchor, &node);
                return Ok(self.refuse_tag(tag.is_some(), node, path));
            }
            Event::SequenceStart(anchor, tag) => {
                (self.list(path, depth + 1)?, anchor, tag.is_some())
            }
            Event::MappingStart(anchor, tag) => (self.map(path, depth + 1)?, anchor, tag.is_some()),
            _ => (Value::Null, 0, false),
        };
        let node = Node::new(at, value);
        self.remember(anchor, &node);
        Ok(self.refuse_tag(tagged, node, path))
    }

    fn refuse_tag(&mut self, tagged: bool, mut node: Node, path: &Path<'_>) -> Node {
        if tagged {
            self.report.error(
                node.at,
                path,
                "YAML tags (\"!...\") are not supported; take it away",
            );
            node.value = Value::Broken;
        }
        node
    }

    fn list(&mut self, path: &Path<'_>, depth: usize) -> Result<Value, Stop> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, at) => items.push(self.node(event, at, &path.index(items.len()), depth)?),
            }
        }
    }

    fn map(&mut self, path: &Path<'_>, depth: usize) -> Result<Value, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut first_line: HashMap<String, usize> = HashMap::new();
        loop {
            let (key, key_at) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(Value::Map(entries)),
                (Event::Scalar(key, ..), at) => (substitute::reveal(&key), at),
                (_, at) => {
                    return Err(Stop {
                        at,
                        message: "a key must be a word, not a list, mapping or alias".into(),
                    });
                }
            };
            let path = path.key(&key);
            let (event, at) = self.next()?;
            let value = self.node(event, at, &path, depth)?;
            if let Some(line) = first_line.get(&key) {
                self.report.error(
                    key_at,
                    &path,
                    format!("duplicate key; first at line {line}"),
                );
            } else if key == "<<" {
                self.report.error(
                    key_at,
                    &path,
                    "merge keys are not supported; write the keys out",
                );
            } else if key.contains("${") {
                self.report.error(
                    key_at,
                    &path,
                    "keys are not substituted; write the key itself",
                );
            } else {
                first_line.insert(key.clone(), key_at.line);
                entries.push(Entry {
                    key,
                    key_at,
                    value,
                    unknown: false,
                });
            }
        }
    }

    fn scalar(&mut self, text: &str, plain: bool, at: Position, path: &Path<'_>) -> Node {
        let expanded = match self.substitution.expand(text) {
            Ok(expanded) => expanded,
            Err(message) => {
                self.report.error(at, path, message);
                return Node::new(at, Value::Broken);
            }
        };
        let substituted = !expanded.origins.is_empty();
        // What a file holds is text whatever it looks like: a secret of digits is no number.
        let value = match expanded.from_file || !plain {
            true => Ok(Value::Text(expanded.text.clone())),
            false => core_value(&expanded.text),
        };
        let value = match value {
            Ok(value) => value,
            // It may be meant as text.
            Err(_) if substituted => Value::Text(expanded.text.clone()),
            Err(message) => {
                self.report.error(at, path, message);
                Value::Broken
            }
        };
        let origin = expanded.origins.join(" and ");
        Node {
            secret: expanded.from_file,
            substituted: substituted.then(|| {
                Box::new(Substituted {
                    text: expanded.text,
                    origin,
                })
            }),
            ..Node::new(at, value)
        }
    }

    fn alias(
        &mut self,
        id: usize,
        at: Position,
        path: &Path<'_>,
        depth: usize,
    ) -> Result<Node, Stop> {
        let Some(node) = self.anchors.get(&id).cloned() else {
            self.report
                .error(at, path, "the alias stands within its own anchor");
            return Ok(Node::new(at, Value::Broken));
        };
        let (count, nesting) = node.extent();
        self.count(count, depth + nesting, at)?;
        Ok(node)
    }

    fn remember(&mut self, anchor: usize, node: &Node) {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
    }

    fn count(&mut self, more: usize, depth: usize, at: Position) -> Result<(), Stop> {
        self.nodes += more;
        if depth > MAX_DEPTH {
            return Err(Stop {
                at,
                message: format!("nested deeper than {MAX_DEPTH} levels"),
            });
        }
        if self.nodes > MAX_NODES {
            return Err(Stop {
                at,
                message: format!("more than {MAX_NODES} values, aliases expanded"),
            });
        }
        Ok(())
    }
}

/// The core schema of YAML 1.2 (section 10.3.2).
pub(super) fn core_value(text: &str) -> Result<Value, String> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => match core_number(text)? {
            Some(number) => Value::Number(number),
            None => Value::Text(text.to_owned()),
        },
    })
}

fn core_number(text: &str) -> Result<Option<Number>, String> {
    let too_large = || format!("the number {text} is out of range");
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix)
            && !digits.is_empty()
            && digits.chars().all(|c| c.is_digit(radix))
        {
            return u64::from_str_radix(digits, radix)
                .map(|n| Some(n.into()))
                .map_err(|_| too_large());
        }
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(
        unsigned,
        ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN"
    ) {
        return Err(format!("{text} is not a finite number"));
    }
    if !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit()) {
        let whole = text.strip_prefix('+').unwrap_or(text);
        let number = whole
            .parse::<u64>()
            .map(Number::from)
            .or_else(|_| whole.parse::<i64>().map(Number::from));
        return number.map(Some).map_err(|_| too_large());
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        || !unsigned
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'))
    {
        return Ok(None);
    }
    match text.parse::<f64>() {
        Ok(number) => Number::from_f64(number).map(Some).ok_or_else(too_large),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests;
