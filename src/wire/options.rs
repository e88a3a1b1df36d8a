//! Options of EDNS: their walk, and the COOKIE option (RFC 6891 §6.1.2, RFC 7873 §4).

use super::constants::Rtype;
use super::message::{Header, Malformed, Records, Section};
use super::u16_at;

/// Octets of an option's code and length.
pub const OPTION_HEAD_OCTETS: usize = 4;
/// Option code of a DNS cookie (RFC 7873 §4).
pub const OPTION_COOKIE: u16 = 10;
/// Option code of padding (RFC 7830 §3).
pub const OPTION_PADDING: u16 = 12;
/// Option code of an extended DNS error (RFC 8914 §2).
pub const OPTION_EDE: u16 = 15;

/// One option of an OPT record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct EdnsOption<'a> {
    pub(super) code: u16,
    /// Code, length and data.
    pub(super) octets: &'a [u8],
    pub(super) data: &'a [u8],
}

/// Walks the options in the RDATA of an OPT record. Ends after the first error.
pub(super) struct EdnsOptions<'a>(&'a [u8]);

impl<'a> EdnsOptions<'a> {
    pub(super) fn new(rdata: &'a [u8]) -> Self {
        Self(rdata)
    }

    fn read(&self) -> Result<EdnsOption<'a>, Malformed> {
        let code = u16_at(self.0, 0).ok_or(Malformed)?;
        let octets = usize::from(u16_at(self.0, 2).ok_or(Malformed)?);
        let octets = self.0.get(..OPTION_HEAD_OCTETS + octets).ok_or(Malformed)?;
        let data = octets.get(OPTION_HEAD_OCTETS..).unwrap_or(&[]);
        Ok(EdnsOption { code, octets, data })
    }
}

impl<'a> Iterator for EdnsOptions<'a> {
    type Item = Result<EdnsOption<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let option = self.read();
        let read = option.map_or(self.0.len(), |option| option.octets.len());
        self.0 = self.0.get(read..).unwrap_or(&[]);
        Some(option)
    }
}

/// Returns the data of the COOKIE option of `message`, whose records begin at `records_at`. If there
/// are several, the first one counts. Returns `None` if there is none that can be read. The length
/// is the caller's to check.
pub fn cookie_of<'a>(message: &'a [u8], header: &Header, records_at: usize) -> Option<&'a [u8]> {
    if header.additionals == 0 {
        return None;
    }
    let opt = Records::new(message, header, records_at)
        .map_while(Result::ok)
        .find(|record| record.rtype == Rtype::OPT && record.section == Section::Additional)?;
    let mut options = EdnsOptions::new(opt.rdata).map_while(Result::ok);
    options.find(|option| option.code == OPTION_COOKIE).map(|option| option.data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{HEADER_OCTETS, MessageWriter, Rcode, flags};

    /// A message without a question, with `a_records` A records and an OPT that has such options.
    fn message(a_records: u16, options: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = MessageWriter::begin(&mut out, 1_232, 7, flags::QR);
        for _ in 0..a_records {
            writer.record([0xc0, 12], Rtype::A, 1, 60, 4).unwrap();
            writer.raw(&[10, 0, 0, 1]).unwrap();
        }
        writer.opt(Rcode::NOERROR, false, None, options).unwrap();
        writer.set_counts([0, a_records, 0, 1]);
        out
    }

    fn cookie(message: &[u8]) -> Option<&[u8]> {
        cookie_of(message, &Header::read(message).unwrap(), HEADER_OCTETS)
    }

    #[test]
    fn the_first_cookie_is_found_behind_records_and_other_options() {
        let options = b"\0\x0c\0\x03pad\0\x0a\0\x02me\0\x0f\0\x02\0\x16\0\x0a\0\x01x";
        assert_eq!(cookie(&message(0, options)), Some(&b"me"[..]));
        assert_eq!(cookie(&message(3, options)), Some(&b"me"[..]));
        assert_eq!(cookie(&message(3, b"\0\x0a\0\0")), Some(&b""[..]));
        assert_eq!(cookie(&message(3, b"\0\x0c\0\x03pad")), None);
        assert_eq!(cookie(&message(3, b"")), None);
    }

    #[test]
    fn a_cut_message_has_no_cookie_and_an_opt_elsewhere_is_none() {
        let options = b"\0\x0c\0\x03pad\0\x0a\0\x08cookie!!";
        let whole = message(2, options);
        for cut in HEADER_OCTETS..whole.len() {
            assert_eq!(cookie(&whole[..cut]), None, "{cut}");
        }
        // The cookie's length leads beyond the record.
        assert_eq!(cookie(&message(0, b"\0\x0a\0\x09cookie!!")), None);
        assert_eq!(cookie(&message(0, b"\0\x0c\0\x09\0\x0a\0\x08cookie!!")), None);
        // The OPT is said to be an answer.
        let mut moved = message(0, options);
        moved.swap(7, 11);
        assert_eq!(cookie(&moved), None);
    }

    #[test]
    fn options_end_with_the_first_error() {
        let read = |rdata: &'static [u8]| {
            EdnsOptions::new(rdata).map(|option| option.map(|option| option.data)).collect()
        };
        let all: Vec<Result<&[u8], Malformed>> = read(b"\0\x01\0\x01a\0\x02\0\0");
        assert_eq!(all, [Ok(&b"a"[..]), Ok(&b""[..])]);
        let all: Vec<Result<&[u8], Malformed>> = read(b"\0\x01\0\x01a\0\x02\0\x01");
        assert_eq!(all, [Ok(&b"a"[..]), Err(Malformed)]);
        let all: Vec<Result<&[u8], Malformed>> = read(b"\0\x01\0");
        assert_eq!(all, [Err(Malformed)]);
    }
}
