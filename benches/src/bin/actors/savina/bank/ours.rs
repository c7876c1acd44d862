//! Bank-transaction in ours.

use futures_util::future::try_join_all;
use ironcliw::{Actor, Address, Child, Context, Handler, Overflow};

use super::super::stage::on_ours;
use super::*;

/// The teller first has everything moved and then reads what has been: an account must never wait for it.
const CAPACITY: usize = TRANSACTIONS;

type Start = super::Start<Address<Account>>;
type Credit = super::Credit<Address<Account>, Address<Teller>>;

#[derive(Default)]
struct Teller(Ledger);
#[derive(Default)]
struct Account(i64);

impl Actor for Teller {}
impl Actor for Account {}
tells!(Start, Credit);

impl Handler<Start> for Teller {
    async fn handle(&mut self, super::Start(accounts, done): Start, ctx: &mut Context<Self>) {
        self.0.done = done;
        for Transaction { from, to, amount } in transactions() {
            let credit = Credit { amount, to: accounts[to].clone(), teller: ctx.address() };
            accounts[from].tell(credit).await.expect(RUNS);
        }
    }
}

impl Handler<Moved> for Teller {
    async fn handle(&mut self, Moved(amount): Moved, _: &mut Context<Self>) {
        self.0.enter(amount);
    }
}

impl Handler<Credit> for Account {
    async fn handle(&mut self, Credit { amount, to, teller }: Credit, _: &mut Context<Self>) {
        self.0 -= amount as i64;
        to.ask(Debit(amount)).await.expect(RUNS);
        teller.tell(Moved(amount)).await.expect(RUNS);
    }
}

impl Handler<Debit> for Account {
    async fn handle(&mut self, Debit(amount): Debit, _: &mut Context<Self>) {
        self.0 += amount as i64;
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_ours(threads, async |runtime, done| {
        let teller = Child::new("teller", Teller::default).mailbox(CAPACITY, Overflow::Block);
        let teller = runtime.spawn(teller).await.expect(RUNS);
        let account = |number| runtime.spawn(Child::new(format!("account-{number}"), Account::default));
        let accounts = try_join_all((0..ACCOUNTS).map(account)).await.expect(RUNS);
        teller.tell(super::Start(accounts.into(), done)).await.expect(RUNS);
    })
}
