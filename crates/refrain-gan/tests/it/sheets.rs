//! Sheets painted into a folder while training.

use std::path::Path;

use super::*;

/// Names and bytes of all files in a folder.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap());
    let mut files: Vec<_> = entries
        .map(|e| {
            let name = e.file_name().into_string().unwrap();
            (name, std::fs::read(e.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

fn with_sheets(folder: &Path) -> Gan {
    Gan {
        sheets: Some(Sheets {
            rows: 2,
            ..Sheets::new(folder)
        }),
        ..tiny()
    }
}

#[test]
fn fit_paints_each_epoch_from_the_same_noise() {
    let root = tempfile::tempdir().unwrap();
    let (folder, images) = (root.path().join("a/b"), halves(23));
    let model = with_sheets(&folder).fit(&images, &cpu()).unwrap();
    let plain = tiny().fit(&images, &cpu()).unwrap();
    assert!(model.to_bytes().unwrap() == plain.to_bytes().unwrap()); // painting changes nothing
    assert_eq!(model.config(), &tiny());

    let files = files(&folder);
    let names: Vec<&str> = files.iter().map(|f| f.0.as_str()).collect();
    let pages = [
        "epoch-0000.png",
        "epoch-0001.png",
        "epoch-0002.png",
        "epoch-0003.png",
    ];
    assert_eq!(names[..4], pages);
    assert_eq!(names[4..], ["training.gif"]);
    // As one paints them oneself.
    let grid = Grid {
        columns: 2,
        scale: 8,
        ..Grid::default()
    };
    let mut trainer = tiny().trainer(&images, &cpu()).unwrap();
    for (_, page) in &files[..4] {
        assert!(*page == grid_png(&trainer.sheet(2).unwrap(), &grid).unwrap());
        trainer.epoch(&Monitor::silent()).unwrap();
    }
    assert_ne!(files[0].1, files[3].1);
    let only = std::fs::read_dir(root.path()).unwrap().count();
    assert_eq!(only, 1); // nothing beside the folder
}

#[test]
fn resume_goes_on_with_the_same_animation() {
    let root = tempfile::tempdir().unwrap();
    let [unbroken, broken] = ["unbroken", "broken"].map(|name| root.path().join(name));
    let (path, images) = (root.path().join("game.refrain"), halves(23)); // 4 steps an epoch
    with_sheets(&unbroken).fit(&images, &cpu()).unwrap();

    let gan = with_sheets(&broken);
    let mut trainer = gan.trainer(&images, &cpu()).unwrap();
    for _ in 0..6 {
        trainer.step().unwrap();
    }
    trainer.save(&path).unwrap();
    // It went on for an epoch more before it was stopped.
    for _ in 0..4 {
        trainer.step().unwrap();
    }
    drop(trainer);
    let mut resumed = Trainer::resume(&path, &images, &cpu()).unwrap();
    let before = files(&broken);
    resumed.step().unwrap();
    assert_eq!(files(&broken), before); // a checkpoint writes nowhere until it is told to
    resumed.keep_sheets(gan.sheets.unwrap()).unwrap();
    resumed.run(&Monitor::silent()).unwrap();
    assert!(files(&broken) == files(&unbroken));
}

#[test]
fn a_sheet_that_cannot_be_written_is_an_error_that_training_survives() {
    let root = tempfile::tempdir().unwrap();
    let (folder, images) = (root.path().join("sheets"), halves(23));
    let mut trainer = with_sheets(&folder).trainer(&images, &cpu()).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let error = trainer.epoch(&Monitor::silent()).unwrap_err();
    assert!(error.to_string().contains("epoch-0001.png"), "{error}");
    std::fs::create_dir(&folder).unwrap();
    trainer.run(&Monitor::silent()).unwrap();
    assert_eq!(trainer.history().len(), 3);
    let left = files(&folder)
        .iter()
        .map(|f| f.0.clone())
        .collect::<Vec<_>>();
    assert_eq!(left, ["epoch-0002.png", "epoch-0003.png", "training.gif"]);

    std::fs::write(root.path().join("taken"), b"a file").unwrap();
    let taken = with_sheets(&root.path().join("taken"));
    assert!(taken.fit(&images, &cpu()).is_err());
}
