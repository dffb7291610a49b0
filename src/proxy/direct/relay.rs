//! One request and its response between a client and a backend, on one task: the body goes up while the response comes down.
//!
//! Whatever can happen next is polled: the client's body, the backend's response, and what either has yet to take. Each
//! direction holds one piece at a time and asks for the next when that is taken, so that a slow reader slows down its writer
//! and nothing piles up here.

use std::future::poll_fn;
use std::task::{Context as Task, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, StatusCode, Version, header};
use pingora_core::protocols::http::HttpTask;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;
use smallvec::SmallVec;

use super::client::{Client, continue_head};
use super::upload::{self, Upload};
use crate::context::Context;
use crate::listener::deadline;
use crate::outcome::Failure;
use crate::proxy::{Proxy, attempt, filters, hop_by_hop};
use crate::upstream::{Exchange, Framing, Limits};

/// What is gathered of a body before the client gets the first of it, in bytes, if it is there at once.
const GATHERED: usize = 48 * 1024;

/// How long a backend may think about `Expect: 100-continue` before the client is asked for its body all the same
/// (RFC 9110 10.1.1).
const CONTINUE: Duration = Duration::from_secs(1);

/// One exchange under way.
pub struct Relay<'a> {
    proxy: &'a Proxy,
    pub(super) session: &'a mut Session,
    pub(super) client: Client,
    pub(super) backend: Exchange,
    limits: Limits,
    upload: &'a mut Upload,
    ctx: &'a mut Context,
    stage: Stage,
    /// The backend takes no more of the request: what it says is still read.
    unsent: Option<Box<Error>>,
    /// The response broke behind pieces that the client is yet to get.
    broken: Option<Box<Error>>,
    /// The backend's turn comes before the client's.
    backend_first: bool,
    /// When the client is told to go on with its body, if the backend has not said so by then.
    go_on_at: Option<Instant>,
    /// It was told.
    went_on: bool,
}

/// How far the response has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    Body,
    /// A 101 came: what follows is no HTTP.
    Tunnel,
    Over,
}

/// What has happened.
enum Event {
    /// A piece of the request's body came, and whether it was the last.
    Up(Option<Bytes>, bool),
    Head(Box<ResponseHeader>),
    Down(Option<Bytes>),
    /// One side has taken what was on its way.
    Taken,
    /// The backend's connection takes no more.
    Unsent(Box<Error>),
    /// It is time to ask the client for its body.
    GoOn,
}

impl<'a> Relay<'a> {
    pub fn new(
        proxy: &'a Proxy,
        session: &'a mut Session,
        backend: Exchange,
        limits: Limits,
        upload: &'a mut Upload,
        ctx: &'a mut Context,
    ) -> Relay<'a> {
        let expects = !upload.is_over() && upload::expects_continue(session);
        Relay {
            proxy,
            session,
            client: Client::default(),
            backend,
            limits,
            upload,
            ctx,
            stage: Stage::Head,
            unsent: None,
            broken: None,
            backend_first: false,
            go_on_at: expects.then(|| Instant::now() + CONTINUE),
            went_on: false,
        }
    }

    /// What is left of it: the connection to the backend, bytes sent to the client, and whether that was too slow.
    pub fn end(self) -> (Exchange, u64, Option<Failure>) {
        (self.backend, self.client.sent(), self.client.slow())
    }

    /// Sends the request and brings back the whole response.
    pub async fn run(&mut self, request: &mut RequestHeader) -> Result<()> {
        self.begin(request).await?;
        loop {
            match self.next().await? {
                Event::Up(piece, end) => self.up(piece, end).await?,
                Event::Head(head) => self.head(head).await?,
                Event::Down(piece) => self.down(Ok(piece))?,
                Event::Taken => {}
                Event::Unsent(error) => self.unsent = Some(error),
                Event::GoOn => self.go_on()?,
            }
            if !self.client.owes() {
                if let Some(error) = self.broken.take() {
                    return Err(error);
                }
                if self.stage == Stage::Over {
                    return Ok(());
                }
            }
            if self.stage == Stage::Tunnel {
                let silence = attempt::tunnel_idle_timeout(self.ctx);
                return Box::pin(self.tunnel(silence)).await;
            }
        }
    }

    /// Begins the request. A filter may give a body to one that has none.
    async fn begin(&mut self, request: &mut RequestHeader) -> Result<()> {
        if !self.upload.is_over() {
            let framing = upload::framing(request)?;
            return self.backend.begin(request, framing);
        }
        let mut given = None;
        attempt::body(self.session, &mut given, true, self.ctx)?;
        filters::request_body(&mut given, true, self.ctx).await?;
        upload::tell_length(request, given.as_ref())?;
        match given {
            None => self.backend.begin(request, Framing::None),
            Some(given) => {
                let framing = Framing::Length(given.len() as u64);
                self.backend.begin(request, framing)?;
                self.backend.piece(given)?;
                self.backend.end()
            }
        }
    }

    async fn next(&mut self) -> Result<Event> {
        let mut late = None;
        poll_fn(|cx| {
            if let Poll::Ready(event) = self.poll_next(cx) {
                return Poll::Ready(event);
            }
            let Some(limit) = self.patience() else {
                return Poll::Pending;
            };
            let at = *late.get_or_insert_with(|| Instant::now() + limit);
            deadline::poll_at(cx, at).map(|()| Err(self.too_late()))
        })
        .await
    }

    fn poll_next(&mut self, cx: &mut Task<'_>) -> Poll<Result<Event>> {
        if self.client.owes()
            && let Poll::Ready(taken) = self.client.poll_flush(self.session, cx)
        {
            return Poll::Ready(taken.map(|()| Event::Taken));
        }
        // Neither side can keep the other from its turn.
        self.backend_first = !self.backend_first;
        for backend in [self.backend_first, !self.backend_first] {
            let polled = match backend {
                true => self.poll_down(cx),
                false => self.poll_up(cx),
            };
            if polled.is_ready() {
                return polled;
            }
        }
        Poll::Pending
    }

    /// The client's side: its body, on to the backend; behind it, whether it is still there.
    fn poll_up(&mut self, cx: &mut Task<'_>) -> Poll<Result<Event>> {
        let reads = !self.upload.is_over() && self.unsent.is_none();
        if reads && self.backend.has_room() {
            if let Some((piece, end)) = self.upload.again() {
                return Poll::Ready(Ok(Event::Up(Some(piece), end)));
            }
            if let Poll::Ready(read) = self.client.poll_read(self.session, cx) {
                return Poll::Ready(read.map(|piece| self.keep(piece)));
            }
            if self
                .go_on_at
                .is_some_and(|at| deadline::poll_at(cx, at).is_ready())
            {
                return Poll::Ready(Ok(Event::GoOn));
            }
        }
        if self.unsent.is_none()
            && self.backend.owes()
            && let Poll::Ready(sent) = self.backend.poll_flush(cx)
        {
            return Poll::Ready(Ok(sent.map_or_else(Event::Unsent, |()| Event::Taken)));
        }
        if !reads
            && !self.client.owes()
            && let Poll::Ready(gone) = self.client.poll_gone(self.session, cx)
        {
            return Poll::Ready(Err(gone));
        }
        let cut = |c: &crate::listener::Connection| c.is_cut();
        match self.ctx.connection.as_deref().is_some_and(cut) {
            true => Poll::Ready(Err(Error::new_down(ErrorType::ReadTimedout))),
            false => Poll::Pending,
        }
    }

    fn keep(&mut self, piece: Option<Bytes>) -> Event {
        let end = piece.is_none() || self.session.as_mut().is_body_done();
        self.upload.keep(piece.as_ref(), end);
        self.ctx.body_lost = !self.upload.is_whole();
        self.go_on_at = None;
        Event::Up(piece, end)
    }

    /// The backend's side: its response, unless the client has yet to take what came before.
    fn poll_down(&mut self, cx: &mut Task<'_>) -> Poll<Result<Event>> {
        // What a backend says before it was asked is no answer: it is read behind the head.
        if self.client.owes() || self.backend.is_untouched() {
            return Poll::Pending;
        }
        match self.stage {
            Stage::Head => self.backend.poll_response(cx).map_ok(Event::Head),
            Stage::Body => self.backend.poll_body(cx).map_ok(Event::Down),
            Stage::Tunnel | Stage::Over => Poll::Pending,
        }
    }

    /// How long the side may take whose turn it is. The client's pace is held where it is read from and written to.
    fn patience(&self) -> Option<Duration> {
        match (self.client.owes(), self.backend.owes()) {
            (true, _) => None,
            (false, true) => Some(self.limits.write),
            (false, false) => Some(self.limits.silence),
        }
    }

    fn too_late(&self) -> Box<Error> {
        let (kind, why) = match self.backend.owes() {
            true => (ErrorType::WriteTimedout, "the backend takes nothing"),
            false => (ErrorType::ReadTimedout, "the backend is silent"),
        };
        Error::explain(kind, why).into_up()
    }

    /// A piece of the request's body, as filters leave it.
    async fn up(&mut self, mut piece: Option<Bytes>, end: bool) -> Result<()> {
        attempt::body(self.session, &mut piece, end, self.ctx)?;
        filters::request_body(&mut piece, end, self.ctx).await?;
        if let Some(piece) = piece {
            self.backend.piece(piece)?;
        }
        if end {
            self.backend.end()?;
        }
        Ok(())
    }

    fn go_on(&mut self) -> Result<()> {
        self.go_on_at = None;
        self.went_on = true;
        self.client.send(self.session, continue_head()?)
    }

    async fn head(&mut self, mut head: Box<ResponseHeader>) -> Result<()> {
        self.proxy
            .response_head(self.session, &mut head, self.ctx)
            .await?;
        hop_by_hop::strip_response(&mut head);
        let switches = head.status == StatusCode::SWITCHING_PROTOCOLS;
        if head.status.is_informational() && !switches {
            return self.interim(head);
        }
        self.go_on_at = None;
        self.proxy
            .to_client(self.session, &mut head, self.ctx)
            .await?;
        if switches {
            self.stage = Stage::Tunnel;
            return self
                .client
                .send(self.session, HttpTask::Header(head, false));
        }
        let over = self.backend.is_over();
        let bodiless = is_bodiless(self.session, head.status);
        frame(bodiless, &mut head)?;
        let ends = over && !self.is_added_to(&head);
        self.stage = if ends { Stage::Over } else { Stage::Body };
        // A fault in the first of the body is found before anything of the response is sent.
        let pieces = self.gather()?;
        self.client
            .send(self.session, HttpTask::Header(head, ends))?;
        for piece in pieces {
            self.client.send(self.session, piece)?;
        }
        Ok(())
    }

    /// Those of before 1.1 know no interim responses (RFC 9110 15.2).
    fn interim(&mut self, head: Box<ResponseHeader>) -> Result<()> {
        if head.status == StatusCode::CONTINUE {
            self.go_on_at = None;
            if self.went_on {
                return Ok(());
            }
        }
        match self.session.req_header().version {
            Version::HTTP_11 => self
                .client
                .send(self.session, HttpTask::Header(head, false)),
            _ => Ok(()),
        }
    }

    /// The backend's response has no body, and a filter may give it one.
    fn is_added_to(&self, head: &ResponseHeader) -> bool {
        head.headers.contains_key(header::TRANSFER_ENCODING)
            && !is_bodiless(self.session, head.status)
    }

    /// Most often the body, or much of it, came with the head: it goes on with it. What was good before a fault is the
    /// client's.
    fn gather(&mut self) -> Result<SmallVec<[HttpTask; 2]>> {
        let mut gathered = 0;
        let mut pieces = SmallVec::new();
        let mut task = Task::from_waker(std::task::Waker::noop());
        while self.stage == Stage::Body && gathered < GATHERED {
            let Poll::Ready(read) = self.backend.poll_body(&mut task) else {
                break;
            };
            if let Ok(Some(data)) = &read {
                gathered += data.len();
            }
            match self.piece(read) {
                Ok(piece) => pieces.push(piece),
                Err(error) if gathered == 0 => return Err(error),
                Err(error) => {
                    self.broken = Some(error);
                    break;
                }
            }
        }
        Ok(pieces)
    }

    fn down(&mut self, read: Result<Option<Bytes>>) -> Result<()> {
        let piece = self.piece(read)?;
        self.client.send(self.session, piece)
    }

    /// A piece of the response's body, as filters leave it.
    fn piece(&mut self, read: Result<Option<Bytes>>) -> Result<HttpTask> {
        let mut data = read?;
        let over = self.backend.is_over();
        filters::response_body(&mut data, over, self.ctx)?;
        if over {
            self.stage = Stage::Over;
        }
        Ok(HttpTask::Body(data, over))
    }
}

/// Whether a response has no body, whatever its head says (RFC 9110 6.4.1).
pub(super) fn is_bodiless(session: &Session, status: StatusCode) -> bool {
    session.req_header().method == Method::HEAD
        || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status)
}

/// The client's framing, once filters have spoken: a body without a length goes on in chunks, so that its end is seen and the
/// connection can be kept.
pub(super) fn frame(bodiless: bool, head: &mut ResponseHeader) -> Result<()> {
    let framed = head.headers.contains_key(header::CONTENT_LENGTH)
        || head.headers.contains_key(header::TRANSFER_ENCODING);
    if bodiless || framed {
        return Ok(());
    }
    head.set_version(Version::HTTP_11);
    head.insert_header(header::TRANSFER_ENCODING, "chunked")
}
