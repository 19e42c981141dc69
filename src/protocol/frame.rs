//! Frames: a 32-bit big-endian length, then that many bytes of JSON. Pure functions on buffers, so that blocking and asynchronous code
//! share them, and the two helpers that blocking code needs.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::wire::MAX_FRAME;

/// Why a frame could not be made or read. After any of these the connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("a message of {bytes} bytes is longer than the {MAX_FRAME} that a frame may have: ask for less")]
    TooLong { bytes: usize },
    #[error("the other side sent something that is no message of this version: {0}")]
    Malformed(serde_json::Error),
    #[error("a message cannot be written as JSON: {0}")]
    Unwritable(serde_json::Error),
    #[error("the connection ended in the middle of a message")]
    Torn,
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
}

/// A whole frame: length and JSON.
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message).map_err(FrameError::Unwritable)?;
    let bytes = frame.len() - 4;
    match u32::try_from(bytes) {
        Ok(len) if bytes <= MAX_FRAME => {
            frame[..4].copy_from_slice(&len.to_be_bytes());
            Ok(frame)
        }
        _ => Err(FrameError::TooLong { bytes }),
    }
}

/// The message at the front of `buffer` and how many bytes it took, which the caller then drops. `Ok(None)` while the frame is not
/// complete.
pub fn decode<T: DeserializeOwned>(buffer: &[u8]) -> Result<Option<(T, usize)>, FrameError> {
    let Some((head, rest)) = buffer.split_first_chunk::<4>() else { return Ok(None) };
    let bytes = u32::from_be_bytes(*head) as usize;
    if bytes > MAX_FRAME {
        return Err(FrameError::TooLong { bytes });
    }
    match rest.get(..bytes) {
        Some(json) => Ok(Some((serde_json::from_slice(json).map_err(FrameError::Malformed)?, 4 + bytes))),
        None => Ok(None),
    }
}

/// Sends one message.
pub fn write(to: &mut impl Write, message: &impl Serialize) -> Result<(), FrameError> {
    to.write_all(&encode(message)?)?;
    Ok(to.flush()?)
}

/// Receives messages; keeps what has arrived of the next one, so that a time-out in the middle of a frame loses nothing.
#[derive(Debug, Default)]
pub struct Inbox {
    buffer: Vec<u8>,
}

impl Inbox {
    /// The next message. `Ok(None)` if the other side has closed the connection between two messages.
    ///
    /// # Errors
    /// A time-out of `from` is `FrameError::Io` of kind `WouldBlock` or `TimedOut`; call again to go on.
    pub fn next<T: DeserializeOwned>(&mut self, from: &mut impl Read) -> Result<Option<T>, FrameError> {
        loop {
            if let Some((message, used)) = decode(&self.buffer)? {
                self.buffer.drain(..used);
                return Ok(Some(message));
            }
            let had = self.buffer.len();
            self.buffer.resize(had + (64 << 10), 0);
            let got = from.read(&mut self.buffer[had..]);
            self.buffer.truncate(had + *got.as_ref().unwrap_or(&0));
            match got {
                Ok(0) if had == 0 => return Ok(None),
                Ok(0) => return Err(FrameError::Torn),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Request, ToEngine};

    fn messages() -> Vec<ToEngine> {
        let hello = Request::Hello { wire: 1, version: "0.1.0 ü".into() };
        vec![ToEngine { id: 1, request: hello }, ToEngine { id: u64::MAX, request: Request::Runs }]
    }

    /// Gives one byte at a time, with a time-out before each.
    struct Slow<'a>(&'a [u8], bool);

    impl Read for Slow<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let n = self.0.len().min(1);
            to[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    #[test]
    fn messages_come_out_as_they_went_in_however_they_are_cut() {
        let mut bytes = Vec::new();
        for message in messages() {
            write(&mut bytes, &message).unwrap();
        }
        let first = encode(&messages()[0]).unwrap().len();
        for cut in 0..first {
            assert!(decode::<ToEngine>(&bytes[..cut]).unwrap().is_none(), "cut {cut}");
        }
        assert_eq!(decode(&bytes).unwrap(), Some((messages()[0].clone(), first)));

        let (mut inbox, mut slow, mut got) = (Inbox::default(), Slow(&bytes, false), Vec::<ToEngine>::new());
        loop {
            match inbox.next(&mut slow) {
                Ok(Some(message)) => got.push(message),
                Ok(None) => break,
                Err(FrameError::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => panic!("{e}"),
            }
        }
        assert_eq!(got, messages());
    }

    #[test]
    fn nonsense_is_refused_before_memory_is_taken_for_it() {
        let huge = [0xff; 8];
        assert!(matches!(decode::<ToEngine>(&huge), Err(FrameError::TooLong { bytes: 0xffff_ffff })));
        assert!(matches!(decode::<ToEngine>(b"\0\0\0\x02{]"), Err(FrameError::Malformed(_))));
        assert!(matches!(encode(&"x".repeat(MAX_FRAME)), Err(FrameError::TooLong { .. })));
        let torn = Inbox::default().next::<ToEngine>(&mut &b"\0\0\0\x09{"[..]);
        assert!(matches!(torn, Err(FrameError::Torn)));
    }
}
