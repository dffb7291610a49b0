use std::io::Read;

use super::*;
use crate::filter::Response;
use crate::testing::{Call, Route, Seen, refusal};
use serde_json::json;

fn page() -> String {
    "all work and no play makes jack a dull boy. ".repeat(200)
}

fn json_page() -> Response {
    let mut response =
        Response::new(StatusCode::OK).body(HeaderValue::from_static("application/json"), page());
    response
        .head
        .headers
        .insert(CONTENT_LENGTH, page().len().into());
    response
}

fn decoded(seen: &Seen) -> String {
    let mut text = String::new();
    let body = &seen.body[..];
    let read = match seen.header("content-encoding") {
        Some("gzip") => flate2::read::GzDecoder::new(body).read_to_string(&mut text),
        Some("br") => brotli::Decompressor::new(body, 4096).read_to_string(&mut text),
        Some("zstd") => zstd::stream::read::Decoder::new(body)
            .unwrap()
            .read_to_string(&mut text),
        other => panic!("not encoded: {other:?}"),
    };
    read.unwrap();
    text
}

fn route() -> Route {
    Route::of::<Compress>(json!({}))
}

#[test]
fn each_encoding_comes_out_as_it_went_in() {
    for encoding in ["gzip", "br", "zstd"] {
        let call = Call::get("/").header("accept-encoding", encoding);
        let seen = route().send(call.answered(json_page()).and_piece(page()).and_piece(""));
        assert_eq!(seen.header("content-encoding"), Some(encoding));
        assert_eq!(seen.header("content-length"), None);
        assert_eq!(seen.header("vary"), Some("accept-encoding"));
        assert!(seen.body.len() < 1000, "{encoding}: {}", seen.body.len());
        assert_eq!(decoded(&seen), page() + &page());
    }
}

#[test]
fn a_live_stream_is_flushed_piece_by_piece() {
    for encoding in [Encoding::Gzip, Encoding::Br, Encoding::Zstd] {
        let mut live = Encoder::new(encoding, true).unwrap();
        for _ in 0..3 {
            assert!(
                !live.write(b"data: tick\n\n", false).unwrap().is_empty(),
                "{encoding:?}"
            );
        }
        let mut still = Encoder::new(encoding, false).unwrap();
        let _ = still.write(b"data: tick\n\n", false).unwrap();
        assert!(
            still.write(b"data: tick\n\n", false).unwrap().is_empty(),
            "{encoding:?}"
        );
    }
}

fn untouched(call: Call, response: Response) {
    let body = response.body.clone();
    let seen = route().send(call.header("accept-encoding", "gzip").answered(response));
    assert_ne!(seen.header("content-encoding"), Some("gzip"));
    assert_eq!(seen.body, body);
}

#[test]
fn what_does_not_shrink_stays() {
    let with =
        |name, value: &'static str| json_page().header(name, HeaderValue::from_static(value));
    untouched(Call::get("/"), with(CONTENT_ENCODING, "br"));
    untouched(Call::get("/"), with(CONTENT_TYPE, "image/png"));
    untouched(Call::get("/"), with(CACHE_CONTROL, "public, no-transform"));
    untouched(Call::get("/"), with(CONTENT_RANGE, "bytes 0-1/2"));
    untouched(Call::get("/"), with(CONTENT_LENGTH, "1023"));
    untouched(Call::new(Method::HEAD, "/"), json_page());
    let mut partial = json_page();
    partial.head.status = StatusCode::PARTIAL_CONTENT;
    untouched(Call::get("/"), partial);
    untouched(Call::get("/"), Response::new(StatusCode::NO_CONTENT));
}

#[test]
fn caches_hear_of_it_even_when_this_client_wants_none() {
    let seen = route().send(Call::get("/").answered(json_page()));
    assert_eq!(seen.header("vary"), Some("accept-encoding"));
    assert_eq!(seen.header("content-encoding"), None);
    assert_eq!(seen.text(), page());
}

#[test]
fn strong_tags_become_weak() {
    let tagged = json_page().header(ETAG, HeaderValue::from_static("\"abc\""));
    let seen = route().send(
        Call::get("/")
            .header("accept-encoding", "gzip")
            .answered(tagged),
    );
    assert_eq!(seen.header("etag"), Some("W/\"abc\""));
}

#[test]
fn answers_of_tidegate_are_compressed_too_and_twice_is_once() {
    let twice = [crate::entry::<Compress>(), crate::entry::<Compress>()];
    let config = json!({ "min_size": 1 });
    let route = Route::chain(&twice.map(|entry| (entry, config.clone())));
    let seen = route.send(
        Call::get("/")
            .header("accept-encoding", "gzip")
            .unanswered(),
    );
    assert_eq!(seen.status(), 502);
    assert_eq!(decoded(&seen), "502 Bad Gateway\n");
    assert_eq!(
        seen.header("content-length"),
        Some(seen.body.len().to_string().as_str())
    );
}

#[test]
fn bad_configs() {
    assert_eq!(
        refusal::<Compress>(&json!({ "encodings": [] })).path,
        "encodings"
    );
    assert_eq!(
        refusal::<Compress>(&json!({ "encodings": ["deflate"] })).path,
        "encodings[0]"
    );
    assert_eq!(
        refusal::<Compress>(&json!({ "types": ["text/*", "*/json"] })).path,
        "types[1]"
    );
    assert_eq!(
        refusal::<Compress>(&json!({ "min_size": "1kb" })).path,
        "min_size"
    );
}
