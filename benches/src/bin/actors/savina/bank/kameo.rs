//! Bank-transaction in kameo.

use ::kameo::actor::{ActorRef, Spawn};
use ::kameo::mailbox::unbounded;
use ::kameo::message::{Context, Message};

use super::super::stage::on_tokio;
use super::*;

type Start = super::Start<ActorRef<Account>>;
type Credit = super::Credit<ActorRef<Account>, ActorRef<Teller>>;

#[derive(Default, ::kameo::Actor)]
struct Teller(Ledger);
#[derive(Default, ::kameo::Actor)]
struct Account(i64);

impl Message<Start> for Teller {
    type Reply = ();

    async fn handle(&mut self, super::Start(accounts, done): Start, ctx: &mut Context<Self, ()>) {
        self.0.done = done;
        for Transaction { from, to, amount } in transactions() {
            let credit = Credit { amount, to: accounts[to].clone(), teller: ctx.actor_ref().clone() };
            accounts[from].tell(credit).try_send().expect(RUNS);
        }
    }
}

impl Message<Moved> for Teller {
    type Reply = ();

    async fn handle(&mut self, Moved(amount): Moved, _: &mut Context<Self, ()>) {
        self.0.enter(amount);
    }
}

impl Message<Credit> for Account {
    type Reply = ();

    async fn handle(&mut self, Credit { amount, to, teller }: Credit, _: &mut Context<Self, ()>) {
        self.0 -= amount as i64;
        to.ask(Debit(amount)).send().await.expect(RUNS);
        teller.tell(Moved(amount)).try_send().expect(RUNS);
    }
}

impl Message<Debit> for Account {
    type Reply = ();

    async fn handle(&mut self, Debit(amount): Debit, _: &mut Context<Self, ()>) {
        self.0 += amount as i64;
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_tokio(threads, async |done| {
        let teller = Teller::spawn_with_mailbox(Teller::default(), unbounded());
        let account = |_| Account::spawn_with_mailbox(Account::default(), unbounded());
        let accounts = (0..ACCOUNTS).map(account).collect();
        teller.tell(super::Start(accounts, done)).try_send().expect(RUNS);
        teller
    })
}
