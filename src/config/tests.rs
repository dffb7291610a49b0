mod bad;
mod good;
mod substituted;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::OnceLock;

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_filters::Hooks;
use tidegate_filters::filter::BuildError;

use super::*;

/// A filter as good as any.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RateLimit {
    /// Requests in each period.
    #[schemars(range(min = 1))]
    #[allow(dead_code, reason = "only its presence is checked")]
    requests: u32,
    /// The period's name.
    per: Option<String>,
}

fn filters() -> FilterCatalog {
    let limit = |value: &serde_json::Value| {
        let config: RateLimit =
            serde_json::from_value(value.clone()).map_err(|e| BuildError::new(e.to_string()))?;
        match config.per.as_deref() {
            Some("never") => Err(BuildError::at("per", "\"never\" is no period")),
            Some("listed") => Err(BuildError::at("list[0].per", "is a list")),
            _ => facts(Hooks::REQUEST, &[]),
        }
    };
    FilterCatalog {
        entries: vec![
            filter("rate_limit", limit),
            filter("gate", |_| facts(Hooks::CONNECTION, &[])),
            filter("detour", |_| facts(Hooks::POOL, &["detour"])),
        ],
    }
}

fn filter(
    name: &'static str,
    check: fn(&serde_json::Value) -> Result<FilterFacts, BuildError>,
) -> FilterEntry {
    FilterEntry {
        name,
        schema: schemars::schema_for!(RateLimit),
        check: std::sync::Arc::new(check),
    }
}

fn facts(hooks: Hooks, pools: &[&str]) -> Result<FilterFacts, BuildError> {
    let pools = pools.iter().map(|&pool| pool.to_owned()).collect();
    Ok(FilterFacts { hooks, pools })
}

/// Loads a text as `t.yaml`, in a folder with a certificate and a key.
fn load_text(text: &str) -> Result<Loaded, Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.crt"), "-----BEGIN CERTIFICATE-----\n").unwrap();
    std::fs::write(dir.path().join("a.key"), "-----BEGIN PRIVATE KEY-----\n").unwrap();
    std::fs::write(dir.path().join("secret"), "s3cret\n").unwrap();
    std::fs::write(dir.path().join("t.yaml"), text).unwrap();
    let env = HashMap::from([("PORT".to_owned(), "8080".to_owned())]);
    let here = format!("{}/", dir.path().display());
    load(&dir.path().join("t.yaml"), &env, &filters()).map_err(|problems| {
        problems
            .to_string()
            .lines()
            .map(|line| line.replace(&here, ""))
            .collect()
    })
}

/// A file of `conf/`, in a copy that has the certificates which `scripts/certs` would make.
fn conf(name: &str) -> PathBuf {
    static COPY: OnceLock<tempfile::TempDir> = OnceLock::new();
    let copy = COPY.get_or_init(|| {
        let copy = tempfile::tempdir().unwrap();
        let certs = copy.path().join("certs");
        std::fs::create_dir(&certs).unwrap();
        for (file, kind) in [
            ("ca.crt", "CERTIFICATE"),
            ("demo.crt", "CERTIFICATE"),
            ("demo.key", "PRIVATE KEY"),
            ("demo-rsa.crt", "CERTIFICATE"),
            ("demo-rsa.key", "PRIVATE KEY"),
            ("client.crt", "CERTIFICATE"),
            ("client.key", "PRIVATE KEY"),
        ] {
            std::fs::write(certs.join(file), format!("-----BEGIN {kind}-----\n")).unwrap();
        }
        std::fs::write(certs.join("demo.ocsp"), b"0\0").unwrap();
        std::fs::write(certs.join("ticket.key"), [0; 48]).unwrap();
        let original = concat!(env!("CARGO_MANIFEST_DIR"), "/conf");
        for entry in std::fs::read_dir(original).unwrap().map(Result::unwrap) {
            if entry.path().extension().is_some_and(|e| e == "yaml") {
                std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
            }
        }
        copy
    });
    copy.path().join(name)
}
