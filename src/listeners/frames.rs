//! Messages on a stream: two octets of length, then the message (RFC 1035 §4.2.2, RFC 7766 §8).
//!
//! Pure buffers with bounds; no socket, no clock.

use crate::wire::{MAX_MESSAGE_OCTETS, u16_at};

/// Octets of the length field.
const LENGTH_OCTETS: usize = 2;
/// The largest frame, and so the most that an input buffer ever holds.
pub(super) const MAX_FRAME_OCTETS: usize = LENGTH_OCTETS + MAX_MESSAGE_OCTETS;
/// What an input buffer begins with, and goes back to: some 80 queries in one read, and 4 MiB for
/// a thousand idle connections.
pub(super) const INPUT_OCTETS: usize = 4_096;
/// Over this, no further query is answered until the client takes what is there. The last answer
/// let in may be a whole frame, so an output holds at most this and [`MAX_FRAME_OCTETS`].
pub(super) const OUTPUT_OCTETS: usize = 65_536;

/// What a client sent and nobody took yet.
#[derive(Debug)]
pub(super) struct Input {
    octets: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    pub(super) fn new() -> Self {
        Self { octets: vec![0; INPUT_OCTETS], start: 0, end: 0 }
    }

    /// Where the next octets go. Empty only while [`Self::has_frame`], when nobody should read.
    pub(super) fn space(&mut self) -> &mut [u8] {
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
            if self.octets.len() > INPUT_OCTETS {
                self.octets.truncate(INPUT_OCTETS);
                self.octets.shrink_to_fit();
            }
        } else if self.end == self.octets.len() && !self.has_frame() {
            self.octets.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.end == self.octets.len() {
                // By doubling, not by what the length field says: a client that announces 65,535
                // octets has to send half of what it makes us set aside.
                let frame = self.announced().unwrap_or(0) + LENGTH_OCTETS;
                let grown = (2 * self.end).min(frame).min(MAX_FRAME_OCTETS);
                self.octets.resize(grown.max(self.end), 0);
            }
        }
        self.octets.get_mut(self.end..).unwrap_or_default()
    }

    /// Notes that `count` octets came into [`Self::space`].
    pub(super) fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.octets.len());
    }

    /// The next complete message, taken; it may be empty.
    pub(super) fn next_message(&mut self) -> Option<&[u8]> {
        let begin = self.start + LENGTH_OCTETS;
        let end = begin + self.announced()?;
        if end > self.end {
            return None;
        }
        self.start = end;
        self.octets.get(begin..end)
    }

    /// A complete message waits.
    pub(super) fn has_frame(&self) -> bool {
        let held = self.end - self.start;
        self.announced().is_some_and(|octets| held >= LENGTH_OCTETS + octets)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Forgets what is there.
    pub(super) fn clear(&mut self) {
        self.start = self.end;
    }

    /// The message's length, once both octets are there.
    fn announced(&self) -> Option<usize> {
        let held = self.octets.get(self.start..self.end)?;
        u16_at(held, 0).map(usize::from)
    }
}

/// Answers on their way to a client.
#[derive(Default, Debug)]
pub(super) struct Output {
    octets: Vec<u8>,
    written: usize,
    /// Since the beginning.
    taken_octets: u64,
}

impl Output {
    /// What the client has not taken yet.
    pub(super) fn pending(&self) -> &[u8] {
        self.octets.get(self.written..).unwrap_or_default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.written == self.octets.len()
    }

    /// Another answer may be let in.
    pub(super) fn has_room(&self) -> bool {
        self.octets.len() - self.written < OUTPUT_OCTETS
    }

    /// Notes that the client took `count` octets.
    pub(super) fn took(&mut self, count: usize) {
        let count = count.min(self.octets.len() - self.written);
        self.written += count;
        self.taken_octets += count as u64;
        if self.is_empty() {
            self.octets.clear();
            self.octets.shrink_to(INPUT_OCTETS);
            self.written = 0;
        } else if self.written >= OUTPUT_OCTETS {
            // So that what was taken does not add up while the client never takes all.
            self.octets.drain(..self.written);
            self.written = 0;
        }
    }

    /// Octets that the client took since the beginning.
    pub(super) fn taken_octets(&self) -> u64 {
        self.taken_octets
    }

    /// Octets that were written for it since the beginning.
    pub(super) fn given_octets(&self) -> u64 {
        self.taken_octets + self.pending().len() as u64
    }

    /// Appends a finished frame.
    pub(super) fn push(&mut self, frame: &[u8]) {
        self.octets.extend_from_slice(frame);
    }

    /// Appends the message that `write` appends, framed; nothing when it appends nothing, or says
    /// so by `None`.
    pub(super) fn frame<T>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> T,
        keep: fn(&T) -> bool,
    ) -> T {
        let begin = open_frame(&mut self.octets);
        let written = write(&mut self.octets);
        if keep(&written) {
            close_frame(&mut self.octets, begin);
        } else {
            self.octets.truncate(begin);
        }
        written
    }
}

/// Makes place for a length; returns where.
pub(super) fn open_frame(out: &mut Vec<u8>) -> usize {
    let begin = out.len();
    out.extend_from_slice(&[0; LENGTH_OCTETS]);
    begin
}

/// Writes the length of the message that was appended since [`open_frame`]. Takes the frame back
/// when there is none, or when it is longer than a frame can say.
pub(super) fn close_frame(out: &mut Vec<u8>, begin: usize) {
    let octets = out.len().saturating_sub(begin + LENGTH_OCTETS);
    let length = out.get_mut(begin..begin + LENGTH_OCTETS);
    match (u16::try_from(octets), length) {
        (Ok(octets), Some(length)) if octets > 0 => length.copy_from_slice(&octets.to_be_bytes()),
        _ => out.truncate(begin),
    }
}

/// Returns the messages of a stream that arrives in `pieces`, and the most octets that the buffer
/// held. For the fuzz target `frames`.
#[cfg(fuzzing)]
pub fn read_frames<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, usize) {
    let (mut input, mut messages, mut most_octets) = (Input::new(), Vec::new(), 0);
    for mut piece in pieces {
        while !piece.is_empty() {
            let space = input.space();
            let count = space.len().min(piece.len());
            space[..count].copy_from_slice(&piece[..count]);
            input.filled(count);
            piece = &piece[count..];
            most_octets = most_octets.max(input.octets.len());
            let before = messages.len();
            while let Some(message) = input.next_message() {
                messages.push(message.to_vec());
            }
            assert!(count > 0 || messages.len() > before, "no space, and no message");
        }
    }
    (messages, most_octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(input: &mut Input, mut octets: &[u8]) {
        while !octets.is_empty() && !input.has_frame() {
            let space = input.space();
            let count = space.len().min(octets.len());
            assert!(count > 0, "no space, no frame");
            space[..count].copy_from_slice(&octets[..count]);
            input.filled(count);
            octets = &octets[count..];
        }
    }

    #[test]
    fn frames_come_out_whole_wherever_the_stream_was_cut() {
        let stream = b"\x00\x03abc\x00\x00\x00\x01d";
        for cut in 0..=stream.len() {
            let mut input = Input::new();
            let mut messages: Vec<Vec<u8>> = Vec::new();
            for part in [&stream[..cut], &stream[cut..]] {
                let space = input.space();
                space[..part.len()].copy_from_slice(part);
                input.filled(part.len());
                while let Some(message) = input.next_message() {
                    messages.push(message.to_vec());
                }
            }
            assert_eq!(messages, [b"abc".to_vec(), vec![], b"d".to_vec()], "cut at {cut}");
            assert!(input.is_empty());
        }
    }

    #[test]
    fn the_largest_frame_fits_and_the_buffer_goes_back() {
        let mut input = Input::new();
        let mut frame = vec![0xff, 0xff];
        frame.resize(MAX_FRAME_OCTETS, 7);
        feed(&mut input, &frame);
        assert!(input.has_frame());
        assert_eq!(input.octets.len(), MAX_FRAME_OCTETS);
        assert_eq!(input.space().len(), 0, "a full buffer does not grow");
        assert_eq!(input.next_message().unwrap().len(), MAX_MESSAGE_OCTETS);
        assert_eq!(input.space().len(), INPUT_OCTETS);
        assert!(input.octets.capacity() < 2 * INPUT_OCTETS);
    }

    #[test]
    fn an_announcement_alone_costs_nothing() {
        let mut input = Input::new();
        feed(&mut input, b"\xff\xff");
        input.space();
        assert_eq!(input.octets.len(), INPUT_OCTETS);
        feed(&mut input, &[0; INPUT_OCTETS]);
        assert_eq!(input.octets.len(), 2 * INPUT_OCTETS);
    }

    #[test]
    fn answers_are_framed_and_unwanted_ones_taken_back() {
        let mut output = Output::default();
        output.frame(|out| out.extend_from_slice(b"abc"), |()| true);
        output.frame(|out| out.extend_from_slice(b"no"), |()| false);
        output.frame(|_| (), |()| true);
        output.frame(|out| out.resize(out.len() + MAX_MESSAGE_OCTETS + 1, 0), |()| true);
        assert_eq!(output.pending(), b"\x00\x03abc");
        output.took(2);
        assert_eq!(output.pending(), b"abc");
        output.took(3);
        assert!(output.is_empty());
        output.frame(|out| out.resize(out.len() + MAX_MESSAGE_OCTETS, 0), |()| true);
        assert_eq!(output.pending().len(), MAX_FRAME_OCTETS);
        assert!(!output.has_room());
    }

    #[test]
    fn an_output_that_is_never_empty_does_not_grow() {
        let mut output = Output::default();
        output.push(&[0; 10]);
        for _ in 0..1_000 {
            output.push(&[0; 1_000]);
            output.took(1_000);
            assert!(output.octets.len() <= OUTPUT_OCTETS + 1_010);
        }
        assert_eq!(output.pending().len(), 10);
    }
}
