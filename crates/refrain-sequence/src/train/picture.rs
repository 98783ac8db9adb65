//! A learning curve as a picture.

use std::ops::Range;

use plotters::prelude::*;

use super::{LearningCurve, LossPoint};

const SIZE: (u32, u32) = (760, 380);

/// Drawing into a text cannot fail but in a bug of the library, which leaves the picture unfinished.
pub(super) fn draw(curve: &LearningCurve) -> String {
    let mut svg = String::new();
    let _ = draw_into(curve, SVGBackend::with_string(&mut svg, SIZE));
    svg
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

fn draw_into(curve: &LearningCurve, backend: SVGBackend<'_>) -> Drawn {
    let train = curve.smoothed(curve.train.len().div_ceil(50));
    let all = || {
        train
            .iter()
            .chain(&curve.validation)
            .filter(|p| p.loss.is_finite())
    };
    let errors = || curve.errors.iter().filter(|p| p.loss.is_finite());
    let steps = all().chain(errors()).map(|p| p.step).max();
    let steps = steps.unwrap_or(1).max(1);
    let root = backend.into_drawing_area();
    root.fill(&WHITE)?;
    let small = ("sans-serif", 14).into_font();
    let right = if curve.errors.is_empty() { 0 } else { 54 };
    let mut chart = ChartBuilder::on(&root)
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(54)
        .right_y_label_area_size(right)
        .build_cartesian_2d(0..steps, scale(all()))?
        .set_secondary_coord(0..steps, scale(errors()));
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .label_style(small.clone())
        .x_desc("steps")
        .y_desc("nats per target")
        .draw()?;
    for (name, points, color) in [
        ("training", &train, RGBColor(31, 111, 92)),
        ("validation", &curve.validation, RGBColor(204, 102, 26)),
    ] {
        let finite = points.iter().filter(|p| p.loss.is_finite());
        let line = finite.map(|&LossPoint { step, loss }| (step, loss));
        chart
            .draw_series(LineSeries::new(line, color.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    if !curve.errors.is_empty() {
        let color = RGBColor(96, 72, 160);
        chart
            .configure_secondary_axes()
            .label_style(small.clone())
            .y_desc("validation error")
            .draw()?;
        let line = errors().map(|&LossPoint { step, loss }| (step, loss));
        chart
            .draw_secondary_series(LineSeries::new(line, color.stroke_width(2)))?
            .label("error")
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .label_font(small)
        .border_style(RGBColor(200, 200, 200))
        .background_style(WHITE)
        .draw()?;
    root.present()?;
    Ok(())
}

/// From the lowest to the highest, with a margin.
fn scale<'a>(points: impl Iterator<Item = &'a LossPoint> + Clone) -> Range<f32> {
    let lowest = points.clone().map(|p| p.loss).fold(f32::INFINITY, f32::min);
    let highest = points.map(|p| p.loss).fold(f32::NEG_INFINITY, f32::max);
    let (lowest, highest) = match lowest < highest {
        true => (lowest, highest),
        false => (0.0, 1.0),
    };
    let margin = 0.05 * (highest - lowest);
    lowest - margin..highest + margin
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_shows_both_lines_whatever_the_curve() {
        let point = |step, loss| LossPoint { step, loss };
        let curve = LearningCurve {
            train: (0..200).map(|i| point(i, 3.0 - i as f32 / 100.0)).collect(),
            validation: vec![point(100, 2.2), point(200, 1.4)],
            errors: Vec::new(),
        };
        let svg = curve.to_svg();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        // Of each colour a line and its mark in the legend.
        let lines = |svg: &str, colour: &str| {
            let lines = svg.split("<polyline").skip(1);
            lines.filter(|line| line.contains(colour)).count()
        };
        for (colour, count) in [("#1F6F5C", 2), ("#CC661A", 2), ("#6048A0", 0)] {
            assert_eq!(lines(&svg, colour), count, "{colour}");
        }
        assert!(!svg.contains("error"));
        // Errors have a line and a scale of their own: the losses' has no tenths between.
        let judged = LearningCurve {
            errors: vec![point(100, 0.31), point(200, 0.05)],
            ..curve.clone()
        };
        let svg = judged.to_svg();
        for colour in ["#1F6F5C", "#CC661A", "#6048A0"] {
            assert_eq!(lines(&svg, colour), 2, "{colour}");
        }
        assert!(svg.contains("validation error") && svg.contains("0.1"));
        for name in ["training", "validation", "steps", "nats per target"] {
            assert!(svg.contains(name), "{name}");
        }
        let broken = LearningCurve {
            train: vec![point(0, f32::NAN), point(1, f32::INFINITY)],
            errors: vec![point(1, f32::NAN)],
            ..LearningCurve::default()
        };
        for curve in [broken, LearningCurve::default()] {
            assert!(curve.to_svg().trim_end().ends_with("</svg>"));
        }
    }
}
