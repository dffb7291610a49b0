//! What the kernel says of this process and of the network it is in, from `/proc` and `/sys`. Read only, and never
//! trusted to be there: in a container much of it is hidden.

mod cgroup;
#[cfg(test)]
pub mod fixture;
mod limits;
mod network;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use cgroup::{CpuQuota, MemoryUse};
pub use limits::{OpenFiles, is_out_of_descriptors, raise_open_files};
pub use network::{Conntrack, NetCounters};

/// Where to read.
#[derive(Debug, Clone)]
pub struct Kernel {
    proc: PathBuf,
    sys: PathBuf,
    /// A folder of `/proc`: a number, or `self`.
    process: String,
}

impl Default for Kernel {
    fn default() -> Kernel {
        Kernel::at(Path::new("/"), None)
    }
}

impl Kernel {
    /// The `proc` and `sys` in this folder, for the process of this number; `None` is the one that asks.
    pub fn at(root: &Path, process: Option<u32>) -> Kernel {
        Kernel {
            proc: root.join("proc"),
            sys: root.join("sys"),
            process: process.map_or_else(|| "self".to_owned(), |pid| pid.to_string()),
        }
    }

    /// A setting by its name, such as `net.core.somaxconn`.
    pub fn sysctl(&self, name: &str) -> io::Result<String> {
        let path = self.proc.join("sys").join(name.replace('.', "/"));
        Ok(fs::read_to_string(path)?.trim().to_owned())
    }

    /// The same, where it is one number.
    pub fn number(&self, name: &str) -> io::Result<u64> {
        let text = self.sysctl(name)?;
        text.parse().map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{text:?} is no number"))
        })
    }

    /// The clock that time is read from, such as `tsc`.
    pub fn clock_source(&self) -> io::Result<String> {
        let path = "devices/system/clocksource/clocksource0/current_clocksource";
        Ok(fs::read_to_string(self.sys.join(path))?.trim().to_owned())
    }

    /// Whether the process may listen on ports below `net.ipv4.ip_unprivileged_port_start`.
    pub fn may_bind_low_ports(&self) -> io::Result<bool> {
        /// `CAP_NET_BIND_SERVICE` (capabilities(7)).
        const BIT: u32 = 10;
        let status = self.of_process("status")?;
        let mask = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
        let mask = mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
        let mask = mask.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok(mask >> BIT & 1 == 1)
    }

    /// A file of the process's own folder.
    fn of_process(&self, name: &str) -> io::Result<String> {
        fs::read_to_string(self.proc.join(&self.process).join(name))
    }
}

/// The number after `name` at the start of a line of `name value` pairs.
fn value_of(text: &str, name: &str) -> Option<u64> {
    let values = text.lines().filter_map(|line| line.strip_prefix(name));
    values
        .filter(|rest| rest.starts_with([' ', '\t', ':']))
        .find_map(|rest| {
            let rest = rest.trim_start_matches([' ', '\t', ':']);
            rest.split_ascii_whitespace().next()?.parse().ok()
        })
}
