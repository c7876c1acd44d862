//! Size classes: which block serves a request of so many bytes.
//!
//! 64, 128, 192 and 256 bytes, then four classes a doubling (320, 384, 448, 512, 640, …) up to 1 GiB. Every size is a
//! multiple of 64, so that blocks keep the alignment of a cache line. Above 192 bytes less than 25 % of a block is waste;
//! above 256 a block is less than 25 % larger than the request it serves. What no class holds is [`SizeClass::HUGE`]: a block of its own, rounded up to whole pages.

/// Step of the smallest classes and unit of every block size, in bytes: a cache line, and the width of an AVX-512
/// register.
pub(crate) const LINE_BYTES: usize = 64;
/// Huge blocks are multiples of this many bytes: the page size of every platform, or a part of it.
pub(crate) const PAGE_BYTES: usize = 4096;

/// Below and at this size the classes are `LINE_BYTES` apart: `256 = 2^8`.
const LINEAR_LOG2: u32 = 8;
/// The largest class holds `2^30` bytes.
const LARGEST_LOG2: u32 = 30;
const LINEAR_CLASSES: usize = 4;
const CLASSES: usize = LINEAR_CLASSES + 4 * (LARGEST_LOG2 - LINEAR_LOG2) as usize;

/// A class of blocks of one size, or [`SizeClass::HUGE`]. Ordered by size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SizeClass(u8);

impl SizeClass {
    /// Requests larger than the largest class: each gets a block of its own size and none is kept for reuse.
    pub const HUGE: Self = Self(CLASSES as u8);
    /// The number of classes, [`SizeClass::HUGE`] included.
    pub const COUNT: usize = CLASSES + 1;
    /// Bytes of the largest class: 1 GiB.
    pub const LARGEST_BYTES: usize = 1 << LARGEST_LOG2;
    /// The longest request that any block can serve, in bytes: Rust's limit on an allocation, less the alignment.
    pub const MAX_LEN: usize = isize::MAX as usize - 2 * PAGE_BYTES;

    /// The smallest class whose blocks hold `len` bytes. A request of 0 bytes is served like one of 1.
    #[inline]
    pub fn of(len: usize) -> Self {
        if len > Self::LARGEST_BYTES {
            return Self::HUGE;
        }
        if len <= 1 << LINEAR_LOG2 {
            return Self((len.max(1).div_ceil(LINE_BYTES) - 1) as u8);
        }
        // `len - 1` is in [2^log, 2^(log+1)); its two bits after the leading one say which quarter.
        let last = len - 1;
        let log = last.ilog2();
        let quarter = (last >> (log - 2)) - 4;
        Self((LINEAR_CLASSES + 4 * (log - LINEAR_LOG2) as usize + quarter) as u8)
    }

    /// Bytes of this class's blocks; `None` for [`SizeClass::HUGE`], whose blocks differ.
    pub fn bytes(self) -> Option<usize> {
        let index = self.index();
        if self == Self::HUGE {
            None
        } else if index < LINEAR_CLASSES {
            Some((index + 1) * LINE_BYTES)
        } else {
            let step = index - LINEAR_CLASSES;
            Some((5 + step % 4) << (LINEAR_LOG2 as usize - 2 + step / 4))
        }
    }

    /// Bytes of the block that serves `len` bytes; `None` beyond [`SizeClass::MAX_LEN`].
    pub fn block_bytes(len: usize) -> Option<usize> {
        if len > Self::MAX_LEN {
            return None;
        }
        Some(Self::of(len).bytes().unwrap_or_else(|| len.next_multiple_of(PAGE_BYTES)))
    }

    /// Every class, smallest first, [`SizeClass::HUGE`] last.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator {
        (0..Self::COUNT as u8).map(Self)
    }

    /// The class at this position of [`SizeClass::all`].
    #[inline]
    pub(crate) fn at(index: u8) -> Self {
        debug_assert!(usize::from(index) < Self::COUNT);
        Self(index)
    }

    /// Position in [`SizeClass::all`].
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl std::fmt::Display for SizeClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.bytes() {
            Some(bytes) => write!(f, "{bytes} B"),
            None => f.write_str("huge"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn classes_are_multiples_of_a_line_and_ascend() {
        let sizes: Vec<usize> = SizeClass::all().filter_map(SizeClass::bytes).collect();
        assert_eq!(sizes[..9], [64, 128, 192, 256, 320, 384, 448, 512, 640]);
        assert_eq!(*sizes.last().unwrap(), SizeClass::LARGEST_BYTES);
        assert!(sizes.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(sizes.iter().all(|size| size % LINE_BYTES == 0));
        assert_eq!(sizes.len() + 1, SizeClass::COUNT);
    }

    #[test]
    fn each_class_serves_its_own_size_and_not_a_byte_more() {
        for class in SizeClass::all() {
            let Some(bytes) = class.bytes() else { continue };
            assert_eq!(SizeClass::of(bytes), class);
            assert_eq!(SizeClass::of(bytes + 1).index(), class.index() + 1);
        }
        assert_eq!(SizeClass::of(0), SizeClass::of(1));
        assert_eq!(SizeClass::of(usize::MAX), SizeClass::HUGE);
        assert_eq!(SizeClass::block_bytes(usize::MAX), None);
        assert_eq!(SizeClass::block_bytes(isize::MAX as usize), None);
        assert!(SizeClass::block_bytes(SizeClass::MAX_LEN).unwrap() <= isize::MAX as usize - PAGE_BYTES);
    }

    proptest! {
        #[test]
        fn waste_is_less_than_a_quarter_above_192_bytes(
            len in prop_oneof![193usize..600, 193usize..10_000, 193usize..(1 << 33)],
        ) {
            let block = SizeClass::block_bytes(len).unwrap();
            prop_assert!(block >= len);
            prop_assert!(4 * (block - len) < block, "{len} bytes in a block of {block}");
            prop_assert!(len <= 256 || 4 * (block - len) < len, "{len} bytes in a block of {block}");
        }

        #[test]
        fn the_smallest_fitting_class_is_chosen(len in 0usize..(1 << 31)) {
            let fitting = SizeClass::all().find(|class| class.bytes().is_none_or(|bytes| bytes >= len));
            prop_assert_eq!(Some(SizeClass::of(len)), fitting);
        }
    }
}
