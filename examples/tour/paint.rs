//! Stage 6: a GAN learns handwritten digits and paints new ones.

use refrain::data::bundled;
use refrain::gan::metrics::{SetQuality, quality};
use refrain::gan::{Gan, Grid, ImageShape, Images, grid_png};

use crate::{Result, Tour};

pub fn run(tour: &mut Tour) -> Result<()> {
    let digits = bundled::digits()?;
    let pixels: Vec<f32> = digits
        .images
        .iter()
        .flatten()
        .map(|&v| f32::from(v))
        .collect();
    let labels = digits.labels.iter().map(|&l| u32::from(l)).collect();
    let images =
        Images::scaled(ImageShape::square(1, 8), &pixels, 16.0)?.with_labels(labels, 10)?;
    let (train, held_out) = images.split(0.25, tour.options.seed)?;
    let gan = Gan {
        epochs: if tour.options.quick {
            1
        } else {
            Gan::default().epochs
        },
        seed: tour.options.seed,
        ..Gan::default()
    };
    let model = gan.fit_with(&train, &tour.device, &tour.monitor)?;
    model.save(tour.path("painter.refrain"))?;
    if let Some(last) = model.history().last() {
        for alarm in &last.alarms {
            println!("   {alarm}");
        }
    }
    let sheet = model.sheet(5, tour.options.seed)?;
    let grid = Grid {
        columns: model.columns(),
        scale: 6,
        gap: 6,
        ink: true,
    };
    let png = grid_png(&sheet, &grid)?;
    tour.write("digits.png", &png)?;

    let painted = model.sample(held_out.len(), tour.options.seed)?;
    let judged = quality(&painted, &train, &held_out)?;
    println!(
        "{}",
        judged
            .to_string()
            .lines()
            .map(|l| format!("   {l}\n"))
            .collect::<String>()
            .trim_end()
    );
    tour.page.section("A GAN paints digits");
    tour.page
        .png(&png, "Digits that nobody wrote, one class a column.");
    let row = |name: &str, set: &SetQuality| {
        vec![
            name.to_string(),
            format!("{:.2}", set.frechet),
            format!("{:.0} %", 100.0 * set.recognised),
            set.classes.to_string(),
        ]
    };
    tour.page.table(
        &["images", "Fréchet distance", "recognised", "digits of 10"],
        &[
            row("painted", &judged.painted),
            row("real, held out", &judged.real),
            row("noise", &judged.noise),
        ],
    );
    tour.page.note(format_args!(
        "Trained on {} images of 8×8 pixels. Real images that were held out are as good as it gets, \
         noise is as bad as it gets.",
        train.len()
    ));
    Ok(())
}
