//! [`Pipeline`]: steps over one image, checked as a whole and run in one go, without results in between leaving the worker.

use super::kernels::convert::convert;
use super::kernels::normalize::{Normalization, normalize};
use super::kernels::resize::resize;
use super::{Channels, Image, ImageView, Scratch, Size};
use crate::pool::{Owner, Pool};
use crate::{Error, Interrupt, Result};

/// One step.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    Resize(Size),
    Convert(Channels),
    Normalize { mean: Vec<f32>, std: Vec<f32> },
}

/// Steps over one image.
///
/// ```
/// use ironcliw_actors::image::{Pipeline, Size};
/// let prepare = Pipeline::new().resize(Size::new(224, 224)?)?.normalize(&[0.5; 3], &[0.25; 3])?;
/// # Ok::<_, ironcliw_actors::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pipeline {
    steps: Vec<Step>,
}

/// What a pipeline makes of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Width and height in pixels.
    pub size: Size,
    /// What a pixel is made of.
    pub channels: Channels,
    /// Whether it is float32 planes, `(channels, height, width)`, rather than bytes.
    pub normalized: bool,
}

impl Shape {
    /// The array's shape.
    pub fn dims(&self) -> Vec<usize> {
        let (height, width, channels) = (self.size.height(), self.size.width(), self.channels.count());
        match (self.normalized, self.channels) {
            (true, _) => vec![channels, height, width],
            (false, Channels::Gray) => vec![height, width],
            (false, _) => vec![height, width, channels],
        }
    }

    /// Bytes of one result.
    pub fn bytes(&self) -> usize {
        self.size.bytes(self.channels) * if self.normalized { size_of::<f32>() } else { 1 }
    }
}

impl Pipeline {
    /// No steps: the image itself.
    pub fn new() -> Self {
        Self::default()
    }

    /// To this size, bilinear and antialiased.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] after [`Pipeline::normalize`], which is the last step.
    pub fn resize(self, size: Size) -> Result<Self> {
        self.then(Step::Resize(size))
    }

    /// To these channels.
    ///
    /// # Errors
    /// As [`Pipeline::resize`].
    pub fn convert(self, channels: Channels) -> Result<Self> {
        self.then(Step::Convert(channels))
    }

    /// To float32 planes, `(x/255 − mean)/std` with a value a channel: the last step.
    ///
    /// # Errors
    /// As [`Pipeline::resize`]; values that do not fit the image's channels are found when it is run.
    pub fn normalize(self, mean: &[f32], std: &[f32]) -> Result<Self> {
        self.then(Step::Normalize { mean: mean.to_vec(), std: std.to_vec() })
    }

    /// The number of steps.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether there are no steps.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    fn then(mut self, step: Step) -> Result<Self> {
        if matches!(self.steps.last(), Some(Step::Normalize { .. })) {
            return Err(Error::invalid("normalize is a pipeline's last step: nothing can follow it"));
        }
        self.steps.push(step);
        Ok(self)
    }

    /// What it makes of an image of this size and these channels.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if mean and deviation do not fit the channels that reach them.
    pub fn output(&self, size: Size, channels: Channels) -> Result<Shape> {
        let mut shape = Shape { size, channels, normalized: false };
        for step in &self.steps {
            match step {
                Step::Resize(size) => shape.size = *size,
                Step::Convert(channels) => shape.channels = *channels,
                Step::Normalize { mean, std } => {
                    let channels = shape.channels.count();
                    if mean.len() != channels || std.len() != channels {
                        let (mean, std) = (mean.len(), std.len());
                        return Err(Error::invalid(format!(
                            "normalize has {mean} means and {std} deviations for an image of {channels} channels"
                        )));
                    }
                    Normalization::new(mean, std, shape.channels)?;
                    shape.normalized = true;
                }
            }
        }
        Ok(shape)
    }

    /// Runs all steps on `view` into `out`, which has [`Shape::bytes`] bytes and is aligned for `f32` if normalised. What lies
    /// between two steps is leased from `pool` for `owner` meanwhile.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if `out` has another length, [`Error::Cancelled`] when interrupted, and those of the pool.
    pub fn run(
        &self,
        view: &ImageView<'_>,
        out: &mut [u8],
        scratch: &mut Scratch,
        (pool, owner): (&Pool, Owner),
        interrupt: &Interrupt,
    ) -> Result<()> {
        let Some((last, before)) = self.steps.split_last() else {
            return convert(view, view.channels(), out, scratch, interrupt);
        };
        let mut so_far: Option<Image> = None;
        for step in before {
            let view = so_far.as_ref().map_or(Ok(*view), Image::view)?;
            let (size, channels) = step.shape(view.size(), view.channels());
            let mut buffer = pool.allocate_for_overwrite(size.bytes(channels), owner)?;
            step.run(&view, &mut buffer, scratch, interrupt)?;
            so_far = Some(Image { buffer, size, channels });
        }
        last.run(&so_far.as_ref().map_or(Ok(*view), Image::view)?, out, scratch, interrupt)
    }
}

impl Step {
    fn shape(&self, size: Size, channels: Channels) -> (Size, Channels) {
        match self {
            Self::Resize(size) => (*size, channels),
            Self::Convert(channels) => (size, *channels),
            Self::Normalize { .. } => (size, channels),
        }
    }

    fn run(&self, view: &ImageView<'_>, out: &mut [u8], scratch: &mut Scratch, interrupt: &Interrupt) -> Result<()> {
        match self {
            Self::Resize(size) => resize(view, *size, out, scratch, interrupt),
            Self::Convert(channels) => convert(view, *channels, out, scratch, interrupt),
            Self::Normalize { mean, std } => {
                let how = Normalization::new(mean, std, view.channels())?;
                let out = bytemuck::try_cast_slice_mut(out)
                    .map_err(|_| Error::invalid("the output is not aligned for float32"))?;
                normalize(view, &how, out, scratch, interrupt)
            }
        }
    }
}

impl std::fmt::Display for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.steps.is_empty() {
            return f.write_str("no steps");
        }
        for (index, step) in self.steps.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            match step {
                Step::Resize(size) => write!(f, "resize to {size}")?,
                Step::Convert(channels) => write!(f, "convert to {channels:?}")?,
                Step::Normalize { .. } => f.write_str("normalize")?,
            }
        }
        Ok(())
    }
}
