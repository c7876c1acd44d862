//! The supervision endpoint: what the runtime knows of itself, over HTTP, for operators and their tools.
//!
//! | route | answer |
//! | --- | --- |
//! | `GET /livez` | `200 ok` for as long as the endpoint lives |
//! | `GET /readyz` | `200` or `503` with the reason, as JSON |
//! | `GET /metrics` | OpenMetrics text, every name prefixed `ironcliw_` |
//! | `GET /api/v1/snapshot` | [`Handle::snapshot`] as JSON, and a key a subsystem under `subsystems` |
//! | `GET /api/v1/snapshot/NAME` | what the subsystem of this name can tell besides ([`Section::details`](crate::Section::details)) |
//!
//! Three things hold at all times:
//! - It has a thread of its own and reads atomics only, so it answers while every actor is stuck. What subsystems add
//!   runs on threads beside it, within a time limit: one that hangs costs its own route a `503` and no other route.
//! - It can be reached from this machine only: it binds loopback addresses only, and every request, for whatever path,
//!   must name a loopback host, so that a web page cannot reach it through a DNS name of its own (DNS rebinding).
//! - Everything a client may use up is limited: connections, their age, header bytes, time. A request has no body.
//!
//! `listen.rs` decides what may be bound, `server.rs` owns the connections, `guard.rs` refuses requests, and `routes.rs`
//! answers the others, from `health.rs` and `metrics.rs`.

mod durations;
mod guard;
mod health;
mod listen;
mod metrics;
mod routes;
mod server;

use std::fmt;

use parking_lot::Mutex;

use crate::{Error, Handle};
pub use listen::check_address;
use server::Server;

/// A running endpoint. It stops when it is closed or dropped; the runtime's shutdown does not stop it, so that it can say
/// that the runtime is down.
pub struct Endpoint {
    url: String,
    server: Mutex<Option<Server>>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.server.lock().is_some() { "open" } else { "closed" };
        write!(f, "Endpoint({}, {state})", self.url)
    }
}

/// Serves what `handle` shows on a loopback address: `127.0.0.1:9464`, `localhost:9464` or `[::1]:9464`; port 0 takes a
/// free one.
///
/// ```
/// use std::time::Duration;
/// use ironcliw::{Runtime, endpoint};
///
/// let runtime = Runtime::new()?;
/// let endpoint = endpoint::serve(runtime.handle(), "127.0.0.1:0")?;
/// println!("curl {}/readyz", endpoint.url());
/// runtime.shutdown(Duration::from_secs(5))?;
/// endpoint.close();
/// # Ok::<_, ironcliw::Error>(())
/// ```
///
/// # Errors
/// [`Error::Setup`] if the address is not of this form, is not a loopback address, or cannot be bound, or if no thread
/// could be had.
pub fn serve(handle: &Handle, addr: &str) -> Result<Endpoint, Error> {
    let listener = listen::bind(addr)?;
    let setup = |error: std::io::Error| Error::Setup { reason: format!("the endpoint on {addr}: {error}") };
    let url = format!("http://{}", listener.local_addr().map_err(setup)?);
    let server = Server::start(listener, routes::router(handle.clone())).map_err(setup)?;
    Ok(Endpoint { url, server: Mutex::new(Some(server)) })
}

impl Endpoint {
    /// Where it is, as `http://127.0.0.1:9464`, with the port that was bound.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stops it: requests in hand get a moment to finish, idle connections are closed at once. A second call does nothing.
    pub fn close(&self) {
        let server = self.server.lock().take();
        drop(server);
    }
}
