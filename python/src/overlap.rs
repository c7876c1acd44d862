//! Which bytes an array covers, and which bytes are being written at the moment.
//!
//! Two uses: a result may not be written over an input of the same call, and no two calls in flight may write, or read and
//! write, the same bytes. For the second, every `out` is entered in a table of disjoint ranges until its worker is done.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// Parts of an array that are looked at one by one before it is taken for solid: more than the rows of any image.
const PARTS_MAX: usize = 1 << 17;

/// The bytes of an array of any strides.
pub(crate) struct Extent {
    pub(crate) start: usize,
    pub(crate) shape: Vec<usize>,
    /// In bytes.
    pub(crate) strides: Vec<isize>,
    pub(crate) item_bytes: usize,
}

impl Extent {
    /// `len` bytes from `start` on.
    pub(crate) fn solid(start: usize, len: usize) -> Self {
        Self { start, shape: vec![len], strides: vec![1], item_bytes: 1 }
    }

    /// From the first byte to the last; none if there are no elements.
    pub(crate) fn bounds(&self) -> Range<usize> {
        self.bounds_of(self.start as isize, &self.axes())
    }

    /// Whether one of these bytes is one of the array's. Exact, but for arrays of very many parts that all lie around them.
    pub(crate) fn covers_any(&self, bytes: &Range<usize>) -> bool {
        let mut axes = self.axes();
        // The longest steps first: the parts they lead to lie apart, if any do.
        axes.sort_unstable_by_key(|&(_, stride)| std::cmp::Reverse(stride.unsigned_abs()));
        self.part_covers(self.start as isize, &axes, bytes, &mut PARTS_MAX.clone())
    }

    /// Sides and strides of the axes that lead anywhere.
    fn axes(&self) -> Vec<(usize, isize)> {
        self.shape.iter().copied().zip(self.strides.iter().copied()).filter(|&(side, _)| side != 1).collect()
    }

    fn bounds_of(&self, start: isize, axes: &[(usize, isize)]) -> Range<usize> {
        if axes.iter().any(|&(side, _)| side == 0) {
            return start as usize..start as usize;
        }
        let (mut low, mut high) = (start, start + self.item_bytes as isize);
        for &(side, stride) in axes {
            let reach = (side as isize - 1) * stride;
            *(if reach < 0 { &mut low } else { &mut high }) += reach;
        }
        low as usize..high as usize
    }

    fn part_covers(&self, start: isize, axes: &[(usize, isize)], bytes: &Range<usize>, parts_left: &mut usize) -> bool {
        let bounds = self.bounds_of(start, axes);
        if !meet(&bounds, bytes) {
            return false;
        }
        let Some((&(side, stride), rest)) = axes.split_first() else {
            return true;
        };
        // What has no gaps needs no closer look.
        let elements: usize = axes.iter().map(|&(side, _)| side).product();
        if elements * self.item_bytes == bounds.len() && axes.iter().all(|&(_, stride)| stride != 0) {
            return true;
        }
        (0..side as isize).any(|index| {
            if *parts_left == 0 {
                return true;
            }
            *parts_left -= 1;
            self.part_covers(start + index * stride, rest, bytes, parts_left)
        })
    }
}

fn meet(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

/// Ranges that are being written, by their start; they are disjoint.
static WRITTEN: Mutex<BTreeMap<usize, usize>> = Mutex::new(BTreeMap::new());
/// How many there are: most programs have none.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// The sole right to write a range; given back when dropped.
pub(crate) struct Claim {
    start: usize,
}

impl Claim {
    /// None if a call in flight writes some of it.
    pub(crate) fn of(bytes: &Range<usize>) -> Option<Self> {
        let mut written = WRITTEN.lock();
        if meeting(&written, bytes).next().is_some() {
            return None;
        }
        written.insert(bytes.start, bytes.end);
        COUNT.store(written.len(), Ordering::Relaxed);
        Some(Self { start: bytes.start })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut written = WRITTEN.lock();
        written.remove(&self.start);
        COUNT.store(written.len(), Ordering::Relaxed);
    }
}

/// Whether a call in flight writes some of the array.
pub(crate) fn is_being_written(extent: impl FnOnce() -> Extent) -> bool {
    if COUNT.load(Ordering::Relaxed) == 0 {
        return false;
    }
    let extent = extent();
    let bounds = extent.bounds();
    let written = WRITTEN.lock();
    meeting(&written, &bounds).any(|range| extent.covers_any(&range))
}

/// Those ranges that share a byte with `bytes`.
fn meeting<'a>(written: &'a BTreeMap<usize, usize>, bytes: &Range<usize>) -> impl Iterator<Item = Range<usize>> + 'a {
    let start = bytes.start;
    // Disjoint ranges end in the order in which they begin.
    let from_the_last = written.range(..bytes.end).rev();
    from_the_last.map(|(&start, &end)| start..end).take_while(move |range| range.end > start)
}
