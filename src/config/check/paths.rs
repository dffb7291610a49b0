//! Routes for paths that no listener lets in.

use tidegate_filters::path::{self, normalise};

use super::Checker;
use crate::config::model::{Listener, PathMatch, Route, RouteMatch};
use crate::config::path::Path;

impl Checker<'_> {
    /// Warns of them: `paths` of the listeners refuses what they ask for, or makes another path of it.
    pub(super) fn paths_let_in(&mut self, routes: &[Route], listeners: &[Listener]) {
        for (i, route) in routes.iter().enumerate() {
            for wanted in &route.matches {
                if let Some(text) = path_of(wanted)
                    && !listeners.iter().any(|l| lets_in(l, wanted, text))
                {
                    let path = Path::ROOT.key("routes");
                    let message = format!(
                        "no request has {text:?} in its path: \"paths\" of the listeners refuses or resolves it; \"as_is\" would let it in"
                    );
                    self.warning(&path.index(i).key("match"), message);
                }
            }
        }
    }
}

fn path_of(wanted: &RouteMatch) -> Option<&str> {
    match wanted.path.as_ref()? {
        PathMatch::Exact(text) | PathMatch::Prefix(text) | PathMatch::RawPrefix(text) => Some(text),
        PathMatch::Regex(_) => None,
    }
}

fn lets_in(listener: &Listener, wanted: &RouteMatch, text: &str) -> bool {
    let asked = wanted.listeners.is_empty() || wanted.listeners.contains(&listener.name);
    let same = || {
        let read = path::Path::parse(text, listener.paths).ok()?;
        Some(normalise(text).is_ok_and(|normal| normal == read.normal()))
    };
    // What is no path at all is told as an error.
    asked && (normalise(text).is_err() || same().unwrap_or(false))
}
