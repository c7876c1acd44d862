//! JPEG's outer structure: segments, scans and restart intervals, read strictly; and the *sealed* copy of a file that
//! makes a forgiving entropy decoder strict.
//!
//! A decoder that runs out of entropy-coded data before a marker commonly goes on with zero bits and returns plausible
//! but wrong rows. A sealed copy puts a run of one-bits behind every interval of entropy-coded data. The code of all
//! ones is reserved in every Huffman table (ITU-T T.81, annex C.2), so a decoder that needs a symbol from there fails
//! at once, while one whose data is complete never looks at it. Such padding is legal where a decoder resynchronises by
//! searching the next marker: before a restart marker and at the end of a scan.
//!
//! One exception: the progressive decoder expects the marker right behind the *first* scan. That scan is written twice,
//! as it is and sealed; decoding a first scan of DC coefficients again only stores the same values again.
//! And one kind of scan has no codes: refinements of DC coefficients are a plain bit a block, so their length is compared.
//! A progressive file that ends properly after any whole scan is a coarser image and accepted, as everywhere.
//!
//! Metadata (EXIF, ICC, comments) is left out of the copy, and so is whatever follows the end marker.

use super::{Format, refuse};
use crate::{Error, Result};

/// Sixteen bytes of one-bits, stuffed: more than a decoder's bit buffer reads ahead (8 bytes).
const SEAL: [u8; 32] = {
    let mut seal = [0u8; 32];
    let mut i = 0;
    while i < 32 {
        seal[i] = 0xff;
        i += 2;
    }
    seal
};

const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const DNL: u8 = 0xdc;

/// What the frame header (SOF) says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) components: u8,
    pub(super) progressive: bool,
    /// The id and the number of 8×8 blocks of each component.
    blocks: [(u8, u64); 4],
    /// The fewest bits that the entropy-coded data of such a frame can have.
    pub(super) bits_min: u64,
}

impl Frame {
    /// Reads segments up to the frame header.
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes)?;
        loop {
            match reader.marker()? {
                EOI | SOS => return Err(damaged("it has no frame header before its image data")),
                marker if has_no_body(marker) => {}
                marker => {
                    let body = reader.body()?;
                    if is_frame_header(marker) {
                        return Self::parse(marker, body);
                    }
                }
            }
        }
    }

    fn parse(marker: u8, body: &[u8]) -> Result<Self> {
        if !matches!(marker, 0xc0..=0xc2) {
            return Err(damaged("its coding (lossless, hierarchical or arithmetic) is not supported"));
        }
        let [precision, h1, h0, w1, w0, components, specs @ ..] = body else {
            return Err(damaged("its frame header is too short"));
        };
        if *precision != 8 {
            return Err(damaged(format!("its samples have {precision} bits; 8 are supported")));
        }
        let (specs, _) = specs.as_chunks::<3>();
        if !matches!(components, 1..=4) || specs.len() != usize::from(*components) {
            return Err(damaged(format!("its frame header lists {components} components")));
        }
        let factors = || specs.iter().map(|spec| (u64::from(spec[1] >> 4), u64::from(spec[1] & 15)));
        if factors().any(|(h, v)| !(1..=4).contains(&h) || !(1..=4).contains(&v)) {
            return Err(damaged("a component's sampling factor is not in 1 to 4"));
        }
        let height = usize::from(u16::from_be_bytes([*h1, *h0]));
        let width = usize::from(u16::from_be_bytes([*w1, *w0]));
        let h_max = factors().map(|(h, _)| h).max().unwrap_or(1);
        let v_max = factors().map(|(_, v)| v).max().unwrap_or(1);
        let mut blocks = [(0, 0); 4];
        for ((blocks, spec), (h, v)) in blocks.iter_mut().zip(specs).zip(factors()) {
            let across = (width as u64 * h).div_ceil(8 * h_max);
            let down = (height as u64 * v).div_ceil(8 * v_max);
            *blocks = (spec[0], across * down);
        }
        let total: u64 = blocks.iter().map(|(_, count)| count).sum();
        let progressive = marker == 0xc2;
        Ok(Self {
            width,
            height,
            components: *components,
            progressive,
            blocks,
            // A block takes a DC code of at least one bit and, unless later scans run over whole bands at once, an
            // end-of-block code of at least one.
            bits_min: total * if progressive { 1 } else { 2 },
        })
    }
}

/// The sealed copy of a file (see the module).
///
/// # Errors
/// [`Error::Decode`] when the file ends before its end marker, restart markers are out of order, or a component has no
/// scan.
pub(super) fn seal(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut reader = Reader::new(bytes)?;
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 8 + 1024);
    out.extend_from_slice(&[0xff, SOI]);
    let mut frame: Option<Frame> = None;
    let mut first_scan = true;
    let mut components_seen: Vec<u8> = Vec::new();
    loop {
        match reader.marker()? {
            EOI => break,
            SOS => {
                let frame = frame.ok_or_else(|| damaged("it has image data before its frame header"))?;
                let header = reader.body()?;
                let listed = scan_components(header)?;
                for id in listed.clone() {
                    if !components_seen.contains(&id) {
                        components_seen.push(id);
                    }
                }
                let coded = reader.entropy_coded()?;
                let last = coded.next_marker == EOI;
                push_segment(&mut out, SOS, header);
                if frame.progressive {
                    coded.check_refinement(&frame, header, listed.clone())?;
                    if first_scan {
                        coded.copy_to(&mut out, false);
                        push_segment(&mut out, SOS, header);
                    }
                    coded.copy_to(&mut out, true);
                } else {
                    // Between the scans of a sequential file the decoder, too, expects the next marker at once.
                    let whole = listed.count() == usize::from(frame.components);
                    coded.copy_to(&mut out, whole || last);
                }
                first_scan = false;
            }
            DNL => {
                return Err(damaged("its height is written after its image data, which is not supported"));
            }
            marker if has_no_body(marker) => {}
            marker => {
                let body = reader.body()?;
                if is_frame_header(marker) && frame.replace(Frame::parse(marker, body)?).is_some() {
                    return Err(damaged("it has two frame headers"));
                }
                // APP0 and APP14 say how colours are coded; the other APPn and comments are metadata.
                let metadata = matches!(marker, 0xe1..=0xed | 0xef | 0xfe);
                if !metadata {
                    push_segment(&mut out, marker, body);
                }
            }
        }
    }
    let components = frame.map_or(0, |frame| usize::from(frame.components));
    if components == 0 || components_seen.len() < components {
        return Err(damaged(format!("it has image data for {} of its {components} components", components_seen.len())));
    }
    out.extend_from_slice(&[0xff, EOI]);
    Ok(out)
}

fn push_segment(out: &mut Vec<u8>, marker: u8, body: &[u8]) {
    out.extend_from_slice(&[0xff, marker]);
    // The body came out of a segment, so its length and the two bytes of the length itself fit.
    out.extend_from_slice(&(body.len() as u16 + 2).to_be_bytes());
    out.extend_from_slice(body);
}

/// The ids of the components of a scan.
fn scan_components(header: &[u8]) -> Result<impl Iterator<Item = u8> + Clone> {
    match header {
        [count @ 1..=4, rest @ ..] if rest.len() == 2 * usize::from(*count) + 3 => {
            Ok(rest[..2 * usize::from(*count)].iter().step_by(2).copied())
        }
        _ => Err(damaged("a scan header is too short or lists no component")),
    }
}

/// The entropy-coded data of a scan, up to the marker that ends it.
struct Coded<'a> {
    /// Stuffed data, restart markers included.
    data: &'a [u8],
    /// Where each restart marker begins in `data`.
    restarts: Vec<usize>,
    next_marker: u8,
}

impl Coded<'_> {
    /// That a scan which refines DC coefficients has a bit for every block.
    fn check_refinement(&self, frame: &Frame, header: &[u8], listed: impl Iterator<Item = u8>) -> Result<()> {
        let [.., first, _, approximation] = header else {
            return Ok(());
        };
        if *first != 0 || approximation >> 4 == 0 {
            return Ok(());
        }
        let blocks_of = |id| frame.blocks.iter().find(|(known, _)| *known == id).map_or(0, |(_, count)| *count);
        let blocks: u64 = listed.map(blocks_of).sum();
        let stuffing = self.data.iter().filter(|byte| **byte == 0xff).count() + self.restarts.len();
        if ((self.data.len() - stuffing) as u64) < blocks.div_ceil(8) {
            return Err(damaged(format!("a scan of {blocks} blocks is cut off")));
        }
        Ok(())
    }

    fn copy_to(&self, out: &mut Vec<u8>, seal_end: bool) {
        let mut start = 0;
        for &restart in &self.restarts {
            out.extend_from_slice(&self.data[start..restart]);
            out.extend_from_slice(&SEAL);
            start = restart;
        }
        out.extend_from_slice(&self.data[start..]);
        if seal_end {
            out.extend_from_slice(&SEAL);
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self> {
        match bytes {
            [0xff, SOI, ..] => Ok(Self { bytes, at: 2 }),
            _ => Err(damaged("it does not begin with a start marker")),
        }
    }

    /// The next marker, past fill bytes and whatever stands between segments.
    fn marker(&mut self) -> Result<u8> {
        let rest = &self.bytes[self.at..];
        let found = rest.windows(2).position(|pair| pair[0] == 0xff && !matches!(pair[1], 0 | 0xff));
        let found = found.ok_or_else(|| self.cut_off())?;
        self.at += found + 2;
        Ok(rest[found + 1])
    }

    /// The body of the segment whose marker was just read.
    fn body(&mut self) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let [hi, lo, ..] = rest else {
            return Err(self.cut_off());
        };
        let length = usize::from(u16::from_be_bytes([*hi, *lo]));
        if length < 2 {
            return Err(damaged(format!("a segment at byte {} has the length {length}", self.at)));
        }
        let body = rest.get(2..length).ok_or_else(|| self.cut_off())?;
        self.at += length;
        Ok(body)
    }

    /// The data of the scan whose header was just read. The marker that ends it is left to be read.
    fn entropy_coded(&mut self) -> Result<Coded<'a>> {
        let start = self.at;
        let mut restarts = Vec::new();
        loop {
            let rest = &self.bytes[self.at..];
            let found = rest.iter().position(|&byte| byte == 0xff).ok_or_else(|| self.cut_off())?;
            match rest.get(found + 1) {
                None => return Err(self.cut_off()),
                Some(0) => self.at += found + 2,
                // A fill byte: the marker is further on.
                Some(0xff) => self.at += found + 1,
                Some(marker @ 0xd0..=0xd7) => {
                    let expected = 0xd0 + (restarts.len() % 8) as u8;
                    if *marker != expected {
                        return Err(damaged(format!(
                            "restart marker {} follows where {} belongs: a part is missing",
                            marker - 0xd0,
                            expected - 0xd0
                        )));
                    }
                    restarts.push(self.at + found - start);
                    self.at += found + 2;
                }
                Some(&next_marker) => {
                    self.at += found;
                    return Ok(Coded { data: &self.bytes[start..self.at], restarts, next_marker });
                }
            }
        }
    }

    fn cut_off(&self) -> Error {
        damaged(format!("it is cut off: {} bytes hold no end marker", self.bytes.len()))
    }
}

/// SOF0 to SOF15: 0xc0 to 0xcf without DHT, JPG and DAC.
fn is_frame_header(marker: u8) -> bool {
    matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc)
}

/// Markers that no length follows: TEM, restart markers, a second start marker.
fn has_no_body(marker: u8) -> bool {
    matches!(marker, 0x01 | 0xd0..=0xd7 | SOI)
}

fn damaged(reason: impl std::fmt::Display) -> Error {
    refuse(Format::Jpeg, reason)
}
