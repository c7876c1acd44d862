//! Where a lease comes from, as a caller from another language says it: the frames of its stack and its task, which Rust cannot
//! see for itself.

use super::stack::Frame;
use std::sync::Arc;

/// A caller. Plain data: it may be kept and dropped on any thread, without the caller's interpreter.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// Where it asked, such as `app.py:12`.
    pub site: Option<Arc<str>>,
    /// The task that asked, by name.
    pub task: Option<Arc<str>>,
    /// Its calls, the innermost first; not asked for below [`Level::Advanced`](super::Level::Advanced).
    pub frames: Vec<Arc<Frame>>,
}
