//! Routes: names, conditions and header edits.

use std::collections::{BTreeMap, BTreeSet};

use http::{HeaderName, HeaderValue};

use super::{Checker, Taken};
use crate::config::model::{self, HostMatch, PathMatch, RouteMatch, ValueMatch};
use crate::config::path::Path;
use crate::config::raw::{self, OneOrMany, text};

/// Headers that frame a message or belong to one connection (RFC 9110, section 7.6.1; RFC 9112, section 6).
const NOT_EDITABLE: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

impl Checker<'_> {
    pub(super) fn routes(
        &mut self,
        routes: Vec<raw::Route>,
        listeners: &BTreeSet<String>,
        pools: &BTreeSet<String>,
    ) -> Vec<model::Route> {
        let path = Path::ROOT.key("routes");
        let mut names = Taken::default();
        for (i, name) in routes
            .iter()
            .enumerate()
            .filter_map(|(i, r)| Some((i, r.name.as_ref()?)))
        {
            let path = path.index(i);
            if let Err(message) = names.take(&name.0, &path.key("name")) {
                self.error(&path.key("name"), message);
            }
        }
        let mut checked = Vec::with_capacity(routes.len());
        for (i, route) in routes.into_iter().enumerate() {
            let path = path.index(i);
            checked.push(self.route(route, listeners, pools, &mut names, &path));
        }
        checked
    }

    fn route(
        &mut self,
        raw: raw::Route,
        listeners: &BTreeSet<String>,
        pools: &BTreeSet<String>,
        names: &mut Taken,
        path: &Path<'_>,
    ) -> model::Route {
        let matches = self.matches(&raw.matches, listeners, &path.key("match"));
        let action = self.action(&raw, pools, path);
        let rewrite = raw
            .rewrite
            .as_ref()
            .and_then(|r| self.rewrite(r, &matches, &path.key("rewrite")));
        if raw.rewrite.is_some()
            && !matches!(
                action,
                None | Some(model::Action::Pool(_) | model::Action::Split(_))
            )
        {
            self.warning(
                &path.key("rewrite"),
                "has no effect: the request goes to no pool",
            );
        }
        let request_headers =
            self.header_edits(&raw.request_headers, true, &path.key("request_headers"));
        let response_headers =
            self.header_edits(&raw.response_headers, false, &path.key("response_headers"));
        let filters = self.route_filters(raw.filters, pools, &path.key("filters"));
        let timeouts = self.overrides(&raw.timeouts, &path.key("timeouts"));
        model::Route {
            name: raw
                .name
                .map_or_else(|| made_name(&matches, names, path), |n| n.0),
            matches,
            // Refused, but it keeps its place among the routes.
            action: action.unwrap_or_else(|| model::Action::Pool(String::new())),
            rewrite,
            request_headers,
            response_headers,
            filters,
            timeouts,
            retry_attempts: raw.retry.attempts,
            criticality: match raw.criticality {
                raw::Criticality::Normal => model::Criticality::Normal,
                raw::Criticality::Sheddable => model::Criticality::Sheddable,
            },
            max_body_bytes: raw.max_body.map(|s| s.0),
            early_data: raw.early_data,
            streaming: raw.streaming,
        }
    }

    fn matches(
        &mut self,
        raw: &OneOrMany<raw::Match>,
        listeners: &BTreeSet<String>,
        path: &Path<'_>,
    ) -> Vec<RouteMatch> {
        match raw {
            OneOrMany::One(one) => vec![self.route_match(one, listeners, path)],
            OneOrMany::Many(many) => many
                .iter()
                .enumerate()
                .map(|(i, m)| self.route_match(m, listeners, &path.index(i)))
                .collect(),
        }
    }

    fn route_match(
        &mut self,
        raw: &raw::Match,
        listeners: &BTreeSet<String>,
        path: &Path<'_>,
    ) -> RouteMatch {
        let names = raw.listener.as_ref().map_or(&[][..], OneOrMany::as_slice);
        for name in names {
            self.known("listener", name, listeners, &path.key("listener"));
        }
        RouteMatch {
            listeners: names.to_vec(),
            host: raw.host.as_ref().map(|h| h.0.clone()),
            path: self.path_match(raw, path),
            methods: raw.method.as_ref().map_or(vec![], |m| {
                m.as_slice().iter().map(|m| m.0.clone()).collect()
            }),
            headers: self
                .conditions(raw.headers.as_ref(), &path.key("headers"))
                .into_iter()
                .filter_map(|(name, value, at)| match text::header_name(&name) {
                    Ok(header) => Some((header, value)),
                    Err(message) => {
                        let headers = path.key("headers");
                        let at = at.map_or_else(|| headers.key(&name), |i| headers.index(i));
                        self.error(&at, format!("{name:?} {message}"));
                        None
                    }
                })
                .collect(),
            query: self
                .conditions(raw.query.as_ref(), &path.key("query"))
                .into_iter()
                .map(|(n, v, _)| (n, v))
                .collect(),
            cookies: self
                .conditions(raw.cookies.as_ref(), &path.key("cookies"))
                .into_iter()
                .map(|(n, v, _)| (n, v))
                .collect(),
            client_networks: raw.client.iter().map(|c| c.0).collect(),
            certificate: raw
                .client_certificate
                .as_ref()
                .map(|c| self.certificate_match(c, &path.key("client_certificate"))),
        }
    }

    fn certificate_match(
        &mut self,
        raw: &raw::CertificateMatch,
        path: &Path<'_>,
    ) -> model::CertificateMatch {
        let mut test = |value: &Option<raw::ConditionValue>, key: &str| {
            value
                .as_ref()
                .and_then(|value| self.condition(value, &path.key(key)))
        };
        model::CertificateMatch {
            common_name: test(&raw.common_name, "common_name"),
            dns: test(&raw.dns, "dns"),
            uri: test(&raw.uri, "uri"),
            sha256: test(&raw.sha256, "sha256"),
        }
    }

    fn condition(&mut self, value: &raw::ConditionValue, path: &Path<'_>) -> Option<ValueMatch> {
        match value {
            raw::ConditionValue::Exact(exact) => Some(ValueMatch::Exact(exact.clone())),
            raw::ConditionValue::Test(test) => self.value_test(test, path),
        }
    }

    fn path_match(&mut self, raw: &raw::Match, path: &Path<'_>) -> Option<PathMatch> {
        let keys = ["path", "path_prefix", "path_raw_prefix", "path_regex"];
        self.at_most_one(&keys, path);
        let regex = || {
            raw.path_regex
                .as_ref()
                .and_then(|p| text::anchored(&p.0).ok())
        };
        None.or_else(|| raw.path.as_ref().map(|p| PathMatch::Exact(p.0.clone())))
            .or_else(|| {
                raw.path_prefix
                    .as_ref()
                    .map(|p| PathMatch::Prefix(p.0.clone()))
            })
            .or_else(|| {
                raw.path_raw_prefix
                    .as_ref()
                    .map(|p| PathMatch::RawPrefix(p.0.clone()))
            })
            .or_else(|| regex().map(PathMatch::Regex))
    }

    /// Names and tests, with the index for those in a list.
    fn conditions(
        &mut self,
        raw: Option<&raw::Conditions>,
        path: &Path<'_>,
    ) -> Vec<(String, ValueMatch, Option<usize>)> {
        match raw {
            None => vec![],
            Some(raw::Conditions::List(list)) => list
                .iter()
                .enumerate()
                .filter_map(|(i, c)| {
                    let c = c.clone();
                    let test = raw::ValueTest {
                        exact: c.exact,
                        prefix: c.prefix,
                        regex: c.regex,
                        present: c.present,
                    };
                    self.value_test(&test, &path.index(i))
                        .map(|test| (c.name, test, Some(i)))
                })
                .collect(),
            Some(raw::Conditions::Map(map)) => map
                .iter()
                .filter_map(|(name, value)| {
                    self.condition(value, &path.key(name))
                        .map(|test| (name.clone(), test, None))
                })
                .collect(),
        }
    }

    fn value_test(&mut self, raw: &raw::ValueTest, path: &Path<'_>) -> Option<ValueMatch> {
        if !self.exactly_one(&["exact", "prefix", "regex", "present"], path) {
            return None;
        }
        if raw.present == Some(false) {
            self.error(
                &path.key("present"),
                "only true is known; to match a missing value, give it a route of its own",
            );
        }
        let regex = raw.regex.as_ref().and_then(|p| text::anchored(&p.0).ok());
        None.or_else(|| raw.exact.clone().map(ValueMatch::Exact))
            .or_else(|| raw.prefix.clone().map(ValueMatch::Prefix))
            .or_else(|| regex.map(ValueMatch::Regex))
            .or(Some(ValueMatch::Present))
    }

    /// Which of these keys are in the file.
    fn given<'k>(&self, keys: &[&'k str], path: &Path<'_>) -> Vec<&'k str> {
        keys.iter()
            .copied()
            .filter(|k| self.is_given(&path.key(k)))
            .collect()
    }

    fn at_most_one(&mut self, keys: &[&str], path: &Path<'_>) {
        if let [_, second, ..] = self.given(keys, path).as_slice() {
            self.error(
                &path.key(second),
                format!("at most one of {} is allowed", keys.join(", ")),
            );
        }
    }

    /// `false` when it is another number, which is then reported.
    pub(super) fn exactly_one(&mut self, keys: &[&str], path: &Path<'_>) -> bool {
        match self.given(keys, path).as_slice() {
            [_] => return true,
            [] if self.unclear(path, keys) => {}
            [] => self.error(path, format!("one of {} is missing", keys.join(", "))),
            [_, second, ..] => self.error(
                &path.key(second),
                format!("exactly one of {} is allowed", keys.join(", ")),
            ),
        }
        false
    }

    fn header_edits(
        &mut self,
        raw: &raw::HeaderEdits,
        request: bool,
        path: &Path<'_>,
    ) -> model::HeaderEdits {
        for (i, name) in raw.remove.iter().enumerate() {
            self.editable(&name.0, request, &path.key("remove").index(i));
        }
        model::HeaderEdits {
            remove: raw.remove.iter().map(|n| n.0.clone()).collect(),
            set: self.header_map(&raw.set, request, &path.key("set")),
            add: self.header_map(&raw.add, request, &path.key("add")),
        }
    }

    fn header_map(
        &mut self,
        raw: &BTreeMap<String, text::HeaderValue>,
        request: bool,
        path: &Path<'_>,
    ) -> Vec<(HeaderName, HeaderValue)> {
        let mut taken = Taken::default();
        let mut checked = Vec::with_capacity(raw.len());
        for (text, value) in raw {
            let path = path.key(text);
            match text::header_name(text) {
                Err(message) => self.error(&path, format!("{text:?} {message}")),
                Ok(name) => {
                    self.editable(&name, request, &path);
                    if let Err(message) = taken.take(name.as_str(), &path) {
                        self.error(&path, message);
                    }
                    checked.push((name, value.0.clone()));
                }
            }
        }
        checked
    }

    fn editable(&mut self, name: &HeaderName, request: bool, path: &Path<'_>) {
        if NOT_EDITABLE.contains(&name.as_str()) {
            self.error(
                path,
                format!("\"{name}\" is about the connection and is managed by Tidegate"),
            );
        } else if request && *name == http::header::HOST && path.to_string().contains(".remove[") {
            self.error(path, "a request needs its \"host\"");
        }
    }

    fn overrides(
        &mut self,
        raw: &raw::TimeoutOverrides,
        path: &Path<'_>,
    ) -> model::TimeoutOverrides {
        let of = |t: &Option<text::Timeout>| t.as_ref().map(|t| t.0);
        let timeouts = model::TimeoutOverrides {
            connect: of(&raw.connect),
            first_byte: of(&raw.first_byte),
            read: of(&raw.read),
            write: of(&raw.write),
            per_try: of(&raw.per_try),
            total: of(&raw.total),
            tunnel_idle: of(&raw.tunnel_idle_timeout),
        };
        if let (Some(per_try), Some(total)) = (timeouts.per_try, timeouts.total) {
            self.at_most(("per_try", per_try), ("total", total), path);
        }
        timeouts
    }
}

/// Of the first match's host and path, made distinct by `#2`, `#3` and so on.
fn made_name(matches: &[RouteMatch], names: &mut Taken, path: &Path<'_>) -> String {
    let first = matches.first();
    let host = match first.and_then(|m| m.host.as_ref()) {
        None => String::new(),
        Some(HostMatch::Exact(host)) => host.clone(),
        Some(HostMatch::Wildcard(suffix)) => format!("*{suffix}"),
    };
    let url = match first.and_then(|m| m.path.as_ref()) {
        None if host.is_empty() => "/".to_owned(),
        None => String::new(),
        Some(PathMatch::Exact(url) | PathMatch::Prefix(url)) => url.clone(),
        Some(PathMatch::RawPrefix(url)) => format!("{url}*"),
        // Without the anchors that were put around it.
        Some(PathMatch::Regex(regex)) => {
            let pattern = regex.as_str();
            format!(
                "~{}",
                pattern
                    .strip_prefix("^(?:")
                    .and_then(|p| p.strip_suffix(")$"))
                    .unwrap_or(pattern)
            )
        }
    };
    let base = format!("{host}{url}");
    let candidates = std::iter::once(base.clone()).chain((2..).map(|n: u64| format!("{base}#{n}")));
    candidates
        .into_iter()
        .find(|name| names.take(name, path).is_ok())
        .unwrap_or(base)
}
