//! Where a result is written: into pooled memory, or into memory that the caller lent for it.

use std::ops::{Deref, DerefMut};

use bytemuck::{AnyBitPattern, NoUninit};

use crate::lent::LentMut;
use crate::pool::{Buffer, Owner, Pool};
use crate::{Error, Result};

/// The bytes of a result that is being made.
pub(crate) enum Output {
    Pooled(Buffer),
    Lent(LentMut<u8>),
}

impl Output {
    /// Room for `len` bytes, to be overwritten: what was lent, else leased.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if what was lent has another length, and those of the pool.
    pub(crate) fn of(lent: Option<LentMut<u8>>, len: usize, pool: &Pool, owner: Owner) -> Result<Self> {
        match lent {
            None => pool.allocate_for_overwrite(len, owner).map(Self::Pooled),
            Some(lent) if lent.len() == len => Ok(Self::Lent(lent)),
            Some(lent) => Err(Error::invalid(format!("out has {} bytes, the result has {len}", lent.len()))),
        }
    }

    /// As elements of type `T`, in native byte order.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when the memory that was lent is not aligned for them or no whole number of them.
    pub(crate) fn elements_mut<T: AnyBitPattern + NoUninit>(&mut self) -> Result<&mut [T]> {
        let refused = |error| Error::invalid(format!("out cannot hold {}: {error}", std::any::type_name::<T>()));
        bytemuck::try_cast_slice_mut(self).map_err(refused)
    }

    /// The buffer, to be handed to the caller; none if the caller has the result already. What was lent is given back here.
    pub(crate) fn into_pooled(self) -> Option<Buffer> {
        match self {
            Self::Pooled(buffer) => Some(buffer.hand_over()),
            Self::Lent(_) => None,
        }
    }
}

impl Deref for Output {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Pooled(buffer) => buffer,
            Self::Lent(lent) => lent,
        }
    }
}

impl DerefMut for Output {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Pooled(buffer) => buffer,
            Self::Lent(lent) => lent,
        }
    }
}
