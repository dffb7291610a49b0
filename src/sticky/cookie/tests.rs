use proptest::prelude::*;

use super::*;

fn lines(lines: &[&str]) -> HeaderMap {
    lines
        .iter()
        .map(|line| (COOKIE, HeaderValue::from_str(line).unwrap()))
        .collect()
}

fn found(text: &[&str]) -> Option<String> {
    find(&lines(text), "srv").map(|value| String::from_utf8(value.to_vec()).unwrap())
}

#[test]
fn finds_the_cookie_wherever_it_stands() {
    for text in [
        &["srv=1"][..],
        &["a=b; srv=1"],
        &["a=b;srv=1;c=d"],
        &["a=b", "srv=1"],
        &["  srv=1 ;"],
        &["srv=1; srv=2"],
    ] {
        assert_eq!(found(text).as_deref(), Some("1"), "{text:?}");
    }
    for text in [
        &[][..],
        &["xsrv=1"],
        &["srvx=1"],
        &["SRV=1"],
        &["srv"],
        &["srv =1"],
        &["a=srv=1"],
    ] {
        assert_eq!(found(text), None, "{text:?}");
    }
    assert_eq!(found(&["srv=a=b"]).as_deref(), Some("a=b"));
}

fn stripped(text: &[&str]) -> Option<String> {
    match strip(&lines(text), "srv") {
        Stripped::Unchanged => Some("unchanged".into()),
        Stripped::Removed => None,
        Stripped::Replaced(value) => Some(value.to_str().unwrap().to_owned()),
    }
}

#[test]
fn takes_only_its_own_out() {
    assert_eq!(stripped(&["a=b; c=d"]).as_deref(), Some("unchanged"));
    assert_eq!(stripped(&["srv=1"]), None);
    assert_eq!(stripped(&["srv=1; ", "srv=2"]), None);
    assert_eq!(stripped(&["a=b; srv=1; c=d"]).as_deref(), Some("a=b; c=d"));
    assert_eq!(
        stripped(&["a=b", "srv=1", "c=d"]).as_deref(),
        Some("a=b; c=d")
    );
    assert_eq!(
        stripped(&["srv=1;xsrv=2;;flag"]).as_deref(),
        Some("xsrv=2; flag")
    );
}

fn cookie() -> StickyCookie {
    StickyCookie {
        name: "srv".into(),
        path: "/".into(),
        domain: None,
        same_site: SameSite::Lax,
        always_secure: false,
        partitioned: false,
    }
}

#[test]
fn attributes_follow_the_settings() {
    let value = |cookie: &StickyCookie, tls| {
        SetCookie::new(cookie)
            .value(b"v", 0, tls)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        value(&cookie(), false),
        "srv=v; Max-Age=0; Path=/; HttpOnly; SameSite=Lax"
    );
    assert_eq!(
        value(&cookie(), true),
        "srv=v; Max-Age=0; Path=/; HttpOnly; SameSite=Lax; Secure"
    );
    let wide = StickyCookie {
        domain: Some("example.com".into()),
        path: "/a".into(),
        same_site: SameSite::None,
        ..cookie()
    };
    assert_eq!(
        value(&wide, false),
        "srv=v; Max-Age=0; Path=/a; Domain=example.com; HttpOnly; SameSite=None; Secure"
    );
    let embedded = StickyCookie {
        same_site: SameSite::None,
        partitioned: true,
        ..cookie()
    };
    assert_eq!(
        value(&embedded, false),
        "srv=v; Max-Age=0; Path=/; HttpOnly; SameSite=None; Partitioned; Secure"
    );
    // Never without Secure, which browsers ask for.
    let lax = StickyCookie {
        partitioned: true,
        ..cookie()
    };
    for tls in [false, true] {
        assert_eq!(
            value(&lax, tls),
            "srv=v; Max-Age=0; Path=/; HttpOnly; SameSite=Lax; Partitioned; Secure"
        );
    }
    let host = StickyCookie {
        name: "__Host-srv".into(),
        always_secure: true,
        same_site: SameSite::Strict,
        ..cookie()
    };
    assert_eq!(
        value(&host, false),
        "__Host-srv=v; Max-Age=0; Path=/; HttpOnly; SameSite=Strict; Secure"
    );
}

#[test]
fn odd_settings_are_no_panic() {
    let odd = StickyCookie {
        path: "/\n".into(),
        ..cookie()
    };
    assert_eq!(SetCookie::new(&odd).value(b"v", 1, true), None);
}

fn shared(text: &[&str]) -> Option<String> {
    let headers = text
        .iter()
        .map(|line| (CACHE_CONTROL, HeaderValue::from_str(line).unwrap()))
        .collect();
    cache_control(&headers).map(|value| value.to_str().unwrap().to_owned())
}

#[test]
fn shared_caches_are_kept_out() {
    assert_eq!(shared(&[]).as_deref(), Some("private"));
    assert_eq!(
        shared(&["public, max-age=60"]).as_deref(),
        Some("private, max-age=60")
    );
    assert_eq!(
        shared(&["max-age=60, S-MaxAge=600", "must-revalidate"]).as_deref(),
        Some("private, max-age=60, must-revalidate")
    );
    assert_eq!(
        shared(&["s-maxage = 5, no-cache"]).as_deref(),
        Some("private, no-cache")
    );
    assert_eq!(
        shared(&["private=\"a, public\", max-age=1"]).as_deref(),
        Some("private, max-age=1")
    );
    for enough in [
        "private",
        "no-store",
        "Private, max-age=60",
        "max-age=1, NO-STORE",
    ] {
        assert_eq!(shared(&[enough]), None, "{enough}");
    }
}

proptest! {
    #[test]
    fn numbers_are_written_as_they_are(number: u32) {
        let (mut buffer, text) = ([0; 10], number.to_string());
        prop_assert_eq!(decimal(number, &mut buffer), text.as_bytes());
    }

    /// After stripping, no cookie of the name is left, and all others are.
    #[test]
    fn strips_all_and_nothing_else(text in prop::collection::vec("[ab;= ]{0,12}", 0..5)) {
        let text: Vec<&str> = text.iter().map(|line| line.trim()).collect();
        let headers = lines(&text);
        let others = |headers: &HeaderMap| {
            let all = headers.get_all(COOKIE).into_iter().flat_map(|line| pairs(line.as_bytes()));
            all.filter(|pair| !pair.is_empty() && value_of(pair, "a").is_none()).map(<[u8]>::to_vec).collect::<Vec<_>>()
        };
        match strip(&headers, "a") {
            Stripped::Unchanged => prop_assert_eq!(find(&headers, "a"), None),
            Stripped::Removed => prop_assert!(others(&headers).is_empty()),
            Stripped::Replaced(value) => {
                let after = HeaderMap::from_iter([(COOKIE, value)]);
                prop_assert_eq!(find(&after, "a"), None);
                prop_assert_eq!(others(&after), others(&headers));
            }
        }
    }
}
