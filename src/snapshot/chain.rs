//! Filters of a route or a listener, built and metered.

use std::sync::Arc;

use tidegate_filters::{Chain, Filter, Table};

use super::BuildError;
use crate::config::model::FilterUse;
use crate::observe::filter_meter::FilterMeters;
use crate::observe::metrics::Metrics;

/// Filters take over from `before` what must survive a reload.
pub fn build(
    filters: &[FilterUse],
    before: Option<&Chain>,
    table: &Table,
    metrics: &Arc<Metrics>,
) -> Result<Chain, BuildError> {
    let mut built = Vec::with_capacity(filters.len());
    for filter in filters {
        built.push(build_one(filter, table)?);
    }
    Ok(Chain::new(built, before, &FilterMeters(metrics.clone())))
}

type Built = (&'static str, Box<dyn Filter>);

fn build_one(filter: &FilterUse, table: &Table) -> Result<Built, BuildError> {
    let unknown = || error(&filter.path, "unknown filter");
    let entry = table.get(&filter.name).ok_or_else(unknown)?;
    let built = entry
        .build(&filter.config)
        .map_err(|e| error(&filter.path, &e.to_string()))?;
    Ok((entry.name, built))
}

pub fn error(path: &str, message: &str) -> BuildError {
    BuildError::Filter {
        path: path.to_owned(),
        message: message.to_owned(),
    }
}
