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
use crate::sys;

/// Everything that is served.
///
/// Routes that show names of clients' queries stand above `route_layer`, which checks the Host
/// header (see [`host_is_known`]). Routes with numbers alone, such as metrics or health, may stand
/// below: a scraper may use any name for this host, and a web page learns no names from numbers.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    let own_name: Option<Arc<str>> = sys::host_name().map(Into::into);
    let check = move |request, next| refuse_foreign_hosts(own_name.clone(), request, next);
    Router::new()
        .route(EXPLAIN_PATH, get(explain))
        .method_not_allowed_fallback(|| async {
            fault(StatusCode::METHOD_NOT_ALLOWED, "only GET is served")
        })
        .route_layer(from_fn(check))
        .fallback(|| async {
            fault(StatusCode::NOT_FOUND, "nothing is served here; there is /explain?name=NAME")
        })
        .with_state(shared)
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

async fn refuse_foreign_hosts(
    own_name: Option<Arc<str>>,
    request: Request,
    next: Next,
) -> Response {
    if host_is_known(request.headers(), own_name.as_deref()) {
        return next.run(request).await;
    }
    fault(
        StatusCode::MISDIRECTED_REQUEST,
        "the Host header must be an IP address, localhost or this host's own name",
    )
}

/// Whether a request came by an address, by `localhost`, or by `own_name`.
///
/// A web page can point a name of its own at any address that a browser reaches, and then read what
/// is served here (DNS rebinding). Its requests carry that name, whatever address we listen on.
/// Requests by address are safe, because no name can be pointed elsewhere in them. `own_name` is
/// accepted whole and by its first label.
fn host_is_known(headers: &HeaderMap, own_name: Option<&str>) -> bool {
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
    // Browsers may leave the interface in, as RFC 6874 has it or not.
    let v6 = v6.map(|ip| ip.split('%').next().unwrap_or(ip));
    if v6.is_some_and(|ip| ip.parse::<IpAddr>().is_ok()) {
        return true;
    }
    let short = own_name.and_then(|name| name.split('.').next());
    let mut known = [Some("localhost"), own_name, short].into_iter().flatten();
    known.any(|name| !name.is_empty() && bare.eq_ignore_ascii_case(name))
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
    fn only_addresses_localhost_and_the_hosts_own_name_are_known() {
        let is_known_on = |own_name: Option<&str>, host: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            host_is_known(&headers, own_name)
        };
        let is_known = |host| is_known_on(Some("dns1.corp.example"), host);
        for host in [
            "127.0.0.1",
            "127.0.0.1:9153",
            "[::1]:9153",
            "[::1]",
            "[fe80::1%eth0]:9153",
            "[fe80::1%25eth0]",
            "LocalHost:1",
        ] {
            assert!(is_known(host) && is_known_on(None, host), "{host}");
        }
        for host in ["10.1.0.4", "[fd00::4]:9153", "DNS1.corp.example:9153", "dns1"] {
            assert!(is_known(host), "{host}");
        }
        let foreign = ["", "evil.example", "evil.example:9153", "localhost.evil.example", "[evil]"];
        for host in foreign.into_iter().chain(["dns1.evil.example", ":9153", "dns1.corp", "[]"]) {
            assert!(!is_known(host), "{host}");
        }
        assert!(!is_known_on(None, "dns1"));
        assert!(!is_known_on(Some(""), ":1"));
        assert!(host_is_known(&HeaderMap::new(), None));
    }
}
