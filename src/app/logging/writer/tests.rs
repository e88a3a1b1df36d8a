use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

/// The bound of waits that take microseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Loses `lines` query lines of a full room.
fn lose(state: &mut State, lines: usize) {
    while state.queue.push(Kind::Query, vec![b'x'; 10_000].into()) {}
    for _ in 0..lines {
        assert!(!state.queue.push(Kind::Query, vec![b'x'; 10_000].into()));
        state.lose(1);
    }
}

/// Does the next work as the writer does it. Returns the number that it tells.
fn work(state: &mut State, now: Instant, can_write: bool) -> Option<u64> {
    match state.next(now) {
        Work::Write(batch) => {
            state.finish(&batch, can_write);
            None
        }
        Work::Tell(lost) => {
            assert!(state.queue.push(Kind::Lost, (*b"lost").into()));
            Some(lost)
        }
        Work::Wait(_) => panic!("nothing to do"),
    }
}

#[test]
fn lost_lines_are_told_once_and_then_at_a_bounded_rate() {
    let (mut state, begin) = (State::default(), Instant::now());
    lose(&mut state, 7);
    assert_eq!(work(&mut state, begin, true), Some(7));
    assert_eq!(work(&mut state, begin, true), None, "the batch with the line about them");
    assert_eq!((state.untold, state.lost), (0, 7));
    lose(&mut state, 2);
    let almost = begin + TELL_EVERY - Duration::from_millis(1);
    while !state.queue.is_empty() {
        assert_eq!(work(&mut state, almost, true), None);
    }
    let Work::Wait(Some(wait)) = state.next(almost) else { panic!("a line is due later") };
    assert_eq!(wait, Duration::from_millis(1));
    assert_eq!(work(&mut state, begin + TELL_EVERY, true), Some(2));
    assert_eq!(work(&mut state, begin + TELL_EVERY, true), None);
    assert_eq!((state.untold, state.lost), (0, 9));
    assert!(matches!(state.next(begin + TELL_EVERY), Work::Wait(None)));
}

#[test]
fn a_flush_tells_of_lost_lines_at_once() {
    let (mut state, now) = (State::default(), Instant::now());
    lose(&mut state, 1);
    assert_eq!(work(&mut state, now, true), Some(1));
    assert_eq!(work(&mut state, now, true), None);
    lose(&mut state, 1);
    state.flushes = 1;
    assert_eq!(work(&mut state, now, true), Some(1));
    while !state.queue.is_empty() {
        assert_eq!(work(&mut state, now, true), None);
    }
    assert!(matches!(state.next(now), Work::Wait(None)));
    assert!(state.is_written());
}

#[test]
fn lines_that_cannot_be_written_are_lost_and_told_when_writing_works_again() {
    let (mut state, begin) = (State::default(), Instant::now());
    for _ in 0..3 {
        assert!(state.queue.push(Kind::Ordinary, (*b"line\n").into()));
    }
    assert_eq!(work(&mut state, begin, false), None);
    assert_eq!((state.lost, state.untold), (3, 3));
    assert_eq!(work(&mut state, begin, false), Some(3));
    assert_eq!(work(&mut state, begin, false), None, "the line about them fails too");
    assert_eq!((state.lost, state.untold), (3, 3));
    state.flushes = 1;
    assert!(matches!(state.next(begin), Work::Wait(Some(TELL_EVERY))), "no loop of failures");
    assert!(state.is_written(), "a flush does not wait for a closed stderr");
    assert_eq!(work(&mut state, begin + TELL_EVERY, true), Some(3));
    assert_eq!(work(&mut state, begin + TELL_EVERY, true), None);
    assert_eq!((state.lost, state.untold), (3, 0));
}

/// Writes to the test, and waits before each write for its word.
struct Gate {
    open: Receiver<()>,
    seen: Sender<Vec<u8>>,
}

impl Write for Gate {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if self.open.recv().is_err() {
            return Err(ErrorKind::BrokenPipe.into());
        }
        // One octet less than there is, so that the rest takes a second write.
        let octets = octets.get(..octets.len().div_ceil(2)).unwrap_or_default();
        self.seen.send(octets.to_vec()).map_err(|_| ErrorKind::BrokenPipe)?;
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn nothing_waits_for_a_blocked_writer_and_a_flush_ends_at_its_limit() {
    let lines = Arc::new(Lines::default());
    let ((open, gate), (seen, written)) = (channel(), channel());
    let teller = Arc::clone(&lines);
    let tell = move |lost: u64| teller.push(Kind::Lost, format!("{lost} lost\n").as_bytes());
    lines.write_to(Gate { open: gate, seen }, tell).expect("a thread");
    for _ in 0..300 {
        lines.push(Kind::Query, &[b'x'; 10_000]);
    }
    lines.push(Kind::Urgent, b"a warning\n");
    let lost = lines.lost();
    assert!((180..200).contains(&lost), "a room holds 1 MiB: {lost}");
    let begin = Instant::now();
    lines.flush(Duration::from_millis(20));
    assert!(begin.elapsed() >= Duration::from_millis(20));

    // From here on each write succeeds.
    for _ in 0..10_000 {
        open.send(()).expect("the writer lives");
    }
    lines.flush(PATIENCE);
    assert!(lines.state().is_written());
    let text = String::from_utf8(written.try_iter().flatten().collect()).expect("text");
    assert!(text.contains("a warning\n"), "it has a room of its own");
    assert!(text.contains(&format!("{lost} lost\n")), "{lost}");
    assert_eq!(lines.lost(), lost);

    // The reader goes: no caller waits for it.
    drop(written);
    for _ in 0..20_000 {
        lines.push(Kind::Ordinary, b"unread\n");
    }
    lines.flush(PATIENCE);
    assert!(lines.state().is_written());
}

#[test]
fn a_writer_that_has_no_room_for_now_is_tried_again() {
    struct Busy(Vec<ErrorKind>);
    impl Write for Busy {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.pop().map_or(Ok(octets.len()), |kind| Err(kind.into()))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut busy = Busy(vec![ErrorKind::WouldBlock, ErrorKind::Interrupted]);
    write_all(&mut busy, b"line\n").expect("written at last");
    let full = write_all(&mut Busy(vec![ErrorKind::StorageFull]), b"line\n");
    assert_eq!(full.expect_err("a full disk").kind(), ErrorKind::StorageFull);
}
