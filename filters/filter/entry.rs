//! The table of filters: from a name in the YAML to a filter.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::Schema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Build, Filter};

/// A config that a filter cannot work with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", if path.is_empty() { String::new() } else { format!("{path}: ") })]
pub struct BuildError {
    /// Below the filter's own key, `keys[0].hash`; empty for the whole.
    pub path: String,
    /// What is wrong, and what to write.
    pub message: String,
}

impl BuildError {
    /// About the config as a whole.
    pub fn new(message: impl Into<String>) -> BuildError {
        BuildError::at("", message)
    }

    /// About one key, as in `keys[0].hash`.
    pub fn at(path: impl Into<String>, message: impl Into<String>) -> BuildError {
        BuildError {
            path: path.into(),
            message: message.into(),
        }
    }
}

/// One kind of filter: a name, a config, a way to build it.
#[derive(Clone)]
pub struct Entry {
    /// The key in the YAML.
    pub name: &'static str,
    schema: fn() -> Schema,
    build: Arc<dyn Fn(&Value) -> Built + Send + Sync>,
}

type Built = Result<Box<dyn Filter>, BuildError>;

/// The table's line for a filter.
#[must_use]
pub fn entry<F: Build>() -> Entry {
    entry_with(F::build)
}

/// The same with another constructor, for a filter that needs more than its config, such as a shared store.
pub fn entry_with<F: Build>(
    build: impl Fn(F::Config) -> Result<F, BuildError> + Send + Sync + 'static,
) -> Entry {
    Entry {
        name: F::NAME,
        schema: || schemars::schema_for!(F::Config),
        build: Arc::new(move |config| Ok(Box::new(build(typed(config)?)?))),
    }
}

fn typed<C: DeserializeOwned>(config: &Value) -> Result<C, BuildError> {
    // `- request_id:` with nothing under it is a null: all defaults.
    let empty = Value::Object(serde_json::Map::new());
    let config = if config.is_null() { &empty } else { config };
    serde_path_to_error::deserialize(config).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { String::new() } else { path };
        BuildError::at(path, error.into_inner().to_string())
    })
}

impl Entry {
    /// JSON schema of the config.
    #[must_use]
    pub fn schema(&self) -> Schema {
        (self.schema)()
    }

    /// The first paragraph of the config's doc.
    #[must_use]
    pub fn about(&self) -> String {
        let schema = self.schema();
        let doc = schema.get("description").and_then(Value::as_str);
        let first = doc.unwrap_or_default().split("\n\n").next();
        first.unwrap_or_default().replace('\n', " ")
    }

    /// Makes the filter out of what stands under its key.
    ///
    /// # Errors
    /// Unknown keys, wrong types and what the filter itself refuses, with the path below the filter's key.
    pub fn build(&self, config: &Value) -> Result<Box<dyn Filter>, BuildError> {
        (self.build)(config)
    }
}

/// The filters that a config may name, by name.
#[derive(Clone, Default)]
pub struct Table {
    entries: BTreeMap<&'static str, Entry>,
}

impl Table {
    /// Adds a filter. One with the name of another takes its place.
    #[must_use]
    pub fn with(mut self, entry: Entry) -> Table {
        self.entries.insert(entry.name, entry);
        self
    }

    /// The filter of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// All of them, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }
}

impl FromIterator<Entry> for Table {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Table {
        entries.into_iter().fold(Table::default(), Table::with)
    }
}
