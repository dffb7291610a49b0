//! What the kernel did to connections before they could be accepted, read when metrics are asked for. What can't be read
//! is left out.

use super::families::Families;
use crate::kernel::{Conntrack, Kernel, NetCounters};

pub fn collect(kernel: &Kernel, out: &mut Families) {
    collect_from(kernel.net_counters().ok(), kernel.conntrack(), out);
}

/// The same from what was read.
pub fn collect_from(
    counters: Option<NetCounters>,
    conntrack: Option<Conntrack>,
    out: &mut Families,
) {
    if let Some(counters) = counters {
        let all = [
            (
                "tidegate_kernel_listen_overflows_total",
                "Connections that found the accept queue full, in the whole network namespace.",
                counters.listen_overflows,
            ),
            (
                "tidegate_kernel_listen_drops_total",
                "Connections dropped before they were accepted, in the whole network namespace.",
                counters.listen_drops,
            ),
            (
                "tidegate_kernel_syn_queue_drops_total",
                "SYNs dropped because the SYN queue was full, in the whole network namespace.",
                counters.syn_queue_drops,
            ),
            (
                "tidegate_kernel_syn_queue_cookies_total",
                "SYNs answered with a cookie because the SYN queue was full, in the whole network namespace.",
                counters.syn_queue_cookies,
            ),
            (
                "tidegate_kernel_syncookies_sent_total",
                "SYN cookies sent, in the whole network namespace.",
                counters.syncookies_sent,
            ),
        ];
        for (name, help, value) in all {
            out.counter(name, help, &[], value);
        }
    }
    if let Some(table) = conntrack {
        let help = "Connections that the kernel tracks.";
        out.gauge(
            "tidegate_kernel_conntrack_entries",
            help,
            &[],
            table.entries as f64,
        );
        let help = "Connections that the kernel can track; packets of further ones are dropped.";
        out.gauge("tidegate_kernel_conntrack_max", help, &[], table.max as f64);
    }
}
