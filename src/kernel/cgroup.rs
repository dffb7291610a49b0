//! Limits that a container or a service unit sets: control groups of version 1 and 2. Of a group and all those around
//! it, the tightest counts.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::{Kernel, value_of};

/// Version 1 says "no limit" with a number near 2^63.
const NO_LIMIT: u64 = 1 << 60;

/// Memory in use against what may be used, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// What can't be had back by dropping cached files.
    pub used: u64,
    /// The limit, or the machine's memory where there is none.
    pub limit: u64,
    /// A group sets the limit. Without one, only this process is counted as used.
    pub limited: bool,
}

/// CPU time a group may use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CpuQuota {
    /// Only the machine's own CPUs.
    Unlimited,
    /// So many CPUs' worth; fractions are usual.
    Cpus(f64),
}

/// Which version a hierarchy has, as its files have other names.
#[derive(Clone, Copy)]
enum Version {
    One,
    Two,
}

impl Kernel {
    /// The memory limit that is nearest, and how much of it is used.
    pub fn memory(&self) -> io::Result<MemoryUse> {
        let groups = self.groups("memory");
        let uses = groups.iter().filter_map(|(at, v)| memory_of(at, *v));
        let share = |m: &MemoryUse| m.used as f64 / m.limit.max(1) as f64;
        match uses.max_by(|a, b| share(a).total_cmp(&share(b))) {
            Some(tightest) => Ok(tightest),
            None => self.machine_memory(),
        }
    }

    /// The smallest CPU quota.
    pub fn cpu_quota(&self) -> CpuQuota {
        let groups = self.groups("cpu");
        let quotas = groups.iter().filter_map(|(at, v)| quota_of(at, *v));
        match quotas.min_by(f64::total_cmp) {
            Some(cpus) => CpuQuota::Cpus(cpus),
            None => CpuQuota::Unlimited,
        }
    }

    fn machine_memory(&self) -> io::Result<MemoryUse> {
        let missing = || io::Error::from(io::ErrorKind::InvalidData);
        let machine = fs::read_to_string(self.proc.join("meminfo"))?;
        let own = self.of_process("status")?;
        Ok(MemoryUse {
            used: value_of(&own, "VmRSS").ok_or_else(missing)? * 1024,
            limit: value_of(&machine, "MemTotal").ok_or_else(missing)? * 1024,
            limited: false,
        })
    }

    /// The folders of the process's group for a controller and of the groups around it, innermost first. Inside a
    /// container the inner ones may not be there.
    fn groups(&self, controller: &str) -> Vec<(PathBuf, Version)> {
        let text = self.of_process("cgroup").unwrap_or_default();
        let mut all = Vec::new();
        for line in text.lines() {
            // hierarchy-id:controllers:path (cgroups(7))
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
                continue;
            };
            let of_it = controllers.split(',').any(|c| c == controller);
            let (mount, version) = match controllers {
                "" => (self.unified_mount(), Version::Two),
                _ if of_it => (self.mount_of(controller, controllers), Version::One),
                _ => continue,
            };
            let mut path = std::path::Path::new(path.trim_start_matches('/'));
            loop {
                all.push((mount.join(path), version));
                match path.parent() {
                    Some(parent) => path = parent,
                    None => break,
                }
            }
        }
        all
    }

    fn unified_mount(&self) -> PathBuf {
        let mount = self.sys.join("fs/cgroup");
        match mount.join("unified").is_dir() {
            true => mount.join("unified"),
            false => mount,
        }
    }

    /// `cpu,cpuacct` are one hierarchy, mounted under both names or under one of them.
    fn mount_of(&self, controller: &str, controllers: &str) -> PathBuf {
        let mount = self.sys.join("fs/cgroup");
        match mount.join(controller).is_dir() {
            true => mount.join(controller),
            false => mount.join(controllers),
        }
    }
}

fn memory_of(group: &std::path::Path, version: Version) -> Option<MemoryUse> {
    let (limit, used, prefix) = match version {
        Version::Two => ("memory.max", "memory.current", ""),
        Version::One => ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
    };
    let number = |name: &str| -> Option<u64> {
        let text = fs::read_to_string(group.join(name)).ok()?;
        text.trim().parse().ok()
    };
    // `max` is no number and so no limit.
    let limit = number(limit).filter(|limit| *limit < NO_LIMIT)?;
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let cached = |kind: &str| value_of(&stat, &format!("{prefix}{kind}")).unwrap_or(0);
    Some(MemoryUse {
        used: number(used)?.saturating_sub(cached("active_file") + cached("inactive_file")),
        limit,
        limited: true,
    })
}

fn quota_of(group: &std::path::Path, version: Version) -> Option<f64> {
    let read = |name: &str| fs::read_to_string(group.join(name)).ok();
    let (quota, period) = match version {
        Version::Two => {
            let text = read("cpu.max")?;
            let (quota, period) = text.trim().split_once(' ')?;
            (quota.parse::<f64>().ok()?, period.parse::<f64>().ok()?)
        }
        Version::One => (
            read("cpu.cfs_quota_us")?.trim().parse::<f64>().ok()?,
            read("cpu.cfs_period_us")?.trim().parse::<f64>().ok()?,
        ),
    };
    // Version 1 says -1 for no limit.
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}
