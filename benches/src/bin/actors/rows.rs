//! The rows: what is measured, by whom, and what ours must reach.

use std::time::Duration;

use ironcliw_bench::{Better, Cell, Goal, Row};

use crate::savina;
use crate::system::System;
use crate::systems::{Actix, Crossbeam, Kameo, Kanal, Ours, Ractor, TokioMpsc, Unsupervised, Xtra};
use crate::work;

/// Idle actors in the rows about them.
const CROWD: usize = 100_000;

/// Rounds of those rows: each takes seconds, and their spread is small.
const CROWD_ROUNDS: usize = 2;

/// Idle actors in the last rows, of which there is one round: it takes long.
const LARGE_CROWD: usize = 1_000_000;

fn cell(system: &'static str, measure: impl FnMut(Duration) -> f64 + 'static) -> Cell {
    Cell { system, measure: Box::new(measure) }
}

/// A cell for each of these systems, measured by the same generic function.
macro_rules! cells {
    ([$($system:ty),*], |$time:ident, $S:ident| $measure:expr) => {
        vec![$({
            type $S = $system;
            cell(<$S as System>::NAME, move |$time| $measure)
        }),*]
    };
}

fn row(name: &'static str, unit: &'static str, better: Better, cells: Vec<Cell>, goals: &[Goal]) -> Row {
    Row { name, unit, better, most_rounds: usize::MAX, warms_up: true, cells, goals: goals.to_vec() }
}

/// Every row, in the order of the table.
pub fn all() -> Vec<Row> {
    use Better::{Higher, Lower};
    use Goal::{Against, Limit};
    const RATE: &str = "million messages/s";

    let mut tell =
        cells!([Ours, Actix, Kameo, Ractor, Xtra, Kanal, TokioMpsc], |time, S| { work::tell_apart::<S>(time) });
    tell.push(cell(Crossbeam::NAME, |time| Crossbeam::tell(1, time)));
    let mut many =
        cells!([Ours, Actix, Kameo, Ractor, Xtra, Kanal, TokioMpsc], |time, S| { work::tell_from_many::<S>(4, time) });
    many.push(cell(Crossbeam::NAME, |time| Crossbeam::tell(4, time)));
    let mut ask =
        cells!([Ours, Actix, Kameo, Ractor, Xtra, Kanal, TokioMpsc], |time, S| { work::ask_apart::<S>(time) / 1e3 });
    ask.push(cell(Crossbeam::NAME, |time| Crossbeam::ask(time) / 1e3));
    let mut pipelined =
        cells!([Ours, Actix, Kameo, Ractor, Xtra, Kanal, TokioMpsc], |time, S| { work::ask_pipelined::<S>(time) });
    pipelined.push(cell(Crossbeam::NAME, Crossbeam::ask_pipelined));
    let tell_together =
        cells!([Ours, Actix, Kameo, Ractor, Xtra, Kanal, TokioMpsc], |time, S| { work::tell_together::<S>(time) });
    let ask_together =
        cells!([Ours, Actix, Kameo, Ractor, Xtra, Kanal, TokioMpsc], |time, S| { work::ask_together::<S>(time) });
    let bare =
        vec![cell(Ours::<true>::NAME, work::tell_together::<Ours>), cell(Unsupervised::NAME, work::tell_unsupervised)];
    let spawn = cells!([Ours, Actix, Kameo, Ractor, Xtra, TokioMpsc], |_time, S| S::crowd(CROWD, false).nanoseconds);
    let bytes = cells!([Ours, Actix, Kameo, Ractor, Xtra, TokioMpsc], |_time, S| S::crowd(CROWD, true).bytes);

    let mut batches = cells!([Ours], |time, S| work::tell_batches::<S>(time));
    batches.push(cell(Crossbeam::NAME, |time| Crossbeam::tell(1, time)));
    let unspun = cells!([Ours<false>, Actix], |time, S| work::tell_apart::<S>(time));
    let large_spawn = cells!([Ours, Actix], |_time, S| S::crowd(LARGE_CROWD, false).nanoseconds);
    let large_bytes = cells!([Ours, Actix], |_time, S| S::crowd(LARGE_CROWD, true).bytes);

    let tell_goals = [Against("actix", 5.0), Against("kameo", 10.0), Against("ractor", 4.0), Against("kanal", 1.0)];
    let many_goals = [Against("actix", 2.2), Against("kameo", 3.0), Against("ractor", 3.0)];
    let mut rows = vec![
        row("tell 1→1", RATE, Higher, tell, &tell_goals),
        row("tell 1→1, batches of 32", RATE, Higher, batches, &[Against(Crossbeam::NAME, 0.9)]),
        row("tell 1→1, spin off", RATE, Higher, unspun, &[Against("actix", 3.0)]),
        row("tell 4→1", RATE, Higher, many, &many_goals),
        row("tell, one thread", RATE, Higher, tell_together, &[Against("actix", 1.4)]),
        row("tell, supervised or not", RATE, Higher, bare, &[Against("unsupervised", 0.95)]),
        row("ask, one thread", "ns, median", Lower, ask_together, &[Against("actix", 1.0 / 1.05)]),
        row("ask across threads", "µs, median", Lower, ask, &[Limit(1.2)]),
        row("64 asks in flight", "million asks/s", Higher, pipelined, &[Against("actix", 2.2), Against("ractor", 1.2)]),
        Row {
            most_rounds: CROWD_ROUNDS,
            ..row("spawn, 100 k actors", "ns/actor", Lower, spawn, &[Against("actix", 1.0 / 1.1)])
        },
        Row {
            most_rounds: CROWD_ROUNDS,
            ..row("live heap, 100 k idle actors", "bytes/actor", Lower, bytes, &[Limit(800.0)])
        },
    ];
    rows.extend(savina::rows());
    let large = [
        row("spawn, 1 M actors", "ns/actor", Lower, large_spawn, &[Against("actix", 1.0 / 1.1)]),
        row("live heap, 1 M idle actors", "bytes/actor", Lower, large_bytes, &[Limit(800.0)]),
    ];
    rows.extend(large.map(|row| Row { most_rounds: 1, warms_up: false, ..row }));
    rows
}
