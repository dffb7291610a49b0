//! The HTTP client of filters that ask others: bounded in time and in size, over http and (feature `tls`) https.

#[cfg(test)]
pub(crate) mod loopback;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::filter::BuildError;

#[cfg(feature = "tls")]
type Connector = hyper_boring::HttpsConnector<HttpConnector>;
#[cfg(not(feature = "tls"))]
type Connector = HttpConnector;

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// Not within the time.
    #[error("no answer in time")]
    Timeout,
    /// Connecting or sending failed.
    #[error("cannot be asked: {0}")]
    Connect(#[from] hyper_util::client::legacy::Error),
    /// The answer broke off, or is over the size.
    #[error("answer cannot be read: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
}

/// One connection pool; connections are kept for 30 s.
#[derive(Clone)]
pub struct Outbound {
    client: Client<Connector, Full<Bytes>>,
    timeout: Duration,
    max_body: usize,
}

impl Outbound {
    /// Answers must come within `timeout` and hold at most `max_body` bytes.
    ///
    /// # Errors
    /// The TLS roots of the system cannot be read.
    pub fn new(timeout: Duration, max_body: usize) -> Result<Outbound, BuildError> {
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_idle_timeout(Duration::from_secs(30));
        builder.pool_timer(TokioTimer::new());
        builder.pool_max_idle_per_host(32);
        Ok(Outbound {
            client: builder.build(connector(timeout)?),
            timeout,
            max_body,
        })
    }

    /// Sends a request and reads all of the answer. The target must be a whole URL. What is asked on account of a request
    /// carries that request's count of hops, one higher: see [`crate::hops`].
    ///
    /// # Errors
    /// See [`OutboundError`]; any status is an answer.
    pub async fn ask(&self, request: Request<Bytes>) -> Result<Response<Bytes>, OutboundError> {
        let answer = async {
            let response = self.client.request(request.map(Full::new)).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, self.max_body).collect().await;
            let body = body.map_err(OutboundError::Body)?.to_bytes();
            Ok(Response::from_parts(head, body))
        };
        let answer = tokio::time::timeout(self.timeout, answer).await;
        answer.unwrap_or(Err(OutboundError::Timeout))
    }
}

fn connector(timeout: Duration) -> Result<Connector, BuildError> {
    let mut http = HttpConnector::new();
    http.set_connect_timeout(Some(timeout));
    http.set_nodelay(true);
    #[cfg(feature = "tls")]
    {
        http.enforce_http(false);
        let tls = hyper_boring::HttpsConnector::with_connector(http, tls()?);
        tls.map_err(|e| BuildError::new(format!("TLS cannot be set up: {e}")))
    }
    #[cfg(not(feature = "tls"))]
    Ok(http)
}

/// The system's roots, and HTTP/1.1 alone.
#[cfg(feature = "tls")]
fn tls() -> Result<boring::ssl::SslConnectorBuilder, BuildError> {
    let set_up = || {
        let mut tls = boring::ssl::SslConnector::builder(boring::ssl::SslMethod::tls())?;
        tls.set_alpn_protos(b"\x08http/1.1")?;
        Ok::<_, boring::error::ErrorStack>(tls)
    };
    set_up().map_err(|e| BuildError::new(format!("TLS cannot be set up: {e}")))
}

/// Checks a URL of a config: `http` or `https`, with a host.
///
/// # Errors
/// Names the key `path`.
pub fn url(text: &str, path: &str) -> Result<Uri, BuildError> {
    let refuse = |say: &str| Err(BuildError::at(path, say));
    let Ok(uri) = text.parse::<Uri>() else {
        return refuse("write a URL such as http://auth:9000/check");
    };
    match uri.scheme_str() {
        Some("http") if uri.host().is_some() => Ok(uri),
        Some("https") if uri.host().is_some() && cfg!(feature = "tls") => Ok(uri),
        Some("https") => refuse("https needs the feature `tls` of tidegate-filters"),
        _ => refuse("write a URL such as http://auth:9000/check"),
    }
}
