//! A list of backends in a file of its own: a source of members, not a part of the configuration.

use std::collections::HashSet;
use std::path::Path as FilePath;

use super::check::list_entry;
use super::problem::Report;
use super::{file, model, path, raw, schema, substitute, tree, validate};

/// Reads a list as it stands under `backends`, in YAML or JSON, of at most 4 MiB. DNS names are not followed from there,
/// and `${...}` is not replaced: whoever writes the list is not who writes the configuration.
///
/// # Errors
/// Everything that is wrong with it, a line for each, with its place.
pub fn read_backends(path: &FilePath) -> Result<Vec<model::Backend>, String> {
    let text = file::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    parse_backends(&text, path)
}

/// The same for what is read already; `path` is for messages.
///
/// # Errors
/// As [`read_backends`].
pub fn parse_backends(text: &str, path: &FilePath) -> Result<Vec<model::Backend>, String> {
    if text.contains("${") {
        return Err(format!("{}: \"${{\" is not replaced here", path.display()));
    }
    let mut report = Report::new(path);
    let list = parse(text, &mut report);
    match (report.finish(), list) {
        (Err(problems), _) => Err(problems.to_string()),
        (Ok(_), Some(list)) => Ok(list),
        (Ok(_), None) => Err(format!("{}: no list", path.display())),
    }
}

fn parse(text: &str, report: &mut Report) -> Option<Vec<model::Backend>> {
    let nothing = std::collections::HashMap::<String, String>::new();
    let mut substitution = substitute::Substitution::new(&nothing, FilePath::new(""));
    let mut tree = tree::parse(text, &mut substitution, report)?;
    validate::validate(&schema::list_schema(), &mut tree, report);
    if report.has_errors() {
        return None;
    }
    let entries: Vec<raw::BackendEntry> = match serde_json::from_value(tree.to_json()) {
        Ok(entries) => entries,
        Err(error) => {
            report.error(tree.at, &path::Path::ROOT, error.to_string());
            return None;
        }
    };
    let (mut list, mut ids) = (Vec::with_capacity(entries.len()), HashSet::new());
    for (i, entry) in entries.into_iter().enumerate() {
        let place = path::Path::ROOT.index(i);
        match list_entry(entry) {
            Err(message) => report.error(tree.position(&place), &place, message),
            Ok(one) if !ids.insert(one.id.clone()) => {
                let message = format!("the id {:?} is used twice", one.id);
                report.error(tree.position(&place), &place, message);
            }
            Ok(one) => list.push(one),
        }
    }
    Some(list)
}
