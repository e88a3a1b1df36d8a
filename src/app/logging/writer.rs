//! The thread that writes log lines, and the counts of those that it could not write.
//!
//! Threads that log leave their line in the queue and go on. Only this thread waits for stderr.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use super::queue::{Kind, Line, Queue};

/// Between two lines about lost lines. A reader that is too slow for long must not lose more lines
/// to such notes.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// Between two tries if stderr does not block and has no room. Another process that shares it may
/// have set that mode.
const RETRY_EVERY: Duration = Duration::from_millis(10);

/// The lines of the process on their way to stderr.
#[derive(Default)]
pub(super) struct Lines {
    state: Mutex<State>,
    /// A line has come, or a caller of [`Self::flush`].
    wanted: Condvar,
    /// Everything is written.
    written: Condvar,
}

#[derive(Default)]
struct State {
    queue: Queue,
    /// Lines lost since the start.
    lost: u64,
    /// Those of them that no written line has counted yet.
    untold: u64,
    /// The lost lines that the line about them in the queue counts.
    telling: Option<u64>,
    told_at: Option<Instant>,
    /// The writer has taken lines that it has not written yet.
    is_writing: bool,
    /// The last write failed.
    is_broken: bool,
    /// Callers of [`Lines::flush`].
    flushes: usize,
}

/// What the writer does next.
enum Work {
    Write(Vec<Line>),
    /// Log that so many lines were lost.
    Tell(u64),
    /// Wait until a line comes, or for this time.
    Wait(Option<Duration>),
}

impl Lines {
    /// Starts the thread that writes the lines to `out`. `tell` logs a number of lost lines.
    pub(super) fn write_to(
        self: &Arc<Self>,
        out: impl Write + Send + 'static,
        tell: impl Fn(u64) + Send + 'static,
    ) -> io::Result<()> {
        let lines = Arc::clone(self);
        thread::Builder::new().name("log".to_owned()).spawn(move || lines.serve(out, tell))?;
        Ok(())
    }

    /// Leaves a line for the writer, or counts it as lost. Never waits for stderr.
    fn push(&self, kind: Kind, line: &[u8]) {
        let line = line.into();
        let mut state = self.state();
        if !state.queue.push(kind, line) {
            state.lose(1);
        }
        drop(state);
        self.wanted.notify_one();
    }

    /// Lines lost since the start.
    pub(super) fn lost(&self) -> u64 {
        self.state().lost
    }

    /// Waits until all lines are written, `limit` at most.
    pub(super) fn flush(&self, limit: Duration) {
        let mut state = self.state();
        state.flushes += 1;
        self.wanted.notify_one();
        let (mut state, _in_time) = self
            .written
            .wait_timeout_while(state, limit, |state| !state.is_written())
            .unwrap_or_else(PoisonError::into_inner);
        state.flushes -= 1;
    }

    fn serve(&self, mut out: impl Write, tell: impl Fn(u64)) {
        loop {
            match self.next() {
                Work::Write(batch) => {
                    let octets: Vec<u8> =
                        batch.iter().flat_map(|line| &*line.octets).copied().collect();
                    let written = write_all(&mut out, &octets).is_ok();
                    self.state().finish(&batch, written);
                }
                Work::Tell(lost) => tell(lost),
                Work::Wait(_) => {}
            }
        }
    }

    /// Waits for something to do.
    fn next(&self) -> Work {
        let mut state = self.state();
        loop {
            match state.next(Instant::now()) {
                Work::Wait(limit) => {
                    self.written.notify_all();
                    state = self.wait(state, limit);
                }
                work => return work,
            }
        }
    }

    /// Waits until a line comes, or for `limit`.
    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        limit: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        match limit {
            None => self.wanted.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(limit) => {
                let waited = self.wanted.wait_timeout(state, limit);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn lose(&mut self, lines: u64) {
        self.lost += lines;
        self.untold += lines;
    }

    /// What to do at `now`, after what was to be done before is done.
    fn next(&mut self, now: Instant) -> Work {
        self.is_writing = false;
        if self.queue.is_empty() {
            self.telling = None;
        }
        let wait = self.until_tell(now);
        if wait == Some(Duration::ZERO) {
            self.is_writing = true;
            self.telling = Some(self.untold);
            self.told_at = Some(now);
            return Work::Tell(self.untold);
        }
        if self.queue.is_empty() {
            return Work::Wait(wait);
        }
        self.is_writing = true;
        Work::Write(self.queue.take_batch())
    }

    /// How long it is until a line about lost lines is due, if there is one to write.
    fn until_tell(&self, now: Instant) -> Option<Duration> {
        if self.untold == 0 || self.telling.is_some() {
            return None;
        }
        if self.flushes > 0 && !self.is_broken {
            return Some(Duration::ZERO);
        }
        let due = self.told_at.map(|at| at + TELL_EVERY);
        Some(due.map_or(Duration::ZERO, |due| due.saturating_duration_since(now)))
    }

    /// Notes that the lines were written, or that they could not be.
    fn finish(&mut self, batch: &[Line], written: bool) {
        self.is_broken = !written;
        let tells = batch.iter().any(|line| line.kind == Kind::Lost);
        if !written {
            let own = batch.iter().filter(|line| line.kind != Kind::Lost).count();
            self.lose(u64::try_from(own).unwrap_or(u64::MAX));
        }
        if tells {
            let told = self.telling.take().unwrap_or_default();
            self.untold -= if written { told.min(self.untold) } else { 0 };
        }
    }

    /// Nothing waits, or nothing that could be written.
    fn is_written(&self) -> bool {
        self.queue.is_empty() && !self.is_writing && (self.untold == 0 || self.is_broken)
    }
}

/// Writes everything, and waits as long as there is no room.
fn write_all(out: &mut impl Write, mut octets: &[u8]) -> io::Result<()> {
    while !octets.is_empty() {
        match out.write(octets) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => octets = octets.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY_EVERY),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Stderr without the lock of the standard library. A thread that panics may want that lock while
/// the writer waits in a write.
pub(super) fn stderr() -> Box<dyn Write + Send> {
    match io::stderr().as_fd().try_clone_to_owned() {
        Ok(stderr) => Box::new(File::from(stderr)),
        // A closed stderr: the standard library throws such writes away.
        Err(_) => Box::new(io::stderr()),
    }
}

/// Gives each event a writer of its kind.
pub(super) struct Sink(pub(super) Arc<Lines>);

/// Takes one line. The formatter writes each event with a single call.
pub(super) struct LineWriter<'a> {
    lines: &'a Lines,
    kind: Kind,
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter { lines: &self.0, kind: Kind::Ordinary }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        LineWriter { lines: &self.0, kind: Kind::of(metadata) }
    }
}

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.push(self.kind, line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
