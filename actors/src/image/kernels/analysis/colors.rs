//! The colours that an image is mostly made of.
//!
//! An image of few colours is counted exactly. Any other is counted in bins of 5 bits a channel, each of which
//! remembers the mean of its pixels; the bins are then grouped by k-means, started from bins that are heavy and far
//! from those already chosen. Nothing is random: the same image always gives the same colours.

use crate::image::Scratch;
use crate::image::size::Channels;
use crate::image::view::ImageView;
use crate::{Error, Interrupt, Result};

/// The most colours that can be asked for.
pub const COLORS_MAX: usize = 256;

/// An image with at most this many colours, or as many as are asked for, is counted exactly: icons, pages, test cards.
const EXACT_MAX: usize = 32;

/// Rounds of k-means; the groups of real photographs move by less than a level after about eight.
const ROUNDS_MAX: usize = 12;

/// Up to `count` colours (1 to [`COLORS_MAX`]) as `[r, g, b]`, those of most pixels first; fewer where the image has
/// fewer. A gray image gives grays; alpha is ignored.
///
/// # Errors
/// [`Error::InvalidInput`] when `count` is out of range.
pub fn dominant_colors(
    src: &ImageView<'_>,
    count: usize,
    scratch: &mut Scratch,
    interrupt: &Interrupt,
) -> Result<Vec<[u8; 3]>> {
    if !(1..=COLORS_MAX).contains(&count) {
        return Err(Error::invalid(format!("the number of colours is 1 to {COLORS_MAX}, not {count}")));
    }
    let mut colors = match exact(src, count.max(EXACT_MAX), scratch, interrupt)? {
        Some(colors) => colors,
        None => group(&bins(src, scratch, interrupt)?, count),
    };
    colors.sort_unstable_by_key(|&(color, weight)| (std::cmp::Reverse(weight), color));
    colors.truncate(count);
    Ok(colors.into_iter().map(|(color, _)| color).collect())
}

/// A colour and the number of its pixels.
type Counted = ([u8; 3], u64);

/// Every colour with its number of pixels, unless there are more than `limit`.
fn exact(
    src: &ImageView<'_>,
    limit: usize,
    scratch: &mut Scratch,
    interrupt: &Interrupt,
) -> Result<Option<Vec<Counted>>> {
    let mut colors: Vec<Counted> = Vec::with_capacity(limit);
    let mut at = 0;
    for step in interrupt.steps(0..src.height(), src.row_bytes()) {
        for color in rgb(src.channels(), src.row(step?, &mut scratch.row)) {
            // Neighbours mostly share a colour, so the last one found is tried first.
            if colors.get(at).is_none_or(|(known, _)| *known != color) {
                at = match colors.iter().position(|(known, _)| *known == color) {
                    Some(found) => found,
                    None if colors.len() == limit => return Ok(None),
                    None => {
                        colors.push((color, 0));
                        colors.len() - 1
                    }
                };
            }
            colors[at].1 += 1;
        }
    }
    Ok(Some(colors))
}

/// The pixels of a bin: their number and their mean colour.
struct Bin {
    weight: u64,
    mean: [f32; 3],
}

fn bins(src: &ImageView<'_>, scratch: &mut Scratch, interrupt: &Interrupt) -> Result<Vec<Bin>> {
    // A pixel adds the 3 bits of each channel that the bin's index does not say: even MAX_PIXELS of them fit 32 bits.
    let mut counts = vec![[0u32; 4]; 1 << 15];
    for step in interrupt.steps(0..src.height(), src.row_bytes()) {
        for [r, g, b] in rgb(src.channels(), src.row(step?, &mut scratch.row)) {
            let index = usize::from(r >> 3) << 10 | usize::from(g >> 3) << 5 | usize::from(b >> 3);
            let bin = &mut counts[index];
            for (sum, value) in bin.iter_mut().zip([1, u32::from(r & 7), u32::from(g & 7), u32::from(b & 7)]) {
                *sum += value;
            }
        }
    }
    let full = counts.iter().enumerate().filter(|(_, bin)| bin[0] > 0);
    let of = |(index, &[count, sums @ ..]): (usize, &[u32; 4])| Bin {
        weight: u64::from(count),
        mean: std::array::from_fn(|c| {
            let base = (index >> (10 - 5 * c) & 31) << 3;
            base as f32 + sums[c] as f32 / count as f32
        }),
    };
    Ok(full.map(of).collect())
}

/// Groups bins around at most `count` colours.
fn group(bins: &[Bin], count: usize) -> Vec<Counted> {
    let mut centers = seeds(bins, count);
    let mut weights = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let mut sums = vec![([0f64; 3], 0u64); centers.len()];
        for bin in bins {
            let nearest = (0..centers.len())
                .min_by(|&a, &b| distance(bin.mean, centers[a]).total_cmp(&distance(bin.mean, centers[b])));
            let (sum, weight) = &mut sums[nearest.unwrap_or_default()];
            *weight += bin.weight;
            for (sum, value) in sum.iter_mut().zip(bin.mean) {
                *sum += f64::from(value) * bin.weight as f64;
            }
        }
        let mut moved = 0f32;
        for (center, (sum, weight)) in centers.iter_mut().zip(&sums).filter(|(_, (_, weight))| *weight > 0) {
            let next = sum.map(|sum| (sum / *weight as f64) as f32);
            moved = moved.max(distance(*center, next));
            *center = next;
        }
        weights = sums.into_iter().map(|(_, weight)| weight).collect();
        if moved < 0.25 {
            break;
        }
    }
    let mut colors: Vec<Counted> = Vec::new();
    for (center, weight) in centers.iter().zip(weights).filter(|(_, weight)| *weight > 0) {
        let color = center.map(|value| value.round() as u8);
        match colors.iter_mut().find(|(known, _)| *known == color) {
            Some((_, total)) => *total += weight,
            None => colors.push((color, weight)),
        }
    }
    colors
}

/// The heaviest bin, then each time the bin with the largest product of weight and distance to the nearest seed.
fn seeds(bins: &[Bin], count: usize) -> Vec<[f32; 3]> {
    let mut seeds = Vec::with_capacity(count);
    let mut nearest = vec![1f32; bins.len()];
    while seeds.len() < count {
        let score = |i: usize| bins[i].weight as f32 * nearest[i];
        // Of equals the first, so the order of bins decides and nothing else.
        let Some(best) = (0..bins.len()).rev().max_by(|&a, &b| score(a).total_cmp(&score(b))) else {
            break;
        };
        if score(best) == 0.0 {
            break;
        }
        let seed = bins[best].mean;
        for (i, bin) in bins.iter().enumerate() {
            let apart = distance(bin.mean, seed);
            nearest[i] = if seeds.is_empty() { apart } else { nearest[i].min(apart) };
        }
        seeds.push(seed);
    }
    seeds
}

/// The squared distance between two colours.
fn distance(a: [f32; 3], b: [f32; 3]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

fn rgb(channels: Channels, row: &[u8]) -> impl Iterator<Item = [u8; 3]> {
    let count = channels.count();
    row.chunks_exact(count).map(move |pixel| if count == 1 { [pixel[0]; 3] } else { [pixel[0], pixel[1], pixel[2]] })
}
