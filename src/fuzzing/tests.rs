use std::path::Path;

use proptest::prelude::*;

/// Gives every file of a corpus to the function that its fuzz target calls.
fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut files = 0;
    for file in std::fs::read_dir(&folder).unwrap() {
        let file = file.unwrap().path();
        let bytes = std::fs::read(&file).unwrap();
        let survived = std::panic::catch_unwind(|| run(&bytes)).is_ok();
        assert!(survived, "{}", file.display());
        files += 1;
    }
    assert!(files >= 24, "{} has {files} files", folder.display());
}

#[test]
fn replays_heads() {
    replay("head", super::head);
}

#[test]
fn replays_chunked_bodies() {
    replay("chunked", super::chunked);
}

#[test]
fn replays_proxy_headers() {
    replay("proxy_protocol", super::proxy_protocol);
}

#[test]
fn replays_frames() {
    replay("h2_frames", super::h2_frames);
}

#[test]
fn replays_paths() {
    replay("path", super::path);
}

#[test]
fn replays_response_heads() {
    replay("response_head", super::response_head);
}

#[test]
fn replays_session_cookies() {
    replay("session_cookie", super::session_cookie);
}

#[test]
fn replays_tokens() {
    replay("jwt", tidegate_filters::jwt::promises::jwt);
    replay("jwt", tidegate_filters::fuzzing::jwt);
}

#[test]
fn replays_key_sets() {
    replay("jwks", tidegate_filters::jwt::promises::jwks);
    replay("jwks", tidegate_filters::fuzzing::jwks);
}

#[test]
fn replays_forwarded() {
    replay("forwarded", super::forwarded);
}

#[test]
fn replays_cookies() {
    replay("cookies", super::cookies);
}

#[test]
fn replays_rewrites() {
    replay("rewrite", super::rewrite);
}

#[test]
fn replays_accepted_encodings() {
    replay(
        "accept_encoding",
        tidegate_filters::fuzzing::accept_encoding,
    );
}

/// Bytes that look like HTTP now and then.
fn nearly(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(words).prop_map(|word| word.as_bytes().to_vec());
    let noise = prop::collection::vec(any::<u8>(), 0..4);
    prop::collection::vec(prop_oneof![12 => word, 1 => noise], 0..24)
        .prop_map(|parts| parts.concat())
}

const HEAD: &[&str] = &[
    "GET ",
    "POST ",
    "/ ",
    "* ",
    "http://a/ ",
    "HTTP/1.1\r\n",
    "HTTP/1.0\r\n",
    "Host: a\r\n",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "\r\n",
    "\n",
    "\r",
    " ",
    ":",
];

const CHUNKS: &[&str] = &[
    "1\r\nx\r\n",
    "0\r\n",
    "\r\n",
    "a\r\n0123456789\r\n",
    ";x=y",
    "5",
    "A: b\r\n",
    "Host: a\r\n",
    "\n",
    "\r",
    " ",
];

const PROXY: &[&str] = &[
    "PROXY ",
    "TCP4 ",
    "TCP6 ",
    "UNKNOWN",
    "1.2.3.4 ",
    "::1 ",
    "80 ",
    "443",
    "\r\n",
    "\r\n\r\n\0\r\nQUIT\n",
    "\x21\x11",
    "\0\x0c",
    "\0\0\0\0",
];

const FRAMES: &[&str] = &[
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "\0\0\0\x04\0\0\0\0\0",
    "\0\0\x04\x03\0\0\0\0\x01",
    "\0\0\x02\x01\0\0\0\0\x01ab",
    "\0\0\x01\x09\x04\0\0\0\x01c",
    "\0\0\0\0\0\0\0\0\x01",
];

proptest! {
    #[test]
    fn heads_read_the_same_however_they_are_cut(data in nearly(HEAD)) {
        super::head(&data);
        super::head(&[b"GET / HTTP/1.1\r\nHost: a\r\n", data.as_slice()].concat());
    }

    #[test]
    fn chunks_read_the_same_however_they_are_cut(data in nearly(CHUNKS)) {
        super::chunked(&data);
    }

    #[test]
    fn proxy_headers_read_the_same_however_they_are_cut(data in nearly(PROXY)) {
        super::proxy_protocol(&data);
        super::proxy_protocol(&[b"\r\n\r\n\0\r\nQUIT\n\x21", data.as_slice()].concat());
    }

    #[test]
    fn frames_read_the_same_however_they_are_cut(data in nearly(FRAMES)) {
        super::h2_frames(&data);
        super::h2_frames(&[crate::listener::h2_frames::PREFACE, data.as_slice()].concat());
    }

    #[test]
    fn any_bytes_are_answered(data in prop::collection::vec(any::<u8>(), 0..64)) {
        super::head(&data);
        super::chunked(&data);
        super::proxy_protocol(&data);
        super::h2_frames(&data);
        super::path(&data);
    }
}
