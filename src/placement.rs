//! [`Placement`]: which thread an actor lives on.

use std::fmt;
use std::sync::{Arc, Weak};

use crate::arbiters::Arbiter;
use crate::cell::Neighbour;
use crate::{Actor, Address};

/// Which thread an actor lives on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Placement {
    /// One of the runtime's workers, in turn.
    #[default]
    Any,
    /// An arbiter that is shared by every actor that gives this name, and made by the first of them. It is not pinned:
    /// it is meant for actors that only coordinate.
    Shared(&'static str),
    /// A thread of its own, on the next core in turn. For handlers that compute.
    Dedicated,
    /// A thread of its own on this core of the allowed set (an index, not the system's number).
    Core(usize),
    /// A thread of its own on no core in particular. For handlers that block: see [`Child::blocking`](crate::Child::blocking).
    Blocking,
    /// The thread of another actor: see [`Placement::with`].
    With(Location),
    /// A thread that is not the runtime's: see [`EventLoop::placement`](crate::EventLoop::placement).
    Loop(LoopLocation),
}

impl Placement {
    /// On the thread of another actor of this runtime: what they send each other wakes no other thread, and neither runs
    /// while the other computes.
    ///
    /// At each of its starts the actor goes where the other one is at that time. Where that is nowhere, because the other
    /// has stopped for good, has just lost its thread or is another runtime's, it lives as [`Placement::or`] says. A thread
    /// of an actor's own ends with the last actor on it, so a guest outlives its host unharmed.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ironcliw::{Actor, Child, Placement, Runtime};
    /// # struct Camera;
    /// # impl Actor for Camera {}
    /// # let runtime = Runtime::builder().workers(1).build()?;
    /// # runtime.block_on(async {
    /// let camera = runtime.spawn(Child::new("camera", || Camera).placement(Placement::Dedicated)).await?;
    /// let beside = Placement::with(&camera).or(Placement::Dedicated);
    /// let filter = runtime.spawn(Child::new("filter", || Camera).placement(beside)).await?;
    /// # assert_eq!(runtime.snapshot().arbiters.len(), 1);
    /// # Ok::<_, ironcliw::Error>(())
    /// # })?;
    /// # runtime.shutdown(Duration::from_secs(5))?;
    /// # Ok::<_, ironcliw::Error>(())
    /// ```
    pub fn with<B: Actor>(other: &Address<B>) -> Self {
        let other: Arc<dyn Neighbour> = other.core.clone();
        Self::With(Location(Box::new(Beside { neighbour: Arc::downgrade(&other), otherwise: Self::default() })))
    }

    /// Where to live when the other actor is nowhere: [`Placement::Any`] unless told. Only [`Placement::With`] has a use
    /// for it.
    pub fn or(self, otherwise: Self) -> Self {
        match self {
            Self::With(mut location) => {
                location.0.otherwise = otherwise;
                Self::With(location)
            }
            elsewhere => elsewhere,
        }
    }

    /// The thread of the first actor to live beside that has one.
    pub(crate) fn thread_of_neighbour(&self) -> Option<Arc<Arbiter>> {
        let Self::With(location) = self else { return None };
        let there = location.0.neighbour.upgrade().and_then(|neighbour| neighbour.thread());
        there.filter(|thread| thread.is_alive()).or_else(|| location.0.otherwise.thread_of_neighbour())
    }
}

/// Wherever a certain actor lives: what [`Placement::with`] makes.
#[derive(Clone)]
pub struct Location(Box<Beside>);

#[derive(Clone)]
struct Beside {
    neighbour: Weak<dyn Neighbour>,
    otherwise: Placement,
}

impl Location {
    /// Where to live when the other actor is nowhere.
    pub(crate) fn otherwise(&self) -> &Placement {
        &self.0.otherwise
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let neighbour = self.0.neighbour.upgrade();
        let path = neighbour.as_ref().map_or("nobody", |neighbour| neighbour.path());
        write!(f, "Location({path}, or {:?})", self.0.otherwise)
    }
}

/// The same actor, and the same for when it is gone.
impl PartialEq for Location {
    fn eq(&self, other: &Self) -> bool {
        Weak::ptr_eq(&self.0.neighbour, &other.0.neighbour) && self.0.otherwise == other.0.otherwise
    }
}

impl Eq for Location {}

/// A thread that is not the runtime's, as a place to live: what [`EventLoop::placement`](crate::EventLoop::placement) makes.
#[derive(Clone)]
pub struct LoopLocation(Weak<Arbiter>);

impl LoopLocation {
    pub(crate) fn of(thread: &Arc<Arbiter>) -> Self {
        Self(Arc::downgrade(thread))
    }

    /// The thread, if actors may still live there.
    pub(crate) fn thread(&self) -> Option<Arc<Arbiter>> {
        self.0.upgrade().filter(|thread| thread.is_alive())
    }
}

impl fmt::Debug for LoopLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoopLocation({})", self.0.upgrade().map_or("ended".to_owned(), |thread| thread.name().to_owned()))
    }
}

/// The same thread.
impl PartialEq for LoopLocation {
    fn eq(&self, other: &Self) -> bool {
        Weak::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for LoopLocation {}
