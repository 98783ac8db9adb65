//! How training went, as a picture: losses above, accuracy and variety below.

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::EpochReport;

const SIZE: (u32, u32) = (760, 620);

type Drawn = Result<(), Box<dyn std::error::Error>>;
type Series = (&'static str, RGBColor, fn(&EpochReport) -> f32);

/// Drawing into a text cannot fail but in a bug of the library, which leaves the picture unfinished.
pub(crate) fn draw(history: &[EpochReport]) -> String {
    let mut svg = String::new();
    let _ = draw_into(history, SVGBackend::with_string(&mut svg, SIZE));
    svg
}

fn draw_into(history: &[EpochReport], backend: SVGBackend<'_>) -> Drawn {
    let (green, orange, blue) = (
        RGBColor(31, 111, 92),
        RGBColor(204, 102, 26),
        RGBColor(52, 84, 158),
    );
    let root = backend.into_drawing_area();
    root.fill(&WHITE)?;
    let (losses, shares) = root.split_vertically(SIZE.1 / 2);
    panel(
        &losses,
        history,
        "loss",
        &[
            ("discriminator", green, |e| e.discriminator_loss),
            ("generator", orange, |e| e.generator_loss),
            ("penalty", blue, |e| e.penalty),
        ],
    )?;
    panel(
        &shares,
        history,
        "share",
        &[
            ("right on real", green, |e| e.real_accuracy),
            ("right on painted", orange, |e| e.fake_accuracy),
            ("variety", blue, |e| e.variety),
        ],
    )?;
    root.present()?;
    Ok(())
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    history: &[EpochReport],
    label: &str,
    series: &[Series],
) -> Drawn {
    let all = || {
        let values = series.iter().flat_map(|s| history.iter().map(s.2));
        values.filter(|v| v.is_finite())
    };
    let (low, high) = (
        all().fold(f32::INFINITY, f32::min),
        all().fold(f32::NEG_INFINITY, f32::max),
    );
    let (low, high) = if low < high { (low, high) } else { (0.0, 1.0) };
    let margin = 0.05 * (high - low);
    let small = ("sans-serif", 14).into_font();
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(54)
        .build_cartesian_2d(1..history.len().max(2), low - margin..high + margin)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .label_style(small.clone())
        .x_desc("epoch")
        .y_desc(label)
        .draw()?;
    for &(name, color, of) in series {
        let line = history.iter().map(|e| (e.epoch, of(e)));
        let line = line.filter(|(_, value)| value.is_finite());
        chart
            .draw_series(LineSeries::new(line, color.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .label_font(small)
        .border_style(RGBColor(200, 200, 200))
        .background_style(WHITE)
        .draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Gan;
    use crate::report::history;

    #[test]
    fn a_picture_whatever_the_history() {
        let numbers: Vec<f32> = (0..9 * 20).map(|i| (i as f32 / 7.0).sin()).collect();
        let of = |numbers: &[f32]| draw(&history(&Gan::default(), numbers, "x").unwrap());
        let svg = of(&numbers);
        for name in ["discriminator", "generator", "penalty", "variety", "epoch"] {
            assert!(svg.contains(name), "{name}");
        }
        // Of each colour a line and its mark in the legend, in both panels.
        for colour in ["#1F6F5C", "#CC661A", "#34549E"] {
            let lines = svg.split("<polyline").skip(1);
            assert_eq!(lines.filter(|l| l.contains(colour)).count(), 4, "{colour}");
        }
        for numbers in [&[][..], &[f32::NAN; 9], &[f32::INFINITY; 18]] {
            assert!(of(numbers).trim_end().ends_with("</svg>"));
        }
    }
}
