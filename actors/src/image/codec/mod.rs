//! Files to pixels and back: JPEG and PNG.
//!
//! Decoding takes two steps so that the pixels can land in a pooled buffer: [`probe`] reads the header and says how
//! large the result will be, [`decode_into`] writes it. The result is always 8-bit RGB without gaps: gray and palette
//! images are expanded, 16-bit samples lose their low byte, CMYK is converted, and transparency is dropped, not blended
//! (a transparent pixel keeps the colour that the file stores under it).
//!
//! A file is decoded whole or not at all: data that is truncated, or damaged in a way that the format lets be seen, is
//! [`Error::Decode`], never an image with wrong rows. (PNG has checksums and lets everything be seen. JPEG has none: a
//! changed byte inside the image data may decode to as many pixels of other colours.) A header that promises more
//! pixels than the file can hold is refused by `probe`, before anybody allocates.

mod jpeg;
mod jpeg_stream;
mod png;
mod polled;

use super::size::{Channels, MAX_PIXELS, MAX_SIDE, Size, check_output};
use super::view::ImageView;
use crate::{Error, Interrupt, Result};

/// A file format that can be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// JPEG, baseline or progressive.
    Jpeg,
    /// PNG, of every colour type and bit depth, interlaced or not; of an animation the default image.
    Png,
}

impl Format {
    /// `"JPEG"` or `"PNG"`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
        }
    }
}

/// How an image is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encoding {
    /// PNG, lossless, with settings chosen for speed.
    Png,
    /// JPEG, baseline. Alpha is dropped.
    Jpeg {
        /// 1 (smallest) to 100 (best); below 90 the colour is stored at half resolution.
        quality: u8,
    },
}

impl Encoding {
    /// JPEG's quality where none is asked for: Pillow's default.
    pub const DEFAULT_QUALITY: u8 = 75;

    /// The encoding named `"png"` or `"jpeg"` (or `"jpg"`), which uses `quality` if it has one.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for any other name, or a quality outside 1 to 100.
    pub fn from_name(name: &str, quality: Option<u8>) -> Result<Self> {
        match name {
            "png" => Ok(Self::Png),
            "jpeg" | "jpg" => {
                let quality = quality.unwrap_or(Self::DEFAULT_QUALITY);
                check_quality(quality)?;
                Ok(Self::Jpeg { quality })
            }
            other => Err(Error::invalid(format!("unknown image format {other:?}: one of png, jpeg"))),
        }
    }
}

/// Limits of decoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeOptions {
    /// An image with more pixels is refused; at most [`MAX_PIXELS`], which is the default.
    pub max_pixels: usize,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self { max_pixels: MAX_PIXELS }
    }
}

/// What a file's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The file's format.
    pub format: Format,
    /// Width and height in pixels, of the result as well.
    pub size: Size,
    /// Channels as the file stores them, 1 to 4; a palette counts as 3.
    pub stored_channels: u8,
    /// Bits in a stored sample: 1, 2, 4, 8 or 16.
    pub bit_depth: u8,
    /// Whether rows are spread over several passes (Adam7 PNG, progressive JPEG).
    pub progressive: bool,
}

impl Header {
    /// Channels of the decoded image: always RGB.
    pub fn channels(&self) -> Channels {
        Channels::Rgb
    }

    /// Bytes that [`decode_into`] writes.
    pub fn output_bytes(&self) -> usize {
        self.size.bytes(self.channels())
    }
}

/// Reads a file's header, and checks that the file is long enough for the image it claims to hold.
///
/// # Errors
/// [`Error::Decode`] when the bytes are no JPEG or PNG, the header is damaged, the image has no pixels or more than
/// `options` allow, or the file is too short for so many pixels at the format's best compression.
pub fn probe(bytes: &[u8], options: &DecodeOptions) -> Result<Header> {
    match sniff(bytes)? {
        Format::Jpeg => jpeg::probe(bytes, options),
        Format::Png => png::probe(bytes, options),
    }
}

/// Decodes a file into `out`: RGB8, rows from the top, no gaps. `out` has [`Header::output_bytes`] bytes and need not
/// be cleared; after an error its contents mean nothing.
///
/// # Errors
/// [`Error::Decode`] when the data is truncated, damaged or not what `header` says;
/// [`Error::InvalidInput`] when `out` has another length.
pub fn decode_into(bytes: &[u8], header: &Header, out: &mut [u8], interrupt: &Interrupt) -> Result<()> {
    check_output(out.len(), header.output_bytes())?;
    let outcome = match header.format {
        Format::Jpeg => jpeg::decode_into(bytes, header, out, interrupt),
        Format::Png => png::decode_into(bytes, header, out, interrupt),
    };
    // To the decoder an interrupt is a reader that fails.
    if outcome.is_err() { interrupt.check().and(outcome) } else { outcome }
}

/// Decodes a file into a buffer of its own: [`probe`] and [`decode_into`] in one call.
///
/// # Errors
/// As those two.
pub fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<(Size, Vec<u8>)> {
    let header = probe(bytes, options)?;
    let mut out = vec![0; header.output_bytes()];
    decode_into(bytes, &header, &mut out, &Interrupt::never())?;
    Ok((header.size, out))
}

/// Writes an image of 1, 3 or 4 channels as a file.
///
/// ```
/// use ironcliw_actors::Interrupt;
/// use ironcliw_actors::image::{Channels, ImageView, codec};
/// let pixels = [200u8; 4 * 2 * 3];
/// let view = ImageView::dense(&pixels, 4, 2, Channels::Rgb)?;
/// let file = codec::encode(&view, codec::Encoding::Png, &Interrupt::never())?;
/// let (size, decoded) = codec::decode(&file, &codec::DecodeOptions::default())?;
/// assert_eq!((size.width(), size.height()), (4, 2));
/// assert_eq!(decoded, pixels);
/// # Ok::<_, ironcliw_actors::Error>(())
/// ```
///
/// # Errors
/// [`Error::InvalidInput`] when JPEG's quality is not in 1 to 100; [`Error::Cancelled`] when interrupted, except while the PNG
/// of a dense image is compressed.
pub fn encode(view: &ImageView<'_>, encoding: Encoding, interrupt: &Interrupt) -> Result<Vec<u8>> {
    let outcome = match encoding {
        Encoding::Png => png::encode(view, interrupt),
        Encoding::Jpeg { quality } => {
            check_quality(quality)?;
            jpeg::encode(view, quality, interrupt)
        }
    };
    if outcome.is_err() { interrupt.check().and(outcome) } else { outcome }
}

fn check_quality(quality: u8) -> Result<()> {
    if (1..=100).contains(&quality) {
        Ok(())
    } else {
        Err(Error::invalid(format!("JPEG's quality is 1 to 100, not {quality}")))
    }
}

/// The format by the file's first bytes, which is all that a file's name could promise.
fn sniff(bytes: &[u8]) -> Result<Format> {
    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
    if bytes.starts_with(&[0xff, 0xd8]) {
        return Ok(Format::Jpeg);
    }
    if bytes.starts_with(PNG) {
        return Ok(Format::Png);
    }
    let reason = match bytes {
        [] => "it is empty".to_owned(),
        _ if PNG.starts_with(bytes) => format!("it is a PNG cut off after {} bytes", bytes.len()),
        [0xff] => "it is one byte, 0xff".to_owned(),
        [b'G', b'I', b'F', b'8', ..] => "it is a GIF; JPEG and PNG are supported".to_owned(),
        [b'B', b'M', ..] => "it is a BMP; JPEG and PNG are supported".to_owned(),
        [b'I', b'I', b'*', 0, ..] | [b'M', b'M', 0, b'*', ..] => "it is a TIFF; JPEG and PNG are supported".to_owned(),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => {
            "it is a WebP; JPEG and PNG are supported".to_owned()
        }
        _ => format!("neither JPEG nor PNG begins with the bytes {:02x?}", &bytes[..bytes.len().min(8)]),
    };
    Err(Error::Decode { format: "image", reason })
}

/// The size that a header claims, held against the limits: an error here is the file's, not the caller's.
fn claimed_size(format: Format, width: usize, height: usize, options: &DecodeOptions) -> Result<Size> {
    let size = Size::new(width, height).map_err(|error| refuse(format, error))?;
    let limit = options.max_pixels.min(MAX_PIXELS);
    if size.pixels() > limit {
        return Err(refuse(format, format!("it claims {size} pixels, the limit is {limit} pixels")));
    }
    debug_assert!(width <= MAX_SIDE && height <= MAX_SIDE);
    Ok(size)
}

/// A [`Error::Decode`] with this reason.
fn refuse(format: Format, reason: impl std::fmt::Display) -> Error {
    Error::Decode { format: format.name(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests;
