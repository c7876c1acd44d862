//! A descriptor of the kernel's as a stream of alarms, polled by the thread that the stream is on.

use std::fs::File;
use std::io;
use std::time::Duration;

use futures_util::stream;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::super::source::{Alarm, AlarmStream};
use super::inherited::Noted;

/// Between two alarms of one descriptor: the kernel may have many to tell, and one look sees what they come to.
const PAUSE: Duration = Duration::from_millis(100);

/// An alarm whenever `file` is ready and `read` makes one of it. The stream ends, and closes the file, when `read` fails:
/// the group is gone.
///
/// # Panics
/// On a thread without a tokio runtime that polls descriptors.
pub(super) fn alarms(
    file: File,
    interest: Interest,
    read: impl FnMut(&File) -> io::Result<Option<Alarm>> + 'static,
) -> io::Result<AlarmStream> {
    // SAFETY: a `File` owns its descriptor, which stays the same and open until it is dropped, and it is ours alone.
    let ready = unsafe { AsyncFd::register_with_interest(Noted::new(file), interest) };
    let ready = ready.map_err(|error| error.into_parts().1)?;
    Ok(Box::pin(stream::unfold((ready, read, false), move |(ready, mut read, is_late)| async move {
        if is_late {
            tokio::time::sleep(PAUSE).await;
        }
        loop {
            // Cleared before the read: what comes later makes it ready again.
            ready.ready(interest).await.ok()?.clear_ready();
            match read(ready.get_ref().file()) {
                Ok(None) => {}
                Ok(Some(alarm)) => return Some((alarm, (ready, read, true))),
                Err(_) => return None,
            }
        }
    })))
}
