//! One probe of one backend: connect, ask, judge the answer.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::StatusCode;
use pingora_core::connectors::TransportConnector;
use pingora_core::connectors::http::Connector;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};

use crate::config::model::Probe;
use crate::outcome;

/// How much of a body is read to find a text in it, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// A response with this header asks for the backend to be drained.
pub const DRAIN_HEADER: &str = "x-tidegate-drain";

/// What a backend said to a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    /// It passes, and asks for no new requests.
    Drain,
    /// It does not listen.
    Refused,
    Timeout,
    /// It answers, but not as it should.
    Fail(String),
    /// It could not be asked: no descriptor or no port was left here.
    NotAsked,
}

/// Sends probes. Connections are not kept: a probe shall show that a new one can be made.
pub struct Prober {
    http: Connector,
    transport: TransportConnector,
}

impl Default for Prober {
    fn default() -> Prober {
        Prober {
            http: Connector::new(None),
            transport: TransportConnector::new(None),
        }
    }
}

impl Prober {
    /// Probes once, within `timeout` for everything together. `state` is told to the backend.
    pub async fn probe(
        &self,
        probe: &Probe,
        mut peer: HttpPeer,
        timeout: Duration,
        state: &str,
    ) -> Verdict {
        peer.options.connection_timeout = Some(timeout);
        peer.options.total_connection_timeout = Some(timeout);
        peer.options.read_timeout = Some(timeout);
        match tokio::time::timeout(timeout, self.ask(probe, peer, state)).await {
            Err(_) => Verdict::Timeout,
            Ok(Ok(verdict)) => verdict,
            Ok(Err(error)) => of_error(&error),
        }
    }

    async fn ask(&self, probe: &Probe, peer: HttpPeer, state: &str) -> Result<Verdict> {
        match probe {
            Probe::Tcp | Probe::Tls => {
                // The peer's own scheme decides whether there is a handshake.
                self.transport
                    .new_stream(&peer)
                    .await
                    .map(|_| Verdict::Pass)
            }
            Probe::Http {
                http2, path, host, ..
            } => {
                let mut request = RequestHeader::build("GET", path.as_bytes(), Some(4))?;
                request.insert_header("host", host.as_deref().unwrap_or(&authority(&peer)))?;
                request.insert_header("x-tidegate-check", state)?;
                let mut peer = peer;
                let version = if *http2 { 2 } else { 1 };
                peer.options.set_http_version(version, version);
                self.ask_http(probe, peer, request).await
            }
            Probe::Grpc { service } => self.ask_grpc(peer, service).await,
        }
    }

    async fn ask_http(
        &self,
        probe: &Probe,
        peer: HttpPeer,
        request: RequestHeader,
    ) -> Result<Verdict> {
        let (mut session, _) = self.http.get_http_session(&peer).await?;
        session.set_read_timeout(peer.options.read_timeout);
        session.write_request_header(Box::new(request)).await?;
        session.finish_request_body().await?;
        session.read_response_header().await?;
        let Some(head) = session.response_header().cloned() else {
            return Error::e_explain(ErrorType::ReadError, "no response head");
        };
        let judged = judge_head(probe, &head);
        if judged == Verdict::Pass {
            return judge_body(probe, &mut session).await;
        }
        session.shutdown().await;
        Ok(judged)
    }

    /// `grpc.health.v1.Health/Check` of the gRPC health checking protocol.
    async fn ask_grpc(&self, mut peer: HttpPeer, service: &str) -> Result<Verdict> {
        peer.options.set_http_version(2, 2);
        let path = b"/grpc.health.v1.Health/Check";
        let mut request = RequestHeader::build("POST", path, Some(4))?;
        request.insert_header("host", authority(&peer))?;
        request.insert_header("content-type", "application/grpc")?;
        request.insert_header("te", "trailers")?;
        let (mut session, _) = self.http.get_http_session(&peer).await?;
        session.set_read_timeout(peer.options.read_timeout);
        session.write_request_header(Box::new(request)).await?;
        session
            .write_request_body(grpc_health_request(service), true)
            .await?;
        session.read_response_header().await?;
        let status = session.response_header().map(|head| head.status);
        if status != Some(StatusCode::OK) {
            return Ok(Verdict::Fail(format!("status {status:?}")));
        }
        let body = read_body(&mut session).await?;
        // Field 1, varint 1: SERVING.
        if body.get(5..) == Some(&[0x08, 0x01]) {
            return Ok(Verdict::Pass);
        }
        Ok(Verdict::Fail("gRPC health is not SERVING".into()))
    }
}

fn authority(peer: &HttpPeer) -> String {
    if peer.sni.is_empty() {
        peer._address.to_string()
    } else {
        peer.sni.clone()
    }
}

fn judge_head(probe: &Probe, head: &ResponseHeader) -> Verdict {
    let Probe::Http {
        expected_status,
        header,
        drain_on_404,
        ..
    } = probe
    else {
        return Verdict::Pass;
    };
    let status = head.status.as_u16();
    if *drain_on_404 && status == 404 {
        return Verdict::Drain;
    }
    if !expected_status
        .iter()
        .any(|(from, to)| (*from..=*to).contains(&status))
    {
        return Verdict::Fail(format!("status {status}"));
    }
    if let Some((name, value)) = header {
        let found = head.headers.get(name);
        let fits = match value {
            None => found.is_some(),
            Some(value) => found.is_some_and(|f| f.as_bytes() == value.as_bytes()),
        };
        if !fits {
            return Verdict::Fail(format!("header {name} is missing or different"));
        }
    }
    if head.headers.get(DRAIN_HEADER).is_some_and(|v| v == "1") {
        return Verdict::Drain;
    }
    Verdict::Pass
}

async fn judge_body(probe: &Probe, session: &mut HttpSession) -> Result<Verdict> {
    let Probe::Http {
        body_contains: Some(text),
        ..
    } = probe
    else {
        return Ok(Verdict::Pass);
    };
    let body = read_body(session).await?;
    if memchr::memmem::find(&body, text.as_bytes()).is_some() {
        return Ok(Verdict::Pass);
    }
    Ok(Verdict::Fail(format!(
        "{text:?} is not in the first {MAX_BODY} bytes of the body"
    )))
}

async fn read_body(session: &mut HttpSession) -> Result<BytesMut> {
    let mut body = BytesMut::new();
    while let Some(chunk) = session.read_response_body().await? {
        let room = MAX_BODY - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == MAX_BODY {
            break;
        }
    }
    Ok(body)
}

/// One length-prefixed message with the service's name as field 1.
fn grpc_health_request(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        // Names are far shorter than 128 bytes: the config says so.
        message.put_u8(u8::try_from(service.len()).unwrap_or(127));
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(0));
    framed.put(message);
    framed.freeze()
}

fn of_error(error: &Error) -> Verdict {
    match error.etype() {
        ErrorType::ConnectRefused => Verdict::Refused,
        ErrorType::ConnectTimedout
        | ErrorType::ReadTimedout
        | ErrorType::WriteTimedout
        | ErrorType::TLSHandshakeTimedout => Verdict::Timeout,
        _ if outcome::is_local(error) => Verdict::NotAsked,
        other => Verdict::Fail(other.as_str().to_owned()),
    }
}
