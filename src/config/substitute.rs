//! `${VAR}`, `${VAR:-default}`, `${VAR:?message}`, `${file:path}` and `$$` in the scalars of the file.
//!
//! Done on scalars, after the YAML structure is known: a value can never add keys, lists or comments.

use std::path::{Path, PathBuf};

use super::{Env, file};

/// A scalar with its substitutions made.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expanded {
    pub text: String,
    /// Part of it came out of a file: messages do not repeat it.
    pub from_file: bool,
    /// Where the substituted parts came from, in words for messages; empty when nothing was substituted.
    pub origins: Vec<String>,
}

/// First of the characters that stand for ASCII in [`hide`]: at the end of the last private use area, where no text has any.
const HIDDEN: u32 = 0x0010_ff00;

/// Makes `${...}` a word for the parser of YAML wherever it stands. Braces, commas and the like mean something to that
/// parser, in `[]` and `{}` above all; within a substitution other characters stand for them until [`reveal`]. Each
/// stands for one, so that places in the file stay what they are. Quotes and backslashes are left alone, so that a quoted
/// text means what it meant.
pub(super) fn hide(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let length = hidden_length(from);
        let (part, after) = from.split_at(length);
        match part.starts_with("${") {
            true => out.extend(part.chars().map(hidden)),
            false => out.push_str(part),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// What [`hide`] has hidden.
pub(super) fn reveal(text: &str) -> String {
    let shown = |c: char| match u32::from(c).checked_sub(HIDDEN) {
        Some(ascii @ 0..0x80) => char::from_u32(ascii).unwrap_or(c),
        _ => c,
    };
    text.chars().map(shown).collect()
}

fn hidden(c: char) -> char {
    match c {
        '{' | '}' | '[' | ']' | ',' | ':' | '#' => {
            char::from_u32(HIDDEN + u32::from(c)).unwrap_or(c)
        }
        c => c,
    }
}

/// In a text that begins with `$`: the bytes of `${...}` on one line, of `$$`, else of the `$` alone.
fn hidden_length(text: &str) -> usize {
    if text.starts_with("$$") {
        return 2;
    }
    let line = text.lines().next().unwrap_or_default();
    match line.starts_with("${").then(|| line.find('}')).flatten() {
        Some(end) => end + 1,
        None => 1,
    }
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
            origins: Vec::new(),
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
                let value = self.lookup(&inner[..end], &mut out)?;
                out.text.push_str(&value);
                rest = &inner[end + 1..];
            } else {
                out.text.push('$');
            }
        }
        out.text.push_str(rest);
        Ok(out)
    }

    /// The value of what stands between the braces. Notes in `out` where it came from.
    fn lookup(&mut self, inner: &str, out: &mut Expanded) -> Result<String, String> {
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
        let variable = format!("the environment variable {name}");
        if rest.is_empty() {
            out.origins.push(variable);
            return value.ok_or_else(|| {
                format!("environment variable {name} is not set; set it or write \"${{{name}:-default}}\"")
            });
        }
        // As in a shell: `:-` and `:?` treat an empty variable like one that is not set.
        let value = value.filter(|v| !v.is_empty());
        if let Some(default) = rest.strip_prefix(":-") {
            out.origins.push(match value {
                Some(_) => variable,
                None => format!("the default in \"${{{inner}}}\""),
            });
            return Ok(value.unwrap_or_else(|| default.to_owned()));
        }
        if let Some(message) = rest.strip_prefix(":?") {
            out.origins.push(variable);
            return value.ok_or_else(|| match message {
                "" => format!("environment variable {name} is not set"),
                message => format!("environment variable {name} is not set: {message}"),
            });
        }
        match rest.strip_prefix(':') {
            Some(path) if name == "file" => {
                out.from_file = true;
                out.origins.push(format!("the file {path}"));
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
