//! PNG, by the `png` crate.

use std::io::{Cursor, Write};

use png::{BitDepth, ColorType, Compression, Decoder, Encoder, Transformations};

use super::polled::PolledReader;
use super::{DecodeOptions, Format, Header, claimed_size, refuse};
use crate::image::kernels::convert::convert_row;
use crate::image::size::Channels;
use crate::image::view::ImageView;
use crate::{Error, Interrupt, Result};

/// The most bytes that deflate can make of one: 258 bytes from two bits, as zlib's documentation derives it.
const DEFLATE_RATIO_MAX: u64 = 1032;

pub(super) fn probe(bytes: &[u8], options: &DecodeOptions) -> Result<Header> {
    let mut decoder = Decoder::new(Cursor::new(bytes));
    let info = decoder.read_header_info().map_err(damaged)?;
    let size = claimed_size(Format::Png, info.width as usize, info.height as usize, options)?;
    let row_bits = size.width() as u64 * info.bits_per_pixel() as u64;
    let stored = row_bits.div_ceil(8) * size.height() as u64;
    if stored / DEFLATE_RATIO_MAX > bytes.len() as u64 {
        return Err(refuse(Format::Png, format!("it is cut off: {} bytes cannot hold {size} pixels", bytes.len())));
    }
    Ok(Header {
        format: Format::Png,
        size,
        stored_channels: match info.color_type {
            ColorType::Indexed => 3,
            other => other.samples() as u8,
        },
        bit_depth: info.bit_depth as u8,
        progressive: info.interlaced,
    })
}

pub(super) fn decode_into(bytes: &[u8], header: &Header, out: &mut [u8], interrupt: &Interrupt) -> Result<()> {
    let mut decoder = Decoder::new(PolledReader::new(bytes, interrupt));
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let mut reader = decoder.read_info().map_err(damaged)?;
    let info = reader.info();
    if (info.width as usize, info.height as usize) != (header.size.width(), header.size.height()) {
        return Err(refuse(Format::Png, "its header is not the one that was probed"));
    }
    let interlaced = info.interlaced;
    let (colors, depth) = reader.output_color_type();
    debug_assert_eq!(depth, BitDepth::Eight, "EXPAND and STRIP_16 leave 8 bits a sample");
    let row_bytes = header.size.width() * 3;
    if colors == ColorType::Rgb {
        reader.next_frame(out).map_err(damaged)?;
    } else if interlaced {
        let mut frame = vec![0; header.size.pixels() * colors.samples()];
        reader.next_frame(&mut frame).map_err(damaged)?;
        let rows = frame.chunks_exact(header.size.width() * colors.samples());
        for (row, out) in rows.zip(out.chunks_exact_mut(row_bytes)) {
            to_rgb(colors, row, out);
        }
    } else {
        for out in out.chunks_exact_mut(row_bytes) {
            let row = reader.next_row().map_err(damaged)?;
            let row = row.ok_or_else(|| refuse(Format::Png, "it has too few rows"))?;
            to_rgb(colors, row.data(), out);
        }
    }
    // Reads on to the end chunk: the checksum of the last data chunk stands behind the last row.
    reader.finish().map_err(damaged)
}

fn to_rgb(colors: ColorType, row: &[u8], out: &mut [u8]) {
    match colors {
        ColorType::GrayscaleAlpha => {
            for (pixel, out) in row.as_chunks::<2>().0.iter().zip(out.as_chunks_mut::<3>().0) {
                *out = [pixel[0]; 3];
            }
        }
        ColorType::Rgba => convert_row(Channels::Rgba, row, Channels::Rgb, out),
        ColorType::Rgb => out.copy_from_slice(row),
        // Palettes were expanded to RGB or RGBA.
        ColorType::Grayscale | ColorType::Indexed => convert_row(Channels::Gray, row, Channels::Rgb, out),
    }
}

pub(super) fn encode(view: &ImageView<'_>, interrupt: &Interrupt) -> Result<Vec<u8>> {
    interrupt.check()?;
    let mut out = Vec::with_capacity(view.bytes() / 2 + 1024);
    write(view, &mut out, interrupt)
        .map_err(|error| Error::invalid(format!("the image cannot be written as PNG: {error}")))?;
    Ok(out)
}

fn write(view: &ImageView<'_>, out: &mut Vec<u8>, interrupt: &Interrupt) -> Result<(), png::EncodingError> {
    let mut encoder = Encoder::new(out, view.width() as u32, view.height() as u32);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::Fast);
    encoder.set_color(match view.channels() {
        Channels::Gray => ColorType::Grayscale,
        Channels::Rgb => ColorType::Rgb,
        Channels::Rgba => ColorType::Rgba,
    });
    let mut writer = encoder.write_header()?;
    if let Some(pixels) = view.as_dense() {
        writer.write_image_data(pixels)?;
    } else {
        let mut rows = writer.stream_writer()?;
        let mut scratch = Vec::new();
        for step in interrupt.steps(0..view.height(), view.row_bytes()) {
            rows.write_all(view.row(step.map_err(std::io::Error::other)?, &mut scratch))?;
        }
        rows.finish()?;
    }
    writer.finish()
}

fn damaged(error: png::DecodingError) -> Error {
    match &error {
        png::DecodingError::IoError(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => {
            refuse(Format::Png, "it is cut off before its end")
        }
        _ => refuse(Format::Png, error),
    }
}
