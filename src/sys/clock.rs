//! How long the machine slept, and whether anybody keeps its clock.

use std::io;
use std::time::Duration;

/// For how long this machine has been suspended since it was started, at least: never more than
/// that, and less only by the time between two system calls. Timers and [`std::time::Instant`]
/// stand still meanwhile.
///
/// # Errors
/// The kernel's, for a clock that it does not know.
pub fn time_asleep() -> io::Result<Duration> {
    let with_sleep = read(libc::CLOCK_BOOTTIME)?;
    // Read second: were we held up in between, it shows too little, never a sleep that was not.
    let without = read(libc::CLOCK_MONOTONIC)?;
    Ok(with_sleep.saturating_sub(without))
}

/// Whether the kernel knows of somebody who keeps the clock of this machine right (adjtimex(2)).
/// Changes nothing.
///
/// # Errors
/// The kernel's; sandboxes may forbid the call.
pub fn is_clock_synchronised() -> io::Result<bool> {
    // SAFETY: a `timex` is numbers alone, for which zeros are a value; its mode 0 asks for no change.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is good for the one `timex` that is read and written.
    let clock = unsafe { libc::adjtimex(&raw mut state) };
    if clock < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(clock != libc::TIME_ERROR && state.status & libc::STA_UNSYNC == 0)
}

fn read(clock: libc::clockid_t) -> io::Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is good for the one `timespec` that is written.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // Neither is ever negative, nor a second of nanoseconds or more.
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
    Ok(Duration::new(seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_whether_the_clock_is_kept() {
        // Either answer may be right here; a sandbox may say no.
        match is_clock_synchronised() {
            Ok(first) => assert_eq!(is_clock_synchronised().ok(), Some(first)),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}"),
        }
    }

    #[test]
    fn sleep_never_shrinks_but_by_what_reading_takes() {
        let first = time_asleep().unwrap();
        let second = time_asleep().unwrap();
        // The machine may sleep between the two; the clocks do not part otherwise.
        assert!(second + Duration::from_secs(2) > first, "{first:?} {second:?}");
    }
}
