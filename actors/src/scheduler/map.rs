//! A function over many items, in pieces that are jobs of their own.
//!
//! Pieces rather than one job that rayon splits: between two pieces a thread looks into the queue, so something more urgent
//! waits for a piece and not for the whole. The first piece that fails ends the others.

use std::sync::{Arc, OnceLock};

use tokio::sync::oneshot;

use super::job::Job;
use super::work::Entry;
use super::{CancelToken, Pool};
use crate::{Error, Result};

/// Pieces a thread, at most: enough that a thread with a slow piece is not waited for by the others, few enough that
/// handing them out costs nothing beside them.
const PIECES_PER_THREAD: usize = 4;

impl Pool {
    /// `work` for each of `items`, on the pool's threads; the results in the order of the items.
    ///
    /// The items are cut into at most four pieces a thread, and each is a job with this handle's priority. All of them are
    /// taken in, or none. Cancelling, a deadline, or dropping the future ends them between two items.
    ///
    /// # Errors
    /// As [`Pool::spawn`] and its [`JobHandle`](super::JobHandle); if several pieces fail, what the first to fail said.
    ///
    /// ```
    /// # use ironcliw_actors::{Config, Subsystems};
    /// # let runtime = ironcliw::Runtime::new()?;
    /// # runtime.block_on(async {
    /// # let subsystems = Subsystems::start(runtime.handle(), Config::default()).await?;
    /// let pool = subsystems.scheduler.default_pool();
    /// assert_eq!(pool.map(0..1000_u64, |n| n * n).await?[999], 998_001);
    /// # Ok::<_, ironcliw_actors::Error>(())
    /// # }).unwrap();
    /// # Ok::<_, ironcliw::Error>(())
    /// ```
    pub async fn map<T, R, F>(&self, items: impl IntoIterator<Item = T>, work: F) -> Result<Vec<R>>
    where
        T: Send + 'static,
        R: Send + 'static,
        F: Fn(T) -> R + Send + Sync + 'static,
    {
        let items: Vec<T> = items.into_iter().collect();
        let count = items.len();
        let group = Group::new(self.new_token());
        let pieces = cut(items, self.threads().max(1) * PIECES_PER_THREAD);
        let work = Arc::new(work);
        let (entries, answers): (Vec<_>, Vec<_>) =
            pieces.into_iter().map(|piece| self.piece(piece, &work, &group)).unzip();
        self.core.admit(entries.into_iter()).map_err(|(error, _)| error)?;
        let gather = async {
            let mut results = Vec::with_capacity(count);
            for answer in answers {
                results.append(&mut answer.await.unwrap_or(Err(Error::Cancelled))?);
            }
            Ok(results)
        };
        let outcome = tokio::select! {
            biased;
            outcome = gather => outcome,
            error = group.token.ended() => Err(error),
        };
        // What ended the group is the reason, whichever piece was looked at first.
        outcome.map_err(|error| group.failed.get().cloned().unwrap_or(error))
    }

    fn piece<T, R, F>(&self, items: Vec<T>, work: &Arc<F>, group: &Group) -> (Entry, oneshot::Receiver<Result<Vec<R>>>)
    where
        T: Send + 'static,
        R: Send + 'static,
        F: Fn(T) -> R + Send + Sync + 'static,
    {
        let (sender, answer) = oneshot::channel();
        let (work, token, failed) = (work.clone(), group.token.clone(), group.failed.clone());
        let run = move |token: &CancelToken| -> Result<Vec<R>> {
            items.into_iter().map(|item| token.check().map(|()| work(item))).collect()
        };
        let tell = move |outcome: Result<Result<Vec<R>>>| {
            let outcome = outcome.flatten();
            if let Err(error) = &outcome {
                let _ = failed.set(error.clone());
                token.cancel();
            }
            // The waiter may have gone.
            let _ = sender.send(outcome);
        };
        (Entry::new(self.priority, group.token.clone(), Job { run, tell }), answer)
    }
}

/// The pieces of one map. Dropped, it ends those that have not ended.
struct Group {
    token: CancelToken,
    failed: Arc<OnceLock<Error>>,
}

impl Group {
    fn new(token: CancelToken) -> Self {
        Self { token, failed: Arc::default() }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

/// At most `pieces` parts in order, as even as can be.
fn cut<T>(items: Vec<T>, pieces: usize) -> Vec<Vec<T>> {
    let (len, pieces) = (items.len(), pieces.min(items.len()));
    let mut items = items.into_iter();
    (0..pieces)
        .map(|piece| {
            let (begin, end) = (len * piece / pieces, len * (piece + 1) / pieces);
            items.by_ref().take(end - begin).collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::cut;

    proptest! {
        #[test]
        fn pieces_are_in_order_even_and_all(len in 0..500_usize, pieces in 1..40_usize) {
            let cut = cut((0..len).collect(), pieces);
            prop_assert_eq!(cut.len(), pieces.min(len));
            let lens: Vec<_> = cut.iter().map(Vec::len).collect();
            let (least, most) = (lens.iter().min(), lens.iter().max());
            prop_assert!(most.zip(least).is_none_or(|(most, least)| most - least <= 1));
            prop_assert_eq!(cut.concat(), (0..len).collect::<Vec<_>>());
        }
    }
}
