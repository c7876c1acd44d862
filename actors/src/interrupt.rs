//! Word that a result is no longer wanted, as kernels ask for it.
//!
//! An [`Interrupt`] travels with the work. Whoever computes asks it now and then and returns [`Error::Cancelled`]; so a kernel
//! knows nothing of calls, actors or deadlines. It never turns back: once set it stays set.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::scheduler::CancelToken;
use crate::{Error, Result};

/// Bytes read or written between two looks: some 10 to 100 µs of any kernel, against some 5 ns for a look.
const STEP_BYTES: usize = 64 << 10;

/// What an interrupt asks. It may be asked from several threads at a time, and often.
pub trait Signal: Send + Sync {
    /// Whether the result is no longer wanted. Once true, always true.
    fn is_set(&self) -> bool;
}

impl Signal for AtomicBool {
    fn is_set(&self) -> bool {
        self.load(Ordering::Relaxed)
    }
}

impl Signal for CancelToken {
    fn is_set(&self) -> bool {
        self.is_cancelled()
    }
}

/// Whether a result is still wanted. Clones ask the same.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use ironcliw_actors::{Error, Interrupt};
///
/// let called_off = Arc::new(AtomicBool::new(false));
/// let interrupt = Interrupt::by(called_off.clone());
/// assert_eq!(interrupt.check(), Ok(()));
/// called_off.store(true, Ordering::Relaxed);
/// assert_eq!(interrupt.check(), Err(Error::Cancelled));
/// ```
#[derive(Clone, Default)]
pub struct Interrupt(Option<Arc<dyn Signal>>);

impl Interrupt {
    /// One that never comes.
    pub const fn never() -> Self {
        Self(None)
    }

    /// One that comes when `signal` says so.
    pub fn by(signal: Arc<dyn Signal>) -> Self {
        Self(Some(signal))
    }

    /// One that comes when the guard is dropped.
    pub fn on_drop() -> (Self, InterruptOnDrop) {
        let signal = Arc::new(AtomicBool::new(false));
        (Self::by(signal.clone()), InterruptOnDrop(signal))
    }

    /// Whether it can come at all.
    pub fn is_possible(&self) -> bool {
        self.0.is_some()
    }

    /// Whether the result is no longer wanted.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.0.as_ref().is_some_and(|signal| signal.is_set())
    }

    /// The same as an error, to be returned with `?`.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    #[inline]
    pub fn check(&self) -> Result<()> {
        if self.is_set() { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// The items, with a look before the first and then whenever so much work has been done; `bytes_each` is what an item
    /// reads or writes. After the error there are no more items.
    pub(crate) fn steps<I: IntoIterator>(&self, items: I, bytes_each: usize) -> Steps<'_, I::IntoIter> {
        let every = (STEP_BYTES / bytes_each.max(1)).max(1);
        Steps { interrupt: self, items: items.into_iter(), every, left: 0 }
    }
}

impl From<CancelToken> for Interrupt {
    fn from(token: CancelToken) -> Self {
        Self::by(Arc::new(token))
    }
}

impl std::fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match (self.is_possible(), self.is_set()) {
            (false, _) => "never",
            (true, false) => "not set",
            (true, true) => "set",
        };
        write!(f, "Interrupt({state})")
    }
}

/// Sets its interrupt when dropped: for a future whose drop calls the work off.
#[derive(Debug)]
pub struct InterruptOnDrop(Arc<AtomicBool>);

impl Drop for InterruptOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// See [`Interrupt::steps`].
pub(crate) struct Steps<'a, I> {
    interrupt: &'a Interrupt,
    items: I,
    every: usize,
    /// Items until the next look.
    left: usize,
}

impl<I: Iterator> Iterator for Steps<'_, I> {
    type Item = Result<I::Item>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let item = self.items.next()?;
        if self.left == 0 {
            self.left = self.every;
            if let Err(error) = self.interrupt.check() {
                return Some(Err(error));
            }
        }
        self.left -= 1;
        Some(Ok(item))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Comes after so many looks, and counts them.
    pub(crate) struct Countdown {
        looks_max: usize,
        looks: AtomicUsize,
    }

    impl Signal for Countdown {
        fn is_set(&self) -> bool {
            self.looks.fetch_add(1, Ordering::Relaxed) >= self.looks_max
        }
    }

    impl Countdown {
        pub(crate) fn from(looks_max: usize) -> Arc<Self> {
            Arc::new(Self { looks_max, looks: AtomicUsize::new(0) })
        }

        pub(crate) fn looks(&self) -> usize {
            self.looks.load(Ordering::Relaxed)
        }

        /// Looks after the one that was answered with yes.
        pub(crate) fn ignored(&self) -> usize {
            self.looks().saturating_sub(self.looks_max + 1)
        }
    }

    #[test]
    fn a_look_comes_first_and_then_after_every_step() {
        let countdown = Countdown::from(2);
        let interrupt = Interrupt::by(countdown.clone());
        let done = interrupt.steps(0..100, STEP_BYTES / 10).take_while(Result::is_ok).count();
        assert_eq!((done, countdown.ignored()), (20, 0));
        assert_eq!(Interrupt::never().steps(0..100, 1 << 40).filter(Result::is_ok).count(), 100);
    }

    #[test]
    fn a_dropped_guard_and_a_cancelled_token_interrupt() {
        let (interrupt, guard) = Interrupt::on_drop();
        assert!(!interrupt.is_set());
        drop(guard);
        assert!(interrupt.clone().is_set());
        let token = CancelToken::new();
        let interrupt = Interrupt::from(token.clone());
        assert_eq!(interrupt.check(), Ok(()));
        token.cancel();
        assert_eq!(interrupt.check(), Err(Error::Cancelled));
    }
}
