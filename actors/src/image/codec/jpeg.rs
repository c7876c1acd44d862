//! JPEG, by zune-jpeg and jpeg-encoder; what makes the decoder strict is in [`jpeg_stream`](super::jpeg_stream).

use std::cell::RefCell;

use jpeg_encoder::{ChromaSubsamplingMethod, ColorType, Encoder, ImageBuffer, JpegColorType, rgb_to_ycbcr};
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::jpeg_stream::{Frame, seal};
use super::polled::{PolledCursor, PolledWriter};
use super::{DecodeOptions, Format, Header, claimed_size, refuse};
use crate::image::size::{Channels, MAX_SIDE};
use crate::image::view::ImageView;
use crate::{Error, Interrupt, Result};

pub(super) fn probe(bytes: &[u8], options: &DecodeOptions) -> Result<Header> {
    let frame = Frame::read(bytes)?;
    let size = claimed_size(Format::Jpeg, frame.width, frame.height, options)?;
    if frame.bits_min / 8 > bytes.len() as u64 {
        return Err(refuse(Format::Jpeg, format!("it is cut off: {} bytes cannot hold {size} pixels", bytes.len())));
    }
    Ok(Header {
        format: Format::Jpeg,
        size,
        stored_channels: frame.components,
        bit_depth: 8,
        progressive: frame.progressive,
    })
}

pub(super) fn decode_into(bytes: &[u8], header: &Header, out: &mut [u8], interrupt: &Interrupt) -> Result<()> {
    interrupt.check()?;
    let sealed = seal(bytes)?;
    let options = DecoderOptions::new_fast()
        .set_strict_mode(true)
        .set_max_width(MAX_SIDE)
        .set_max_height(MAX_SIDE)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let options = if cfg!(feature = "simd-accel") { options } else { options.set_use_unsafe(false) };
    let mut decoder = JpegDecoder::new_with_options(PolledCursor::new(&sealed, interrupt), options);
    let damaged = |error| refuse(Format::Jpeg, format!("{error:?}"));
    decoder.decode_headers().map_err(damaged)?;
    let claimed = (header.size.width(), header.size.height());
    if decoder.dimensions() != Some(claimed) || decoder.output_buffer_size() != Some(out.len()) {
        return Err(refuse(Format::Jpeg, "its header is not the one that was probed"));
    }
    decoder.decode_into(out).map_err(damaged)
}

pub(super) fn encode(view: &ImageView<'_>, quality: u8, interrupt: &Interrupt) -> Result<Vec<u8>> {
    // Sides fit: the largest a `Size` allows is JPEG's own limit.
    let (width, height) = (view.width() as u16, view.height() as u16);
    let mut out = Vec::with_capacity(view.size().pixels() / 4 + 1024);
    let mut encoder = Encoder::new(PolledWriter::new(&mut out, interrupt), quality);
    // As libjpeg; the encoder's own default takes one chroma sample of four and aliases.
    encoder.set_chroma_subsampling_method(ChromaSubsamplingMethod::Average);
    let result = match (dense(view), view.channels()) {
        (Some((pixels, colors)), _) => encoder.encode(pixels, width, height, colors),
        (None, _) => encoder.encode_image(Rows { view: *view, scratch: RefCell::default() }),
    };
    result.map_err(|error| Error::invalid(format!("the image cannot be written as JPEG: {error}")))?;
    Ok(out)
}

/// The pixels as one slice, with the name of their order in memory.
fn dense<'a>(view: &ImageView<'a>) -> Option<(&'a [u8], ColorType)> {
    if let Some(pixels) = view.as_dense() {
        let colors = match view.channels() {
            Channels::Gray => ColorType::Luma,
            Channels::Rgb => ColorType::Rgb,
            Channels::Rgba => ColorType::Rgba,
        };
        return Some((pixels, colors));
    }
    if view.channels() == Channels::Rgb {
        return Some((view.channels_reversed()?.as_dense()?, ColorType::Bgr));
    }
    None
}

/// An image with gaps, given to the encoder a row at a time.
struct Rows<'a> {
    view: ImageView<'a>,
    scratch: RefCell<Vec<u8>>,
}

impl ImageBuffer for Rows<'_> {
    fn get_jpeg_color_type(&self) -> JpegColorType {
        match self.view.channels() {
            Channels::Gray => JpegColorType::Luma,
            Channels::Rgb | Channels::Rgba => JpegColorType::Ycbcr,
        }
    }

    fn width(&self) -> u16 {
        self.view.width() as u16
    }

    fn height(&self) -> u16 {
        self.view.height() as u16
    }

    fn fill_buffers(&self, y: u16, buffers: &mut [Vec<u8>; 4]) {
        let mut scratch = self.scratch.borrow_mut();
        let row = self.view.row(usize::from(y), &mut scratch);
        if self.view.channels() == Channels::Gray {
            return buffers[0].extend_from_slice(row);
        }
        let [luma, blue, red, _] = buffers;
        for pixel in row.chunks_exact(self.view.channels().count()) {
            let (y, cb, cr) = rgb_to_ycbcr(pixel[0], pixel[1], pixel[2]);
            luma.push(y);
            blue.push(cb);
            red.push(cr);
        }
    }
}
