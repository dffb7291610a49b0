//! Holds the documentation to the code: pages that are made from it, lists that must be whole, links that must lead somewhere.

use std::fs;
use std::path::{Path, PathBuf};

use crate::listener::Refusal;
use crate::observe::metrics::{self, Http2Abuse, Label, RejectReason, SlowPhase};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn page(path: &str) -> String {
    fs::read_to_string(root().join("docs").join(path)).unwrap()
}

/// Every Markdown file of the book, and those beside it that readers begin with.
fn pages() -> Vec<PathBuf> {
    let mut found = vec![];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "md") {
                found.push(path);
            }
        }
    }
    let beside = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    found.extend(beside.filter(|path| path.extension().is_some_and(|e| e == "md")));
    found
}

/// The targets of `[text](target)` in a page, without code blocks.
fn links(text: &str) -> Vec<String> {
    let prose = text.split("```").step_by(2).collect::<String>();
    let targets = prose.split("](").skip(1);
    targets
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.to_owned())
        .collect()
}

/// The anchors that a page's headings have.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let kept = line.trim_start_matches('#').trim().to_lowercase();
        let kept = kept
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = vec![];
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in links(&text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match path {
                "" => page.clone(),
                path => page.parent().unwrap().join(path),
            };
            let found = target.exists()
                && (anchor.is_empty()
                    || anchors(&fs::read_to_string(&target).unwrap())
                        .iter()
                        .any(|a| a == anchor));
            if !found {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_summary_names_every_page_of_the_book() {
    let listed = links(&page("SUMMARY.md"));
    let docs = root().join("docs");
    for found in pages().iter().filter(|page| page.starts_with(&docs)) {
        let name = found.strip_prefix(&docs).unwrap().display().to_string();
        assert!(name == "SUMMARY.md" || listed.contains(&name), "{name}");
    }
}

#[test]
fn the_page_of_metrics_is_made_from_the_code() {
    assert!(
        page("reference/metrics.md") == metrics::reference(),
        "run: tidegate reference metrics > docs/reference/metrics.md"
    );
}

#[test]
fn every_event_and_every_answer_of_the_admin_listener_has_a_row() {
    let events = include_str!("../observe/event_log.rs");
    let kinds = events.lines().filter(|line| line.contains("EventKind::"));
    let kinds = kinds.filter_map(|line| line.split_once("=> \"")?.1.split_once('"'));
    let page = page("reference/events.md");
    let mut count = 0;
    for (kind, _) in kinds {
        assert!(page.contains(&format!("| `{kind}` |")), "{kind}");
        count += 1;
    }
    assert!(count >= 8, "the kinds of events are found in the source");
}

#[test]
fn the_page_of_the_access_log_has_a_row_for_every_field_of_a_line() {
    let source = include_str!("../observe/access_log.rs");
    let page = page("reference/access-log.md");
    let fields = source
        .split("(\"")
        .skip(1)
        .chain(source.split("(line, \"").skip(1));
    let named = fields.filter_map(|rest| rest.split_once('"'));
    let is_name = |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let nested = ["outcome", "ms", "00", "ff"];
    let mut count = 0;
    for (name, _) in named.filter(|(name, _)| is_name(name) && !nested.contains(name)) {
        assert!(page.contains(&format!("`{name}`")), "{name}");
        count += 1;
    }
    assert!(count >= 38, "the fields are found in the source: {count}");
}

#[test]
fn the_page_of_refusals_names_every_reason_for_one() {
    let page = page("what-we-refuse.md");
    let reasons = [
        Refusal::NAMES,
        RejectReason::NAMES,
        Http2Abuse::NAMES,
        SlowPhase::NAMES,
    ];
    let named = |reason: &&&str| page.contains(&format!("`{reason}`"));
    let missing: Vec<_> = reasons
        .iter()
        .copied()
        .flatten()
        .filter(|r| !named(r))
        .collect();
    assert!(missing.is_empty(), "not in what-we-refuse.md: {missing:?}");
}

#[test]
fn readme_fits_on_a_few_screens() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.lines().count() <= 150);
}

/// Code in a page names files of this repository that exist.
#[test]
fn files_that_pages_name_exist() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let quoted = text.split('`').skip(1).step_by(2);
        let files = quoted.filter(|name| {
            let (folder, file) = name.split_once('/').unwrap_or(("", ""));
            ["src", "conf", "loadtest", "scripts", "tests"].contains(&folder)
                && file
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_-./".contains(&b))
        });
        for file in files.filter(|name| !name.contains("NAME")) {
            // Certificates are made by a script, figures by a run.
            let made = file.contains("certs") || Path::new(file).ends_with("NAME.rs");
            assert!(
                made || root().join(file).exists(),
                "{}: {file}",
                page.display()
            );
        }
    }
}
