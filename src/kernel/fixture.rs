//! A made machine for tests: a folder with a `proc` and a `sys` in it.

use std::fs;

use tempfile::TempDir;

use super::Kernel;

/// Files by their path under the root.
pub struct Made(TempDir);

impl Made {
    pub fn with(files: &[(&str, &str)]) -> Made {
        let made = Made(tempfile::tempdir().unwrap());
        for (path, text) in files {
            made.put(path, text);
        }
        made
    }

    /// Adds a file, or replaces it.
    pub fn put(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn root(&self) -> &std::path::Path {
        self.0.path()
    }

    pub fn kernel(&self) -> Kernel {
        Kernel::at(self.root(), None)
    }
}
