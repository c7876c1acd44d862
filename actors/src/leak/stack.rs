//! Where a lease began: a stack as it was captured, which nobody pays to read until somebody does.

use super::interner;
use super::unwind;
use crate::pool::fallible::{Counted, try_slice};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Calls of a stack that are kept, the innermost first; as many of Rust as of the caller's language.
pub const FRAMES_MAX: usize = 16;
/// Calls that the recorder and the pool make themselves until a stack is captured, at most, built without optimisation.
const OWN_FRAMES_MAX: usize = 8;

/// One call, as people read it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Frame {
    /// The function's name; empty if nothing is known of it.
    pub function: String,
    /// Its source file, if that is known.
    pub file: Option<String>,
    /// The line in it, from 1.
    pub line: Option<u32>,
}

/// `function at file:line`.
impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.function.is_empty() { "?" } else { &self.function })?;
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, " at {file}:{line}"),
            (Some(file), None) => write!(f, " at {file}"),
            _ => Ok(()),
        }
    }
}

/// A stack that was captured and not read yet. Clones are the same one, and equal ones are most often.
#[derive(Debug, Clone)]
pub struct Stack(Counted<Calls>);

#[derive(Debug, PartialEq, Eq, Hash)]
struct Calls {
    /// Return addresses, the innermost first.
    addresses: Box<[usize]>,
    /// Calls in another language, inside of those.
    foreign: Box<[Arc<Frame>]>,
}

impl PartialEq for Stack {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || *self.0 == *other.0
    }
}

impl Eq for Stack {}

impl Hash for Stack {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Stack {
    /// One of these calls. `None` when the system has no memory for it.
    pub(super) fn try_new(addresses: &[usize], foreign: &[Arc<Frame>]) -> Option<Self> {
        let calls = Calls { addresses: try_slice(addresses)?, foreign: try_slice(foreign)? };
        Counted::try_new(calls).map(Self)
    }

    /// Whether it is of these very calls. Foreign frames are interned by who makes them: equal ones that are not the same make
    /// two stacks, which is only less thrifty.
    pub(super) fn is_of(&self, addresses: &[usize], foreign: &[Arc<Frame>]) -> bool {
        *self.0.addresses == *addresses
            && self.0.foreign.len() == foreign.len()
            && self.0.foreign.iter().zip(foreign).all(|(one, other)| Arc::ptr_eq(one, other))
    }

    /// Whether they are clones of one.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        std::ptr::eq(Counted::as_ptr(&self.0), Counted::as_ptr(&other.0))
    }

    /// Whether nobody has a clone of it.
    pub(super) fn is_held_once(&self) -> bool {
        Counted::is_only(&self.0)
    }

    /// The calling thread's, which is inside of these calls in another language. `None` when the system has no memory for it.
    #[inline(never)]
    pub(crate) fn capture(foreign: &[Arc<Frame>]) -> Option<Self> {
        let mut addresses = [0; FRAMES_MAX + OWN_FRAMES_MAX];
        let count = unwind::addresses(&mut addresses[..FRAMES_MAX + own_frames()]);
        interner::intern(&addresses[..count], foreign)
    }

    /// The calls, the innermost first: the foreign ones, then those of Rust and C, without the pool's own. Slow: reads the
    /// program's symbols.
    pub fn frames(&self) -> Vec<Frame> {
        let mut native = Vec::with_capacity(self.0.addresses.len());
        for &address in &self.0.addresses {
            // A return address: `resolve` looks before it, where the call is.
            let note = |symbol: &backtrace::Symbol| {
                native.push(Frame {
                    function: symbol.name().map(|name| format!("{name:#}")).unwrap_or_default(),
                    file: symbol.filename().map(|file| file.display().to_string()),
                    line: symbol.lineno(),
                });
            };
            unwind::with_linker(|| backtrace::resolve(std::ptr::without_provenance_mut(address), note));
        }
        // Theirs and what they have in line come first.
        let own = native.iter().rposition(is_own).map_or(0, |last| last + 1);
        let foreign = self.0.foreign.iter().map(|frame| Frame::clone(frame));
        foreign.chain(native.drain(own..).take(FRAMES_MAX)).collect()
    }
}

/// How many of the innermost calls are the recorder's and the pool's: with optimisation they are `Stack::capture`, which has
/// `unwind::addresses` in it or calls it, `Recorder::acquired` and `Buffer::record`.
fn own_frames() -> usize {
    if cfg!(debug_assertions) { OWN_FRAMES_MAX } else { 3 }
}

/// Whether a call is the recorder's or the pool's: by its function, or by its file, as line tables alone know a function that
/// stands in line by its bare name.
fn is_own(frame: &Frame) -> bool {
    const OWN: [&str; 5] = [
        "ironcliw_actors::leak::recorder::",
        "ironcliw_actors::leak::stack::",
        "ironcliw_actors::leak::unwind::",
        "ironcliw_actors::pool::buffer::",
        "ironcliw_actors::pool::Pool",
    ];
    const OWN_FILES: [&str; 5] = ["leak/recorder.rs", "leak/stack.rs", "leak/unwind/", "pool/buffer.rs", "pool/mod.rs"];
    let function = frame.function.trim_start_matches('<');
    let is_own_file = |file: &String| {
        let sources = file!().strip_suffix("leak/stack.rs");
        sources.is_some_and(|sources| OWN_FILES.iter().any(|own| file.contains(&format!("{sources}{own}"))))
    };
    OWN.iter().any(|own| function.starts_with(own)) || frame.file.as_ref().is_some_and(is_own_file)
}
