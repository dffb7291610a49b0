//! What `/proc/self` says of this process, under the names that Prometheus clients share. What can't be read is left out.

use std::fs;

use super::families::Families;

/// Clock ticks a second in `/proc`: fixed at 100 in what Linux shows to user space.
const TICKS_PER_SECOND: f64 = 100.0;

pub fn collect(out: &mut Families) {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    if let Some(stat) = Stat::parse(&read("/proc/self/stat")) {
        collect_times(&stat, &read("/proc/stat"), out);
    }
    let status = read("/proc/self/status");
    if let Some(kib) = field(&status, "VmRSS:") {
        out.gauge(
            "process_resident_memory_bytes",
            "Memory in RAM.",
            &[],
            kib * 1024.0,
        );
    }
    if let Some(kib) = field(&status, "VmSize:") {
        out.gauge(
            "process_virtual_memory_bytes",
            "Memory mapped.",
            &[],
            kib * 1024.0,
        );
    }
    if let Some(threads) = field(&status, "Threads:") {
        out.gauge("process_threads", "Threads.", &[], threads);
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        out.gauge(
            "process_open_fds",
            "Open file descriptors.",
            &[],
            entries.count() as f64,
        );
    }
    if let Some(limit) = field(&read("/proc/self/limits"), "Max open files") {
        out.gauge(
            "process_max_fds",
            "File descriptors that may be open.",
            &[],
            limit,
        );
    }
}

fn collect_times(stat: &Stat, system: &str, out: &mut Families) {
    let seconds = stat.cpu_ticks / TICKS_PER_SECOND;
    out.counter_with_fraction(
        "process_cpu_seconds_total",
        "CPU time, user and system.",
        &[],
        seconds,
    );
    if let Some(boot) = field(system, "btime") {
        let start = boot + stat.start_ticks / TICKS_PER_SECOND;
        out.gauge(
            "process_start_time_seconds",
            "When it was started, in seconds since 1970.",
            &[],
            start,
        );
    }
}

struct Stat {
    cpu_ticks: f64,
    /// Since the machine was started.
    start_ticks: f64,
}

impl Stat {
    /// Fields are counted after the name, which may hold spaces and parentheses (proc_pid_stat(5)).
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<f64>().ok();
        Some(Self {
            cpu_ticks: number(11)? + number(12)?,
            start_ticks: number(19)?,
        })
    }
}

/// The first number on the line that starts with `name`.
fn field(text: &str, name: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_of_an_odd_name() {
        let text = "42 (a) b) S 1 1 1 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 12345 1000 100";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.cpu_ticks, stat.start_ticks), (300.0, 12345.0));
        assert!(Stat::parse("nonsense").is_none());
    }

    #[test]
    fn fields() {
        let limits =
            "Limit  Soft Limit\nMax open files            20000                20000     files\n";
        assert_eq!(field(limits, "Max open files"), Some(20000.0));
        assert_eq!(field("VmRSS:\t  1234 kB\n", "VmRSS:"), Some(1234.0));
        assert_eq!(field("Max open files unlimited", "Max open files"), None);
    }
}
