//! Listeners: names and addresses that clash, PROXY trust, certificate files, limits that depend on each other.

use ipnet::IpNet;
use tidegate_filters::path::normalise;

use super::{Checker, Taken};
use crate::config::model::{self, Address};
use crate::config::path::Path;
use crate::config::raw::{self, text};

/// No longer target can be read.
const LONGEST_URI: u64 = 65_534;

impl Checker<'_> {
    pub(super) fn listeners(
        &mut self,
        listeners: Vec<raw::Listener>,
        admin: Option<&Address>,
        cluster: &model::Cluster,
        proxies: &[IpNet],
    ) -> Vec<model::Listener> {
        let path = Path::ROOT.key("listeners");
        let (mut names, mut addresses) = (Taken::default(), Taken::default());
        if let Some(key) = admin.and_then(fixed_address) {
            // The first to take an address is never refused.
            let _ = addresses.take(&key, &Path::ROOT.key("admin").key("listen"));
        }
        let mut checked = Vec::with_capacity(listeners.len());
        for (i, listener) in listeners.into_iter().enumerate() {
            let path = path.index(i);
            if let Err(message) = names.take(&listener.name.0, &path.key("name")) {
                self.error(&path.key("name"), message);
            }
            let listen = path.key("listen");
            if let Some(Err(message)) =
                fixed_address(&listener.listen.0).map(|a| addresses.take(&a, &listen))
            {
                self.error(&listen, message);
            }
            checked.push(self.listener(listener, cluster, proxies, &path));
        }
        checked
    }

    fn listener(
        &mut self,
        raw: raw::Listener,
        cluster: &model::Cluster,
        proxies: &[IpNet],
        path: &Path<'_>,
    ) -> model::Listener {
        let in_front = raw
            .trusted
            .iter()
            .map(|n| n.0)
            .chain(proxies.iter().copied());
        let in_front = in_front.collect();
        self.misdirected(&raw, proxies, &path.key("tls"));
        model::Listener {
            proxy_protocol: self.proxy_protocol(&raw, path),
            tls: raw
                .tls
                .map(|tls| self.listener_tls(tls, cluster, &path.key("tls"))),
            limits: self.listener_limits(raw.limits, in_front, &path.key("limits")),
            filters: self.listener_filters(raw.filters, &path.key("filters")),
            name: raw.name.0,
            address: raw.listen.0,
            health_path: raw
                .health_path
                .and_then(|p| self.normal_path(&p.0, &path.key("health_path"))),
            underscores_in_headers: underscores(raw.underscores_in_headers),
            trace: match raw.trace {
                raw::Trace::Refuse => model::Trace::Refuse,
                raw::Trace::Pass => model::Trace::Pass,
            },
            paths: match raw.paths {
                raw::PathMode::Strict => model::PathMode::Strict,
                raw::PathMode::Normalize => model::PathMode::Normalize,
                raw::PathMode::AsIs => model::PathMode::AsIs,
            },
        }
    }

    /// The form in which requests for this path are recognised.
    fn normal_path(&mut self, text: &str, path: &Path<'_>) -> Option<String> {
        match normalise(text) {
            Ok(normal) => Some(normal.into_owned()),
            Err(error) => {
                self.error(path, format!("{text:?}: no request can have it: {error}"));
                None
            }
        }
    }

    fn misdirected(&mut self, raw: &raw::Listener, proxies: &[IpNet], path: &Path<'_>) {
        let allow = raw::MisdirectedRequests::AllowTrustedProxies;
        let allowed = raw.tls.as_ref();
        if allowed.is_some_and(|tls| tls.misdirected_requests == allow) && proxies.is_empty() {
            let message = "needs \"trusted_proxies\", the networks of the proxies that may do so";
            self.error(&path.key("misdirected_requests"), message);
        }
    }

    fn proxy_protocol(&mut self, raw: &raw::Listener, path: &Path<'_>) -> model::ProxyProtocol {
        let trusted = self.networks(&raw.trusted, &path.key("trusted"));
        let unix = matches!(raw.listen.0, Address::Unix(_));
        match raw.proxy_protocol {
            raw::ProxyProtocol::Off => {
                if !trusted.is_empty() && !self.unclear(path, &["proxy_protocol"]) {
                    self.warning(
                        &path.key("trusted"),
                        "has no effect while \"proxy_protocol\" is \"off\"",
                    );
                }
                return model::ProxyProtocol::Off;
            }
            _ if trusted.is_empty() && !unix && !self.unclear(path, &["trusted", "listen"]) => {
                let message =
                    "needs \"trusted\", the networks of the balancers that send the PROXY header";
                self.error(&path.key("proxy_protocol"), message);
            }
            _ => {}
        }
        match raw.proxy_protocol {
            raw::ProxyProtocol::Required => model::ProxyProtocol::Required { trusted },
            _ => model::ProxyProtocol::Optional { trusted },
        }
    }

    fn listener_limits(
        &mut self,
        raw: raw::ListenerLimits,
        in_front: Vec<IpNet>,
        path: &Path<'_>,
    ) -> model::ListenerLimits {
        self.head_limits(&raw, path);
        self.unread_limits(&raw, path);
        let tcp_keepalive =
            self.tcp_keepalive(raw.tcp_keepalive.clone(), &path.key("tcp_keepalive"));
        let grace = raw.min_rate_grace.0;
        let pace = |idle, min_rate| model::PaceLimits {
            idle,
            min_rate,
            grace,
        };
        let bytes = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
        model::ListenerLimits {
            proxy_header_timeout: raw.proxy_header_timeout.0,
            tls_handshake_timeout: raw.tls_handshake_timeout.0,
            header_timeout: raw.header_timeout.0,
            idle_timeout: raw.idle_timeout.0,
            request_body: pace(raw.request_body_idle_timeout.0, raw.request_body_min_rate.0),
            response: pace(raw.response_idle_timeout.0, raw.response_min_rate.0),
            tcp_keepalive,
            max_header_bytes: bytes(raw.max_header_bytes.0),
            max_headers: raw.max_headers as usize,
            max_uri_bytes: bytes(raw.max_uri_bytes.0),
            max_queued_handshakes: raw.max_queued_handshakes as usize,
            max_connections: raw.max_connections as usize,
            max_unfinished: raw.max_unfinished as usize,
            per_address: per_address(&raw, in_front),
            max_requests_per_connection: raw.max_requests_per_connection,
            max_concurrent_streams: raw.max_concurrent_streams,
            max_unread: raw.max_unread_per_connection.0,
        }
    }

    /// A limit under one response would give up every client that lets one wait.
    fn unread_limits(&mut self, raw: &raw::ListenerLimits, path: &Path<'_>) {
        for (key, bytes, zero) in [
            ("max_unread_per_address", raw.max_unread_per_address.0, true),
            (
                "max_unread_per_connection",
                raw.max_unread_per_connection.0,
                false,
            ),
        ] {
            if bytes < model::UNREAD_RESPONSE && !(zero && bytes == 0) {
                let (bytes, least) = (
                    text::show_size(&bytes),
                    text::show_size(&model::UNREAD_RESPONSE),
                );
                let message =
                    format!("{bytes} is less than one response counts for; write {least} or more");
                self.error(&path.key(key), message);
            }
        }
    }

    /// The kernel counts in seconds, up to 32,767 of them.
    fn tcp_keepalive(
        &mut self,
        raw: raw::OrOff<raw::TcpKeepalive>,
        path: &Path<'_>,
    ) -> Option<model::TcpKeepalive> {
        let raw = raw.on()?;
        for (key, time) in [("idle", raw.idle.0), ("interval", raw.interval.0)] {
            if time.subsec_nanos() != 0 || time.as_secs() > 9 * 3600 {
                let message = format!(
                    "{} is out of range; write whole seconds, 1s to 9h",
                    text::show_duration(&time)
                );
                self.error(&path.key(key), message);
            }
        }
        Some(model::TcpKeepalive {
            idle: raw.idle.0,
            interval: raw.interval.0,
            probes: raw.probes,
        })
    }

    fn head_limits(&mut self, raw: &raw::ListenerLimits, path: &Path<'_>) {
        let (header, uri) = (raw.max_header_bytes.0, raw.max_uri_bytes.0);
        if !(1024..=1024 * 1024).contains(&header) {
            self.error(
                &path.key("max_header_bytes"),
                format!(
                    "{} is out of range; write 1KiB to 1MiB",
                    text::show_size(&header)
                ),
            );
        } else if !(64..=header.min(LONGEST_URI)).contains(&uri)
            && !self.unclear(path, &["max_header_bytes", "max_uri_bytes"])
        {
            let uri = text::show_size(&uri);
            let most = match header {
                ..=LONGEST_URI => {
                    let header = text::show_size(&header);
                    format!("up to \"max_header_bytes\", which is {header}")
                }
                _ => format!("to {LONGEST_URI}"),
            };
            let message = format!("{uri} is out of range; write 64 {most}");
            self.error(&path.key("max_uri_bytes"), message);
        }
    }
}

fn underscores(raw: raw::UnderscoresInHeaders) -> model::UnderscoresInHeaders {
    match raw {
        raw::UnderscoresInHeaders::DropTwins => model::UnderscoresInHeaders::DropTwins,
        raw::UnderscoresInHeaders::Drop => model::UnderscoresInHeaders::Drop,
        raw::UnderscoresInHeaders::Refuse => model::UnderscoresInHeaders::Refuse,
        raw::UnderscoresInHeaders::Keep => model::UnderscoresInHeaders::Keep,
    }
}

fn per_address(raw: &raw::ListenerLimits, in_front: Vec<IpNet>) -> model::AddressLimits {
    let cap = |value: u32| Some(value).filter(|&value| value > 0);
    let shared = raw.shared_addresses.iter().map(|n| n.0);
    model::AddressLimits {
        connections: cap(raw.max_connections_per_address),
        new: cap(raw.max_new_per_address),
        unfinished: cap(raw.max_unfinished_per_address),
        unread: Some(raw.max_unread_per_address.0).filter(|&bytes| bytes > 0),
        except: shared.chain(in_front).collect(),
    }
}

/// What two listeners cannot share; `None` for port 0, which is another port each time.
fn fixed_address(address: &Address) -> Option<String> {
    match address {
        Address::Tcp(socket) if socket.port() == 0 => None,
        Address::Tcp(socket) => Some(socket.to_string()),
        Address::Unix(path) => Some(format!("unix:{}", path.display())),
    }
}
