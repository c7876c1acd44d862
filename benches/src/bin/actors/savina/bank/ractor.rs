//! Bank-transaction in ractor.

use ::ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};

use super::super::stage::on_tokio;
use super::*;

type Start = super::Start<ActorRef<ToAccount>>;
type Credit = super::Credit<ActorRef<ToAccount>, ActorRef<ToTeller>>;

enum ToTeller {
    Start(Start),
    Moved(Moved),
}

enum ToAccount {
    Credit(Credit),
    Debit(Debit, RpcReplyPort<()>),
}

struct Teller;
struct Account;

impl Actor for Teller {
    type Msg = ToTeller;
    type State = Ledger;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<ToTeller>, (): ()) -> Result<Ledger, ActorProcessingErr> {
        Ok(Ledger::default())
    }

    async fn handle(
        &self,
        myself: ActorRef<ToTeller>,
        message: ToTeller,
        ledger: &mut Ledger,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ToTeller::Start(super::Start(accounts, done)) => {
                ledger.done = done;
                for Transaction { from, to, amount } in transactions() {
                    let credit = Credit { amount, to: accounts[to].clone(), teller: myself.clone() };
                    accounts[from].cast(ToAccount::Credit(credit))?;
                }
            }
            ToTeller::Moved(Moved(amount)) => ledger.enter(amount),
        }
        Ok(())
    }
}

impl Actor for Account {
    type Msg = ToAccount;
    type State = i64;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<ToAccount>, (): ()) -> Result<i64, ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(
        &self,
        _: ActorRef<ToAccount>,
        message: ToAccount,
        balance: &mut i64,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ToAccount::Credit(Credit { amount, to, teller }) => {
                *balance -= amount as i64;
                to.call(|reply| ToAccount::Debit(Debit(amount), reply), None).await?.expect(RUNS);
                teller.cast(ToTeller::Moved(Moved(amount)))?;
            }
            ToAccount::Debit(Debit(amount), reply) => {
                *balance += amount as i64;
                reply.send(())?;
            }
        }
        Ok(())
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_tokio(threads, async |done| {
        let (teller, _) = Actor::spawn(None, Teller, ()).await.expect(RUNS);
        let mut accounts = Vec::with_capacity(ACCOUNTS);
        for _ in 0..ACCOUNTS {
            accounts.push(Actor::spawn(None, Account, ()).await.expect(RUNS).0);
        }
        teller.cast(ToTeller::Start(super::Start(accounts.into(), done))).expect(RUNS);
    })
}
