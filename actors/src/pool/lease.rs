//! What a caller asks for besides bytes.

use crate::leak::Origin;
use std::sync::Arc;

/// How a lease is meant to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseKind {
    /// By being dropped, as values do.
    #[default]
    Plain,
    /// By [`Buffer::release`](super::Buffer::release). A lease of this kind that is merely dropped gives its memory
    /// back, and is reported as a leak. It always leaves a record, unless the leak level is `Disabled`.
    Explicit,
}

/// Options of one allocation. The default is a plain lease of zeroed memory, recorded if sampling chooses it.
#[derive(Debug, Clone)]
pub struct AllocOptions {
    /// Whether the buffer reads as zeros. If not, it may hold what an earlier lease left there: only for callers that
    /// overwrite every byte before anybody else sees the buffer. The memory is initialised either way.
    pub zeroed: bool,
    /// How the lease is meant to end.
    pub kind: LeaseKind,
    /// Leave a record for the leak tracker whatever sampling says, unless the level is `Disabled`.
    pub record: bool,
    /// Where the caller's program asked, such as `app.py:12`; shown in leak reports of recorded leases.
    pub site: Option<Arc<str>>,
    /// Who asked, of a caller that knew before that the lease is to be recorded; see
    /// [`Pool::allocate_from`](super::Pool::allocate_from) for the others.
    pub origin: Option<Box<Origin>>,
}

impl Default for AllocOptions {
    #[inline]
    fn default() -> Self {
        Self { zeroed: true, kind: LeaseKind::Plain, record: false, site: None, origin: None }
    }
}

impl AllocOptions {
    /// For a caller that overwrites every byte: see [`AllocOptions::zeroed`].
    #[inline]
    pub fn for_overwrite() -> Self {
        Self { zeroed: false, ..Self::default() }
    }

    /// A lease that must be released explicitly.
    pub fn explicit() -> Self {
        Self { kind: LeaseKind::Explicit, ..Self::default() }
    }

    /// Who asks, by what is said here or else by who is asked.
    pub(crate) fn into_origin(self, ask: impl FnOnce() -> Origin) -> Origin {
        let mut origin = self.origin.map_or_else(ask, |known| *known);
        origin.site = self.site.or(origin.site);
        origin
    }

    /// With this site.
    #[must_use]
    pub fn at(mut self, site: impl Into<Arc<str>>) -> Self {
        self.site = Some(site.into());
        self
    }
}

/// What of [`AllocOptions`] each lease looks at. Small, so that it stays in registers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LeaseTerms {
    pub(crate) zeroed: bool,
    pub(crate) kind: LeaseKind,
    pub(crate) record: bool,
}

impl LeaseTerms {
    #[inline]
    pub(crate) fn plain(zeroed: bool) -> Self {
        Self { zeroed, kind: LeaseKind::Plain, record: false }
    }

    #[inline]
    pub(crate) fn of(options: &AllocOptions) -> Self {
        Self { zeroed: options.zeroed, kind: options.kind, record: options.record }
    }
}
