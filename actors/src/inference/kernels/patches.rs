//! Windows over channels-last images: geometry, and the gathering of a convolution's patches into rows of a product.

use std::ops::Range;

/// A sliding window: `[height, width]` everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub padding: [usize; 2],
}

impl Window {
    /// Positions of the window on an image of this size; `None` if the padded image is smaller than the window.
    pub(crate) fn positions(&self, size: [usize; 2]) -> Option<[usize; 2]> {
        let along = |axis: usize| {
            let padded = size[axis].checked_add(self.padding[axis].checked_mul(2)?)?;
            Some(padded.checked_sub(self.kernel[axis])? / self.stride[axis] + 1)
        };
        Some([along(0)?, along(1)?])
    }

    /// Whether the window is one pixel that visits every pixel.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.padding == [0, 0]
    }

    /// The part of the kernel that lies on the image, along `axis` at `position`, and the first image row it covers.
    #[inline]
    pub(crate) fn overlap(&self, axis: usize, position: usize, size: usize) -> (Range<usize>, usize) {
        let start = position * self.stride[axis];
        let first = self.padding[axis].saturating_sub(start).min(self.kernel[axis]);
        let last = (size + self.padding[axis]).saturating_sub(start).min(self.kernel[axis]);
        (first..last.max(first), (start + first).saturating_sub(self.padding[axis]))
    }
}

/// One sample, channels last, of which a group of channels is looked at.
#[derive(Clone, Copy)]
pub(crate) struct Image<'a, T> {
    pub pixels: &'a [T],
    pub size: [usize; 2],
    pub channels: usize,
}

/// What a product reads of one sample: a group of its channels under a window.
#[derive(Clone)]
pub(crate) struct Patches<'a, T> {
    pub image: Image<'a, T>,
    pub group: Range<usize>,
    pub window: Window,
    /// Positions of the window, down and across.
    pub positions: [usize; 2],
}

impl<T: Copy> Patches<'_, T> {
    /// Positions of the window: rows of the product.
    pub(crate) fn count(&self) -> usize {
        self.positions[0] * self.positions[1]
    }

    /// Whether the image's pixels are the patches, so that nothing has to be gathered.
    pub(crate) fn are_pixels(&self) -> bool {
        self.window.is_pointwise() && self.group.len() == self.image.channels
    }

    /// Writes the patches at `positions` (row-major) as rows of `stride` elements, each in the order
    /// `(kernel row, kernel column, channel)`; what lies off the image is `zero`.
    pub(crate) fn gather(&self, positions: Range<usize>, zero: T, stride: usize, rows: &mut [T]) {
        let Self { image, group, window, .. } = self;
        let across = self.positions[1];
        let depth = group.len();
        let line = window.kernel[1] * depth;
        for (position, row) in positions.zip(rows.chunks_mut(stride)) {
            let (tall, top) = window.overlap(0, position / across, image.size[0]);
            let (broad, left) = window.overlap(1, position % across, image.size[1]);
            let patch = &mut row[..window.kernel[0] * line];
            if tall.len() * broad.len() < window.kernel[0] * window.kernel[1] {
                patch.fill(zero);
            }
            for (y, ky) in (top..).zip(tall) {
                let target = &mut patch[ky * line + broad.start * depth..][..broad.len() * depth];
                let source = &image.pixels[(y * image.size[1] + left) * image.channels..];
                if depth == image.channels {
                    target.copy_from_slice(&source[..target.len()]);
                } else {
                    let pixels = target.chunks_exact_mut(depth).zip(source.chunks(image.channels));
                    for (target, source) in pixels {
                        target.copy_from_slice(&source[group.clone()]);
                    }
                }
            }
        }
    }
}
