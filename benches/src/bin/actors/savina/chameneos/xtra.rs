//! Chameneos in xtra.

use ::xtra::{Actor, Context, Handler, Mailbox, WeakAddress};

use super::super::stage::{on_tokio, xtra_tell};
use super::*;

type Come = super::Come<WeakAddress<Creature>>;
type Meet = super::Meet<WeakAddress<Creature>>;
type Mall = super::Mall<WeakAddress<Creature>>;

struct Creature(super::Creature, ::xtra::Address<Mall>);

impl Actor for Creature {
    type Stop = ();

    async fn started(&mut self, mailbox: &Mailbox<Self>) -> Result<(), ()> {
        self.come(mailbox).await;
        Ok(())
    }

    async fn stopped(self) {}
}

impl Actor for Mall {
    type Stop = ();

    async fn stopped(self) {}
}

impl Handler<Come> for Mall {
    type Return = ();

    async fn handle(&mut self, super::Come(color, who): Come, _: &mut Context<Self>) {
        match self.welcome(who) {
            Fate::Waits => {}
            Fate::Meets(waiting, who) => xtra_tell(&waiting, super::Meet(color, who)).await,
            Fate::Fades(who) => xtra_tell(&who, Fade).await,
        }
    }
}

impl Handler<Count> for Mall {
    type Return = ();

    async fn handle(&mut self, Count(meetings): Count, _: &mut Context<Self>) {
        self.count(meetings);
    }
}

impl Creature {
    async fn come(&self, mailbox: &Mailbox<Self>) {
        xtra_tell(&self.1, super::Come(self.0.color, mailbox.address())).await;
    }
}

impl Handler<Meet> for Creature {
    type Return = ();

    async fn handle(&mut self, super::Meet(color, who): Meet, ctx: &mut Context<Self>) {
        xtra_tell(&who, Change(self.0.meet(color))).await;
        self.come(ctx.mailbox()).await;
    }
}

impl Handler<Change> for Creature {
    type Return = ();

    async fn handle(&mut self, Change(color): Change, ctx: &mut Context<Self>) {
        self.0.become_one(color);
        self.come(ctx.mailbox()).await;
    }
}

impl Handler<Fade> for Creature {
    type Return = ();

    async fn handle(&mut self, Fade: Fade, _: &mut Context<Self>) {
        xtra_tell(&self.1, self.0.fade()).await;
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_tokio(threads, async |done| {
        let mall = ::xtra::spawn_tokio(Mall::new(done), Mailbox::unbounded());
        let creature =
            |number| ::xtra::spawn_tokio(Creature(super::Creature::new(number), mall.clone()), Mailbox::unbounded());
        (0..CREATURES).map(creature).collect::<Vec<_>>()
    })
}
