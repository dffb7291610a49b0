//! What is looked at, in the order of a connection's way: SYN, accept queue, descriptors, ports to backends, then what
//! the container allows.

use std::io;

use super::demand::Demand;
use super::finding::Finding;
use crate::kernel::{CpuQuota, Kernel};
use crate::listener::BACKLOG;

/// Queues shorter than this overflow in a burst of a few milliseconds.
const QUEUE: u64 = 4096;
/// Below this no instance can work, whatever its limits say.
const LEAST_DESCRIPTORS: u64 = 256;
const LEAST_MEMORY: u64 = 32 << 20;
/// How long a closed connection's port stays taken (`TCP_TIMEWAIT_LEN`), in seconds.
const TIME_WAIT: u64 = 60;
/// Leaves the ports that services usually listen on alone.
const PORTS: &str = "10240 65535";

pub fn all(kernel: &Kernel, demand: &Demand) -> Vec<Finding> {
    let mut found = vec![
        syncookies(kernel),
        syn_backlog(kernel),
        accept_backlog(kernel),
        listen_drops(kernel),
        open_files(kernel, demand),
        local_ports(kernel, demand),
        time_wait(kernel),
    ];
    found.extend(conntrack(kernel, demand));
    found.extend(low_ports(kernel, demand));
    found.push(memory(kernel, demand));
    found.push(cpus(kernel, demand));
    found.push(clock(kernel));
    found
}

fn syncookies(kernel: &Kernel) -> Finding {
    const NAME: &str = "net.ipv4.tcp_syncookies";
    const WHY: &str = "a flood of SYNs fills the SYN queue; with cookies real clients still get in";
    match kernel.number(NAME) {
        Err(error) => Finding::unknown("tcp_syncookies", &error, "1", WHY),
        Ok(value) => {
            Finding::new("tcp_syncookies", value.to_string(), "1", WHY).warn_if(value == 0)
        }
    }
    .sysctl(NAME, "1", true)
}

fn syn_backlog(kernel: &Kernel) -> Finding {
    const NAME: &str = "net.ipv4.tcp_max_syn_backlog";
    const WHY: &str = "half-open connections beyond it are dropped or answered with a cookie, which loses TCP options";
    let wanted = format!("{QUEUE} or more");
    match kernel.number(NAME) {
        Err(error) => Finding::unknown("tcp_max_syn_backlog", &error, wanted, WHY),
        Ok(value) => Finding::new("tcp_max_syn_backlog", value.to_string(), wanted, WHY)
            .warn_if(value < QUEUE),
    }
    .sysctl(NAME, &QUEUE.to_string(), false)
}

fn accept_backlog(kernel: &Kernel) -> Finding {
    const NAME: &str = "net.core.somaxconn";
    const WHY: &str = "connections that wait to be accepted beyond it are dropped, and clients try again after 1 s, 3 s, 7 s";
    let wanted = format!("{QUEUE} or more");
    match kernel.number(NAME) {
        Err(error) => Finding::unknown("listen_backlog", &error, wanted, WHY),
        Ok(most) => {
            let asked = u64::from(BACKLOG.unsigned_abs());
            let value = format!("{} ({asked} asked for, {NAME} is {most})", asked.min(most));
            Finding::new("listen_backlog", value, wanted, WHY).warn_if(most < QUEUE)
        }
    }
    .sysctl(NAME, &QUEUE.to_string(), false)
    .set("then restart Tidegate: a socket keeps the backlog that it was opened with")
}

fn listen_drops(kernel: &Kernel) -> Finding {
    const WHY: &str =
        "each is a client whose connection the kernel dropped before Tidegate could accept it";
    let wanted = "0, and not growing (tidegate_kernel_listen_drops_total)";
    match kernel.net_counters() {
        Err(error) => Finding::unknown("listen_drops", &error, wanted, WHY),
        Ok(c) => {
            let value = format!(
                "{} ListenOverflows, {} ListenDrops, {} TCPReqQFullDrop, {} TCPReqQFullDoCookies since this network namespace was made",
                c.listen_overflows, c.listen_drops, c.syn_queue_drops, c.syn_queue_cookies
            );
            let any = c.listen_overflows + c.listen_drops + c.syn_queue_drops > 0;
            Finding::new("listen_drops", value, wanted, WHY).warn_if(any)
        }
    }
    .set("ListenOverflows: raise net.core.somaxconn and give Tidegate more CPU; TCPReqQFullDrop: set net.ipv4.tcp_syncookies=1")
}

fn open_files(kernel: &Kernel, demand: &Demand) -> Finding {
    const WHY: &str = "every connection takes a descriptor, and one more to its backend; short of them, accepting pauses (see overload)";
    let need = demand.descriptors;
    let wanted = format!(
        "{need} or more ({} client connections, {} to backends)",
        demand.client_connections, demand.backend_connections
    );
    let finding = match kernel.open_files_limit() {
        Err(error) => Finding::unknown("nofile", &error, wanted, WHY),
        Ok(limit) => {
            let value = format!(
                "soft {}, hard {} (Tidegate raises soft to hard at start)",
                show(limit.soft),
                show(limit.hard)
            );
            Finding::new("nofile", value, wanted, WHY)
                .warn_if(limit.hard < need)
                .fail_if(limit.hard < LEAST_DESCRIPTORS + 2 * demand.backends)
        }
    };
    finding
        .set(format!("systemd: LimitNOFILE={need}"))
        .set(format!("Docker: --ulimit nofile={need}:{need}"))
        .set(format!(
            "Kubernetes has no setting for pods: LimitNOFILE={need} in the container runtime's unit on the node"
        ))
        .set("or lower limits.max_connections of the listeners to what fits")
}

fn local_ports(kernel: &Kernel, demand: &Demand) -> Finding {
    const NAME: &str = "net.ipv4.ip_local_port_range";
    const WHY: &str = "a connection to a backend takes a local port, which only connections to other backends can share";
    let wanted = match &demand.busiest_backend {
        Some((need, pool)) => format!("{need} ports for each backend of pool {pool:?}"),
        None => "any: no backend is reached by TCP".to_owned(),
    };
    let need = demand.busiest_backend.as_ref().map_or(0, |(need, _)| *need);
    let finding = match kernel.sysctl(NAME).and_then(|text| ports(&text)) {
        Err(error) => Finding::unknown("local_ports", &error, wanted, WHY),
        Ok((low, high)) => {
            let count = (high - low).saturating_add(1);
            let value = format!("{low} to {high}, {count} ports");
            Finding::new("local_ports", value, wanted, WHY).warn_if(count < need)
        }
    };
    finding
        .sysctl(NAME, PORTS, true)
        .set("or more backends, upstream.protocol: http2, or limits.max_in_flight_per_backend")
}

fn ports(text: &str) -> io::Result<(u64, u64)> {
    let mut words = text.split_ascii_whitespace().map(str::parse);
    match (words.next(), words.next()) {
        (Some(Ok(low)), Some(Ok(high))) if low <= high => Ok((low, high)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn time_wait(kernel: &Kernel) -> Finding {
    const NAME: &str = "net.ipv4.tcp_tw_reuse";
    const WHY: &str = "the port of a closed connection to a backend can be used again after 1 s, in place of 60 s";
    match kernel.number(NAME) {
        Err(error) => Finding::unknown("tcp_tw_reuse", &error, "1", WHY),
        Ok(value) => {
            let range = kernel.sysctl("net.ipv4.ip_local_port_range");
            let count = range.and_then(|text| ports(&text));
            let rate = count.map_or(0, |(low, high)| (high - low + 1) / TIME_WAIT);
            let value = match value {
                1 => "1".to_owned(),
                other => format!("{other}: at most {rate} new connections a second to one backend"),
            };
            let worse = value != "1";
            Finding::new("tcp_tw_reuse", value, "1", WHY).warn_if(worse)
        }
    }
    .sysctl(NAME, "1", false)
}

/// Nothing where connections are not tracked: that is as it should be.
fn conntrack(kernel: &Kernel, demand: &Demand) -> Option<Finding> {
    const NAME: &str = "net.netfilter.nf_conntrack_max";
    const WHY: &str = "a firewall or NAT tracks connections here; when its table is full, packets of new ones are dropped";
    let table = kernel.conntrack()?;
    let need = demand
        .client_connections
        .saturating_add(demand.backend_connections);
    let value = format!("{} of {} entries taken", table.entries, table.max);
    let finding = Finding::new("conntrack", value, format!("{need} entries or more"), WHY)
        .warn_if(table.max < need || table.entries > table.max / 10 * 8)
        .fail_if(table.entries >= table.max / 100 * 99)
        .set(format!("sysctl -w {NAME}={need} on the host"))
        .set("or don't track these ports: iptables -t raw -A PREROUTING -p tcp --dport PORT -j CT --notrack");
    Some(finding)
}

/// Nothing where no port is below 1024.
fn low_ports(kernel: &Kernel, demand: &Demand) -> Option<Finding> {
    const NAME: &str = "net.ipv4.ip_unprivileged_port_start";
    const WHY: &str = "an unprivileged process may not listen on ports below it";
    let lowest = *demand.low_ports.iter().min()?;
    let wanted = format!("{lowest} or lower, or the capability NET_BIND_SERVICE");
    let finding = match (kernel.number(NAME), kernel.may_bind_low_ports()) {
        (Err(error), Err(_) | Ok(false)) => Finding::unknown("low_ports", &error, wanted, WHY),
        (start, may) => {
            let may = may.unwrap_or(false);
            let start = start.unwrap_or(1024);
            let has = if may { "with" } else { "without" };
            let value = format!("{start}, {has} NET_BIND_SERVICE");
            Finding::new("low_ports", value, wanted, WHY).fail_if(!may && u64::from(lowest) < start)
        }
    };
    Some(
        finding
            .sysctl(NAME, &lowest.to_string(), true)
            .set("systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE"),
    )
}

fn memory(kernel: &Kernel, demand: &Demand) -> Finding {
    const WHY: &str = "beyond the limit the kernel kills the process; before it, connections are given up (see overload)";
    let wanted = format!("{} or more, by estimate", mib(demand.memory));
    let finding = match kernel.memory() {
        Err(error) => Finding::unknown("memory", &error, wanted, WHY),
        Ok(memory) => {
            let kind = match memory.limited {
                true => "allowed by the control group",
                false => "in the machine, no limit set",
            };
            let value = format!("{} {kind}", mib(memory.limit));
            Finding::new("memory", value, wanted, WHY)
                .warn_if(memory.limit < demand.memory)
                .fail_if(memory.limit < LEAST_MEMORY)
        }
    };
    let need = demand.memory.div_ceil(1 << 20);
    finding
        .set(format!("systemd: MemoryMax={need}M"))
        .set(format!("Docker: --memory {need}m"))
        .set(format!("Kubernetes: resources.limits.memory: {need}Mi"))
        .set("or lower limits.max_connections of the listeners")
}

fn cpus(kernel: &Kernel, demand: &Demand) -> Finding {
    const WHY: &str = "with more threads than CPUs allowed, the quota is used up early and all of them stand still for the rest of its period";
    let threads = demand.threads;
    let wanted = format!("{threads} CPUs or more, one for each thread");
    let finding = match kernel.cpu_quota() {
        CpuQuota::Unlimited => Finding::new("cpu_quota", "none", wanted, WHY),
        CpuQuota::Cpus(cpus) => Finding::new("cpu_quota", format!("{cpus:.2} CPUs"), wanted, WHY)
            .warn_if(threads as f64 > cpus.ceil()),
    };
    finding
        .set(format!("Docker: --cpus {threads}"))
        .set(format!("Kubernetes: resources.limits.cpu: \"{threads}\""))
        .set("or threads: of the configuration to the CPUs allowed")
}

fn clock(kernel: &Kernel) -> Finding {
    /// Read without a system call on all hypervisors that have them.
    const FAST: [&str; 5] = [
        "tsc",
        "kvm-clock",
        "arch_sys_counter",
        "hyperv_clocksource_tsc_page",
        "riscv_clocksource",
    ];
    const WHY: &str =
        "several times are taken for each request; other clocks cost a system call each time";
    let wanted = "tsc, or the hypervisor's own";
    match kernel.clock_source() {
        Err(error) => Finding::unknown("clock", &error, wanted, WHY),
        Ok(name) => {
            let slow = !FAST.contains(&name.as_str());
            Finding::new("clock", name, wanted, WHY).warn_if(slow)
        }
    }
    .set("echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource, if available_clocksource lists it")
}

fn show(limit: u64) -> String {
    match limit {
        u64::MAX => "unlimited".to_owned(),
        limit => limit.to_string(),
    }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
