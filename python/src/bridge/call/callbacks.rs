//! Who is to be told that a call has ended, in the order in which they asked.

use std::collections::VecDeque;

use pyo3::prelude::*;

/// A callback and the context to run it in.
pub(in crate::bridge) struct Callback {
    pub(in crate::bridge) function: Py<PyAny>,
    pub(in crate::bridge) context: Py<PyAny>,
}

/// Nearly every call has one callback: the first needs no memory of its own.
#[derive(Default)]
pub(in crate::bridge) struct Callbacks {
    first: Option<Callback>,
    /// Empty while there is no first.
    more: VecDeque<Callback>,
}

impl Callbacks {
    pub(super) fn push(&mut self, callback: Callback) {
        if self.first.is_none() {
            self.first = Some(callback);
        } else {
            self.more.push_back(callback);
        }
    }

    pub(in crate::bridge) fn pop(&mut self) -> Option<Callback> {
        std::mem::replace(&mut self.first, self.more.pop_front())
    }

    pub(super) fn append(&mut self, mut others: Self) {
        while let Some(callback) = others.pop() {
            self.push(callback);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Callback> {
        self.first.iter().chain(&self.more)
    }
}
