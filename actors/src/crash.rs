//! A crash on demand, so that an operator or a test can see what supervision does.

use ironcliw::{Context, Handler, Message};

/// Makes the actor that handles it panic.
#[derive(Debug, Clone, Copy)]
pub struct Crash;

impl Message for Crash {
    type Reply = ();
}

/// The actors that crash on demand with nothing else in hand.
macro_rules! crashes {
    ($($actor:ty),+) => {$(
        impl Handler<Crash> for $actor {
            async fn handle(&mut self, _: Crash, _: &mut Context<Self>) {
                panic!("a crash was asked for");
            }
        }
    )+};
}

crashes!(
    crate::ping::Pinger,
    crate::pool::PoolActor,
    crate::leak::LeakTracker,
    crate::scheduler::SchedulerActor,
    crate::inference::InferenceActor
);
