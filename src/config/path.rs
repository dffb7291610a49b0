//! Where a value stands in the configuration, as the operator would say it: `pools.api.backends[0].weight`.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// A chain on the stack, rendered only when there is something to say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Path<'a> {
    parent: Option<(&'a Path<'a>, Step<'a>)>,
}

impl<'a> Path<'a> {
    pub const ROOT: Path<'static> = Path { parent: None };

    pub fn key(&'a self, key: &'a str) -> Path<'a> {
        Path {
            parent: Some((self, Step::Key(key))),
        }
    }

    /// What this stands in; the top of the file stands in itself.
    pub fn parent(&self) -> Path<'a> {
        self.parent.map_or(Path::ROOT, |(parent, _)| *parent)
    }

    pub fn index(&'a self, index: usize) -> Path<'a> {
        Path {
            parent: Some((self, Step::Index(index))),
        }
    }

    /// From the top of the file down.
    pub fn steps(&self) -> Vec<Step<'a>> {
        let mut steps = Vec::new();
        let mut next = self.parent;
        while let Some((parent, step)) = next {
            steps.push(step);
            next = parent.parent;
        }
        steps.reverse();
        steps
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.steps().into_iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) if !is_word(key) => write!(f, "[{key:?}]")?,
                Step::Key(key) if i == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

fn is_word(key: &str) -> bool {
    !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_keys_are_quoted() {
        let pools = Path::ROOT.key("pools");
        let pool = pools.key("a.b");
        let backends = pool.key("backends");
        assert_eq!(backends.index(2).to_string(), r#"pools["a.b"].backends[2]"#);
        assert_eq!(Path::ROOT.to_string(), "");
    }
}
