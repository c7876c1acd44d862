//! Descriptors that a forked child gets and has no use for: the threads that poll them are the parent's. As long as a child
//! has them open, the kernel keeps the triggers and registrations behind them, also when the parent has closed its own.
//!
//! A child may not take a lock that another thread may have held, so they are noted in a table of atomics.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};

/// A dozen for each runtime of a process; what is beyond stays open in a child until it ends.
const NOTES: usize = 128;
const NONE: RawFd = -1;

static NOTED: [AtomicI32; NOTES] = [const { AtomicI32::new(NONE) }; NOTES];

/// A file whose descriptor is noted while it is open. It is closed on a thread of its own: the kernel lets go of a trigger
/// only when all its processors have passed a quiet state, which takes tens of milliseconds and, on a busy machine, longer than
/// a runtime waits for its threads.
#[derive(Debug)]
pub(super) struct Noted {
    /// `None` once it is being closed.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    note: Option<&'static AtomicI32>,
}

impl Noted {
    pub(super) fn new(file: File) -> Self {
        let fd = file.as_raw_fd();
        let note = NOTED.iter().find(|note| note.compare_exchange(NONE, fd, SeqCst, SeqCst).is_ok());
        Self { open: Some(Open { file, note }) }
    }

    pub(super) fn file(&self) -> &File {
        let Some(Open { file, .. }) = &self.open else { unreachable!("it is closed by our drop") };
        file
    }
}

impl AsRawFd for Noted {
    fn as_raw_fd(&self) -> RawFd {
        self.file().as_raw_fd()
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        let open = self.open.take();
        // Where there is no thread to be had, it is closed here.
        _ = std::thread::Builder::new().name("ironcliw-close".to_owned()).spawn(move || drop(open));
    }
}

/// The note goes before the file is closed: the number is anybody's then.
impl Drop for Open {
    fn drop(&mut self) {
        if let Some(note) = self.note {
            note.store(NONE, SeqCst);
        }
    }
}

/// For a forked child, once, before it does anything with this crate: closes what it has inherited of the sources of
/// memory pressure. Python's `os.fork` and `multiprocessing` do it by themselves.
///
/// # Safety
/// The process was forked since the runtimes in it were made, and none of them is used or dropped in it.
pub unsafe fn close_inherited_descriptors() {
    for note in &NOTED {
        let fd = note.swap(NONE, SeqCst);
        if fd != NONE {
            // SAFETY: the note says that the descriptor is open. Its owner is memory of a thread that this process does
            // not have, and will not be dropped: the caller says so.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_is_noted_and_what_is_closed_is_not() {
        let noted = |fd: RawFd| NOTED.iter().filter(|note| note.load(SeqCst) == fd).count();
        let all: Vec<_> = (0..3).map(|_| Noted::new(File::open("/dev/null").unwrap())).collect();
        let fds: Vec<_> = all.iter().map(AsRawFd::as_raw_fd).collect();
        assert_eq!(fds.iter().map(|&fd| noted(fd)).collect::<Vec<_>>(), [1; 3]);
        drop(all);
        let begun = std::time::Instant::now();
        while fds.iter().any(|&fd| noted(fd) > 0) && begun.elapsed() < std::time::Duration::from_secs(30) {
            std::thread::yield_now();
        }
        assert!(fds.iter().all(|&fd| noted(fd) == 0 || std::fs::read_link(format!("/proc/self/fd/{fd}")).is_ok()));
    }
}
