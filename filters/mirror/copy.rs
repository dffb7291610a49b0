//! One copy: taken while the exchange runs, sent when it is over, compared when it is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING, UPGRADE};
use http::uri::{PathAndQuery, Uri};
use http::{HeaderValue, Request, StatusCode};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::filter::RequestHead;
use crate::hops;
use crate::outbound::Outbound;

/// Tells the other service that this is a copy.
const MIRRORED: HeaderName = HeaderName::from_static("x-mirrored");

/// What is gathered during an exchange.
pub(super) struct Taking {
    head: RequestHead,
    body: Vec<u8>,
    attempt: u32,
    answer: Option<(StatusCode, Sha256)>,
}

/// A request to be copied, and what the client was answered if that is to be compared.
pub(super) struct Copy {
    head: RequestHead,
    body: Bytes,
    answer: Option<(StatusCode, [u8; 32])>,
}

impl Taking {
    pub fn new(head: &RequestHead) -> Taking {
        Taking {
            head: head.clone(),
            body: Vec::new(),
            attempt: 0,
            answer: None,
        }
    }

    /// `false`: it has become too large.
    pub fn body(&mut self, attempt: u32, chunk: &[u8], max: usize) -> bool {
        if self.attempt != attempt {
            self.attempt = attempt;
            self.body.clear();
        }
        let fits = self.body.len() + chunk.len() <= max;
        if fits {
            self.body.extend_from_slice(chunk);
        }
        fits
    }

    pub fn answered(&mut self, status: StatusCode) {
        self.answer = Some((status, Sha256::new()));
    }

    pub fn answer_body(&mut self, chunk: &[u8]) {
        if let Some((_, hash)) = &mut self.answer {
            hash.update(chunk);
        }
    }

    pub fn done(self) -> Copy {
        Copy {
            head: self.head,
            body: self.body.into(),
            answer: self
                .answer
                .map(|(status, hash)| (status, hash.finalize().into())),
        }
    }
}

/// The task that sends copies.
pub(super) struct Copier {
    pub base: Uri,
    pub client: Outbound,
    pub waiting: mpsc::Receiver<Copy>,
    pub max_in_flight: usize,
    pub counts: Arc<Counts>,
}

impl Copier {
    /// Until the filter is gone.
    pub async fn run(mut self) {
        let mut under_way = JoinSet::new();
        while let Some(copy) = self.waiting.recv().await {
            if under_way.len() >= self.max_in_flight {
                under_way.join_next().await;
            }
            // Those that are over make room.
            while under_way.try_join_next().is_some() {}
            if let Some((request, answer)) = copy.request(&self.base) {
                let (client, counts) = (self.client.clone(), Arc::clone(&self.counts));
                under_way.spawn(async move { send(&client, request, answer, &counts).await });
            }
        }
    }
}

type Answer = Option<(StatusCode, [u8; 32])>;

impl Copy {
    fn request(self, base: &Uri) -> Option<(Request<Bytes>, Answer)> {
        let mut parts = base.clone().into_parts();
        let target = self.head.uri.path_and_query().cloned();
        parts.path_and_query = Some(target.unwrap_or(PathAndQuery::from_static("/")));
        let mut request = Request::new(self.body);
        *request.uri_mut() = Uri::from_parts(parts).ok()?;
        *request.method_mut() = self.head.method;
        let headers = request.headers_mut();
        *headers = self.head.headers;
        for name in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE] {
            headers.remove(name);
        }
        headers.insert(MIRRORED, HeaderValue::from_static("1"));
        hops::raise(headers);
        Some((request, self.answer))
    }
}

async fn send(client: &Outbound, request: Request<Bytes>, answer: Answer, counts: &Counts) {
    let target = request.uri().path().to_string();
    let copied = match client.ask(request).await {
        Ok(copied) => copied,
        Err(error) => {
            log::debug!("mirror: {target}: {error}");
            counts.failed.fetch_add(1, Relaxed);
            return;
        }
    };
    counts.sent.fetch_add(1, Relaxed);
    let Some((status, hash)) = answer else {
        return;
    };
    if copied.status() != status {
        counts.status_differs.fetch_add(1, Relaxed);
        log::info!("mirror: {target}: {status}, mirrored {}", copied.status());
    } else if <[u8; 32]>::from(Sha256::digest(copied.body())) != hash {
        counts.body_differs.fetch_add(1, Relaxed);
        log::info!("mirror: {target}: {status}, bodies differ");
    } else {
        counts.same.fetch_add(1, Relaxed);
    }
}

/// What became of copies.
#[derive(Default)]
pub(super) struct Counts {
    sent: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    too_large: AtomicU64,
    same: AtomicU64,
    status_differs: AtomicU64,
    body_differs: AtomicU64,
}

impl Counts {
    pub fn dropped(&self) {
        self.dropped.fetch_add(1, Relaxed);
    }

    pub fn too_large(&self) {
        self.too_large.fetch_add(1, Relaxed);
    }

    pub fn read(&self) -> Vec<(&'static str, u64)> {
        let all = [
            ("sent", &self.sent),
            ("failed", &self.failed),
            ("dropped", &self.dropped),
            ("too_large", &self.too_large),
            ("same", &self.same),
            ("status_differs", &self.status_differs),
            ("body_differs", &self.body_differs),
        ];
        all.map(|(event, count)| (event, count.load(Relaxed)))
            .into()
    }
}
