//! What every request must pass, whatever its path: a loopback `Host`, a method that only reads, no body, a time limit.

use std::time::Duration;

use axum::body::HttpBody;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use super::listen::loopback;

/// A scrape of a large tree takes milliseconds; Prometheus gives up after 10 s by default.
const ANSWER_MAX: Duration = Duration::from_secs(3);

const ALWAYS: [(HeaderName, HeaderValue); 2] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// Refuses the request, or passes it on.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    let mut response = match refusal(&request) {
        Some(refusal) => refusal,
        None => match timeout(ANSWER_MAX, next.run(request)).await {
            Ok(response) => response,
            Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "not answered in time\n").into_response(),
        },
    };
    response.headers_mut().extend(ALWAYS);
    response
}

fn refusal(request: &Request) -> Option<Response> {
    if !names_this_machine(request) {
        return Some((StatusCode::FORBIDDEN, "host not allowed\n").into_response());
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let allow = [(header::ALLOW, "GET, HEAD")];
        return Some((StatusCode::METHOD_NOT_ALLOWED, allow, "method not allowed\n").into_response());
    }
    if !request.body().is_end_stream() {
        return Some((StatusCode::PAYLOAD_TOO_LARGE, "a request has no body here\n").into_response());
    }
    None
}

/// Exactly one `Host`, and it is ours. A page that reaches this port under a name of its own (DNS rebinding) sends that
/// name here. A request target in absolute form overrides `Host`, so it is held to the same.
fn names_this_machine(request: &Request) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let target = request.uri().authority().is_none_or(|authority| is_allowed(authority.as_str()));
    target && host.to_str().is_ok_and(is_allowed)
}

/// A loopback host with any port or none: behind a forwarded port the client's differs from the one that was bound.
fn is_allowed(authority: &str) -> bool {
    if loopback(authority).is_some() {
        return true;
    }
    authority.rsplit_once(':').is_some_and(|(host, port)| loopback(host).is_some() && port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::is_allowed;

    #[test]
    fn loopback_hosts_pass_with_any_port() {
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1", "127.0.0.1:9464", "[::1]", "[::1]:9464"] {
            assert!(is_allowed(host), "{host}");
        }
    }

    #[test]
    fn other_hosts_do_not() {
        for host in [
            "",
            ":80",
            "evil.example",
            "localhost.evil.example",
            "evil.example:9464",
            "127.0.0.1.evil.example",
            "user@localhost",
            "evil.example@localhost:80",
            "localhost:80:80",
            "localhost:port",
            "localhost:",
            "192.168.0.1",
            "0.0.0.0:80",
            "[::]:80",
            "::1",
            "localhost.",
        ] {
            assert!(!is_allowed(host), "{host}");
        }
    }
}
