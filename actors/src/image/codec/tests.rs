use super::*;
use crate::image::view::tests::{bytes_of, noise, sliced};

const OPTIONS: DecodeOptions = DecodeOptions { max_pixels: MAX_PIXELS };

/// A smooth picture with some detail: what JPEG is made for.
fn picture(width: usize, height: usize, channels: Channels) -> Vec<u8> {
    let mut out = Vec::new();
    for y in 0..height {
        for x in 0..width {
            for c in 0..channels.count() {
                let wave = (x as f32 / 7.0 + c as f32).sin() * (y as f32 / 5.0).cos();
                out.push((128.0 + 90.0 * wave) as u8 ^ ((x * y) as u8 & 7));
            }
        }
    }
    out
}

/// JPEG files that differ in how their image data is laid out.
fn jpegs(width: usize, height: usize) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for (channels, colors) in [
        (Channels::Rgb, jpeg_encoder::ColorType::Rgb),
        (Channels::Gray, jpeg_encoder::ColorType::Luma),
        (Channels::Rgba, jpeg_encoder::ColorType::Cmyk),
    ] {
        let pixels = picture(width, height, channels);
        for progressive in [false, true] {
            for restarts in [0, 3] {
                for (optimized, quality) in [(false, 75), (true, 92)] {
                    let mut file = Vec::new();
                    let mut encoder = jpeg_encoder::Encoder::new(&mut file, quality);
                    encoder.set_progressive(progressive);
                    if colors == jpeg_encoder::ColorType::Cmyk {
                        // zune-jpeg cannot decode a progressive CMYK file with reduced colour resolution.
                        encoder.set_sampling_factor(jpeg_encoder::SamplingFactor::F_1_1);
                    }
                    encoder.set_restart_interval(restarts);
                    // The encoder does not count restarts when it optimises its tables.
                    encoder.set_optimized_huffman_tables(optimized && restarts == 0);
                    encoder.encode(&pixels, width as u16, height as u16, colors).unwrap();
                    let name =
                        format!("{colors:?} progressive={progressive} restarts={restarts} optimized={optimized}");
                    files.push((name, file));
                }
            }
        }
    }
    files
}

fn zune_alone(file: &[u8]) -> Vec<u8> {
    use zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions};
    let options = DecoderOptions::new_fast().jpeg_set_out_colorspace(ColorSpace::RGB);
    zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(file), options).decode().unwrap()
}

fn png_file(width: u32, height: u32, colors: ::png::ColorType, depth: ::png::BitDepth, data: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = ::png::Encoder::new(&mut file, width, height);
    encoder.set_color(colors);
    encoder.set_depth(depth);
    if colors == ::png::ColorType::Indexed {
        encoder.set_palette(vec![10, 20, 30, 40, 50, 60, 70, 80, 90, 255, 0, 255]);
        encoder.set_trns(vec![255, 0]);
    }
    encoder.write_header().unwrap().write_image_data(data).unwrap();
    file
}

#[test]
fn a_sealed_jpeg_decodes_to_the_pixels_of_the_original() {
    for (w, h) in [(61, 47), (16, 16), (1, 1), (129, 8)] {
        for (name, file) in jpegs(w, h) {
            let header = probe(&file, &OPTIONS).unwrap();
            assert_eq!((header.size.width(), header.size.height()), (w, h), "{name}");
            let (_, pixels) = decode(&file, &OPTIONS).unwrap_or_else(|e| panic!("{name} {w}x{h}: {e}"));
            assert_eq!(pixels, zune_alone(&file), "{name} {w}x{h}");
        }
    }
}

#[test]
fn a_truncated_jpeg_is_an_error_at_every_cut_with_or_without_an_end_marker() {
    for (name, file) in jpegs(61, 47) {
        let step = (file.len() / 40).max(1);
        for cut in (0..file.len() - 1).step_by(step).chain(file.len() - 40..file.len() - 1) {
            let error = decode(&file[..cut], &OPTIONS).expect_err(&name);
            assert!(matches!(error, Error::Decode { .. }), "{name} cut at {cut}: {error:?}");
        }
        // The hard case: the tail of the image data is missing, and an end marker stands there as if it were not.
        let whole = zune_alone(&file);
        for cut in (0..file.len() - 2).step_by(step) {
            let mut forged = file[..cut].to_vec();
            forged.extend([0xff, 0xd9]);
            if let Ok((_, pixels)) = decode(&forged, &OPTIONS) {
                // Only a progressive file may end early, after a whole scan: that is a coarser image, not a wrong one.
                assert!(name.contains("progressive=true"), "{name} cut at {cut} gives an image");
                assert_eq!(pixels.len(), whole.len());
            }
        }
    }
}

#[test]
fn a_jpeg_that_lost_a_restart_interval_or_a_part_of_one_is_an_error() {
    for (name, file) in jpegs(96, 80).iter().filter(|(name, _)| name.contains("=false restarts=3")) {
        let restarts: Vec<usize> =
            (0..file.len() - 1).filter(|&i| file[i] == 0xff && matches!(file[i + 1], 0xd0..=0xd7)).collect();
        let [.., a, b, c] = restarts[..] else { panic!("{name} has no restart markers") };
        // Its tail, and the whole of it.
        for (from, to) in [(a + 2 + (b - a - 2) / 2, b), (a, b), (b, c)] {
            let holed = [&file[..from], &file[to..]].concat();
            let error = decode(&holed, &OPTIONS).expect_err(name);
            assert!(matches!(error, Error::Decode { .. }), "{name}: {error:?}");
        }
    }
}

#[test]
fn trailing_bytes_and_metadata_do_not_matter() {
    let (_, file) = jpegs(20, 20).remove(0);
    let mut noisy = vec![0xff, 0xd8, 0xff, 0xe1, 0, 6, 1, 2, 3, 4, 0xff, 0xfe, 0, 4, b'h', b'i'];
    noisy.extend(&file[2..]);
    noisy.extend([0; 100]);
    assert_eq!(decode(&noisy, &OPTIONS), decode(&file, &OPTIONS));
}

#[test]
fn every_kind_of_png_becomes_rgb() {
    use ::png::{BitDepth, ColorType};
    let rgb = |file: &[u8]| decode(file, &OPTIONS).unwrap().1;
    assert_eq!(rgb(&png_file(2, 1, ColorType::Grayscale, BitDepth::Eight, &[7, 9])), [7, 7, 7, 9, 9, 9]);
    assert_eq!(rgb(&png_file(2, 1, ColorType::Grayscale, BitDepth::One, &[0b0100_0000])), [0, 0, 0, 255, 255, 255]);
    assert_eq!(rgb(&png_file(1, 1, ColorType::Grayscale, BitDepth::Sixteen, &[0x12, 0xff])), [0x12; 3]);
    assert_eq!(rgb(&png_file(1, 1, ColorType::GrayscaleAlpha, BitDepth::Eight, &[5, 0])), [5, 5, 5]);
    assert_eq!(rgb(&png_file(1, 1, ColorType::Rgba, BitDepth::Eight, &[1, 2, 3, 0])), [1, 2, 3]);
    assert_eq!(rgb(&png_file(1, 1, ColorType::Rgb, BitDepth::Sixteen, &[1, 9, 2, 9, 3, 9])), [1, 2, 3]);
    let palette = png_file(4, 1, ColorType::Indexed, BitDepth::Two, &[0b00_01_10_11]);
    assert_eq!(rgb(&palette), [10, 20, 30, 40, 50, 60, 70, 80, 90, 255, 0, 255]);
    assert_eq!(probe(&palette, &OPTIONS).unwrap().stored_channels, 3);
}

#[test]
fn an_interlaced_png_has_the_pixels_of_the_plain_one() {
    // 3x2 gray, Adam7: passes 1 (0,0), 5 none, 4 (2,0), 6 (1,0), 7 row 1; written as stored deflate blocks.
    let rows: [&[u8]; 4] = [&[0, 11], &[0, 13], &[0, 12], &[0, 21, 22, 23]];
    let data: Vec<u8> = rows.concat();
    let mut zlib = vec![0x78, 0x01, 0x01, data.len() as u8, 0, !(data.len() as u8), 0xff];
    zlib.extend(&data);
    let (mut a, mut b) = (1u32, 0u32);
    for byte in &data {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    zlib.extend((b << 16 | a).to_be_bytes());
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let header = [0, 0, 0, 3, 0, 0, 0, 2, 8, 0, 0, 0, 1];
    for (kind, body) in [(b"IHDR", &header[..]), (b"IDAT", &zlib[..]), (b"IEND", &[])] {
        file.extend((body.len() as u32).to_be_bytes());
        let chunk = [kind, body].concat();
        file.extend(&chunk);
        file.extend(crc(&chunk).to_be_bytes());
    }
    let (_, pixels) = decode(&file, &OPTIONS).unwrap();
    let want: Vec<u8> = [11, 12, 13, 21, 22, 23].iter().flat_map(|v| [*v; 3]).collect();
    assert_eq!(pixels, want);
    assert!(probe(&file, &OPTIONS).unwrap().progressive);
}

fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[test]
fn a_truncated_or_damaged_png_is_an_error() {
    let pixels = picture(61, 47, Channels::Rgb);
    for channels in [Channels::Gray, Channels::Rgb] {
        let view = ImageView::dense(&pixels[..61 * 47 * channels.count()], 61, 47, channels).unwrap();
        let file = encode(&view, Encoding::Png, &Interrupt::never()).unwrap();
        for cut in (0..file.len()).step_by(file.len() / 40).chain(file.len() - 20..file.len()) {
            let error = decode(&file[..cut], &OPTIONS).expect_err("cut");
            assert!(matches!(error, Error::Decode { .. }), "cut at {cut}: {error:?}");
        }
        for at in (8..file.len()).step_by(file.len() / 50) {
            let mut damaged = file.clone();
            damaged[at] ^= 0x10;
            if let Ok((_, decoded)) = decode(&damaged, &OPTIONS) {
                panic!("a bit flipped at {at} gives an image of {} bytes", decoded.len());
            }
        }
    }
}

#[test]
fn a_header_that_promises_more_than_the_file_can_hold_is_refused_at_once() {
    let (_, mut jpeg) = jpegs(16, 16).remove(0);
    let sof = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    for (w, h) in [(65_535u16, 65_535u16), (13_000, 13_000), (0, 10), (10, 0)] {
        jpeg[sof + 5..sof + 7].copy_from_slice(&h.to_be_bytes());
        jpeg[sof + 7..sof + 9].copy_from_slice(&w.to_be_bytes());
        let error = probe(&jpeg, &OPTIONS).unwrap_err();
        assert!(matches!(error, Error::Decode { format: "JPEG", .. }), "{error:?}");
    }
    let png = png_file(1, 1, ::png::ColorType::Rgb, ::png::BitDepth::Eight, &[1, 2, 3]);
    for (w, h) in [(65_535u32, 65_535u32), (13_000, 13_000), (u32::MAX, 1), (0, 1)] {
        let mut lying = png.clone();
        lying[16..20].copy_from_slice(&w.to_be_bytes());
        lying[20..24].copy_from_slice(&h.to_be_bytes());
        let sum = crc(&lying[12..29]);
        lying[29..33].copy_from_slice(&sum.to_be_bytes());
        let error = probe(&lying, &OPTIONS).unwrap_err();
        assert!(matches!(error, Error::Decode { format: "PNG", .. }), "{error:?}");
    }
    let options = DecodeOptions { max_pixels: 100 };
    let small =
        encode(&ImageView::dense(&[0; 101], 101, 1, Channels::Gray).unwrap(), Encoding::Png, &Interrupt::never())
            .unwrap();
    let message = probe(&small, &options).unwrap_err().to_string();
    assert!(message.contains("101x1") && message.contains("100 pixels"), "{message}");
}

#[test]
fn what_is_no_image_is_named_by_its_first_bytes() {
    let cases: [(&[u8], &str); 6] = [
        (b"", "empty"),
        (b"GIF89a", "GIF"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "WebP"),
        (b"BM1234", "BMP"),
        (b"\x89PNG", "cut off"),
        (b"hello, world", "68, 65, 6c"),
    ];
    for (bytes, part) in cases {
        let message = probe(bytes, &OPTIONS).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_png_round_trip_keeps_every_byte_of_every_slice() {
    for channels in [Channels::Gray, Channels::Rgb, Channels::Rgba] {
        let pixels = noise(23 * 9 * channels.count(), 4);
        for (name, view) in sliced(&pixels, 23, 9, channels) {
            let (size, decoded) =
                decode(&encode(&view, Encoding::Png, &Interrupt::never()).unwrap(), &OPTIONS).unwrap();
            assert_eq!(size, view.size());
            let rgb: Vec<u8> = bytes_of(&view)
                .chunks_exact(channels.count())
                .flat_map(|p| if channels == Channels::Gray { [p[0]; 3] } else { [p[0], p[1], p[2]] })
                .collect();
            assert_eq!(decoded, rgb, "{name} {channels:?}");
        }
    }
}

#[test]
fn a_jpeg_of_a_slice_is_the_jpeg_of_its_copy_and_close_to_the_pixels() {
    for channels in [Channels::Gray, Channels::Rgb, Channels::Rgba] {
        let pixels = picture(40, 31, channels);
        for (name, view) in sliced(&pixels, 40, 31, channels) {
            let copy = bytes_of(&view);
            let dense = ImageView::of(&copy, view.size(), channels).unwrap();
            let quality = Encoding::Jpeg { quality: 95 };
            let (_, a) = decode(&encode(&view, quality, &Interrupt::never()).unwrap(), &OPTIONS).unwrap();
            let (_, b) = decode(&encode(&dense, quality, &Interrupt::never()).unwrap(), &OPTIONS).unwrap();
            // The encoder has several conversions to YCbCr, which may round apart.
            let apart = a.iter().zip(&b).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(apart <= 6, "{name} {channels:?}: {apart}");
            let stored = copy.chunks_exact(channels.count()).map(|p| f64::from(p[0]));
            let error: f64 = a.chunks_exact(3).zip(stored).map(|(got, want)| (f64::from(got[0]) - want).abs()).sum();
            assert!(error / (view.size().pixels() as f64) < 8.0, "{name} {channels:?}: {error}");
        }
    }
}

#[test]
fn names_and_qualities_are_checked() {
    assert_eq!(Encoding::from_name("jpg", None).unwrap(), Encoding::Jpeg { quality: 75 });
    assert!(Encoding::from_name("gif", None).is_err());
    assert!(Encoding::from_name("jpeg", Some(0)).is_err());
    let view = ImageView::dense(&[1], 1, 1, Channels::Gray).unwrap();
    assert!(encode(&view, Encoding::Jpeg { quality: 101 }, &Interrupt::never()).is_err());
}

#[test]
fn a_header_of_another_file_is_refused() {
    let one =
        encode(&ImageView::dense(&[0; 6], 3, 2, Channels::Gray).unwrap(), Encoding::Png, &Interrupt::never()).unwrap();
    let other =
        encode(&ImageView::dense(&[0; 6], 2, 3, Channels::Gray).unwrap(), Encoding::Png, &Interrupt::never()).unwrap();
    let header = probe(&one, &OPTIONS).unwrap();
    let mut out = vec![0; header.output_bytes()];
    assert!(matches!(decode_into(&other, &header, &mut out, &Interrupt::never()), Err(Error::Decode { .. })));
    assert!(matches!(decode_into(&one, &header, &mut out[1..], &Interrupt::never()), Err(Error::InvalidInput(_))));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(400))]

    #[test]
    fn damaged_bytes_are_decoded_or_refused_but_never_panic(
        which in 0usize..26,
        damage in proptest::collection::vec((0.0..1.0f64, 0u8..=255), 1..6),
        cut in 0.0..2.0f64,
    ) {
        static FILES: std::sync::LazyLock<Vec<Vec<u8>>> = std::sync::LazyLock::new(|| {
            let mut files: Vec<Vec<u8>> = jpegs(37, 29).into_iter().map(|(_, file)| file).collect();
            let pixels = picture(37, 29, Channels::Rgba);
            let view = ImageView::dense(&pixels, 37, 29, Channels::Rgba).unwrap();
            files.push(encode(&view, Encoding::Png, &Interrupt::never()).unwrap());
            files.push(png_file(4, 1, ::png::ColorType::Indexed, ::png::BitDepth::Two, &[0b00_01_10_11]));
            files
        });
        let mut file = FILES[which % FILES.len()].clone();
        for (at, value) in damage {
            let at = (at * file.len() as f64) as usize;
            file[at] = value;
        }
        file.truncate((cut * file.len() as f64) as usize);
        match decode(&file, &DecodeOptions { max_pixels: 1 << 20 }) {
            Ok((size, pixels)) => proptest::prop_assert_eq!(pixels.len(), size.bytes(Channels::Rgb)),
            Err(error) => proptest::prop_assert!(matches!(error, Error::Decode { .. }), "{error:?}"),
        }
    }
}
