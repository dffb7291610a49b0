//! The tables of request heads and chunked bodies in `tests/smuggling/`, held against the scanners.
use super::chunked::ChunkScanner;
use super::head::{Framing, HeadLimits, HeadScanner, Progress};
use crate::fuzzing;

const LIMITS: HeadLimits = HeadLimits {
    max_header_bytes: 4096,
    max_headers: 24,
    max_uri_bytes: 256,
};

#[test]
fn heads() {
    let cases = read(include_str!("../../tests/smuggling/heads.txt"));
    assert!(cases.len() >= 200, "{}", cases.len());
    let verdict = |bytes: &[u8]| match HeadScanner::new(LIMITS).feed(bytes) {
        Progress::NeedMore => "more".to_owned(),
        Progress::Refuse(refusal) => format!("{} {refusal}", refusal.status()),
        Progress::Complete(facts) => match facts.framing {
            Framing::None => "none".to_owned(),
            Framing::Chunked => "chunked".to_owned(),
            Framing::Length(length) => format!("length {length}"),
        },
    };
    check(&cases, verdict, fuzzing::head);
}

#[test]
fn bodies() {
    let cases = read(include_str!("../../tests/smuggling/bodies.txt"));
    assert!(cases.len() >= 100, "{}", cases.len());
    let verdict = |bytes: &[u8]| match ChunkScanner::new().feed(bytes) {
        Err(refusal) => format!("{} {refusal}", refusal.status()),
        Ok(progress) => progress
            .done_at
            .map_or("more".to_owned(), |at| format!("done {}", bytes.len() - at)),
    };
    check(&cases, verdict, fuzzing::chunked);
}

/// `cut` fails when the bytes read differently in pieces.
fn check(cases: &[(&str, &str, Vec<u8>)], verdict: impl Fn(&[u8]) -> String, cut: fn(&[u8])) {
    let mut wrong = String::new();
    for (want, text, bytes) in cases {
        let got = verdict(bytes);
        if got != *want {
            wrong += &format!("\nwant {want}, got {got}: {text}");
        }
        cut(bytes);
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Verdict, text and bytes of every line.
fn read(file: &str) -> Vec<(&str, &str, Vec<u8>)> {
    let lines = file
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (verdict, text) = line.split_once('|').unwrap();
            let text = text.strip_prefix(' ').unwrap_or(text);
            (verdict.trim(), text, unescape(&repeat(text)))
        })
        .collect()
}

/// Writes out every `{text*times}`.
fn repeat(text: &str) -> String {
    let part = regex::Regex::new(r"\{([^{}*]+)\*([0-9]+)\}").unwrap();
    let written = part.replace_all(text, |found: &regex::Captures<'_>| {
        found[1].repeat(found[2].parse().unwrap())
    });
    written.into_owned()
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'\\' => match bytes.next().unwrap() {
                b'r' => b'\r',
                b'n' => b'\n',
                b't' => b'\t',
                b'\\' => b'\\',
                b'x' => {
                    let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                other => panic!("unknown escape {other}"),
            },
            other => other,
        });
    }
    out
}
