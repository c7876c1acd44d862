//! What is kept of an actor that does something: made at the first use, so that one that does nothing is small.

use std::sync::OnceLock;

use super::histogram::{Histogram, Summary};
use super::waits::Pending;

#[derive(Default)]
pub(crate) struct Activity {
    handler: OnceLock<Box<Histogram>>,
    mailbox_wait: OnceLock<Box<Histogram>>,
    /// The asks of its handlers that are not answered yet.
    pub(super) pending: Pending,
}

impl Activity {
    pub(crate) fn handled_in(&self, ns: u64) {
        self.handler.get_or_init(|| Box::new(Histogram::new())).record(ns);
    }

    pub(crate) fn waited(&self, ns: u64) {
        self.mailbox_wait.get_or_init(|| Box::new(Histogram::new())).record(ns);
    }

    pub(crate) fn handler(&self) -> Summary {
        summary(&self.handler)
    }

    pub(crate) fn mailbox_wait(&self) -> Summary {
        summary(&self.mailbox_wait)
    }
}

fn summary(histogram: &OnceLock<Box<Histogram>>) -> Summary {
    histogram.get().map(|histogram| histogram.summary()).unwrap_or_default()
}
