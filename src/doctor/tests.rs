use super::*;
use crate::config::{self, FilterCatalog, ProcessEnv};
use crate::kernel::fixture::Made;

const LIMITS: &str = "proc/self/limits";
const PORTS: &str = "proc/sys/net/ipv4/ip_local_port_range";

/// A machine on which everything is as wanted for `demand()`.
fn good() -> Made {
    Made::with(&[
        ("proc/sys/net/ipv4/tcp_syncookies", "1\n"),
        ("proc/sys/net/ipv4/tcp_max_syn_backlog", "8192\n"),
        ("proc/sys/net/core/somaxconn", "65535\n"),
        ("proc/sys/net/ipv4/tcp_tw_reuse", "1\n"),
        (PORTS, "10240\t65535\n"),
        (
            "proc/self/net/netstat",
            "TcpExt: ListenOverflows ListenDrops\nTcpExt: 0 0\n",
        ),
        (LIMITS, "Max open files 1024 1048576 files\n"),
        ("proc/self/cgroup", "0::/\n"),
        ("sys/fs/cgroup/memory.max", "4294967296\n"),
        ("sys/fs/cgroup/memory.current", "1000\n"),
        ("sys/fs/cgroup/cpu.max", "200000 100000\n"),
        (
            "sys/devices/system/clocksource/clocksource0/current_clocksource",
            "tsc\n",
        ),
    ])
}

fn demand_of(config: &str) -> Demand {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.yaml");
    std::fs::write(&path, config).unwrap();
    let catalog = FilterCatalog::of(&tidegate_filters::table());
    let loaded = config::load(&path, &ProcessEnv, &catalog).unwrap();
    Demand::of("tidegate.yaml", &loaded.config)
}

/// 10,000 clients, two backends.
fn demand() -> Demand {
    demand_of(
        r#"
version: 1
threads: 2
listeners: [{ name: a, listen: "0.0.0.0:8080", limits: { max_connections: 10000 } }]
routes: [{ match: {}, pool: web }]
pools: { web: { backends: ["10.0.0.1:80", "10.0.0.2:80"] } }
"#,
    )
}

fn statuses(report: &Report) -> Vec<(&str, Status)> {
    let all = report.findings.iter();
    all.map(|f| (f.check, f.status)).collect()
}

fn status_of(made: &Made, demand: Demand, check: &str) -> Status {
    let report = examine(&made.kernel(), demand);
    let found = report.findings.iter().find(|f| f.check == check);
    found.unwrap_or_else(|| panic!("no {check}")).status
}

#[test]
fn a_machine_that_fits_has_no_warning() {
    let report = examine(&good().kernel(), demand());
    for (check, status) in statuses(&report) {
        assert_eq!(status, Status::Ok, "{check}");
    }
    assert_eq!((report.findings.len(), report.exit_code()), (10, 0));
}

/// A file, what stands in it, the check that is worse for it, and how much.
const WORSE: &str = "
    proc/sys/net/ipv4/tcp_syncookies | 0 | tcp_syncookies | warn
    proc/sys/net/ipv4/tcp_max_syn_backlog | 128 | tcp_max_syn_backlog | warn
    proc/sys/net/core/somaxconn | 128 | listen_backlog | warn
    proc/sys/net/ipv4/tcp_tw_reuse | 2 | tcp_tw_reuse | warn
    proc/sys/net/ipv4/ip_local_port_range | 40000 44000 | local_ports | warn
    proc/sys/net/ipv4/ip_local_port_range | rubbish | local_ports | unknown
    proc/self/net/netstat | TcpExt: ListenDrops/TcpExt: 3 | listen_drops | warn
    proc/self/limits | Max open files 1024 4096 files | nofile | warn
    proc/self/limits | Max open files 100 100 files | nofile | fail
    sys/fs/cgroup/memory.max | 134217728 | memory | warn
    sys/fs/cgroup/memory.max | 1048576 | memory | fail
    sys/fs/cgroup/cpu.max | 100000 100000 | cpu_quota | warn
    sys/devices/system/clocksource/clocksource0/current_clocksource | hpet | clock | warn
";

#[test]
fn each_value_that_is_worse_is_named_and_none_else() {
    for line in WORSE.lines().filter(|line| line.contains('|')) {
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        let [file, text, check, expected] = fields[..] else {
            panic!("{line}");
        };
        let made = good();
        made.put(file, &format!("{}\n", text.replace('/', "\n")));
        let report = examine(&made.kernel(), demand());
        for finding in &report.findings {
            let worse = finding.check == check;
            let status = serde_json::to_value(finding.status).unwrap();
            assert_eq!(status, if worse { expected } else { "ok" }, "{line}");
        }
        let code = if expected == "fail" { EXIT_FAIL } else { 0 };
        assert_eq!(report.exit_code(), code, "{line}");
    }
}

#[test]
fn what_cannot_be_read_is_said_and_is_no_failure() {
    let report = examine(&Made::with(&[]).kernel(), demand());
    assert_eq!(report.exit_code(), 0);
    let unknown = report.count(Status::Unknown);
    // All but the CPU quota, of which nothing to read means that there is none.
    assert_eq!(unknown, report.findings.len() - 1);
    assert!(
        report
            .to_string()
            .contains("unknown  nofile: can't be read here")
    );
}

#[test]
fn conntrack_only_counts_where_there_is_one() {
    let made = good();
    made.put("proc/sys/net/netfilter/nf_conntrack_count", "10");
    made.put("proc/sys/net/netfilter/nf_conntrack_max", "262144");
    assert_eq!(status_of(&made, demand(), "conntrack"), Status::Ok);
    made.put("proc/sys/net/netfilter/nf_conntrack_count", "250000");
    assert_eq!(status_of(&made, demand(), "conntrack"), Status::Warn);
    made.put("proc/sys/net/netfilter/nf_conntrack_count", "262144");
    assert_eq!(status_of(&made, demand(), "conntrack"), Status::Fail);
}

#[test]
fn low_ports_need_a_capability_or_a_setting() {
    let low = || {
        demand_of(
            r#"
version: 1
listeners: [{ name: a, listen: "0.0.0.0:443", limits: { max_connections: 10 } }]
routes: [{ match: {}, respond: { status: 200 } }]
"#,
        )
    };
    const START: &str = "proc/sys/net/ipv4/ip_unprivileged_port_start";
    for (start, capabilities, expected) in [
        ("1024", "0000000000000000", Status::Fail),
        ("1024", "0000000000000400", Status::Ok),
        ("443", "0000000000000000", Status::Ok),
    ] {
        let made = good();
        made.put(START, start);
        made.put("proc/self/status", &format!("CapEff:\t{capabilities}\n"));
        assert_eq!(status_of(&made, low(), "low_ports"), expected, "{start}");
    }
    assert_eq!(status_of(&good(), low(), "low_ports"), Status::Unknown);
}

#[test]
fn limits_of_pools_and_http2_ask_for_less() {
    let config = |pool: &str| {
        demand_of(&format!(
            r#"
version: 1
listeners: [{{ name: a, listen: "0.0.0.0:8080", limits: {{ max_connections: 10000 }} }}]
routes: [{{ match: {{}}, pool: web }}]
pools: {{ web: {{ backends: ["10.0.0.1:80", "10.0.0.2:80"], {pool} }} }}
"#
        ))
    };
    let busiest = |d: Demand| (d.backend_connections, d.busiest_backend.unwrap().0);
    assert_eq!(busiest(config("slow_start: 0s")), (10_000, 5000));
    let http2 = "upstream: { protocol: http2, max_streams: 100 }";
    assert_eq!(busiest(config(http2)), (100, 50));
    let limits = "limits: { max_in_flight_per_backend: 20 }";
    assert_eq!(busiest(config(limits)), (40, 20));
    assert_eq!(config(limits).descriptors, 10_000 + 40 + 64);
}
