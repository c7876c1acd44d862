//! framehop in this process, a thread at a time.
//!
//! Each thread that is ever looked at has the list of the loaded modules, which says where each one's unwind tables are, and
//! the rules for the return addresses that it met. The list is that of one state of the dynamic linker, whose counts of
//! modules that came and went are compared each time; when they differ, list and rules are made anew.
//!
//! Why the tables may be read: a return address on this thread's stack belongs to a module that is loaded, and stays so while
//! the call it returns to has not ended. The list names it as it is now, for the counts have not changed; and the tables of
//! other modules are not looked at. The stack is read between the stack pointer and the thread's end of it, and nowhere else:
//! what a wrong rule would compute is an address that is refused, and the walk ends there.
//!
//! Memory: a walk allocates none. List and rules are made of what framehop allocates, which cannot be refused; so they are made
//! only where the system had more than that a moment ago, and until then the stack is walked by the system's unwinder. That
//! narrows the gap and does not close it: where other threads take the last memory in that moment, framehop's request ends the
//! process, as most programs' do.

use super::with_linker;
use crate::pool::fallible::has_room;
use framehop::{
    CacheNative, ExplicitModuleSectionInfo, Module, MustNotAllocateDuringUnwind, UnwindRegsNative, Unwinder,
    UnwinderNative,
};
use std::arch::asm;
use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::ops::Range;
use std::ptr::with_exposed_provenance;

/// `DW_EH_PE_pcrel | DW_EH_PE_sdata4`: how every linker in use writes where `.eh_frame` is.
const RELATIVE_I32: u8 = 0x1b;

/// More than a thread's rules take (30 KiB), and than the C library takes to know a thread's stack and to remember a destructor.
const RULES_BYTES_MAX: usize = 96 << 10;
/// More than a module takes in the list, and while the list is made.
const MODULE_BYTES_MAX: usize = 2 << 10;

thread_local! {
    /// Whether `THREAD` may be looked at: its destructor is registered, for which the C library needs memory.
    static IS_REGISTERED: Cell<bool> = const { Cell::new(false) };
    static THREAD: RefCell<Option<Thread>> = const { RefCell::new(None) };
}

struct Thread {
    unwinder: UnwinderNative<&'static [u8], MustNotAllocateDuringUnwind>,
    cache: CacheNative<MustNotAllocateDuringUnwind>,
    linker: LinkerState,
    stack: Range<usize>,
}

/// How many modules were ever loaded and unloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LinkerState {
    adds: u64,
    subs: u64,
}

/// `None` where the thread's stack is not known, or there is no memory for what is to be known: it must be walked by other
/// means.
#[inline(never)]
pub(super) fn addresses(into: &mut [usize]) -> Option<usize> {
    let (ip, sp, fp): (u64, u64, u64);
    // SAFETY: reads three registers.
    unsafe {
        asm!("lea {ip}, [rip]", "mov {sp}, rsp", "mov {fp}, rbp", ip = out(reg) ip, sp = out(reg) sp, fp = out(reg) fp,
            options(nomem, nostack, preserves_flags));
    }
    let walk = |thread: &RefCell<Option<Thread>>| {
        // Borrowed already where this is called from within itself: by a hook of the allocator's, say.
        let mut slot = thread.try_borrow_mut().ok()?;
        let linker = with_linker(LinkerState::now)?;
        if slot.as_ref().is_none_or(|thread| thread.linker != linker) {
            *slot = None;
            *slot = Some(Thread::new(linker)?);
        }
        let thread = slot.as_mut()?;
        // Below its start there is nothing that this could run on: the stack of a signal or a coroutine is another one.
        thread.stack.contains(&(sp as usize)).then(|| thread.walk(ip, sp, fp, into))
    };
    if !IS_REGISTERED.get() {
        if !has_room(RULES_BYTES_MAX) {
            return None;
        }
        IS_REGISTERED.set(true);
    }
    THREAD.try_with(walk).ok().flatten()
}

impl Thread {
    fn new(linker: LinkerState) -> Option<Self> {
        if !has_room(linker.room_bytes()) {
            return None;
        }
        let stack = stack()?;
        let mut unwinder = UnwinderNative::new();
        with_linker(modules).into_iter().for_each(|module| unwinder.add_module(module));
        Some(Self { unwinder, cache: CacheNative::new_in(), linker, stack })
    }

    fn walk(&mut self, ip: u64, sp: u64, fp: u64, into: &mut [usize]) -> usize {
        let (start, end) = (sp, self.stack.end as u64);
        let mut read = |address: u64| {
            if address < start || address > end - 8 {
                return Err(());
            }
            let word: u64;
            // SAFETY: eight bytes of this thread's own stack, between its pointer and its end. They may be a caller's who is not
            // done with them, or may be nobody's; so it is the machine that reads and not the language (nor a sanitizer).
            unsafe {
                asm!("mov {word}, qword ptr [{address}]", word = out(reg) word, address = in(reg) address,
                    options(readonly, nostack, preserves_flags));
            }
            Ok(word)
        };
        let mut frames = self.unwinder.iter_frames(ip, UnwindRegsNative::new(ip, sp, fp), &mut self.cache, &mut read);
        // The first is where we are ourselves.
        let _ = frames.next();
        let mut count = 0;
        while count < into.len()
            && let Ok(Some(frame)) = frames.next()
        {
            into[count] = frame.address() as usize;
            count += 1;
        }
        count
    }
}

/// The stack of this thread. `None` if the system does not say, or this runs on another one (of a signal or a coroutine).
fn stack() -> Option<Range<usize>> {
    // SAFETY: zeros are valid for a plain C structure, which is filled in before it is used and then given back.
    unsafe {
        let mut attributes = std::mem::zeroed::<libc::pthread_attr_t>();
        if libc::pthread_getattr_np(libc::pthread_self(), &raw mut attributes) != 0 {
            return None;
        }
        let (mut start, mut bytes) = (std::ptr::null_mut::<c_void>(), 0);
        let known = libc::pthread_attr_getstack(&raw const attributes, &raw mut start, &raw mut bytes) == 0;
        libc::pthread_attr_destroy(&raw mut attributes);
        let stack = start.addr()..start.addr().checked_add(bytes)?;
        let here = (&raw const attributes).addr();
        (known && stack.contains(&here)).then_some(stack)
    }
}

impl LinkerState {
    /// More than it takes to make a thread's list and rules.
    fn room_bytes(self) -> usize {
        let modules = usize::try_from(self.adds.saturating_sub(self.subs)).unwrap_or(usize::MAX);
        modules.saturating_mul(MODULE_BYTES_MAX).saturating_add(RULES_BYTES_MAX)
    }

    fn now() -> Option<Self> {
        unsafe extern "C" fn first(info: *mut libc::dl_phdr_info, size: usize, out: *mut c_void) -> i32 {
            // SAFETY: the linker gives a valid structure and passes on what it was given, a state. An old one's structure
            // ends before the counts.
            unsafe {
                if size >= size_of::<libc::dl_phdr_info>() {
                    let (adds, subs) = ((*info).dlpi_adds, (*info).dlpi_subs);
                    *out.cast::<Option<LinkerState>>() = Some(LinkerState { adds, subs });
                }
            }
            1
        }
        let mut state: Option<Self> = None;
        // SAFETY: `first` is what is wanted, and the pointer is to what it takes it for, for as long as this call.
        unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut state).cast()) };
        state
    }
}

/// What is loaded, with its unwind tables.
fn modules() -> Vec<Module<&'static [u8]>> {
    unsafe extern "C" fn each(info: *mut libc::dl_phdr_info, _size: usize, out: *mut c_void) -> i32 {
        // SAFETY: the linker gives a valid structure, and passes on what it was given: a list that nobody else uses now.
        let (info, modules) = unsafe { (&*info, &mut *out.cast::<Vec<Module<&'static [u8]>>>()) };
        // SAFETY: the structure is the linker's.
        modules.extend(unsafe { module(info) });
        0
    }
    let mut modules = Vec::<Module<&'static [u8]>>::new();
    // SAFETY: `each` is what is wanted, and the pointer is to what it takes it for, for as long as this call.
    unsafe { libc::dl_iterate_phdr(Some(each), (&raw mut modules).cast()) };
    modules
}

/// # Safety
/// `info` comes from the linker, and what is made of it is looked into only while the module is loaded.
unsafe fn module(info: &libc::dl_phdr_info) -> Option<Module<&'static [u8]>> {
    if info.dlpi_phdr.is_null() {
        return None;
    }
    let base = info.dlpi_addr;
    // SAFETY: the linker's table has so many entries.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let segments = || headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
    let start = segments().map(|header| header.p_vaddr).min()?;
    let end = segments().map(|header| header.p_vaddr + header.p_memsz).max()?;
    let index = headers.iter().find(|header| header.p_type == libc::PT_GNU_EH_FRAME)?;
    // From an address to the end of the segment that it is in: nobody says how long `.eh_frame` is.
    let rest = |address: u64| {
        let segment =
            segments().find(|header| (header.p_vaddr..header.p_vaddr + header.p_filesz).contains(&address))?;
        Some(address..segment.p_vaddr + segment.p_filesz)
    };
    let bytes = |range: &Range<u64>| {
        let start = with_exposed_provenance::<u8>((base + range.start) as usize);
        // SAFETY: a part of one segment's file content, which is mapped while the module is loaded; these parts of it are
        // for reading only.
        unsafe { std::slice::from_raw_parts(start, (range.end - range.start) as usize) }
    };
    let index_range = rest(index.p_vaddr)?;
    let index_range = index_range.start..index_range.end.min(index.p_vaddr + index.p_memsz);
    let index_bytes = bytes(&index_range);
    let [_, RELATIVE_I32, _, _, offset @ ..] = index_bytes else { return None };
    let offset = i32::from_ne_bytes(*offset.first_chunk()?);
    let table_range = rest(index_range.start.checked_add(4)?.checked_add_signed(offset.into())?)?;
    let table_bytes = bytes(&table_range);
    let sections = ExplicitModuleSectionInfo {
        eh_frame_svma: Some(table_range),
        eh_frame: Some(table_bytes),
        eh_frame_hdr_svma: Some(index_range),
        eh_frame_hdr: Some(index_bytes),
        ..Default::default()
    };
    Some(Module::new(String::new(), base + start..base + end, base, sections))
}
