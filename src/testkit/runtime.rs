//! [`TestRuntime`]: everything of one runtime on the thread of the test.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::time::Duration;

use tokio::time::Instant;

use super::clean::{Unclean, look};
use super::faults::{Faults, mix};
use super::probe::Probe;
use crate::supervision::{Supervisor, SupervisorRef};
use crate::{Error, Handle, Message, Runtime, clock};

/// How far the kit's clock may run while a test waits for one thing: longer than any backoff or deadline that makes sense,
/// short enough for a timer that beats every second to get there in little time.
const PATIENCE: Duration = Duration::from_secs(30 * 24 * 3600);

/// What [`TestRuntime::run`] gives everything to stop.
const STOP_BOUND: Duration = Duration::from_secs(60);

/// The finest step of tokio's timers.
const TICK: Duration = Duration::from_millis(1);

/// A runtime for tests: its supervisors, its actors and the test itself take turns on the test's own thread, and its clock
/// is tokio's, paused.
///
/// Time passes only when nobody has anything left to do, and then at once: to the next timer. So a backoff of ten minutes
/// takes none, and a deadline of a millisecond is not missed because the machine is busy. Nothing runs outside of
/// [`TestRuntime::block_on`] and [`TestRuntime::run`].
///
/// It derefs to its [`Handle`]. Placements are honoured in name only. It must be dropped on the thread that made it, and so
/// cannot be sent:
///
/// ```compile_fail
/// let kit = ironcliw::testkit::TestRuntime::new(1);
/// std::thread::spawn(move || drop(kit));
/// ```
pub struct TestRuntime {
    handle: Handle,
    seed: u64,
    faults: Faults,
    patience: Duration,
    /// Above the probes, outside of `user`.
    probes: RefCell<Option<SupervisorRef>>,
    expected_dead_letters: RefCell<BTreeMap<String, u64>>,
    tokio: tokio::runtime::Runtime,
    /// Tasks that must stay on their thread live in `tokio`: see `executor::in_place`.
    _not_send: PhantomData<*const ()>,
}

impl fmt::Debug for TestRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TestRuntime(seed {}, {:?})", self.seed, self.handle)
    }
}

impl Deref for TestRuntime {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for TestRuntime {
    /// Without a shutdown: whoever asked hears as the tasks are dropped, after this.
    fn drop(&mut self) {
        drop(self.handle.drain(Duration::ZERO));
        self.handle.close_in_place();
        self.handle.forget_sections();
        clock::kit::forget(self.tokio.handle());
    }
}

impl TestRuntime {
    /// A runtime whose decisions come from `seed`.
    ///
    /// # Panics
    /// If the system does not give tokio what it needs.
    pub fn new(seed: u64) -> Self {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let tokio = tokio.expect("a runtime on the current thread");
        clock::kit::make_current(tokio.handle());
        let faults = Faults::new(mix(seed ^ 0xfa_017));
        let handle = Runtime::builder().build_in_place(tokio.handle().clone(), mix(seed), faults.clone());
        Self {
            handle,
            seed,
            faults,
            patience: PATIENCE,
            probes: RefCell::default(),
            expected_dead_letters: RefCell::default(),
            tokio,
            _not_send: PhantomData,
        }
    }

    /// Runs a whole test: `test` on a new runtime, then the shutdown, then the look whether it is clean.
    ///
    /// # Panics
    /// If `test` does, or as [`TestRuntime::finish`].
    #[track_caller]
    pub fn run<T>(seed: u64, test: impl AsyncFnOnce(&Self) -> T) -> T {
        let kit = Self::new(seed);
        let outcome = kit.block_on(test(&kit));
        kit.finish();
        outcome
    }

    /// How far the clock may run while one [`TestRuntime::block_on`] waits, before that panics. Default: 30 days.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The seed, to be named where a test fails.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// A handle that can be given away.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The faults that are to happen here.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Runs everything until `future` has ended.
    ///
    /// # Panics
    /// If the clock has run for the kit's patience and it has not: it waits for something that never comes.
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        clock::kit::make_current(self.tokio.handle());
        let patience = self.patience;
        match self.tokio.block_on(async { tokio::time::timeout(patience, future).await }) {
            Ok(output) => output,
            Err(_) => panic!("a test waited {patience:?} of its clock's time for something that never came"),
        }
    }

    /// Moves the clock by `by`. Everything that is due on the way happens at its own time, and all that follows from it.
    pub async fn advance(&self, by: Duration) {
        tokio::time::sleep(by).await;
    }

    /// Lets everybody do what there is to do now. The clock moves by a millisecond, the least it can.
    pub async fn settle(&self) {
        self.advance(TICK).await;
    }

    /// What the clock says.
    pub fn now(&self) -> Instant {
        let _context = self.tokio.enter();
        Instant::now()
    }

    /// A probe at `probes/<name>`, which answers every message with the default reply.
    ///
    /// # Panics
    /// If the name is taken or unusable, or the runtime has been shut down.
    pub async fn probe<M>(&self, name: &str) -> Probe<M>
    where
        M: Message,
        M::Reply: Default,
    {
        self.probe_replying(name, |_| M::Reply::default()).await
    }

    /// A probe at `probes/<name>`, which answers with what `reply` makes of a message.
    ///
    /// # Panics
    /// Those of [`TestRuntime::probe`].
    pub async fn probe_replying<M: Message>(
        &self,
        name: &str,
        reply: impl Fn(&M) -> M::Reply + Send + Sync + 'static,
    ) -> Probe<M> {
        let made = async { Probe::replying(&self.above_probes().await?, name, reply).await };
        made.await.unwrap_or_else(|error| panic!("there is no probe {name:?}: {error}"))
    }

    async fn above_probes(&self) -> Result<SupervisorRef, Error> {
        let present = self.probes.borrow().clone();
        if let Some(present) = present {
            return Ok(present);
        }
        let made = self.handle.root()?.supervise(Supervisor::new("probes")).await?;
        *self.probes.borrow_mut() = Some(made.clone());
        Ok(made)
    }

    /// Says that the actor at `path` is to leave `count` dead letters, which are then neither missed nor held against it.
    pub fn expect_dead_letters(&self, path: &str, count: u64) {
        self.expected_dead_letters.borrow_mut().insert(path.to_owned(), count);
    }

    /// Whether anything is left: an actor under `user`, a message in a mailbox or in a handler's hand (and with it the ask
    /// that waits for it), a dead letter that was not expected, or what a [`Section`](crate::Section) says is out, such as
    /// a buffer on lease. It looks at this moment, and lets nobody finish first: [`TestRuntime::settle`] does.
    ///
    /// # Errors
    /// All of it.
    pub fn check_clean(&self) -> Result<(), Unclean> {
        look(&self.handle, &self.expected_dead_letters.borrow())
    }

    /// The same for a test.
    ///
    /// # Panics
    /// If anything is left, with all of it.
    #[track_caller]
    pub fn assert_clean(&self) {
        if let Err(unclean) = self.check_clean() {
            panic!("{unclean}\n(seed {})", self.seed);
        }
    }

    /// Stops everything, in order, within `bound` of the clock's time.
    ///
    /// # Errors
    /// [`Error::Abandoned`] with the actors that lost their threads.
    pub async fn shutdown(&self, bound: Duration) -> Result<(), Error> {
        let began = Instant::now();
        self.handle.drain(bound).await;
        let actors = self.handle.close_in_place();
        if actors.is_empty() { Ok(()) } else { Err(Error::Abandoned { actors, after: began.elapsed() }) }
    }

    /// Shuts down, and asserts that it is clean.
    ///
    /// # Panics
    /// If an actor had to be abandoned or anything is left.
    #[track_caller]
    pub fn finish(self) {
        if let Err(error) = self.block_on(self.shutdown(STOP_BOUND)) {
            panic!("{error} (seed {})", self.seed);
        }
        self.assert_clean();
    }
}
