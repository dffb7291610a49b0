//! The labels whose values are fixed: an enum each, so that no series can come from a client's text. A new reason is one
//! line here.

/// An enum that is a label: its values are numbered from 0 and have a name each.
pub trait Label: Copy + 'static {
    /// Names in the order of the values.
    const NAMES: &'static [&'static str];
    /// Place in `NAMES`.
    fn index(self) -> usize;
    /// The label's text.
    fn name(self) -> &'static str {
        Self::NAMES.get(self.index()).copied().unwrap_or("")
    }
}

macro_rules! labels {
    ($($(#[$doc:meta])* $label:ident { $($value:ident = $name:literal,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum $label { $($value,)+ }

        impl Label for $label {
            const NAMES: &'static [&'static str] = &[$($name,)+];
            fn index(self) -> usize {
                self as usize
            }
        }
    )+};
}

labels! {
    /// Why a source of members gave no good answer.
    DiscoveryFailure {
        Timeout = "timeout",
        ServerFailure = "server_failure",
        NoSuchName = "no_such_name",
        NoRecords = "no_records",
        Unreachable = "unreachable",
        Invalid = "invalid",
    }
    /// How the members of a pool changed.
    MembershipChange {
        Joined = "joined",
        Returned = "returned",
        Left = "left",
        Changed = "changed",
    }
    /// What the overload ladder watches.
    Resource {
        Descriptors = "descriptors",
        Memory = "memory",
        Lag = "lag",
    }
    /// What a downstream connection is doing.
    ConnectionState {
        Handshaking = "handshaking",
        Header = "header",
        Active = "active",
        Idle = "idle",
        Tunnel = "tunnel",
    }
    /// Why a connection was closed before its first request.
    RejectReason {
        MaxConnections = "max_connections",
        MaxPerAddress = "max_connections_per_address",
        MaxNewPerAddress = "max_new_per_address",
        MaxUnfinished = "max_unfinished",
        MaxUnfinishedPerAddress = "max_unfinished_per_address",
        AcceptError = "accept_error",
        ProxyMissing = "proxy_missing",
        ProxyUntrusted = "proxy_untrusted",
        ProxyInvalid = "proxy_invalid",
        ProxyTimeout = "proxy_timeout",
        ProxyClosed = "proxy_closed",
        Filter = "filter",
    }
    /// Why an HTTP/2 connection was ended with GOAWAY: more frames of a kind than a client has use for, or none at all.
    Http2Abuse {
        RstStream = "rst_stream",
        Settings = "settings",
        Ping = "ping",
        EmptyData = "empty_data",
        Priority = "priority",
        WindowUpdate = "window_update",
        Continuation = "continuation",
        Unknown = "unknown",
        BadPreface = "bad_preface",
        Calm = "enhance_your_calm",
        Error = "protocol_error",
    }
    /// Which connections were closed so that a new one gets in.
    EvictedWhile {
        Idle = "idle",
        Unfinished = "unfinished",
        Slow = "slow",
    }
    /// Where a client was too slow.
    SlowPhase {
        Proxy = "proxy",
        Tls = "tls",
        Preface = "preface",
        Header = "header",
        Body = "body",
        Response = "response",
        Idle = "idle",
    }
    /// As negotiated; `Unknown` where the handshake didn't come that far.
    TlsVersion {
        Unknown = "unknown",
        Tls12 = "TLSv1.2",
        Tls13 = "TLSv1.3",
    }
    /// The key that signed a handshake: none where a session was resumed.
    KeyType {
        None = "none",
        Ecdsa = "ecdsa",
        Rsa = "rsa",
    }
    /// Why a TLS handshake came to nothing.
    HandshakeFailure {
        Timeout = "timeout",
        Closed = "closed",
        Overloaded = "overloaded",
        UnknownName = "unknown_server_name",
        Version = "version",
        NothingShared = "nothing_shared",
        NoApplicationProtocol = "no_application_protocol",
        NotTls = "not_tls",
        NoClientCertificate = "no_client_certificate",
        ClientCertificate = "bad_client_certificate",
        Alert = "client_alert",
        Malformed = "malformed",
        Other = "other",
    }
    /// Of the downstream request.
    Protocol {
        Http1 = "http1",
        Http2 = "http2",
        WebSocket = "websocket",
    }
    /// The hundreds of a status.
    StatusClass {
        None = "none",
        Informational = "1xx",
        Success = "2xx",
        Redirect = "3xx",
        ClientError = "4xx",
        ServerError = "5xx",
    }
    /// What became of one attempt at a backend.
    UpstreamOutcome {
        Ok = "ok",
        ServerError = "5xx",
        ConnectError = "connect_error",
        Timeout = "timeout",
        Reset = "reset",
        Garbage = "garbage",
        Aborted = "aborted",
    }
    /// A backend's place in the health machine.
    BackendState {
        Healthy = "healthy",
        Checking = "checking",
        Suspect = "suspect",
        Ejected = "ejected",
        HalfOpen = "half_open",
        Draining = "draining",
        Down = "down",
        AdminDown = "admin_down",
    }
    /// What took a backend out.
    EjectReason {
        Consecutive = "consecutive",
        Rate = "rate",
        Latency = "latency",
        Probe = "probe",
    }
    /// What kept a backend in that would have been taken out.
    BlockReason {
        Percent = "max_ejection_percent",
        LastBackend = "last_backend",
        PoolWide = "pool_wide",
    }
    /// How a health check ended.
    ProbeResult {
        Pass = "pass",
        Fail = "fail",
        Timeout = "timeout",
        Skipped = "skipped",
    }
    /// Why another attempt was made.
    RetryReason {
        Connect = "connect",
        Reset = "reset",
        Timeout = "timeout",
        Status = "status",
    }
    /// Why another attempt was not made.
    DenyReason {
        Attempts = "attempts",
        Budget = "budget",
        Body = "body",
        Method = "method",
        Deadline = "deadline",
        NoBackend = "no_backend",
    }
    /// Why a request got no place at a backend.
    ShedReason {
        QueueFull = "queue_full",
        QueueTimeout = "queue_timeout",
        MaxInFlight = "max_in_flight",
        NoBackend = "no_backend",
    }
    /// Where a filter ran.
    FilterPhase {
        Connection = "connection",
        Request = "request",
        RequestBody = "request_body",
        Pool = "pool",
        UpstreamRequest = "upstream_request",
        Response = "response",
        ResponseBody = "response_body",
        Finished = "finished",
    }
}

impl StatusClass {
    /// `None` for no response and for what is no status.
    #[must_use]
    pub fn of(status: Option<u16>) -> Self {
        match status.map(|status| status / 100) {
            Some(1) => Self::Informational,
            Some(2) => Self::Success,
            Some(3) => Self::Redirect,
            Some(4) => Self::ClientError,
            Some(5) => Self::ServerError,
            _ => Self::None,
        }
    }
}

impl Label for crate::sticky::StickyResult {
    const NAMES: &'static [&'static str] = Self::NAMES;

    fn index(self) -> usize {
        self as usize
    }
}
