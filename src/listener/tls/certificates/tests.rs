use std::fs;
use std::path::Path;

use super::*;

/// Writes a certificate for these names with a new key.
fn write(dir: &Path, file: &str, names: &[&str]) -> CertificateFiles {
    let names: Vec<String> = names.iter().map(|&n| n.into()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let (cert, key) = (
        dir.join(format!("{file}.crt")),
        dir.join(format!("{file}.key")),
    );
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    CertificateFiles {
        cert,
        key,
        ocsp: None,
    }
}

#[test]
fn names_find_their_certificates_exact_before_wildcard() {
    let dir = tempfile::tempdir().unwrap();
    let all = Certificates::load(&[
        write(dir.path(), "default", &["default.example"]),
        write(dir.path(), "wild", &["*.example.com"]),
        write(dir.path(), "exact", &["api.example.com", "10.0.0.1"]),
    ])
    .unwrap();
    let covers = |name: &str, host: &str| all.named(name).unwrap().covers(host);
    assert!(covers("API.example.com", "api.EXAMPLE.com"));
    assert!(
        !covers("api.example.com", "www.example.com"),
        "the exact one"
    );
    assert!(covers("www.example.com", "shop.example.com"));
    assert!(covers("api.example.com", "10.0.0.1"));
    assert!(all.named("a.b.example.com").is_none(), "one label only");
    assert!(all.named("example.com").is_none());
    assert!(all.named("").is_none());
    assert!(all.default().covers("default.example"));
}

#[test]
fn a_certificate_and_a_key_must_belong_together() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (
        write(dir.path(), "a", &["a"]),
        write(dir.path(), "b", &["b"]),
    );
    let mixed = CertificateFiles {
        key: b.key.clone(),
        ..a.clone()
    };
    let error = Certificates::load(&[mixed]).err().unwrap();
    assert!(matches!(error, TlsError::Mismatch { .. }), "{error}");
    let half = fs::read_to_string(&a.cert).unwrap();
    fs::write(&a.cert, &half[..half.len() / 2]).unwrap();
    let error = Certificates::load(&[a]).err().unwrap();
    assert!(matches!(error, TlsError::NoCertificate(_)), "{error}");
}

#[test]
fn certificates_of_the_same_name_go_together_ecdsa_first() {
    let dir = tempfile::tempdir().unwrap();
    let (rsa, ecdsa) = (
        rsa(dir.path(), "a.example"),
        write(dir.path(), "ec", &["a.example", "b.example"]),
    );
    let all = Certificates::load(&[rsa, ecdsa]).unwrap();
    let identity = all.named("a.example").unwrap();
    assert!(identity.ecdsa && identity.rsa);
    assert_eq!(identity.credentials.len(), 2);
    assert!(
        !identity.covers("b.example"),
        "a client may get the one without it"
    );
    assert_eq!(all.default().credentials.len(), 2);
    let types: Vec<_> = all.expiries.iter().map(|e| e.key_type).collect();
    assert_eq!(types, ["rsa", "ecdsa"]);
}

fn rsa(dir: &Path, name: &str) -> CertificateFiles {
    use boring::hash::MessageDigest;
    use boring::rsa::Rsa;
    use boring::x509::extension::SubjectAlternativeName;
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder
        .set_not_before(&Asn1Time::days_from_now(0).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::days_from_now(30).unwrap())
        .unwrap();
    let mut names = SubjectAlternativeName::new();
    let names = names
        .dns(name)
        .build(&builder.x509v3_context(None, None))
        .unwrap();
    builder.append_extension(&names).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    let (cert, path) = (dir.join("rsa.crt"), dir.join("rsa.key"));
    fs::write(&cert, builder.build().to_pem().unwrap()).unwrap();
    fs::write(&path, key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    CertificateFiles {
        cert,
        key: path,
        ocsp: None,
    }
}
