//! Bank-transaction in xtra.

use ::xtra::{Actor, Address, Context, Handler, Mailbox, WeakAddress};

use super::super::stage::{on_tokio, xtra_tell};
use super::*;

type Start = super::Start<Address<Account>>;
type Credit = super::Credit<Address<Account>, WeakAddress<Teller>>;

#[derive(Default)]
struct Teller(Ledger);
#[derive(Default)]
struct Account(i64);

impl Actor for Teller {
    type Stop = ();

    async fn stopped(self) {}
}

impl Actor for Account {
    type Stop = ();

    async fn stopped(self) {}
}

impl Handler<Start> for Teller {
    type Return = ();

    async fn handle(&mut self, super::Start(accounts, done): Start, ctx: &mut Context<Self>) {
        self.0.done = done;
        for Transaction { from, to, amount } in transactions() {
            let credit = Credit { amount, to: accounts[to].clone(), teller: ctx.mailbox().address() };
            xtra_tell(&accounts[from], credit).await;
        }
    }
}

impl Handler<Moved> for Teller {
    type Return = ();

    async fn handle(&mut self, Moved(amount): Moved, _: &mut Context<Self>) {
        self.0.enter(amount);
    }
}

impl Handler<Credit> for Account {
    type Return = ();

    async fn handle(&mut self, Credit { amount, to, teller }: Credit, _: &mut Context<Self>) {
        self.0 -= amount as i64;
        to.send(Debit(amount)).await.expect(RUNS);
        xtra_tell(&teller, Moved(amount)).await;
    }
}

impl Handler<Debit> for Account {
    type Return = ();

    async fn handle(&mut self, Debit(amount): Debit, _: &mut Context<Self>) {
        self.0 += amount as i64;
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_tokio(threads, async |done| {
        let teller = ::xtra::spawn_tokio(Teller::default(), Mailbox::unbounded());
        let account = |_| ::xtra::spawn_tokio(Account::default(), Mailbox::unbounded());
        let accounts = (0..ACCOUNTS).map(account).collect();
        xtra_tell(&teller, super::Start(accounts, done)).await;
        teller
    })
}
