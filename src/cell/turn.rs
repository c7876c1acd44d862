//! How many messages an actor handles before others of its thread get a turn, and which of them are timed.
//!
//! Both go by one countdown, so that a message that is neither the first of its turn nor timed costs a comparison. A timed
//! message takes two readings of the ticks. So at least one in [`SAMPLE`] is timed, and more where that adds no more than
//! about a hundredth to what handlers take: each, from some microseconds on.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::observe::Info;
use crate::ticks;

/// The most messages an actor handles before the other tasks of its thread get a turn.
pub(super) const TURN: u8 = 64;

/// What a turn should last at most: messages that take longer make it shorter, down to one.
const TURN_TIME: Duration = Duration::from_micros(100);

/// Messages in a row that make a burst.
const BURST: u8 = 4;

/// Times to linger in vain before it is left, and empty mailboxes before it is tried again.
const LINGER_CREDIT: u8 = 4;
const LINGER_PROBE: u8 = 64;

/// One in so many messages is timed. A prime, so as not to keep step with senders that repeat themselves.
const SAMPLE: u8 = 61;

/// What handlers are to take between two timed ones: a hundred times what the timing does.
const SAMPLE_TIME_NS: u64 = 6_000;

/// There is no further message to look at in this turn.
const NO_MARK: u8 = u8::MAX;

pub(super) struct Turn {
    size: u8,
    left: u8,
    /// How many are left when the next message comes that is the first of the turn or is timed.
    mark: u8,
    /// How many come before the next that is timed, from the begin of the turn.
    until: u8,
    gap: u8,
    credit: u8,
    pauses: u8,
    /// In ticks, if the one before has just ended; else zero.
    began: u64,
    /// When the handler that is waiting now began, if it is timed.
    pub(super) timed: Option<Timed>,
}

/// A message whose handler is being timed.
#[derive(Clone, Copy)]
pub(super) struct Timed {
    /// In ticks.
    began: NonZeroU64,
}

impl Timed {
    pub(super) fn began(self) -> u64 {
        self.began.get()
    }
}

/// What there is to do before a message that is marked.
#[derive(PartialEq, Eq)]
pub(super) enum Mark {
    Begin,
    Timed,
    BeginTimed,
    Nothing,
}

impl Mark {
    pub(super) fn is_begin(&self) -> bool {
        matches!(self, Self::Begin | Self::BeginTimed)
    }

    pub(super) fn is_timed(&self) -> bool {
        matches!(self, Self::Timed | Self::BeginTimed)
    }
}

impl Turn {
    /// The second message is timed: an actor that is asked once stays small.
    pub(super) fn new() -> Self {
        Self {
            size: TURN,
            left: TURN,
            mark: TURN,
            until: 1,
            gap: 0,
            credit: LINGER_CREDIT,
            pauses: 0,
            began: 0,
            timed: None,
        }
    }

    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.left == 0
    }

    /// Whether the next message is to be looked at by [`Turn::mark`].
    #[inline]
    pub(super) fn is_marked(&self) -> bool {
        self.left == self.mark
    }

    pub(super) fn mark(&mut self) -> Mark {
        let passed = self.size - self.left;
        let is_timed = self.until <= passed;
        self.mark = if !is_timed && self.until < self.size { self.size - self.until } else { NO_MARK };
        match (passed == 0, is_timed) {
            (true, true) => Mark::BeginTimed,
            (true, false) => Mark::Begin,
            (false, true) => Mark::Timed,
            (false, false) => Mark::Nothing,
        }
    }

    /// A message was taken.
    #[inline]
    pub(super) fn count(&mut self) {
        self.left -= 1;
    }

    pub(super) fn begin_timing() -> Timed {
        Timed { began: NonZeroU64::MIN.saturating_add(ticks::now()) }
    }

    /// A timed handler is done.
    pub(super) fn end_timing(&mut self, timed: Timed, info: &Info) {
        let took_ns = ticks::to_ns(ticks::now().saturating_sub(timed.began()));
        info.activity_made().handled_in(took_ns);
        self.gap = (SAMPLE_TIME_NS / took_ns.max(1)).min(u64::from(SAMPLE - 1)) as u8;
    }

    /// How many messages may go by untimed, by how long the last timed one took.
    pub(super) fn gap(&self) -> u64 {
        self.gap.into()
    }

    /// So many go by, from now on.
    pub(super) fn time_after(&mut self, gap: u64) {
        self.until = self.size - self.left + gap.min(u64::from(SAMPLE - 1)) as u8;
        self.mark = if self.until < self.size { self.size - self.until } else { NO_MARK };
    }

    /// Ends it, and makes the next as long as its messages allow.
    pub(super) fn end(&mut self) {
        let now = ticks::now();
        // `size` messages were handled since.
        let is_long = self.began != 0 && now.saturating_sub(self.began) > ticks::of(TURN_TIME);
        let grown = if is_long { self.size / 2 } else { self.size * 2 };
        self.began = now;
        self.renew(grown.clamp(1, TURN));
    }

    pub(super) fn is_burst(&self) -> bool {
        self.began != 0 || self.size - self.left >= BURST
    }

    pub(super) fn is_worth_lingering(&mut self) -> bool {
        self.pauses = (self.pauses + 1) % LINGER_PROBE;
        self.credit > 0 || self.pauses == 0
    }

    pub(super) fn lingered(&mut self, has_come: bool) {
        self.credit = if has_come { LINGER_CREDIT } else { self.credit.saturating_sub(1) };
    }

    /// The mailbox is empty: what follows is another burst, whose begin is not known.
    pub(super) fn rest(&mut self) {
        self.began = 0;
        self.renew(self.size);
    }

    fn renew(&mut self, size: u8) {
        self.until = self.until.saturating_sub(self.size - self.left);
        (self.size, self.left, self.mark) = (size, size, size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a message, and says how it was marked.
    fn take(turn: &mut Turn) -> Mark {
        if turn.is_over() {
            turn.end();
        }
        let mark = if turn.is_marked() { turn.mark() } else { Mark::Nothing };
        turn.count();
        mark
    }

    #[test]
    fn every_turn_has_a_begin_and_the_gap_between_timed_messages_is_kept_across_turns() {
        for gap in [0, 1, 5, u64::from(SAMPLE) - 1] {
            for rest_after in [1, 3, 64, 1000] {
                let mut turn = Turn::new();
                let (mut begins, mut timed) = (0, Vec::new());
                for message in 0..1000 {
                    let mark = take(&mut turn);
                    begins += u32::from(mark.is_begin());
                    if mark.is_timed() {
                        timed.push(message);
                        turn.time_after(gap);
                    }
                    if message % rest_after == rest_after - 1 {
                        turn.rest();
                    }
                }
                assert!(begins >= 1000 / u32::from(TURN), "{begins} begins");
                assert_eq!(timed[0], 1);
                assert!(timed.windows(2).all(|pair| pair[1] - pair[0] == gap + 1), "{gap}: {timed:?}");
            }
        }
    }
}
