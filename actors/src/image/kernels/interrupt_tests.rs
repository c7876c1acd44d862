//! Every operation, and every codec, stops at the first look that says so, wherever in the image that is.

use super::{analysis, convert, convolve, enhance, normalize, resize};
use crate::image::codec::{self, DecodeOptions, Encoding};
use crate::image::view::tests::noise;
use crate::image::{Channels, ImageView, Scratch, Size};
use crate::interrupt::tests::Countdown;
use crate::{Error, Interrupt, Result};

const WIDTH: usize = 300;
const HEIGHT: usize = 400;

/// Runs `work` with interrupts that come ever later, until one comes too late: so many looks are more than it has.
fn interruptions(name: &str, mut work: impl FnMut(&Interrupt) -> Result<()>) -> usize {
    let mut looks = 0;
    loop {
        let countdown = Countdown::from(looks);
        match work(&Interrupt::by(countdown.clone())) {
            Ok(()) => return countdown.looks(),
            Err(error) => assert_eq!(error, Error::Cancelled, "{name} after {looks} looks"),
        }
        // A codec's error is asked about once more by whoever translates it.
        assert!(countdown.ignored() <= 1, "{name} went on after {looks} looks");
        looks = 2 * looks + 1;
    }
}

#[test]
fn every_operation_looks_often_and_stops_at_once() {
    let mut scratch = Scratch::new();
    let pixels = noise(WIDTH * HEIGHT * 3, 3);
    let view = ImageView::dense(&pixels, WIDTH, HEIGHT, Channels::Rgb).unwrap();
    let (mut out, mut planes) = (vec![0; view.bytes()], vec![0.0; view.bytes()]);
    let how = normalize::Normalization::new(&[0.5], &[0.5], Channels::Rgb).unwrap();
    let mut gray = vec![0; WIDTH * HEIGHT];
    let mut check = |name, least, work: &mut dyn FnMut(&Interrupt, &mut Scratch) -> Result<()>| {
        let times = interruptions(name, |interrupt| work(interrupt, &mut scratch));
        assert!(times >= least, "{name} looked {times} times only");
    };
    check("convert", 2, &mut |on, scratch| convert::convert(&view, Channels::Gray, &mut gray, scratch, on));
    check("normalize", 15, &mut |on, scratch| normalize::normalize(&view, &how, &mut planes, scratch, on));
    for name in convolve::Kernel::names() {
        let kernel = convolve::Kernel::named(name).unwrap();
        check(name, 10, &mut |on, scratch| convolve::convolve(&view, &kernel, &mut out, scratch, on));
    }
    check("denoise", 10, &mut |on, scratch| enhance::denoise(&view, 0.5, &mut out, scratch, on));
    check("sharpen", 10, &mut |on, scratch| enhance::sharpen(&view, 0.5, &mut out, scratch, on));
    check("both", 20, &mut |on, scratch| enhance::auto_process(&view, 0.5, 0.5, &mut out, scratch, on));
    check("edges", 10, &mut |on, scratch| analysis::edge_density(&view, scratch, on).map(drop));
    check("texture", 10, &mut |on, scratch| analysis::texture(&view, scratch, on).map(drop));
    check("layout", 10, &mut |on, scratch| analysis::spatial_layout(&view, scratch, on).map(drop));
    check("colors", 4, &mut |on, scratch| analysis::dominant_colors(&view, 5, scratch, on).map(drop));
}

#[test]
fn a_resize_looks_between_its_bands() {
    let row = noise(4000 * 3, 5);
    // SAFETY: every row of the view is the same one, which lives as long.
    let view = unsafe {
        let size = Size::new(4000, 6000).unwrap();
        let strides = crate::image::Strides { row: 0, pixel: 3, channel: 1 };
        ImageView::from_raw_parts(row.as_ptr(), size, Channels::Rgb, strides)
    };
    let small = Size::new(8, 30).unwrap();
    let mut out = vec![0; small.bytes(Channels::Rgb)];
    let mut scratch = Scratch::new();
    let times = interruptions("resize", |on| resize::resize(&view, small, &mut out, &mut scratch, on));
    assert!(times >= 5, "{times} looks");
}

#[test]
fn codecs_stop_between_pieces_of_a_file() {
    let pixels = noise(WIDTH * HEIGHT * 3, 9);
    let dense = ImageView::dense(&pixels, WIDTH, HEIGHT, Channels::Rgb).unwrap();
    let strided = dense.crop(1, 1, WIDTH - 2, HEIGHT - 2).unwrap();
    for (view, encoding) in [(dense, Encoding::Jpeg { quality: 90 }), (strided, Encoding::Png)] {
        let mut file = Vec::new();
        let times = interruptions("encode", |on| {
            file = codec::encode(&view, encoding, on)?;
            Ok(())
        });
        assert!(times >= 5, "{encoding:?} looked {times} times only");
        let header = codec::probe(&file, &DecodeOptions::default()).unwrap();
        let mut out = vec![0; header.output_bytes()];
        let times = interruptions("decode", |on| codec::decode_into(&file, &header, &mut out, on));
        assert!(times >= 5, "{encoding:?} was looked at {times} times only");
    }
}
