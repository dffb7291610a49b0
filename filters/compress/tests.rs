use std::io::Read;

use http::header::{CONTENT_ENCODING, HeaderName, HeaderValue, VARY};

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
    untouched(Call::get("/"), with(CONTENT_LENGTH, "0"));
    untouched(Call::get("/"), with(CONTENT_TYPE, "multipart/byteranges"));
    untouched(Call::get("/"), with(CONTENT_RANGE, "bytes 0-1/2"));
    untouched(Call::get("/"), with(CONTENT_LENGTH, "1023"));
    let mut partial = json_page();
    partial.head.status = StatusCode::PARTIAL_CONTENT;
    untouched(Call::get("/"), partial);
    untouched(Call::get("/"), Response::new(StatusCode::NO_CONTENT));
}

/// The response with more lines of a field.
fn more(mut response: Response, lines: &[(&'static str, &'static str)]) -> Response {
    for (name, value) in lines {
        let name = HeaderName::from_static(name);
        let value = HeaderValue::from_static(value);
        response.head.headers.append(name, value);
    }
    response
}

fn lines(seen: &Seen, name: &HeaderName) -> Vec<String> {
    let lines = seen.response.headers.get_all(name).iter();
    lines
        .map(|line| line.to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn no_transform_counts_wherever_it_stands() {
    for (lines, changes) in [
        (&["public"][..], true),
        (&["public, no-transform"], false),
        (&["No-Transform"], false),
        (&["max-age=60", "public,NO-TRANSFORM"], false),
        (&["no-transform=1"], false),
        (&["private=\"a, no-transform, b\""], true),
        (&["x-no-transform"], true),
    ] {
        let lines: Vec<_> = lines.iter().map(|line| ("cache-control", *line)).collect();
        let call = Call::get("/").header("accept-encoding", "gzip");
        let seen = route().send(call.answered(more(json_page(), &lines)));
        let encoded = seen.header("content-encoding").is_some();
        assert_eq!(encoded, changes, "response: {lines:?}");
        let call = Call::get("/").header("accept-encoding", "gzip");
        let call = lines
            .iter()
            .fold(call, |call, (name, value)| call.header(name, value));
        let seen = route().send(call.answered(json_page()));
        let encoded = seen.header("content-encoding").is_some();
        assert_eq!(encoded, changes, "request: {lines:?}");
    }
}

#[test]
fn all_accept_encoding_lines_count() {
    let call = Call::get("/").header("accept-encoding", "deflate");
    let call = call.header("accept-encoding", "gzip;q=0.5");
    let seen = route().send(call.answered(json_page()));
    assert_eq!(seen.header("content-encoding"), Some("gzip"));
}

#[test]
fn content_encoding_in_any_line_counts() {
    for (lines, encoded) in [
        (&["identity"][..], true),
        (&["Identity, identity"], true),
        (&["identity", "br"], false),
        (&["identity, GZIP"], false),
        (&["x"], false),
    ] {
        let lines: Vec<_> = lines
            .iter()
            .map(|line| ("content-encoding", *line))
            .collect();
        let call = Call::get("/").header("accept-encoding", "gzip");
        let seen = route().send(call.answered(more(json_page(), &lines)));
        assert_eq!(
            seen.header("content-encoding") == Some("gzip"),
            encoded,
            "{lines:?}"
        );
    }
}

#[test]
fn clients_of_http_1_0_get_it_as_it_is() {
    let mut exchange = Call::get("/").header("accept-encoding", "gzip").exchange();
    exchange.request.version = Version::HTTP_10;
    let filter = Compress::build(Config::default()).unwrap();
    let mut head = json_page().head;
    let done = futures_util::FutureExt::now_or_never(filter.on_response(&mut exchange, &mut head));
    assert!(matches!(done, Some(Verdict::Continue)));
    assert!(!head.headers.contains_key(CONTENT_ENCODING));
    assert!(head.headers.contains_key(CONTENT_LENGTH));
    assert_eq!(head.headers[VARY], "accept-encoding", "caches serve others");
}

#[test]
fn caches_hear_of_it_once_even_when_this_client_wants_none() {
    for (before, after) in [
        (&[][..], &["accept-encoding"][..]),
        (&["origin"], &["origin", "accept-encoding"]),
        (&["Origin, Accept-Encoding"], &["Origin, Accept-Encoding"]),
        (
            &["origin", "ACCEPT-ENCODING"],
            &["origin", "ACCEPT-ENCODING"],
        ),
        (&["*"], &["*"]),
    ] {
        for accepted in ["", "gzip"] {
            let fields: Vec<_> = before.iter().map(|line| ("vary", *line)).collect();
            let call = Call::get("/").header("accept-encoding", accepted);
            let seen = route().send(call.answered(more(json_page(), &fields)));
            assert_eq!(lines(&seen, &VARY), after, "{before:?}");
            assert_eq!(
                seen.header("content-encoding").is_some(),
                accepted == "gzip"
            );
        }
    }
}

const OF_THE_PLAIN_BYTES: [(&str, &str); 7] = [
    ("etag", "\"abc\""),
    ("accept-ranges", "bytes"),
    ("content-digest", "sha-256=:YQ==:"),
    ("repr-digest", "sha-256=:YQ==:"),
    ("digest", "sha-256=YQ=="),
    ("content-md5", "YQ=="),
    ("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT"),
];

#[test]
fn what_is_true_of_the_plain_bytes_only_goes() {
    let call = Call::get("/").header("accept-encoding", "gzip");
    let seen = route().send(call.answered(more(json_page(), &OF_THE_PLAIN_BYTES)));
    assert_eq!(seen.header("etag"), Some("W/\"abc\""));
    assert_eq!(seen.header("last-modified"), Some(OF_THE_PLAIN_BYTES[6].1));
    for (name, _) in &OF_THE_PLAIN_BYTES[1..6] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    // A client that takes no coding has all of it.
    let seen = route().send(Call::get("/").answered(more(json_page(), &OF_THE_PLAIN_BYTES)));
    for (name, value) in OF_THE_PLAIN_BYTES {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
    let weak = more(json_page(), &[("etag", "W/\"abc\"")]);
    let call = Call::get("/").header("accept-encoding", "gzip");
    assert_eq!(
        route().send(call.answered(weak)).header("etag"),
        Some("W/\"abc\"")
    );
}

#[test]
fn head_says_what_get_would() {
    for accepted in ["", "gzip", "br;q=0.5, gzip;q=0.1"] {
        let answer = || more(json_page(), &OF_THE_PLAIN_BYTES);
        let mut of_head = answer();
        of_head.body = Bytes::new();
        let call = |method| Call::new(method, "/").header("accept-encoding", accepted);
        let head = route().send(call(Method::HEAD).answered(of_head));
        let get = route().send(call(Method::GET).answered(answer()));
        assert_eq!(head.response.headers, get.response.headers, "{accepted}");
        assert!(head.body.is_empty());
    }
}

#[test]
fn a_304_has_the_fields_of_the_200() {
    let json = ("content-type", "application/json");
    let png = ("content-type", "image/png");
    let (strong, weak) = ("\"abc\"", "W/\"abc\"");
    for (accepted, asked, fields, tag, varies) in [
        ("gzip", weak, &[][..], weak, true),
        ("gzip", strong, &[], strong, true),
        ("gzip", "*", &[], weak, true),
        ("gzip", "\"x, y\", W/\"abc\"", &[], weak, true),
        ("gzip", "\"abc\", W/\"abc\"", &[], weak, true),
        ("gzip", strong, &[json], weak, true),
        ("gzip", weak, &[png], strong, false),
        (
            "gzip",
            weak,
            &[("cache-control", "no-transform")],
            strong,
            false,
        ),
        ("", weak, &[], strong, true),
        ("identity", strong, &[json], strong, true),
    ] {
        let mut answer = more(Response::new(StatusCode::NOT_MODIFIED), fields);
        answer = more(
            answer,
            &[
                ("etag", strong),
                ("repr-digest", "x"),
                ("content-length", "9"),
            ],
        );
        let call = Call::get("/").header("accept-encoding", accepted);
        let seen = route().send(call.header("if-none-match", asked).answered(answer));
        let what = format!("{accepted} {asked} {fields:?}");
        assert_eq!(seen.header("etag"), Some(tag), "{what}");
        assert_eq!(seen.header("vary").is_some(), varies, "{what}");
        assert_eq!(seen.header("repr-digest").is_none(), tag == weak, "{what}");
        assert_eq!(
            seen.header("content-length").is_none(),
            tag == weak,
            "{what}"
        );
        assert_eq!(seen.header("content-encoding"), None, "{what}");
    }
}

#[test]
fn a_body_that_breaks_off_is_never_whole() {
    for encoding in ["gzip", "br", "zstd"] {
        let call = Call::get("/").header("accept-encoding", encoding);
        let whole = route().send(call.answered(json_page()));
        // Without the last call, the end of the coded stream never comes.
        let mut encoder = Encoder::new(whole_encoding(encoding), false).unwrap();
        let sent = encoder.write(page().as_bytes(), false).unwrap();
        assert!(sent.len() < whole.body.len());
    }
}

fn whole_encoding(name: &str) -> Encoding {
    serde_json::from_value(json!(name)).unwrap()
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
