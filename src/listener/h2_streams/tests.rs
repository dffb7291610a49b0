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

    /// One look, a second after the last.
    fn look(&mut self, spared: u32, blocked: bool) -> Look {
        let second = Duration::from_secs(1);
        self.0.look(second, &LIMITS, &LIMITS, spared, blocked)
    }

    /// Seconds until a stream is given up when nothing more happens.
    fn given_up(&mut self) -> Option<(u32, SlowPhase)> {
        (1..120).find_map(|second| {
            let slow = self.look(0, false).slow;
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
            assert_eq!(connection.look(0, false).slow, []);
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
        !connection.look(0, false).slow.is_empty()
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

/// So many streams without the end of their bodies.
fn with_bodies(streams: u32) -> Connection {
    let mut connection = Connection(Streams::new(100));
    for n in 0..streams {
        connection.client(FrameKind::Headers, 0, 0, 1 + 2 * n);
    }
    connection
}

#[test]
fn as_many_bodies_are_spared_as_routes_say_and_for_good() {
    for (streams, spared, given_up) in [(1, 1, 0), (2, 1, 1), (5, 2, 3), (3, 0, 3), (2, 9, 0)] {
        let mut connection = with_bodies(streams);
        let looks = (0..100).map(|_| connection.look(spared, false).slow.len());
        assert_eq!(looks.sum::<usize>(), given_up, "{streams} {spared}");
    }
    // The next one to be silent is not spared in place of the first.
    let mut connection = with_bodies(1);
    (0..20).for_each(|_| assert_eq!(connection.look(1, false).slow, []));
    connection.client(FrameKind::Headers, 0, 0, 3);
    let slow = (0..20).flat_map(|_| connection.look(1, false).slow);
    assert_eq!(slow.collect::<Vec<_>>(), [(3, SlowPhase::Body)]);
}

#[test]
fn answers_that_wait_are_counted_and_the_longest_is_given_up_first() {
    let mut connection = with_bodies(3);
    for stream in [1, 3, 5] {
        connection.client(FrameKind::Data, END_STREAM, 0, stream);
        connection.server(FrameKind::Headers, 0, 0, stream);
    }
    assert_eq!(
        (0..5)
            .map(|_| connection.look(0, false).lagging)
            .sum::<usize>(),
        0
    );
    connection.server(FrameKind::Data, 0, 65_535, 3);
    connection.reads(0, 1 << 20);
    let lagging: Vec<_> = (0..3).map(|_| connection.look(0, false).lagging).collect();
    assert_eq!(lagging, [0, 1, 1]);
    // A connection that takes nothing lets all of them wait.
    let lagging: Vec<_> = (0..3).map(|_| connection.look(0, true).lagging).collect();
    assert_eq!(lagging, [1, 3, 3]);
    assert_eq!(connection.0.answering(), 3);
    assert_eq!(connection.0.give_up(1), [3]);
    assert_eq!(connection.0.give_up(9).len(), 2);
    assert!(connection.0.is_empty());
}
