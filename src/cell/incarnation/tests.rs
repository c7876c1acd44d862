//! What an incarnation owes its successor, its thread and its supervisor, where only the inside can bring it about.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::task::Waker;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use super::*;
use crate::child::Patience;
use crate::envelope::Told;
use crate::in_hand::InHand;
use crate::mailbox::{Mailbox, Put, Stow};
use crate::observe::Info;
use crate::parcel::{Parcel, Unpacked};
use crate::reply::{self, ErasedReplier};
use crate::supervision::Command;
use crate::ties::Ties;
use crate::{Backoff, Child, Handler, Message, Overflow, Placement, Runtime, Strategy, Supervisor};

/// Nothing here takes longer, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Notes what it handles in a log that outlives it.
struct Clerk {
    log: Arc<Mutex<Vec<u64>>>,
}

impl Actor for Clerk {}

struct Note(u64);
impl Message for Note {
    type Reply = ();
}
impl Handler<Note> for Clerk {
    async fn handle(&mut self, Note(n): Note, _: &mut Context<Self>) {
        self.log.lock().push(n);
    }
}

/// Waits for its thread's timers.
struct Nap;
impl Message for Nap {
    type Reply = ();
}
impl Handler<Nap> for Clerk {
    async fn handle(&mut self, _: Nap, _: &mut Context<Self>) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

struct Fail;
impl Message for Fail {
    type Reply = ();
}
impl Handler<Fail> for Clerk {
    async fn handle(&mut self, _: Fail, _: &mut Context<Self>) {
        panic!("as asked");
    }
}

/// A message whose sender stops on its way into the slot, as one that the system does not run: it has reserved its place, and
/// publishes it when it is let go on.
struct Halfway {
    told: Told<Note>,
    reserved: mpsc::Sender<()>,
    go_on: mpsc::Receiver<()>,
}

impl Put<Parcel<Clerk>> for Halfway {
    unsafe fn put(self, narrow: *mut <Parcel<Clerk> as Stow>::Narrow, wide: *mut <Parcel<Clerk> as Stow>::Wide) {
        self.reserved.send(()).expect("the test waits for this");
        // A test that has failed lets it go as well.
        let _ = self.go_on.recv();
        // SAFETY: the caller's promise.
        unsafe { Unpacked(self.told).put(narrow, wide) };
    }
}

#[track_caller]
fn answered(runtime: &Runtime, ask: impl IntoFuture<Output = Result<(), crate::SendError<impl Message>>>) {
    let ask = ask.into_future();
    let answer = runtime.block_on(async { tokio::time::timeout(PATIENCE, ask).await });
    assert!(matches!(answer, Ok(Ok(()))), "no answer");
}

#[test]
fn actor_beside_a_message_that_is_never_published_lets_its_thread_do_other_things_and_obeys() {
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let group = Supervisor::new("group").strategy(Strategy::OneForAll);
    let group = runtime.block_on(runtime.supervise(group)).unwrap();
    let lives = Arc::new(AtomicU64::new(0));
    let logs: [Arc<Mutex<Vec<u64>>>; 2] = Default::default();
    let [waits, neighbour] = [("waits", &logs[0]), ("neighbour", &logs[1])].map(|(name, log)| {
        let (log, lives) = (log.clone(), lives.clone());
        let make = move || {
            lives.fetch_add(1, Ordering::SeqCst);
            Clerk { log: log.clone() }
        };
        let child = Child::new(name, make).backoff(Backoff::NONE).placement(Placement::Shared("together"));
        runtime.block_on(group.spawn(child)).unwrap()
    });
    let (reserved, has_reserved) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    let halfway = Halfway { told: Told::new(Note(1)), reserved, go_on: may_go_on };
    let core = waits.core.clone();
    let stopped = thread::spawn(move || core.mailbox.push_now(halfway).is_ok());
    has_reserved.recv().unwrap();
    // It wakes the actor, which finds the place of the other one in front of it.
    waits.try_tell(Note(2)).unwrap();
    for _ in 0..10 {
        answered(&runtime, neighbour.ask(Note(0)));
        answered(&runtime, neighbour.ask(Nap));
    }
    assert!(logs[0].lock().is_empty());
    // It is to start again with its sibling, which takes two starts.
    neighbour.try_tell(Fail).unwrap();
    answered(&runtime, neighbour.ask(Note(0)));
    assert_eq!(lives.load(Ordering::SeqCst), 4);
    assert!(logs[0].lock().is_empty());
    go_on.send(()).unwrap();
    assert!(stopped.join().unwrap());
    answered(&runtime, waits.ask(Note(3)));
    assert_eq!(*logs[0].lock(), [1, 2, 3]);
    runtime.shutdown(PATIENCE).unwrap();
}

/// An actor's parts that outlive its incarnations, without a supervisor.
fn core(runtime: &Runtime) -> Arc<Core<Clerk>> {
    Arc::new(Core {
        mailbox: Mailbox::new(8, Overflow::Block),
        info: Arc::new(Info::new("clerk".to_owned(), std::any::type_name::<Clerk>)),
        in_hand: InHand::default(),
        ties: Ties::default(),
        arbiter: Mutex::new(None),
        runtime: runtime.handle().clone(),
    })
}

/// One that runs, on no thread in particular.
fn incarnation(core: &Arc<Core<Clerk>>, report: Report) -> Task<Clerk> {
    let cell = ActorCell {
        core: core.clone(),
        factory: Box::new(|| unreachable!("it has been born")),
        bound: PATIENCE,
        placement: Placement::default(),
        niceness: None,
        patience: Patience::default(),
    };
    let mut task = task(Arc::new(cell), core.mailbox.lease(), Arc::default(), report);
    task.incarnation.stage = Stage::Running;
    task
}

/// A supervisor is told that an incarnation is over before the incarnation is dropped. What it has in hand by then is its
/// successor's, and a window that it opened would be one that nobody waits for.
#[test]
fn incarnation_that_has_said_that_it_is_over_leaves_what_is_its_successors_alone() {
    let runtime = Runtime::builder().workers(1).build().unwrap();
    for is_succeeded in [false, true] {
        let core = core(&runtime);
        let (report, mut told) = Report::to_owner();
        let mut over = incarnation(&core, report);
        over.incarnation.conclude(ExitReason::Normal);
        assert!(matches!(told.try_recv(), Ok(Command::Exited { reason: ExitReason::Normal, .. })));
        let (report, _told) = Report::to_owner();
        let successor = is_succeeded.then(|| incarnation(&core, report));
        let (replier, mut answer) = reply::pair::<()>(None, None);
        if let Some(successor) = &successor {
            let window = successor.incarnation.lease.open().expect("its lease holds");
            core.in_hand.put(&window, ErasedReplier::from(replier));
        }
        let dropped = panics::catch(move || drop(over));
        assert_eq!(dropped, Ok(()), "it has used a lease that it had given back");
        assert!(told.try_recv().is_err(), "its end was told twice");
        if let Some(successor) = &successor {
            let cx = TaskContext::from_waker(Waker::noop());
            assert!(answer.poll(&cx).is_pending(), "it answered for its successor");
            let window = successor.incarnation.lease.open().expect("its lease holds");
            assert!(core.in_hand.take(&window).is_some(), "it took what its successor has in hand");
        }
    }
}
