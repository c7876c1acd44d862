//! Where a lease began: a stack as it was captured, which nobody pays to read until somebody does.

use std::fmt;
use std::sync::Arc;

/// Calls of a stack that are kept, the innermost first.
const FRAMES_MAX: usize = 16;

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

/// A stack that was captured and not read yet.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Stack {
    addresses: Box<[usize]>,
}

impl Stack {
    /// The calling thread's.
    pub(crate) fn capture() -> Arc<Self> {
        let mut addresses = Vec::with_capacity(FRAMES_MAX);
        backtrace::trace(|frame| {
            addresses.push(frame.ip().addr());
            addresses.len() < FRAMES_MAX
        });
        Arc::new(Self { addresses: addresses.into() })
    }

    /// The calls, the innermost first. Slow: reads the program's symbols.
    pub fn frames(&self) -> Vec<Frame> {
        let mut frames = Vec::with_capacity(self.addresses.len());
        for &address in &self.addresses {
            backtrace::resolve(std::ptr::without_provenance_mut(address), |symbol| {
                frames.push(Frame {
                    function: symbol.name().map(|name| format!("{name:#}")).unwrap_or_default(),
                    file: symbol.filename().map(|file| file.display().to_string()),
                    line: symbol.lineno(),
                });
            });
        }
        frames
    }
}
