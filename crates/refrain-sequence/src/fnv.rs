//! A number that tells values apart in checkpoints, the same on every machine and of every release.

/// FNV-1a of 64 bits, a value at a time.
pub(crate) struct Fnv(u64);

impl Fnv {
    pub(crate) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) fn eat(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x0000_0100_0000_01b3);
    }

    pub(crate) fn finish(&self) -> u64 {
        self.0
    }
}

/// Of weights, bit for bit.
pub(crate) fn of_weights(weights: &[f32]) -> u64 {
    let mut hash = Fnv::new();
    weights.iter().for_each(|w| hash.eat(w.to_bits().into()));
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_values() {
        // Of the bytes of "foobar" (Fowler, Noll and Vo's own test suite).
        let mut hash = Fnv::new();
        b"foobar".iter().for_each(|&byte| hash.eat(byte.into()));
        assert_eq!(hash.finish(), 0x8594_4171_f739_67e8);
        assert_ne!(of_weights(&[0.0]), of_weights(&[-0.0]));
        assert_ne!(of_weights(&[1.0, 2.0]), of_weights(&[2.0, 1.0]));
    }
}
