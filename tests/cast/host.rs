//! The actor that the tests of contexts share: it does with its context what it is given.

#![allow(dead_code)] // Each test program uses a part of it.

use std::future::IntoFuture;
use std::sync::{Arc, Mutex};

use futures_util::future::LocalBoxFuture;
use ironcliw::{Actor, Address, Backoff, Child, Context, Handler, Message, Runtime, SendError, StartError};

/// What a host has been told, in order. It outlives its incarnations.
pub type Told = Arc<Mutex<Vec<String>>>;

/// What every incarnation of a host does first.
pub type Begin = Arc<dyn for<'a> Fn(&'a mut Context<Host>) -> LocalBoxFuture<'a, ()> + Send + Sync>;

pub struct Host {
    told: Told,
    begin: Begin,
}

impl Actor for Host {
    async fn started(&mut self, ctx: &mut Context<Self>) -> Result<(), StartError> {
        (self.begin)(ctx).await;
        Ok(())
    }
}

/// A host that is started again at once, and what it is told.
pub fn host(
    name: &str,
    begin: impl for<'a> Fn(&'a mut Context<Host>) -> LocalBoxFuture<'a, ()> + Send + Sync + 'static,
) -> (Child<Host>, Told) {
    let (told, begin) = (Told::default(), Arc::new(begin) as Begin);
    let keeps = told.clone();
    let child = Child::new(name, move || Host { told: keeps.clone(), begin: begin.clone() });
    (child.backoff(Backoff::NONE), told)
}

/// A host that begins with nothing.
pub fn idle(name: &str) -> (Child<Host>, Told) {
    host(name, |_| Box::pin(async {}))
}

/// Something to remember.
#[derive(Debug, Clone)]
pub struct Note(pub String);
impl Message for Note {
    type Reply = ();
}

impl Handler<Note> for Host {
    async fn handle(&mut self, Note(text): Note, _: &mut Context<Self>) {
        self.told.lock().unwrap().push(text);
    }
}

pub fn note(text: impl ToString) -> Note {
    Note(text.to_string())
}

type Task<T> = Box<dyn for<'a> FnOnce(&'a mut Context<Host>) -> LocalBoxFuture<'a, T> + Send>;

/// Does what it is given with the context.
pub struct Run<T>(pub Task<T>);
impl<T: Send + 'static> Message for Run<T> {
    type Reply = T;
}

impl<T: Send + 'static> Handler<Run<T>> for Host {
    async fn handle(&mut self, Run(task): Run<T>, ctx: &mut Context<Self>) -> T {
        task(ctx).await
    }
}

pub fn run<T: Send + 'static>(
    task: impl for<'a> FnOnce(&'a mut Context<Host>) -> LocalBoxFuture<'a, T> + Send + 'static,
) -> Run<T> {
    Run(Box::new(task))
}

/// The same for what need not be awaited.
pub fn act<T: Send + 'static>(task: impl FnOnce(&mut Context<Host>) -> T + Send + 'static) -> Run<T> {
    run(move |ctx| {
        let done = task(ctx);
        Box::pin(async move { done })
    })
}

/// Panics.
pub fn trip() -> Run<()> {
    act(|_| panic!("tripped"))
}

pub fn texts(told: &Told) -> Vec<String> {
    told.lock().unwrap().clone()
}

/// Asks on this thread.
pub fn ask<M: Message>(runtime: &Runtime, host: &Address<Host>, message: M) -> Result<M::Reply, SendError<M>>
where
    Host: Handler<M>,
{
    runtime.block_on(host.ask(message).into_future())
}
