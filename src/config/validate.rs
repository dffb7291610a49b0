//! The tree against the schema: every problem of shape, with its place and with what to write.
//!
//! What is wrong does not end the checks that follow: it gets a stand-in ([`stand_in`]), which is right by the schema, so that
//! they find what else is wrong. A substituted value is of the kind that its key wants, quoted or not ([`settle`]).
//!
//! It knows the part of JSON Schema that schemars writes for serde types; what it does not know it lets pass, as serde
//! looks at everything again.

use serde_json::{Map, Value as Schema};

use super::path::Path;
use super::problem::{Position, Report};
use super::raw::text;
use super::schema::alternatives;
use super::suggest;
use super::tree::{Entry, Node, Value, core_value};

pub(super) fn validate(schema: &Schema, tree: &mut Node, report: &mut Report) {
    let at = tree.at;
    Validator {
        root: schema,
        report,
        stand_ins: 0,
    }
    .value(schema, tree, at, &Path::ROOT);
}

struct Validator<'a> {
    root: &'a Schema,
    report: &'a mut Report,
    /// Made so far: names and addresses among them must differ.
    stand_ins: usize,
}

impl<'a> Validator<'a> {
    /// `at` is where to point when the value as a whole is meant.
    fn value(&mut self, schema: &'a Schema, node: &mut Node, at: Position, path: &Path<'_>) {
        let whole = schema;
        if node.value == Value::Broken {
            node.stand_in = Some(self.stand_in(whole));
            return;
        }
        let choices = alternatives(self.root, schema);
        settle(&choices, node);
        let fitting: Vec<&Schema> = choices
            .iter()
            .copied()
            .filter(|s| takes(s, &node.value))
            .collect();
        let Some(schema) = nearest(&fitting, node) else {
            let message = wrong_kind(&choices, node) + &node.origin();
            self.report.error(at, path, message);
            node.stand_in = Some(self.stand_in(whole));
            return;
        };
        if schema.get("anyOf").or(schema.get("oneOf")).is_some() {
            return self.value(schema, node, at, path);
        }
        for part in schema
            .get("allOf")
            .and_then(Schema::as_array)
            .into_iter()
            .flatten()
        {
            self.value(part, node, at, path);
        }
        if let Err(message) = fits(schema, &choices, node) {
            self.report.error(at, path, message + &node.origin());
            node.stand_in = Some(self.stand_in(whole));
        }
        match &mut node.value {
            Value::List(items) => self.items(schema, items, path),
            Value::Map(entries) => self.keys(schema, entries, at, path),
            _ => {}
        }
    }

    fn items(&mut self, schema: &'a Schema, items: &mut [Node], path: &Path<'_>) {
        if let Some(schema) = schema.get("items") {
            for (i, item) in items.iter_mut().enumerate() {
                let at = item.at;
                self.value(schema, item, at, &path.index(i));
            }
        }
    }

    fn keys(
        &mut self,
        schema: &'a Schema,
        entries: &mut Vec<Entry>,
        at: Position,
        path: &Path<'_>,
    ) {
        let known = schema.get("properties").and_then(Schema::as_object);
        for entry in entries.iter_mut() {
            let (key, at) = (entry.key.clone(), entry.at());
            let path = path.key(&key);
            let property = known.and_then(|known| known.get(&key));
            match (property, schema.get("additionalProperties")) {
                (Some(schema), _) => self.value(schema, &mut entry.value, at, &path),
                (None, Some(Schema::Bool(false))) => {
                    let names = known.into_iter().flat_map(Map::keys).map(String::as_str);
                    let hint = suggest::hint(&key, names, "known are");
                    let message = format!("unknown {}{hint}", key_noun(schema));
                    self.report.error(entry.key_at, &path, message);
                    entry.unknown = true;
                }
                (None, Some(schema)) => self.value(schema, &mut entry.value, at, &path),
                (None, None) => {}
            }
        }
        for key in schema
            .get("required")
            .and_then(Schema::as_array)
            .into_iter()
            .flatten()
            .filter_map(Schema::as_str)
        {
            if !entries.iter().any(|e| e.key == key) {
                let message = format!("missing key {key:?}");
                self.report.error(at, path, message);
                let schema = known.and_then(|known| known.get(key));
                let mut value = Node::new(at, Value::Broken);
                value.stand_in = schema.map(|schema| self.stand_in(schema));
                entries.push(Entry {
                    key: key.to_owned(),
                    key_at: at,
                    value,
                    unknown: false,
                });
            }
        }
    }

    /// The least that the schema takes: of alternatives the first, of keys those that are required.
    fn stand_in(&mut self, schema: &Schema) -> Schema {
        let choices = alternatives(self.root, schema);
        let Some(schema) = choices.first().copied() else {
            return Schema::Null;
        };
        if schema.get("anyOf").or(schema.get("oneOf")).is_some() {
            return self.stand_in(schema);
        }
        if let Some(word) = words(schema).and_then(|words| words.first().copied().cloned()) {
            return word;
        }
        match types(schema).first().copied() {
            Some("string") => Schema::String(self.text(schema)),
            Some("integer" | "number") => {
                let least = schema.get("minimum").and_then(Schema::as_u64);
                Schema::from(least.unwrap_or(1).max(1))
            }
            Some("boolean") => Schema::Bool(false),
            Some("array") => Schema::Array(Vec::new()),
            Some("object") => self.mapping(schema),
            _ => Schema::Null,
        }
    }

    fn mapping(&mut self, schema: &Schema) -> Schema {
        let mut mapping = Map::new();
        let properties = schema.get("properties").and_then(Schema::as_object);
        let required = schema.get("required").and_then(Schema::as_array);
        let required = required.into_iter().flatten().filter_map(Schema::as_str);
        let mut keys: Vec<&str> = required.collect();
        if keys.is_empty() && schema.get("minProperties").is_some() {
            let first = properties.and_then(|p| p.keys().next());
            keys.extend(first.map(String::as_str));
        }
        for key in keys {
            if let Some(schema) = properties.and_then(|p| p.get(key)) {
                mapping.insert(key.to_owned(), self.stand_in(schema));
            }
        }
        Schema::Object(mapping)
    }

    fn text(&mut self, schema: &Schema) -> String {
        self.stand_ins += 1;
        let format = schema.get("format").and_then(Schema::as_str);
        text::stand_in(format.unwrap_or_default(), self.stand_ins)
    }
}

/// A substituted value is text or of YAML's other kinds, whichever its key takes: a variable holds neither, and quotes are
/// often there only because an editor or a habit wants them around `${VAR}`. Where the key takes both, quotes decide, as
/// they do for values that are written out, whose kind is never changed.
fn settle(choices: &[&Schema], node: &mut Node) {
    let Some(substituted) = &node.substituted else {
        return;
    };
    let takes_value = |value: &Value| {
        choices
            .iter()
            .any(|s| takes(s, value) && words(s).is_none_or(|words| words.contains(&&json(value))))
    };
    if takes_value(&node.value) {
        return;
    }
    let other = match &node.value {
        Value::Text(text) => core_value(text.trim()).ok(),
        _ => Some(Value::Text(substituted.text.clone())),
    };
    if let Some(other) = other.filter(|other| takes_value(other)) {
        node.value = other;
    }
}

fn json(value: &Value) -> Schema {
    Node::new(Position::default(), value.clone()).to_json()
}

/// Whether a value of the right kind is right.
fn fits(schema: &Schema, choices: &[&Schema], node: &Node) -> Result<(), String> {
    match &node.value {
        _ if !in_enum(schema, node) => Err(not_in_enum(schema, node, &others(choices, schema))),
        Value::Text(word) => text_fits(schema, word).map_err(|e| match node.secret {
            true => format!("{} is not {}", shown(node), noun(schema)),
            false => format!("{} {e}", shown(node)),
        }),
        Value::Number(number) => {
            number_fits(schema, number).map_err(|e| e + &others(choices, schema))
        }
        Value::List(items) => length_fits(schema, items.len(), "Items", "item"),
        Value::Map(entries) => length_fits(schema, entries.len(), "Properties", key_noun(schema)),
        _ => Ok(()),
    }
}

/// What the keys of a mapping are called.
fn key_noun(schema: &Schema) -> &str {
    schema
        .get("x-key")
        .and_then(Schema::as_str)
        .unwrap_or("key")
}

fn types(schema: &Schema) -> Vec<&str> {
    match schema.get("type") {
        Some(Schema::String(one)) => vec![one],
        Some(Schema::Array(many)) => many.iter().filter_map(Schema::as_str).collect(),
        _ => vec![],
    }
}

/// Is this a value of a kind that the schema takes?
fn takes(schema: &Schema, value: &Value) -> bool {
    let types = types(schema);
    let kinds: &[&str] = match value {
        Value::Broken => return true,
        Value::Null => &["null"],
        Value::Bool(_) => &["boolean"],
        Value::Number(n) if n.is_f64() => &["number"],
        Value::Number(_) => &["number", "integer"],
        Value::Text(_) => &["string"],
        Value::List(_) => &["array"],
        Value::Map(_) => &["object"],
    };
    types.is_empty() || types.iter().any(|t| kinds.contains(t))
}

/// Of alternatives of one kind, the one that the operator most likely meant.
fn nearest<'s>(schemas: &[&'s Schema], node: &Node) -> Option<&'s Schema> {
    let likeness = |schema: &Schema| -> i64 {
        let Value::Map(entries) = &node.value else {
            return i64::from(in_enum(schema, node));
        };
        let property = |e: &Entry| schema.get("properties").and_then(|p| p.get(&e.key));
        let told = |e: &Entry| match property(e) {
            // The word that names a variant decides.
            Some(p) if p.get("const").is_some() => {
                if in_enum(p, &e.value) {
                    100
                } else {
                    -100
                }
            }
            Some(_) => 1,
            None => 0,
        };
        entries.iter().map(told).sum()
    };
    // The first of the best: `max_by_key` would take the last.
    schemas.iter().rev().copied().max_by_key(|s| likeness(s))
}

fn words(schema: &Schema) -> Option<Vec<&Schema>> {
    match (schema.get("enum"), schema.get("const")) {
        (Some(Schema::Array(words)), _) => Some(words.iter().collect()),
        (_, Some(word)) => Some(vec![word]),
        _ => None,
    }
}

fn in_enum(schema: &Schema, node: &Node) -> bool {
    words(schema).is_none_or(|words| words.contains(&&node.to_json()))
}

/// What else could be written than the alternative at hand: ` or "off"`.
fn others(choices: &[&Schema], chosen: &Schema) -> String {
    choices
        .iter()
        .filter(|c| !std::ptr::eq(**c, chosen))
        .map(|c| format!(" or {}", noun(c)))
        .collect()
}

fn not_in_enum(schema: &Schema, node: &Node, others: &str) -> String {
    let words = words(schema).unwrap_or_default();
    let near = match &node.value {
        Value::Text(word) => suggest::nearest(word, words.iter().filter_map(|w| w.as_str())),
        _ => None,
    };
    let near = near.map_or(String::new(), |near| format!("; did you mean {near:?}?"));
    format!(
        "unknown value {}; {}{others}{near}",
        shown(node),
        expected_words(&words)
    )
}

fn expected_words(words: &[&Schema]) -> String {
    let listed: Vec<String> = words.iter().map(ToString::to_string).collect();
    if listed.len() == 1 {
        format!("write {}", listed[0])
    } else {
        format!("write one of {}", listed.join(", "))
    }
}

fn text_fits(schema: &Schema, word: &str) -> Result<(), String> {
    let length = word.chars().count() as u64;
    if let Some(min) = schema
        .get("minLength")
        .and_then(Schema::as_u64)
        .filter(|min| length < *min)
    {
        return Err(if min == 1 {
            "is empty".into()
        } else {
            format!("is too short; at least {min} characters")
        });
    }
    if let Some(max) = schema
        .get("maxLength")
        .and_then(Schema::as_u64)
        .filter(|max| length > *max)
    {
        return Err(format!("is too long; at most {max} characters"));
    }
    text::check(
        schema
            .get("format")
            .and_then(Schema::as_str)
            .unwrap_or_default(),
        word,
    )
}

fn number_fits(schema: &Schema, number: &serde_json::Number) -> Result<(), String> {
    let format = schema
        .get("format")
        .and_then(Schema::as_str)
        .unwrap_or_default();
    let value = number.as_f64().unwrap_or_default();
    let limit = |key: &str| schema.get(key).and_then(Schema::as_f64);
    let of_type = match format {
        "uint8" => Some(f64::from(u8::MAX)),
        "uint16" => Some(f64::from(u16::MAX)),
        "uint32" => Some(f64::from(u32::MAX)),
        _ => None,
    };
    let max = limit("maximum").or(of_type.filter(|m| value > *m));
    // A limit in bytes or a status has its own words.
    if text::noun(format).is_some() {
        return text::check(format, &number.to_string()).map_err(|e| format!("{number} {e}"));
    }
    let min = limit("minimum");
    let outside = min.is_some_and(|m| value < m)
        || max.is_some_and(|m| value > m)
        || limit("exclusiveMinimum").is_some_and(|m| value <= m)
        || limit("exclusiveMaximum").is_some_and(|m| value >= m);
    match (outside, min, max) {
        (false, ..) => Ok(()),
        (_, Some(min), Some(max)) if min == max => {
            Err(format!("{number} is not known; write {min}"))
        }
        (_, Some(min), Some(max)) => Err(format!("{number} is out of range; write {min} to {max}")),
        (_, Some(min), None) => Err(format!("{number} is out of range; write {min} or more")),
        (_, None, Some(max)) => Err(format!("{number} is out of range; write {max} or less")),
        _ => Err(format!("{number} is out of range")),
    }
}

fn length_fits(schema: &Schema, length: usize, what: &str, noun: &str) -> Result<(), String> {
    let limit = |side: &str| schema.get(format!("{side}{what}")).and_then(Schema::as_u64);
    let (min, max) = (limit("min"), limit("max"));
    if min == Some(1) && max == Some(1) && length != 1 {
        return Err(format!("has {length} {noun}s; write exactly one"));
    }
    if let Some(min) = min.filter(|min| (length as u64) < *min) {
        return Err(if min == 1 {
            "is empty".into()
        } else {
            format!("has {length} {noun}s; at least {min} are needed")
        });
    }
    match max.filter(|max| length as u64 > *max) {
        Some(max) => Err(format!("has {length} {noun}s; at most {max} are allowed")),
        None => Ok(()),
    }
}

/// The message for a value of a kind that no alternative takes.
fn wrong_kind(schemas: &[&Schema], node: &Node) -> String {
    let mut wanted: Vec<String> = schemas.iter().map(|s| noun(s)).collect();
    wanted.dedup();
    let wanted = wanted.join(" or ");
    let takes_text = schemas.iter().any(|s| types(s).contains(&"string"));
    match &node.value {
        Value::Null => format!("has no value; write {wanted}"),
        Value::Number(number) if takes_text => {
            let formats = schemas
                .iter()
                .filter_map(|s| s.get("format").and_then(Schema::as_str));
            match formats
                .map(|f| text::check(f, &number.to_string()))
                .find_map(Result::err)
            {
                Some(message) => format!("{number} {message}"),
                None => format!("expected {wanted}, found the number {number}; put it in quotes"),
            }
        }
        Value::Bool(b)
            if takes_text
                && schemas
                    .iter()
                    .all(|s| words(s).is_none() && s.get("format").is_none()) =>
        {
            format!("expected {wanted}, found {b}; put it in quotes")
        }
        _ => format!("expected {wanted}, found {}", found(node)),
    }
}

fn noun(schema: &Schema) -> String {
    if let Some(words) = words(schema) {
        let listed: Vec<String> = words.iter().map(ToString::to_string).collect();
        return listed.join(" or ");
    }
    let keys = schema.get("properties").and_then(Schema::as_object);
    if let Some(keys) = keys.filter(|k| schema.get("maxProperties").is_some() && !k.is_empty()) {
        let keys: Vec<&str> = keys.keys().map(String::as_str).collect();
        return format!("a mapping with one of {}", keys.join(", "));
    }
    let format = schema
        .get("format")
        .and_then(Schema::as_str)
        .unwrap_or_default();
    let of_type = |t: &&str| match *t {
        "string" => "text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a mapping",
        _ => "nothing",
    };
    text::noun(format).map_or_else(
        || {
            types(schema)
                .iter()
                .map(of_type)
                .collect::<Vec<_>>()
                .join(" or ")
        },
        str::to_owned,
    )
}

fn found(node: &Node) -> String {
    match &node.value {
        Value::Broken | Value::Null => "nothing".into(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => format!("the number {n}"),
        Value::Text(_) => format!("the text {}", shown(node)),
        Value::List(_) => "a list".into(),
        Value::Map(_) => "a mapping".into(),
    }
}

/// The value as a message may repeat it: not when it came out of a file, and never a page of it.
fn shown(node: &Node) -> String {
    match &node.value {
        _ if node.secret => "the value from a file".into(),
        Value::Text(word) if word.chars().count() > 60 => format!(
            "\"{}...\"",
            word.chars().take(57).collect::<String>().escape_debug()
        ),
        Value::Text(word) => format!("\"{}\"", word.escape_debug()),
        Value::List(_) => "a list".into(),
        Value::Map(_) => "a mapping".into(),
        _ => node.to_json().to_string(),
    }
}
