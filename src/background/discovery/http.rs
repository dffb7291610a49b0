//! A list of members, asked for over HTTP.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use tidegate_filters::outbound::{Outbound, OutboundError};

use crate::config::model::HttpList;
use crate::discovery::{Answer, Failure, FailureKind, Feed};

/// A longer answer is none.
const LONGEST: usize = 4 << 20;

/// Asks one server.
pub struct ListClient {
    list: HttpList,
    client: Result<Outbound, String>,
    /// Of the list that the source has now.
    tag: Mutex<Option<HeaderValue>>,
}

impl ListClient {
    pub fn new(list: &HttpList) -> ListClient {
        ListClient {
            list: list.clone(),
            client: Outbound::new(list.timeout, LONGEST).map_err(|error| error.to_string()),
            tag: Mutex::new(None),
        }
    }

    /// The list as it is now.
    ///
    /// # Errors
    /// There is none, or it can't be understood.
    pub async fn ask(&self, feed: &Feed) -> Result<Answer, Failure> {
        let client = self
            .client
            .as_ref()
            .map_err(|error| failed(FailureKind::Unreachable, error.clone()))?;
        let mut request =
            Request::get(self.list.url.clone()).header(header::ACCEPT, "application/json");
        // Where a part was left out, it is to be counted again.
        let tag = self
            .tag()
            .clone()
            .filter(|_| feed.refused() == (0, 0) && feed.has_answered());
        if let Some(tag) = &tag {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        let request = request
            .body(Bytes::new())
            .map_err(|error| failed(FailureKind::Invalid, error.to_string()))?;
        let answer = client.ask(request).await.map_err(|error| {
            let kind = match error {
                OutboundError::Timeout => FailureKind::Timeout,
                OutboundError::Connect(_) => FailureKind::Unreachable,
                OutboundError::Body(_) => FailureKind::Invalid,
            };
            failed(kind, error.to_string())
        })?;
        let members = match answer.status() {
            StatusCode::NOT_MODIFIED if tag.is_some() => feed.members(),
            StatusCode::OK => {
                let members = self.parse(answer.body())?;
                *self.tag() = answer.headers().get(header::ETAG).cloned();
                members
            }
            status => {
                let detail = format!("{} answered {status}", self.list.url);
                return Err(failed(FailureKind::ServerFailure, detail));
            }
        };
        Ok(Answer {
            members,
            ttl: self.list.interval,
            unusable: 0,
        })
    }

    fn parse(&self, body: &[u8]) -> Result<Vec<crate::config::model::Backend>, Failure> {
        let url = self.list.url.to_string();
        let invalid = |detail: String| failed(FailureKind::Invalid, detail);
        let text = std::str::from_utf8(body).map_err(|error| invalid(format!("{url}: {error}")))?;
        crate::config::parse_backends(text, Path::new(&url)).map_err(invalid)
    }

    fn tag(&self) -> std::sync::MutexGuard<'_, Option<HeaderValue>> {
        self.tag.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(kind: FailureKind, detail: String) -> Failure {
    Failure { kind, detail }
}
