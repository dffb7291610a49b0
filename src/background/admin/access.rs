//! Who may ask the admin listener for what. It has no passwords, so whoever reaches its address is an operator, with one
//! exception: a web browser on an operator's machine reaches that address, too, and runs pages that strangers wrote. These
//! rules keep such pages out; they are no protection against programs that can set any header.
//!
//! - **DNS rebinding.** A page of `evil.example` lets its name point to this listener, and is then of the same origin. So the
//!   `Host` must be one that a stranger cannot let point here: an IP address, `localhost`, or a name in `admin.hosts`. A
//!   request without `Host` (HTTP/1.0) is allowed, as browsers always send one; so is any `Host` on a Unix socket, which
//!   browsers cannot reach.
//! - **Cross-site requests.** A page may send many requests to other origins, only the answer is kept from it. So `Origin`
//!   must be the listener's own, and `Sec-Fetch-Site`, which older browsers and addresses other than loopback lack, must be
//!   `same-origin` or `none`.
//! - **Forms.** What changes something needs `Content-Type: application/json`, which no form can send, and no script of
//!   another origin without a preflight request, which is never answered here with what would allow it.
//!
//! `/healthz`, `/livez` and `/readyz` are outside these rules: they hold one word, and orchestrators ask for them under any
//! name. `/metrics` is not: names and addresses of backends are nothing for a page to read, and a scraper that asks by a
//! service's name is one line in `admin.hosts`.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, Method, Uri, header};

use crate::config::model::HostMatch;

/// Answered under any name and to any page.
const OPEN: [&str; 3] = ["/healthz", "/livez", "/readyz"];

/// What the decision depends on.
pub struct Asked<'a> {
    pub method: &'a Method,
    pub target: &'a Uri,
    pub headers: &'a HeaderMap,
    /// The request came over a Unix socket.
    pub unix: bool,
    /// `admin.hosts`.
    pub hosts: &'a [HostMatch],
}

/// Why a request is refused. The text is the body of the answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    #[error(
        "forbidden: the Host {0:?} is neither an IP address nor \"localhost\" nor listed in admin.hosts, so that a web page \
         might have let its own name point here; ask by IP address, or add the name to admin.hosts"
    )]
    Host(String),
    #[error(
        "forbidden: the Origin {0:?} is not this listener's own; web pages of other origins may not ask here"
    )]
    Origin(String),
    #[error(
        "forbidden: Sec-Fetch-Site {0:?} says that a web page of another site asks; open this address by itself instead"
    )]
    Site(String),
    #[error(
        "forbidden: what changes something needs the field \"Content-Type: application/json\", which a web form cannot send"
    )]
    ContentType,
}

impl Asked<'_> {
    /// Applies the rules of this module.
    pub fn check(&self) -> Result<(), Forbidden> {
        let reads = [Method::GET, Method::HEAD].contains(self.method);
        if reads && OPEN.contains(&self.target.path()) {
            return Ok(());
        }
        self.check_host()?;
        self.check_origin()?;
        self.check_site()?;
        match reads || self.is_json() {
            true => Ok(()),
            false => Err(Forbidden::ContentType),
        }
    }

    /// Every name that the request gives for this listener must be known: `Host`, and the authority of a target in absolute
    /// form or of HTTP/2.
    fn check_host(&self) -> Result<(), Forbidden> {
        if self.unix {
            return Ok(());
        }
        for value in self.headers.get_all(header::HOST) {
            let known = value.to_str().is_ok_and(|host| self.knows(host));
            if !known {
                return Err(Forbidden::Host(shown(value.as_bytes())));
            }
        }
        match self.target.authority() {
            Some(authority) if !self.knows(authority.as_str()) => {
                Err(Forbidden::Host(shown(authority.as_str().as_bytes())))
            }
            _ => Ok(()),
        }
    }

    fn knows(&self, authority: &str) -> bool {
        match split(authority) {
            Some((Host::Address, _)) => true,
            Some((Host::Name(name), _)) => {
                name.eq_ignore_ascii_case("localhost")
                    || self.hosts.iter().any(|host| is_one_of(host, name))
            }
            None => false,
        }
    }

    /// An origin is the listener's own when its host and port are those of `Host`. Its scheme may be `https`, as where a
    /// proxy in front ends TLS.
    fn check_origin(&self) -> Result<(), Forbidden> {
        let mut origins = self.headers.get_all(header::ORIGIN).iter();
        let Some(origin) = origins.next() else {
            return Ok(());
        };
        let own = origins.next().is_none() && origin.to_str().is_ok_and(|o| self.is_own(o));
        match own {
            true => Ok(()),
            false => Err(Forbidden::Origin(shown(origin.as_bytes()))),
        }
    }

    fn is_own(&self, origin: &str) -> bool {
        let (authority, default_port) = match origin.split_once("://") {
            Some(("http", authority)) => (authority, 80),
            Some(("https", authority)) => (authority, 443),
            _ => return false,
        };
        let host = self.headers.get(header::HOST);
        let host = host.and_then(|host| host.to_str().ok());
        let Some(host) = host.or_else(|| self.target.authority().map(|a| a.as_str())) else {
            return false;
        };
        let (theirs, ours) = (named(authority, default_port), named(host, default_port));
        theirs.is_some() && theirs == ours
    }

    fn check_site(&self) -> Result<(), Forbidden> {
        for site in self.headers.get_all("sec-fetch-site") {
            if ![&b"same-origin"[..], b"none"].contains(&site.as_bytes()) {
                return Err(Forbidden::Site(shown(site.as_bytes())));
            }
        }
        Ok(())
    }

    fn is_json(&self) -> bool {
        let mut types = self.headers.get_all(header::CONTENT_TYPE).iter();
        let (first, more) = (types.next(), types.next());
        let first = first.and_then(|value| value.to_str().ok());
        let media_type = first.and_then(|value| value.split(';').next());
        more.is_none()
            && media_type.is_some_and(|t| t.trim().eq_ignore_ascii_case("application/json"))
    }
}

enum Host<'a> {
    Address,
    Name(&'a str),
}

/// The parts of `host[:port]`. A name may end in a dot. Addresses are those that browsers write: others, such as `127.1` or
/// `0x7f000001`, are names.
fn split(authority: &str) -> Option<(Host<'_>, Option<u16>)> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(inner) => {
            let (address, rest) = inner.split_once(']')?;
            address.parse::<Ipv6Addr>().ok()?;
            (Host::Address, rest)
        }
        None => {
            let end = authority.find(':').unwrap_or(authority.len());
            let (name, rest) = authority.split_at(end);
            let name = name.strip_suffix('.').unwrap_or(name);
            match name.parse::<Ipv4Addr>() {
                Ok(_) => (Host::Address, rest),
                Err(_) if name.is_empty() => return None,
                Err(_) => (Host::Name(name), rest),
            }
        }
    };
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => None,
        None => return None,
        Some("") => None,
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => Some(port.parse().ok()?),
        Some(_) => return None,
    };
    Some((host, port))
}

/// For comparison: the host in small letters without a dot at its end, and the port.
fn named(authority: &str, default_port: u16) -> Option<(String, u16)> {
    let (_, port) = split(authority)?;
    let end = match authority.find(']') {
        Some(end) => end + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let host = authority[..end].to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host).to_owned();
    Some((host, port.unwrap_or(default_port)))
}

fn is_one_of(pattern: &HostMatch, name: &str) -> bool {
    match pattern {
        HostMatch::Exact(host) => host.eq_ignore_ascii_case(name),
        HostMatch::Wildcard(suffix) => {
            let at = name.len().checked_sub(suffix.len());
            at.is_some_and(|at| {
                at > 0 && name.as_bytes()[at..].eq_ignore_ascii_case(suffix.as_bytes())
            })
        }
    }
}

/// As much of a value as a message may repeat.
fn shown(value: &[u8]) -> String {
    String::from_utf8_lossy(&value[..value.len().min(100)]).into_owned()
}

#[cfg(test)]
mod tests;
