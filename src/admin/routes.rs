//! What is served, and to whom.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{StatusCode, Uri};
use serde::Serialize;

use super::{EXPLAIN_PATH, Fault, fields};
use crate::engine::Shared;

/// Everything that is served at `address`.
pub(super) fn router(shared: Arc<Shared>, address: SocketAddr) -> Router {
    let router = Router::new()
        .route(EXPLAIN_PATH, get(explain))
        .method_not_allowed_fallback(|| async {
            fault(StatusCode::METHOD_NOT_ALLOWED, "only GET is served")
        })
        .fallback(|| async {
            fault(StatusCode::NOT_FOUND, "nothing is served here; there is /explain?name=NAME")
        })
        .with_state(shared);
    if address.ip().is_loopback() { router.layer(from_fn(refuse_foreign_hosts)) } else { router }
}

async fn explain(State(shared): State<Arc<Shared>>, uri: Uri) -> Response {
    let ask = match fields::read(uri.query().unwrap_or("")) {
        Ok(ask) => ask,
        Err(error) => return fault(StatusCode::BAD_REQUEST, error),
    };
    match shared.snapshot.load().explain(&ask, true) {
        Ok(explanation) => json(StatusCode::OK, &explanation),
        Err(error) => fault(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}

/// A web page in a browser on this host can point a name of its own at 127.0.0.1 and then read what
/// is served here. Its requests carry that name, those of tools an address or `localhost`.
async fn refuse_foreign_hosts(request: Request, next: Next) -> Response {
    if host_is_local(request.headers()) {
        return next.run(request).await;
    }
    fault(StatusCode::MISDIRECTED_REQUEST, "the Host header must be an IP address or localhost")
}

fn host_is_local(headers: &HeaderMap) -> bool {
    // Only HTTP/1.0 may leave it out, which no browser speaks.
    let Some(host) = headers.get(header::HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    if host.parse::<SocketAddr>().is_ok() || host.parse::<IpAddr>().is_ok() {
        return true;
    }
    let bare = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        _ => host,
    };
    let v6 = bare.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    v6.is_some_and(|ip| ip.parse::<IpAddr>().is_ok()) || bare.eq_ignore_ascii_case("localhost")
}

fn fault(status: StatusCode, error: impl ToString) -> Response {
    json(status, &Fault { error: error.to_string() })
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    // Types of ours with string keys: they always become JSON.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_local_hosts() {
        let is_local = |host: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            host_is_local(&headers)
        };
        for host in ["127.0.0.1", "127.0.0.1:9153", "[::1]:9153", "[::1]", "LocalHost:1"] {
            assert!(is_local(host), "{host}");
        }
        for host in ["", "evil.example", "evil.example:9153", "localhost.evil.example", "[evil]"] {
            assert!(!is_local(host), "{host}");
        }
        assert!(host_is_local(&HeaderMap::new()));
    }
}
