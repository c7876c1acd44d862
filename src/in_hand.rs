//! The reply of the message in hand, kept where the supervisor finds it if the handler does not come back.
//!
//! An asker hears exactly once, and whoever takes the replier out of the [`InHand`] is the one who answers: the handler when
//! it is done, the incarnation when the handler was dropped or panicked, or the supervisor when the thread is given up. It is
//! touched inside a lease's window only, or once every lease is revoked. A tell has no replier.

use std::cell::UnsafeCell;

use crate::mailbox::{Revoked, Window};
use crate::reply::ErasedReplier;

#[derive(Default)]
pub(crate) struct InHand(UnsafeCell<Option<ErasedReplier>>);

// SAFETY: only the holder of an open window, of which there is one at a time, or of the proof that there can be none,
// touches the cell; a replier may cross threads.
unsafe impl Sync for InHand {}
// SAFETY: a replier may cross threads.
unsafe impl Send for InHand {}

impl InHand {
    #[inline]
    pub(crate) fn put(&self, _: &Window<'_>, replier: ErasedReplier) {
        // SAFETY: the window is the proof.
        let earlier = unsafe { (*self.0.get()).replace(replier) };
        debug_assert!(earlier.is_none(), "an incarnation has one message in hand");
    }

    #[inline]
    pub(crate) fn take(&self, _: &Window<'_>) -> Option<ErasedReplier> {
        // SAFETY: the window is the proof.
        unsafe { (*self.0.get()).take() }
    }

    /// On behalf of a handler that has lost its lease.
    pub(crate) fn take_left(&self, _: &Revoked<'_>) -> Option<ErasedReplier> {
        // SAFETY: nobody has a window, nor will while the proof lives.
        unsafe { (*self.0.get()).take() }
    }
}
