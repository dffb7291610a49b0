//! `discovery`, and `discover` of a pool: members that are not addresses in the file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::seconds;
use super::text::{DnsName, Duration, Label, ResolverAddress, Timeout};

/// How members of pools are found that are not addresses in the file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Discovery {
    /// How long the start waits for the first answer of each source. Until then `/readyz` says 503 and which are missing;
    /// after it the instance serves without them, and their pools answer 503.
    pub start_timeout: Duration,
    /// How long the members of the last good answer are kept while there is none: the resolver is silent or fails, the name
    /// is gone or has no address, the file can't be read.
    pub stale: Timeout,
    /// DNS servers, `IP` or `IP:PORT`; default: those of `/etc/resolv.conf`, with its search domains and options. With
    /// servers of its own here, no search domains are used.
    #[schemars(length(max = 8))]
    pub resolvers: Vec<ResolverAddress>,
    /// Which addresses of a name are used: `any`, only `ipv4` or `ipv6`, or with `prefer_ipv4` and `prefer_ipv6` those of the
    /// other family only where there are none of this one.
    pub addresses: Addresses,
    /// Answers of DNS are used for so long at least, whatever their TTL.
    pub min_ttl: Timeout,
    /// And for so long at most.
    pub max_ttl: Timeout,
    /// Members that one source may bring; what is beyond is left out, and said.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_backends: u32,
}

impl Default for Discovery {
    fn default() -> Self {
        Self {
            start_timeout: seconds(5),
            stale: Timeout(std::time::Duration::from_secs(3600)),
            resolvers: Vec::new(),
            addresses: Addresses::Any,
            min_ttl: Timeout(std::time::Duration::from_secs(1)),
            max_ttl: Timeout(std::time::Duration::from_secs(60)),
            max_backends: 1000,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Addresses {
    Any,
    Ipv4,
    Ipv6,
    PreferIpv4,
    PreferIpv6,
}

/// A source of members: exactly one of these.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Discover {
    /// Names in DNS.
    pub dns: Option<DiscoverDns>,
    /// A file of its own.
    pub file: Option<DiscoverFile>,
    /// An HTTP server.
    pub http: Option<DiscoverHttp>,
}

/// Members from DNS.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiscoverDns {
    /// With `port`, a name whose A and AAAA records are the members. Without it, one such as `_http._tcp.api.internal`,
    /// whose SRV records say targets, ports, priorities and weights (RFC 2782).
    pub name: DnsName,
    /// The members' port, where `name` is not one of a service.
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// Where they stand; see `failover.zone`.
    pub zone: Option<Label>,
    /// Default: `discovery.min_ttl`.
    pub min_ttl: Option<Timeout>,
    /// Default: `discovery.max_ttl`.
    pub max_ttl: Option<Timeout>,
}

/// Members from an HTTP server, such as a registry or a script behind one.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiscoverHttp {
    /// Answers `GET` with a list like `backends`, without DNS names, in JSON of at most 4 MiB. With `https` the certificate
    /// is checked by the system's CAs. An `ETag` spares sending a list that has not changed. Any status but 200 and 304, and
    /// an answer that is slow, huge or broken, changes nothing.
    #[schemars(length(min = 1))]
    pub url: String,
    /// Between two questions.
    #[serde(default = "interval")]
    pub interval: Timeout,
    /// For connecting and the whole answer.
    #[serde(default = "answer_timeout")]
    pub timeout: Timeout,
}

fn interval() -> Timeout {
    Timeout(std::time::Duration::from_secs(5))
}

fn answer_timeout() -> Timeout {
    Timeout(std::time::Duration::from_secs(2))
}

/// Members from a file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiscoverFile {
    /// YAML or JSON: a list like `backends`, without DNS names. It is looked at twice a second; replace it by renaming
    /// another over it. One that is broken, or gone, changes nothing.
    #[schemars(length(min = 1))]
    pub path: String,
}
