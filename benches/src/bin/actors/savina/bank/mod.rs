//! Bank-transaction: a teller has money moved from account to account. An account that pays waits until the other one has
//! the money before it looks at its next message. What it costs to ask in the middle of one's work.

mod actix;
mod kameo;
mod ours;
mod ractor;
mod xtra;

use std::sync::Arc;

use super::stage::{Done, Outcome, Threads};
use super::{Dice, Program, RUNS, tells};

const ACCOUNTS: usize = 1_000;

const TRANSACTIONS: usize = 50_000;

pub fn program() -> Program {
    Program {
        name: "savina bank-transaction",
        result: transactions().map(|transaction| transaction.amount).sum(),
        threads: Threads::ANY,
        runs: [
            ("ironcliw", ours::run),
            ("actix", actix::run),
            ("kameo", kameo::run),
            ("ractor", ractor::run),
            ("xtra", xtra::run),
        ],
    }
}

struct Transaction {
    from: usize,
    to: usize,
    amount: u64,
}

/// All of them. Money goes to an account of a higher number, so that no circle of accounts can wait for each other.
fn transactions() -> impl Iterator<Item = Transaction> {
    let mut dice = Dice::new(0);
    (0..TRANSACTIONS).map(move |_| {
        let from = dice.below(ACCOUNTS / 10 * 8);
        let to = from + dice.below(ACCOUNTS - from).max(1);
        Transaction { from, to, amount: 1 + dice.below(1_000) as u64 }
    })
}

/// To the teller: the accounts to begin with.
struct Start<A>(Arc<[A]>, Done);

/// To the account that pays.
struct Credit<A, T> {
    amount: u64,
    to: A,
    teller: T,
}

/// To the account that is paid, which answers when it has the money.
struct Debit(u64);
/// To the teller: so much has been moved.
struct Moved(u64);
tells!(Debit, Moved);

#[derive(Default)]
struct Ledger {
    transactions: usize,
    amount: u64,
    done: Done,
}

impl Ledger {
    fn enter(&mut self, amount: u64) {
        self.transactions += 1;
        self.amount += amount;
        if self.transactions == TRANSACTIONS {
            self.done.tell(self.amount);
        }
    }
}
