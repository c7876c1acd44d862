//! The routes. Those that ask subsystems gather on a thread beside the endpoint's own.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use tracing::warn;

use super::durations;
use super::guard::guard;
use super::health::Readiness;
use super::metrics;
use crate::panics::{self, Panicked};
use crate::{Handle, Metric, Section};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) fn router(handle: Handle) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz).with_state(handle.clone()))
        .route("/metrics", get(exposition).with_state(Gatherer::new(&handle)))
        .route("/api/v1/snapshot", get(snapshot).with_state(Gatherer::new(&handle)))
        .route("/api/v1/snapshot/{section}", get(details).with_state(Gatherer::new(&handle)))
        .fallback(async || (StatusCode::NOT_FOUND, "not found\n"))
        // Last, so that it stands before the fallback as well.
        .layer(from_fn(guard))
}

/// Runs a route's work where it may hang without holding up the endpoint; the guard's time limit answers for it then.
///
/// One request at a time: if one hangs, those behind it wait here, where giving them up leaves nothing behind, and the
/// other routes keep a thread each.
#[derive(Clone)]
struct Gatherer {
    handle: Handle,
    turn: Arc<Semaphore>,
}

/// Routes with a gatherer, hence threads beside the endpoint's own.
pub(super) const GATHERERS: usize = 3;

impl Gatherer {
    fn new(handle: &Handle) -> Self {
        Self { handle: handle.clone(), turn: Arc::new(Semaphore::new(1)) }
    }

    async fn run(self, work: impl FnOnce(&Handle) -> Response + Send + 'static) -> Response {
        let Self { handle, turn } = self;
        let Ok(turn) = turn.acquire_owned().await else {
            return failed("the endpoint is closing");
        };
        let gathered = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work(&handle)
        });
        gathered.await.unwrap_or_else(|error| failed(&error.to_string()))
    }
}

async fn readyz(State(handle): State<Handle>) -> Response {
    let readiness = Readiness::of(&handle, &handle.snapshot());
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

async fn exposition(State(gatherer): State<Gatherer>) -> Response {
    let gather = |handle: &Handle| {
        let snapshot = handle.snapshot();
        let ready = Readiness::of(handle, &snapshot).ready;
        let mut all = metrics::of_runtime(&snapshot, ready);
        let parts = ask_sections(handle, |section| section.metrics());
        let samples = parts
            .iter()
            .map(|(name, part)| (vec![("section", (*name).to_owned())], if part.is_ok() { 1.0 } else { 0.0 }));
        let help = "Whether the subsystem could be asked for its metrics";
        all.push(Metric { samples: samples.collect(), ..Metric::gauge("section_ok", help, 1.0) });
        all.extend(parts.into_iter().filter_map(|(_, part)| part.ok()).flatten());
        match metrics::encode(all, durations::of_runtime(&snapshot)) {
            Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
            Err(error) => failed(&error.to_string()),
        }
    };
    gatherer.run(gather).await
}

async fn snapshot(State(gatherer): State<Gatherer>) -> Response {
    let gather = |handle: &Handle| {
        let subsystems: Map<String, Value> = ask_sections(handle, |section| section.snapshot())
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
    };
    gatherer.run(gather).await
}

async fn details(State(gatherer): State<Gatherer>, Path(wanted): Path<String>) -> Response {
    let gather = move |handle: &Handle| {
        let section = handle.sections().into_iter().find(|(name, _)| *name == wanted).map(|(_, section)| section);
        match section.map(|section| panics::catch(|| section.details())) {
            Some(Ok(Some(details))) => Json(details).into_response(),
            Some(Err(Panicked(reason))) => failed(&reason),
            None | Some(Ok(None)) => (StatusCode::NOT_FOUND, "not found\n").into_response(),
        }
    };
    gatherer.run(gather).await
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

fn failed(reason: &str) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{reason}\n")).into_response()
}
