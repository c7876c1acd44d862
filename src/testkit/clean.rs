//! What was left behind, by path.

use std::collections::BTreeMap;
use std::fmt;

use crate::Handle;

/// One thing that was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The actor's path, or the section's name.
    pub path: String,
    /// What, in words.
    pub what: String,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.what)
    }
}

/// Everything that was left, a line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unclean {
    /// By path.
    pub left: Vec<Left>,
}

impl fmt::Display for Unclean {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this was left behind:")?;
        self.left.iter().try_for_each(|left| write!(f, "\n  {left}"))
    }
}

impl std::error::Error for Unclean {}

/// As `3 messages are queued`.
fn count(n: u64, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
}

pub(super) fn look(runtime: &Handle, expected: &BTreeMap<String, u64>) -> Result<(), Unclean> {
    let mut left = Vec::new();
    let mut leave = |path: &str, what: String| left.push(Left { path: path.to_owned(), what });
    for cell in runtime.registry().cells() {
        let Some(actor) = cell.observe() else { continue };
        if actor.path.starts_with("user/") {
            leave(&actor.path, format!("it is {}", actor.state));
        }
        if actor.depth > 0 {
            leave(&actor.path, count(actor.depth as u64, "message is queued", "messages are queued"));
        }
        if cell.info().has_message_in_hand() {
            leave(&actor.path, "a message is in hand: its handler waits, and so does who asked".to_owned());
        }
    }
    let mut dead = runtime.registry().dead_letters();
    for (path, &wanted) in expected {
        let found = dead.remove(path).unwrap_or(0);
        if found != wanted {
            let wanted = count(wanted, "dead letter was", "dead letters were");
            leave(path, format!("{wanted} expected, and there are {found}"));
        }
    }
    for (path, found) in dead {
        leave(&path, count(found, "dead letter", "dead letters"));
    }
    for (name, section) in runtime.sections() {
        section.unclean().into_iter().for_each(|what| leave(name, what));
    }
    left.sort_by(|a, b| a.path.cmp(&b.path));
    if left.is_empty() { Ok(()) } else { Err(Unclean { left }) }
}
