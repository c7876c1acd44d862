//! Weights to bytes, for a caller who wants the bytes themselves.

use crate::{Error, Result};

/// Quantizes `weights` to int8 with one symmetric scale: `round(w · 127 / max|w|)`, halves away from zero.
///
/// Returns a code for each weight, in order, and the scale `max|w| / 127` that turns codes back into weights. All-zero
/// weights, and no weights, give zeros and a scale of 0.
///
/// # Errors
/// [`Error::InvalidInput`] if a weight is NaN or infinite.
///
/// ```
/// let (codes, scale) = ironcliw_actors::inference::quantize_symmetric(&[0.5, -1.27, 0.0])?;
/// assert_eq!(codes, [50, -127, 0]);
/// assert_eq!(scale, 1.27 / 127.0);
/// # Ok::<_, ironcliw_actors::Error>(())
/// ```
pub fn quantize_symmetric(weights: &[f32]) -> Result<(Vec<i8>, f32)> {
    if let Some(index) = weights.iter().position(|weight| !weight.is_finite()) {
        return Err(Error::invalid(format!("weight {index} is {}, not a finite number", weights[index])));
    }
    let magnitude = weights.iter().fold(0.0f32, |largest, weight| largest.max(weight.abs()));
    if magnitude == 0.0 {
        return Ok((vec![0; weights.len()], 0.0));
    }
    // In f64, so that neither `w · 127` nor its quotient is rounded before it is rounded to an integer.
    let code = |weight: &f32| (f64::from(*weight) * 127.0 / f64::from(magnitude)).round() as i8;
    Ok((weights.iter().map(code).collect(), magnitude / 127.0))
}
