//! Starting very many idle actors and weighing them.

use std::time::Instant;

use ironcliw_bench::Counting;

use crate::system::{Crowd, Mailbox};

/// Weighs the mailboxes that `start` makes. They are returned, to be dropped where the caller likes.
pub async fn weigh<M: Mailbox>(size: usize, count_bytes: bool, start: impl AsyncFnOnce() -> Vec<M>) -> (Crowd, Vec<M>) {
    if count_bytes {
        Counting::start();
    }
    let began = Instant::now();
    let all = start().await;
    let (first, last) = (all[0].ask(1).await, all[size - 1].ask(1).await);
    let nanoseconds = began.elapsed().as_nanos() as f64 / size as f64;
    let bytes = if count_bytes { Counting::stop() as f64 / size as f64 } else { 0.0 };
    assert_eq!((all.len(), first, last), (size, 1, 1), "the crowd is not complete");
    (Crowd { nanoseconds, bytes }, all)
}
