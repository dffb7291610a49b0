use std::time::Duration;

use super::*;

const LIMITS: PaceLimits = PaceLimits {
    idle: Duration::from_secs(30),
    min_rate: 1024,
    grace: Duration::from_secs(10),
};

fn head(kind: FrameKind, flags: u8, length: usize, stream: u32) -> FrameHead {
    FrameHead {
        kind,
        flags,
        length,
        stream,
    }
}

struct Connection(Streams);

impl Connection {
    /// A client whose first stream has a body.
    fn with_body() -> Connection {
        let mut connection = Connection(Streams::new(100));
        connection.client(FrameKind::Headers, 0, 0, 1);
        connection
    }

    /// The request is whole and we have begun to answer.
    fn answering() -> Connection {
        let mut connection = Connection(Streams::new(100));
        connection.client(FrameKind::Headers, END_STREAM, 0, 1);
        connection.server(FrameKind::Headers, 0, 0, 1);
        connection
    }

    fn client(&mut self, kind: FrameKind, flags: u8, length: usize, stream: u32) {
        for event in events(head(kind, flags, length, stream)) {
            self.0.client(&event, &LIMITS, &LIMITS);
        }
    }

    fn server(&mut self, kind: FrameKind, flags: u8, length: usize, stream: u32) {
        for event in events(head(kind, flags, length, stream)) {
            self.0.server(&event);
        }
    }

    /// The client opens our window.
    fn reads(&mut self, stream: u32, step: u32) {
        let update = head(FrameKind::WindowUpdate, 0, 4, stream);
        self.0
            .client(&Event::Number(update, step), &LIMITS, &LIMITS);
    }

    /// Seconds until a stream is given up when nothing more happens.
    fn given_up(&mut self) -> Option<(u32, SlowPhase)> {
        (1..120).find_map(|second| {
            let slow = self.0.slow(Duration::from_secs(1), Some(&LIMITS), &LIMITS);
            slow.first().map(|(_, phase)| (second, *phase))
        })
    }
}

fn events(frame: FrameHead) -> Vec<Event> {
    let mut all = vec![Event::Begin(frame)];
    if frame.kind == FrameKind::Data && frame.length > 0 {
        all.push(Event::Data(frame, frame.length));
    }
    all.push(Event::End(frame));
    all
}

#[test]
fn a_body_that_stalls_is_the_clients_fault() {
    assert_eq!(
        Connection::with_body().given_up(),
        Some((10, SlowPhase::Body))
    );
}

#[test]
fn a_shut_window_is_not() {
    let mut connection = Connection::with_body();
    connection.client(FrameKind::Data, 0, 65_535, 1);
    assert_eq!(connection.given_up(), None);
    // The backend takes some of it: now it is the client's turn again, with what it has earned.
    let update = head(FrameKind::WindowUpdate, 0, 4, 1);
    connection.0.server(&Event::Number(update, 40_000));
    let update = head(FrameKind::WindowUpdate, 0, 4, 0);
    connection.0.server(&Event::Number(update, 40_000));
    assert_eq!(connection.given_up(), Some((30, SlowPhase::Body)));
}

#[test]
fn a_whole_request_and_a_conversation_have_no_turn() {
    let mut connection = Connection::with_body();
    connection.client(FrameKind::Data, END_STREAM, 0, 1);
    assert_eq!(connection.given_up(), None);
    let mut connection = Connection::with_body();
    connection.server(FrameKind::Headers, 0, 0, 1);
    assert_eq!(connection.given_up(), None);
}

#[test]
fn an_answer_that_is_not_read_is_the_clients_fault() {
    let mut connection = Connection::answering();
    assert_eq!(connection.given_up(), None, "a slow backend");
    connection.server(FrameKind::Data, 0, 65_535, 1);
    assert_eq!(connection.given_up(), Some((30, SlowPhase::Response)));
}

#[test]
fn one_that_is_read_slowly_lives() {
    let mut connection = Connection::answering();
    connection.server(FrameKind::Data, 0, 65_535, 1);
    connection.reads(0, 1 << 20);
    for _ in 0..100 {
        for _ in 0..20 {
            let slow = connection
                .0
                .slow(Duration::from_secs(1), Some(&LIMITS), &LIMITS);
            assert_eq!(slow, []);
        }
        connection.reads(1, 40_000);
        connection.server(FrameKind::Data, 0, 40_000, 1);
    }
    assert!(connection.given_up().is_some());
}

#[test]
fn a_byte_of_window_at_a_time_is_too_slow() {
    let mut connection = Connection::answering();
    connection.server(FrameKind::Data, 0, 65_535, 1);
    let lived = (1..200).find(|_| {
        connection.reads(1, 1);
        connection.reads(0, 1);
        connection.server(FrameKind::Data, 0, 1, 1);
        let slow = connection
            .0
            .slow(Duration::from_secs(1), Some(&LIMITS), &LIMITS);
        !slow.is_empty()
    });
    assert!(lived.is_some_and(|seconds| seconds <= 32), "{lived:?}");
}

#[test]
fn what_is_over_is_forgotten_and_the_rest_is_bounded() {
    let mut connection = Connection::answering();
    connection.server(FrameKind::Data, END_STREAM, 0, 1);
    assert!(connection.0.is_empty());
    connection.client(FrameKind::Headers, 0, 0, 3);
    connection.client(FrameKind::RstStream, 0, 0, 3);
    assert!(connection.0.is_empty());
    for stream in 0..1000 {
        connection.client(FrameKind::Headers, 0, 0, 5 + 2 * stream);
    }
    assert_eq!(connection.0.open.len(), 200);
}

#[test]
fn settings_move_the_windows_of_open_streams() {
    let mut connection = Connection::answering();
    connection.0.client(&Event::Setting(4, 0), &LIMITS, &LIMITS);
    assert_eq!(connection.given_up(), Some((10, SlowPhase::Response)));
}
