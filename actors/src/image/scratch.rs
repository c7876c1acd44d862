//! Memory that kernels use while they run, kept between calls.

/// Working memory of the kernels: one a thread, handed to every call, so that a frame costs no allocation once the
/// first has been seen. Its contents mean nothing between calls.
#[derive(Debug, Default)]
pub struct Scratch {
    /// A gathered source row.
    pub(crate) row: Vec<u8>,
    /// A gathered frame, or the result of an operation's first pass.
    pub(crate) frame: Vec<u8>,
    /// Rows around the one being filtered.
    pub(crate) rows: Vec<u8>,
    /// A row of intermediate sums.
    pub(crate) sums: Vec<u16>,
    /// A row of intermediate values.
    pub(crate) values: Vec<f32>,
    pub(crate) resizer: fast_image_resize::Resizer,
}

impl Scratch {
    /// Working memory that holds nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes held at the moment.
    pub fn bytes(&self) -> usize {
        self.row.capacity()
            + self.frame.capacity()
            + self.rows.capacity()
            + self.sums.capacity() * size_of::<u16>()
            + self.values.capacity() * size_of::<f32>()
            + self.resizer.size_of_internal_buffers()
    }

    /// Gives everything back, as a worker does when memory is short.
    pub fn shrink(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shrink_gives_everything_back() {
        let mut scratch = Scratch::new();
        scratch.frame.resize(1000, 0);
        scratch.sums.resize(10, 0);
        assert!(scratch.bytes() >= 1020);
        scratch.shrink();
        assert_eq!(scratch.bytes(), 0);
    }
}
