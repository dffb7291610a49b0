//! What is wrong with a configuration, where it stands and what to write instead.

use std::fmt;
use std::path::{Path as FilePath, PathBuf};

use super::path::Path;

/// Whether a problem keeps the configuration from being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The whole configuration is refused.
    Error,
    /// The configuration is used; the operator should know.
    Warning,
}

/// A place in the file; both count from 1, columns in characters. Line 0 stands for the file as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    /// From 1; 0 when the problem is the file itself.
    pub line: usize,
    /// From 1.
    pub column: usize,
}

/// One finding. Displayed as `tidegate.yaml:12:7: error: pools.api.polcy: unknown key; did you mean "policy"?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Does it refuse the configuration?
    pub severity: Severity,
    /// As it was given to `load`.
    pub file: PathBuf,
    /// See [`Position`].
    pub line: usize,
    /// See [`Position`].
    pub column: usize,
    /// The key's path, such as `pools.api.backends[0].weight`; empty for the top of the file.
    pub path: String,
    /// What is wrong and what to write.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        f.write_str(match self.severity {
            Severity::Error => ": error: ",
            Severity::Warning => ": warning: ",
        })?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Why a configuration is refused: at least one error, and the warnings found beside it, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// For what cannot happen, said without a panic.
    pub(super) fn unexplained(file: &FilePath) -> Self {
        let message =
            "cannot be used, for a reason that was not found; please report this".to_owned();
        let (severity, file, path) = (Severity::Error, file.to_owned(), String::new());
        Self(vec![Problem {
            severity,
            file,
            line: 0,
            column: 0,
            path,
            message,
        }])
    }

    /// In the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Collects findings, so that all of them are told at once.
#[derive(Debug)]
pub(super) struct Report {
    file: PathBuf,
    problems: Vec<Problem>,
}

impl Report {
    pub fn new(file: &FilePath) -> Self {
        Self {
            file: file.to_owned(),
            problems: Vec::new(),
        }
    }

    pub fn error(&mut self, at: Position, path: &Path<'_>, message: impl Into<String>) {
        self.push(Severity::Error, at, path, message.into());
    }

    pub fn warning(&mut self, at: Position, path: &Path<'_>, message: impl Into<String>) {
        self.push(Severity::Warning, at, path, message.into());
    }

    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(|p| p.severity == Severity::Error)
    }

    /// How many errors there are so far.
    pub fn errors(&self) -> usize {
        let errors = self.problems.iter();
        errors.filter(|p| p.severity == Severity::Error).count()
    }

    /// `Err` when there is an error, else the warnings.
    pub fn finish(mut self) -> Result<Vec<Problem>, Problems> {
        self.problems
            .sort_by(|a, b| (a.line, a.column, &a.path).cmp(&(b.line, b.column, &b.path)));
        // An anchor's body is checked once for each alias; at the same place, the same words once are enough.
        self.problems.dedup();
        if self.has_errors() {
            Err(Problems(self.problems))
        } else {
            Ok(self.problems)
        }
    }

    fn push(&mut self, severity: Severity, at: Position, path: &Path<'_>, message: String) {
        let Position { line, column } = at;
        let path = path.to_string();
        self.problems.push(Problem {
            severity,
            file: self.file.clone(),
            line,
            column,
            path,
            message,
        });
    }
}
