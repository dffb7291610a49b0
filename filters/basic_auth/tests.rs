use super::*;
use crate::testing::{Call, Route, refusal};
use argon2::password_hash::{PasswordHasher, SaltString};
use serde_json::{Value, json};

/// Cheap hashes of `secret`.
fn users() -> Value {
    let params = argon2::Params::new(8, 1, 1, None).unwrap();
    let argon = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let salt = SaltString::from_b64("c29tZXNhbHQ").unwrap();
    let ann = argon.hash_password(b"secret", &salt).unwrap().to_string();
    json!({ "ann": ann, "bob": bcrypt::hash("secret", 4).unwrap() })
}

fn call(user: &str, password: &str) -> Call {
    let encoded = STANDARD.encode(format!("{user}:{password}"));
    Call::get("/").header("authorization", format!("Basic {encoded}"))
}

#[test]
fn both_kinds_of_hash_let_the_right_password_in() {
    let route = Route::of::<BasicAuth>(json!({ "users": users(), "user_header": "x-user" }));
    for user in ["ann", "bob"] {
        for _ in 0..2 {
            let seen = route.send(call(user, "secret").header("x-user", "root"));
            assert_eq!(seen.backend().header("x-user"), Some(user));
            assert_eq!(seen.backend().header("authorization"), None);
            assert_eq!(seen.attribute("basic_auth.user").as_deref(), Some(user));
        }
        assert_eq!(route.send(call(user, "wrong")).status(), 401);
    }
}

#[test]
fn others_are_asked_for_credentials() {
    let route = Route::of::<BasicAuth>(json!({ "users": users(), "realm": "St\"aging" }));
    let seen = route.send(Call::get("/"));
    assert_eq!(seen.status(), 401);
    assert_eq!(
        seen.header("www-authenticate"),
        Some("Basic realm=\"Staging\", charset=\"UTF-8\"")
    );
    assert_eq!(seen.reason(), Some("basic_auth: no credentials"));
    let seen = route.send(call("eve", "secret"));
    assert_eq!(
        (seen.status(), seen.reason()),
        (401, Some("basic_auth: wrong credentials"))
    );
    assert_eq!(seen.text(), "401 Unauthorized\n");
}

#[test]
fn what_is_no_basic_header_is_refused() {
    let route = Route::of::<BasicAuth>(json!({ "users": users() }));
    let long = format!("Basic {}", "A".repeat(100_000));
    for bad in [
        "Basic",
        "Basic !!!",
        "Bearer abc",
        "Basic YW5u",
        "Basic /////w==",
        &long,
    ] {
        assert_eq!(
            route
                .send(Call::get("/").header("authorization", bad))
                .status(),
            401
        );
    }
}

/// A filter whose places for hashing are all taken for as long as the turns are kept.
async fn busy() -> (BasicAuth, Vec<shares::Turn>) {
    let config = json!({ "users": users(), "max_hashing": 2 });
    let filter = BasicAuth::build(serde_json::from_value(config).unwrap()).unwrap();
    let mut turns = Vec::new();
    for address in ["192.0.2.7", "192.0.2.8"] {
        let other = Client::of(&Call::get("/").client(address).exchange());
        turns.push(filter.shares.turn(other).await.unwrap());
    }
    (filter, turns)
}

#[tokio::test(start_paused = true)]
async fn who_gets_no_turn_in_time_is_told_so() {
    let (filter, _turns) = busy().await;
    let mut exchange = call("ann", "secret").exchange();
    let Verdict::Respond(response) = filter.on_request(&mut exchange).await else {
        panic!("passed without a turn");
    };
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[RETRY_AFTER], "1");
}

#[tokio::test]
async fn a_remembered_password_needs_no_turn() {
    let (filter, turns) = busy().await;
    drop(turns);
    let mut first = call("ann", "secret").exchange();
    assert!(matches!(
        filter.on_request(&mut first).await,
        Verdict::Continue
    ));
    let one = Client::of(&Call::get("/").client("192.0.2.7").exchange());
    let two = Client::of(&Call::get("/").client("192.0.2.8").exchange());
    let _turns = [filter.shares.turn(one).await, filter.shares.turn(two).await];
    let mut again = call("ann", "secret").exchange();
    let verdict = futures_util::FutureExt::now_or_never(filter.on_request(&mut again));
    assert!(matches!(verdict, Some(Verdict::Continue)));
}

#[test]
fn a_reload_remembers_passwords_but_not_users_that_are_gone() {
    // Two users with one hash, as an operator may copy it.
    let hash = users()["ann"].clone();
    let config = |users: Value| [(crate::entry::<BasicAuth>(), json!({ "users": users }))];
    let both = Route::chain(&config(json!({ "ann": hash, "eve": hash })));
    for user in ["ann", "eve"] {
        assert_eq!(both.send(call(user, "secret")).status(), 200);
    }
    let one = both.reloaded(&config(json!({ "ann": hash })));
    assert_eq!(one.send(call("ann", "secret")).status(), 200);
    assert_eq!(one.send(call("eve", "secret")).status(), 401);
}

#[test]
fn credentials_must_be_readable_in_one_way() {
    let route = Route::of::<BasicAuth>(json!({ "users": users(), "forward": true }));
    let good = format!("Basic {}", STANDARD.encode("ann:secret"));
    let control = format!("Basic {}", STANDARD.encode("ann:sec\0ret"));
    let tab = good.replace(' ', "\t");
    let joined = format!("{good}, {good}");
    for (lines, status) in [
        (&[&*good][..], 200),
        (&["basic YW5uOnNlY3JldA=="], 200),
        (&["Basic  YW5uOnNlY3JldA=="], 200),
        (&[&good, &good], 401),
        (&[&good, "Bearer x"], 401),
        (&["Bearer x", &good], 401),
        (&[&tab], 401),
        (&[&joined], 401),
        (&[&control], 401),
        (&[""], 401),
    ] {
        let call = lines.iter().fold(Call::get("/"), |call, line| {
            call.header("authorization", line)
        });
        assert_eq!(route.send(call).status(), status, "{lines:?}");
    }
}

#[test]
fn files_and_bad_configs() {
    assert_eq!(
        user_line("ann:$2y$05$x"),
        Some(("ann".into(), "$2y$05$x".into()))
    );
    assert_eq!(user_line("# ann:x"), None);
    assert_eq!(refusal::<BasicAuth>(&json!({})).path, "");
    assert_eq!(
        refusal::<BasicAuth>(&json!({ "users": { "ann": "secret" } })).path,
        "users.ann"
    );
    assert_eq!(
        refusal::<BasicAuth>(&json!({ "users_file": "/nonexistent" })).path,
        "users_file"
    );
}
