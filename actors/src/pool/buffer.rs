//! The handle of a lease.

use super::admission::Turn;
use super::block::Block;
use super::class::SizeClass;
use super::core::Core;
use super::lease::{AllocOptions, LeaseKind, LeaseTerms};
use super::misuse::MisuseCounter;
use super::owner::Owner;
use super::slot::Slot;
use super::slots::LeaseId;
use crate::leak::{Lease, Level, Origin, Site};
use crate::{Error, Result};
use bytemuck::{AnyBitPattern, NoUninit};
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::Arc;

/// A buffer leased from a [`Pool`](super::Pool): `len` bytes, aligned to 64, always initialised, owned by this handle
/// alone. Dropping it, on any thread, gives the block back; the pool's memory lives until the last buffer is gone.
///
/// The handle itself is one word, whatever it is a handle of.
pub struct Buffer {
    /// Taken out by `drop` only.
    block: ManuallyDrop<Block>,
}

impl Buffer {
    /// Leases a block of at least `len` bytes; `origin` is asked who wants it if the lease is recorded. In line, so that the
    /// handle stays in a register all the way to its user, and what the user does not ask for leaves no trace.
    #[inline(always)]
    pub(crate) fn lease(
        core: &Arc<Core>,
        len: usize,
        owner: Owner,
        terms: LeaseTerms,
        origin: impl FnOnce(Level) -> Option<Origin>,
    ) -> Result<Self> {
        let mut found = core.lease(len, owner)?;
        if terms.zeroed && !found.zeroed() {
            found.block.clear(len);
        }
        found.block.slot().open(len, owner, terms.kind);
        let is_sample = found.is_sample();
        let buffer = Self { block: ManuallyDrop::new(found.block) };
        if is_sample || terms.record || terms.kind == LeaseKind::Explicit {
            buffer.record(core, origin);
        }
        Ok(buffer)
    }

    /// The same for one that waited. Written out twice: a function that took [`super::core::Found`] for both would cost the
    /// fast path above a tenth of its time.
    #[inline(never)]
    pub(crate) fn lease_in_turn(
        core: &Arc<Core>,
        len: usize,
        owner: Owner,
        options: AllocOptions,
        turn: Turn,
    ) -> Result<Self> {
        let mut found = core.find(len, owner, turn)?;
        let terms = LeaseTerms::of(&options);
        if terms.zeroed && !found.zeroed() {
            found.block.clear(len);
        }
        found.block.slot().open(len, owner, terms.kind);
        let is_sample = found.is_sample();
        let buffer = Self { block: ManuallyDrop::new(found.block) };
        if is_sample || terms.record || terms.kind == LeaseKind::Explicit {
            buffer.record(core, |_| Some(options.into_origin(Origin::default)));
        }
        Ok(buffer)
    }

    #[cold]
    #[inline(never)]
    fn record(&self, core: &Core, origin: impl FnOnce(Level) -> Option<Origin>) {
        if let Some(level) = core.recorder.recording()
            && core.recorder.acquired(level, self.describe(), origin(level).unwrap_or_default())
        {
            self.block.slot().set_recorded(level >= Level::Advanced);
        }
    }

    /// Notes in the lease's record that the buffer was used here, and what for: reports show the last
    /// [`TOUCHES_MAX`](crate::leak::TOUCHES_MAX) such notes. Costs next to nothing unless the lease carries a record that
    /// keeps them, which those made at [`Level::Advanced`] and above do.
    ///
    /// ```
    /// # use ironcliw_actors::leak::Level;
    /// # use ironcliw_actors::pool::{Owner, Pool, PoolConfig};
    /// # let pool = Pool::new(PoolConfig::limited(1 << 20))?;
    /// pool.recorder().set_level(Level::Paranoid);
    /// let buffer = pool.allocate(1000, Owner::named("example"))?;
    /// buffer.touch("decoded");
    /// # Ok::<_, ironcliw_actors::Error>(())
    /// ```
    #[inline]
    #[track_caller]
    pub fn touch(&self, hint: &str) {
        touch(self.block.slot(), hint);
    }

    /// The same by a caller from another language, at the place that `site` names if it is asked.
    #[inline]
    pub fn touch_at(&self, hint: &str, site: impl FnOnce() -> Option<Arc<str>>) {
        if self.is_traced() {
            note(self.block.slot(), hint, site().map(Site::Foreign));
        }
    }

    /// Whether the lease's record keeps touches.
    #[inline]
    pub fn is_traced(&self) -> bool {
        self.block.slot().terms().is_traced()
    }

    /// Ends the lease, as it is demanded of [`LeaseKind::Explicit`] ones; other kinds may as well be dropped.
    pub fn release(self) {
        self.block.slot().set_released();
    }

    /// Says that the owner gives the buffer to somebody else, as an actor does with its answers: from now on it is the
    /// receiver's to let go of, and no leftover of its owner should that crash. It stays counted for who leased it.
    #[must_use]
    pub fn hand_over(mut self) -> Self {
        self.mark_handed_over();
        self
    }

    /// The same of a buffer that stays where it is.
    pub fn mark_handed_over(&mut self) {
        self.block.slot().set_handed_over();
    }

    /// A plain lease of as many bytes, for the same owner and from the same pool, to be overwritten.
    ///
    /// # Errors
    /// As [`Pool::allocate`](super::Pool::allocate).
    pub fn same_sized(&self) -> Result<Self> {
        // SAFETY: the block has a reference to its core while it lives, which is as long as this buffer does.
        let core = unsafe { Core::referenced(self.block.core()) };
        Self::lease(&core, self.len(), self.owner(), LeaseTerms::plain(false), |_| None)
    }

    /// Where wrong uses of the pool's handles are counted: one for each pool.
    pub fn misuse(&self) -> &Arc<MisuseCounter> {
        // SAFETY: the block has a reference to its core while it lives, which is as long as this buffer does.
        &unsafe { self.block.core().as_ref() }.misuse
    }

    /// The block, leased as it is.
    pub(super) fn into_block(self) -> Block {
        // SAFETY: `self` is not dropped, so that nobody else takes the block out.
        unsafe { ManuallyDrop::take(&mut ManuallyDrop::new(self).block) }
    }

    /// The buffer of a leased block.
    pub(super) fn from_block(block: Block) -> Self {
        Self { block: ManuallyDrop::new(block) }
    }

    /// The lease's id, unique for the pool's life.
    pub fn id(&self) -> LeaseId {
        self.block.slot().lease_id()
    }

    /// The class of the block.
    pub fn class(&self) -> SizeClass {
        self.block.class()
    }

    /// Bytes that the block takes from the pool's limit: at least the buffer's length.
    pub fn block_bytes(&self) -> usize {
        self.block.bytes()
    }

    /// Who the lease is counted for.
    pub fn owner(&self) -> Owner {
        self.block.slot().terms().owner()
    }

    /// How the lease is meant to end.
    pub fn kind(&self) -> LeaseKind {
        self.block.slot().terms().kind()
    }

    /// The first byte: aligned to 64 and valid for reads and writes of `len` bytes while this buffer lives. For views
    /// handed to foreign code, which answers for not overlapping a slice borrowed from this buffer while it writes.
    pub fn data_ptr(&self) -> NonNull<u8> {
        self.block.start()
    }

    /// Shortens the buffer to `len` bytes; no effect if it is not longer. The block stays the same.
    pub fn truncate(&mut self, len: usize) {
        self.block.slot().set_len(self.len().min(len));
    }

    /// The bytes as elements of type `T`, such as `f32` or `u16`, in native byte order.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when the length is no multiple of `T`'s, or `T` needs an alignment of more than 64.
    pub fn elements<T: AnyBitPattern>(&self) -> Result<&[T]> {
        bytemuck::try_cast_slice(self).map_err(|_| not_elements::<T>(self.len()))
    }

    /// The bytes as elements of type `T`, to write. Errors as [`Buffer::elements`].
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when the length is no multiple of `T`'s, or `T` needs an alignment of more than 64.
    pub fn elements_mut<T: AnyBitPattern + NoUninit>(&mut self) -> Result<&mut [T]> {
        let len = self.len();
        bytemuck::try_cast_slice_mut(self).map_err(|_| not_elements::<T>(len))
    }

    /// The bytes as `f32`. Errors as [`Buffer::elements`].
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when the length is no multiple of 4.
    pub fn as_f32(&self) -> Result<&[f32]> {
        self.elements()
    }

    /// The bytes as `f32`, to write. Errors as [`Buffer::elements`].
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when the length is no multiple of 4.
    pub fn as_f32_mut(&mut self) -> Result<&mut [f32]> {
        self.elements_mut()
    }

    fn describe(&self) -> Lease {
        Lease {
            id: self.id(),
            class: self.class(),
            bytes: self.len(),
            block_bytes: self.block_bytes(),
            owner: self.owner(),
            kind: self.kind(),
        }
    }
}

fn not_elements<T>(len: usize) -> Error {
    let (name, size) = (std::any::type_name::<T>(), size_of::<T>());
    Error::invalid(format!("a buffer of {len} bytes is no sequence of {name} ({size} bytes each)"))
}

/// Notes a use of the lease that has this slot, where the caller of our caller stands. The caller keeps the lease.
#[inline]
#[track_caller]
pub(super) fn touch(slot: &Slot, hint: &str) {
    if slot.terms().is_traced() {
        note(slot, hint, Some(Site::Rust(Location::caller())));
    }
}

#[cold]
fn note(slot: &Slot, hint: &str, site: Option<Site>) {
    if let Some(core) = NonNull::new(slot.core()) {
        // SAFETY: the block has a reference to its core while it lives, which is as long as a handle of the lease does.
        let recorder = &unsafe { core.as_ref() }.recorder;
        recorder.touched(slot.lease_id(), hint, site);
    }
}

impl Buffer {
    /// Ends a lease of which somebody hears: after its slot was closed.
    #[cold]
    fn close_and_tell(&self) {
        let (lease, terms) = (self.describe(), self.block.slot().terms());
        self.block.slot().close();
        // SAFETY: the block has a reference to its core, and `drop` has not given it back yet.
        let core = unsafe { self.block.core().as_ref() };
        if lease.kind == LeaseKind::Explicit && !terms.is_released() {
            let told = core.recorder.dropped_unreleased(lease, terms.is_recorded());
            core.accounts.unreleased(lease.owner, lease.class, lease.block_bytes, told);
        } else if terms.is_recorded() {
            core.recorder.returned(lease);
        }
    }
}

impl Drop for Buffer {
    #[inline]
    fn drop(&mut self) {
        let slot = self.block.slot();
        let terms = slot.terms();
        if terms.is_watched() {
            self.close_and_tell();
        } else {
            slot.close();
        }
        // SAFETY: nothing takes the block out before, and nothing touches it after: this is drop.
        Core::give_back(unsafe { ManuallyDrop::take(&mut self.block) }, terms.owner());
    }
}

impl Deref for Buffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: `len` is at most the block's bytes, all initialised, and the block is ours while we live.
        unsafe { std::slice::from_raw_parts(self.block.start().as_ptr(), self.block.slot().len()) }
    }
}

impl DerefMut for Buffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.block.start().as_ptr(), self.block.slot().len()) }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffer")
            .field("id", &self.id().get())
            .field("len", &self.len())
            .field("owner", &self.owner().name())
            .field("kind", &self.kind())
            .finish_non_exhaustive()
    }
}
