//! Numbers of binary files.

use std::ops::Range;
use std::path::Path;

use rayon::prelude::*;
use refrain_core::MappedFile;

use super::bad;
use crate::{Error, Result};

/// A file, and what names it in errors.
pub(super) fn open(path: &Path) -> Result<(MappedFile, String)> {
    Ok((MappedFile::open(path)?, path.display().to_string()))
}

/// Little-endian numbers, never more than the file has left.
pub(super) struct Bytes<'a> {
    all: &'a [u8],
    at: usize,
    origin: &'a str,
}

impl<'a> Bytes<'a> {
    /// All bytes of a file; `origin` names it in errors.
    pub fn new(all: &'a [u8], origin: &'a str) -> Self {
        Self { all, at: 0, origin }
    }

    /// How many bytes were read.
    pub fn at(&self) -> usize {
        self.at
    }

    fn rest(&self) -> &'a [u8] {
        self.all.get(self.at..).unwrap_or_default()
    }

    pub fn bad(&self, reason: String) -> Error {
        bad(self.origin, format_args!("byte {}", self.at), reason)
    }

    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8]> {
        match self.rest().get(..count) {
            Some(bytes) => {
                self.at += count;
                Ok(bytes)
            }
            None => Err(self.bad("the file ends early".to_string())),
        }
    }

    /// Those up to the next zero, which is read too.
    pub fn until_zero(&mut self) -> Result<&'a [u8]> {
        let length = self.rest().iter().position(|&byte| byte == 0);
        let bytes = self.bytes(length.unwrap_or(usize::MAX))?;
        self.at += 1;
        Ok(bytes)
    }

    /// Where so many bytes stand, which are not read now.
    pub fn place(&mut self, count: usize) -> Result<Range<usize>> {
        self.bytes(count)?;
        Ok(self.at - count..self.at)
    }

    pub fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.bytes(N)?.try_into().unwrap_or([0; N]))
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
        self.count(value, 0, self.rest().len() / bytes.max(1), what)
    }

    pub fn floats(&mut self, count: usize) -> Result<Vec<f32>> {
        Ok(floats(self.bytes(count.saturating_mul(4))?))
    }
}

/// The numbers of 32 bits that these bytes are.
pub(super) fn floats(bytes: &[u8]) -> Vec<f32> {
    let float = |b: &[u8]| f32::from_le_bytes(b.try_into().unwrap_or_default());
    bytes.par_chunks_exact(4).map(float).collect()
}

/// The bytes of numbers of 32 bits.
pub(super) fn float_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}
