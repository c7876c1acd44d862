//! The rows: what is measured, by whom, and what ours must reach.

use std::time::Duration;

use ironcliw_actors::leak::Level;
use ironcliw_bench::{Better, Cell, Goal, Row};

use crate::system::{Allocator, FreeList, Lines, Mimalloc, ObjectPool, Opool, Ours, Strict, System, SystemMalloc};
use crate::{tracking, work};

/// A picture of 1920 × 1080 pixels of three bytes.
const FRAME: usize = 1920 * 1080 * 3;

fn cell<S: System>(len: usize, work: fn(&'static S, Duration) -> f64) -> Cell {
    // For the whole run: a system's buffers refer to it.
    let system: &'static S = Box::leak(Box::new(S::new(len)));
    Cell { system: S::NAME, measure: Box::new(move |time| work(system, time)) }
}

/// A cell for each of these systems, measured by the same generic function.
macro_rules! cells {
    ([$($system:ty),*], $len:expr, $work:ident) => {
        vec![$(cell::<$system>($len, work::$work)),*]
    };
}

fn row(name: String, cells: Vec<Cell>, goals: &[Goal]) -> Row {
    Row {
        name: name.leak(),
        unit: "ns/buffer",
        better: Better::Lower,
        most_rounds: usize::MAX,
        warms_up: true,
        cells,
        goals: goals.to_vec(),
    }
}

/// Every row, in the order of the table.
pub fn all() -> Vec<Row> {
    use Goal::{Against, Limit};
    type Malloc = Allocator<SystemMalloc>;
    type Mi = Allocator<Mimalloc>;

    // The last: mimalloc's time by ours, at least.
    let sizes = [
        ("64 B", 64, Some(1.0 / 3.0)),
        ("1 KiB", 1 << 10, None),
        ("16 KiB", 16 << 10, Some(1.0)),
        ("64 KiB", 64 << 10, Some(1.0)),
        ("1 MiB", 1 << 20, Some(10.0)),
        ("6.2 MB", FRAME, Some(10.0)),
    ];
    let mut rows = Vec::new();
    for (name, len, mimalloc) in sizes {
        let cells = cells!([Ours<false>, Ours<true>, Malloc, Mi, FreeList, Opool, ObjectPool], len, take_and_give);
        let mut goals = vec![Limit(12.0)];
        goals.extend(mimalloc.map(|ratio| Against("mimalloc", ratio)));
        rows.push(row(format!("allocate+release, {name}"), cells, &goals));
    }
    for (name, len, _) in sizes {
        let cells = cells!([Ours<false>, Ours<true>, Malloc, Mi, FreeList, Opool, ObjectPool], len, rotate);
        rows.push(row(format!("eight in rotation, {name}"), cells, &[Limit(15.0)]));
    }
    rows.push(row(
        "allocate+release, 1 KiB, of a strict pool".to_owned(),
        cells!([Ours<false>, Strict], 1 << 10, take_and_give),
        &[],
    ));
    for (name, len, mimalloc) in [("1 KiB", 1 << 10, 1.2), ("64 KiB", 64 << 10, 4.0)] {
        let cells = cells!([Ours<false>, Malloc, Mi, FreeList, Opool, ObjectPool, Lines], len, hand_over);
        rows.push(row(format!("allocate here, release there, {name}"), cells, &[Against("mimalloc", mimalloc)]));
    }
    for (name, len) in [("6.2 MB", FRAME), ("64 MB", 64_000_000)] {
        rows.push(row(format!("allocate, fill, release, {name}"), cells!([Ours<false>, Malloc, Mi], len, fill), &[]));
    }
    for (name, len) in [("6.2 MB", FRAME), ("64 MB", 64_000_000)] {
        // What malloc keeps for itself cannot be told; mimalloc's purge is delayed. So ours is alone here.
        rows.push(row(format!("allocate, fill, release, trim, {name}"), cells!([Ours<false>], len, fill_fresh), &[]));
    }
    for (name, level, most) in
        [("simple (1 in 128)", Level::Simple, 1.0), ("paranoid, 16 frames", Level::Paranoid, 2000.0)]
    {
        let cost = Cell { system: "ironcliw", measure: Box::new(move |time| tracking::cost(level, time)) };
        rows.push(row(format!("what tracking adds to a lease, {name}"), vec![cost], &[Limit(most)]));
    }
    rows
}
