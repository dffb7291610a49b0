//! The texts that a regex can't do without: a path that lacks one of them can't match.

use regex_syntax::hir::{Hir, HirKind};

/// Longer texts are cut: this much tells paths apart, and bounds what a search for all of them needs.
const MAX_LENGTH: usize = 64;

/// Every text that each match of this pattern holds, except for a lone `/`, which each path holds. None for what is no
/// pattern.
pub(super) fn required(pattern: &str) -> Vec<Vec<u8>> {
    let mut texts = Texts::default();
    if let Ok(hir) = regex_syntax::parse(pattern) {
        texts.collect(&hir);
        texts.end_run();
    }
    texts.found
}

#[derive(Default)]
struct Texts {
    found: Vec<Vec<u8>>,
    /// The text under way: literals that follow each other.
    run: Vec<u8>,
}

impl Texts {
    fn collect(&mut self, hir: &Hir) {
        match hir.kind() {
            HirKind::Literal(literal) => self.run.extend_from_slice(&literal.0),
            HirKind::Capture(capture) => self.collect(&capture.sub),
            HirKind::Concat(parts) => parts.iter().for_each(|part| self.collect(part)),
            // These have no width: what stands before and behind them is one text.
            HirKind::Empty | HirKind::Look(_) => {}
            HirKind::Repetition(repetition) => {
                self.end_run();
                if repetition.min > 0 {
                    self.collect(&repetition.sub);
                    self.end_run();
                }
            }
            HirKind::Class(_) | HirKind::Alternation(_) => self.end_run(),
        }
    }

    fn end_run(&mut self) {
        let mut run = std::mem::take(&mut self.run);
        run.truncate(MAX_LENGTH);
        if !run.is_empty() && run != b"/" {
            self.found.push(run);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::required;

    #[test]
    fn texts_that_each_match_holds() {
        let table: [(&str, &[&str]); 14] = [
            ("^(?:/api/orders)$", &["/api/orders"]),
            ("^(?:/api/[0-9]+/items)$", &["/api/", "/items"]),
            ("^(?:/v([0-9]+)/(?P<name>x)/y)$", &["/v", "/x/y"]),
            ("/a?b", &["b"]),
            ("/(?:ab)+c", &["ab", "c"]),
            ("/(?:ab)*c", &["c"]),
            ("/(?:ab){2,3}c", &["ab", "c"]),
            ("/(?:a|b)/x", &["/x"]),
            ("/one|/two", &[]),
            ("(?i)/abc", &[]),
            ("/[^/]+/", &[]),
            ("/", &[]),
            (r"/a\.php", &["/a.php"]),
            ("(", &[]),
        ];
        for (pattern, texts) in table {
            let found = required(pattern);
            let found: Vec<_> = found.iter().map(|t| String::from_utf8_lossy(t)).collect();
            assert_eq!(found, texts, "{pattern}");
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        let found = required(&"ab".repeat(100));
        assert_eq!(found, ["ab".repeat(32).into_bytes()]);
    }
}
