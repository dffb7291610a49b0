use super::fixture::Made;
use super::*;

#[test]
fn settings_are_found_by_name() {
    let made = Made::with(&[("proc/sys/net/core/somaxconn", "4096\n")]);
    assert_eq!(made.kernel().number("net.core.somaxconn").unwrap(), 4096);
    assert!(made.kernel().number("net.ipv4.tcp_syncookies").is_err());
}

#[test]
fn limits_of_open_files() {
    let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
        Max processes             96365                96365                processes\n\
        Max open files            1024                 unlimited            files\n";
    let made = Made::with(&[("proc/self/limits", limits), ("proc/7/limits", "nothing")]);
    let found = made.kernel().open_files_limit().unwrap();
    assert_eq!((found.soft, found.hard), (1024, u64::MAX));
    let other = Kernel::at(made.root(), Some(7));
    assert!(other.open_files_limit().is_err());
}

#[test]
fn open_files_are_counted_where_the_kernel_does_not_say() {
    let open = Kernel::default().open_files().unwrap();
    assert!((3..100_000).contains(&open), "{open}");
}

#[test]
fn memory_of_version_2() {
    let made = Made::with(&[
        ("proc/self/cgroup", "0::/a.slice/b.service\n"),
        ("sys/fs/cgroup/a.slice/memory.max", "1000\n"),
        ("sys/fs/cgroup/a.slice/memory.current", "950\n"),
        (
            "sys/fs/cgroup/a.slice/memory.stat",
            "anon 500\nfile 450\ninactive_file 200\nactive_file 50\n",
        ),
        ("sys/fs/cgroup/a.slice/b.service/memory.max", "max\n"),
        ("sys/fs/cgroup/a.slice/b.service/memory.current", "900\n"),
    ]);
    let memory = made.kernel().memory().unwrap();
    let expected = MemoryUse {
        used: 700,
        limit: 1000,
        limited: true,
    };
    assert_eq!(memory, expected);
}

#[test]
fn memory_of_version_1_in_a_container_that_hides_its_own_path() {
    let made = Made::with(&[
        (
            "proc/self/cgroup",
            "5:memory:/docker/0123\n2:cpu,cpuacct:/docker/0123\n",
        ),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000\n"),
        ("sys/fs/cgroup/memory/memory.usage_in_bytes", "900\n"),
        (
            "sys/fs/cgroup/memory/memory.stat",
            "inactive_file 1\ntotal_inactive_file 100\ntotal_active_file 100\n",
        ),
        ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "150000\n"),
        ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
    ]);
    assert_eq!(made.kernel().memory().unwrap().used, 700);
    assert_eq!(made.kernel().cpu_quota(), CpuQuota::Cpus(1.5));
}

#[test]
fn no_limit_is_the_machines_memory_and_the_process_alone() {
    let made = Made::with(&[
        ("proc/self/cgroup", "5:memory:/\n0::/\n"),
        (
            "sys/fs/cgroup/memory/memory.limit_in_bytes",
            "9223372036854771712\n",
        ),
        ("sys/fs/cgroup/memory/memory.usage_in_bytes", "900\n"),
        ("proc/meminfo", "MemTotal:       2048 kB\nMemFree: 1 kB\n"),
        ("proc/self/status", "Name:\tx\nVmRSS:\t     512 kB\n"),
    ]);
    let memory = made.kernel().memory().unwrap();
    assert_eq!((memory.used, memory.limit), (512 * 1024, 2048 * 1024));
    assert!(!memory.limited);
    assert_eq!(made.kernel().cpu_quota(), CpuQuota::Unlimited);
}

#[test]
fn quota_of_version_2() {
    let group = "sys/fs/cgroup/cpu.max";
    for (text, expected) in [
        ("max 100000\n", CpuQuota::Unlimited),
        ("50000 100000\n", CpuQuota::Cpus(0.5)),
        ("nonsense\n", CpuQuota::Unlimited),
    ] {
        let made = Made::with(&[("proc/self/cgroup", "0::/\n"), (group, text)]);
        assert_eq!(made.kernel().cpu_quota(), expected);
    }
}

#[test]
fn counters_are_found_by_name_not_by_place() {
    let netstat = "TcpExt: SyncookiesSent ListenOverflows New ListenDrops TCPReqQFullDrop\n\
        TcpExt: 1 2 9 3 4\nIpExt: InNoRoutes\nIpExt: 5\n";
    let made = Made::with(&[("proc/self/net/netstat", netstat)]);
    let counters = made.kernel().net_counters().unwrap();
    let expected = NetCounters {
        listen_overflows: 2,
        listen_drops: 3,
        syn_queue_drops: 4,
        syn_queue_cookies: 0,
        syncookies_sent: 1,
    };
    assert_eq!(counters, expected);
    assert!(Made::with(&[]).kernel().net_counters().is_err());
}

#[test]
fn nothing_there_is_no_panic() {
    let made = Made::with(&[
        ("proc/self/cgroup", "rubbish\n:\n0::\n"),
        ("proc/self/net/netstat", "TcpExt: \nTcpExt: \n"),
        ("proc/self/status", "CapEff:\tzz\n"),
    ]);
    assert!(made.kernel().memory().is_err());
    assert!(made.kernel().conntrack().is_none());
    assert!(made.kernel().may_bind_low_ports().is_err());
    assert_eq!(
        made.kernel().net_counters().unwrap(),
        NetCounters::default()
    );
}
