//! The way of a request, phase by phase. Each phase is a few calls; what they do stands in the modules they name.

mod answer;
mod attempt;
mod clean;
mod direct;
mod early_data;
mod evidence;
mod filters;
mod final_recipient;
mod finish;
pub(crate) mod framing;
mod grpc;
mod hop_by_hop;
mod hops;
mod paths;
mod refused;
mod routing;
mod stickiness;
mod via;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::Digest;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, HttpProxy, ProxyHttp, ProxyWarnLogContext, Session, http_proxy};

pub use refused::RefusedRequests;

use self::direct::Direct;
use crate::context::Context;
use crate::forwarded;
use crate::instance::Instance;

/// What listeners hand requests to.
pub type App = HttpProxy<Proxy>;

/// The proxy: reads the snapshot, owns nothing else.
pub struct Proxy {
    instance: Arc<Instance>,
    direct: Direct,
}

/// The application of all data listeners of an instance.
pub fn app(instance: Arc<Instance>, conf: &Arc<ServerConf>) -> App {
    let direct = Direct::new(conf);
    http_proxy(conf, Proxy { instance, direct })
}

/// What happens to heads on the way, whichever way the request goes.
impl Proxy {
    async fn to_backend(
        &self,
        session: &Session,
        request: &mut Parts,
        ctx: &mut Context,
    ) -> Result<()> {
        routing::name_host(session, request, ctx)?;
        routing::to_origin_form(request);
        routing::rewrite(request, ctx)?;
        stickiness::strip(&mut request.headers, ctx);
        if let (Some(connection), Some(origin)) = (&ctx.connection, ctx.origin) {
            forwarded::tell_backend(request, connection, origin);
        }
        let headers = &mut request.headers;
        headers.insert(forwarded::X_REQUEST_ID, ctx.request_id.clone());
        early_data::tell_backend(headers, ctx);
        attempt::announce(headers, ctx);
        via::add(headers, session.req_header().version, ctx);
        filters::upstream_request(request, ctx).await?;
        // Last, so that nothing that is configured takes it away.
        hops::tell_backend(&mut request.headers, ctx);
        Ok(())
    }

    /// The backend's response head, before anything of it is sent on.
    async fn response_head(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        if early_data::was_too_early(session, response, ctx).await {
            return Err(attempt::repeat(ctx, response.status));
        }
        // `answered` makes the version ours.
        let received = response.version;
        attempt::answered(session, response, ctx)?;
        if !response.status.is_informational() {
            via::add_to_response(response, received, ctx)?;
        }
        Ok(())
    }

    async fn to_client(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        if response.status == StatusCode::SWITCHING_PROTOCOLS
            && let Some(connection) = &ctx.connection
        {
            connection.mark_upgraded();
        }
        if response.status.is_informational() {
            return Ok(());
        }
        stickiness::tell_client(response, ctx)?;
        answer::edit_head(session, response, ctx)?;
        filters::response(session, response, ctx).await
    }
}

/// Pingora keeps the target's bytes beside the URI, where that can't hold them (absolute form, bytes that are not UTF-8).
fn replace(request: &mut RequestHeader, head: Parts) -> Result<()> {
    let target = (request.uri == head.uri).then(|| request.raw_path().to_vec());
    *request = RequestHeader::from(head);
    match target {
        Some(target) if target != request.raw_path() => request.set_raw_path(&target),
        _ => Ok(()),
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::default()
    }

    /// No compression or gRPC-web modules: nothing is paid for what nobody asked for.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<()> {
        routing::identify(&self.instance, session, ctx);
        Ok(())
    }

    /// Route, filters, and the answers that need no backend. `true`: answered.
    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        if let Some(response) = routing::health(&self.instance, session, ctx) {
            return answer::whole(session, ctx, response).await;
        }
        if let Err(failure) = routing::find(&self.instance, session, ctx) {
            return answer::failure(session, ctx, failure).await;
        }
        if let Err(failure) = hops::admit(&session.req_header().headers, ctx) {
            return answer::failure(session, ctx, failure).await;
        }
        match final_recipient::answer(session, ctx) {
            Ok(None) => {}
            Ok(Some(response)) => return answer::whole(session, ctx, response).await,
            Err(failure) => return answer::failure(session, ctx, failure).await,
        }
        if let Err(failure) = early_data::admit(session, ctx).await {
            return answer::failure(session, ctx, failure).await;
        }
        if let Some(response) = filters::request(session, ctx).await {
            return answer::whole(session, ctx, response).await;
        }
        if routing::act(session, ctx).await? {
            return Ok(true);
        }
        // Whichever way it goes, the rest of the phases are the same.
        if direct::suits(session, ctx) {
            return self.direct.run(self, session, ctx).await;
        }
        direct::forget_upgrade(session, ctx);
        Ok(false)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Context,
    ) -> Result<()> {
        attempt::body(session, body, end_of_stream, ctx)?;
        filters::request_body(body, end_of_stream, ctx).await
    }

    /// Called once per attempt.
    async fn upstream_peer(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> Result<Box<HttpPeer>> {
        let begun = attempt::begin(session, ctx).await?;
        Ok(begun.peer())
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        reused: bool,
        _peer: &HttpPeer,
        _fd: std::os::fd::RawFd,
        _digest: Option<&Digest>,
        ctx: &mut Context,
    ) -> Result<()> {
        attempt::connected(reused, ctx);
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        let mut head = request.as_owned_parts();
        self.to_backend(session, &mut head, ctx).await?;
        replace(request, head)
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        framing::check_bytes(response)?;
        self.response_head(session, response, ctx).await?;
        hop_by_hop::strip_response(response);
        Ok(())
    }

    fn upstream_response_trailer_filter(
        &self,
        _session: &mut Session,
        trailers: &mut HeaderMap,
        ctx: &mut Context,
    ) -> Result<()> {
        attempt::ended_with(trailers, ctx);
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        self.to_client(session, response, ctx).await?;
        direct::frame(session, response)
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Context,
    ) -> Result<Option<Duration>> {
        filters::response_body(body, end_of_stream, ctx)?;
        Ok(None)
    }

    /// A body that ends by trailers ends here for filters. What they still have of it goes to the client in place of trailers,
    /// which Pingora then leaves out.
    async fn response_trailer_filter(
        &self,
        _session: &mut Session,
        _trailers: &mut HeaderMap,
        ctx: &mut Context,
    ) -> Result<Option<Bytes>> {
        let mut rest = None;
        filters::response_body(&mut rest, true, ctx)?;
        Ok(rest)
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Context,
        error: Box<Error>,
    ) -> Box<Error> {
        attempt::failed(session, ctx, error, true, false)
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Context,
        client_reused: bool,
    ) -> Box<Error> {
        attempt::failed(session, ctx, error, false, client_reused)
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Context,
    ) -> FailToProxy {
        let failure = *ctx
            .failure
            .get_or_insert_with(|| attempt::why_ended(error, ctx.connection.as_deref()));
        answer::of_error(session, ctx, failure).await
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, ctx: &mut Context) {
        finish::request(&self.instance, session, ctx);
    }

    /// The access log has it.
    fn suppress_error_log(&self, _session: &Session, _ctx: &Context, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _ctx: &Context,
        _error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}
