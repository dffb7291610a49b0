//! Paths and rewrites: what a backend is asked for stays within what the route matched, however the backend reads it.

use std::sync::LazyLock;

use regex::Regex;

use crate::config::model::Rewrite;
use crate::route::path::normalise;
use crate::route::rewrite::rewritten;
use crate::route::{Path, PathMode};

/// What routes name, the longest first: an open place within a protected one, and two that are rewritten.
const PLACES: [&str; 5] = ["/admin/open", "/admin", "/strip", "/rw", ""];

/// Where the rewrites lead.
const TENANT: &str = "/tenant-a";

/// The path of a request, read by a listener of each kind, matched, and forwarded as it is and rewritten.
pub fn rewrite(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for mode in [PathMode::Strict, PathMode::Normalize, PathMode::AsIs] {
        if let Ok(path) = Path::parse(text, mode) {
            forwarded(&path);
            rewrites(&path);
        }
    }
}

fn forwarded(path: &Path<'_>) {
    let normal = path.normal();
    let place = place(normal);
    let forwarded = path.forwarded(place);
    if path.mode() == PathMode::AsIs {
        assert_eq!(forwarded, path.raw());
    } else if normal != "*" {
        held(&forwarded, place);
    }
    // It is matched as it was before, should another Tidegate read it.
    let again = Path::parse(&forwarded, path.mode());
    assert!(again.is_ok_and(|again| again.normal() == normal));
}

/// By place: the rewrites that lead there.
static REWRITES: LazyLock<Vec<(&str, Vec<Rewrite>)>> = LazyLock::new(|| {
    let rewrites = |place| {
        let pattern = Regex::new(&format!("^{place}(/.*)?$")).ok();
        let regex = pattern.map(|pattern| Rewrite::Regex {
            pattern,
            replacement: format!("{TENANT}$1"),
        });
        let replace = Rewrite::ReplacePrefix(TENANT.to_owned());
        let all = [Rewrite::StripPrefix, replace].into_iter().chain(regex);
        (place, all.collect())
    };
    PLACES.into_iter().map(rewrites).collect()
});

fn rewrites(path: &Path<'_>) {
    let place = place(path.normal());
    let rewrites = REWRITES.iter().filter(|(at, _)| *at == place);
    for how in rewrites.flat_map(|(_, rewrites)| rewrites) {
        let Ok(target) = rewritten(how, path, place, None) else {
            continue;
        };
        assert!(target == "*" || target.starts_with('/') && !target.starts_with("//"));
        assert!(target.bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(normalise(&target).is_ok());
        let within = !matches!(how, Rewrite::StripPrefix) && path.normal() != "*";
        if within && path.mode() != PathMode::AsIs {
            for read in readings(&target) {
                assert!(is_within(&read, TENANT), "{read} of {target}");
            }
        }
    }
}

fn place(normal: &str) -> &'static str {
    PLACES
        .into_iter()
        .find(|place| is_within(normal, place))
        .unwrap_or("")
}

/// No server finds another place in what is forwarded than the one whose rules were applied.
fn held(forwarded: &str, matched: &str) {
    for read in readings(forwarded) {
        assert_eq!(place(&read), matched, "{read} of {forwarded}");
    }
}

fn is_within(path: &str, place: &str) -> bool {
    let rest = path.strip_prefix(place);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// How servers may read a path: decoded up to three times, with `\` for `/` or not, parameters dropped or not, empty
/// segments merged or not, overlong UTF-8 taken or not.
fn readings(path: &str) -> impl Iterator<Item = String> {
    (0..4_usize * 16).map(move |how| {
        let (times, flags) = (how / 16, how % 16);
        let mut bytes = path.as_bytes().to_vec();
        for _ in 0..times {
            bytes = decoded(&bytes);
        }
        if flags & 1 != 0 {
            bytes = shortened(&bytes);
        }
        let mut text = String::from_utf8_lossy(&bytes).into_owned();
        if flags & 2 != 0 {
            text = text.replace('\\', "/");
        }
        resolved(&text, flags & 4 != 0, flags & 8 != 0)
    })
}

fn decoded(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let digits = digits.filter(|two| *first == b'%' && !two.starts_with('+'));
        match digits.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &after[2..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

/// As a decoder does that doesn't ask whether UTF-8 is as short as it can be.
fn shortened(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(&first) = rest.first() {
        let taken = match rest {
            [0xC0..=0xC1, b @ 0x80..=0xBF, ..] => Some((((first & 1) << 6) | (b & 0x3F), 2)),
            [0xE0, a @ 0x80..=0x81, b @ 0x80..=0xBF, ..] => Some((((a & 1) << 6) | (b & 0x3F), 3)),
            [0xF0, 0x80, a @ 0x80..=0x81, b @ 0x80..=0xBF, ..] => {
                Some((((a & 1) << 6) | (b & 0x3F), 4))
            }
            _ => None,
        };
        let (byte, length) = taken.unwrap_or((first, 1));
        out.push(byte);
        rest = &rest[length..];
    }
    out
}

fn resolved(path: &str, parameters: bool, merges: bool) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.strip_prefix('/').unwrap_or(path).split('/') {
        let cut = segment.find(';').filter(|_| parameters);
        match &segment[..cut.unwrap_or(segment.len())] {
            "" if merges => {}
            "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    format!("/{}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARTS: &[&str] = &[
        "/",
        "/",
        "/",
        "//",
        "admin",
        "open",
        "strip",
        "rw",
        "x",
        ".",
        "..",
        "%2e",
        "%2E%2e",
        "%2F",
        "%2f",
        "\\",
        "%5C",
        ";",
        ";x=1",
        "%3B",
        "%25",
        "%32%46",
        "2F",
        "%252F",
        "%2561dmin",
        "%61dmin",
        "%C0%AF",
        "%c0%ae",
        "%E0%80%AF",
        "%F0%80%80%AF",
        "%7e",
        "%C3%A9",
        "%09",
        "%",
        "\"",
        "é",
    ];

    /// The readings would find what the promise is about.
    #[test]
    fn lenient_servers_are_among_the_readings() {
        for path in [
            "/admin%2Fx",
            "/x/..%2fadmin",
            "/admin;x=1",
            "/.;/admin",
            "/x\\..\\admin",
            "/%2561dmin",
            "/x%252F..%252Fadmin",
            "/x/%c0%ae%c0%ae/admin",
            "/%25252561dmin/../admin",
            "//admin",
            "/x%e0%80%af../admin",
        ] {
            assert!(
                readings(path).any(|read| is_within(&read, "/admin")),
                "{path}"
            );
        }
        assert!(readings("/administration/x").all(|read| place(&read).is_empty()));
    }

    proptest! {
        #[test]
        fn no_spelling_leads_elsewhere(
            all in prop::collection::vec(prop::collection::vec(prop::sample::select(PARTS), 0..10), 8),
        ) {
            for parts in all {
                rewrite(format!("/{}", parts.concat()).as_bytes());
            }
        }

        #[test]
        fn any_text_is_answered(text in "\\PC*") {
            rewrite(text.as_bytes());
            rewrite(format!("/admin/{text}").as_bytes());
        }
    }
}
