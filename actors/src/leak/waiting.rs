//! Records that wait for the ledger, each at its lease's slot.
//!
//! Most leases end before the ledger looks: their record is taken back where it was put, and nobody else hears of it. So a
//! sampled lease costs its record and no message, and no flood of leases can fill a channel: there is at most one record a
//! block. What the ledger finds here is still leased, or was a moment ago.
//!
//! A record is in one place only: here, with the ledger (which took it), or with the lease's holder (who took it). All three
//! take it by the same swap, so that exactly one gets it, and a holder that finds nothing knows that the ledger heard of its
//! lease. Marks, a bit a slot, tell the ledger where to look. They may be set where nothing is left, never missing where
//! something is: a mark is set after the record was put there and taken away before the record is looked for, both by
//! read-modify-writes of the same word, so that the ledger's sees the record or the holder's leaves a mark for its next look.

use super::event::Record;
use crate::pool::fallible::OnceBox;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// Slots of a page: 8 KiB of pointers.
const PAGE: usize = 1 << 10;
/// Pages of a directory.
const DIRECTORY: usize = 1 << 8;
/// Directories: 2^26 slots in all, as many as the lease table has.
const DIRECTORIES: usize = 1 << 8;

/// A table of places that is there only where something was ever put.
#[derive(Debug)]
pub(super) struct Waiting {
    directories: Box<[OnceBox<Directory>]>,
}

type Directory = [OnceBox<Page>; DIRECTORY];

#[derive(Debug)]
struct Page {
    records: [AtomicPtr<Record>; PAGE],
    marks: [AtomicU64; PAGE / 64],
}

impl Page {
    fn new() -> Self {
        Self { records: [const { AtomicPtr::new(null_mut()) }; PAGE], marks: [const { AtomicU64::new(0) }; PAGE / 64] }
    }

    fn take(&self, at: usize) -> Option<Box<Record>> {
        let record = self.records.get(at)?.swap(null_mut(), Ordering::AcqRel);
        // SAFETY: what is not null was put there by `put`, which made it of a box, and the swap gave it to us alone.
        (!record.is_null()).then(|| unsafe { Box::from_raw(record) })
    }
}

impl Waiting {
    pub(super) fn new() -> Self {
        Self { directories: (0..DIRECTORIES).map(|_| OnceBox::new()).collect() }
    }

    /// Leaves a record at this slot, which has none. False if there is no such slot, or no memory for its place.
    pub(super) fn put(&self, slot: usize, record: Box<Record>) -> bool {
        let directory = self.directories.get(slot / (PAGE * DIRECTORY));
        let directory = directory.and_then(|place| place.get_or_try(|| Some([const { OnceBox::new() }; DIRECTORY])));
        let page = directory.and_then(|pages| pages[slot / PAGE % DIRECTORY].get_or_try(|| Some(Page::new())));
        let Some(page) = page else { return false };
        let at = slot % PAGE;
        let former = page.records[at].swap(Box::into_raw(record), Ordering::AcqRel);
        if !former.is_null() {
            // SAFETY: as in `take`. Nobody puts two, but one that did would leak none.
            drop(unsafe { Box::from_raw(former) });
        }
        page.marks[at / 64].fetch_or(1 << (at % 64), Ordering::AcqRel);
        true
    }

    /// Takes the record back. `None`: the ledger has it.
    pub(super) fn take(&self, slot: usize) -> Option<Box<Record>> {
        self.directories.get(slot / (PAGE * DIRECTORY))?.get()?[slot / PAGE % DIRECTORY].get()?.take(slot % PAGE)
    }

    /// Takes what waits, in no order, and looks at each place once: it ends even while others keep putting.
    pub(super) fn drain(&self) -> impl Iterator<Item = Box<Record>> {
        let pages = self.directories.iter().filter_map(OnceBox::get).flatten().filter_map(OnceBox::get);
        pages.flat_map(|page| page.marks.iter().enumerate().map(move |(word, marks)| (page, word, marks))).flat_map(
            |(page, word, marks)| {
                // Mark by mark, so that none is lost if the caller wants no more.
                let mut left = marks.load(Ordering::Relaxed);
                std::iter::from_fn(move || {
                    while left != 0 {
                        let bit = left.trailing_zeros() as usize;
                        left &= left - 1;
                        marks.fetch_and(!(1 << bit), Ordering::AcqRel);
                        if let Some(record) = page.take(word * 64 + bit) {
                            return Some(record);
                        }
                    }
                    None
                })
            },
        )
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.drain().for_each(drop);
    }
}
