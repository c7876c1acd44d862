//! The loggers' levels, cached, so that an event that nobody wants costs one load.
//!
//! Python tells every change. tracing keeps the answer for each callsite and asks again when it is told to: that is what
//! [`set`] does.

use parking_lot::RwLock;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

/// The logger of whatever has no nearer one.
pub(super) const ROOT: &str = "ironcliw";

/// Of each logger that exists: from which level on it takes records. Empty while nothing is forwarded.
static LEVELS: RwLock<Vec<(String, i32)>> = RwLock::new(Vec::new());

/// Python's number for a level. Its `logging` has none for the finest.
pub(super) fn number(level: Level) -> i32 {
    match level {
        Level::ERROR => 40,
        Level::WARN => 30,
        Level::INFO => 20,
        Level::DEBUG => 10,
        Level::TRACE => 5,
    }
}

/// The logger of an event's target: `ironcliw.image.actor` for `ironcliw_actors::image::actor`. Everything is under one
/// root, so that a program can turn to it with one name.
pub(super) fn logger_of(target: &str) -> String {
    let target = target.replace("::", ".");
    let (package, rest) = target.split_once('.').unwrap_or((&target, ""));
    match (package, rest) {
        ("ironcliw" | "ironcliw_actors", "") => ROOT.to_owned(),
        ("ironcliw" | "ironcliw_actors", rest) => format!("{ROOT}.{rest}"),
        ("ironcliw_native", rest) => format!("{ROOT}.native.{rest}").trim_end_matches('.').to_owned(),
        _ => format!("{ROOT}.{target}"),
    }
}

/// Takes the levels of all loggers over. None turns forwarding off.
pub(super) fn set(levels: Vec<(String, i32)>) {
    let mut kept = LEVELS.write();
    if *kept == levels {
        return;
    }
    *kept = levels;
    drop(kept);
    tracing::callsite::rebuild_interest_cache();
}

fn is_wanted(metadata: &Metadata<'_>) -> bool {
    let levels = LEVELS.read();
    if levels.is_empty() || !metadata.is_event() {
        return false;
    }
    let logger = logger_of(metadata.target());
    // A logger that does not exist has the level of its nearest ancestor that does.
    let mut name = logger.as_str();
    let level = loop {
        match (levels.iter().find(|(found, _)| found == name), name.rsplit_once('.')) {
            (Some((_, level)), _) => break *level,
            (None, Some((parent, _))) => name = parent,
            (None, None) => return false,
        }
    };
    number(*metadata.level()) >= level
}

/// The filter of the layer that forwards.
pub(super) struct Cached;

impl<S: Subscriber> Filter<S> for Cached {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        is_wanted(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_wanted(metadata) { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let lowest = LEVELS.read().iter().map(|(_, level)| *level).min();
        let all = [Level::TRACE, Level::DEBUG, Level::INFO, Level::WARN, Level::ERROR];
        let finest = lowest.and_then(|lowest| all.into_iter().find(|level| number(*level) >= lowest));
        Some(finest.map_or(LevelFilter::OFF, LevelFilter::from_level))
    }
}
