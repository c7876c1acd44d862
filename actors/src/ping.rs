//! The smallest actor there is: it counts the asks it has answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ironcliw::{Actor, Context, Handler, Message};

/// Answers [`Ping`]. Its count outlives a crash.
pub struct Pinger {
    pub(crate) answered: Arc<AtomicU64>,
}

impl Actor for Pinger {}

/// Asks for the number of pings answered, this one included.
#[derive(Debug, Clone, Copy)]
pub struct Ping;

impl Message for Ping {
    type Reply = u64;
}

impl Handler<Ping> for Pinger {
    async fn handle(&mut self, _: Ping, _: &mut Context<Self>) -> u64 {
        self.answered.fetch_add(1, Ordering::Relaxed) + 1
    }
}
