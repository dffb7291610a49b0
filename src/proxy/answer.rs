//! Responses: Tidegate's own, and what is done to every response head on its way out.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, Version, header};
use pingora_core::Result;
use pingora_core::protocols::http::HttpTask;
use pingora_http::ResponseHeader;
use pingora_proxy::{FailToProxy, Session};
use tidegate_filters::filter::Response;

use super::{filters, grpc};
use crate::context::Context;
use crate::forwarded::X_REQUEST_ID;
use crate::outcome::{self, Failure};
use crate::sticky::STRICT_RETRY_AFTER;

/// How long a client may wait before it tries again, in seconds, where that makes sense.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// The same for a request that was shed: the ladder is not left before `overload.hold`, which defaults to this.
const RETRY_AFTER_SHED: HeaderValue = HeaderValue::from_static("5");

/// Sends a whole response, to a gRPC client in the words of gRPC. Always `true`: the request is answered.
pub async fn whole(session: &mut Session, ctx: &mut Context, response: Response) -> Result<bool> {
    let asked = ctx.asked.as_deref().unwrap_or(session.req_header());
    // gRPC is a protocol over HTTP/2: whoever calls itself so over HTTP/1 reads the HTTP status.
    let is_call = asked.version == Version::HTTP_2 && grpc::is_call(&asked.headers);
    let for_grpc = match is_call {
        true => grpc::answer(&response, ctx.failure),
        false => None,
    };
    if for_grpc.is_some() {
        ctx.meant = Some(response.status().as_u16());
    }
    let response = for_grpc.unwrap_or(response);
    let mut head = ResponseHeader::from(response.head);
    if !forbids_body(head.status) && !head.headers.contains_key(header::CONTENT_LENGTH) {
        head.insert_header(header::CONTENT_LENGTH, response.body.len())?;
    }
    edit_head(session, &mut head, ctx)?;
    write(session, head, response.body).await?;
    Ok(true)
}

/// Answers with what the table of failures says.
pub async fn failure(session: &mut Session, ctx: &mut Context, failure: Failure) -> Result<bool> {
    ctx.failure = Some(failure);
    let response = response_to(failure);
    let response = filters::reply(ctx, response).await;
    whole(session, ctx, response).await
}

/// The end of a request that failed on its way. A client that is gone is told nothing, and one whose response has
/// begun gets no second one.
pub async fn of_error(session: &mut Session, ctx: &mut Context, failure: Failure) -> FailToProxy {
    let status = failure.status;
    let mut told = false;
    if status != 499 && session.response_written().is_none() {
        close(session, ctx);
        // What a filter has answered has been up the chain.
        let response = match ctx.answer.take() {
            Some(response) => response,
            None => filters::reply(ctx, response_to(failure)).await,
        };
        match whole(session, ctx, response).await {
            Ok(_) => told = true,
            Err(error) => log::debug!("the client can't be told of {}: {error}", failure.reason),
        }
    }
    FailToProxy {
        error_code: status,
        // It ends all the same; our own session sees to it that the client can read the response before it does.
        can_reuse_downstream: told && session.as_ref().is_custom(),
    }
}

fn response_to(failure: Failure) -> Response {
    let status = StatusCode::from_u16(failure.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let response =
        Response::plain(status).header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match failure {
        outcome::STICKY_STRICT => {
            response.header(header::RETRY_AFTER, HeaderValue::from(STRICT_RETRY_AFTER))
        }
        outcome::SHED => response.header(header::RETRY_AFTER, RETRY_AFTER_SHED),
        Failure { status: 503, .. } => response.header(header::RETRY_AFTER, RETRY_AFTER),
        _ => response,
    }
}

fn forbids_body(status: StatusCode) -> bool {
    status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

async fn write(session: &mut Session, head: ResponseHeader, body: Bytes) -> Result<()> {
    let only_head = session.req_header().method == http::Method::HEAD || forbids_body(head.status);
    let empty = only_head || body.is_empty();
    if empty {
        // Pingora's call for heads leaves an HTTP/2 stream open, whatever it is told. A gRPC client takes fields for
        // trailers only if the stream ends with them, and one that failed would be reset.
        let task = HttpTask::Header(Box::new(head), true);
        session.as_mut().response_duplex_vec(vec![task]).await?;
        return Ok(());
    }
    session.write_response_header(Box::new(head), false).await?;
    session.write_response_body(Some(body), true).await
}

/// The route's edits, the request's id, and the goodbye of a listener that stops or is short of something.
pub fn edit_head(
    session: &mut Session,
    response: &mut ResponseHeader,
    ctx: &Context,
) -> Result<()> {
    if let Some(route) = &ctx.route {
        let edits = &route.response_headers;
        for name in &edits.remove {
            response.remove_header(name);
        }
        for (name, value) in &edits.set {
            response.insert_header(name.clone(), value.clone())?;
        }
        for (name, value) in &edits.add {
            response.append_header(name.clone(), value.clone())?;
        }
    }
    response.insert_header(X_REQUEST_ID, ctx.request_id.clone())?;
    if let Some(connection) = &ctx.connection
        && (connection.listener.says_goodbye() || connection.is_last_request())
    {
        close(session, ctx);
    }
    Ok(())
}

/// An HTTP/1 connection ends with this response.
fn close(session: &mut Session, ctx: &Context) {
    session.set_keepalive(None);
    if let Some(connection) = &ctx.connection {
        connection.close();
    }
}
