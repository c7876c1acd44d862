//! [`Group`]: actors of one type that share their work, and the ways to choose among them.
//!
//! A member is known by its path. One that has stopped for good is never chosen, and is forgotten when a choice falls on
//! it; one that restarts stays, for its mailbox does. What a member refuses because it has just stopped goes to the next
//! one, so a message that is given back was refused by a member that lives, or found nobody.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::RwLock;

use crate::envelope::Deadline;
use crate::{Actor, Address, Error, Handler, Message, SendError};

/// How a [`Group`] chooses who gets a message that carries no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Router {
    /// Each member in turn.
    #[default]
    RoundRobin,
    /// The member with the fewest messages waiting, in turn among equals.
    LeastLoaded,
}

/// A set of actors of one type, to send to as if they were one.
///
/// Clones are handles of the same set. It owns none of its members: a supervisor runs them.
///
/// ```
/// # use std::time::Duration;
/// # use ironcliw::{Actor, Child, Context, Group, Handler, Message, Router, Runtime};
/// # struct Resizer;
/// # impl Actor for Resizer {}
/// # #[derive(Clone)]
/// # struct Resize(u32);
/// # impl Message for Resize { type Reply = u32; }
/// # impl Handler<Resize> for Resizer {
/// #     async fn handle(&mut self, Resize(n): Resize, _: &mut Context<Self>) -> u32 { n / 2 }
/// # }
/// # let runtime = Runtime::builder().workers(2).build()?;
/// # runtime.block_on(async {
/// let group = Group::new(Router::LeastLoaded);
/// for n in 0..4 {
///     group.add(runtime.spawn(Child::new(format!("resizer-{n}"), || Resizer)).await?);
/// }
/// let half = group.ask(Resize(640)).deadline(Duration::from_secs(5)).await?;
/// assert_eq!(half, 320);
/// group.tell_by("camera-3", Resize(480)).await?;         // the same member for the same key
/// assert!(group.broadcast(Resize(1)).await?.is_empty()); // everybody has it
/// # Ok::<_, ironcliw::Error>(())
/// # })?;
/// # runtime.shutdown(Duration::from_secs(5))?;
/// # Ok::<_, ironcliw::Error>(())
/// ```
pub struct Group<A: Actor> {
    shared: Arc<Shared<A>>,
}

struct Shared<A: Actor> {
    router: Router,
    members: RwLock<Vec<Member<A>>>,
    turn: AtomicUsize,
}

struct Member<A: Actor> {
    address: Address<A>,
    /// The hash of its path.
    place: u64,
}

/// What one choice goes by.
#[derive(Clone, Copy)]
enum By {
    Router,
    /// The hash of a key.
    Key(u64),
}

impl<A: Actor> Clone for Group<A> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<A: Actor> fmt::Debug for Group<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Group({:?}, {} members)", self.shared.router, self.shared.members.read().len())
    }
}

impl<A: Actor> FromIterator<Address<A>> for Group<A> {
    /// A group that goes round.
    fn from_iter<I: IntoIterator<Item = Address<A>>>(members: I) -> Self {
        let group = Self::new(Router::default());
        members.into_iter().for_each(|member| group.add(member));
        group
    }
}

impl<A: Actor> Group<A> {
    /// A group without members.
    pub fn new(router: Router) -> Self {
        Self { shared: Arc::new(Shared { router, members: RwLock::default(), turn: AtomicUsize::new(0) }) }
    }

    /// Adds a member. It takes the place of one with the same path.
    pub fn add(&self, address: Address<A>) {
        let member = Member { place: hash(address.path()), address };
        let mut members = self.shared.members.write();
        members.retain(|other| other.address.is_alive());
        match members.iter_mut().find(|other| other.address.path() == member.address.path()) {
            Some(same) => *same = member,
            None => members.push(member),
        }
    }

    /// Takes the member with this path out of the group, and tells whether there was one. What it has been sent it handles.
    pub fn remove(&self, path: &str) -> bool {
        let mut members = self.shared.members.write();
        let before = members.len();
        members.retain(|member| member.address.path() != path);
        members.len() < before
    }

    /// The members that live, in the order they were added.
    pub fn members(&self) -> Vec<Address<A>> {
        let members = self.shared.members.read();
        members.iter().map(|member| &member.address).filter(|address| address.is_alive()).cloned().collect()
    }

    /// The member that is to have the next message, by the group's router; `None` if none lives.
    pub fn pick(&self) -> Option<Address<A>> {
        self.choose(By::Router)
    }

    /// The member that messages of this key belong to; `None` if none lives.
    ///
    /// The same for the same key as long as that member lives. One that comes takes a fair share of the keys from all, one
    /// that goes leaves its own to all, and no other key moves (rendezvous hashing). The choice takes time in proportion
    /// to the number of members.
    pub fn pick_by<K: Hash + ?Sized>(&self, key: &K) -> Option<Address<A>> {
        self.choose(By::Key(hash(key)))
    }

    /// Sends to one member without an answer; the future waits for room where that member's mailbox does.
    ///
    /// # Errors
    /// [`Error::GroupEmpty`], or [`Error::MailboxFull`] from the member that was chosen, with the message.
    pub fn tell<M>(&self, message: M) -> impl Future<Output = Result<(), SendError<M>>> + Send + use<A, M>
    where
        A: Handler<M>,
        M: Message,
    {
        self.clone().send(By::Router, message)
    }

    /// The same to the member that the key belongs to: see [`Group::pick_by`].
    ///
    /// # Errors
    /// Those of [`Group::tell`].
    pub fn tell_by<K, M>(
        &self,
        key: &K,
        message: M,
    ) -> impl Future<Output = Result<(), SendError<M>>> + Send + use<A, K, M>
    where
        A: Handler<M>,
        K: Hash + ?Sized,
        M: Message,
    {
        self.clone().send(By::Key(hash(key)), message)
    }

    /// Sends to one member and waits for its answer.
    ///
    /// # Errors
    /// [`Error::GroupEmpty`] with the message, and those of [`Address::ask`].
    pub fn ask<M>(&self, message: M) -> GroupAsk<A, M>
    where
        A: Handler<M>,
        M: Message,
    {
        GroupAsk { group: self.clone(), by: By::Router, message, deadline: None }
    }

    /// The same of the member that the key belongs to: see [`Group::pick_by`].
    ///
    /// # Errors
    /// Those of [`Group::ask`].
    pub fn ask_by<K, M>(&self, key: &K, message: M) -> GroupAsk<A, M>
    where
        A: Handler<M>,
        K: Hash + ?Sized,
        M: Message,
    {
        GroupAsk { group: self.clone(), by: By::Key(hash(key)), message, deadline: None }
    }

    /// Sends a copy to every member that lives, to all at once, waiting for room where their mailboxes do. Returns the
    /// refusals of those that live, each with its copy and the path in its error; none if everybody has the message.
    ///
    /// # Errors
    /// [`Error::GroupEmpty`] with the message, if no member lives.
    pub async fn broadcast<M>(&self, message: M) -> Result<Vec<SendError<M>>, SendError<M>>
    where
        A: Handler<M>,
        M: Message + Clone,
    {
        let members = self.members();
        let tells: Vec<_> = members.iter().map(|member| member.tell(message.clone())).collect();
        let mut living = tells.len();
        let mut refusals = Vec::new();
        for refusal in join_all(tells).await.into_iter().filter_map(Result::err) {
            match refusal.error {
                Error::ActorStopped { .. } => living -= 1,
                _ => refusals.push(refusal),
            }
        }
        if living == 0 { Err(nobody(message)) } else { Ok(refusals) }
    }

    fn choose(&self, by: By) -> Option<Address<A>> {
        let turn = match by {
            By::Router => self.shared.turn.fetch_add(1, Ordering::Relaxed),
            By::Key(_) => 0,
        };
        loop {
            let members = self.shared.members.read();
            let addresses = members.iter().map(|member| &member.address);
            let chosen = match (by, self.shared.router) {
                (By::Key(key), _) => {
                    members.iter().max_by_key(|member| mix(member.place ^ key)).map(|member| &member.address)
                }
                (By::Router, Router::RoundRobin) => addresses.clone().nth(turn % addresses.len().max(1)),
                (By::Router, Router::LeastLoaded) => least_loaded(addresses, turn),
            };
            let chosen = chosen?.clone();
            if chosen.is_alive() {
                return Some(chosen);
            }
            drop(members);
            // Stopped is final, so each turn of the loop leaves fewer.
            self.shared.members.write().retain(|member| member.address.is_alive());
        }
    }

    async fn send<M>(self, by: By, mut message: M) -> Result<(), SendError<M>>
    where
        A: Handler<M>,
        M: Message,
    {
        loop {
            let Some(member) = self.choose(by) else { return Err(nobody(message)) };
            match member.tell(message).await {
                Err(SendError { error: Error::ActorStopped { .. }, message: Some(returned) }) => message = returned,
                outcome => return outcome,
            }
        }
    }
}

/// An ask of a group that has not been sent yet; awaiting it chooses a member and sends.
#[must_use = "an ask is sent when it is awaited"]
pub struct GroupAsk<A: Actor, M: Message> {
    group: Group<A>,
    by: By,
    message: M,
    deadline: Option<Duration>,
}

impl<A: Actor, M: Message> GroupAsk<A, M> {
    /// As [`Ask::deadline`](crate::Ask::deadline), however many members it takes to find one that lives.
    pub fn deadline(mut self, after: Duration) -> Self {
        self.deadline = Some(after);
        self
    }
}

impl<A, M> IntoFuture for GroupAsk<A, M>
where
    A: Handler<M>,
    M: Message,
{
    type Output = Result<M::Reply, SendError<M>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { group, by, mut message, deadline } = self;
        Box::pin(async move {
            let deadline = deadline.and_then(Deadline::after);
            loop {
                let Some(member) = group.choose(by) else { return Err(nobody(message)) };
                match member.ask(message).until(deadline).await {
                    Err(SendError { error: Error::ActorStopped { .. }, message: Some(returned) }) => message = returned,
                    outcome => return outcome,
                }
            }
        })
    }
}

/// Of these, the one that lives with the fewest messages waiting; one that has stopped for good only if all have. Among
/// equals it is the first, counted from number `turn`: a caller that adds one each time spreads its messages over idle
/// actors.
///
/// For those who keep addresses in a list of their own; a [`Group`] does it by itself.
pub fn least_loaded<'a, A: Actor>(
    mut members: impl Iterator<Item = &'a Address<A>> + Clone,
    turn: usize,
) -> Option<&'a Address<A>> {
    let living = members.clone().filter(|member| member.is_alive());
    let first = turn % living.clone().count().max(1);
    let in_turn = living.clone().skip(first).chain(living.take(first));
    // `min_by_key` keeps the first of equals.
    in_turn.min_by_key(|member| member.depth()).or_else(|| members.next())
}

fn nobody<M>(message: M) -> SendError<M> {
    SendError { error: Error::GroupEmpty, message: Some(message) }
}

/// The same for the whole process, which is all that a choice in memory needs.
fn hash<K: Hash + ?Sized>(key: &K) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

/// Makes members' scores for one key independent of each other. The constants are those of SplitMix64's finalizer
/// (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
