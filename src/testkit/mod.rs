//! For the tests of whoever builds on this: a runtime on one thread whose clock stands still until the test moves it, whose
//! decisions come from a seed, which breaks where it is told to and says what was left behind.
//!
//! Cargo feature `testkit`, off by default. Start with [`TestRuntime`]; `docs/testing.md` is the page about it.
//!
//! ```
//! use std::time::Duration;
//! use ironcliw::testkit::{TestRuntime, When};
//! use ironcliw::{Actor, Backoff, Child, Context, Error, Handler, Message};
//!
//! struct Database;
//! impl Actor for Database {}
//!
//! struct Query;
//! impl Message for Query { type Reply = &'static str; }
//!
//! impl Handler<Query> for Database {
//!     async fn handle(&mut self, _: Query, _: &mut Context<Self>) -> &'static str { "a row" }
//! }
//!
//! TestRuntime::run(7, async |kit| {
//!     kit.faults().panic_on("user/database", When::Nth(1));
//!     let rarely = Backoff { min: Duration::from_secs(600), max: Duration::from_secs(600), ..Backoff::default() };
//!     let database = kit.spawn(Child::new("database", || Database).backoff(rarely)).await.unwrap();
//!     assert!(matches!(database.ask(Query).await.unwrap_err().error, Error::ActorPanicked { .. }));
//!     assert_eq!(database.ask(Query).await.unwrap(), "a row"); // after up to ten minutes, which take no time
//! }); // shut down, and found clean
//! ```

mod clean;
mod faults;
mod probe;
mod runtime;

pub use clean::{Left, Unclean};
pub use faults::{Faults, InjectedFault, When};
pub use probe::{Probe, ProbeActor};
pub use runtime::TestRuntime;

/// The page's examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/testing.md")]
struct Page;
