//! The ends of a codec, which look at the interrupt on the way: a codec that reads or writes meets an error there and
//! returns, whatever it was about to do. What such an error is called does not matter: the caller asks the interrupt.

use std::io::{self, BufRead, Cursor, Read, Seek, SeekFrom, Write};

use zune_core::bytestream::{ZByteIoError, ZByteReaderTrait, ZCursor, ZSeekFrom};

use crate::Interrupt;

/// Bytes of a file between two looks. They make some ten times as many of an image; the most that deflate can make of them
/// is 8 MiB, a few milliseconds' work.
const FILE_STEP_BYTES: usize = 8 << 10;

/// Where the word comes from, to the codec.
fn interrupted() -> io::Error {
    io::Error::other("interrupted")
}

/// A file in memory, read in pieces.
pub(super) struct PolledReader<'a> {
    bytes: Cursor<&'a [u8]>,
    interrupt: &'a Interrupt,
}

impl<'a> PolledReader<'a> {
    pub(super) fn new(bytes: &'a [u8], interrupt: &'a Interrupt) -> Self {
        Self { bytes: Cursor::new(bytes), interrupt }
    }
}

impl BufRead for PolledReader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.interrupt.is_set() {
            return Err(interrupted());
        }
        let rest = self.bytes.fill_buf()?;
        Ok(&rest[..rest.len().min(FILE_STEP_BYTES)])
    }

    fn consume(&mut self, count: usize) {
        self.bytes.consume(count);
    }
}

impl Read for PolledReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.bytes.read(out)
    }
}

impl Seek for PolledReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.bytes.seek(to)
    }
}

/// A growing file in memory.
pub(super) struct PolledWriter<'a> {
    out: &'a mut Vec<u8>,
    interrupt: &'a Interrupt,
    /// The length at which to look again.
    next: usize,
}

impl<'a> PolledWriter<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, interrupt: &'a Interrupt) -> Self {
        Self { out, interrupt, next: 0 }
    }
}

impl Write for PolledWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.out.len() >= self.next {
            self.next = self.out.len() + FILE_STEP_BYTES;
            if self.interrupt.is_set() {
                return Err(interrupted());
            }
        }
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file in memory, as zune-jpeg reads one. Its entropy decoder takes four bytes at a time, and where it cannot it goes
/// on byte by byte and asks after each whether the file has ended: there it hears of the interrupt.
pub(super) struct PolledCursor<'a> {
    bytes: ZCursor<&'a [u8]>,
    interrupt: &'a Interrupt,
    /// Reads until the next look.
    left: u32,
    is_interrupted: bool,
}

impl<'a> PolledCursor<'a> {
    pub(super) fn new(bytes: &'a [u8], interrupt: &'a Interrupt) -> Self {
        Self { bytes: ZCursor::new(bytes), interrupt, left: 0, is_interrupted: false }
    }

    #[inline(always)]
    fn look(&mut self) -> Result<(), ZByteIoError> {
        if self.left == 0 {
            self.left = (FILE_STEP_BYTES / 4) as u32;
            self.is_interrupted = self.interrupt.is_set();
        }
        self.left -= 1;
        self.refuse()
    }

    #[inline(always)]
    fn refuse(&self) -> Result<(), ZByteIoError> {
        if self.is_interrupted { Err(ZByteIoError::Generic("interrupted")) } else { Ok(()) }
    }
}

impl ZByteReaderTrait for PolledCursor<'_> {
    #[inline(always)]
    fn read_byte_no_error(&mut self) -> u8 {
        self.bytes.read_byte_no_error()
    }

    #[inline(always)]
    fn read_exact_bytes(&mut self, buf: &mut [u8]) -> Result<(), ZByteIoError> {
        self.look()?;
        self.bytes.read_exact_bytes(buf)
    }

    fn read_bytes(&mut self, buf: &mut [u8]) -> Result<usize, ZByteIoError> {
        self.look()?;
        self.bytes.read_bytes(buf)
    }

    fn peek_bytes(&mut self, buf: &mut [u8]) -> Result<usize, ZByteIoError> {
        self.bytes.peek_bytes(buf)
    }

    fn peek_exact_bytes(&mut self, buf: &mut [u8]) -> Result<(), ZByteIoError> {
        self.bytes.peek_exact_bytes(buf)
    }

    #[inline(always)]
    fn z_seek(&mut self, from: ZSeekFrom) -> Result<u64, ZByteIoError> {
        self.bytes.z_seek(from)
    }

    #[inline(always)]
    fn is_eof(&mut self) -> Result<bool, ZByteIoError> {
        self.refuse()?;
        self.bytes.is_eof()
    }

    fn z_position(&mut self) -> Result<u64, ZByteIoError> {
        self.bytes.z_position()
    }

    fn read_remaining(&mut self, sink: &mut Vec<u8>) -> Result<usize, ZByteIoError> {
        self.bytes.read_remaining(sink)
    }
}
