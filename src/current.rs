//! Which actor the current thread runs: known while an incarnation is polled, so that what its handlers ask is its asking.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::Handle;
use crate::observe::Info;

pub(crate) struct Current<'a> {
    pub(crate) info: &'a Arc<Info>,
    pub(crate) runtime: &'a Handle,
}

type Pointers = (NonNull<Arc<Info>>, NonNull<Handle>);

thread_local! {
    /// Borrowed for as long as they stand here, by the [`Stay`] that put them here.
    static CURRENT: Cell<Option<Pointers>> = const { Cell::new(None) };
}

/// While it lives, an actor is the current one; then whoever was before is again.
pub(crate) struct Stay<'a> {
    before: Option<Pointers>,
    _current: PhantomData<Current<'a>>,
}

impl<'a> Current<'a> {
    #[inline]
    pub(crate) fn stay(self) -> Stay<'a> {
        let before = CURRENT.replace(Some((NonNull::from(self.info), NonNull::from(self.runtime))));
        Stay { before, _current: PhantomData }
    }
}

impl Drop for Stay<'_> {
    #[inline]
    fn drop(&mut self) {
        CURRENT.set(self.before);
    }
}

/// Looks at the current actor, if the caller is one's handler or hook.
pub(crate) fn with<R>(look: impl FnOnce(&Current<'_>) -> R) -> Option<R> {
    let (info, runtime) = CURRENT.get()?;
    // SAFETY: the stay that put them here borrows both, and takes them away as it ends, which is after this.
    Some(look(&unsafe { Current { info: info.as_ref(), runtime: runtime.as_ref() } }))
}
