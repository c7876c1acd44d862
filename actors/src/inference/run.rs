//! What goes along with one run of a model through all of its layers.

use super::kernels::isa::Isa;
use crate::{Interrupt, Result};

/// The instructions that the kernels use, and whether the result is still wanted.
///
/// Looked at between layers and, inside of a layer, between samples and blocks of rows: kernels themselves do not know it.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    pub isa: Isa,
    pub interrupt: &'a Interrupt,
}

impl Run<'_> {
    /// # Errors
    /// [`Error::Cancelled`](crate::Error::Cancelled) when the result is no longer wanted.
    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
        self.interrupt.check()
    }
}
