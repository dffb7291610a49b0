//! Keys that come and go: fetched, rotated, kept when their server is away.

use super::*;

/// Answers what it is told to, and counts.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<(Option<Value>, u32)>>);

impl Server {
    fn serve(&self, keys: Option<&[Value]>) {
        self.0.lock().unwrap().0 = keys.map(|keys| json!({ "keys": keys }));
    }
    fn asked(&self) -> u32 {
        self.0.lock().unwrap().1
    }
}

#[async_trait]
impl Fetch for Server {
    async fn fetch(&self) -> Result<bytes::Bytes, String> {
        let mut state = self.0.lock().unwrap();
        state.1 += 1;
        let answer = state.0.as_ref().map(|keys| keys.to_string().into());
        answer.ok_or("down".to_string())
    }
    fn place(&self) -> String {
        "http://keys.example/".into()
    }
}

fn fetching(server: &Server) -> Jwt {
    let config = json!({ "jwks_url": "http://keys.example/" });
    let mut jwt = Jwt::build(serde_json::from_value(config).unwrap()).unwrap();
    let refresh = Duration::from_mins(10);
    jwt.source = Arc::new(Source::fetched(
        Vec::new(),
        Box::new(server.clone()),
        refresh,
    ));
    jwt
}

fn signed_by(kid: &str) -> String {
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some(kid.into());
    encode(&header, &good(), &ed_key()).unwrap()
}

async fn passes(jwt: &Jwt, kid: &str) -> bool {
    let mut exchange = bearer(&signed_by(kid)).exchange();
    matches!(jwt.on_request(&mut exchange).await, Verdict::Continue)
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_rotated_and_kept_when_the_server_goes_away() {
    let server = Server::default();
    server.serve(Some(&[named(ed_jwk(), "one")]));
    let jwt = fetching(&server);
    let source = Arc::clone(&jwt.source);
    let task = tokio::spawn(async move { source.refresh_forever().await });
    assert!(
        passes(&jwt, "one").await,
        "the first request waits for the first fetch"
    );
    assert_eq!(server.asked(), 1);

    server.serve(Some(&[named(ed_jwk(), "two")]));
    assert!(
        passes(&jwt, "two").await,
        "an unknown kid fetches and waits"
    );
    assert!(
        !passes(&jwt, "one").await,
        "a cached token of a key that is gone"
    );
    assert_eq!(server.asked(), 2);
    for _ in 0..100 {
        assert!(!passes(&jwt, "three").await);
    }
    assert_eq!(server.asked(), 2, "not again within 30 s");

    server.serve(None);
    tokio::time::sleep(Duration::from_mins(30)).await;
    assert!(passes(&jwt, "two").await, "the last good keys stay");
    assert!(jwt.source.failures() > 1);
    server.serve(Some(&[named(ed_jwk(), "three")]));
    tokio::time::sleep(Duration::from_mins(11)).await;
    assert!(passes(&jwt, "three").await, "and are replaced by the clock");
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn with_the_server_down_from_the_start_it_is_401() {
    let server = Server::default();
    let jwt = fetching(&server);
    let source = Arc::clone(&jwt.source);
    let task = tokio::spawn(async move { source.refresh_forever().await });
    let mut exchange = bearer(&signed_by("one")).exchange();
    assert!(matches!(
        jwt.on_request(&mut exchange).await,
        Verdict::Respond(_)
    ));
    assert_eq!(exchange.reason(), Some("jwt: no keys yet"));
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_the_keys_of_the_same_place() {
    let server = Server::default();
    server.serve(Some(&[named(ed_jwk(), "one")]));
    let before = fetching(&server);
    let source = Arc::clone(&before.source);
    let task = tokio::spawn(async move { source.refresh_forever().await });
    assert!(passes(&before, "one").await);
    task.abort();
    let mut after = fetching(&server);
    after.adopt(&before);
    assert!(passes(&after, "one").await, "without a fetch");
    assert_eq!(server.asked(), 1);
}
