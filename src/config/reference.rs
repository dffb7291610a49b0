//! The reference of every key, in Markdown, made of the schema.

use std::fmt::Write;

use serde_json::Value;

use super::catalog::FilterCatalog;
use super::schema::{alternatives, resolve, schema};

/// Mappings within mappings; only a filter's schema could refer to itself.
const MAX_DEPTH: usize = 12;

/// Markdown: a section for each mapping, a row for each key, in the order of the schema.
pub fn reference(filters: &FilterCatalog) -> String {
    let root = schema(filters);
    let mut out = String::from("# Configuration reference\n\n");
    out.push_str(description(&root));
    out.push('\n');
    section(&root, &root, "", 0, &mut out);
    out
}

fn section(root: &Value, mapping: &Value, path: &str, depth: usize, out: &mut String) {
    let Some(keys) = mapping
        .get("properties")
        .and_then(Value::as_object)
        .filter(|k| !k.is_empty())
    else {
        return;
    };
    let required = |key: &str| {
        let listed = mapping.get("required").and_then(Value::as_array);
        listed.is_some_and(|r| r.iter().any(|r| r == key))
    };
    if !path.is_empty() {
        let _ = write!(out, "\n## `{path}`\n\n{}\n", description(mapping));
    }
    out.push_str("\n| Key | Type | Default | What it does |\n|---|---|---|---|\n");
    for (key, schema) in keys {
        let default = match schema.get("default") {
            Some(value) => format!("`{}`", shown(value)),
            None if required(key) => "required".into(),
            None => String::new(),
        };
        let own = description(schema);
        let text = if own.is_empty() {
            description(resolve(root, schema))
        } else {
            own
        };
        let _ = writeln!(
            out,
            "| `{key}` | {} | {} | {} |",
            cell(&kind(root, schema)),
            cell(&default),
            cell(text)
        );
    }
    if depth < MAX_DEPTH {
        for (key, schema) in keys {
            let path = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            below(root, schema, &path, depth + 1, out);
        }
    }
}

/// The sections of what is under a key: of its mapping, of its list's items, of its named entries.
fn below(root: &Value, schema: &Value, path: &str, depth: usize, out: &mut String) {
    let mut told: Vec<&Value> = Vec::new();
    for schema in alternatives(root, schema) {
        let (mapping, path) = match (schema.get("items"), schema.get("additionalProperties")) {
            (Some(items), _) => (items, format!("{path}[]")),
            (None, Some(named @ Value::Object(_))) => (named, format!("{path}.<name>")),
            _ => (schema, path.to_owned()),
        };
        let nested = !std::ptr::eq(mapping, schema);
        let mapping = resolve(root, mapping);
        // One value or a list of the same is told once.
        if told.iter().any(|t| std::ptr::eq(*t, mapping)) {
            continue;
        }
        told.push(mapping);
        // Every filter is told once, where all of them may stand.
        if path == "listeners[].filters[]" {
            continue;
        }
        if mapping.get("properties").is_some() {
            section(root, mapping, &path, depth, out);
        } else if nested && depth < MAX_DEPTH {
            below(root, mapping, &path, depth + 1, out);
        }
    }
}

fn description(schema: &Value) -> &str {
    schema
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// What may be written, in words.
fn kind(root: &Value, schema: &Value) -> String {
    let mut kinds: Vec<String> = alternatives(root, schema)
        .into_iter()
        .map(|s| one_kind(root, s))
        .collect();
    kinds.dedup();
    kinds.join(" or ")
}

fn one_kind(root: &Value, schema: &Value) -> String {
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        let words: Vec<String> = words.iter().map(|w| format!("`{}`", shown(w))).collect();
        return words.join(", ");
    }
    if let Some(noun) = schema
        .get("format")
        .and_then(Value::as_str)
        .and_then(super::raw::text::noun)
    {
        return noun
            .strip_prefix("a ")
            .or(noun.strip_prefix("an "))
            .unwrap_or(noun)
            .to_owned();
    }
    let limit = |key: &str| schema.get(key).map(ToString::to_string);
    let range = match (limit("minimum"), limit("maximum")) {
        (Some(min), Some(max)) => format!(", {min} to {max}"),
        (Some(min), None) => format!(", {min} or more"),
        (None, Some(max)) => format!(", up to {max}"),
        (None, None) => String::new(),
    };
    match schema
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
    {
        "string" => "text".into(),
        "integer" => format!("whole number{range}"),
        "number" => format!("number{range}"),
        "boolean" => "`true` or `false`".into(),
        "array" => format!(
            "list of {}",
            schema
                .get("items")
                .map_or("anything".into(), |items| kind(root, items))
        ),
        "object" => "mapping".into(),
        _ => "anything".into(),
    }
}

/// As it would be written in YAML.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() || text.contains([' ', ':', '"']) => {
            format!("\"{text}\"")
        }
        Value::String(text) => text.clone(),
        Value::Array(items) => format!(
            "[{}]",
            items.iter().map(shown).collect::<Vec<_>>().join(", ")
        ),
        other => other.to_string(),
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
