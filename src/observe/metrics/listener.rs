//! What is counted of one listener: connections, handshakes, refusals, certificates.

use std::array;
use std::sync::{Mutex, PoisonError};

use crate::listener::Refusal;

use super::cells::{Counter, Counters, Gauges};
use super::families::Families;
use super::labels::{
    ConnectionState, EvictedWhile, HandshakeFailure, Http2Abuse, KeyType, Label, RejectReason,
    SlowPhase, TlsVersion,
};

/// Counters of one listener.
#[derive(Debug)]
pub struct ListenerMetrics {
    name: String,
    /// Connections that are open now.
    pub connections: Gauges<ConnectionState>,
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections closed before their first request.
    pub rejected: Counters<RejectReason>,
    /// Requests refused before routing.
    pub refused: Counters<Refusal>,
    /// Connections and requests cut because the client was too slow.
    pub slow_closed: Counters<SlowPhase>,
    /// HTTP/2 connections ended with GOAWAY for what the client sent.
    pub http2_abuse: Counters<Http2Abuse>,
    /// Connections closed so that a new one gets in.
    pub evicted: Counters<EvictedWhile>,
    /// By version, then by resumed (1) and early data (2), then by key.
    handshakes: [[Counters<KeyType>; 4]; TlsVersion::NAMES.len()],
    /// Handshakes that came to nothing.
    pub handshake_failures: Counters<HandshakeFailure>,
    certificates: Mutex<Vec<CertificateExpiry>>,
}

/// When a certificate ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateExpiry {
    /// First name in the certificate.
    pub sni: String,
    /// `ecdsa` or `rsa`.
    pub key_type: &'static str,
    /// Seconds since 1970.
    pub not_after: i64,
}

impl ListenerMetrics {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            connections: Gauges::default(),
            accepted: Counter::default(),
            rejected: Counters::default(),
            refused: Counters::default(),
            slow_closed: Counters::default(),
            http2_abuse: Counters::default(),
            evicted: Counters::default(),
            handshakes: array::from_fn(|_| array::from_fn(|_| Counters::default())),
            handshake_failures: Counters::default(),
            certificates: Mutex::default(),
        }
    }

    /// As in the config.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Counts a TLS handshake that was done.
    pub fn handshake(&self, version: TlsVersion, key: KeyType, resumed: bool, early_data: bool) {
        let how = usize::from(resumed) + 2 * usize::from(early_data);
        self.handshakes[version.index()][how].inc(key);
    }

    /// The certificates in force, in place of those before.
    pub fn set_certificates(&self, certificates: Vec<CertificateExpiry>) {
        *self
            .certificates
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = certificates;
    }

    pub(super) fn collect(&self, out: &mut Families) {
        let labels = [("listener", self.name.as_str())];
        for (state, count) in self.connections.iter() {
            let labels = [labels[0], ("state", state)];
            out.gauge(
                "tidegate_connections",
                "Downstream connections open now.",
                &labels,
                count as f64,
            );
        }
        let accepted = self.accepted.get();
        out.counter(
            "tidegate_connections_total",
            "Downstream connections accepted.",
            &labels,
            accepted,
        );
        let help = "Connections closed before their first request.";
        out.counters(
            "tidegate_connections_rejected_total",
            help,
            &labels,
            "reason",
            &self.rejected,
        );
        let help = "Requests refused before they were routed.";
        out.counters(
            "tidegate_requests_refused_total",
            help,
            &labels,
            "reason",
            &self.refused,
        );
        let help = "Connections and requests cut because the client was too slow.";
        out.counters(
            "tidegate_slow_client_closed_total",
            help,
            &labels,
            "phase",
            &self.slow_closed,
        );
        let help = "HTTP/2 connections ended with GOAWAY for what the client sent.";
        out.counters(
            "tidegate_http2_abuse_total",
            help,
            &labels,
            "reason",
            &self.http2_abuse,
        );
        let help = "Connections closed so that a new one gets in.";
        out.counters(
            "tidegate_connections_evicted_total",
            help,
            &labels,
            "while",
            &self.evicted,
        );
        self.collect_tls(out);
    }

    fn collect_tls(&self, out: &mut Families) {
        let how = [
            ("false", "false"),
            ("true", "false"),
            ("false", "true"),
            ("true", "true"),
        ];
        for (version, by_how) in TlsVersion::NAMES.iter().zip(&self.handshakes) {
            for ((resumed, early_data), by_key) in how.iter().zip(by_how) {
                let labels = [
                    ("listener", self.name.as_str()),
                    ("version", version),
                    ("resumed", resumed),
                    ("early_data", early_data),
                ];
                let (name, help) = (
                    "tidegate_tls_handshakes_total",
                    "TLS handshakes with clients that were done.",
                );
                out.counters_seen(name, help, &labels, "key_type", by_key);
            }
        }
        let listener = [("listener", self.name.as_str())];
        let help = "TLS handshakes with clients that came to nothing.";
        let failures = &self.handshake_failures;
        out.counters(
            "tidegate_tls_handshake_failures_total",
            help,
            &listener,
            "reason",
            failures,
        );
        for certificate in self
            .certificates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            let labels = [
                ("listener", self.name.as_str()),
                ("sni", certificate.sni.as_str()),
                ("key_type", certificate.key_type),
            ];
            let help = "When the certificate ends, in seconds since 1970.";
            out.gauge(
                "tidegate_tls_cert_not_after_seconds",
                help,
                &labels,
                certificate.not_after as f64,
            );
        }
    }
}
