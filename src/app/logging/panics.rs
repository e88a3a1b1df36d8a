//! Panics as log lines.
//!
//! The standard library writes a panic's message to stderr in the thread that panics. If stderr is
//! blocked, that thread would never come back to its clients.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, PanicHookInfo};
use std::thread;

use tracing::error;

use crate::engine::printable;

/// Has every panic of the process logged from now on.
pub(super) fn log() {
    panic::set_hook(Box::new(log_one));
}

fn log_one(panicked: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let name = thread.name().unwrap_or("without a name");
    let place = panicked.location().map_or_else(String::new, |place| format!(" at {place}"));
    error!("thread '{name}' panicked{place}: {}", printable(message(panicked.payload())));
    // Taken only if RUST_BACKTRACE asks for it.
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        for line in backtrace.to_string().lines() {
            error!("{line}");
        }
    }
}

fn message(payload: &(dyn Any + Send)) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(message), _) => message,
        (None, Some(message)) => message,
        (None, None) => "no message",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_has_its_message_whichever_way_it_was_made() {
        let caught = |f: fn()| {
            let payload = panic::catch_unwind(f).expect_err("it panics");
            message(&*payload).to_owned()
        };
        assert_eq!(caught(|| panic!("as it stands")), "as it stands");
        assert_eq!(
            caught(|| panic!("with {}", std::process::id())),
            format!("with {}", std::process::id())
        );
        assert_eq!(caught(|| panic::panic_any(7)), "no message");
    }
}
