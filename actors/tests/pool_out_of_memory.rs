//! Where the system has no memory a lease is refused or goes unrecorded, and the program goes on: tried in child processes
//! with a limit on their address space, in which the allocator is emptied to the last byte.

#![cfg(target_os = "linux")]

use ironcliw_actors::Error;
use ironcliw_actors::leak::{Event, Ledger, Level, Record, RecorderConfig};
use ironcliw_actors::pool::{Buffer, Owner, Pool, PoolConfig, Reservation};
use std::alloc::{Layout, alloc, dealloc};
use std::io::Write;
use std::process::{Command, Stdio};
use std::ptr::{NonNull, null_mut};
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

const CHILD: &str = "IRONCLIW_TEST_OUT_OF_MEMORY";
const ROOM_BYTES: u64 = 192 << 20;
/// More small leases than fit into it.
const LEASES_MAX: usize = 2 << 20;

/// All the memory that the allocator has, in a list through its pieces.
struct All(*mut Piece);

struct Piece {
    next: *mut Piece,
    layout: Layout,
}

impl All {
    fn take() -> Self {
        let mut all = Self(null_mut());
        let mut bytes = 16 << 20;
        while bytes >= size_of::<Piece>() {
            let layout = Layout::from_size_align(bytes, align_of::<Piece>()).unwrap();
            // SAFETY: the layout is not empty.
            match NonNull::new(unsafe { alloc(layout) }.cast::<Piece>()) {
                // SAFETY: the piece is fresh, aligned and large enough.
                Some(piece) => unsafe {
                    piece.write(Piece { next: all.0, layout });
                    all.0 = piece.as_ptr();
                },
                None => bytes /= 2,
            }
        }
        all
    }
}

impl Drop for All {
    fn drop(&mut self) {
        while let Some(piece) = NonNull::new(self.0) {
            // SAFETY: `take` allocated each piece with the layout that stands in it.
            unsafe {
                let Piece { next, layout } = piece.read();
                self.0 = next;
                dealloc(piece.as_ptr().cast(), layout);
            }
        }
    }
}

fn is_exhausted(result: Result<Buffer, Error>) -> bool {
    matches!(result, Err(Error::PoolExhausted { .. }))
}

/// A pool of which an owner has all that it may.
fn capped() -> (Pool, Owner, Buffer) {
    let pool = Pool::new(PoolConfig::limited(1 << 20)).unwrap();
    let owner = Owner::named("oom/capped");
    pool.reserve(Reservation { cap: Some(1 << 10), ..Reservation::new(owner.name(), 0) }).unwrap();
    let all = pool.allocate(1 << 10, owner).unwrap();
    (pool, owner, all)
}

/// Writes the error where there is no memory for a text.
fn says(error: &Error, words: &str) -> bool {
    let mut text = [0; 256];
    let mut rest = &mut text[..];
    let fits = write!(rest, "{error}").is_ok();
    fits && text.windows(words.len()).any(|part| part == words.as_bytes())
}

fn limit_address_space() {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split_whitespace().next().unwrap().parse().unwrap();
    let most = pages * 4096 + ROOM_BYTES;
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: it reads the structure.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
}

fn child() {
    let pool = Pool::new(PoolConfig::limited(1 << 40)).unwrap();
    let owners = ["oom/a", "oom/b", "oom/c"].map(Owner::named);
    let mut held: Vec<Buffer> = Vec::with_capacity(LEASES_MAX);
    let (capped_pool, capped, _all_it_may) = capped();
    let [begun, empty, over, freed] = [(); 4].map(|()| Barrier::new(2));
    let given: Mutex<Option<Buffer>> = Mutex::new(None);
    std::thread::scope(|scope| {
        let (pool, begun, empty, over, freed, given) = (&pool, &begun, &empty, &over, &freed, &given);
        // It uses the pool for the first time when there is nothing left to make it a cache of.
        let other = scope.spawn(move || {
            // With a part of the allocator of its own, for which there is address space still.
            drop(std::hint::black_box(Box::new(0)));
            begun.wait();
            empty.wait();
            // Its own part of the allocator as well.
            let all = All::take();
            let returned = given.lock().unwrap().take().map(drop).is_some();
            let refused = is_exhausted(pool.allocate(1 << 20, owners[1])) & is_exhausted(pool.allocate(64, owners[2]));
            over.wait();
            drop(all);
            freed.wait();
            let later = pool.allocate(64, owners[2]).is_ok();
            (returned, refused, later)
        });
        begun.wait();
        limit_address_space();
        for len in [32 << 20, 3 << 20, 200_000, 5000, 64] {
            let before = held.len();
            while held.len() < LEASES_MAX {
                match pool.allocate_for_overwrite(len, owners[0]) {
                    Ok(buffer) => held.push(buffer),
                    refused => {
                        assert!(is_exhausted(refused));
                        break;
                    }
                }
            }
            assert!(held.len() < LEASES_MAX, "the limit did not hold");
            if len > 64 {
                held.truncate(before);
            }
        }
        let live = held.len() as u64;
        *given.lock().unwrap() = held.pop();
        let all = All::take();
        empty.wait();
        // A new owner, sizes that were never used, and to make room for what is given back.
        let refused = [64, 100_000, 1 << 20, 100 << 20].map(|len| is_exhausted(pool.allocate(len, owners[1])));
        let over_cap = capped_pool.allocate(1, capped).unwrap_err();
        let no_room = pool.allocate(1 << 20, owners[1]).unwrap_err();
        let said =
            says(&over_cap, "\"oom/capped\" may have no 1 bytes more") & says(&no_room, "no room for 1048576 bytes");
        over.wait();
        drop(all);
        freed.wait();
        assert_eq!(refused, [true; 4]);
        assert!(said, "{over_cap}; {no_room}");
        assert!(matches!(over_cap, Error::PoolExhausted { capped: Some(_), .. }));
        assert_eq!(other.join().unwrap(), (true, true, true));
        let stats = pool.stats();
        assert_eq!((stats.live_count, stats.allocations - stats.live_count > 0), (live - 1, true));
    });
    held.clear();
    // The allocator may keep what it had for the small ones: no more than that is asked of it.
    let again = pool.allocate(1 << 20, owners[1]).unwrap();
    drop(again);
    pool.trim(0);
    let stats = pool.stats();
    assert_eq!((stats.live_count, stats.live_bytes, stats.cached_bytes), (0, 0, 0));
    println!("went on");
}

/// A call that no stack had before.
#[inline(never)]
fn lease_and_touch(pool: &Pool, owner: Owner) -> Buffer {
    let buffer = std::hint::black_box(pool.allocate_for_overwrite(1000, owner).unwrap());
    buffer.touch("used");
    buffer
}

fn tracked_child() {
    const LEASES: usize = 200;
    let leaks = RecorderConfig { level: Level::Disabled, ..RecorderConfig::default() };
    let pool = Pool::new(PoolConfig { leaks, ..PoolConfig::limited(1 << 40) }).unwrap();
    let (owner, recorder) = (Owner::named("oom/tracked"), pool.recorder().clone());
    // Blocks for later in a thread's cache: then leases need no memory, only their records do.
    let warm_up = |pool: &Pool| drop((0..8).map(|_| pool.allocate(1000, owner).unwrap()).collect::<Vec<_>>());
    let (warm, empty, over) = (Barrier::new(2), Barrier::new(2), Barrier::new(2));
    let mut ledger = Ledger::default();
    let mut waiting = Vec::new();
    std::thread::scope(|scope| {
        let (pool, warm, empty, over) = (&pool, &warm, &empty, &over);
        // It is looked at for the first time when there is nothing left to make its unwind rules of.
        let other = scope.spawn(move || {
            warm_up(pool);
            warm.wait();
            empty.wait();
            let all = All::take();
            let unseen = lease_and_touch(pool, owner);
            over.wait();
            drop(all);
            drop(unseen);
            lease_and_touch(pool, owner)
        });
        warm.wait();
        recorder.set_level(Level::Paranoid);
        waiting.extend((0..LEASES).map(|_| pool.allocate(1000, owner).unwrap()));
        warm_up(pool);
        assert_eq!((recorder.unrecorded_leases(), recorder.lost_stacks()), (0, 0));
        let record = Layout::new::<Record>();
        // SAFETY: the layout is not empty.
        let room_for_a_record = NonNull::new(unsafe { alloc(record) }).unwrap();
        limit_address_space();
        let all = All::take();
        let mine = lease_and_touch(pool, owner);
        let lost = (recorder.unrecorded_leases(), recorder.lost_stacks());
        // SAFETY: it was allocated above with this layout.
        unsafe { dealloc(room_for_a_record.as_ptr(), record) };
        let bare = lease_and_touch(pool, owner);
        let lost_with_room = (recorder.unrecorded_leases(), recorder.lost_stacks(), recorder.dropped_events());
        // The ledger has no room for those that wait.
        let mut known = None;
        ledger.absorb(recorder.drain().inspect(|event| match event {
            Event::Acquired(record) if record.lease.id == bare.id() => {
                known = Some((record.stack.is_some(), record.touches.newest_first().count(), record.touches.dropped()));
            }
            _ => {}
        }));
        empty.wait();
        over.wait();
        drop(all);
        assert_eq!(lost, (1, 0), "a lease without a record has no stack that could be lost");
        assert_eq!(lost_with_room, (1, 1, 0));
        assert_eq!(known, Some((false, 0, 1)), "a record without a stack, and a use that is only counted");
        let other = other.join().unwrap();
        assert_eq!((recorder.unrecorded_leases(), recorder.lost_stacks()), (2, 1));
        assert_eq!((ledger.refused(), ledger.outstanding().len()), (LEASES as u64 + 1, 0));
        ledger.absorb(recorder.drain());
        let told: Vec<_> = ledger.outstanding().map(|record| record.lease.id).collect();
        assert_eq!(told, [other.id()], "with memory there are records again, and with stacks");
        assert!(
            ledger.outstanding().all(|record| record.stack.is_some() && record.touches.newest_first().count() == 1)
        );
        assert_eq!(pool.stats().live_count, LEASES as u64 + 3, "counts are exact");
        drop((mine, bare, other));
    });
    drop(waiting);
    assert_eq!((pool.stats().live_count, pool.stats().live_bytes), (0, 0));
    println!("went on");
}

#[test]
fn memory_that_the_system_refuses_is_an_error_and_the_program_goes_on() {
    in_child("memory_that_the_system_refuses_is_an_error_and_the_program_goes_on", child);
}

#[test]
fn a_lease_that_the_system_has_no_memory_to_record_begins_unrecorded_and_is_counted() {
    in_child("a_lease_that_the_system_has_no_memory_to_record_begins_unrecorded_and_is_counted", tracked_child);
}

/// Runs `program` in a child process, which is this test once more.
fn in_child(name: &str, program: fn()) {
    if std::env::var_os(CHILD).is_some() {
        return program();
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(120);
    while child.try_wait().unwrap().is_none() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    _ = child.kill();
    let output = child.wait_with_output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("went on"), "{}\n{out}\n{err}", output.status);
}
