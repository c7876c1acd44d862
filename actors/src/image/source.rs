//! Images that travel: [`Source`] into a worker, [`Image`] and [`Planes`] out of it.

use super::{Channels, ImageView, Size};
use crate::lent::Keeper;
use crate::pool::{Buffer, Owner, Pool};
use crate::{Error, Result};

/// A borrowed image on its way to a worker, with whoever keeps its memory alive.
pub struct Source {
    view: ImageView<'static>,
    _keeper: Keeper,
}

impl Source {
    /// An image in foreign memory.
    ///
    /// # Safety
    /// What `view` covers stays readable and unchanged until `keeper` has been dropped.
    pub unsafe fn lent(view: ImageView<'static>, keeper: Keeper) -> Self {
        Self { view, _keeper: keeper }
    }

    /// A dense image, `height × width × channels` bytes in row-major order.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] as for [`ImageView::dense`].
    pub fn owned(pixels: Vec<u8>, width: usize, height: usize, channels: Channels) -> Result<Self> {
        let view = ImageView::dense(&pixels, width, height, channels)?;
        let (size, strides) = (view.size(), view.strides());
        // SAFETY: the vector's heap block does not move with the vector, nobody writes to it, and it is the keeper.
        unsafe {
            let view = ImageView::from_raw_parts(pixels.as_ptr(), size, channels, strides);
            Ok(Self::lent(view, Box::new(pixels)))
        }
    }

    /// The pixels.
    pub fn view(&self) -> ImageView<'_> {
        self.view
    }

    /// The same pixels in dense memory of `pool`; the keeper of these is dropped.
    ///
    /// # Errors
    /// Those of the pool.
    pub fn copied(self, pool: &Pool, owner: Owner) -> Result<Self> {
        let (size, channels) = (self.view.size(), self.view.channels());
        let mut buffer = pool.allocate_for_overwrite(self.view.bytes(), owner)?;
        self.view.copy_to(&mut buffer);
        Image { buffer, size, channels }.try_into()
    }
}

/// A worker's result goes on to the next worker without a copy.
impl TryFrom<Image> for Source {
    type Error = Error;

    fn try_from(image: Image) -> Result<Self> {
        let view = image.view()?;
        let (start, strides) = (image.buffer.as_ptr(), view.strides());
        // SAFETY: the buffer was found to be as long as the view is. A pooled block stays where it is while its buffer
        // lives, the buffer is the keeper, and nobody else has it to write to.
        unsafe {
            let view = ImageView::from_raw_parts(start, image.size, image.channels, strides);
            Ok(Self::lent(view, Box::new(image.buffer)))
        }
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Source({} × {})", self.view.size(), self.view.channels().count())
    }
}

/// An 8-bit image in a pooled buffer: `height × width × channels`, row-major.
#[derive(Debug)]
pub struct Image {
    /// The pixels.
    pub buffer: Buffer,
    /// Width and height in pixels.
    pub size: Size,
    /// What a pixel is made of.
    pub channels: Channels,
}

impl Image {
    /// The pixels as kernels read them.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if the parts do not belong together.
    pub fn view(&self) -> Result<ImageView<'_>> {
        ImageView::of(&self.buffer, self.size, self.channels)
    }
}

/// 32-bit floats in a pooled buffer, row-major of `shape`.
#[derive(Debug)]
pub struct Planes {
    /// The values, in native byte order.
    pub buffer: Buffer,
    /// As `(channels, height, width)`, or with a batch axis before.
    pub shape: Vec<usize>,
}

impl Planes {
    /// The values.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if the buffer is no sequence of floats.
    pub fn values(&self) -> Result<&[f32], Error> {
        self.buffer.as_f32()
    }
}
