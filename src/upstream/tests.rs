use std::time::Duration;

use super::*;
use crate::config::model::UpstreamTls;

/// A folder with a certificate and its key as `NAME.crt` and `NAME.key`.
struct Files(tempfile::TempDir);

impl Files {
    fn put(&self, name: &str) {
        let made = rcgen::generate_simple_self_signed(vec!["a.example".into()]).unwrap();
        fs::write(self.path(name, "crt"), made.cert.pem()).unwrap();
        fs::write(self.path(name, "key"), made.signing_key.serialize_pem()).unwrap();
    }

    fn path(&self, name: &str, kind: &str) -> PathBuf {
        self.0.path().join(format!("{name}.{kind}"))
    }

    fn target(&self, change: impl Fn(&mut UpstreamTls)) -> Target {
        let mut tls = UpstreamTls {
            server_name: "a.example".into(),
            ca: Some(self.path("ca", "crt")),
            identity: Some((self.path("own", "crt"), self.path("own", "key"))),
            verify: true,
        };
        change(&mut tls);
        let connect = Connect::new(&Upstream {
            protocol: UpstreamProtocol::Auto,
            tls: Some(tls),
            idle_timeout: Duration::from_secs(60),
            max_streams: 100,
            host: None,
            streaming: false,
        });
        let address = Address::Tcp("127.0.0.1:1".parse().unwrap());
        let peer = connect.unwrap().peer(&address).unwrap();
        Target::new(peer, None)
    }
}

type Change<'a> = &'a dyn Fn(&mut UpstreamTls);

#[test]
fn connections_are_kept_while_trust_and_identity_are_the_same_to_the_byte() {
    let files = Files(tempfile::tempdir().unwrap());
    files.put("ca");
    files.put("own");
    let key = |change: Change<'_>| files.target(change).key();
    let before = key(&|_| {});
    assert_eq!(key(&|_| {}), before, "nothing has changed");
    let others: [(&str, Change<'_>); 4] = [
        ("server name", &|tls| tls.server_name = "b.example".into()),
        ("verification", &|tls| tls.verify = false),
        ("no CA", &|tls| tls.ca = None),
        ("no certificate", &|tls| tls.identity = None),
    ];
    for (what, change) in others {
        assert_ne!(key(change), before, "{what}");
    }
    let copy = files.path("copy", "crt");
    fs::copy(files.path("ca", "crt"), &copy).unwrap();
    let moved = key(&|tls| tls.ca = Some(copy.clone()));
    assert_eq!(moved, before, "the same CA by another name");
    for name in ["ca", "own"] {
        let before = key(&|_| {});
        files.put(name);
        assert_ne!(key(&|_| {}), before, "{name} replaced at its path");
    }
}
