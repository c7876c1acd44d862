//! Where the leases of a growing class were asked for.
//!
//! Growth is found by counts, which know of no place. Of the leases that live some have a record (at `simple` one in 128), and
//! a record has a place: those where most of them began *since the class grows* come first, as a cache that was filled long ago
//! is no part of the growth however large it is. Where the program does not say the place, a record from level `advanced` on
//! has a stack, and the innermost call that is not the pool's is the place. To read that takes a while, so that it is done when a
//! report is made, and of a bounded number of stacks.

use super::event::Record;
use super::group::{Details, Finding};
use super::stack::Stack;
use crate::pool::{Owner, SizeClass};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Places that a report names at most.
pub const SITES_MAX: usize = 5;
/// Sites and stacks that are kept for a report, those that grow most. Stacks may turn out to be of one place.
const PLACES_MAX: usize = 64;

/// How many of the recorded leases of a growing class were asked for at one place.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SiteCount {
    /// Where, or the innermost call; `None` for all leases of which neither is known.
    pub site: Option<String>,
    /// Leases with a record that live.
    pub live: u64,
    /// Of these, how many began since the class grows, as far as the report's windows go back.
    pub recent: u64,
}

/// How a class grows.
#[derive(Debug, Clone)]
pub(super) struct Rise {
    /// The length of a window.
    pub(super) window: Duration,
    /// The least that lived in each.
    pub(super) counts: Vec<u64>,
    /// Where what lives was asked for, by site or, if there is none, by stack; those that grow most first.
    pub(super) places: Vec<Place>,
}

impl Rise {
    /// How long ago the first window began, at most: the last one ended less than a window ago.
    fn span(&self) -> Duration {
        self.window.saturating_mul(self.counts.len() as u32 + 1)
    }

    /// The places as they are reported, and what is known of the newest lease at the first. Without `reads`, which reads the
    /// program's symbols, places that only a call tells are one that is not known.
    pub(super) fn sites(&self, reads: bool) -> (Vec<SiteCount>, Option<&Details>) {
        let mut sites: Vec<(SiteCount, &Place)> = Vec::new();
        for place in &self.places {
            let site = place.name(reads);
            match sites.iter_mut().find(|(of, _)| of.site == site) {
                Some((of, newest)) => {
                    of.live += place.live;
                    of.recent += place.recent;
                    if place.newest > newest.newest {
                        *newest = place;
                    }
                }
                None => sites.push((SiteCount { site, live: place.live, recent: place.recent }, place)),
            }
        }
        sites.sort_by_key(|(of, _)| Reverse((of.recent, of.live)));
        let details = sites.first().map(|(_, newest)| &newest.details);
        (sites.into_iter().take(SITES_MAX).map(|(of, _)| of).collect(), details)
    }
}

/// A site, or a stack that was not read yet.
#[derive(Debug, Clone)]
pub(super) struct Place {
    site: Option<Arc<str>>,
    live: u64,
    recent: u64,
    /// When the newest lease began.
    newest: Instant,
    /// Of that one.
    details: Details,
}

impl Place {
    fn name(&self, reads: bool) -> Option<String> {
        let call = || Some(self.details.stack.as_ref().filter(|_| reads)?.frames().first()?.to_string());
        self.site.as_deref().map(str::to_owned).or_else(call)
    }
}

/// Records of one place.
struct Records<'a> {
    live: u64,
    recent: u64,
    newest: &'a Record,
}

/// Names the places of what grows, of all `records` of leases that live.
pub(super) fn name_sites<'a>(findings: &mut [Finding], records: impl Iterator<Item = &'a Record>, now: Instant) {
    type Sites<'a> = HashMap<(Option<&'a str>, Option<&'a Stack>), Records<'a>>;
    let span = |finding: &Finding| finding.growth.as_ref().map_or(Duration::ZERO, Rise::span);
    let class = |finding: &Finding| (finding.key.owner, finding.key.class);
    let mut classes: HashMap<(Owner, SizeClass), (Duration, Sites<'a>)> =
        findings.iter().map(|finding| (class(finding), (span(finding), Sites::new()))).collect();
    if classes.is_empty() {
        return;
    }
    for record in records {
        let Some((span, sites)) = classes.get_mut(&(record.lease.owner, record.lease.class)) else { continue };
        let site = record.site.as_deref();
        let stack = if site.is_none() { record.stack.as_ref() } else { None };
        let of_site = sites.entry((site, stack)).or_insert(Records { live: 0, recent: 0, newest: record });
        of_site.live += 1;
        of_site.recent += u64::from(now.saturating_duration_since(record.at) <= *span);
        if record.at > of_site.newest.at {
            of_site.newest = record;
        }
    }
    for finding in findings {
        let Some((_, sites)) = classes.remove(&class(finding)) else { continue };
        let mut sites: Vec<_> = sites.into_iter().collect();
        sites.sort_by_key(|((site, _), of)| (Reverse((of.recent, of.live)), *site, Reverse(of.newest.lease.id)));
        let place = |(_, of): (_, Records<'_>)| Place {
            site: of.newest.site.clone(),
            live: of.live,
            recent: of.recent,
            newest: of.newest.at,
            details: Details::of(of.newest),
        };
        if let Some(rise) = &mut finding.growth {
            rise.places = sites.into_iter().take(PLACES_MAX).map(place).collect();
        }
    }
}
