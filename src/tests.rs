//! Holds the table of ARCHITECTURE.md: which module may use which.

mod book;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Module, and what it may name as `crate::…`. `app` may name everything.
const MAY_USE: &[(&str, &[&str])] = &[
    (
        "cli",
        &[
            "app",
            "config",
            "doctor",
            "kernel",
            "listener",
            "observe",
            "snapshot",
            "demo_backends",
            "healthcheck",
        ],
    ),
    ("config", &[]),
    ("discovery", &["config"]),
    (
        "proxy",
        &[
            "background",
            "config",
            "context",
            "forwarded",
            "hash",
            "instance",
            "listener",
            "observe",
            "outcome",
            "pool",
            "route",
            "snapshot",
            "sticky",
            "upstream",
        ],
    ),
    (
        "context",
        &[
            "forwarded",
            "listener",
            "outcome",
            "pool",
            "snapshot",
            "sticky",
        ],
    ),
    (
        "snapshot",
        &[
            "config",
            "discovery",
            "listener",
            "observe",
            "pool",
            "route",
            "sticky",
            "upstream",
        ],
    ),
    ("route", &["config", "hash"]),
    ("forwarded", &["listener"]),
    ("hash", &[]),
    ("pool", &["config", "hash", "outcome"]),
    ("sticky", &["config", "hash", "pool"]),
    ("upstream", &["config", "listener"]),
    ("outcome", &["observe", "pool"]),
    ("listener", &["config", "observe", "overload"]),
    ("observe", &["kernel", "listener", "pool", "sticky"]),
    (
        "background",
        &[
            "config",
            "discovery",
            "instance",
            "kernel",
            "listener",
            "observe",
            "outcome",
            "overload",
            "pool",
            "proxy",
            "snapshot",
            "upstream",
        ],
    ),
    (
        "instance",
        &[
            "config",
            "lifecycle",
            "observe",
            "overload",
            "pool",
            "snapshot",
        ],
    ),
    ("lifecycle", &["config"]),
    ("kernel", &[]),
    ("overload", &["config", "observe"]),
    ("doctor", &["config", "kernel", "listener"]),
    ("demo_backends", &[]),
    ("healthcheck", &[]),
    (
        "fuzzing",
        &[
            "config",
            "forwarded",
            "listener",
            "proxy",
            "route",
            "sticky",
            "upstream",
        ],
    ),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The module at the top that a file belongs to.
fn module_of(path: &Path, root: &Path) -> String {
    let first = path
        .strip_prefix(root)
        .unwrap()
        .components()
        .next()
        .unwrap();
    let first = first.as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

fn used(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let group = &group[..group.find('}').unwrap_or(group.len())];
            names.extend(group.split(',').map(|part| first_word(part.trim())));
        } else {
            names.insert(first_word(rest));
        }
    }
    names.remove("");
    names
}

fn first_word(text: &str) -> String {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    text[..end.unwrap_or(text.len())].to_owned()
}

#[test]
fn modules_use_only_what_the_table_allows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let module = module_of(&file, &root);
        if matches!(module.as_str(), "app" | "lib" | "main" | "tests") || file.ends_with("tests.rs")
        {
            continue;
        }
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("{module} is not in the table"));
            continue;
        };
        let text = fs::read_to_string(&file).unwrap();
        for name in used(&text) {
            if name != module && !allowed.contains(&name.as_str()) {
                wrong.push(format!("{} uses crate::{name}", file.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "not in the table of ARCHITECTURE.md:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_table_is_the_one_of_the_document() {
    let document = include_str!("../ARCHITECTURE.md");
    for (module, allowed) in MAY_USE.iter().filter(|(module, _)| *module != "fuzzing") {
        let row = document.lines().find(|line| {
            line.starts_with(&format!("| `{module}.rs`"))
                || line.starts_with(&format!("| `{module}/`"))
                || line.starts_with("| `main.rs`") && *module == "cli"
                || line.starts_with("| `demo_backends/`") && *module == "healthcheck"
        });
        let row = row.unwrap_or_else(|| panic!("{module} has no row"));
        let may_use = row.rsplit('|').nth(1).unwrap();
        for name in *allowed {
            assert!(may_use.contains(name), "{module}: {name} is not in {row}");
        }
    }
}
