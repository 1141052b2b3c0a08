//! HTTP: webhooks, and whether the host lives and is ready.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde_json::json;
use tokio::net::TcpListener;

use crate::health::Health;

/// The routes beside those of the webhooks.
pub(crate) fn router(webhooks: Router, health: Arc<Health>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(health)
        .merge(webhooks)
}

async fn readyz(State(health): State<Arc<Health>>) -> Response {
    let report = health.look();
    let status = if report.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let checks: serde_json::Map<_, _> = report
        .checks
        .iter()
        .map(|check| {
            let state = json!({ "ok": check.problem.is_none(), "problem": check.problem });
            (check.name.to_owned(), state)
        })
        .collect();
    let body = json!({ "ready": report.is_ready(), "checks": checks, "storage": report.storage });
    (status, Json(body)).into_response()
}

/// Binds the address.
pub(crate) async fn bind(address: &str) -> Result<(TcpListener, SocketAddr), String> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AddrInUse => format!(
            "`{address}` is in use: stop what uses it, or choose another address with \
             `http.listen` in the configuration (port 0: any that is free)"
        ),
        _ => format!("listen on `{address}`: {error}"),
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
