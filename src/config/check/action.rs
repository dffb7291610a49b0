//! What becomes of a request: pool, split, redirect, respond; and the rewrite of its path.

use std::collections::BTreeSet;

use super::{Checker, Taken};
use crate::config::model::{self, Action, HashKey, PathMatch, RouteMatch};
use crate::config::path::Path;
use crate::config::raw::{self, text};

impl Checker<'_> {
    pub(super) fn action(
        &mut self,
        raw: &raw::Route,
        pools: &BTreeSet<String>,
        path: &Path<'_>,
    ) -> Option<Action> {
        if raw.split.is_none() && raw.split_by.is_some() && !self.unclear(path, &["split"]) {
            self.error(&path.key("split_by"), "needs \"split\"");
        }
        if !self.exactly_one(&["pool", "split", "redirect", "respond"], path) {
            return None;
        }
        if let Some(pool) = &raw.pool {
            self.known("pool", pool, pools, &path.key("pool"));
            return Some(Action::Pool(pool.clone()));
        }
        if let Some(split) = &raw.split {
            return Some(self.split(split, raw.split_by.as_ref(), pools, path));
        }
        if let Some(redirect) = &raw.redirect {
            return self.redirect(redirect, &path.key("redirect"));
        }
        raw.respond
            .as_ref()
            .and_then(|respond| self.respond(respond, &path.key("respond")))
    }

    fn split(
        &mut self,
        raw: &[raw::SplitChoice],
        by: Option<&raw::HashKey>,
        pools: &BTreeSet<String>,
        path: &Path<'_>,
    ) -> Action {
        let split = path.key("split");
        let mut taken = Taken::default();
        for (i, choice) in raw.iter().enumerate() {
            let choice_path = split.index(i);
            let path = choice_path.key("pool");
            self.known("pool", &choice.pool, pools, &path);
            if let Err(message) = taken.take(&choice.pool, &path) {
                self.error(&path, message);
            }
        }
        if raw.iter().all(|c| c.weight == 0) {
            self.error(&split, "all weights are 0; at least one must be more");
        }
        Action::Split(model::Split {
            choices: raw.iter().map(|c| (c.pool.clone(), c.weight)).collect(),
            key: by.map_or(HashKey::ClientIp, |key| {
                self.hash_key(key, &path.key("split_by"))
            }),
        })
    }

    pub(super) fn hash_key(&mut self, raw: &raw::HashKey, path: &Path<'_>) -> HashKey {
        match raw {
            raw::HashKey::Cookie(name) | raw::HashKey::Query(name) if name.is_empty() => {
                self.error(path, "needs a name");
            }
            _ => {}
        }
        match raw {
            raw::HashKey::ClientIp => HashKey::ClientIp,
            raw::HashKey::Path => HashKey::Path,
            raw::HashKey::Header(name) => HashKey::Header(name.0.clone()),
            raw::HashKey::Cookie(name) => HashKey::Cookie(name.clone()),
            raw::HashKey::Query(name) => HashKey::Query(name.clone()),
        }
    }

    fn redirect(&mut self, raw: &raw::Redirect, path: &Path<'_>) -> Option<Action> {
        let elsewhere = ["scheme", "host", "port", "path"];
        if raw.scheme.is_none()
            && raw.host.is_none()
            && raw.port.is_none()
            && raw.path.is_none()
            && !self.unclear(path, &elsewhere)
        {
            self.error(
                path,
                "would lead back to itself; give at least one of scheme, host, port, path",
            );
        }
        Some(Action::Redirect(model::Redirect {
            status: http::StatusCode::from_u16(raw.status.0).ok()?,
            scheme: raw.scheme.map(|s| match s {
                raw::Scheme::Http => "http".to_owned(),
                raw::Scheme::Https => "https".to_owned(),
            }),
            host: raw.host.as_ref().map(|h| h.0.clone()),
            port: raw.port,
            path: raw.path.as_ref().map(|p| p.0.clone()),
        }))
    }

    fn respond(&mut self, raw: &raw::Respond, path: &Path<'_>) -> Option<Action> {
        // RFC 9110, sections 15.3.5, 15.3.6 and 15.4.5.
        if matches!(raw.status, 204 | 205 | 304) && !raw.body.is_empty() {
            self.error(
                &path.key("body"),
                format!("a {} response has no body", raw.status),
            );
        }
        Some(Action::Respond(model::Respond {
            status: http::StatusCode::from_u16(raw.status).ok()?,
            content_type: raw.content_type.0.clone(),
            body: bytes::Bytes::copy_from_slice(raw.body.as_bytes()),
        }))
    }

    pub(super) fn rewrite(
        &mut self,
        raw: &raw::Rewrite,
        matches: &[RouteMatch],
        path: &Path<'_>,
    ) -> Option<model::Rewrite> {
        if !self.exactly_one(&["strip_prefix", "replace_prefix", "regex"], path) {
            return None;
        }
        if let Some(regex) = &raw.regex {
            let pattern = text::regex(&regex.pattern.0).ok()?;
            return Some(model::Rewrite::Regex {
                pattern,
                replacement: regex.replacement.clone(),
            });
        }
        let key = if raw.replace_prefix.is_some() {
            "replace_prefix"
        } else {
            "strip_prefix"
        };
        if key == "strip_prefix" && !raw.strip_prefix {
            self.error(
                &path.key(key),
                "only true is known; leave \"rewrite\" out to keep the path",
            );
        }
        let prefixes = matches
            .iter()
            .all(|m| matches!(m.path, Some(PathMatch::Prefix(_))));
        if !prefixes && !self.in_doubt(&path.parent().key("match")) {
            self.error(
                &path.key(key),
                "needs \"path_prefix\" in every match of the route",
            );
        }
        Some(match &raw.replace_prefix {
            Some(prefix) => model::Rewrite::ReplacePrefix(prefix.0.clone()),
            None => model::Rewrite::StripPrefix,
        })
    }
}
