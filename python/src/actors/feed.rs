//! A Rust actor that asks a Python one: it hands the runtime's supervision events over, one after the other.
//!
//! It asks, and does not tell, so that a slow listener holds it up instead of being flooded. What happens to the two of them
//! is left out: one that crashes over an event would hear of that next.

use std::time::Duration;

use ironcliw::{
    Actor, Address, Child, Context, Error, Handler, Message, Placement, Restart, StartError, SupervisionEvent,
};

use super::actor::PyActor;
use super::message::PyMessage;
use crate::snapshot::to_python;

/// How often it looks: soon enough for a person or a log, and nothing for the runtime.
const PERIOD: Duration = Duration::from_millis(50);

struct Feed {
    to: Address<PyActor>,
    seen: u64,
}

struct Look;

impl Message for Look {
    type Reply = ();
}

impl Actor for Feed {
    async fn started(&mut self, ctx: &mut Context<Self>) -> Result<(), StartError> {
        ctx.every(PERIOD, || Look);
        Ok(())
    }
}

impl Handler<Look> for Feed {
    async fn handle(&mut self, _: Look, ctx: &mut Context<Self>) {
        let (seen, events) = ctx.runtime().events_after(self.seen);
        self.seen = seen;
        let path = ctx.path();
        for event in events.into_iter().filter(|event| event.path != self.to.path() && event.path != path) {
            let asked = self.to.ask(as_message(&event)).await;
            if asked.is_err_and(|refused| matches!(refused.error, Error::ActorStopped { .. })) {
                break;
            }
        }
        if !self.to.is_alive() {
            ctx.stop();
        }
    }
}

fn as_message(event: &SupervisionEvent) -> PyMessage {
    let event = serde_json::to_value(event).unwrap_or_default();
    PyMessage::native(move |py| Ok(to_python(py, &event)?.unbind()))
}

/// One for a listener, of what happens from now on. It ends with the listener.
pub(super) async fn spawn(runtime: &ironcliw::Handle, to: Address<PyActor>, number: u64) -> Result<(), Error> {
    let (seen, _) = runtime.events_after(u64::MAX);
    let child = Child::new(format!("events-{number}"), move || Feed { to: to.clone(), seen })
        .restart(Restart::Temporary)
        .mailbox(1, ironcliw::Overflow::Reject)
        .placement(Placement::Shared("control"));
    runtime.root()?.spawn(child).await.map(drop)
}
