use http::header::HeaderName;

use super::*;

fn request(method: Method, version: Version) -> RequestHeader {
    let mut request = RequestHeader::build_no_case(method, b"/", None).unwrap();
    request.set_version(version);
    request
}

fn head(status: u16, fields: &[(&'static str, &str)]) -> Box<ResponseHeader> {
    let mut head = ResponseHeader::build_no_case(status, None).unwrap();
    for (name, value) in fields {
        let name = HeaderName::from_static(name);
        head.append_header(name, *value).unwrap();
    }
    head.append_header("date", "now").unwrap();
    Box::new(head)
}

fn text(response: &mut Response) -> String {
    String::from_utf8(response.take_held().to_vec()).unwrap()
}

fn piece(response: &mut Response, data: &str) {
    let data = response.begin_piece(data.as_bytes()).to_vec();
    response.hold(&data);
    response.end_piece(data.len());
}

fn of(request: &RequestHeader, answer: Box<ResponseHeader>) -> Response {
    let mut response = Response::to(request, true);
    response.head(answer, false);
    response
}

fn to_get(answer: Box<ResponseHeader>) -> Response {
    of(&request(Method::GET, Version::HTTP_11), answer)
}

#[test]
fn a_body_of_known_length_ends_with_its_last_byte_and_takes_no_more() {
    let mut response = to_get(head(200, &[("content-length", "5")]));
    piece(&mut response, "abc");
    assert!(!response.keeps());
    piece(&mut response, "defgh");
    response.end();
    assert!(response.keeps());
    assert_eq!(response.sent(), 5);
    let expected =
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ndate: now\r\nconnection: keep-alive\r\n\r\nabcde";
    assert_eq!(text(&mut response), expected);
}

#[test]
fn a_body_that_is_too_short_ends_the_connection() {
    let mut response = to_get(head(200, &[("content-length", "5")]));
    piece(&mut response, "abc");
    response.end();
    assert!(!response.is_over());
    assert!(!response.keeps());
}

#[test]
fn pieces_become_chunks_and_an_empty_one_does_not_end_them() {
    let mut response = to_get(head(200, &[("transfer-encoding", "chunked")]));
    text(&mut response);
    piece(&mut response, "0123456789abcdef!");
    piece(&mut response, "");
    assert!(!response.is_over());
    response.end();
    response.end();
    assert_eq!(text(&mut response), "11\r\n0123456789abcdef!\r\n0\r\n\r\n");
    assert!(response.keeps());
}

#[test]
fn a_length_beside_chunks_is_not_sent() {
    let both = [("content-length", "5"), ("transfer-encoding", "chunked")];
    let mut response = to_get(head(200, &both));
    let expected = "HTTP/1.1 200 OK\r\ndate: now\r\ntransfer-encoding: chunked\r\nconnection: keep-alive\r\n\r\n";
    assert_eq!(text(&mut response), expected);
}

#[test]
fn chunks_are_not_for_http_1_0() {
    let old = request(Method::GET, Version::HTTP_10);
    let mut response = of(&old, head(200, &[("transfer-encoding", "chunked")]));
    piece(&mut response, "abc");
    response.end();
    assert!(!response.keeps());
    let expected = "HTTP/1.1 200 OK\r\ndate: now\r\nconnection: close\r\n\r\nabc";
    assert_eq!(text(&mut response), expected);
}

#[test]
fn without_framing_the_end_of_the_connection_is_the_end_of_the_body() {
    let mut response = to_get(head(200, &[]));
    piece(&mut response, "abc");
    assert!(text(&mut response).ends_with("connection: close\r\n\r\nabc"));
    response.end();
    assert!(response.is_over());
    assert!(!response.keeps());
}

#[test]
fn some_responses_have_no_body_whatever_their_head_says() {
    let to_head = request(Method::HEAD, Version::HTTP_11);
    let long = || [("content-length", "5")];
    for mut response in [
        of(&to_head, head(200, &long())),
        to_get(head(304, &long())),
        to_get(head(204, &[])),
        to_get(head(200, &[("content-length", "0")])),
    ] {
        assert!(response.keeps());
        piece(&mut response, "abc");
        assert_eq!(response.sent(), 0);
        assert!(text(&mut response).ends_with("\r\n\r\n"));
    }
}

#[test]
fn what_a_backend_says_of_its_own_connection_is_not_passed_on() {
    let fields = [
        ("connection", "close"),
        ("keep-alive", "timeout=5"),
        ("content-length", "0"),
    ];
    let mut response = to_get(head(200, &fields));
    let expected =
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\ndate: now\r\nconnection: keep-alive\r\n\r\n";
    assert_eq!(text(&mut response), expected);
}

#[test]
fn the_connection_ends_when_either_side_wants_it() {
    let get = request(Method::GET, Version::HTTP_11);
    for (client_keeps, closes) in [(false, false), (true, true)] {
        let mut response = Response::to(&get, client_keeps);
        response.head(head(204, &[]), closes);
        assert!(!response.keeps());
        assert!(text(&mut response).ends_with("connection: close\r\n\r\n"));
    }
}

#[test]
fn interim_heads_go_first_and_the_final_one_counts_once() {
    let mut response = to_get(head(103, &[("link", "</a>")]));
    assert!(response.written().is_none());
    let early = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\ndate: now\r\n\r\n";
    assert_eq!(text(&mut response), early);
    response.head(head(204, &[]), false);
    text(&mut response);
    response.head(head(500, &[]), false);
    assert_eq!(text(&mut response), "");
    assert_eq!(response.written().unwrap().status, 204);
}

#[test]
fn a_date_is_added_where_there_is_none() {
    let bare = ResponseHeader::build_no_case(204, None).unwrap();
    let mut response = to_get(Box::new(bare));
    assert!(text(&mut response).contains("\r\ndate: "));
}
