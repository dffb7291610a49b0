//! Tidegate's filters and the contract they are written to.
//!
//! Adding a filter is: write the file, add its `mod`, add its line to [`table`]. `docs/writing-a-filter.md` goes
//! through it step by step.

pub mod chain;
mod credentials;
pub mod filter;
pub mod fuzzing;
pub mod hops;
pub mod outbound;
pub mod path;
pub mod testing;

pub mod api_key;
pub mod basic_auth;
pub mod body_limit;
pub mod canary;
pub mod compress;
pub mod concurrency_limit;
pub mod cors;
pub mod ext_auth;
pub mod fault;
pub mod headers;
pub mod ip_access;
pub mod jwt;
pub mod maintenance;
pub mod mirror;
pub mod rate_limit;
pub mod redirect;
pub mod request_id;
pub mod rewrite;
pub mod security_headers;

pub use chain::Chain;
pub use filter::{Build, Entry, Exchange, Filter, Hooks, Table, Verdict, entry};

/// The filters that come with Tidegate, sorted by name.
#[must_use]
pub fn table() -> Table {
    Table::from_iter([
        entry::<api_key::ApiKey>(),
        entry::<basic_auth::BasicAuth>(),
        entry::<body_limit::BodyLimit>(),
        entry::<canary::Canary>(),
        entry::<compress::Compress>(),
        entry::<concurrency_limit::ConcurrencyLimit>(),
        entry::<cors::Cors>(),
        entry::<ext_auth::ExtAuth>(),
        entry::<fault::Fault>(),
        entry::<headers::Headers>(),
        entry::<ip_access::IpAccess>(),
        entry::<jwt::Jwt>(),
        entry::<maintenance::Maintenance>(),
        entry::<mirror::Mirror>(),
        entry::<rate_limit::RateLimit>(),
        entry::<redirect::Redirect>(),
        entry::<request_id::RequestId>(),
        entry::<rewrite::Rewrite>(),
        entry::<security_headers::SecurityHeaders>(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_refuses_unknown_keys_and_says_what_it_is() {
        for entry in table().iter() {
            let schema = entry.schema();
            let closed = schema.get("additionalProperties");
            assert_eq!(closed, Some(&serde_json::json!(false)), "{}", entry.name);
            assert!(
                entry.about().ends_with('.'),
                "{}: {:?}",
                entry.name,
                entry.about()
            );
        }
    }
}
