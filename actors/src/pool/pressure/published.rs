//! A level that one publishes and others read without asking.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::level::{Cause, Pressure};

/// The level's bits; the cause, plus one, is in the bits above.
const LEVEL: u8 = 0b11;

/// A level that one publishes and others read without asking. Clones are handles of the same one.
#[derive(Debug, Clone, Default)]
pub struct PublishedPressure(Arc<AtomicU8>);

impl PublishedPressure {
    /// The level that was published last; `Low` before the first.
    pub fn get(&self) -> Pressure {
        self.read().0
    }

    /// Whose level that is, if it is known; never at `Low`.
    pub fn cause(&self) -> Option<Cause> {
        self.read().1
    }

    pub(crate) fn set(&self, level: Pressure) {
        self.set_of(level, None);
    }

    pub(super) fn set_of(&self, level: Pressure, cause: Option<Cause>) {
        let cause = cause.map_or(0, |cause| cause as u8 + 1);
        self.0.store(level as u8 | cause << 2, Ordering::Relaxed);
    }

    /// Both of one moment.
    pub(super) fn read(&self) -> (Pressure, Option<Cause>) {
        let word = self.0.load(Ordering::Relaxed);
        let cause = (word >> 2).checked_sub(1).and_then(|index| Cause::ALL.get(usize::from(index)));
        (Pressure::ALL[usize::from(word & LEVEL)], cause.copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_published_is_what_is_read() {
        let published = PublishedPressure::default();
        assert_eq!(published.read(), (Pressure::Low, None));
        for level in Pressure::ALL {
            for cause in Cause::ALL {
                published.set_of(level, Some(cause));
                assert_eq!(published.read(), (level, Some(cause)));
            }
            published.set(level);
            assert_eq!((published.get(), published.cause()), (level, None));
        }
    }
}
