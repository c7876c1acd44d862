//! The thread that accepts connections and the tasks that serve them, each within its limits.

use std::io;
use std::net::TcpListener;
use std::pin::pin;
use std::thread;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::routes::GATHERERS;

/// Clients are a scraper, a probe and a few people; further connections wait in the system's queue.
const CONNECTIONS_MAX: usize = 64;
/// After this a connection is closed as soon as its request is answered, so that nobody can hold them all.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(120);
/// From the first byte a request may bring, or the last answer, to the end of its headers.
const HEADERS_WAIT_MAX: Duration = Duration::from_secs(10);
/// A browser's headers with its cookies for localhost stay below this.
const HEADERS_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;
/// What requests in hand get when the endpoint closes.
const CLOSING_MAX: Duration = Duration::from_millis(500);
/// How long to leave a listener alone that could not accept, as when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The endpoint's thread. Dropping it stops the thread and waits for it.
pub(super) struct Server {
    /// Nothing is sent: that it is gone is the word to stop.
    stop: Option<watch::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(listener: TcpListener, app: Router) -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(GATHERERS)
            .thread_name("ironcliw-endpoint")
            .build()?;
        let listener = {
            let _context = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let (stop, stopped) = watch::channel(());
        let thread = thread::Builder::new()
            .name("ironcliw-endpoint".to_owned())
            .spawn(move || run(runtime, accept(listener, app, stopped)))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!("the endpoint's thread had panicked");
        }
    }
}

fn run(runtime: Runtime, serving: impl Future<Output = ()>) {
    runtime.block_on(serving);
    // A subsystem that hangs must not hold up the end.
    runtime.shutdown_background();
}

async fn accept(listener: tokio::net::TcpListener, app: Router, mut stop: watch::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            _ = stop.changed() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, app.clone(), stop.clone()));
                }
                Err(error) => {
                    warn!(%error, "the endpoint could not accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    // Each ends by itself within the bound; dropping the set ends what does not.
    let _ = timeout(CLOSING_MAX, async { while connections.join_next().await.is_some() {} }).await;
}

/// One connection, request after request.
async fn converse(stream: TcpStream, app: Router, mut stop: watch::Receiver<()>) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WAIT_MAX)
        .max_headers(HEADERS_MAX)
        .max_header_size(HEADERS_BYTES_MAX)
        .max_buf_size(2 * HEADERS_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        outcome = connection.as_mut() => return note(outcome),
        _ = stop.changed() => {}
        () = sleep(CONNECTION_AGE_MAX) => {}
    }
    connection.as_mut().graceful_shutdown();
    if let Ok(outcome) = timeout(CLOSING_MAX, connection).await {
        note(outcome);
    }
}

/// A client that goes away or talks nonsense is its own concern.
fn note(outcome: hyper::Result<()>) {
    if let Err(error) = outcome {
        debug!(%error, "a connection to the endpoint ended early");
    }
}
