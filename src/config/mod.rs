//! YAML to a checked [`Config`]. All problems are found at once, each with its place in the file.
//!
//! The way of a file: text, [`tree`] (structure and places, substitutions made), [`validate`] (shape, against the schema
//! of [`raw`]), [`check`] (meaning), [`model`]. Only this module reads the files of a configuration.

mod catalog;
mod check;
mod file;
mod list;
pub mod model;
mod path;
mod problem;
mod raw;
mod reference;
mod schema;
mod substitute;
mod suggest;
mod tree;
mod validate;

use std::path::{Path, PathBuf};

pub use catalog::{FilterCatalog, FilterEntry, FilterFacts};
pub use check::cpus;
pub use list::{parse_backends, read_backends};
pub use model::Config;
pub use problem::{Problem, Problems, Severity};
pub use reference::reference;
pub use schema::schema;

use problem::{Position, Report};
use tree::Node;

/// Where `${VAR}` is looked up.
pub trait Env {
    /// `None` when it is not set, or not text.
    fn var(&self, name: &str) -> Option<String>;
}

/// The environment of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessEnv;

impl Env for ProcessEnv {
    fn var(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

impl Env for std::collections::HashMap<String, String> {
    fn var(&self, name: &str) -> Option<String> {
        self.get(name).cloned()
    }
}

/// A configuration that can be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Checked as a whole.
    pub config: Config,
    /// In the order of the file.
    pub warnings: Vec<Problem>,
    /// Every file that was read or is referred to: the configuration, `${file:}`, certificates, keys, CA bundles. Sorted,
    /// each one once; relative ones are relative to the working directory, like the path given to [`load`].
    pub files: Vec<PathBuf>,
}

/// Reads, substitutes, validates and checks the file at `path`, of at most 4 MiB.
///
/// # Errors
/// Every problem that could be found, with at least one error among them. A problem hides no other unless that follows from
/// it; only a file that is no YAML is not looked at any further.
pub fn load(path: &Path, env: &dyn Env, filters: &FilterCatalog) -> Result<Loaded, Problems> {
    let mut report = Report::new(path);
    let dir = path.parent().unwrap_or(Path::new(""));
    let mut files = vec![path.to_owned()];
    let config = match file::read(path) {
        Ok(text) => read(&text, dir, env, filters, &mut report, &mut files),
        Err(e) => {
            report.error(
                Position::default(),
                &path::Path::ROOT,
                format!("cannot be read: {e}"),
            );
            None
        }
    };
    let warnings = report.finish()?;
    files.sort();
    files.dedup();
    // `read` gives nothing only after an error, which `finish` has returned.
    match config {
        Some(config) => Ok(Loaded {
            config,
            warnings,
            files,
        }),
        None => Err(Problems::unexplained(path)),
    }
}

fn read(
    text: &str,
    dir: &Path,
    env: &dyn Env,
    filters: &FilterCatalog,
    report: &mut Report,
    files: &mut Vec<PathBuf>,
) -> Option<Config> {
    let mut substitution = substitute::Substitution::new(env, dir);
    let tree = tree::parse(text, &mut substitution, report);
    files.append(&mut substitution.files);
    let mut tree = tree?;
    validate::validate(&schema(filters), &mut tree, report);
    let raw: raw::Config = match serde_path_to_error::deserialize(tree.to_json()) {
        Ok(raw) => raw,
        // A stand-in did not do.
        Err(_) if report.has_errors() => return None,
        Err(e) => {
            let steps: Vec<_> = e.path().iter().collect();
            refused_by_serde(
                &steps,
                &e.inner().to_string(),
                &path::Path::ROOT,
                &tree,
                report,
            );
            return None;
        }
    };
    Some(
        check::Checker {
            tree: &tree,
            dir,
            filters,
            report,
            files,
            names: check::Names::default(),
        }
        .config(raw),
    )
}

/// A rule that a type has and its schema does not say: possible in filters only. Builds the path step by step.
fn refused_by_serde(
    steps: &[&serde_path_to_error::Segment],
    message: &str,
    path: &path::Path<'_>,
    tree: &tree::Node,
    report: &mut Report,
) {
    use serde_path_to_error::Segment;
    match steps {
        [Segment::Seq { index }, rest @ ..] => {
            refused_by_serde(rest, message, &path.index(*index), tree, report)
        }
        [Segment::Map { key }, rest @ ..] => {
            refused_by_serde(rest, message, &path.key(key), tree, report)
        }
        // Within an enum the path is serde's own, not the file's.
        _ => {
            let origin = tree.get(path).map(Node::origin).unwrap_or_default();
            report.error(tree.position(path), path, format!("{message}{origin}"));
        }
    }
}

#[cfg(test)]
mod tests;
