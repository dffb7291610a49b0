//! What is said about files that are wrong, word for word: the cases stand in `bad.txt`.

use super::*;

/// The file that a case stands for. Lines 1 to 4 are right: a case shows only what is wrong.
fn whole(section: &str, case: &str) -> String {
    let good_route = "  - {match: {}, pool: api}\n";
    match section {
        "whole files" => format!("{case}\n"),
        "top level keys" => frame(good_route, "") + case + "\n",
        "listeners" => {
            format!("version: 1\nlisteners: [{case}]\nroutes: [{{match: {{}}, respond: {{}}}}]\n")
        }
        "routes" => frame(&format!("  - {{{case}}}\n"), ""),
        "pools" => frame(good_route, &format!(", {case}")),
        "backends" => frame(good_route, "").replace("\"127.0.0.1:1\"", case),
        other => panic!("no such section: {other}"),
    }
}

fn frame(routes: &str, pool: &str) -> String {
    let listeners = "listeners: [{name: web, listen: \"127.0.0.1:8080\"}]";
    let pools = format!("pools: {{api: {{backends: [\"127.0.0.1:1\"]{pool}}}}}");
    format!("version: 1\n{listeners}\n{pools}\nroutes:\n{routes}")
}

fn told(text: &str) -> Vec<String> {
    let lines = match load_text(text) {
        Ok(loaded) => loaded.warnings.iter().map(ToString::to_string).collect(),
        Err(lines) => lines,
    };
    let place = |line: &String| {
        line.rsplit_once("t.yaml:")
            .map_or(line.clone(), |(_, l)| l.into())
    };
    lines.iter().map(place).collect()
}

#[test]
fn every_case_is_told_as_written() {
    let (mut cases, mut wrong) = (0, String::new());
    for section in include_str!("bad.txt").split("\n## ").skip(1) {
        let (name, rest) = section.split_once('\n').unwrap();
        for block in rest.trim().split("\n\n") {
            let (expected, case): (Vec<&str>, Vec<&str>) =
                block.lines().partition(|line| line.starts_with("=> "));
            let case = case.join("\n").replace("<empty>", "");
            let found: Vec<_> = told(&whole(name, &case))
                .iter()
                .map(|line| format!("=> {line}"))
                .collect();
            if found != expected {
                wrong.push_str(&format!("\n{block}\n(but found)\n{}\n", found.join("\n")));
            }
            cases += 1;
        }
    }
    assert!(cases > 100, "only {cases} cases were read");
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn files_that_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.yaml");
    let here = format!("{}/", dir.path().display());
    let told = || {
        load(&path, &HashMap::new(), &filters())
            .unwrap_err()
            .to_string()
            .replace(&here, "")
    };
    assert_eq!(told(), "t.yaml: error: cannot be read: not found");
    std::fs::write(&path, b"version: \xff\n").unwrap();
    assert_eq!(
        told(),
        "t.yaml: error: cannot be read: it is not UTF-8 text (byte 9)"
    );
}

#[test]
fn what_a_file_holds_is_not_repeated() {
    for case in [
        "drain: { delay: \"${file:secret}\" }",
        "log: { level: \"${file:secret}\" }",
    ] {
        let lines = told(&whole("top level keys", case));
        assert!(
            lines.len() == 1 && !lines[0].contains("s3cret"),
            "{lines:?}"
        );
    }
}
