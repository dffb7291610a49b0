//! One request and its response, as Pingora's proxy asks for them: the body comes up while the response goes down, on one
//! task.
//!
//! Reading and writing can each be given up and taken up again at any point, so that whoever serves the request polls both.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::custom::{CustomMessageWrite, server};
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::{Digest, IO, Shutdown};
use pingora_core::{Error, ErrorType, OrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::io::{AsyncRead, ReadBuf};

use super::response::Response;
use crate::listener::deadline;
use crate::listener::guard::Guard;

/// A client that has ended its side may wait for its response, or be gone: nothing tells the two apart before something is
/// sent to it. For so long it is taken to wait.
const HALF_CLOSED: Duration = Duration::from_secs(5);

/// Where a connection comes back to when its request was served.
pub type Back<S> = Arc<Mutex<Option<(Box<Guard<S>>, Then)>>>;

type Messages = Box<dyn futures_util::Stream<Item = Result<Bytes>> + Unpin + Send + Sync>;

/// What is to be done with a connection whose request was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The next request may come.
    Next,
    /// The next request may come behind the rest of this one's body.
    PassOverBody,
    /// It ends, and nobody sends any more.
    Part,
    /// It ends, and the client may still be sending.
    Linger,
}

/// How a request is served.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// The client wants to send another request.
    pub keeps: bool,
    /// The request has a body.
    pub body: bool,
    /// It asks for another protocol, in a way that can be passed on.
    pub upgrade: bool,
}

/// A connection lent for one request.
pub struct Session<S> {
    /// `None` once the response is over.
    guard: Option<Box<Guard<S>>>,
    back: Back<S>,
    request: RequestHeader,
    facts: Facts,
    body_read: usize,
    response: Response,
    sending: Sending,
    /// The response was a 101: what follows on both sides is no HTTP.
    switched: bool,
    /// When the client ended its side behind the whole request.
    half_closed: Option<Instant>,
    /// The body so far, where Pingora asks for it to be kept.
    kept: Option<Kept>,
}

/// What Pingora sends again of a body, where it serves the request.
#[derive(Default)]
struct Kept {
    bytes: BytesMut,
    lost: bool,
}

/// As much as Pingora's own sessions keep, in bytes.
const KEPT: usize = 64 * 1024;

impl Kept {
    fn add(&mut self, data: &[u8]) {
        self.lost |= self.bytes.len() + data.len() > KEPT;
        match self.lost {
            true => self.bytes = BytesMut::new(),
            false => self.bytes.extend_from_slice(data),
        }
    }
}

/// What is on its way to the client.
#[derive(Default)]
struct Sending {
    first: BytesMut,
    /// Pieces that are too large to be copied.
    pieces: VecDeque<Bytes>,
    /// Of `first` and the first piece.
    sent: usize,
    /// Nothing follows, and the client is to be told.
    ends: bool,
}

impl<S: IO> Session<S> {
    pub fn new(
        guard: Box<Guard<S>>,
        back: Back<S>,
        request: RequestHeader,
        facts: Facts,
    ) -> Session<S> {
        Session {
            response: Response::to(&request, facts.keeps),
            guard: Some(guard),
            back,
            request,
            facts,
            body_read: 0,
            sending: Sending::default(),
            switched: false,
            half_closed: None,
            kept: None,
        }
    }

    fn head(&mut self, head: Box<ResponseHeader>) {
        let guard = self.guard.as_deref();
        let closes = guard.is_none_or(|guard| closes(guard, head.status));
        self.switched |= head.status == StatusCode::SWITCHING_PROTOCOLS;
        self.response.head(head, closes);
    }

    /// Adds a piece of the body.
    fn piece(&mut self, data: Bytes) {
        let length = self.response.begin_piece(&data).len();
        let data = data.slice(..length);
        match self.response.has_room(length) {
            true => self.response.hold(&data),
            false => {
                self.sending.follow(self.response.take_held());
                self.sending.pieces.push_back(data);
            }
        }
        self.response.end_piece(length);
    }

    fn task(&mut self, task: HttpTask) -> Result<bool> {
        let (data, end) = match task {
            HttpTask::Header(head, end) => {
                self.head(head);
                (None, end)
            }
            HttpTask::Body(data, end) => (data, end),
            HttpTask::UpgradedBody(data, end) => {
                self.sending.ends |= end;
                (data, end)
            }
            // Nobody reads trailers over HTTP/1.
            HttpTask::Trailer(_) | HttpTask::Done => (None, true),
            HttpTask::Failed(error) => return Err(error),
        };
        if let Some(data) = data {
            self.piece(data);
        }
        if end {
            self.response.end();
        }
        Ok(end)
    }

    /// Sends what there is.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Some(guard) = &mut self.guard else {
            return Poll::Ready(Ok(()));
        };
        let sent = ready!(self.sending.poll(guard, &mut self.response, cx));
        let sent = sent.or_err(ErrorType::WriteError, "sending the response");
        Poll::Ready(sent.map_err(Error::into_down))
    }

    async fn flush(&mut self) -> Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        let Some(guard) = &mut self.guard else {
            return Poll::Ready(Ok(None));
        };
        let read = match self.switched {
            true => ready!(guard.poll_raw(cx)),
            false => ready!(guard.poll_request_body(cx)),
        };
        if let Ok(Some(data)) = &read {
            self.body_read += data.len();
            if let Some(kept) = &mut self.kept {
                kept.add(data);
            }
        }
        let read = read.or_err(ErrorType::ReadError, "reading the request's body");
        Poll::Ready(read.map_err(Error::into_down))
    }

    /// Ready when the client is gone.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Box<Error>> {
        let Some(guard) = self
            .guard
            .as_deref_mut()
            .filter(|guard| guard.is_body_over())
        else {
            return Poll::Pending;
        };
        let mut byte = [0];
        let mut read = ReadBuf::new(&mut byte);
        if let Err(error) = ready!(Pin::new(guard).poll_read(cx, &mut read)) {
            let why = "waiting for the response";
            return Poll::Ready(Error::because(ErrorType::ReadError, why, error));
        }
        let since = *self.half_closed.get_or_insert_with(Instant::now);
        ready!(deadline::poll_at(cx, since + HALF_CLOSED));
        Poll::Ready(Error::explain(
            ErrorType::ConnectionClosed,
            "the client is gone",
        ))
    }
}

impl Sending {
    /// These bytes go behind what is on its way.
    fn follow(&mut self, bytes: BytesMut) {
        if bytes.is_empty() {
            return;
        }
        match self.first.is_empty() && self.pieces.is_empty() {
            true => self.first = bytes,
            false => self.pieces.push_back(bytes.freeze()),
        }
    }

    fn poll<S: IO>(
        &mut self,
        guard: &mut Guard<S>,
        response: &mut Response,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if response.holds() {
            self.follow(response.take_held());
        }
        while !self.first.is_empty() || !self.pieces.is_empty() {
            let piece = self.pieces.front().map_or(&[][..], |piece| piece);
            ready!(guard.poll_send(cx, [&self.first, piece], &mut self.sent))?;
            self.first = BytesMut::new();
            self.pieces.pop_front();
            self.sent = 0;
        }
        if self.ends {
            ready!(guard.poll_end_of_sending(cx))?;
            self.ends = false;
        }
        Poll::Ready(Ok(()))
    }
}

/// Whether the connection ends with a response of this status. A client that is refused while it still sends is told that
/// nobody listens any more; one that waits for a 100 may send its body all the same, or its next request.
fn closes<S: IO>(guard: &Guard<S>, status: StatusCode) -> bool {
    let refused = status.is_client_error() || status.is_server_error();
    let unread = !guard.is_body_over() && !guard.is_rest_here();
    guard.connection().closes() || unread && (refused || guard.awaits_continue())
}

#[async_trait]
impl<S: IO + 'static> server::Session for Session<S> {
    fn req_header(&self) -> &RequestHeader {
        &self.request
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.request
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        poll_fn(|cx| self.poll_body(cx)).await
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        Ok(())
    }

    /// Held until the body that belongs to it comes.
    async fn write_response_header(&mut self, head: Box<ResponseHeader>, end: bool) -> Result<()> {
        let interim = head.status.is_informational();
        self.head(head);
        match interim || end || self.response.is_over() {
            true => self.flush().await,
            false => Ok(()),
        }
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, end: bool) -> Result<()> {
        self.write_response_header(Box::new(head.clone()), end)
            .await
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.piece(data);
        if end {
            self.response.end();
        }
        self.flush().await
    }

    async fn write_trailers(&mut self, _trailers: HeaderMap) -> Result<()> {
        self.response.end();
        self.flush().await
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut end = false;
        for task in tasks {
            end |= self.task(task)?;
        }
        self.flush().await?;
        Ok(end || self.response.is_over())
    }

    /// Adds to what is to be sent. One that failed leaves the response unfinished, which the client sees.
    fn send_proxy_task(&mut self, task: HttpTask) {
        let _ = self.task(task);
    }

    fn has_pending_proxy_tasks(&self) -> bool {
        self.response.holds() || !self.sending.first.is_empty() || !self.sending.pieces.is_empty()
    }

    /// Sends it. May be dropped and called again.
    async fn write_proxy_tasks(&mut self) -> Result<bool> {
        self.flush().await?;
        Ok(self.response.is_over())
    }

    fn set_read_timeout(&mut self, _timeout: Option<Duration>) {}

    fn get_read_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_write_timeout(&mut self, _timeout: Option<Duration>) {}

    fn get_write_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_total_drain_timeout(&mut self, _timeout: Option<Duration>) {}

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        None
    }

    fn request_summary(&self) -> String {
        format!("{} {}", self.request.method, self.request.uri)
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.response.written()
    }

    async fn shutdown(&mut self, _code: u32, _context: &str) {
        if let Some(guard) = &mut self.guard {
            guard.shutdown().await;
        }
    }

    fn is_body_done(&mut self) -> bool {
        self.guard.as_ref().is_none_or(|guard| guard.is_body_over())
    }

    /// The response is over: the connection goes back. One whose response is not is dropped, so that the client sees it.
    async fn finish(&mut self) -> Result<()> {
        if !self.switched {
            self.response.end();
        }
        self.flush().await?;
        let Some(guard) = self.guard.take().filter(|_| self.response.is_over()) else {
            return Ok(());
        };
        let then = match (self.response.keeps(), guard.is_body_over()) {
            (true, true) => Then::Next,
            (true, false) => Then::PassOverBody,
            (false, true) => Then::Part,
            (false, false) => Then::Linger,
        };
        *self.back.lock().unwrap_or_else(PoisonError::into_inner) = Some((guard, then));
        Ok(())
    }

    fn is_body_empty(&mut self) -> bool {
        !self.facts.body
    }

    /// Behind the body, or where none is wanted: ready only when the client is gone.
    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if no_body_expected || self.is_body_done() {
            return Err(poll_fn(|cx| self.poll_gone(cx)).await);
        }
        self.read_body_bytes().await
    }

    fn body_bytes_sent(&self) -> usize {
        self.response.sent()
    }

    fn body_bytes_read(&self) -> usize {
        self.body_read
    }

    fn digest(&self) -> Option<&Digest> {
        None
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        None
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        None
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        None
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        Bytes::new()
    }

    fn enable_retry_buffering(&mut self) {
        self.kept.get_or_insert_default();
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.lost)
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        let kept = self.kept.as_ref().filter(|kept| !kept.lost)?;
        (!kept.bytes.is_empty()).then(|| Bytes::copy_from_slice(&kept.bytes))
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(&mut self) -> Option<Messages> {
        None
    }

    fn restore_custom_message_reader(&mut self, _reader: Messages) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(
        &mut self,
        _writer: Box<dyn CustomMessageWrite>,
    ) -> Result<()> {
        Ok(())
    }

    fn is_upgrade_req(&self) -> bool {
        self.facts.upgrade && self.request.headers.contains_key(header::UPGRADE)
    }

    fn was_upgraded(&self) -> bool {
        self.switched
    }
}
