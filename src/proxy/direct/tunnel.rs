//! What follows a 101: bytes both ways until both sides have ended, on one task.

use std::future::poll_fn;
use std::task::{Context as Task, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pingora_core::Result;
use pingora_core::protocols::http::HttpTask;

use super::relay::Relay;
use crate::listener::deadline;

/// Which directions are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Open {
    up: bool,
    down: bool,
    /// The client has ended its side, and the backend is yet to be told.
    tell_backend: bool,
}

/// How long the side that goes on may be silent once the other has ended.
const HALF_CLOSED: Duration = Duration::from_secs(10);

impl Open {
    fn patience(self, longest_silence: Duration) -> Duration {
        match self.up && self.down {
            true => longest_silence,
            false => longest_silence.min(HALF_CLOSED),
        }
    }
}

enum Event {
    Up(Option<Bytes>),
    Down(Option<Bytes>),
    /// One side has taken what was on its way.
    Taken,
    /// The backend knows that the client sends no more.
    Told,
    /// A side is gone, or nothing has moved for as long as it may.
    Over,
}

impl Relay<'_> {
    /// Carries bytes both ways. A side that ends its sending is said so to the other, which may go on; the tunnel ends when
    /// both have ended, when one is gone, or after a silence of both.
    pub(super) async fn tunnel(&mut self, longest_silence: Duration) -> Result<()> {
        let mut open = Open {
            up: true,
            down: true,
            tell_backend: false,
        };
        loop {
            let mut until = None;
            let event = poll_fn(|cx| {
                if let Poll::Ready(event) = self.poll_tunnel(open, cx) {
                    return Poll::Ready(event);
                }
                let until =
                    *until.get_or_insert_with(|| Instant::now() + open.patience(longest_silence));
                deadline::poll_at(cx, until).map(|()| Ok(Event::Over))
            })
            .await?;
            match event {
                Event::Up(Some(data)) => self.backend.raw(data)?,
                Event::Up(None) => (open.up, open.tell_backend) = (false, true),
                Event::Down(data) => {
                    open.down = data.is_some();
                    let end = data.is_none();
                    let task = HttpTask::UpgradedBody(data, end);
                    self.client.send(self.session, task)?;
                }
                Event::Taken => {}
                Event::Told => open.tell_backend = false,
                Event::Over => return Ok(()),
            }
            if !open.up && !open.down && !open.tell_backend && !self.client.owes() {
                return Ok(());
            }
        }
    }

    fn poll_tunnel(&mut self, open: Open, cx: &mut Task<'_>) -> Poll<Result<Event>> {
        if self.client.owes()
            && let Poll::Ready(taken) = self.client.poll_flush(self.session, cx)
        {
            // A client that is gone has had enough: nobody's fault.
            return Poll::Ready(Ok(taken.map_or(Event::Over, |()| Event::Taken)));
        }
        if self.backend.owes()
            && let Poll::Ready(sent) = self.backend.poll_flush(cx)
        {
            return Poll::Ready(sent.map(|()| Event::Taken));
        }
        if open.tell_backend
            && !self.backend.owes()
            && let Poll::Ready(told) = self.backend.poll_end_of_sending(cx)
        {
            return Poll::Ready(Ok(told.map_or(Event::Over, |()| Event::Told)));
        }
        if open.down
            && !self.client.owes()
            && let Poll::Ready(read) = self.backend.poll_raw(cx)
        {
            return Poll::Ready(read.map(Event::Down));
        }
        if open.up
            && !self.backend.owes()
            && let Poll::Ready(read) = self.client.poll_read(self.session, cx)
        {
            return Poll::Ready(Ok(read.map_or(Event::Over, Event::Up)));
        }
        Poll::Pending
    }
}
