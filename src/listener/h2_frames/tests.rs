use std::time::{Duration, Instant};

use super::{Flood, FloodBudget, FrameKind, FrameScanner, PREFACE, Phase, Verdict};

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap_or(u8::MAX);
    let mut out = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
    out.extend(payload);
    out
}

fn scanner(now: Instant) -> FrameScanner {
    let mut scanner = FrameScanner::new(FloodBudget::default(), now);
    assert_eq!(scanner.feed(PREFACE, now), Verdict::Ok);
    scanner
}

#[test]
fn phases_follow_the_bytes() {
    let now = Instant::now();
    let mut scanner = FrameScanner::new(FloodBudget::default(), now);
    let mut after = |bytes: &[u8]| {
        assert_eq!(scanner.feed(bytes, now), Verdict::Ok);
        scanner.phase()
    };
    assert_eq!(after(b""), Phase::Preface);
    assert_eq!(after(&PREFACE[..23]), Phase::Preface);
    assert_eq!(after(&PREFACE[23..]), Phase::Preface);
    let settings = frame(4, 0, &[]);
    assert_eq!(after(&settings[..8]), Phase::Preface);
    assert_eq!(after(&settings[8..]), Phase::BetweenFrames);
    assert_eq!(after(&[0, 0]), Phase::PartialFrame { kind: None });
    assert_eq!(
        after(&[2, 1, 4, 0, 0, 0, 1]),
        Phase::PartialFrame {
            kind: Some(FrameKind::Headers)
        }
    );
    assert_eq!(
        after(b"x"),
        Phase::PartialFrame {
            kind: Some(FrameKind::Headers)
        }
    );
    assert_eq!(after(b"x"), Phase::BetweenFrames);
    assert_eq!(after(&frame(1, 0, b"ab")), Phase::HeaderBlock);
    assert_eq!(after(&frame(9, 0, b"cd")), Phase::HeaderBlock);
    let last = frame(9, 4, b"ef");
    assert_eq!(after(&last[..10]), Phase::HeaderBlock);
    assert_eq!(after(&last[10..]), Phase::BetweenFrames);
    assert_eq!(after(&frame(0, 1, b"")), Phase::BetweenFrames);
}

#[test]
fn other_first_bytes_are_no_http2() {
    let now = Instant::now();
    let mut scanner = FrameScanner::new(FloodBudget::default(), now);
    assert_eq!(scanner.feed(b"PRI * HTTP/2.0\r\n", now), Verdict::Ok);
    assert_eq!(scanner.feed(b"\r\nSX", now), Verdict::BadPreface);
}

#[test]
fn each_budget_holds_to_the_frame_and_comes_back_after_a_second() {
    let start = Instant::now();
    let budget = FloodBudget::default();
    for (bytes, limit, flood) in [
        (frame(3, 0, &[0; 4]), budget.rst_stream, Flood::RstStream),
        (frame(4, 0, &[]), budget.settings, Flood::Settings),
        (frame(6, 0, &[0; 8]), budget.ping, Flood::Ping),
        (frame(0, 0, &[]), budget.empty_data, Flood::EmptyData),
        (
            frame(0, 8, &[200; 201]),
            budget.empty_data,
            Flood::EmptyData,
        ),
        (frame(2, 0, &[0; 5]), budget.priority, Flood::Priority),
        (
            frame(8, 0, &[0; 4]),
            budget.window_update,
            Flood::WindowUpdate,
        ),
        (frame(9, 0, b"x"), budget.continuation, Flood::Continuation),
        (frame(77, 0, b"x"), budget.unknown, Flood::Unknown),
    ] {
        let mut scanner = scanner(start);
        for second in 0..2 {
            let now = start + Duration::from_secs(second);
            for _ in 0..limit {
                assert_eq!(scanner.feed(&bytes, now), Verdict::Ok, "{flood:?}");
            }
        }
        let late = start + Duration::from_millis(1_999);
        assert_eq!(scanner.feed(&bytes, late), Verdict::Flood(flood));
    }
}

#[test]
fn real_traffic_is_not_counted() {
    let now = Instant::now();
    let mut scanner = scanner(now);
    for _ in 0..50_000 {
        assert_eq!(scanner.feed(&frame(1, 4, b"ab"), now), Verdict::Ok);
        assert_eq!(scanner.feed(&frame(0, 0, b"x"), now), Verdict::Ok);
        assert_eq!(scanner.feed(&frame(0, 1, b""), now), Verdict::Ok);
    }
}
