//! Counts the synchronous writes of the program that links this crate, and makes them as slow as a cloud's disk.
//!
//! `fsync` and `fdatasync` are defined here. The linker prefers a program's own symbols to the C library's, so every
//! caller in the program comes here, whatever it is written in: the standard library, redb in Rust, SQLite in C. Nothing
//! has to be loaded, traced or patched, and no library that is measured knows of it. On Linux; elsewhere nothing is
//! counted, and [`counted`] says so.
//!
//! It does not see `msync`, files opened with `O_DSYNC`, and other processes (a database server counts its own).

use std::time::Duration;

#[cfg(target_os = "linux")]
mod linux {
    #![expect(
        clippy::disallowed_methods,
        reason = "a slow disk is one that keeps its callers waiting"
    )]

    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use libc::{SYS_fdatasync, SYS_fsync, c_int, c_long, syscall};

    pub(super) static SYNCS: AtomicU64 = AtomicU64::new(0);
    pub(super) static DELAY: AtomicU64 = AtomicU64::new(0);

    fn sync(number: c_long, file: c_int) -> c_int {
        SYNCS.fetch_add(1, Ordering::Relaxed);
        let delay = DELAY.load(Ordering::Relaxed);
        if delay > 0 {
            std::thread::sleep(Duration::from_nanos(delay));
        }
        // SAFETY: both calls take a file descriptor and nothing else, touch no memory of ours, and refuse a descriptor
        // that is none. `syscall` sets `errno` as the functions that it stands in for do.
        let result = unsafe { syscall(number, file) };
        // 0 or -1.
        if result == 0 { 0 } else { -1 }
    }

    // SAFETY: the name, the arguments, the result and `errno` are the C library's.
    #[unsafe(no_mangle)]
    extern "C" fn fsync(file: c_int) -> c_int {
        sync(SYS_fsync, file)
    }

    // SAFETY: as above.
    #[unsafe(no_mangle)]
    extern "C" fn fdatasync(file: c_int) -> c_int {
        sync(SYS_fdatasync, file)
    }
}

/// How many synchronous writes the program has asked for, where that can be told.
#[must_use]
pub fn counted() -> Option<u64> {
    #[cfg(target_os = "linux")]
    return Some(linux::SYNCS.load(std::sync::atomic::Ordering::Relaxed));
    #[cfg(not(target_os = "linux"))]
    return None;
}

/// Makes every synchronous write from now on take so much longer. `false` where it cannot.
pub fn slow_down(by: Duration) -> bool {
    #[cfg(target_os = "linux")]
    linux::DELAY.store(
        u64::try_from(by.as_nanos()).unwrap_or(u64::MAX),
        std::sync::atomic::Ordering::Relaxed,
    );
    by.is_zero() || cfg!(target_os = "linux")
}
