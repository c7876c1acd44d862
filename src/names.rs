//! Names that actors are known by whatever their path, one table a runtime.
//!
//! A name is freed when its actor ends for good, by the actor's own seal: an actor keeps among its ties what names it has.
//! The table keeps no actor alive.

use std::any::Any;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::cell::Core;
use crate::{Actor, Address, Error};

#[derive(Default)]
pub(crate) struct Names(Mutex<HashMap<String, Named>>);

/// The actor's core, without its type.
type Erased = dyn Any + Send + Sync;

struct Named {
    actor: Weak<Erased>,
    is_alive: fn(&Erased) -> bool,
}

impl Named {
    fn of<A: Actor>(core: &Arc<Core<A>>) -> Self {
        let actor: Arc<Erased> = core.clone();
        Self { actor: Arc::downgrade(&actor), is_alive: |actor| actor.downcast_ref().is_some_and(is_alive::<A>) }
    }

    /// It may have ended a moment ago.
    fn living(&self) -> Option<Arc<Erased>> {
        self.actor.upgrade().filter(|actor| (self.is_alive)(actor.as_ref()))
    }
}

fn is_alive<A: Actor>(core: &Core<A>) -> bool {
    !core.info.is_final()
}

/// A name as the actor that has it keeps it: dropped, the name is free.
pub(crate) struct Name {
    table: Weak<Names>,
    name: String,
    actor: Weak<Erased>,
}

impl Drop for Name {
    fn drop(&mut self) {
        if let Some(table) = self.table.upgrade() {
            table.remove_if(&self.name, |named| Weak::ptr_eq(&named.actor, &self.actor));
        }
    }
}

impl Names {
    pub(crate) fn register<A: Actor>(self: &Arc<Self>, name: &str, address: &Address<A>) -> Result<(), Error> {
        let core = &address.core;
        let named = Named::of(core);
        let actor = named.actor.clone();
        match self.0.lock().entry(name.to_owned()) {
            Entry::Occupied(mut entry) => match entry.get().living() {
                Some(_) if Weak::ptr_eq(&entry.get().actor, &actor) => return Ok(()),
                Some(_) => return Err(Error::NameTaken { path: name.to_owned() }),
                None => drop(entry.insert(named)),
            },
            Entry::Vacant(entry) => drop(entry.insert(named)),
        }
        let table = Arc::downgrade(self);
        core.ties.change(|bonds| {
            // One that was taken from the actor and is given back is among them still.
            let is_it = |kept: &Name| kept.name == name && Weak::ptr_eq(&kept.table, &table);
            if !bonds.names.iter().any(is_it) {
                bonds.names.push(Name { table, name: name.to_owned(), actor });
            }
        });
        // The seal comes after the state: it has found the name, or the state is final by now.
        if is_alive(core) {
            return Ok(());
        }
        let left = core.ties.look(|bonds| Some(std::mem::take(&mut bonds.names)));
        drop(left);
        Err(core.stopped())
    }

    pub(crate) fn find<A: Actor>(&self, name: &str) -> Option<Address<A>> {
        let actor = self.0.lock().get(name)?.living()?;
        Some(Address { core: actor.downcast().ok()? })
    }

    pub(crate) fn unregister(&self, name: &str) -> bool {
        self.remove_if(name, |_| true).is_some_and(|named| named.living().is_some())
    }

    fn remove_if(&self, name: &str, goes: impl FnOnce(&Named) -> bool) -> Option<Named> {
        let mut names = self.0.lock();
        if names.get(name).is_some_and(goes) { names.remove(name) } else { None }
    }
}
