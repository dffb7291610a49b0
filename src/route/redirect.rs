//! Builds the `Location` of a redirect.

use http::HeaderValue;

use tidegate_filters::path::push_encoded;

use crate::config::model::Redirect;

/// The address a client asked for.
#[derive(Debug, Clone, Copy)]
pub struct Requested<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Without port, as the client sent it; IPv6 with or without brackets.
    pub host: &'a str,
    /// The port the client connected to or named.
    pub port: u16,
    /// As it would go to a backend.
    pub path: &'a str,
    /// Without the `?`.
    pub query: Option<&'a str>,
}

/// The client sent a host that may not stand in a URL; answered with 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("host cannot stand in a URL")]
pub struct BadHost;

/// The absolute URL to send a client to. Without a port of its own, a redirect that names a scheme uses that
/// scheme's, and any other the request's; the usual port of a scheme is left out. A path of its own replaces the
/// query too. The client's path begins with one `/` in it and has no `\`, which browsers take for `/`: nothing that a client
/// sends can pass for a host.
pub fn location(redirect: &Redirect, requested: &Requested<'_>) -> Result<HeaderValue, BadHost> {
    let scheme = redirect.scheme.as_deref().unwrap_or(requested.scheme);
    let host = redirect.host.as_deref().unwrap_or(requested.host);
    let usual = usual_port(scheme);
    let port = match (redirect.port, &redirect.scheme) {
        (Some(port), _) => Some(port),
        (None, Some(_)) => None,
        (None, None) => Some(requested.port),
    };
    let mut url = format!("{scheme}://");
    push_host(&mut url, host)?;
    if let Some(port) = port.filter(|&port| Some(port) != usual) {
        url.push_str(&format!(":{port}"));
    }
    match &redirect.path {
        Some(path) => push_encoded(&mut url, path, "\""),
        None => {
            url.push('/');
            let path = requested.path.trim_start_matches('/');
            push_encoded(&mut url, path, "?#\"\\");
            if let Some(query) = requested.query {
                url.push('?');
                push_encoded(&mut url, query, "#\"");
            }
        }
    }
    HeaderValue::try_from(url).map_err(|_| BadHost)
}

fn usual_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

fn push_host(url: &mut String, host: &str) -> Result<(), BadHost> {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    if bare.parse::<std::net::Ipv6Addr>().is_ok() {
        url.push_str(&format!("[{bare}]"));
        return Ok(());
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if host.is_empty() || !host.bytes().all(allowed) {
        return Err(BadHost);
    }
    url.push_str(host);
    Ok(())
}

#[cfg(test)]
mod tests;
