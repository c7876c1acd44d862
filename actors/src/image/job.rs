//! What an image worker can be asked, and what it answers.

use super::codec::Encoding;
use super::kernels::analysis::{Layout, Texture};
use super::kernels::convolve::Kernel;
use super::{Channels, Image, Pipeline, Planes, Size, Source};
use crate::lent::Lent;

/// One job.
#[derive(Debug)]
pub enum Job {
    /// A JPEG or PNG file to RGB: [`Answer::Image`].
    Decode(Lent<u8>),
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
    /// Every image through the pipeline, stacked: [`Answer::Stack`].
    Batch(Pipeline, Vec<Source>),
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
}
