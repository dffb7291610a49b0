//! Log lines of requests that were refused before they were requests.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::finish::{self, milliseconds};
use crate::instance::Instance;
use crate::listener::{Connection, Refusal, Refused, RefusedRequest};
use crate::observe::access_log::AccessRecord;
use crate::observe::metrics::Label;

/// Writes them.
pub struct RefusedRequests(pub Arc<Instance>);

impl Refused for RefusedRequests {
    fn refused(&self, connection: &Connection, refusal: Refusal, request: &RefusedRequest<'_>) {
        let log = self.0.access_log.load();
        let Some(log) = log.as_ref() else {
            return;
        };
        let mut line = log.buffer();
        let tls = connection.tls.as_ref();
        let target = request.head.map_or(&b""[..], |head| head.raw_path());
        let mut target = target.splitn(2, |b| *b == b'?');
        AccessRecord {
            unix_ms: milliseconds(SystemTime::now()),
            client_ip: Some(connection.client_ip()),
            client_port: connection.client.map(|c| c.port()),
            peer_ip: Some(connection.peer_ip()),
            listener: &connection.config.name,
            protocol: request.protocol,
            tls_version: tls.map_or("", |t| t.version),
            tls_cipher: tls.map_or("", |t| t.cipher),
            tls_key: tls.map_or("", |t| Label::name(t.key_type)),
            tls_resumed: tls.is_some_and(|t| t.resumed),
            scheme: connection.scheme(),
            method: request
                .head
                .map_or(&b""[..], |head| head.method.as_str().as_bytes()),
            host: request.head.map_or(&b""[..], finish::host),
            path: target.next().unwrap_or_default(),
            query: target.next().unwrap_or_default(),
            status: request.status,
            duration: Duration::ZERO,
            flags: &["DPE"],
            reason: refusal.reason(),
            ..AccessRecord::default()
        }
        .format(&mut line);
        log.write(line);
    }
}
