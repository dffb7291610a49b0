//! Log lines of requests that were refused before they were requests.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::finish::milliseconds;
use crate::instance::Instance;
use crate::listener::{Connection, Refusal, Refused};
use crate::observe::access_log::AccessRecord;
use crate::observe::metrics::Label;

/// Writes them.
pub struct RefusedRequests(pub Arc<Instance>);

impl Refused for RefusedRequests {
    fn refused(&self, connection: &Connection, refusal: Refusal) {
        let log = self.0.access_log.load();
        let Some(log) = log.as_ref() else {
            return;
        };
        let mut line = log.buffer();
        let tls = connection.tls.as_ref();
        AccessRecord {
            unix_ms: milliseconds(SystemTime::now()),
            client_ip: Some(connection.client_ip()),
            client_port: connection.client.map(|c| c.port()),
            peer_ip: Some(connection.peer_ip()),
            listener: &connection.config.name,
            protocol: "HTTP/1.1",
            tls_version: tls.map_or("", |t| t.version),
            tls_cipher: tls.map_or("", |t| t.cipher),
            tls_key: tls.map_or("", |t| Label::name(t.key_type)),
            tls_resumed: tls.is_some_and(|t| t.resumed),
            scheme: connection.scheme(),
            status: Some(refusal.status()),
            duration: Duration::ZERO,
            flags: &["DPE"],
            reason: refusal.reason(),
            ..AccessRecord::default()
        }
        .format(&mut line);
        log.write(line);
    }
}
