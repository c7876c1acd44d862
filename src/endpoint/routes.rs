//! The routes: each gathers what is to be seen on a thread beside the endpoint's own, then writes it down.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Map, Value, json};
use tracing::warn;

use super::guard::guard;
use super::health::Readiness;
use super::metrics;
use crate::panics::{self, Panicked};
use crate::{Handle, Metric, Section};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) fn router(handle: Handle) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(exposition))
        .route("/api/v1/snapshot", get(snapshot))
        .fallback(async || (StatusCode::NOT_FOUND, "not found\n"))
        // Last, so that it stands before the fallback as well.
        .layer(from_fn(guard))
        .with_state(handle)
}

async fn readyz(State(handle): State<Handle>) -> Response {
    let readiness = Readiness::of(&handle, &handle.snapshot());
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

async fn exposition(State(handle): State<Handle>) -> Response {
    beside(move || {
        let snapshot = handle.snapshot();
        let ready = Readiness::of(&handle, &snapshot).ready;
        let mut all = metrics::of_runtime(&snapshot, ready);
        let parts = ask_sections(&handle, |section| section.metrics());
        let samples = parts
            .iter()
            .map(|(name, part)| (vec![("section", (*name).to_owned())], if part.is_ok() { 1.0 } else { 0.0 }));
        let help = "Whether the subsystem could be asked for its metrics";
        all.push(Metric { samples: samples.collect(), ..Metric::gauge("section_ok", help, 1.0) });
        all.extend(parts.into_iter().filter_map(|(_, part)| part.ok()).flatten());
        match metrics::encode(all) {
            Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
            Err(error) => failed(&error.to_string()),
        }
    })
    .await
}

async fn snapshot(State(handle): State<Handle>) -> Response {
    beside(move || {
        let subsystems: Map<String, Value> = ask_sections(&handle, |section| section.snapshot())
            .into_iter()
            .map(|(name, part)| (name.to_owned(), part.unwrap_or_else(|Panicked(reason)| json!({ "error": reason }))))
            .collect();
        match serde_json::to_value(handle.snapshot()) {
            Ok(mut tree) => {
                tree["subsystems"] = subsystems.into();
                Json(tree).into_response()
            }
            Err(error) => failed(&error.to_string()),
        }
    })
    .await
}

/// One answer a section, in the order of their registration. One that panics does not take the others along.
fn ask_sections<T>(handle: &Handle, ask: impl Fn(&Arc<dyn Section>) -> T) -> Vec<(&'static str, Result<T, Panicked>)> {
    let sections = handle.sections().into_iter();
    let answers = sections.map(|(name, section)| {
        let answer = panics::catch(|| ask(&section));
        if let Err(Panicked(reason)) = &answer {
            warn!(section = name, reason, "a subsystem panicked as it was looked at");
        }
        (name, answer)
    });
    answers.collect()
}

/// Runs `work` where it may hang without holding up the endpoint; the guard's time limit answers for it then.
async fn beside(work: impl FnOnce() -> Response + Send + 'static) -> Response {
    match tokio::task::spawn_blocking(work).await {
        Ok(response) => response,
        Err(error) => failed(&error.to_string()),
    }
}

fn failed(reason: &str) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{reason}\n")).into_response()
}
