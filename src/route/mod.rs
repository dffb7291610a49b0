//! Which route a request takes. `RouteTable` maps a request head to an opaque value by host, path and further
//! conditions, most specific first; `split`, `rewrite` and `redirect` are what a route may do with the request. How a path
//! is read stands in `tidegate_filters::path`, because filters read it in the same way.
//! Everything is pure and made when a configuration is loaded; a lookup takes no lock and, for a request in normal
//! form, allocates nothing.

mod conditions;
mod head;
mod key;
mod literals;
mod paths;
pub mod redirect;
mod regexes;
pub mod rewrite;
mod shadow;
pub mod split;
mod table;

pub use head::{CertificateNames, Head, host_name};
pub use key::request_key;
pub use regexes::Crowd;
pub use table::{BuildError, Match, RouteTable};
pub use tidegate_filters::path::{self, Path, PathError, PathMode};

#[cfg(test)]
mod tests;
