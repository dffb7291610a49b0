//! Open files: how many there are, how many there may be, and the limit's own slack taken up at start.

use std::fs;
use std::io;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::Kernel;

/// `RLIMIT_NOFILE` (getrlimit(2)); `u64::MAX` stands for unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFiles {
    /// In force.
    pub soft: u64,
    /// What the process may raise the soft limit to.
    pub hard: u64,
}

impl Kernel {
    /// How many files the process may have open.
    pub fn open_files_limit(&self) -> io::Result<OpenFiles> {
        let limits = self.of_process("limits")?;
        let line = limits
            .lines()
            .find_map(|l| l.strip_prefix("Max open files"));
        let mut words = line.unwrap_or_default().split_ascii_whitespace();
        let mut next = || {
            let word = words.next()?;
            if word == "unlimited" {
                return Some(u64::MAX);
            }
            word.parse().ok()
        };
        match (next(), next()) {
            (Some(soft), Some(hard)) => Ok(OpenFiles { soft, hard }),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// How many files the process has open. Linux 6.2 and newer say it at once; older ones have them counted, which
    /// takes about a microsecond each.
    pub fn open_files(&self) -> io::Result<u64> {
        let folder = self.proc.join(&self.process).join("fd");
        match fs::metadata(&folder)?.len() {
            0 => Ok(fs::read_dir(folder)?.count() as u64),
            open => Ok(open),
        }
    }
}

/// Raises the soft limit of open files to the hard one. Init systems and containers set a low soft limit for the sake of
/// programs that use `select`, which Tidegate does not.
pub fn raise_open_files() -> io::Result<OpenFiles> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(OpenFiles { soft: hard, hard })
}

/// Whether the process, or the whole machine, has no descriptor left.
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(code, Some(Errno::EMFILE | Errno::ENFILE))
}
