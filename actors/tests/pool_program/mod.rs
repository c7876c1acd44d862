//! Programs that use a pool, run against a model of it: the one interpreter of the property tests (`pool_model.rs`) and of
//! the fuzz target (`actors/fuzz`). It sees what any user of the pool sees.
//!
//! A program is a list of steps, each made by one of three threads, one after the other, so that a model predicts every answer
//! and every count while blocks really move between threads' caches. Each buffer is filled with a byte of its own, which is
//! looked for whenever the buffer is touched: a block that has two owners shows.

use ironcliw_actors::Error;
use ironcliw_actors::leak::Level;
use ironcliw_actors::pool::{
    AllocOptions, Buffer, LeaseId, LeaseKind, Measure, MisuseCounts, Owner, Pool, PoolConfig, Reservation, Shared,
    SizeClass,
};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

pub const THREADS: usize = 3;
/// Bytes of an encoded step.
pub const STEP_BYTES: usize = 6;

/// What a thread does. Handles are chosen by a number, modulo how many there are.
#[derive(Debug, Clone, Copy)]
pub enum Op {
    Allocate {
        len: usize,
        zeroed: bool,
        explicit: bool,
        /// For the owner that room may be reserved for.
        favoured: bool,
    },
    Drop(usize),
    Release(usize),
    /// By way of the pool.
    ReleaseIn(usize),
    /// By way of another pool.
    ReleaseElsewhere(usize),
    Truncate(usize, usize),
    /// A borrowed part.
    Part(usize, usize, usize),
    Freeze(usize),
    Share(usize),
    Slice(usize, usize, usize),
    DropShared(usize),
    Unfreeze(usize),
    /// Is the id of an ended lease still dead?
    Recall(usize),
    Trim(usize),
    SetLimit(usize),
    SetRetain(usize),
    /// Room for the favoured owner, and the most that it may have.
    Reserve(usize, Option<usize>),
    /// Begins to measure, or ends it.
    Measure,
    SetLevel(Level),
    /// The thread ends, and a new one takes its place.
    EndThread,
}

#[derive(Debug, Clone, Copy)]
pub struct Step {
    pub thread: usize,
    pub op: Op,
}

/// Lengths around which something changes.
const EDGES: [usize; 14] = [
    0,
    64,
    192,
    256,
    320,
    4096,
    65_536,
    131_072,
    2 << 20,
    1 << 30,
    5 << 30,
    SizeClass::MAX_LEN,
    isize::MAX as usize,
    usize::MAX,
];

fn len(a: u8, b: u16) -> usize {
    match a % 4 {
        0 => usize::from(b) % 600,
        1 | 2 => usize::from(b),
        _ => {
            let edge = EDGES[usize::from(b) % EDGES.len()];
            [edge.saturating_sub(1), edge, edge.saturating_add(1)][usize::from(b >> 8) % 3]
        }
    }
}

impl Step {
    /// Any bytes are a step.
    pub fn decode(bytes: [u8; STEP_BYTES]) -> Self {
        let [kind, a, b0, b1, c0, c1] = bytes;
        let (wide, other) = (u16::from_le_bytes([b0, b1]), usize::from(u16::from_le_bytes([c0, c1])));
        let (which, b) = (usize::from(a), usize::from(wide));
        let op = match kind >> 2 {
            0..16 => {
                Op::Allocate { len: len(a, wide), zeroed: c0 & 1 == 0, explicit: c0 & 2 != 0, favoured: c0 & 4 != 0 }
            }
            16..24 => Op::Drop(which),
            24..28 => Op::Release(which),
            28 | 29 => Op::ReleaseIn(which),
            30 => Op::ReleaseElsewhere(which),
            31..33 => Op::Truncate(which, b),
            33..35 => Op::Part(which, b, other),
            35..39 => Op::Freeze(which),
            39..43 => Op::Share(which),
            43..47 => Op::Slice(which, b % 300, other % 600),
            47..52 => Op::DropShared(which),
            52..54 => Op::Unfreeze(which),
            54 => Op::Recall(b),
            55 | 56 => Op::Trim(b),
            57 | 58 => Op::SetLimit(b * 5),
            59 if c0 & 1 == 0 => Op::SetRetain(b * 2),
            59 => Op::Measure,
            60 => Op::Reserve(b * usize::from(c0 & 3), (c0 & 4 != 0).then_some(b * 3 + other)),
            61 => Op::SetLevel([Level::Disabled, Level::Simple, Level::Advanced, Level::Paranoid][which % 4]),
            _ => Op::EndThread,
        };
        Self { thread: usize::from(kind & 3) % THREADS, op }
    }
}

/// A frozen lease's handles.
struct Frozen {
    handles: Vec<Shared>,
    mark: u8,
    id: LeaseId,
    owner: Owner,
    block_bytes: usize,
    explicit: bool,
}

/// Leases granted, ended and refused.
type Counts = (u64, u64, u64);

/// What should be.
struct World {
    pool: Pool,
    elsewhere: Pool,
    /// The second is favoured.
    owners: [Owner; 2],
    buffers: Vec<(Buffer, u8)>,
    frozen: Vec<Frozen>,
    ended: Vec<LeaseId>,
    limit: usize,
    reserved: usize,
    cap: Option<usize>,
    measure: Option<(Measure, Counts)>,
    live_bytes: usize,
    /// Of each owner.
    live_of: [usize; 2],
    ended_count: u64,
    most_bytes: usize,
    granted: u64,
    refused: u64,
    leaked: u64,
    misuse: MisuseCounts,
    misuse_elsewhere: u64,
}

fn assert_marked(bytes: &[u8], mark: u8) {
    assert!(bytes.iter().all(|&byte| byte == mark), "somebody else wrote to a leased buffer");
}

impl World {
    fn new(limit: usize) -> Self {
        let config = |limit| PoolConfig { retain_bytes: usize::MAX, ..PoolConfig::limited(limit) };
        Self {
            pool: Pool::new(config(limit)).unwrap(),
            elsewhere: Pool::new(config(4096)).unwrap(),
            owners: ["pool-program", "pool-program-favoured"].map(Owner::named),
            buffers: Vec::new(),
            frozen: Vec::new(),
            ended: Vec::new(),
            limit,
            reserved: 0,
            cap: None,
            measure: None,
            live_bytes: 0,
            live_of: [0; 2],
            ended_count: 0,
            most_bytes: 0,
            granted: 0,
            refused: 0,
            leaked: 0,
            misuse: MisuseCounts::default(),
            misuse_elsewhere: 0,
        }
    }

    /// A buffer that was chosen, taken out.
    fn take(&mut self, which: usize) -> Option<(Buffer, u8)> {
        let count = self.buffers.len();
        (count > 0).then(|| self.buffers.swap_remove(which % count))
    }

    fn at<T>(all: &mut [T], which: usize) -> Option<&mut T> {
        let count = all.len();
        if count == 0 { None } else { Some(&mut all[which % count]) }
    }

    fn ended(&mut self, id: LeaseId, owner: Owner, block_bytes: usize, is_leak: bool) {
        self.live_bytes -= block_bytes;
        self.live_of[usize::from(owner == self.owners[1])] -= block_bytes;
        self.ended_count += 1;
        self.leaked += u64::from(is_leak);
        self.ended.push(id);
        assert!(!self.pool.is_live(id));
    }

    fn end(&mut self, which: usize, how: impl FnOnce(&Pool, Buffer), is_told: bool) {
        if let Some((buffer, mark)) = self.take(which) {
            assert_marked(&buffer, mark);
            let (id, owner, bytes, kind) = (buffer.id(), buffer.owner(), buffer.block_bytes(), buffer.kind());
            how(&self.pool, buffer);
            self.ended(id, owner, bytes, kind == LeaseKind::Explicit && !is_told);
        }
    }

    /// Whether there is room for a block: under the limit, beside what is reserved, and within the cap.
    fn fits(&self, block: usize, favoured: bool) -> bool {
        let [common, own] = self.live_of;
        let committed = |own: usize| common.saturating_add(own.max(self.reserved));
        let grown = if favoured { committed(own.saturating_add(block)) } else { committed(own).saturating_add(block) };
        let is_kept = grown <= self.limit || grown == committed(own);
        self.live_bytes.saturating_add(block) <= self.limit && is_kept && !(favoured && self.is_capped(block))
    }

    fn is_capped(&self, block: usize) -> bool {
        self.cap.is_some_and(|cap| self.live_of[1].saturating_add(block) > cap)
    }

    fn allocate(&mut self, len: usize, favoured: bool, options: AllocOptions) {
        let (zeroed, block) = (options.zeroed, SizeClass::block_bytes(len));
        let fits = block.is_some_and(|block| self.fits(block, favoured));
        let live = self.live_bytes;
        match self.pool.allocate_with(len, self.owners[usize::from(favoured)], options) {
            Ok(mut buffer) => {
                assert!(fits, "{len} bytes beside {live} of {}", self.limit);
                assert_eq!((buffer.len(), buffer.as_ptr().align_offset(64)), (len, 0));
                assert!(!zeroed || buffer.iter().all(|&byte| byte == 0));
                self.granted += 1;
                self.live_bytes += buffer.block_bytes();
                self.live_of[usize::from(favoured)] += buffer.block_bytes();
                self.most_bytes = self.most_bytes.max(self.live_bytes);
                let mark = (self.granted % 251) as u8 + 1;
                buffer.fill(mark);
                self.buffers.push((buffer, mark));
            }
            Err(error) => {
                assert!(!fits, "{len} bytes beside {live} of {}: {error}", self.limit);
                self.refused += 1;
                match error {
                    Error::InvalidInput(_) => assert_eq!(block, None),
                    Error::PoolExhausted { requested, live: told, limit, capped: None, .. } => {
                        assert_eq!((requested, told, limit), (len, live, self.limit));
                    }
                    Error::PoolExhausted { requested, live: told, limit, capped: Some(name), .. } => {
                        assert_eq!((requested, told, Some(limit)), (len, self.live_of[1], self.cap));
                        assert!(favoured && block.is_some_and(|block| self.is_capped(block)));
                        assert_eq!(&*name, self.owners[1].name());
                    }
                    other => panic!("{other}"),
                }
            }
        }
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Allocate { len, zeroed, explicit, favoured } => {
                let kind = if explicit { LeaseKind::Explicit } else { LeaseKind::Plain };
                self.allocate(len, favoured, AllocOptions { zeroed, kind, ..AllocOptions::default() });
            }
            Op::Drop(which) => self.end(which, |_, buffer| drop(buffer), false),
            Op::Release(which) => self.end(which, |_, buffer| buffer.release(), true),
            Op::ReleaseIn(which) => self.end(which, |pool, buffer| pool.release(buffer).unwrap(), true),
            Op::ReleaseElsewhere(which) => {
                if let Some((buffer, mark)) = self.take(which) {
                    let foreign = self.elsewhere.release(buffer).unwrap_err();
                    self.misuse_elsewhere += 1;
                    self.buffers.push((foreign.0, mark));
                }
            }
            Op::Truncate(which, len) => {
                if let Some((buffer, mark)) = Self::at(&mut self.buffers, which) {
                    buffer.truncate(len);
                    assert_marked(buffer, *mark);
                }
            }
            Op::Part(which, start, stop) => {
                if let Some((buffer, mark)) = Self::at(&mut self.buffers, which) {
                    let fits = start <= stop && stop <= buffer.len();
                    match buffer.slice_mut(start..stop) {
                        Ok(part) => {
                            assert!(fits && part.len() == stop - start);
                            assert_marked(part, *mark);
                        }
                        Err(error) => {
                            assert_eq!(error, Error::OutOfBounds { start, stop, len: buffer.len() });
                            assert!(!fits);
                            self.misuse.out_of_bounds += 1;
                        }
                    }
                }
            }
            Op::Recall(which) => {
                if let Some(&mut id) = Self::at(&mut self.ended, which) {
                    assert_eq!(self.pool.verify(id), Err(Error::BufferReleased { id: id.get() }));
                    self.misuse.use_after_release += 1;
                }
            }
            Op::Trim(target) => {
                let before = self.pool.stats().cached_bytes;
                let freed = self.pool.trim(target);
                let after = self.pool.stats().cached_bytes;
                assert!(after == before - freed && after <= target);
            }
            Op::SetLimit(limit) => {
                let is_possible = limit >= 64 && limit >= self.reserved;
                assert_eq!(self.pool.set_limit(limit).is_ok(), is_possible);
                if is_possible {
                    self.limit = limit;
                }
            }
            Op::Reserve(bytes, cap) => {
                let is_possible = bytes <= self.limit && cap.is_none_or(|cap| cap >= bytes.max(64));
                let name = self.owners[1].name().to_owned();
                assert_eq!(self.pool.reserve(Reservation { name, bytes, cap }).is_ok(), is_possible);
                if is_possible {
                    (self.reserved, self.cap) = (bytes, cap);
                }
            }
            Op::Measure => {
                let now = self.counts();
                match self.measure.take() {
                    None => self.measure = Some((self.pool.measure(None), now)),
                    Some((measure, before)) => {
                        let measured = measure.figures();
                        let figures = (measured.allocations, measured.releases, measured.failures);
                        assert_eq!(figures, (now.0 - before.0, now.1 - before.1, now.2 - before.2));
                        assert_eq!(
                            (measured.live_bytes(), measured.live_count()),
                            (self.live_bytes as u64, now.0 - now.1)
                        );
                    }
                }
            }
            Op::SetRetain(retain) => _ = self.pool.set_retain(retain),
            Op::SetLevel(level) => self.pool.recorder().set_level(level),
            Op::EndThread => {}
            of_frozen => self.run_frozen(of_frozen),
        }
    }

    fn run_frozen(&mut self, op: Op) {
        if let Op::Freeze(which) = op {
            if let Some((buffer, mark)) = self.take(which) {
                let (id, block_bytes) = (buffer.id(), buffer.block_bytes());
                let (owner, explicit) = (buffer.owner(), buffer.kind() == LeaseKind::Explicit);
                self.frozen.push(Frozen { handles: vec![buffer.freeze()], mark, id, owner, block_bytes, explicit });
            }
            return;
        }
        let count = self.frozen.len();
        let (Op::Share(which) | Op::Slice(which, ..) | Op::DropShared(which) | Op::Unfreeze(which)) = op else {
            return;
        };
        if count == 0 {
            return;
        }
        let frozen = &mut self.frozen[which % count];
        let last = frozen.handles.last().unwrap();
        assert_marked(last, frozen.mark);
        assert_eq!((last.id(), last.is_unique()), (frozen.id, frozen.handles.len() == 1));
        match op {
            Op::Share(_) => frozen.handles.extend([last.clone()]),
            Op::Slice(_, start, stop) => match last.slice(start..stop) {
                Ok(part) => {
                    assert_eq!((part.len(), part.as_ptr()), (stop - start, last[start..].as_ptr()));
                    frozen.handles.push(part);
                }
                Err(error) => {
                    assert!(start > stop || stop > last.len());
                    assert_eq!(error, Error::OutOfBounds { start, stop, len: last.len() });
                    self.misuse.out_of_bounds += 1;
                }
            },
            Op::Unfreeze(_) => {
                let was_unique = frozen.handles.len() == 1;
                match frozen.handles.pop().unwrap().try_unfreeze() {
                    Ok(buffer) => {
                        assert!(was_unique);
                        let Frozen { mark, .. } = self.frozen.swap_remove(which % count);
                        assert_marked(&buffer, mark);
                        self.buffers.push((buffer, mark));
                    }
                    Err(handle) => {
                        assert!(!was_unique);
                        frozen.handles.push(handle);
                    }
                }
            }
            _ => {
                assert!(self.pool.is_live(frozen.id));
                frozen.handles.remove(0);
                if frozen.handles.is_empty() {
                    let Frozen { id, owner, block_bytes, explicit, .. } = self.frozen.swap_remove(which % count);
                    self.ended(id, owner, block_bytes, explicit);
                }
            }
        }
    }

    fn counts(&self) -> Counts {
        (self.granted, self.ended_count, self.refused)
    }

    fn check(&self) {
        let stats = self.pool.stats();
        let live = (self.buffers.len() + self.frozen.len()) as u64;
        assert_eq!((stats.live_bytes, stats.live_count), (self.live_bytes, live));
        assert_eq!((stats.allocations, stats.failures), (self.granted, self.refused));
        assert_eq!(stats.dropped_unreleased, self.leaked);
        assert_eq!(
            (stats.misuse, self.elsewhere.misuse().counts().foreign_release),
            (self.misuse, self.misuse_elsewhere)
        );
        assert!(stats.high_water_bytes >= self.most_bytes);
        assert!(stats.live_bytes + stats.cached_bytes <= stats.limit_bytes.max(stats.live_bytes));
        let idle: usize = stats.classes.iter().map(|class| class.size * class.available).sum();
        assert_eq!(stats.cached_bytes, idle);
        let of_owner = self.owners.map(|owner| stats.owner(owner).map_or(0, |owner| owner.live_bytes as usize));
        assert_eq!(of_owner, self.live_of);
        assert!(self.buffers.iter().all(|(buffer, _)| self.pool.is_live(buffer.id())));
        assert!(self.ended.iter().rev().take(50).all(|&id| !self.pool.is_live(id)));
    }

    fn finish(self) {
        let Self { pool, buffers, frozen, measure, .. } = self;
        drop((buffers, frozen, measure));
        pool.trim(0);
        let stats = pool.stats();
        assert_eq!((stats.live_bytes, stats.live_count, stats.cached_bytes), (0, 0, 0));
    }
}

/// A thread that takes the world, makes a step and hands it back.
struct Worker {
    work: SyncSender<(World, Op)>,
    done: Receiver<World>,
    thread: thread::JoinHandle<()>,
}

impl Worker {
    fn start() -> Self {
        let (work, steps) = sync_channel::<(World, Op)>(1);
        let (finished, done) = sync_channel(1);
        let thread = thread::spawn(move || {
            for (mut world, op) in steps {
                world.run(op);
                _ = finished.send(world);
            }
        });
        Self { work, done, thread }
    }

    fn end(self) {
        drop(self.work);
        self.thread.join().unwrap();
    }
}

/// Runs a program. Panics where the pool does not do as its model.
pub fn run(limit: usize, steps: impl IntoIterator<Item = Step>) {
    let mut world = World::new(limit.max(64));
    let mut workers: [Worker; THREADS] = std::array::from_fn(|_| Worker::start());
    for Step { thread, op } in steps {
        let worker = &mut workers[thread];
        worker.work.send((world, op)).unwrap();
        world = worker.done.recv().expect("a step panicked");
        if matches!(op, Op::EndThread) {
            std::mem::replace(worker, Worker::start()).end();
        }
        world.check();
    }
    world.finish();
    workers.into_iter().for_each(Worker::end);
}
