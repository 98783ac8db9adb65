//! Numbers of binary files.

use std::io::Read;

use rayon::prelude::*;

use super::bad;
use crate::{Error, Result};

/// Little-endian numbers, never more than the file has left.
pub(super) struct Bytes<'a, R> {
    reader: R,
    left: u64,
    at: u64,
    origin: &'a str,
}

impl<'a, R: Read> Bytes<'a, R> {
    /// Of a reader that gives `size` bytes; `origin` names it in errors.
    pub fn new(reader: R, size: u64, origin: &'a str) -> Self {
        Self {
            reader,
            left: size,
            at: 0,
            origin,
        }
    }

    /// How many bytes were read.
    pub fn at(&self) -> u64 {
        self.at
    }

    pub fn bad(&self, reason: String) -> Error {
        bad(self.origin, format_args!("byte {}", self.at), reason)
    }

    pub fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        let read = self.reader.read_exact(&mut bytes);
        read.map_err(|error| self.bad(error.to_string()))?;
        self.at += N as u64;
        self.left = self.left.saturating_sub(N as u64);
        Ok(bytes)
    }

    pub fn u8(&mut self) -> Result<u8> {
        Ok(u8::from_le_bytes(self.take()?))
    }

    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    pub fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_le_bytes(self.take()?))
    }

    pub fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    pub fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_le_bytes(self.take()?))
    }

    pub fn skip(&mut self, count: usize) -> Result<()> {
        (0..count).try_for_each(|_| self.u8().map(drop))
    }

    /// A count between two bounds.
    pub fn count(
        &self,
        value: impl Into<i128>,
        least: usize,
        most: usize,
        what: &str,
    ) -> Result<usize> {
        let value = value.into();
        match usize::try_from(value) {
            Ok(count) if (least..=most).contains(&count) => Ok(count),
            _ => Err(self.bad(format!("{value} {what}"))),
        }
    }

    /// A count of things of so many bytes, which must fit what is left of the file.
    pub fn fitting(&self, value: impl Into<i128>, bytes: usize, what: &str) -> Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX) / bytes.max(1);
        self.count(value, 0, most, what)
    }

    pub fn bytes(&mut self, count: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        let read = self.reader.read_exact(&mut bytes);
        read.map_err(|error| self.bad(error.to_string()))?;
        self.at += count as u64;
        self.left = self.left.saturating_sub(count as u64);
        Ok(bytes)
    }

    pub fn floats(&mut self, count: usize) -> Result<Vec<f32>> {
        let bytes = self.bytes(count * 4)?;
        let float = |b: &[u8]| f32::from_le_bytes(b.try_into().unwrap_or_default());
        Ok(bytes.par_chunks_exact(4).map(float).collect())
    }
}
