//! How large an image is and how many channels it has, with every byte count checked once, here.

use crate::{Error, Result};

/// The longest side an image may have: what JPEG's header can say, and the largest that the resizer's arithmetic is
/// exact for.
pub const MAX_SIDE: usize = 65_535;

/// The most pixels an image may have: Pillow's limit against decompression bombs, 178 million.
pub const MAX_PIXELS: usize = 178_956_970;

/// The width and height of an image, in pixels: neither is 0 nor above [`MAX_SIDE`], and their product is at most
/// [`MAX_PIXELS`], so byte counts computed from a `Size` do not overflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Size {
    width: u32,
    height: u32,
}

impl Size {
    /// A size in pixels.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when a side is 0 or above [`MAX_SIDE`], or the image has more than [`MAX_PIXELS`].
    pub fn new(width: usize, height: usize) -> Result<Self> {
        if width == 0 || height == 0 {
            return Err(Error::invalid(format!(
                "an image of {width}x{height} pixels is empty: both sides must be at least 1"
            )));
        }
        if width > MAX_SIDE || height > MAX_SIDE {
            return Err(Error::invalid(format!(
                "an image of {width}x{height} pixels is too large: a side may be at most {MAX_SIDE}"
            )));
        }
        if width * height > MAX_PIXELS {
            return Err(Error::invalid(format!(
                "an image of {width}x{height} pixels is too large: it may have at most {MAX_PIXELS} pixels"
            )));
        }
        Ok(Self { width: width as u32, height: height as u32 })
    }

    /// Pixels in a row, at least 1.
    pub fn width(self) -> usize {
        self.width as usize
    }

    /// Rows, at least 1.
    pub fn height(self) -> usize {
        self.height as usize
    }

    /// Pixels in the image.
    pub fn pixels(self) -> usize {
        self.width() * self.height()
    }

    /// Bytes of a dense 8-bit image of this size; as many `f32` values as a normalised image has.
    pub fn bytes(self, channels: Channels) -> usize {
        self.pixels() * channels.count()
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// What a pixel is made of, each channel one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Channels {
    /// One channel, luminance.
    Gray = 1,
    /// Red, green, blue.
    Rgb = 3,
    /// Red, green, blue, alpha (not premultiplied).
    Rgba = 4,
}

impl Channels {
    /// The channels of an array whose last axis has this length.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] unless `count` is 1, 3 or 4.
    pub fn from_count(count: usize) -> Result<Self> {
        match count {
            1 => Ok(Self::Gray),
            3 => Ok(Self::Rgb),
            4 => Ok(Self::Rgba),
            other => Err(Error::invalid(format!("an image has 1 (gray), 3 (RGB) or 4 (RGBA) channels, not {other}"))),
        }
    }

    /// The channels named `"gray"`, `"rgb"` or `"rgba"`.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for any other name.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "gray" => Ok(Self::Gray),
            "rgb" => Ok(Self::Rgb),
            "rgba" => Ok(Self::Rgba),
            other => Err(Error::invalid(format!("unknown colour {other:?}: one of gray, rgb, rgba"))),
        }
    }

    /// Channels, and bytes, in a pixel.
    pub fn count(self) -> usize {
        self as usize
    }
}

/// That a caller's output has room for exactly what will be written.
pub(crate) fn check_output(have: usize, need: usize) -> Result<()> {
    if have == need {
        Ok(())
    } else {
        Err(Error::invalid(format!("the output has {have} elements, the result has {need}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_or_oversized_image_is_refused_with_its_size_in_the_message() {
        for (w, h) in [(0, 4), (4, 0), (65_536, 1), (1, usize::MAX), (65_535, 65_535)] {
            let message = Size::new(w, h).unwrap_err().to_string();
            assert!(message.contains(&format!("{w}x{h}")), "{message}");
        }
        assert_eq!(Size::new(65_535, 1).unwrap().bytes(Channels::Rgba), 262_140);
    }

    #[test]
    fn two_and_five_channels_are_refused() {
        assert!(Channels::from_count(2).is_err());
        assert!(Channels::from_count(5).is_err());
        assert_eq!(Channels::from_count(3).unwrap(), Channels::Rgb);
        assert!(Channels::from_name("RGB").is_err());
    }
}
