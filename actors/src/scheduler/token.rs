//! Telling work that it is no longer wanted.
//!
//! A token ends once, for one reason: it was cancelled, or its deadline passed. Its children end with it, and for the same
//! reason; a parent never ends with a child. Whether it has ended is one atomic load and, with a deadline, a look at the
//! clock, so a job may ask in its innermost loop.
//!
//! Invariant: a child is in its parent's list before the parent's state is read for it, and a parent's state is set before
//! its list is taken; so a child that is made while its parent ends is ended by one of the two. No lock is held while
//! anybody is woken.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::{Error, Result};

const ALIVE: u8 = 0;
const CANCELLED: u8 = 1;
const EXPIRED: u8 = 2;

/// Children that are kept before those that have gone are looked for.
const PRUNE_FROM: usize = 16;

/// Says whether work is still wanted. Clones are the same token; a [`CancelToken::child`] is one that can end earlier.
///
/// ```
/// use ironcliw_actors::scheduler::CancelToken;
/// let group = CancelToken::new();
/// let (one, other) = (group.child(), group.child());
/// one.cancel();
/// assert!(one.is_cancelled() && !other.is_cancelled() && !group.is_cancelled());
/// group.cancel();
/// assert_eq!(other.check(), Err(ironcliw_actors::Error::Cancelled));
/// ```
#[derive(Clone, Default)]
pub struct CancelToken(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: AtomicU8,
    deadline: Option<Deadline>,
    ended: Notify,
    children: Mutex<Children>,
    /// Tells the timer of the deadline that nobody has the token any more.
    _timer: Mutex<Option<oneshot::Sender<()>>>,
}

#[derive(Default)]
struct Children {
    list: Vec<Weak<Inner>>,
    prune_at: usize,
}

/// When, and what is said of it.
#[derive(Debug, Clone)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    pub(crate) after: Duration,
    /// The path of the pool it was given to.
    pub(crate) path: Arc<str>,
}

impl std::fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.error() {
            None => f.write_str("CancelToken(alive)"),
            Some(error) => write!(f, "CancelToken({error})"),
        }
    }
}

impl CancelToken {
    /// A token that nothing else ends.
    pub fn new() -> Self {
        Self::default()
    }

    /// A token that ends with this one, and can be cancelled alone.
    pub fn child(&self) -> Self {
        self.child_with(None)
    }

    /// The same with a deadline, unless this one's is earlier.
    pub(crate) fn child_with(&self, deadline: Option<Deadline>) -> Self {
        let earlier = match (&self.0.deadline, deadline) {
            (Some(ours), Some(given)) => Some(if given.at < ours.at { given } else { ours.clone() }),
            (ours, given) => given.or_else(|| ours.clone()),
        };
        let child = Self::with(earlier);
        self.0.children.lock().add(&child.0);
        match self.0.state.load(Ordering::SeqCst) {
            ALIVE => {}
            reason => child.end(reason),
        }
        child
    }

    pub(crate) fn with(deadline: Option<Deadline>) -> Self {
        Self(Arc::new(Inner { deadline, ..Inner::default() }))
    }

    /// Ends this token and its children. Later calls do nothing.
    pub fn cancel(&self) {
        self.end(CANCELLED);
    }

    /// Whether it was cancelled or its deadline has passed: the work is no longer wanted.
    pub fn is_cancelled(&self) -> bool {
        self.is_ended_at(Instant::now)
    }

    /// The same as an error, to be returned with `?`.
    ///
    /// # Errors
    /// [`Error::Cancelled`], or [`ironcliw::Error::DeadlineExceeded`].
    pub fn check(&self) -> Result<()> {
        self.error().map_or(Ok(()), Err)
    }

    /// The moment after which the work is not wanted.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.deadline.as_ref().map(|deadline| deadline.at)
    }

    /// Waits until it was cancelled or expired. A deadline is noticed while its job's pool has a runtime to keep time.
    pub async fn cancelled(&self) {
        self.ended().await;
    }

    /// The same, and why.
    pub(crate) async fn ended(&self) -> Error {
        let mut notified = std::pin::pin!(self.0.ended.notified());
        // From here on an end is not missed; so it is looked for only now.
        notified.as_mut().enable();
        if let Some(error) = self.error() {
            return error;
        }
        notified.await;
        self.error().unwrap_or(Error::Cancelled)
    }

    pub(crate) fn error(&self) -> Option<Error> {
        let expired = |deadline: &Deadline| {
            let (path, after) = (deadline.path.to_string(), deadline.after);
            Error::Runtime(ironcliw::Error::DeadlineExceeded { path, after })
        };
        match (self.0.state.load(Ordering::SeqCst), &self.0.deadline) {
            (ALIVE, Some(deadline)) => (deadline.at <= Instant::now()).then(|| expired(deadline)),
            (ALIVE, None) => None,
            (EXPIRED, Some(deadline)) => Some(expired(deadline)),
            _ => Some(Error::Cancelled),
        }
    }

    /// `now` is asked for only if there is a deadline.
    pub(crate) fn is_ended_at(&self, now: impl FnOnce() -> Instant) -> bool {
        self.0.state.load(Ordering::SeqCst) != ALIVE
            || self.0.deadline.as_ref().is_some_and(|deadline| deadline.at <= now())
    }

    /// Has `clock` end it at its deadline, so that whoever waits hears then. The timer goes with the token.
    pub(crate) fn keep_time(&self, clock: &ironcliw::Handle) {
        let Some(at) = self.deadline() else { return };
        let (alive, gone) = oneshot::channel();
        *self.0._timer.lock() = Some(alive);
        let token = Arc::downgrade(&self.0);
        clock.spawn_task(async move {
            tokio::select! {
                () = tokio::time::sleep_until(at.into()) => if let Some(inner) = token.upgrade() {
                    Self(inner).end(EXPIRED);
                },
                _ = gone => {}
            }
        });
    }

    /// Without recursion: a chain of children may be long.
    fn end(&self, reason: u8) {
        let mut ending = vec![self.clone()];
        while let Some(Self(inner)) = ending.pop() {
            // Whichever came first: one that is cancelled after its deadline has expired.
            let has_expired = inner.deadline.as_ref().is_some_and(|deadline| deadline.at <= Instant::now());
            let reason = if has_expired { EXPIRED } else { reason };
            if inner.state.compare_exchange(ALIVE, reason, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                let children = std::mem::take(&mut inner.children.lock().list);
                ending.extend(children.iter().filter_map(Weak::upgrade).map(Self));
                inner.ended.notify_waiters();
            }
        }
    }
}

impl Children {
    fn add(&mut self, child: &Arc<Inner>) {
        if self.list.len() >= self.prune_at.max(PRUNE_FROM) {
            self.list.retain(|child| child.strong_count() > 0);
            self.prune_at = 2 * self.list.len();
        }
        self.list.push(Arc::downgrade(child));
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{CancelToken, Deadline};
    use crate::Error;

    fn passed() -> Deadline {
        Deadline { at: Instant::now(), after: Duration::from_millis(5), path: "scheduler".into() }
    }

    #[test]
    fn a_token_that_outlives_many_children_keeps_few_of_them() {
        let parent = CancelToken::new();
        let kept: Vec<_> = (0..10).map(|_| parent.child()).collect();
        (0..10_000).for_each(|_| drop(parent.child()));
        assert!(parent.0.children.lock().list.len() < 64);
        parent.cancel();
        assert!(kept.iter().all(CancelToken::is_cancelled));
        assert!(parent.child().is_cancelled());
    }

    #[test]
    fn a_passed_deadline_is_told_as_such_and_the_earlier_one_counts() {
        let later = Deadline { at: Instant::now() + Duration::from_secs(3600), ..passed() };
        let parent = CancelToken::with(Some(later));
        assert_eq!(parent.check(), Ok(()));
        let child = parent.child_with(Some(passed()));
        let told = child.check().unwrap_err();
        assert!(matches!(told, Error::Runtime(ironcliw::Error::DeadlineExceeded { .. })), "{told:?}");
        assert_eq!(child.child().check().unwrap_err(), told);
        assert_eq!(parent.child().deadline(), parent.deadline());
        assert!(!parent.is_cancelled());
    }

    #[test]
    fn a_long_chain_ends_as_one() {
        let chain: Vec<_> =
            std::iter::successors(Some(CancelToken::new()), |token| Some(token.child())).take(100_000).collect();
        chain[0].cancel();
        assert!(chain.iter().all(CancelToken::is_cancelled));
    }
}
