//! What a pipeline begins with: pixels, or a file that is decoded on the way.
//!
//! A file's image is as large as its header says, so a pipeline's result is known before anything is decoded. The decoded image
//! lives in pooled memory from the pipeline's first step to its last and never leaves the worker: so many files may wait, and
//! only as many are decoded at a time as there are workers.

use super::codec::{self, DecodeOptions, Header};
use super::{Channels, Image, ImageView, Size, Source};
use crate::lent::Lent;
use crate::pool::{Owner, Pool};
use crate::{Interrupt, Result};

/// An image, or a file with one.
#[derive(Debug)]
pub enum Input {
    /// Pixels.
    Pixels(Source),
    /// A JPEG or PNG file: see [`Input::file`].
    File(Lent<u8>, Header),
}

impl From<Source> for Input {
    fn from(source: Source) -> Self {
        Self::Pixels(source)
    }
}

impl Input {
    /// A JPEG or PNG file, of which the header is read.
    ///
    /// # Errors
    /// [`Error::Decode`](crate::Error::Decode) as for [`codec::probe`].
    pub fn file(bytes: Lent<u8>) -> Result<Self> {
        let header = codec::probe(&bytes, &DecodeOptions::default())?;
        Ok(Self::File(bytes, header))
    }

    /// Width and height in pixels.
    pub fn size(&self) -> Size {
        match self {
            Self::Pixels(source) => source.view().size(),
            Self::File(_, header) => header.size,
        }
    }

    /// What a pixel is made of; a file is decoded to RGB.
    pub fn channels(&self) -> Channels {
        match self {
            Self::Pixels(source) => source.view().channels(),
            Self::File(_, header) => header.channels(),
        }
    }

    /// Bytes of the pixels.
    pub fn bytes(&self) -> usize {
        self.size().bytes(self.channels())
    }

    /// The same in memory of `pool`: what was lent is given back.
    ///
    /// # Errors
    /// Those of the pool.
    pub fn copied(self, pool: &Pool, owner: Owner) -> Result<Self> {
        Ok(match self {
            Self::Pixels(source) => Self::Pixels(source.copied(pool, owner)?),
            Self::File(bytes, header) => Self::File(bytes.copied(pool, owner)?, header),
        })
    }

    /// Does `work` with the pixels; those of a file live in memory of `pool` meanwhile.
    ///
    /// # Errors
    /// Those of the pool, [`Error::Decode`](crate::Error::Decode) for a file that is damaged, [`Error::Cancelled`](crate::Error::Cancelled),
    /// and what `work` answers.
    pub(super) fn with_view<R>(
        &self,
        (pool, owner): (&Pool, Owner),
        interrupt: &Interrupt,
        work: impl FnOnce(&ImageView<'_>) -> Result<R>,
    ) -> Result<R> {
        match self {
            Self::Pixels(source) => work(&source.view()),
            Self::File(bytes, header) => {
                let mut buffer = pool.allocate_for_overwrite(header.output_bytes(), owner)?;
                codec::decode_into(bytes, header, &mut buffer, interrupt)?;
                work(&Image { buffer, size: header.size, channels: header.channels() }.view()?)
            }
        }
    }
}
