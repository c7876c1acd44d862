//! How much memory a pool may hold, and what it tells the leak tracker.

use super::class::{LINE_BYTES, SizeClass};
use super::pressure::SystemMemory;
use super::reservation::Reservation;
use super::watermarks::Watermarks;
use crate::leak::RecorderConfig;
use crate::{Error, Result};
use std::time::Duration;

/// Share of the memory this process may use that a pool takes at most when it is not told.
const DEFAULT_SHARE: usize = 2;
/// Taken where the platform does not say how much memory there is.
const DEFAULT_LIMIT_BYTES: usize = 1 << 30;
/// Share of the limit that free blocks may fill when the pool is not told.
const RETAIN_SHARE: usize = 4;

/// The limits of a [`Pool`](super::Pool).
#[derive(Debug, Clone)]
pub struct PoolConfig {
    /// Bytes of all blocks, leased and free together, that the pool holds at most. Default: half of the memory that
    /// this process may use (the smaller of the machine's and its control group's).
    pub limit_bytes: usize,
    /// Bytes of free blocks kept for the next lease; what is beyond goes back to the system at once. Default: a
    /// quarter of the limit.
    pub retain_bytes: usize,
    /// Shares of the limit: above the first, free blocks go back to the system until no more than the second is held.
    pub soft: Watermarks,
    /// How long free blocks may be of no use before they go back to the system; `Some(ZERO)`: none are kept, `None`: they
    /// stay. See [`Pool::purge`](super::Pool::purge).
    pub purge_after: Option<Duration>,
    /// Room that is kept for some owners: see [`Pool::reserve`](super::Pool::reserve). Default: none.
    pub reservations: Vec<Reservation>,
    /// Which leases leave a record for the leak tracker.
    pub leaks: RecorderConfig,
}

impl Default for PoolConfig {
    fn default() -> Self {
        let memory = SystemMemory::detect().map(|system| system.limit());
        Self::limited(memory.map_or(DEFAULT_LIMIT_BYTES, |bytes| bytes / DEFAULT_SHARE))
    }
}

impl PoolConfig {
    /// How long memory may be of no use, when the pool is not told: as long as jemalloc's `dirty_decay_ms`.
    pub const PURGE_AFTER: Option<Duration> = Some(Duration::from_secs(10));

    /// A pool of at most `limit_bytes`, everything else as by default.
    pub fn limited(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            retain_bytes: limit_bytes / RETAIN_SHARE,
            soft: Watermarks::default(),
            purge_after: Self::PURGE_AFTER,
            reservations: Vec::new(),
            leaks: RecorderConfig::default(),
        }
    }
}

/// The limit as the pool keeps it.
///
/// # Errors
/// [`Error::InvalidInput`] when not even the smallest block fits.
pub(crate) fn checked_limit(limit_bytes: usize) -> Result<usize> {
    if limit_bytes < LINE_BYTES {
        return Err(Error::invalid(format!(
            "a pool's limit must be at least {LINE_BYTES} bytes, the smallest block, not {limit_bytes}"
        )));
    }
    Ok(limit_bytes.min(SizeClass::MAX_LEN))
}
