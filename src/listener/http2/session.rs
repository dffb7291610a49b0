//! One stream's request and response, as Pingora's proxy asks for them. Pingora's own session has no interim responses, and
//! its writing can't be given up half-way.
//!
//! A response that is not whole when the session is dropped ends with a reset, so that the client sees it; one that is, while
//! the client still sends, with a reset of NO_ERROR (RFC 9113 8.1). h2 does both.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderName, Response, StatusCode, header};
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::custom::{CustomMessageWrite, server};
use pingora_core::protocols::http::date::get_cached_date;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::{Error, ErrorType, OrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};

use super::sending::{self, Sending};
use crate::listener::connection::Connection;
use crate::listener::kept::Kept;

type Messages = Box<dyn futures_util::Stream<Item = Result<Bytes>> + Unpin + Send + Sync>;

/// Interim responses that one request gets at most. h2 holds them until the client takes them, however many there are.
const INTERIMS: u8 = 16;

/// One stream of a connection.
pub struct Session {
    connection: Arc<Connection>,
    request: RequestHeader,
    body: RecvStream,
    body_read: usize,
    /// The end of the body was read.
    body_over: bool,
    respond: SendResponse<Bytes>,
    /// How many interim responses there were.
    interims: u8,
    written: Option<Box<ResponseHeader>>,
    sending: Sending,
    /// Why a task that was handed over could not be sent.
    failed: Option<Box<Error>>,
    /// The body so far, where Pingora asks for it to be kept.
    kept: Option<Kept>,
}

impl Session {
    pub fn new(
        connection: Arc<Connection>,
        request: http::Request<RecvStream>,
        respond: SendResponse<Bytes>,
    ) -> Session {
        let (request, body) = request.into_parts();
        Session {
            connection,
            request: request.into(),
            body,
            body_read: 0,
            body_over: false,
            respond,
            interims: 0,
            written: None,
            sending: Sending::default(),
            failed: None,
            kept: None,
        }
    }

    fn id(&self) -> u32 {
        self.respond.stream_id().as_u32()
    }

    /// Interim heads first, then one final one.
    fn head(&mut self, mut head: Box<ResponseHeader>, end: bool) -> Result<()> {
        if self.written.is_some() {
            return Ok(());
        }
        strip(&mut head);
        if head.status.is_informational() {
            return self.interim(&head);
        }
        if !head.headers.contains_key(header::DATE) {
            head.insert_header(header::DATE, get_cached_date())?;
        }
        let response = Response::from_parts(head.as_owned_parts(), ());
        let stream = self.respond.send_response(response, end);
        self.sending.begin(stream.map_err(sending::unwritten)?, end);
        self.written = Some(head);
        Ok(())
    }

    /// There is no 101 over HTTP/2 (RFC 9113 8.6).
    fn interim(&mut self, head: &ResponseHeader) -> Result<()> {
        if head.status == StatusCode::SWITCHING_PROTOCOLS || self.interims == INTERIMS {
            return Ok(());
        }
        self.interims += 1;
        self.connection.interims().add(self.id());
        let response = Response::from_parts(head.as_owned_parts(), ());
        let sent = self.respond.send_informational(response);
        sent.map_err(sending::unwritten)
    }

    /// Sends what can be sent at once; the rest waits for a flush.
    fn task(&mut self, task: HttpTask) -> Result<bool> {
        let end = match task {
            HttpTask::Header(head, end) => {
                self.head(head, end)?;
                end
            }
            HttpTask::Body(data, end) => {
                self.sending.piece(data.unwrap_or_default());
                end
            }
            HttpTask::Trailer(trailers) => {
                if let Some(trailers) = trailers {
                    self.sending.trailers(*trailers);
                }
                true
            }
            HttpTask::Done => true,
            HttpTask::Failed(error) => return Err(error),
            HttpTask::UpgradedBody(..) => {
                let why = "no other protocol comes over HTTP/2";
                return Err(Error::explain(ErrorType::InternalError, why).into_in());
            }
        };
        if end {
            self.sending.end();
        }
        self.sending.send()?;
        Ok(end)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match self.failed.take() {
            Some(error) => Poll::Ready(Err(error)),
            None => self.sending.poll(cx),
        }
    }

    async fn flush(&mut self) -> Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// What is read makes room for the client to send as much again.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if self.body_over {
            return Poll::Ready(Ok(None));
        }
        let read = ready!(self.body.poll_data(cx)).transpose();
        match &read {
            Ok(Some(data)) => {
                self.body_read += data.len();
                // Fails only where the stream is gone, which the next read says.
                let _ = self.body.flow_control().release_capacity(data.len());
                if let Some(kept) = &mut self.kept {
                    kept.add(data);
                }
            }
            Ok(None) => self.body_over = true,
            Err(_) => {}
        }
        let read = read.or_err(ErrorType::ReadError, "reading the request's body");
        Poll::Ready(read.map_err(Error::into_down))
    }

    /// Ready when the client has reset the stream, or the connection is gone.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Box<Error>> {
        let gone = match self.sending.stream() {
            Some(stream) => ready!(stream.poll_reset(cx)),
            None => ready!(self.respond.poll_reset(cx)),
        };
        let kind = match server::Session::is_body_done(self) {
            true => ErrorType::H2Error,
            false => ErrorType::ReadError,
        };
        Poll::Ready(match gone {
            Ok(reason) => sending::reset(reason, kind),
            Err(error) => {
                Error::because(ErrorType::H2Error, "the client is gone", error).into_down()
            }
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.interims > 0 {
            self.connection.interims().forget(self.id());
        }
    }
}

/// What HTTP/2 has no use for (RFC 9113 8.2.2).
fn strip(head: &mut ResponseHeader) {
    for name in [
        header::TRANSFER_ENCODING,
        header::CONNECTION,
        header::UPGRADE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ] {
        head.remove_header(&name);
    }
}

#[async_trait]
impl server::Session for Session {
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

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.head(head, end)
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, end: bool) -> Result<()> {
        self.head(Box::new(head.clone()), end)
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.task(HttpTask::Body(Some(data), end))?;
        self.flush().await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.task(HttpTask::Trailer(Some(Box::new(trailers))))?;
        self.flush().await
    }

    /// What comes before a fault is the client's.
    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut end = false;
        for task in tasks {
            match self.task(task) {
                Ok(over) => end |= over,
                Err(error) => {
                    self.flush().await?;
                    return Err(error);
                }
            }
        }
        self.flush().await?;
        Ok(end)
    }

    fn send_proxy_task(&mut self, task: HttpTask) {
        if let Err(error) = self.task(task) {
            self.failed.get_or_insert(error);
        }
    }

    fn has_pending_proxy_tasks(&self) -> bool {
        self.failed.is_some() || self.sending.owes()
    }

    /// May be dropped and called again.
    async fn write_proxy_tasks(&mut self) -> Result<bool> {
        self.flush().await?;
        Ok(self.sending.is_over())
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
        self.written.as_deref()
    }

    async fn shutdown(&mut self, _code: u32, _context: &str) {
        if !self.sending.is_over() {
            self.respond.send_reset(Reason::INTERNAL_ERROR);
        }
    }

    fn is_body_done(&mut self) -> bool {
        self.body_over || self.body.is_end_stream() || self.is_body_empty()
    }

    /// The response is over. A stream without one is reset when it is dropped.
    async fn finish(&mut self) -> Result<()> {
        self.sending.end();
        self.flush().await
    }

    fn is_body_empty(&mut self) -> bool {
        let length = self.request.headers.get(header::CONTENT_LENGTH);
        let none = length.is_some_and(|length| length.as_bytes() == b"0");
        self.body_read == 0 && (none || self.body.is_end_stream())
    }

    /// Behind the body, or where none is wanted: ready only when the client is gone.
    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if no_body_expected || self.is_body_done() {
            return Err(poll_fn(|cx| self.poll_gone(cx)).await);
        }
        self.read_body_bytes().await
    }

    fn body_bytes_sent(&self) -> usize {
        self.sending.sent()
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
        self.kept.as_ref().is_some_and(Kept::is_lost)
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        self.kept.as_ref()?.whole()
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
}
