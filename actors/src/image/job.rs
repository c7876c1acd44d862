//! What an image worker can be asked, and what it answers.

use super::codec::Encoding;
use super::kernels::analysis::{Layout, Texture};
use super::kernels::convolve::Kernel;
use super::{Channels, Image, Input, Pipeline, Planes, Size, Source};
use crate::Interrupt;
use crate::Result;
use crate::lent::{Lent, LentMut};
use crate::pool::{Owner, Pool};

/// One job.
#[derive(Debug)]
pub enum Job {
    /// A JPEG or PNG file to RGB, refused if its image has another size than this: [`Answer::Image`].
    Decode(Lent<u8>, Option<Size>),
    /// To a file: [`Answer::File`].
    Encode(Source, Encoding),
    /// Bilinear, antialiased: [`Answer::Image`].
    Resize(Source, Size),
    /// To other channels: [`Answer::Image`].
    Convert(Source, Channels),
    /// `(x/255 − mean)/std`: [`Answer::Planes`], `(channels, height, width)`.
    Normalize {
        /// The image.
        source: Source,
        /// A value a channel, or one for all.
        mean: Vec<f32>,
        /// Likewise.
        std: Vec<f32>,
    },
    /// With a kernel: [`Answer::Image`].
    Convolve(Source, Kernel),
    /// Mildly, 0 to 1: [`Answer::Image`].
    Denoise(Source, f32),
    /// By an unsharp mask: [`Answer::Image`].
    Sharpen(Source, f32),
    /// Denoise, then sharpen: [`Answer::Image`].
    AutoProcess {
        /// The image.
        source: Source,
        /// As [`Job::Denoise`].
        denoise_strength: f32,
        /// As [`Job::Sharpen`].
        sharpen_amount: f32,
    },
    /// At most so many colours, the most frequent first: [`Answer::Colors`].
    DominantColors(Source, usize),
    /// The share of pixels on an edge: [`Answer::Number`].
    EdgeDensity(Source),
    /// [`Answer::Texture`].
    Texture(Source),
    /// [`Answer::Layout`].
    SpatialLayout(Source),
    /// Every image, or file with one, through the pipeline, stacked: [`Answer::Stack`].
    Batch(Pipeline, Vec<Input>),
}

impl Job {
    /// [`Job::Batch`] of images, or of files that are decoded on the way.
    pub fn batch(pipeline: Pipeline, inputs: impl IntoIterator<Item: Into<Input>>) -> Self {
        Self::Batch(pipeline, inputs.into_iter().map(Into::into).collect())
    }

    /// The same job on copies of its inputs, in memory of `pool`: what was lent is given back.
    ///
    /// # Errors
    /// Those of the pool.
    pub fn detached(self, pool: &Pool, owner: Owner) -> Result<Self> {
        let copy = |source: Source| source.copied(pool, owner);
        Ok(match self {
            Self::Decode(bytes, size) => Self::Decode(bytes.copied(pool, owner)?, size),
            Self::Encode(source, encoding) => Self::Encode(copy(source)?, encoding),
            Self::Resize(source, size) => Self::Resize(copy(source)?, size),
            Self::Convert(source, channels) => Self::Convert(copy(source)?, channels),
            Self::Normalize { source, mean, std } => Self::Normalize { source: copy(source)?, mean, std },
            Self::Convolve(source, kernel) => Self::Convolve(copy(source)?, kernel),
            Self::Denoise(source, strength) => Self::Denoise(copy(source)?, strength),
            Self::Sharpen(source, amount) => Self::Sharpen(copy(source)?, amount),
            Self::AutoProcess { source, denoise_strength, sharpen_amount } => {
                Self::AutoProcess { source: copy(source)?, denoise_strength, sharpen_amount }
            }
            Self::DominantColors(source, count) => Self::DominantColors(copy(source)?, count),
            Self::EdgeDensity(source) => Self::EdgeDensity(copy(source)?),
            Self::Texture(source) => Self::Texture(copy(source)?),
            Self::SpatialLayout(source) => Self::SpatialLayout(copy(source)?),
            Self::Batch(pipeline, inputs) => {
                let copies = inputs.into_iter().map(|input| input.copied(pool, owner));
                Self::Batch(pipeline, copies.collect::<Result<_>>()?)
            }
        })
    }
}

/// A job with what may go along with it.
#[derive(Debug)]
pub struct Request {
    /// What is to be done.
    pub job: Job,
    /// Where the result is to be written, byte for byte as long as it is and aligned for its values; pooled memory if nowhere.
    /// Only for jobs that make an image, planes or a stack. After an error its contents mean nothing.
    pub out: Option<LentMut<u8>>,
    /// Says when the result is no longer wanted: the job ends with [`Error::Cancelled`](crate::Error::Cancelled).
    pub interrupt: Interrupt,
}

impl From<Job> for Request {
    fn from(job: Job) -> Self {
        Self { job, out: None, interrupt: Interrupt::never() }
    }
}

/// What a job came to.
#[derive(Debug)]
pub enum Answer {
    /// An 8-bit image.
    Image(Image),
    /// Float32 planes.
    Planes(Planes),
    /// A file.
    File(Vec<u8>),
    /// Colours as red, green, blue.
    Colors(Vec<[u8; 3]>),
    /// A number.
    Number(f64),
    /// A texture's figures.
    Texture(Texture),
    /// A layout's figures.
    Layout(Layout),
    /// Results of one shape one after the other: `shape` begins with their number.
    Stack {
        /// The values, in native byte order.
        planes: Planes,
        /// Whether they are float32 rather than bytes.
        normalized: bool,
    },
    /// The result stands in the request's `out`, which has been given back.
    Written,
}
