//! What a sample backend answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, Query, Request, State as Shared};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::json;

use super::backend::{Mode, State};

const SLOW: Duration = Duration::from_secs(2);
/// Longest wait that `/slow` can be asked for.
const MAX_SLOW_MS: u64 = 600_000;
const X_BACKEND: HeaderName = HeaderName::from_static("x-backend");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
static CHUNK: [u8; 64 << 10] = [b'x'; 64 << 10];

pub(super) fn router(state: Arc<State>) -> Router {
    Router::new()
        .route("/", get(greeting))
        .route("/healthz", get("ok\n"))
        .route("/echo", any(echo))
        .route("/headers", any(headers))
        .route("/slow", any(slow))
        .route("/status/{code}", any(status))
        .route("/bytes", get(bytes))
        .route("/upload", any(upload))
        .route("/ws", any(websocket))
        .layer(middleware::from_fn_with_state(Arc::clone(&state), behave))
        .with_state(state)
}

/// Counts the request, and answers as the mode wants it.
async fn behave(Shared(state): Shared<Arc<State>>, request: Request, next: Next) -> Response {
    let probe = request.uri().path() == "/healthz";
    let counter = if probe {
        &state.probes
    } else {
        &state.requests
    };
    counter.fetch_add(1, Ordering::SeqCst);
    let mut mode = state.mode.subscribe();
    // The sender lives as long as the state: this can't fail.
    drop(mode.wait_for(|mode| *mode != Mode::Hanging).await);
    let now = *mode.borrow();
    if now == Mode::Slow {
        tokio::time::sleep(SLOW).await;
    }
    let fails = now == Mode::FailingAll || (now == Mode::Failing && !probe);
    let mut response = match fails {
        true => (StatusCode::INTERNAL_SERVER_ERROR, "told to fail\n").into_response(),
        false => next.run(request).await,
    };
    if let Ok(name) = HeaderValue::from_str(&state.name) {
        response.headers_mut().insert(X_BACKEND, name);
    }
    response
}

async fn greeting(Shared(state): Shared<Arc<State>>, request: Request) -> String {
    let mut text = format!(
        "Backend {} got {} {} by {:?}\n",
        state.name,
        request.method(),
        request.uri(),
        request.version()
    );
    for (name, value) in request.headers() {
        let of_interest = matches!(
            name.as_str(),
            "host" | "x-request-id" | "traceparent" | "forwarded"
        );
        if of_interest || name.as_str().starts_with("x-forwarded-") {
            text.push_str(&format!(
                "{name}: {}\n",
                String::from_utf8_lossy(value.as_bytes())
            ));
        }
    }
    text
}

async fn echo(headers: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    for name in [CONTENT_TYPE, CONTENT_LENGTH] {
        if let Some(value) = headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

/// The request head as JSON; a header that came more than once has several entries.
async fn headers(Shared(state): Shared<Arc<State>>, request: Request) -> Response {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let pairs = request
        .headers()
        .iter()
        .map(|(name, value)| json!([name.as_str(), text(value)]));
    let head = json!({
        "backend": state.name,
        "method": request.method().as_str(),
        "uri": request.uri().to_string(),
        "version": format!("{:?}", request.version()),
        "headers": pairs.collect::<Vec<_>>(),
    });
    ([(CONTENT_TYPE, JSON)], head.to_string()).into_response()
}

#[derive(Deserialize)]
struct Slow {
    #[serde(default)]
    ms: u64,
}

async fn slow(Shared(state): Shared<Arc<State>>, Query(Slow { ms }): Query<Slow>) -> String {
    tokio::time::sleep(Duration::from_millis(ms.min(MAX_SLOW_MS))).await;
    format!("Backend {} waited {ms} ms\n", state.name)
}

async fn status(Path(code): Path<u16>) -> Response {
    match StatusCode::from_u16(code) {
        Ok(code) if (200..600).contains(&code.as_u16()) => {
            (code, format!("{code}\n")).into_response()
        }
        _ => (StatusCode::BAD_REQUEST, "write a status from 200 to 599\n").into_response(),
    }
}

#[derive(Deserialize)]
struct Size {
    n: u64,
    #[serde(default)]
    chunked: u8,
}

/// Any size out of one static chunk; `chunked=1` leaves Content-Length out.
async fn bytes(Query(Size { n, chunked }): Query<Size>) -> Response {
    let chunks = stream::unfold(n, |left| async move {
        let size = left.min(CHUNK.len() as u64);
        let chunk = Bytes::from_static(&CHUNK[..size as usize]);
        (size > 0).then_some((Ok::<_, std::io::Error>(chunk), left - size))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    let octets = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(CONTENT_TYPE, octets);
    if chunked == 0 {
        response
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(n));
    }
    response
}

/// Counts the body and throws it away.
async fn upload(body: Body) -> Response {
    let mut chunks = body.into_data_stream();
    let mut total = 0;
    while let Some(chunk) = chunks.next().await {
        match chunk {
            Ok(chunk) => total += chunk.len(),
            Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
        }
    }
    format!("{total}\n").into_response()
}

async fn websocket(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(echo_messages)
}

async fn echo_messages(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let answer = matches!(message, Message::Text(_) | Message::Binary(_));
        if answer && socket.send(message).await.is_err() {
            return;
        }
    }
}
