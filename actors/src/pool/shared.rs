//! Parts of a lease: borrowed from its [`Buffer`], or [`Shared`] by any number of readers once it is frozen.

use super::block::Block;
use super::buffer::{Buffer, touch};
use super::owner::Owner;
use super::slot::Slot;
use super::slots::LeaseId;
use crate::lent::Lent;
use crate::{Error, Result};
use std::mem::ManuallyDrop;
use std::ops::{Deref, RangeBounds};
use std::ptr::NonNull;

/// Bytes of a frozen lease, or a part of them: read-only, cheap to clone and to slice, on any thread. The lease ends with the
/// last of them.
///
/// What `bytes::Bytes` is for the heap: the count of handles stands in the block's header, so that to freeze, to clone and
/// to slice allocate nothing. A handle pins its lease whole, however small a part it shows.
///
/// ```
/// use ironcliw_actors::pool::{Owner, Pool, PoolConfig};
/// let pool = Pool::new(PoolConfig::limited(1 << 20))?;
/// let mut buffer = pool.allocate(1000, Owner::named("example"))?;
/// buffer[10..14].copy_from_slice(b"head");
/// let whole = buffer.freeze();
/// let head = whole.slice(10..14)?;
/// std::thread::spawn(move || assert_eq!(&*head, b"head")).join().unwrap();
/// assert!(whole.slice(990..1001).is_err());
/// let mut buffer = whole.try_unfreeze().expect("the only handle");
/// buffer[10] = b'H';
/// # Ok::<_, ironcliw_actors::Error>(())
/// ```
pub struct Shared {
    /// Its block is owned by all handles together.
    slot: NonNull<Slot>,
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a handle reads its bytes, which nobody writes to while one exists, and the count is atomic.
unsafe impl Send for Shared {}
// SAFETY: likewise.
unsafe impl Sync for Shared {}

impl Buffer {
    /// Makes the bytes read-only, to be shared. The lease goes on; no byte is copied. Its record, if it keeps touches, has one
    /// of this.
    #[track_caller]
    pub fn freeze(self) -> Shared {
        self.touch("freeze");
        let (start, len) = (self.data_ptr(), self.len());
        let block = self.into_block();
        block.slot().share();
        let slot = NonNull::from(block.slot());
        _ = block.into_raw();
        Shared { slot, start, len }
    }

    /// A part of the bytes.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`], counted, where slicing by index panics.
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Result<&[u8]> {
        let range = self.misuse().range(range, self.len())?;
        Ok(&self[range])
    }

    /// A part of the bytes, to write. Errors as [`Buffer::slice`].
    ///
    /// # Errors
    /// [`Error::OutOfBounds`], counted.
    pub fn slice_mut(&mut self, range: impl RangeBounds<usize>) -> Result<&mut [u8]> {
        let range = self.misuse().range(range, self.len())?;
        Ok(&mut self[range])
    }
}

impl Shared {
    fn slot(&self) -> &Slot {
        // SAFETY: a slot stays where it is while its block lives, which we own a share of.
        unsafe { self.slot.as_ref() }
    }

    /// A part of these bytes: the same memory.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`], counted, when it is not within these.
    #[track_caller]
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Result<Self> {
        // SAFETY: a live block has a reference to its core.
        let range = unsafe { (*self.slot().core()).misuse.range(range, self.len)? };
        self.touch("slice");
        let mut part = self.clone();
        // SAFETY: `range` is within our bytes.
        part.start = unsafe { self.start.add(range.start) };
        part.len = range.len();
        Ok(part)
    }

    /// Notes in the lease's record that it was used here, as [`Buffer::touch`] does.
    #[inline]
    #[track_caller]
    pub fn touch(&self, hint: &str) {
        touch(self.slot(), hint);
    }

    /// The lease as a buffer again, whole, to write: if this is the only handle. Otherwise the handle.
    ///
    /// # Errors
    /// The handle itself, when there are others.
    pub fn try_unfreeze(self) -> Result<Buffer, Self> {
        if self.is_unique() { Ok(ManuallyDrop::new(self).take()) } else { Err(self) }
    }

    /// Whether this is the only handle of its lease.
    pub fn is_unique(&self) -> bool {
        self.slot().is_shared_once()
    }

    /// Ends the lease with its last handle, as it is demanded of [`LeaseKind::Explicit`](super::LeaseKind::Explicit) ones:
    /// one of the handles has to say so.
    pub fn release(self) {
        self.slot().set_released();
    }

    /// The lease's id.
    pub fn id(&self) -> LeaseId {
        self.slot().lease_id()
    }

    /// Who the lease is counted for.
    pub fn owner(&self) -> Owner {
        self.slot().terms().owner()
    }

    /// The buffer, of which this was the last handle, and is none from here on.
    fn take(&self) -> Buffer {
        // SAFETY: `freeze` made the handles of a block, and the caller says that all others are gone.
        match unsafe { Block::from_raw(self.slot.as_ptr()) } {
            Some(block) => Buffer::from_block(block),
            None => unreachable!("a slot's address is not null"),
        }
    }
}

impl Clone for Shared {
    fn clone(&self) -> Self {
        self.slot().share_again();
        Self { ..*self }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.slot().unshare() {
            drop(self.take());
        }
    }
}

impl Deref for Shared {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: they are within the block, initialised, and nobody writes to them while a handle exists.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Buffer> for Shared {
    fn from(buffer: Buffer) -> Self {
        buffer.freeze()
    }
}

impl From<Shared> for Lent<u8> {
    /// As an input of a subsystem, which keeps the lease meanwhile.
    fn from(shared: Shared) -> Self {
        let (start, len) = (shared.start.as_ptr().cast_const(), shared.len);
        // SAFETY: the bytes are initialised, and the keeper sees to it that they stay and that nobody writes to them.
        unsafe { Self::new(start, len, Box::new(shared)) }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("id", &self.id().get()).field("len", &self.len).finish_non_exhaustive()
    }
}

/// A buffer that was brought to another pool than its own. It is unharmed.
#[derive(Debug, thiserror::Error)]
#[error("buffer {} belongs to another pool", .0.id())]
pub struct ForeignBuffer(pub Buffer);

impl From<ForeignBuffer> for Error {
    fn from(foreign: ForeignBuffer) -> Self {
        Self::ForeignBuffer { id: foreign.0.id().get() }
    }
}
