//! TLS on both sides: files that must be there, and keys that only make sense together.

use std::path::PathBuf;

use super::Checker;
use crate::config::path::Path;
use crate::config::raw;
use crate::config::{file, model};

/// A key of a ticket must hold as much as the secrets that others are made of.
const LEAST_TICKET_KEY: usize = 32;

impl Checker<'_> {
    pub(super) fn listener_tls(
        &mut self,
        raw: raw::ListenerTls,
        cluster: &model::Cluster,
        path: &Path<'_>,
    ) -> model::ListenerTls {
        let at = path.key("certificates");
        let certificates = raw.certificates.iter().enumerate();
        model::ListenerTls {
            certificates: certificates
                .map(|(i, files)| self.certificate(files, &at.index(i)))
                .collect(),
            only_tls13: raw.min_version == raw::TlsVersion::Tls13,
            close_unknown_names: raw.unknown_server_name == raw::UnknownServerName::Close,
            misdirected_from_proxies: raw.misdirected_requests
                == raw::MisdirectedRequests::AllowTrustedProxies,
            client_auth: raw
                .client_auth
                .as_ref()
                .map(|auth| self.client_auth(auth, &path.key("client_auth"))),
            tickets: self.tickets(&raw, cluster, path),
            early_data: raw.early_data,
        }
    }

    fn certificate(
        &mut self,
        files: &raw::Certificate,
        path: &Path<'_>,
    ) -> model::CertificateFiles {
        let (cert, key) = self.certificate_and_key(&files.cert, &files.key, path);
        let ocsp = files.ocsp.as_ref().map(|name| {
            let path = path.key("ocsp");
            let (full, bytes) = self.binary(name, &path);
            // A DER sequence (RFC 6960, section 4.2.1).
            if bytes.is_some_and(|bytes| bytes.first() != Some(&0x30)) {
                let message = format!("{} holds no OCSP response in DER form", full.display());
                self.error(&path, message);
            }
            full
        });
        model::CertificateFiles { cert, key, ocsp }
    }

    fn certificate_and_key(
        &mut self,
        cert: &str,
        key: &str,
        path: &Path<'_>,
    ) -> (PathBuf, PathBuf) {
        let label = "CERTIFICATE-----";
        let cert = self.pem(cert, label, "certificate", &path.key("cert"));
        let key = self.pem(key, "PRIVATE KEY-----", "private key", &path.key("key"));
        (cert, key)
    }

    fn client_auth(&mut self, raw: &raw::ClientAuth, path: &Path<'_>) -> model::ClientAuth {
        model::ClientAuth {
            ca: self.pem(&raw.ca, "CERTIFICATE-----", "certificate", &path.key("ca")),
            required: raw.mode == raw::ClientAuthMode::Required,
            forward_certificate: raw.forward_certificate,
        }
    }

    fn tickets(
        &mut self,
        raw: &raw::ListenerTls,
        cluster: &model::Cluster,
        path: &Path<'_>,
    ) -> Option<model::TicketKeys> {
        let keys = path.key("ticket_keys");
        if self.unclear(path, &["session_tickets"]) {
            return None;
        }
        if !raw.session_tickets {
            if !raw.ticket_keys.is_empty() {
                self.error(&keys, "has no effect while \"session_tickets\" is false");
            }
            if raw.early_data {
                let message = "needs \"session_tickets\": only resumed sessions have early data";
                self.error(&path.key("early_data"), message);
            }
            return None;
        }
        if raw.ticket_keys.is_empty() {
            let rotation = cluster.key_rotation;
            return Some(match cluster.secrets.as_slice() {
                [] => model::TicketKeys::Own(rotation),
                secrets => model::TicketKeys::Cluster(secrets.to_vec(), rotation),
            });
        }
        let mut files = Vec::with_capacity(raw.ticket_keys.len());
        for (i, name) in raw.ticket_keys.iter().enumerate() {
            let path = keys.index(i);
            let (full, bytes) = self.binary(name, &path);
            if let Some(bytes) = bytes.filter(|bytes| bytes.len() < LEAST_TICKET_KEY) {
                let message = format!(
                    "{} holds {} bytes; at least {LEAST_TICKET_KEY} are needed, as from openssl rand -out {name} 48",
                    full.display(),
                    bytes.len()
                );
                self.error(&path, message);
            }
            files.push(full);
        }
        Some(model::TicketKeys::Files(files))
    }

    /// A file of bytes: read, to be sure that it can be, and held for the watcher.
    fn binary(&mut self, name: &str, path: &Path<'_>) -> (PathBuf, Option<Vec<u8>>) {
        let full = self.dir.join(name);
        let bytes = match file::read_bytes(&full) {
            Ok(bytes) => Some(bytes),
            Err(e) => {
                self.error(path, format!("cannot read {}: {e}", full.display()));
                None
            }
        };
        self.files.push(full.clone());
        (full, bytes)
    }

    pub(super) fn upstream_tls(
        &mut self,
        raw: raw::UpstreamTls,
        path: &Path<'_>,
    ) -> model::UpstreamTls {
        let ca = raw
            .ca
            .map(|ca| self.pem(&ca, "CERTIFICATE-----", "certificate", &path.key("ca")));
        let identity = match (&raw.cert, &raw.key) {
            (Some(cert), Some(key)) => Some(self.certificate_and_key(cert, key, path)),
            _ if self.unclear(path, &["cert", "key"]) => None,
            (Some(_), None) => {
                self.error(
                    &path.key("cert"),
                    "needs \"key\", the file of its private key",
                );
                None
            }
            (None, Some(_)) => {
                self.error(&path.key("key"), "needs \"cert\", the certificate's file");
                None
            }
            (None, None) => None,
        };
        if !raw.verify {
            let message = "certificates are not checked: anyone on the way can pose as a backend";
            self.warning(&path.key("verify"), message);
        }
        model::UpstreamTls {
            server_name: raw.server_name.0,
            ca,
            identity,
            verify: raw.verify,
        }
    }
}
