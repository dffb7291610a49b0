//! Counters of the network namespace that the process is in.

use std::io;

use super::Kernel;

/// Since the namespace was made; each wraps at 2^64.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetCounters {
    /// Connections whose handshake was done and that found the accept queue full.
    pub listen_overflows: u64,
    /// The same and all other causes for which a connection was not queued.
    pub listen_drops: u64,
    /// SYNs dropped because the SYN queue was full and no cookie could be sent.
    pub syn_queue_drops: u64,
    /// SYNs answered with a cookie because the SYN queue was full.
    pub syn_queue_cookies: u64,
    /// SYN cookies sent.
    pub syncookies_sent: u64,
}

/// The table of the kernel's connection tracking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conntrack {
    /// Connections in it.
    pub entries: u64,
    /// Connections that fit; packets of further ones are dropped.
    pub max: u64,
}

impl Kernel {
    /// What became of connections before they could be accepted. A counter that the kernel does not have is 0.
    pub fn net_counters(&self) -> io::Result<NetCounters> {
        let text = self.of_process("net/netstat")?;
        let mut lines = text.lines().filter_map(|l| l.strip_prefix("TcpExt: "));
        let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let mut counters = NetCounters::default();
        for (name, value) in names.split(' ').zip(values.split(' ')) {
            let cell = match name {
                "ListenOverflows" => &mut counters.listen_overflows,
                "ListenDrops" => &mut counters.listen_drops,
                "TCPReqQFullDrop" => &mut counters.syn_queue_drops,
                "TCPReqQFullDoCookies" => &mut counters.syn_queue_cookies,
                "SyncookiesSent" => &mut counters.syncookies_sent,
                _ => continue,
            };
            *cell = value.parse().unwrap_or(0);
        }
        Ok(counters)
    }

    /// `None`: connections are not tracked, or that can't be seen from here.
    pub fn conntrack(&self) -> Option<Conntrack> {
        Some(Conntrack {
            entries: self.number("net.netfilter.nf_conntrack_count").ok()?,
            max: self.number("net.netfilter.nf_conntrack_max").ok()?,
        })
    }
}
