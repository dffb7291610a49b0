//! Which filters there are, as far as a configuration needs to know.

use std::sync::Arc;

use serde_json::Value;
use tidegate_filters::filter::BuildError;
use tidegate_filters::{Entry, Filter, Hooks, Table};

/// Says what a schema cannot; called with values that the schema takes.
pub type Check = Arc<dyn Fn(&Value) -> Result<FilterFacts, BuildError> + Send + Sync>;

/// What a filter says of itself once it is built.
#[derive(Debug, Clone)]
pub struct FilterFacts {
    /// The hooks that it has.
    pub hooks: Hooks,
    /// Pools that it may choose.
    pub pools: Vec<String>,
}

/// One filter's part in a configuration.
#[derive(Clone)]
pub struct FilterEntry {
    /// The key in YAML.
    pub name: &'static str,
    /// Of the filter's own keys, as schemars makes it (draft 2020-12); its description is the filter's.
    pub schema: schemars::Schema,
    /// Builds the filter and throws it away.
    pub check: Check,
}

/// All filters, in the order in which the reference lists them.
#[derive(Clone, Default)]
pub struct FilterCatalog {
    /// Names are distinct.
    pub entries: Vec<FilterEntry>,
}

impl FilterCatalog {
    /// The filters of a table.
    pub fn of(table: &Table) -> FilterCatalog {
        FilterCatalog {
            entries: table.iter().map(FilterEntry::of).collect(),
        }
    }

    pub(super) fn find(&self, name: &str) -> Option<&FilterEntry> {
        self.entries.iter().find(|e| e.name == name)
    }
}

impl FilterEntry {
    fn of(entry: &Entry) -> FilterEntry {
        let built = entry.clone();
        FilterEntry {
            name: entry.name,
            schema: entry.schema(),
            check: Arc::new(move |config| Ok(FilterFacts::of(&*built.build(config)?))),
        }
    }
}

impl FilterFacts {
    fn of(filter: &dyn Filter) -> FilterFacts {
        FilterFacts {
            hooks: filter.hooks(),
            pools: filter.pools().into_iter().map(str::to_owned).collect(),
        }
    }
}
