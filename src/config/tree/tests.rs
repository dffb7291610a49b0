use std::collections::HashMap;

use super::*;

fn read(text: &str) -> (Option<Node>, Vec<String>) {
    let env = HashMap::from([
        ("PORT".to_owned(), "8080".to_owned()),
        ("EVIL".to_owned(), "a: [1, 2] # x\nb: c".to_owned()),
    ]);
    let mut report = Report::new(std::path::Path::new("t"));
    let node = parse(
        text,
        &mut Substitution::new(&env, std::path::Path::new("/nowhere")),
        &mut report,
    );
    let problems = match report.finish() {
        Ok(warnings) => warnings,
        Err(problems) => problems.iter().cloned().collect(),
    };
    (node, problems.iter().map(ToString::to_string).collect())
}

fn json(text: &str) -> String {
    let (node, problems) = read(text);
    assert_eq!(problems, [""; 0], "{text}");
    node.unwrap().to_json().to_string()
}

#[test]
fn scalars_have_the_types_of_yaml_1_2_core() {
    assert_eq!(
        json(
            "[no, off, yes, on, true, False, ~, null, 12, +7, -3, 0x1f, 0o17, 017, 1.5, 1e3, .5, \"12\", '1', 1_0, 1:30]"
        ),
        r#"["no","off","yes","on",true,false,null,null,12,7,-3,31,15,17,1.5,1000.0,0.5,"12","1","1_0","1:30"]"#
    );
    assert_eq!(
        json("[10.0.0.1, 1-2, 1.2.3, e5, --, '']"),
        r#"["10.0.0.1","1-2","1.2.3","e5","--",""]"#
    );
}

#[test]
fn substituted_scalars_are_typed_unless_quoted_and_never_become_structure() {
    assert_eq!(json("a: ${PORT}"), r#"{"a":8080}"#);
    assert_eq!(json("a: \"${PORT}\""), r#"{"a":"8080"}"#);
    assert_eq!(json("a: h:${PORT}"), r#"{"a":"h:8080"}"#);
    assert_eq!(json("a: ${NONE:-true}"), r#"{"a":true}"#);
    assert_eq!(json("a: ${EVIL}"), r##"{"a":"a: [1, 2] # x\nb: c"}"##);
}

#[test]
fn anchors_are_expanded_within_bounds() {
    assert_eq!(
        json("a: &x {k: [1]}\nb: *x"),
        r#"{"a":{"k":[1]},"b":{"k":[1]}}"#
    );
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..9 {
        let alias = format!("*a{}", i - 1);
        bomb.push_str(&format!("a{i}: &a{i} [{}]\n", vec![alias; 10].join(", ")));
    }
    assert!(
        read(&bomb).1[0].contains("more than 100000 values"),
        "{:?}",
        read(&bomb).1
    );
    let deep = format!("{}{}", "[".repeat(70), "]".repeat(70));
    assert_eq!(
        read(&deep).1,
        ["t:1:66: error: nested deeper than 64 levels"]
    );
    let mut chain = "a0: &a0 [x]\n".to_owned();
    for i in 1..70 {
        chain.push_str(&format!("a{i}: &a{i} [*a{}]\n", i - 1));
    }
    assert!(read(&chain).1[0].contains("nested deeper than 64 levels"));
}

#[test]
fn positions_are_of_keys_and_values() {
    let (node, _) = read("# é\na:\n  - é: {b: 1, c: x}\n");
    let node = node.unwrap();
    let (a, b);
    let item = {
        a = Path::ROOT.key("a");
        b = a.index(0);
        b.key("é")
    };
    let at = |path: &Path<'_>| {
        let Position { line, column } = node.position(path);
        (line, column)
    };
    assert_eq!(at(&a), (2, 1), "a list is named by its key");
    assert_eq!(at(&item), (3, 5));
    assert_eq!(at(&item.key("c")), (3, 18), "a word is itself");
    assert_eq!(
        at(&item.key("missing")),
        (3, 5),
        "what is missing is missing in its mapping"
    );
}

#[test]
fn what_is_not_supported_is_refused() {
    for (text, expected) in [
        ("", "t:1:1: error: the file is empty"),
        ("# only a comment\n", "t:1:1: error: the file is empty"),
        (
            "a: 1\na: 2\n",
            "t:2:1: error: a: duplicate key; first at line 1",
        ),
        (
            "a: 1\n---\nb: 2\n",
            "t:2:1: error: a second document begins here; only one is allowed",
        ),
        (
            "a: &a {b: 1}\nc: {<<: *a}\n",
            "t:2:5: error: c[\"<<\"]: merge keys are not supported; write the keys out",
        ),
        (
            "a: !!str 1\n",
            "t:1:4: error: a: YAML tags (\"!...\") are not supported; take it away",
        ),
        (
            "${PORT}: 1\n",
            "t:1:1: error: [\"${PORT}\"]: keys are not substituted; write the key itself",
        ),
        (
            "a: &a [*a]\n",
            "t:1:8: error: a[0]: the alias stands within its own anchor",
        ),
        (
            "[a]: 1\n",
            "t:1:1: error: a key must be a word, not a list, mapping or alias",
        ),
        ("a: .inf\n", "t:1:4: error: a: .inf is not a finite number"),
        (
            "a: 99999999999999999999\n",
            "t:1:4: error: a: the number 99999999999999999999 is out of range",
        ),
    ] {
        assert_eq!(read(text).1, [expected], "{text}");
    }
}

#[test]
fn syntax_errors_have_a_position() {
    assert_eq!(
        read("a:\n\tb: 1\n").1,
        ["t:2:1: error: not valid YAML: a tab in the indentation; use spaces"]
    );
    for text in [
        "a: [1\n",
        "a: b: c\n",
        "a:\n\tb: 1\n",
        "a:\n\t- 1\n",
        "a: \"x\n",
        "a: *nope\n",
        "- a\nb: 1\n",
        "a: {b\n",
        "%YAML 9",
    ] {
        let (node, problems) = read(text);
        assert!(
            node.is_none() && problems.len() == 1,
            "{text:?} {problems:?}"
        );
        assert!(
            problems[0].starts_with("t:") && problems[0].contains(": error: not valid YAML: "),
            "{problems:?}"
        );
    }
}
