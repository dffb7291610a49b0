//! One line of the report: a value, what it should be, why, and how to set it.

use std::io;

use serde::Serialize;

/// How a value stands to what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    /// It will do until there is load or an attack.
    Warn,
    /// The instance can't start, or drops connections now.
    Fail,
    /// It can't be read here.
    Unknown,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A stable word for scripts.
    pub check: &'static str,
    pub status: Status,
    /// What it is.
    pub value: String,
    /// What it should be for this configuration.
    pub wanted: String,
    pub why: &'static str,
    /// Commands and settings, each enough by itself; empty where there is nothing to set.
    pub set: Vec<String>,
}

impl Finding {
    /// As wanted, until [`Finding::warn_if`] or [`Finding::fail_if`] says otherwise.
    pub fn new(
        check: &'static str,
        value: impl Into<String>,
        wanted: impl Into<String>,
        why: &'static str,
    ) -> Finding {
        Finding {
            check,
            status: Status::Ok,
            value: value.into(),
            wanted: wanted.into(),
            why,
            set: Vec::new(),
        }
    }

    /// What can't be read, with the reason.
    pub fn unknown(
        check: &'static str,
        error: &io::Error,
        wanted: impl Into<String>,
        why: &'static str,
    ) -> Finding {
        let value = format!("can't be read here ({error}); look on the host");
        Finding {
            status: Status::Unknown,
            ..Finding::new(check, value, wanted, why)
        }
    }

    pub fn warn_if(mut self, worse: bool) -> Finding {
        if worse && self.status == Status::Ok {
            self.status = Status::Warn;
        }
        self
    }

    pub fn fail_if(mut self, broken: bool) -> Finding {
        if broken {
            self.status = Status::Fail;
        }
        self
    }

    pub fn set(mut self, how: impl Into<String>) -> Finding {
        self.set.push(how.into());
        self
    }

    /// How to set a sysctl on a host and in a container. `safe`: Kubernetes lets any pod set it.
    pub fn sysctl(self, name: &str, value: &str, safe: bool) -> Finding {
        let line = format!("{{name: {name}, value: \"{value}\"}}");
        let allowed = match safe {
            true => String::new(),
            false => format!(", once the kubelet has --allowed-unsafe-sysctls={name}"),
        };
        self.set(format!(
            "sysctl -w {name}=\"{value}\" (to keep it: a file in /etc/sysctl.d/)"
        ))
        .set(format!("Docker: --sysctl {name}=\"{value}\""))
        .set(format!(
            "Kubernetes: spec.securityContext.sysctls: [{line}]{allowed}"
        ))
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let status = match self.status {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "fail",
            Status::Unknown => "unknown",
        };
        let (check, value, wanted) = (self.check, &self.value, &self.wanted);
        writeln!(f, "{status:8} {check}: {value}; wanted: {wanted}")?;
        writeln!(f, "         why: {}", self.why)?;
        if self.status != Status::Ok {
            for how in &self.set {
                writeln!(f, "         set: {how}")?;
            }
        }
        Ok(())
    }
}
