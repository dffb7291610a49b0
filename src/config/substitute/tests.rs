use std::collections::HashMap;

use super::*;

fn expand(text: &str) -> Result<String, String> {
    let env = HashMap::from([
        ("PORT".to_owned(), "8080".to_owned()),
        ("EMPTY".to_owned(), String::new()),
    ]);
    Substitution::new(&env, Path::new("/nowhere"))
        .expand(text)
        .map(|e| e.text)
}

#[test]
fn variables_defaults_and_dollars() {
    for (text, expected) in [
        ("plain", "plain"),
        ("${PORT}", "8080"),
        ("127.0.0.1:${PORT}!", "127.0.0.1:8080!"),
        ("${PORT:-1}${PORT:?x}", "80808080"),
        ("${NONE:-a:-b}", "a:-b"),
        ("${EMPTY:-filled}", "filled"),
        ("[${EMPTY}]", "[]"),
        ("${NONE:-}", ""),
        ("$${PORT} $$ $1 $", "${PORT} $ $1 $"),
        ("é${PORT}é", "é8080é"),
    ] {
        assert_eq!(expand(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn failures_say_what_to_write() {
    for (text, expected) in [
        (
            "${NONE}",
            "environment variable NONE is not set; set it or write \"${NONE:-default}\"",
        ),
        (
            "${NONE:?ask ops}",
            "environment variable NONE is not set: ask ops",
        ),
        ("${EMPTY:?}", "environment variable EMPTY is not set"),
        (
            "${PORT",
            "\"${\" without \"}\"; write \"$$\" for a plain \"$\"",
        ),
        (
            "${}",
            "\"${}\" has no variable name; write \"$$\" for a plain \"$\"",
        ),
        (
            "${1}",
            "\"${1}\" has no variable name; write \"$$\" for a plain \"$\"",
        ),
        (
            "${A:-${B}}",
            "\"${A:-${B}\": substitutions cannot be nested",
        ),
        (
            "${PORT+x}",
            "\"${PORT+x}\" is not understood; write ${VAR}, ${VAR:-default}, ${VAR:?message} or ${file:path}",
        ),
        ("${file:nope}", "cannot read /nowhere/nope: not found"),
    ] {
        assert_eq!(expand(text).unwrap_err(), expected, "{text}");
    }
}

#[test]
fn files_are_relative_to_the_config_and_lose_one_newline() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), "two\n\r\n").unwrap();
    let env = HashMap::new();
    let mut substitution = Substitution::new(&env, dir.path());
    let expanded = substitution.expand("<${file:secret}>").unwrap();
    assert_eq!(
        expanded,
        Expanded {
            text: "<two\n>".into(),
            from_file: true,
            origins: vec!["the file secret".into()],
        }
    );
    assert_eq!(substitution.files, [dir.path().join("secret")]);
}

#[test]
fn substitutions_are_words_to_the_parser_and_nothing_else_is_touched() {
    for (text, hides) in [
        ("{a: ${B}}", true),
        ("[${A:-x, y}]", true),
        ("a: ${A:-b: c #d}", true),
        ("a: $${B}", false),
        ("a: $$", false),
        ("a: ${", false),
        ("a: ${\nb: }", false),
        ("a: $B {c}", false),
        ("a: \u{e4} ${A:-\u{e4}}", true),
    ] {
        let hidden = hide(text);
        assert_eq!(hidden != text, hides, "{text}");
        assert_eq!(hidden.chars().count(), text.chars().count(), "{text}");
        assert_eq!(reveal(&hidden), text);
    }
    assert_eq!(hide("[${A:-\"x\\n\", y}]").matches(['"', '\\']).count(), 3);
}
