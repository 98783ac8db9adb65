//! The 8×8 handwritten digits of the UCI repository, as scikit-learn carries them.
//!
//! E. Alpaydin and C. Kaynak, *Optical Recognition of Handwritten Digits*, 1998, CC BY 4.0. Each
//! image is a 32×32 bitmap of which every 4×4 block became the number of its set pixels.

use super::{broken, unpack};
use crate::Result;

const NAME: &str = "digits";
static PACKED: &[u8] = include_bytes!("../../data/digits/digits.bin.gz");

/// Images of handwritten digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digits {
    /// Images, 8×8, row by row; each value is from 0 (paper) to 16 (ink).
    pub images: Vec<[u8; 64]>,
    /// The digit of each image, 0 to 9.
    pub labels: Vec<u8>,
}

/// The bundled 1,797 digits.
///
/// ```
/// let digits = refrain_data::bundled::digits()?;
/// assert_eq!(digits.images.len(), 1_797);
/// for row in digits.images[0].chunks(8) {
///     println!("{}", row.iter().map(|&p| if p > 7 { '#' } else { '.' }).collect::<String>());
/// }
/// # Ok::<(), refrain_data::Error>(())
/// ```
pub fn digits() -> Result<Digits> {
    parse(&unpack(NAME, PACKED)?)
}

fn parse(bytes: &[u8]) -> Result<Digits> {
    let (records, rest) = bytes.as_chunks::<65>();
    if records.is_empty() || !rest.is_empty() {
        return Err(broken(
            NAME,
            format!("{} bytes are not records of 65", bytes.len()),
        ));
    }
    let mut digits = Digits {
        images: Vec::new(),
        labels: Vec::new(),
    };
    for (number, record) in records.iter().enumerate() {
        let [pixels @ .., label] = record;
        if pixels.iter().any(|&p| p > 16) || *label > 9 {
            return Err(broken(
                NAME,
                format!("image {number} has a value out of range"),
            ));
        }
        digits.images.push(*pixels);
        digits.labels.push(*label);
    }
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_those_published() {
        let digits = digits().unwrap();
        let mut counts = [0; 10];
        digits.labels.iter().for_each(|&l| counts[l as usize] += 1);
        // UCI's table of the test set.
        assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
        assert_eq!(digits.images.len(), 1_797);
        // The first row of scikit-learn's digits.csv.
        assert_eq!(
            digits.images[0][..16],
            [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0]
        );
        assert_eq!(digits.labels[..5], [0, 1, 2, 3, 4]);
        let total: u64 = digits.images.iter().flatten().map(|&p| u64::from(p)).sum();
        assert_eq!(total, 561_718);
    }

    #[test]
    fn damage_is_an_error() {
        assert!(parse(&[]).is_err());
        assert!(parse(&[0; 64]).is_err());
        assert!(parse(&[17; 65]).is_err());
        assert!(parse(&[0; 65]).is_ok());
    }
}
