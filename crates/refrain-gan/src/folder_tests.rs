//! Tests of reading folders of pictures.

use image::{DynamicImage, ImageFormat, Rgba};
use proptest::prelude::*;

use super::*;

fn write(path: PathBuf, picture: impl Into<DynamicImage>, format: ImageFormat) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    picture.into().save_with_format(path, format).unwrap();
}

fn colour(width: u32, height: u32, rgb: [u8; 3]) -> RgbImage {
    RgbImage::from_pixel(width, height, Rgb(rgb))
}

#[test]
fn formats_colours_and_order() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    write(at("b.PNG"), colour(4, 4, [255, 0, 0]), ImageFormat::Png);
    write(
        at("deep/er/c.jpg"),
        colour(9, 5, [0, 255, 0]),
        ImageFormat::Jpeg,
    );
    write(
        at("a.jpeg"),
        image::GrayImage::from_pixel(2, 3, image::Luma([200])),
        ImageFormat::Jpeg,
    );
    fs::write(at("notes.txt"), "no picture").unwrap();
    let read = ImageFolder::sized(3, 4).read(root.path()).unwrap();
    let names: Vec<_> = read
        .files
        .iter()
        .map(|f| f.strip_prefix(root.path()).unwrap())
        .collect();
    assert_eq!(
        names,
        [
            Path::new("a.jpeg"),
            Path::new("b.PNG"),
            Path::new("deep/er/c.jpg")
        ]
    );
    let close = |image: usize, rgb: [f32; 3]| {
        let planes = read.images.image(image).chunks(16).zip(rgb);
        planes
            .flat_map(|(plane, v)| plane.iter().map(move |p| (p - v).abs()))
            .all(|d| d < 0.02)
    };
    assert!(close(0, [200.0 / 255.0; 3]) && close(1, [1.0, 0.0, 0.0]) && close(2, [0.0, 1.0, 0.0]));
    let grey = ImageFolder::sized(1, 4).read(root.path()).unwrap();
    // ITU-R BT.709: 0.2126 of red, 0.7152 of green.
    assert!((grey.images.image(1)[3] - 0.2126).abs() < 0.005);
    assert!((grey.images.image(2)[3] - 0.7152).abs() < 0.01);
}

#[test]
fn transparent_pixels_show_the_background() {
    let root = tempfile::tempdir().unwrap();
    let mut picture = RgbaImage::from_pixel(2, 1, Rgba([10, 20, 30, 0]));
    picture.put_pixel(1, 0, Rgba([0, 100, 200, 51])); // a fifth
    write(root.path().join("x.png"), picture, ImageFormat::Png);
    let shape = ImageShape {
        channels: 3,
        height: 1,
        width: 2,
    };
    let folder = ImageFolder {
        shape,
        background: [255, 0, 100],
        fit: Fit::Exact,
        ..ImageFolder::sized(3, 1)
    };
    let read = folder.read(root.path()).unwrap();
    let bytes: Vec<u8> = read
        .images
        .pixels()
        .iter()
        .map(|v| (v * 255.0).round() as u8)
        .collect();
    assert_eq!(bytes, [255, 204, 0, 20, 100, 120]); // red, green, blue of both
}

#[test]
fn random_crops_are_parts_of_the_picture_by_seed() {
    let root = tempfile::tempdir().unwrap();
    // Each pixel tells its place, so a part of the image's size is found again without scaling.
    let told = RgbImage::from_fn(40, 8, |x, y| Rgb([x as u8, y as u8, 0]));
    for i in 0..30 {
        write(
            root.path().join(format!("{i:02}.png")),
            told.clone(),
            ImageFormat::Png,
        );
    }
    write(
        root.path().join("tall.png"),
        RgbImage::from_fn(8, 40, |x, y| Rgb([x as u8, y as u8, 0])),
        ImageFormat::Png,
    );
    let lefts = |fit| -> Vec<(usize, usize)> {
        let folder = ImageFolder {
            fit,
            ..ImageFolder::sized(3, 8)
        };
        let images = folder.read(root.path()).unwrap().images;
        let place = |i: usize| {
            let bytes: Vec<usize> = images
                .image(i)
                .iter()
                .map(|v| (v * 255.0).round() as usize)
                .collect();
            let (x, y) = (bytes[0], bytes[64]);
            for at in 0..64 {
                assert_eq!((bytes[at], bytes[64 + at]), (x + at % 8, y + at / 8));
            }
            (x, y)
        };
        (0..images.len()).map(place).collect()
    };
    let crops = lefts(Fit::RandomCrop { seed: 1 });
    assert_eq!(crops, lefts(Fit::RandomCrop { seed: 1 }));
    assert_ne!(crops, lefts(Fit::RandomCrop { seed: 2 }));
    let wide = || crops[..30].iter().map(|&(x, y)| (x, y == 0));
    assert!(wide().all(|(x, level)| x <= 32 && level) && crops[30].0 == 0);
    // Thirty draws of 33 places: both ends of the picture are come near.
    assert!(wide().any(|(x, _)| x < 8) && wide().any(|(x, _)| x > 24));
    assert_eq!(lefts(Fit::Cover)[..2], [(16, 0); 2]);
}

#[test]
fn fitting_crops_stretches_or_refuses() {
    let root = tempfile::tempdir().unwrap();
    // Three columns: black, white, black.
    let mut wide = RgbImage::new(6, 2);
    for x in 2..4 {
        for y in 0..2 {
            wide.put_pixel(x, y, Rgb([255; 3]));
        }
    }
    write(root.path().join("wide.png"), wide, ImageFormat::Png);
    let read = |fit, mirrored| {
        let folder = ImageFolder {
            fit,
            mirrored,
            ..ImageFolder::sized(1, 2)
        };
        folder.read(root.path())
    };
    assert_eq!(read(Fit::Cover, false).unwrap().images.pixels(), [1.0; 4]);
    let stretched = read(Fit::Stretch, false).unwrap();
    let mean: f32 = stretched.images.pixels().iter().sum::<f32>() / 4.0;
    assert!((mean - 1.0 / 3.0).abs() < 0.05, "{mean}");
    let error = read(Fit::Exact, false).unwrap_err().to_string();
    assert!(
        error.contains("wide.png") && error.contains("6×2 pixels, not 2×2"),
        "{error}"
    );
    let both = read(Fit::Cover, true).unwrap();
    assert_eq!((both.images.len(), both.files.len()), (2, 2));
    let shape = ImageShape {
        channels: 1,
        height: 2,
        width: 3,
    };
    assert_eq!(mirror(&[1, 2, 3, 4, 5, 6], shape), [3, 2, 1, 6, 5, 4]);
    let shape = ImageShape {
        channels: 3,
        height: 1,
        width: 2,
    };
    assert_eq!(mirror(&[1, 2, 3, 4, 5, 6], shape), [4, 5, 6, 1, 2, 3]);
}

#[test]
fn broken_files_are_named_or_skipped() {
    let root = tempfile::tempdir().unwrap();
    write(
        root.path().join("one/good.png"),
        colour(3, 3, [9; 3]),
        ImageFormat::Png,
    );
    write(
        root.path().join("two/cut.png"),
        colour(30, 30, [9; 3]),
        ImageFormat::Png,
    );
    let cut = root.path().join("two/cut.png");
    let bytes = fs::read(&cut).unwrap();
    fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    fs::write(root.path().join("two/words.jpg"), "not a picture").unwrap();
    let folder = ImageFolder {
        labels: true,
        ..ImageFolder::sized(3, 3)
    };
    let error = folder.read(root.path()).unwrap_err();
    assert!(
        matches!(&error, Error::Picture { file, .. } if file.ends_with("cut.png")),
        "{error}"
    );
    let read = ImageFolder {
        skip_broken: true,
        ..folder.clone()
    }
    .read(root.path())
    .unwrap();
    assert_eq!((read.images.len(), read.skipped.len()), (1, 2));
    assert_eq!(read.classes, ["one", "two"]);
    assert_eq!(read.images.labels(), Some(&[0][..]));

    write(
        root.path().join("stray.png"),
        colour(3, 3, [9; 3]),
        ImageFormat::Png,
    );
    assert!(
        matches!(folder.read(root.path()), Err(Error::Class(text)) if text.contains("stray.png"))
    );
    let nothing = tempfile::tempdir().unwrap();
    assert!(matches!(
        folder.read(nothing.path()),
        Err(Error::Empty { .. })
    ));
    assert!(matches!(
        folder.read("/no/such/folder"),
        Err(Error::Core(_))
    ));
    for shape in [
        ImageShape::square(2, 3),
        ImageShape::square(3, 0),
        ImageShape::square(1, 1 << 20),
    ] {
        let bad = ImageFolder {
            shape,
            ..folder.clone()
        };
        assert!(matches!(bad.read(root.path()), Err(Error::Config { .. })));
    }
}

#[test]
fn a_small_file_cannot_ask_for_much_memory() {
    // A PNG header that promises 60,000 × 60,000 pixels.
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("bomb.png");
    write(path.clone(), colour(1, 1, [0; 3]), ImageFormat::Png);
    let mut bytes = fs::read(&path).unwrap();
    bytes[16..20].copy_from_slice(&60_000u32.to_be_bytes());
    bytes[20..24].copy_from_slice(&60_000u32.to_be_bytes());
    fs::write(&path, bytes).unwrap();
    let error = ImageFolder::sized(3, 4).read(root.path()).unwrap_err();
    assert!(matches!(error, Error::Picture { .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_bytes_are_a_picture_or_an_error(
        at in 0usize..400, value in any::<u8>(), keep in 0usize..400,
        width in 1u32..40, height in 1u32..40,
    ) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("x.png");
        write(path.clone(), colour(width, height, [1, 2, 3]), ImageFormat::Png);
        let mut bytes = fs::read(&path).unwrap();
        let end = bytes.len();
        bytes[at % end] = value;
        bytes.truncate(keep.max(1).min(end));
        fs::write(&path, bytes).unwrap();
        if let Ok(read) = ImageFolder::sized(3, 5).read(root.path()) {
            prop_assert_eq!(read.images.len(), 1);
        }
    }
}

/// A JPEG of four grey quarters with an Exif segment (big-endian TIFF) that names an orientation.
fn turned(orientation: u8) -> Vec<u8> {
    let grey = |x: u32, y: u32| image::Luma([(80 * (x / 8 + 2 * (y / 8))) as u8]);
    let picture = image::GrayImage::from_fn(16, 16, grey);
    let mut jpeg = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
    let jpeg = jpeg.into_inner();
    let exif = [
        &[0xff, 0xe1, 0, 34][..], // APP1 of 34 bytes
        b"Exif\0\0MM\0\x2a\0\0\0\x08",
        &[0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0], // one entry: orientation
        &[0; 4],                                                  // no further directory
    ];
    [&jpeg[..2], &exif.concat(), &jpeg[2..]].concat()
}

#[test]
fn pictures_are_turned_as_cameras_ask() {
    // Exif 2.3, tag 274: where the first stored row and the first stored column are seen.
    let sides = [
        ("top", "left"),
        ("top", "right"),
        ("bottom", "right"),
        ("bottom", "left"),
        ("left", "top"),
        ("right", "top"),
        ("right", "bottom"),
        ("left", "bottom"),
    ];
    for (i, (row_side, column_side)) in sides.into_iter().enumerate() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a.jpg"), turned(i as u8 + 1)).unwrap();
        let folder = ImageFolder::sized(1, 16).read(root.path()).unwrap();
        let seen = folder.images.image(0);
        for (row, column) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let (mut y, mut x) = (0, 0);
            for (side, at) in [(row_side, row), (column_side, column)] {
                match side {
                    "top" => y = at,
                    "bottom" => y = 1 - at,
                    "left" => x = at,
                    _ => x = 1 - at,
                }
            }
            let expected = (80 * (column + 2 * row)) as f32 / 255.0;
            let got = seen[(4 + 8 * y) * 16 + 4 + 8 * x];
            assert!((got - expected).abs() < 0.02, "{i}: {got} {expected}");
        }
    }
}

#[test]
fn folders_too_deep_are_named() {
    let root = tempfile::tempdir().unwrap();
    let mut deep = root.path().to_path_buf();
    for _ in 0..DEEPEST {
        deep.push("d");
    }
    write(deep.join("a.png"), colour(2, 2, [9; 3]), ImageFormat::Png);
    let read = || ImageFolder::sized(1, 2).read(root.path());
    assert_eq!(read().unwrap().images.len(), 1);
    fs::create_dir(deep.join("deeper")).unwrap();
    let error = read().unwrap_err();
    assert!(matches!(error, Error::Picture { .. }), "{error}");
    assert!(error.to_string().contains("deeper"), "{error}");
}
