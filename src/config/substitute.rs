//! `${VAR}`, `${VAR:-default}`, `${VAR:?message}`, `${file:path}` and `$$` in the scalars of the file.
//!
//! Done on scalars, after the YAML structure is known: a value can never add keys, lists or comments.

use std::path::{Path, PathBuf};

use super::{Env, file};

/// A scalar with its substitutions made.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expanded {
    pub text: String,
    /// Part of it came out of a file: it stays text, and messages do not repeat it.
    pub from_file: bool,
}

/// What substitutions are made from, and which files they read.
pub(super) struct Substitution<'a> {
    env: &'a dyn Env,
    dir: &'a Path,
    /// Every `${file:}` seen, also those that could not be read: the watcher waits for them to appear.
    pub files: Vec<PathBuf>,
}

impl<'a> Substitution<'a> {
    /// `dir` is where relative `${file:}` paths begin.
    pub fn new(env: &'a dyn Env, dir: &'a Path) -> Self {
        Self {
            env,
            dir,
            files: Vec::new(),
        }
    }

    /// Errors are messages that name the substitution, never the text that it stands for.
    pub fn expand(&mut self, text: &str) -> Result<Expanded, String> {
        let mut out = Expanded {
            text: String::with_capacity(text.len()),
            from_file: false,
        };
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.text.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                out.text.push('$');
                rest = after;
            } else if let Some(inner) = rest.strip_prefix('{') {
                let Some(end) = inner.find('}') else {
                    return Err("\"${\" without \"}\"; write \"$$\" for a plain \"$\"".into());
                };
                out.text
                    .push_str(&self.lookup(&inner[..end], &mut out.from_file)?);
                rest = &inner[end + 1..];
            } else {
                out.text.push('$');
            }
        }
        out.text.push_str(rest);
        Ok(out)
    }

    fn lookup(&mut self, inner: &str, from_file: &mut bool) -> Result<String, String> {
        let name_end = inner
            .bytes()
            .position(|b| !(b.is_ascii_alphanumeric() || b == b'_'))
            .unwrap_or(inner.len());
        let (name, rest) = inner.split_at(name_end);
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(format!(
                "\"${{{inner}}}\" has no variable name; write \"$$\" for a plain \"$\""
            ));
        }
        if rest.contains("${") {
            return Err(format!("\"${{{inner}}}\": substitutions cannot be nested"));
        }
        let value = self.env.var(name);
        if rest.is_empty() {
            return value.ok_or_else(|| {
                format!("environment variable {name} is not set; set it or write \"${{{name}:-default}}\"")
            });
        }
        // As in a shell: `:-` and `:?` treat an empty variable like one that is not set.
        let value = value.filter(|v| !v.is_empty());
        if let Some(default) = rest.strip_prefix(":-") {
            return Ok(value.unwrap_or_else(|| default.to_owned()));
        }
        if let Some(message) = rest.strip_prefix(":?") {
            return value.ok_or_else(|| match message {
                "" => format!("environment variable {name} is not set"),
                message => format!("environment variable {name} is not set: {message}"),
            });
        }
        match rest.strip_prefix(':') {
            Some(path) if name == "file" => {
                *from_file = true;
                self.read(path)
            }
            _ => Err(format!(
                "\"${{{inner}}}\" is not understood; write ${{VAR}}, ${{VAR:-default}}, ${{VAR:?message}} or ${{file:path}}"
            )),
        }
    }

    fn read(&mut self, path: &str) -> Result<String, String> {
        let path = self.dir.join(path);
        let text = file::read(&path).map_err(|e| format!("cannot read {}: {e}", path.display()));
        self.files.push(path);
        let mut text = text?;
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests;
