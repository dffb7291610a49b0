//! Refuses requests from some countries, by the header that a CDN in front puts on them.
//! ```yaml
//! - country: { header: cf-ipcountry, deny: [AQ, BV] }
//! ```

use async_trait::async_trait;
use http::{HeaderName, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_filters::filter::units::Header;
use tidegate_filters::filter::{Build, BuildError, Exchange, Filter, Hooks, Response, Verdict};

/// Refuses requests from some countries.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The header with the country's code.
    pub header: Header,
    /// Countries to refuse: two letters each (ISO 3166-1).
    pub deny: Vec<String>,
}

/// See the module.
pub struct Country {
    header: HeaderName,
    deny: Vec<String>,
}

#[async_trait]
impl Filter for Country {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST
    }

    async fn on_request(&self, exchange: &mut Exchange) -> Verdict {
        let country = exchange.header(&self.header).unwrap_or("XX").to_string();
        let denied = self.deny.contains(&country);
        exchange.attributes.set("country", country);
        if !denied {
            return Verdict::Continue;
        }
        exchange.set_reason("country: refused");
        Response::plain(StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS).into()
    }
}

impl Build for Country {
    const NAME: &'static str = "country";
    type Config = Config;

    fn build(config: Config) -> Result<Country, BuildError> {
        for (at, code) in config.deny.iter().enumerate() {
            if code.len() != 2 || !code.bytes().all(|b| b.is_ascii_uppercase()) {
                let say = "write two upper-case letters, such as AQ";
                return Err(BuildError::at(format!("deny[{at}]"), say));
            }
        }
        Ok(Country {
            header: config.header.0,
            deny: config.deny,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tidegate_filters::testing::{Call, Route, refusal};

    fn route() -> Route {
        Route::of::<Country>(json!({ "header": "cf-ipcountry", "deny": ["AQ", "BV"] }))
    }

    #[test]
    fn listed_countries_are_refused() {
        let seen = route().send(Call::get("/").header("cf-ipcountry", "AQ"));
        assert_eq!((seen.status(), seen.reached_backend()), (451, false));
        assert_eq!(seen.reason(), Some("country: refused"));
    }

    #[test]
    fn others_pass_and_are_logged() {
        let seen = route().send(Call::get("/").header("cf-ipcountry", "NZ"));
        assert_eq!(seen.status(), 200);
        assert_eq!(seen.attribute("country").as_deref(), Some("NZ"));
        assert_eq!(
            route().send(Call::get("/")).attribute("country").as_deref(),
            Some("XX")
        );
    }

    #[test]
    fn a_wrong_code_is_named() {
        let config = json!({ "header": "cf-ipcountry", "deny": ["AQ", "Bouvet"] });
        assert_eq!(refusal::<Country>(&config).path, "deny[1]");
    }
}
