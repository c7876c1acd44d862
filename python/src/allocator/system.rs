//! The system's allocator, which tells of itself where it is glibc's of 2.33 or later.
//!
//! Interpreter and numpy have the same one, so here its figures are theirs too.

use super::Told;

pub(crate) const NAME: &str = "system";

pub(super) fn told() -> Told {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    return glibc::told();
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    Told::default()
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    use std::ffi::CStr;

    use serde_json::{Map, Value};

    use super::Told;

    pub(super) fn told() -> Told {
        // SAFETY: the function takes nothing and returns a string that is never freed.
        let version = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) };
        let version = Some(format!("glibc {}", version.to_string_lossy()));
        let Some(info) = mallinfo() else {
            return Told { version, ..Told::default() };
        };
        let figures = [
            ("arena", info.arena),
            ("ordblks", info.ordblks),
            ("hblks", info.hblks),
            ("hblkhd", info.hblkhd),
            ("uordblks", info.uordblks),
            ("fordblks", info.fordblks),
            ("keepcost", info.keepcost),
        ];
        let details = figures.map(|(name, value)| (name.to_owned(), Value::from(value)));
        Told {
            version,
            committed: Some((info.arena + info.hblkhd) as u64),
            used: Some((info.uordblks + info.hblkhd) as u64),
            details: Map::from_iter(details),
            ..Told::default()
        }
    }

    /// Looked up, not linked: a wheel must load where glibc is older.
    fn mallinfo() -> Option<libc::mallinfo2> {
        // SAFETY: the name ends with a zero; nothing is opened.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"mallinfo2".as_ptr()) };
        if found.is_null() {
            return None;
        }
        // SAFETY: glibc's function of this name has this type.
        let function: unsafe extern "C" fn() -> libc::mallinfo2 = unsafe { std::mem::transmute(found) };
        // SAFETY: it takes the locks that it needs.
        Some(unsafe { function() })
    }
}
