//! The JSON Schema of a configuration, made of `raw/` and of the filters' own schemas.
//!
//! schemars describes what serde takes; `tidy` turns that into what an operator should be told: a key without a value is
//! a mistake (not a default), and alternatives differ by kind, so that a validator knows which one was meant.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::catalog::FilterCatalog;
use super::raw;

/// JSON Schema, draft 2020-12, of a whole configuration with these filters.
pub fn schema(filters: &FilterCatalog) -> Value {
    let root = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<raw::Config>();
    let mut root = root.to_value();
    let (uses, defs) = filter_uses(filters);
    if let Some(all) = root.get_mut("$defs").and_then(Value::as_object_mut) {
        all.insert("FilterUse".into(), uses);
        all.extend(defs);
    }
    tidy(&mut root);
    root
}

/// Of a list of backends in a file of its own.
pub fn list_schema() -> Value {
    let root = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<Vec<raw::BackendEntry>>();
    let mut root = root.to_value();
    tidy(&mut root);
    root
}

/// The schema of one item of `filters`, and the definitions it refers to.
fn filter_uses(filters: &FilterCatalog) -> (Value, Map<String, Value>) {
    let (mut properties, mut defs) = (Map::new(), Map::new());
    for entry in &filters.entries {
        let mut schema = entry.schema.clone().to_value();
        let own = schema.as_object_mut().and_then(|s| {
            s.remove("$schema");
            s.remove("$defs")
        });
        prefix_refs(&mut schema, entry.name);
        for (name, mut def) in own.and_then(|d| d.as_object().cloned()).unwrap_or_default() {
            prefix_refs(&mut def, entry.name);
            defs.insert(format!("{}.{name}", entry.name), def);
        }
        defs.insert(entry.name.to_owned(), schema);
        properties.insert(
            entry.name.to_owned(),
            json!({ "$ref": format!("#/$defs/{}", entry.name) }),
        );
    }
    let uses = json!({
        "description": "One name of a filter, with the filter's own keys under it.",
        "type": "object",
        "x-key": "filter",
        "properties": properties,
        "additionalProperties": false,
        "minProperties": 1,
        "maxProperties": 1,
    });
    (uses, defs)
}

/// Definitions of two filters may have one name: each filter's get its own prefix.
fn prefix_refs(schema: &mut Value, filter: &str) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                match value {
                    Value::String(target) if key == "$ref" => {
                        *target = match target.strip_prefix("#/$defs/") {
                            Some(name) => format!("#/$defs/{filter}.{name}"),
                            None => format!("#/$defs/{filter}"),
                        };
                    }
                    value => prefix_refs(value, filter),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|v| prefix_refs(v, filter)),
        _ => {}
    }
}

fn tidy(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                match (key.as_str(), value) {
                    // Data, and maps of names: a property may be called "default".
                    ("default" | "enum" | "const" | "examples", _) => {}
                    ("properties" | "$defs", Value::Object(named)) => {
                        named.values_mut().for_each(tidy)
                    }
                    (_, value) => tidy(value),
                }
            }
            drop_null(map);
            // A mapping's default is that of its keys, each told where it stands.
            map.retain(|key, value| key != "default" || !(value.is_null() || value.is_object()));
            join_lines(map);
            for union in ["anyOf", "oneOf"] {
                merge_alternatives(map, union);
            }
        }
        _ => {}
    }
}

/// serde takes null for what is optional; an operator who writes a key and no value has forgotten something.
fn drop_null(map: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = map.get_mut("type") {
        types.retain(|t| t != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            map.insert("type".into(), only);
        }
    }
    for union in ["anyOf", "oneOf"] {
        if let Some(Value::Array(branches)) = map.get_mut(union) {
            branches.retain(|b| b.get("type").is_none_or(|t| t != "null"));
        }
    }
}

/// Doc comments are broken into lines; a blank one ends a paragraph.
fn join_lines(map: &mut Map<String, Value>) {
    if let Some(Value::String(text)) = map.get_mut("description") {
        let paragraphs: Vec<String> = text.split("\n\n").map(|p| p.replace('\n', " ")).collect();
        *text = paragraphs.join("\n\n");
    }
}

/// Words of several alternatives become one `enum`, single-key mappings one mapping of which one key is given; what is
/// then the only alternative takes the place of the union.
fn merge_alternatives(map: &mut Map<String, Value>, union: &str) {
    let Some(Value::Array(branches)) = map.get(union) else {
        return;
    };
    let (mut words, mut word_at) = (Vec::new(), None);
    let (mut keys, mut key_at) = (Map::new(), None);
    let mut merged: Vec<Value> = Vec::new();
    for branch in branches {
        let next = merged.len();
        if let Some(more) = branch_words(branch) {
            word_at.get_or_insert(next);
            words.extend(more);
        } else if let Some((key, value)) = branch_key(branch) {
            key_at.get_or_insert(next);
            keys.insert(key, value);
        } else {
            merged.push(branch.clone());
            continue;
        }
        if word_at == Some(next) || key_at == Some(next) {
            merged.push(Value::Null);
        }
    }
    if let Some(slot) = word_at.and_then(|at| merged.get_mut(at)) {
        *slot = json!({ "type": "string", "enum": words });
    }
    if let Some(slot) = key_at.and_then(|at| merged.get_mut(at)) {
        *slot = json!({
            "type": "object", "properties": keys, "additionalProperties": false, "minProperties": 1, "maxProperties": 1,
        });
    }
    match merged.as_mut_slice() {
        [only] => {
            let only = std::mem::take(only);
            map.remove(union);
            for (key, value) in only.as_object().cloned().unwrap_or_default() {
                map.entry(key).or_insert(value);
            }
        }
        _ => {
            map.insert(union.into(), Value::Array(merged));
        }
    }
}

/// The words of an alternative that is nothing but words.
fn branch_words(branch: &Value) -> Option<Vec<Value>> {
    if branch.get("type")? != "string" {
        return None;
    }
    match (branch.get("const"), branch.get("enum")) {
        (Some(word), _) => Some(vec![word.clone()]),
        (None, Some(Value::Array(words))) => Some(words.clone()),
        _ => None,
    }
}

/// The key of an alternative that is a mapping of one required key, as serde writes an enum's variant with a value.
fn branch_key(branch: &Value) -> Option<(String, Value)> {
    let properties = branch.get("properties")?.as_object()?;
    let required = branch.get("required")?.as_array()?;
    let (key, value) = properties.iter().next()?;
    let closed = branch.get("additionalProperties") == Some(&Value::Bool(false));
    if properties.len() != 1 || required.len() != 1 || !closed || value.get("const").is_some() {
        return None;
    }
    let mut value = value.clone();
    if let (Some(map), Some(text)) = (value.as_object_mut(), branch.get("description")) {
        map.entry("description").or_insert(text.clone());
    }
    Some((key.clone(), value))
}

/// Follows `$ref` within `root`; what is not found takes everything.
pub(super) fn resolve<'a>(root: &'a Value, mut schema: &'a Value) -> &'a Value {
    static ANYTHING: Value = Value::Bool(true);
    // A chain of references longer than this can only be a ring.
    for _ in 0..16 {
        let Some(target) = schema.get("$ref").and_then(Value::as_str) else {
            return schema;
        };
        schema = target
            .strip_prefix('#')
            .and_then(|pointer| root.pointer(pointer))
            .unwrap_or(&ANYTHING);
    }
    &ANYTHING
}

/// The alternatives of a schema, resolved; itself when it has none.
pub(super) fn alternatives<'a>(root: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    let schema = resolve(root, schema);
    match schema
        .get("anyOf")
        .or_else(|| schema.get("oneOf"))
        .and_then(Value::as_array)
    {
        Some(branches) => branches.iter().map(|b| resolve(root, b)).collect(),
        None => vec![schema],
    }
}

#[cfg(test)]
mod tests;
