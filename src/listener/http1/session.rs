//! One request without a body and its response, as Pingora's proxy asks for them.
//!
//! Pingora's own session can do more, and parses a head anew that was read already: it serves the requests that have a body
//! or ask for another protocol.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::custom::{CustomMessageWrite, server};
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::{Digest, IO, Shutdown};
use pingora_core::{Error, ErrorType, OrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::io::{AsyncRead, ReadBuf};

use super::response::Response;
use crate::listener::guard::Guard;

/// Where a connection comes back to when it may carry another request.
pub type Back<S> = Arc<Mutex<Option<Box<Guard<S>>>>>;

type Messages = Box<dyn futures_util::Stream<Item = Result<Bytes>> + Unpin + Send + Sync>;

/// A connection lent for one request.
pub struct Session<S> {
    /// `None` once the response is over.
    guard: Option<Box<Guard<S>>>,
    back: Back<S>,
    request: RequestHeader,
    response: Response,
}

impl<S: IO> Session<S> {
    /// `keeps`: the client wants to send another request.
    pub fn new(
        guard: Box<Guard<S>>,
        back: Back<S>,
        request: RequestHeader,
        keeps: bool,
    ) -> Session<S> {
        Session {
            response: Response::to(&request, keeps),
            guard: Some(guard),
            back,
            request,
        }
    }

    fn head(&mut self, head: Box<ResponseHeader>) {
        let connection = self.guard.as_ref().map(|guard| guard.connection());
        let closes = connection.is_none_or(|connection| connection.closes());
        self.response.head(head, closes);
    }

    /// Adds a piece of the body. A large one goes out at once behind what is held, and is not copied.
    async fn piece(&mut self, data: &[u8]) -> Result<()> {
        let data = self.response.begin_piece(data);
        match self.response.has_room(data.len()) {
            true => self.response.hold(data),
            false => self.send(data).await?,
        }
        self.response.end_piece(data.len());
        Ok(())
    }

    /// Sends what is held, and `more` behind it.
    async fn send(&mut self, more: &[u8]) -> Result<()> {
        let held = self.response.take_held();
        let Some(guard) = &mut self.guard else {
            return Ok(());
        };
        let mut sent = 0;
        poll_fn(|cx| guard.poll_send(cx, [&held, more], &mut sent))
            .await
            .or_err(ErrorType::WriteError, "sending the response")
            .map_err(Error::into_down)
    }

    async fn task(&mut self, task: HttpTask) -> Result<bool> {
        let (data, end) = match task {
            HttpTask::Header(head, end) => {
                self.head(head);
                (None, end)
            }
            HttpTask::Body(data, end) | HttpTask::UpgradedBody(data, end) => (data, end),
            // Nobody reads trailers over HTTP/1.
            HttpTask::Trailer(_) | HttpTask::Done => (None, true),
            HttpTask::Failed(error) => {
                self.send(&[]).await?;
                return Err(error);
            }
        };
        if let Some(data) = data {
            self.piece(&data).await?;
        }
        Ok(end)
    }
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
        Ok(None)
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        Ok(())
    }

    /// Held until the body that belongs to it comes.
    async fn write_response_header(&mut self, head: Box<ResponseHeader>, end: bool) -> Result<()> {
        let interim = head.status.is_informational();
        self.head(head);
        match interim || end || self.response.is_over() {
            true => self.send(&[]).await,
            false => Ok(()),
        }
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, end: bool) -> Result<()> {
        self.write_response_header(Box::new(head.clone()), end)
            .await
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.piece(&data).await?;
        if end {
            self.response.end();
        }
        self.send(&[]).await
    }

    async fn write_trailers(&mut self, _trailers: HeaderMap) -> Result<()> {
        self.response.end();
        self.send(&[]).await
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut end = false;
        for task in tasks {
            end |= self.task(task).await?;
        }
        if end {
            self.response.end();
        }
        self.send(&[]).await?;
        Ok(end || self.response.is_over())
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
        true
    }

    /// The response is over: the connection goes back, or ends.
    async fn finish(&mut self) -> Result<()> {
        self.response.end();
        self.send(&[]).await?;
        let Some(mut guard) = self.guard.take() else {
            return Ok(());
        };
        if self.response.keeps() {
            let mut back = self.back.lock().unwrap_or_else(PoisonError::into_inner);
            *back = Some(guard);
        } else if self.response.is_over() {
            guard.part().await;
        }
        Ok(())
    }

    fn is_body_empty(&mut self) -> bool {
        true
    }

    /// There is no body: ready only when the client is gone.
    async fn read_body_or_idle(&mut self, _no_body_expected: bool) -> Result<Option<Bytes>> {
        let Some(guard) = &mut self.guard else {
            return std::future::pending().await;
        };
        let mut byte = [0];
        let mut read = ReadBuf::new(&mut byte);
        poll_fn(|cx| Pin::new(&mut **guard).poll_read(cx, &mut read))
            .await
            .or_err(ErrorType::ReadError, "waiting for the response")?;
        Error::e_explain(ErrorType::ConnectionClosed, "the client is gone")
    }

    fn body_bytes_sent(&self) -> usize {
        self.response.sent()
    }

    fn body_bytes_read(&self) -> usize {
        0
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

    fn enable_retry_buffering(&mut self) {}

    fn retry_buffer_truncated(&self) -> bool {
        false
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        None
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
