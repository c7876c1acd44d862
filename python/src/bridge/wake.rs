//! The descriptor that an event loop watches: an eventfd on Linux, a socket pair on other Unix systems.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use super::queue::Wake;

/// A descriptor that is readable between a wake-up and its clearing. Both ends never block.
pub(super) struct Descriptor {
    #[cfg(target_os = "linux")]
    event: std::os::fd::OwnedFd,
    #[cfg(not(target_os = "linux"))]
    pair: (std::os::unix::net::UnixStream, std::os::unix::net::UnixStream),
}

#[cfg(target_os = "linux")]
impl Descriptor {
    pub(super) fn new() -> io::Result<Self> {
        use rustix::event::{EventfdFlags, eventfd};
        Ok(Self { event: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)? })
    }

    /// What the loop is to watch for reading. Valid for as long as this value.
    pub(super) fn watched(&self) -> RawFd {
        self.event.as_fd().as_raw_fd()
    }
}

#[cfg(target_os = "linux")]
impl Wake for Descriptor {
    fn wake(&self) {
        // The only failure is a counter at its maximum, which is as readable as can be.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }

    fn clear(&self) {
        // Fails when there is nothing to clear, which is what is wanted.
        let _ = rustix::io::read(&self.event, &mut [0u8; 8]);
    }
}

#[cfg(not(target_os = "linux"))]
impl Descriptor {
    pub(super) fn new() -> io::Result<Self> {
        let (read, write) = std::os::unix::net::UnixStream::pair()?;
        read.set_nonblocking(true)?;
        write.set_nonblocking(true)?;
        Ok(Self { pair: (read, write) })
    }

    /// What the loop is to watch for reading. Valid for as long as this value.
    pub(super) fn watched(&self) -> RawFd {
        self.pair.0.as_fd().as_raw_fd()
    }
}

#[cfg(not(target_os = "linux"))]
impl Wake for Descriptor {
    fn wake(&self) {
        use std::io::Write;
        // A full buffer is readable as can be.
        let _ = (&self.pair.1).write(&[1]);
    }

    fn clear(&self) {
        use std::io::Read;
        let mut sink = [0u8; 64];
        while matches!((&self.pair.0).read(&mut sink), Ok(n) if n == sink.len()) {}
    }
}
