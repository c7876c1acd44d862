//! A borrowed 8-bit image over memory with any strides: what every kernel reads from.
//!
//! A camera frame, a crop of it or its mirror image are the same bytes seen with other strides, so a view is a pointer,
//! a size and three strides in bytes. A stride may be negative (`img[::-1]`) or zero (a broadcast). Kernels ask for a
//! row at a time ([`ImageView::row`]): a row whose pixels are dense is borrowed, any other is gathered into a scratch
//! row, so no view is ever copied as a whole.
//!
//! Invariant: every byte `start + y·row + x·pixel + c·channel` with `y`, `x`, `c` inside the size is readable, and not
//! written to, for `'a`. The safe constructors establish it from a slice; [`ImageView::crop`] keeps it.

use std::marker::PhantomData;

use super::size::{Channels, Size};
use crate::{Error, Result};

/// The distances, in bytes, between neighbouring rows, pixels and channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strides {
    /// From a pixel to the one below it.
    pub row: isize,
    /// From a pixel to the one at its right.
    pub pixel: isize,
    /// From a channel to the next one of the same pixel.
    pub channel: isize,
}

impl Strides {
    /// The strides of an image without gaps.
    pub fn dense(size: Size, channels: Channels) -> Self {
        Self { row: (size.width() * channels.count()) as isize, pixel: channels.count() as isize, channel: 1 }
    }
}

/// A borrowed 8-bit image: height × width × channels over memory with arbitrary strides. Never empty.
///
/// ```
/// use ironcliw_actors::image::{Channels, ImageView};
/// let pixels = [10u8, 20, 30, 40, 50, 60];
/// let view = ImageView::dense(&pixels, 2, 1, Channels::Rgb)?;
/// assert_eq!(view.crop(1, 0, 1, 1)?.row(0, &mut Vec::new()), [40, 50, 60]);
/// # Ok::<_, ironcliw_actors::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct ImageView<'a> {
    start: *const u8,
    size: Size,
    channels: Channels,
    strides: Strides,
    memory: PhantomData<&'a [u8]>,
}

// SAFETY: a view is a shared borrow of bytes, as `&'a [u8]` is: it only reads, and the constructor's contract says that
// nobody writes to the memory, from any thread, while the view lives.
unsafe impl Send for ImageView<'_> {}
// SAFETY: as above.
unsafe impl Sync for ImageView<'_> {}

impl<'a> ImageView<'a> {
    /// A view of an image without gaps, `height × width × channels` bytes in row-major order.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when the image is empty or too large (see [`Size::new`]) or `pixels` has another length.
    pub fn dense(pixels: &'a [u8], width: usize, height: usize, channels: Channels) -> Result<Self> {
        let size = Size::new(width, height)?;
        Self::of(pixels, size, channels)
    }

    /// As [`ImageView::dense`], of a size already checked.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when `pixels` has another length than the size asks for.
    pub fn of(pixels: &'a [u8], size: Size, channels: Channels) -> Result<Self> {
        if pixels.len() != size.bytes(channels) {
            return Err(Error::invalid(format!(
                "an image of {size} pixels with {} channels has {} bytes, not {}",
                channels.count(),
                size.bytes(channels),
                pixels.len()
            )));
        }
        Ok(Self {
            start: pixels.as_ptr(),
            size,
            channels,
            strides: Strides::dense(size, channels),
            memory: PhantomData,
        })
    }

    /// A view over memory with any strides; `start` is channel 0 of the pixel at the top left.
    ///
    /// # Safety
    /// For every row `y`, pixel `x` and channel `c` of the image, the byte at
    /// `start + y·strides.row + x·strides.pixel + c·strides.channel` lies in one live allocation, is initialised, and is
    /// neither written nor freed while a copy of the view lives, on any thread the view is sent to.
    pub unsafe fn from_raw_parts(start: *const u8, size: Size, channels: Channels, strides: Strides) -> Self {
        Self { start, size, channels, strides, memory: PhantomData }
    }

    /// Width and height in pixels.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.size.width()
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.size.height()
    }

    /// What a pixel is made of.
    pub fn channels(&self) -> Channels {
        self.channels
    }

    /// The distances between rows, pixels and channels in bytes.
    pub fn strides(&self) -> Strides {
        self.strides
    }

    /// Bytes of a row once its pixels are dense.
    pub fn row_bytes(&self) -> usize {
        self.width() * self.channels.count()
    }

    /// Bytes of the image once it is dense.
    pub fn bytes(&self) -> usize {
        self.size.bytes(self.channels)
    }

    /// The part of the image that starts at column `x` and row `y`; nothing is copied.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when the part is empty or reaches outside the image.
    pub fn crop(&self, x: usize, y: usize, width: usize, height: usize) -> Result<Self> {
        let fits = |at: usize, length: usize, limit: usize| at.checked_add(length).is_some_and(|end| end <= limit);
        if !fits(x, width, self.width()) || !fits(y, height, self.height()) {
            return Err(Error::invalid(format!(
                "a crop of {width}x{height} pixels at ({x}, {y}) reaches outside an image of {}",
                self.size
            )));
        }
        let size = Size::new(width, height)?;
        Ok(Self {
            // Inside the image by the check above, so no arithmetic on it can leave the allocation.
            start: self.address(y, x),
            size,
            ..*self
        })
    }

    /// Row `y`, its pixels dense: borrowed from the image where they are, else gathered into `scratch`.
    ///
    /// # Panics
    /// When `y` is not a row of the image.
    pub fn row<'s>(&self, y: usize, scratch: &'s mut Vec<u8>) -> &'s [u8]
    where
        'a: 's,
    {
        match self.dense_row(y) {
            Some(row) => row,
            None => {
                scratch.resize(self.row_bytes(), 0);
                self.gather_row(y, scratch);
                scratch
            }
        }
    }

    /// Row `y` when its pixels are dense in memory.
    pub(crate) fn dense_row(&self, y: usize) -> Option<&'a [u8]> {
        assert!(y < self.height(), "row {y} of an image of {}", self.size);
        self.has_dense_rows().then(|| {
            // SAFETY: the row's pixels are dense and by the type's invariant all of its bytes are readable for `'a`.
            unsafe { std::slice::from_raw_parts(self.address(y, 0), self.row_bytes()) }
        })
    }

    /// Whether every row can be borrowed.
    pub(crate) fn has_dense_rows(&self) -> bool {
        let channels = self.channels.count();
        (channels == 1 || self.strides.channel == 1) && (self.width() == 1 || self.strides.pixel == channels as isize)
    }

    /// The whole image as one slice, when it has no gaps.
    pub(crate) fn as_dense(&self) -> Option<&'a [u8]> {
        let follows = self.height() == 1 || self.strides.row == self.row_bytes() as isize;
        (self.has_dense_rows() && follows).then(|| {
            // SAFETY: rows are dense and follow each other, and all bytes are readable for `'a` by the invariant.
            unsafe { std::slice::from_raw_parts(self.start, self.bytes()) }
        })
    }

    /// The same image with its channels in the opposite order, when that order is dense in memory: a BGR frame seen as
    /// RGB. A kernel that treats all channels alike can work on it and swap its (smaller) result.
    pub(crate) fn channels_reversed(&self) -> Option<Self> {
        let last = self.channels.count() as isize - 1;
        let reversed = Self {
            start: self.start.wrapping_offset(last * self.strides.channel),
            strides: Strides { channel: -self.strides.channel, ..self.strides },
            ..*self
        };
        (last > 0 && reversed.has_dense_rows()).then_some(reversed)
    }

    /// Writes the image without gaps into `out`, which has [`ImageView::bytes`] bytes.
    pub(crate) fn copy_to(&self, out: &mut [u8]) {
        if let Some(all) = self.as_dense() {
            return out.copy_from_slice(all);
        }
        for (y, out) in out.chunks_exact_mut(self.row_bytes()).enumerate() {
            self.copy_row(y, out);
        }
    }

    /// Writes row `y`, its pixels dense, into `out`, which has [`ImageView::row_bytes`] bytes.
    pub(crate) fn copy_row(&self, y: usize, out: &mut [u8]) {
        match self.dense_row(y) {
            Some(row) => out.copy_from_slice(row),
            None => self.gather_row(y, out),
        }
    }

    fn gather_row(&self, y: usize, out: &mut [u8]) {
        assert!(y < self.height() && out.len() == self.row_bytes());
        match self.channels {
            Channels::Gray => self.gather::<1>(y, out),
            Channels::Rgb => self.gather::<3>(y, out),
            Channels::Rgba => self.gather::<4>(y, out),
        }
    }

    fn gather<const C: usize>(&self, y: usize, out: &mut [u8]) {
        let start = self.address(y, 0);
        let (pixels, _) = out.as_chunks_mut::<C>();
        for (x, pixel) in pixels.iter_mut().enumerate() {
            for (c, value) in pixel.iter_mut().enumerate() {
                let offset = x as isize * self.strides.pixel + c as isize * self.strides.channel;
                // SAFETY: `out` has exactly the row's pixels, so `x` and `c` are inside the image, whose bytes are all
                // readable by the type's invariant.
                *value = unsafe { *start.offset(offset) };
            }
        }
    }

    /// Where channel 0 of a pixel is. Wrapping, because it is called with checked coordinates only, and safe anyway.
    fn address(&self, y: usize, x: usize) -> *const u8 {
        self.start.wrapping_offset(y as isize * self.strides.row).wrapping_offset(x as isize * self.strides.pixel)
    }
}

impl std::fmt::Debug for ImageView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageView")
            .field("size", &self.size)
            .field("channels", &self.channels)
            .field("strides", &self.strides)
            .finish()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A dense image and the ways numpy would slice it: name, view. Shared by the kernels' tests.
    pub(crate) fn sliced<'a>(
        pixels: &'a [u8],
        width: usize,
        height: usize,
        channels: Channels,
    ) -> Vec<(&'static str, ImageView<'a>)> {
        let dense = ImageView::dense(pixels, width, height, channels).unwrap();
        let Strides { row, pixel, channel } = dense.strides;
        let with = |y: usize, x: usize, c: usize, size: (usize, usize), strides: (isize, isize, isize)| ImageView {
            start: dense.address(y, x).wrapping_add(c),
            size: Size::new(size.0, size.1).unwrap(),
            strides: Strides { row: strides.0, pixel: strides.1, channel: strides.2 },
            ..dense
        };
        let (w, h, n) = (width, height, channels.count());
        let mut views = vec![
            ("img", dense),
            ("img[::-1]", with(h - 1, 0, 0, (w, h), (-row, pixel, channel))),
            ("img[:, ::-1]", with(0, w - 1, 0, (w, h), (row, -pixel, channel))),
            ("img[..., ::-1]", with(0, 0, n - 1, (w, h), (row, pixel, -channel))),
            ("img[::-1, ::-1, ::-1]", with(h - 1, w - 1, n - 1, (w, h), (-row, -pixel, -channel))),
            ("img[::2, ::2]", with(0, 0, 0, (w.div_ceil(2), h.div_ceil(2)), (2 * row, 2 * pixel, channel))),
            ("broadcast row", with(0, 0, 0, (w, h), (0, pixel, channel))),
            ("broadcast pixel", with(0, 0, 0, (w, h), (row, 0, channel))),
        ];
        if w > 2 && h > 2 {
            views.push(("img[1:-1, 1:-1]", dense.crop(1, 1, w - 2, h - 2).unwrap()));
        }
        views
    }

    /// The bytes of a view, read one by one: the oracle of every gather.
    pub(crate) fn bytes_of(view: &ImageView<'_>) -> Vec<u8> {
        let mut out = Vec::with_capacity(view.bytes());
        for y in 0..view.height() {
            for x in 0..view.width() {
                for c in 0..view.channels().count() {
                    let at = view.address(y, x).wrapping_offset(c as isize * view.strides.channel);
                    // SAFETY: the coordinates are inside the view.
                    out.push(unsafe { *at });
                }
            }
        }
        out
    }

    /// Bytes that look like noise, the same each time.
    pub(crate) fn noise(length: usize, seed: u32) -> Vec<u8> {
        let mut state = seed.wrapping_mul(2_654_435_761) | 1;
        std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state >> 11) as u8
        })
        .take(length)
        .collect()
    }

    #[test]
    fn rows_of_every_slice_are_the_bytes_that_numpy_would_show() {
        for channels in [Channels::Gray, Channels::Rgb, Channels::Rgba] {
            for (w, h) in [(1, 1), (7, 5), (5, 1), (1, 6)] {
                let pixels = noise(w * h * channels.count(), 7);
                for (name, view) in sliced(&pixels, w, h, channels) {
                    let expected = bytes_of(&view);
                    let mut scratch = Vec::new();
                    let rows: Vec<u8> = (0..view.height()).flat_map(|y| view.row(y, &mut scratch).to_vec()).collect();
                    assert_eq!(rows, expected, "{name} {w}x{h}");
                    let mut copy = vec![0; view.bytes()];
                    view.copy_to(&mut copy);
                    assert_eq!(copy, expected, "{name} {w}x{h}");
                }
            }
        }
    }

    #[test]
    fn a_row_crop_borrows_and_a_mirror_gathers() {
        let pixels = noise(6 * 4 * 3, 1);
        for (name, view) in sliced(&pixels, 6, 4, Channels::Rgb) {
            let dense_rows = matches!(name, "img" | "img[::-1]" | "img[1:-1, 1:-1]" | "broadcast row");
            assert_eq!(view.has_dense_rows(), dense_rows, "{name}");
            assert_eq!(view.as_dense().is_some(), name == "img", "{name}");
        }
    }

    #[test]
    fn a_wrong_length_or_a_crop_outside_is_refused() {
        let pixels = [0u8; 12];
        assert!(ImageView::dense(&pixels, 2, 2, Channels::Rgba).is_err());
        let view = ImageView::dense(&pixels, 2, 2, Channels::Rgb).unwrap();
        for (x, y, w, h) in [(0, 0, 3, 1), (1, 0, 2, 1), (0, 2, 1, 1), (0, 0, 0, 1), (usize::MAX, 0, 2, 1)] {
            assert!(view.crop(x, y, w, h).is_err());
        }
    }

    proptest::proptest! {
        #[test]
        fn crops_of_crops_of_any_slice_are_those_of_the_copy(
            (w, h) in (1usize..12, 1usize..12),
            channels in proptest::sample::select(vec![Channels::Gray, Channels::Rgb, Channels::Rgba]),
            slice in 0usize..9,
            part in proptest::array::uniform4(0.0..1.0f64),
        ) {
            let pixels = noise(w * h * channels.count(), 13);
            let views = sliced(&pixels, w, h, channels);
            let (_, view) = views[slice % views.len()];
            let (x, y) = ((part[0] * view.width() as f64) as usize, (part[1] * view.height() as f64) as usize);
            let width = 1 + (part[2] * (view.width() - x) as f64) as usize;
            let height = 1 + (part[3] * (view.height() - y) as f64) as usize;
            let (width, height) = (width.min(view.width() - x), height.min(view.height() - y));
            let copy = bytes_of(&view);
            let dense = ImageView::of(&copy, view.size(), channels).unwrap();
            let (a, b) = (view.crop(x, y, width, height).unwrap(), dense.crop(x, y, width, height).unwrap());
            proptest::prop_assert_eq!(bytes_of(&a), bytes_of(&b));
        }
    }
}
