//! Supervised actors on pinned threads.
//!
//! An actor is state that one thread touches and messages change. It is spawned under a supervisor, which starts it again
//! when it panics; the messages that were queued for it are handled by the next incarnation, in order, and the sender of
//! the message that was in hand is told. Start with [`Actor`], [`Child`] and [`Runtime`].
//!
//! ```
//! use std::time::Duration;
//! use ironcliw::{Actor, Child, Context, Handler, Message, Overflow, Restart, Runtime};
//!
//! struct Counter { total: u64 }
//! impl Actor for Counter {}
//!
//! struct Add(u64);
//! impl Message for Add { type Reply = u64; }
//!
//! impl Handler<Add> for Counter {
//!     async fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 {
//!         self.total += n;
//!         self.total
//!     }
//! }
//!
//! let runtime = Runtime::builder().workers(2).build()?;
//! runtime.block_on(async {
//!     let counter = runtime
//!         .spawn(Child::new("counter", || Counter { total: 0 }).restart(Restart::Permanent).mailbox(1024, Overflow::Block))
//!         .await?;                                   // started, or the reason why not
//!     counter.tell(Add(1)).await?;                   // waits for room
//!     let total = counter.ask(Add(41)).deadline(Duration::from_secs(5)).await?;
//!     assert_eq!(total, 42);
//!     Ok::<_, ironcliw::Error>(())
//! })?;
//! runtime.shutdown(Duration::from_secs(5))?;         // drained, or what had to be abandoned
//! # Ok::<_, ironcliw::Error>(())
//! ```
//!
//! Where to read on: `cell/` is the life of an actor, `supervision/step.rs` every decision about it, `mailbox/` the queue
//! that outlives it, `executor/` what polls the actors of a thread. `in_hand.rs` is why every asker hears; `watchdog.rs` sees
//! whoever holds a thread for too long; `actix_actor/` is the same life for an actor written for actix.

#[cfg(not(panic = "unwind"))]
compile_error!("ironcliw supervises by catching panics: build with panic = \"unwind\"");

mod actix_actor;
mod actor;
mod address;
mod arbiters;
mod cell;
mod child;
mod clock;
mod context;
mod current;
mod deadlines;
#[cfg(feature = "endpoint")]
pub mod endpoint;
mod envelope;
mod error;
mod event_loop;
mod executor;
pub mod fence;
mod group;
mod in_hand;
mod links;
mod mailbox;
mod names;
mod observe;
mod panics;
mod parcel;
mod placement;
mod pulse;
mod recipient;
mod registry;
mod reply;
mod roll;
mod room;
mod runtime;
mod stash;
mod supervision;
mod sync;
#[cfg(feature = "testkit")]
pub mod testkit;
mod threads;
mod ticks;
mod ties;
mod trail;
mod watchdog;

/// The embedder's guide: its programs are run as tests.
#[cfg(all(doctest, feature = "endpoint"))]
#[doc = include_str!("../docs/embedding.md")]
pub struct EmbeddersGuide;

pub use actix_actor::ActixChild;
pub use actor::{Actor, Handler, Message, StartError};
pub use address::{Address, Ask, SendError, Tell};
pub use arbiters::{allowed_cores, pin_current_thread, set_thread_niceness};
pub use child::{Backoff, Child, DEFAULT_MAILBOX, Overflow, Restart};
pub use context::{Attached, Context, Link, StreamEnd, TaskHandle, TimerHandle};
pub use deadlines::Expire;
pub use error::Error;
pub use event_loop::EventLoop;
pub use group::{Group, GroupAsk, Router, least_loaded};
pub use observe::{
    ActorSnapshot, ActorState, ArbiterSnapshot, Failure, Metric, MetricKind, Section, Snapshot, Summary,
    SupervisionEvent, SupervisorSnapshot, Wait, WaitSnapshot, What,
};
pub use panics::catch_panic;
pub use placement::{Location, LoopLocation, Placement};
pub use recipient::{Recipient, RecipientAsk};
pub use reply::ReplySink;
pub use runtime::{Builder, Handle, Runtime};
pub use stash::{Stash, StashFull};
pub use supervision::{AutoShutdown, ExitReason, Strategy, Supervisor, SupervisorRef};
