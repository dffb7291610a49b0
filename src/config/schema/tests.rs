use schemars::JsonSchema;
use serde::Deserialize;

use super::*;
use crate::config::catalog::FilterEntry;

/// Adds things.
#[derive(Deserialize, JsonSchema)]
#[allow(dead_code, reason = "only its schema is looked at")]
#[serde(deny_unknown_fields)]
struct Sample {
    /// A key whose name means something in a schema.
    #[serde(default)]
    default: Inner,
    key: Option<Key>,
    nested: Option<Box<Sample>>,
}

#[derive(Default, Deserialize, JsonSchema, serde::Serialize)]
struct Inner {
    a: Option<u32>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code, reason = "only its schema is looked at")]
enum Key {
    Ip,
    /// Documented.
    Path,
    Header(String),
    Cookie(String),
}

fn with_sample() -> Value {
    let entry = FilterEntry {
        name: "sample",
        schema: schemars::schema_for!(Sample),
        check: std::sync::Arc::new(|_| unreachable!("only its schema is looked at")),
    };
    schema(&FilterCatalog {
        entries: vec![entry],
    })
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk(root: &Value, schema: &Value) {
        match schema {
            Value::Object(map) => {
                if let Some(target) = map.get("$ref").and_then(Value::as_str) {
                    assert!(
                        root.pointer(target.strip_prefix('#').unwrap()).is_some(),
                        "{target}"
                    );
                }
                map.values().for_each(|v| walk(root, v));
            }
            Value::Array(items) => items.iter().for_each(|v| walk(root, v)),
            _ => {}
        }
    }
    let root = with_sample();
    walk(&root, &root);
}

#[test]
fn null_is_never_a_value_and_every_key_is_documented() {
    fn walk(schema: &Value) {
        if let Value::Object(map) = schema {
            assert!(
                map.get("type")
                    .is_none_or(|t| !t.to_string().contains("null")),
                "{schema}"
            );
            for (name, property) in map
                .get("properties")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
            {
                assert!(
                    property.get("description").is_some() || property.get("$ref").is_some(),
                    "{name}"
                );
            }
        }
        match schema {
            Value::Object(map) => map.values().for_each(walk),
            Value::Array(items) => items.iter().for_each(walk),
            _ => {}
        }
    }
    walk(&schema(&FilterCatalog::default()));
}

#[test]
fn a_filters_own_definitions_come_along() {
    let root = with_sample();
    let filter = &root["$defs"]["sample"];
    assert_eq!(filter["description"], "Adds things.");
    assert_eq!(
        filter["properties"]["default"]["$ref"],
        "#/$defs/sample.Inner"
    );
    assert_eq!(
        resolve(&root, &filter["properties"]["nested"])["description"],
        "Adds things."
    );
    assert_eq!(
        root["$defs"]["FilterUse"]["properties"]["sample"]["$ref"],
        "#/$defs/sample"
    );
}

#[test]
fn alternatives_differ_by_kind() {
    let root = with_sample();
    let key = &root["$defs"]["sample.Key"]["oneOf"];
    assert_eq!(key[0], json!({ "type": "string", "enum": ["ip", "path"] }));
    assert_eq!(key[1]["maxProperties"], 1);
    assert_eq!(
        key[1]["properties"]
            .as_object()
            .unwrap()
            .keys()
            .collect::<Vec<_>>(),
        ["header", "cookie"]
    );
    assert_eq!(key.as_array().unwrap().len(), 2);
}
