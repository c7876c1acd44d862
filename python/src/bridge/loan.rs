//! Memory that a call borrows from Python, and word of its return.
//!
//! Whoever reads or writes borrowed memory holds a share of a [`Loan`]. When the last share is dropped, on whatever thread,
//! the loan is over and those who waited for it hear. A loan may be a part of another: that one is over no earlier.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::{Completer, Outcome};

/// A share of a loan.
#[derive(Clone)]
pub(crate) struct Loan(Arc<Shares>);

struct Shares {
    waiting: Mutex<Vec<Completer>>,
    /// The loan that this one is a part of; dropped, and so perhaps over, after this one.
    _within: Option<Loan>,
}

impl Drop for Shares {
    fn drop(&mut self) {
        self.waiting.get_mut().drain(..).for_each(|completer| completer.complete(Outcome::Unit));
    }
}

impl Loan {
    pub(crate) fn new() -> Self {
        Self::part_of(None)
    }

    /// A loan that is a part of `whole`.
    pub(crate) fn within(whole: &Self) -> Self {
        Self::part_of(Some(whole.clone()))
    }

    fn part_of(whole: Option<Self>) -> Self {
        Self(Arc::new(Shares { waiting: Mutex::default(), _within: whole }))
    }

    /// A way to wait for its end that does not put it off.
    pub(crate) fn term(&self) -> Term {
        Term(Arc::downgrade(&self.0))
    }
}

/// The end of a loan, to be waited for.
pub(crate) struct Term(Weak<Shares>);

impl Term {
    /// Completes `waiting` when the loan is over.
    pub(super) fn tell(&self, waiting: Completer) {
        match self.0.upgrade() {
            None => waiting.complete(Outcome::Unit),
            Some(shares) => {
                let mut others = shares.waiting.lock();
                others.retain(|other| !other.is_cancelled());
                others.push(waiting);
            }
        }
    }
}

/// What a call has borrowed: its inputs, and everything, which includes the memory it writes to.
pub(crate) struct Terms {
    pub(crate) inputs: Term,
    pub(crate) all: Term,
}
