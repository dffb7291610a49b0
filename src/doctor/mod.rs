//! `tidegate doctor`: whether the kernel, the limits and the container are set for what a configuration asks of them.
//!
//! Floods of SYNs, full accept queues and missing descriptors are not seen inside a proxy: the kernel drops connections
//! before it. What can be read is held against the configuration; what can't be read is said.

mod checks;
mod demand;
mod finding;
#[cfg(test)]
mod tests;

use serde::Serialize;

pub use demand::Demand;
pub use finding::{Finding, Status};

use crate::kernel::Kernel;

/// The exit code when something would break; 1 stands for a configuration that can't be used, as elsewhere.
pub const EXIT_FAIL: u8 = 2;

/// Everything that was found.
#[derive(Debug, Serialize)]
pub struct Report {
    pub demand: Demand,
    pub findings: Vec<Finding>,
}

/// Looks at everything.
pub fn examine(kernel: &Kernel, demand: Demand) -> Report {
    Report {
        findings: checks::all(kernel, &demand),
        demand,
    }
}

impl Report {
    /// 0, or [`EXIT_FAIL`] where something would break. A warning and what can't be read are no failures: a container
    /// hides much, and most of it is right by default.
    pub fn exit_code(&self) -> u8 {
        match self.count(Status::Fail) {
            0 => 0,
            _ => EXIT_FAIL,
        }
    }

    fn count(&self, status: Status) -> usize {
        self.findings.iter().filter(|f| f.status == status).count()
    }
}

/// For people: a line for each finding, why it matters, and what to set where it is not as wanted.
impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "held against: {}", self.demand)?;
        for finding in &self.findings {
            write!(f, "{finding}")?;
        }
        let count = |status| self.count(status);
        writeln!(
            f,
            "{} ok, {} warn, {} fail, {} unknown",
            count(Status::Ok),
            count(Status::Warn),
            count(Status::Fail),
            count(Status::Unknown)
        )
    }
}
