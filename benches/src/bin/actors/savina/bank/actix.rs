//! Bank-transaction in actix.

use ::actix::{Actor, Addr, AsyncContext, Context, Handler, WrapFuture};

use super::super::stage::on_actix;
use super::*;

type Start = super::Start<Addr<Account>>;
type Credit = super::Credit<Addr<Account>, Addr<Teller>>;
tells!(Start, Credit);

#[derive(Default)]
struct Teller(Ledger);
#[derive(Default)]
struct Account(i64);

impl Actor for Teller {
    type Context = Context<Self>;
}

impl Actor for Account {
    type Context = Context<Self>;
}

impl Handler<Start> for Teller {
    type Result = ();

    fn handle(&mut self, super::Start(accounts, done): Start, ctx: &mut Context<Self>) {
        self.0.done = done;
        for Transaction { from, to, amount } in transactions() {
            accounts[from].do_send(Credit { amount, to: accounts[to].clone(), teller: ctx.address() });
        }
    }
}

impl Handler<Moved> for Teller {
    type Result = ();

    fn handle(&mut self, Moved(amount): Moved, _: &mut Context<Self>) {
        self.0.enter(amount);
    }
}

impl Handler<Credit> for Account {
    type Result = ();

    fn handle(&mut self, Credit { amount, to, teller }: Credit, ctx: &mut Context<Self>) {
        self.0 -= amount as i64;
        let moved = async move {
            to.send(Debit(amount)).await.expect(RUNS);
            teller.do_send(Moved(amount));
        };
        ctx.wait(moved.into_actor(self));
    }
}

impl Handler<Debit> for Account {
    type Result = ();

    fn handle(&mut self, Debit(amount): Debit, _: &mut Context<Self>) {
        self.0 += amount as i64;
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_actix(threads, async |arbiters, done| {
        let teller = arbiters.start(0, Teller::default());
        let accounts = (0..ACCOUNTS).map(|number| arbiters.start(number + 1, Account::default())).collect();
        teller.do_send(super::Start(accounts, done));
        teller
    })
}
