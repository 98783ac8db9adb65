//! How training went, as a picture: losses, then accuracy and variety, then each metric.

use std::collections::BTreeSet;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::EpochReport;

const WIDTH: u32 = 760;
const PANEL_HEIGHT: u32 = 310;

/// Metrics that are drawn; the rest is in the history.
const MOST_METRICS: usize = 12;

const GREEN: RGBColor = RGBColor(31, 111, 92);
const ORANGE: RGBColor = RGBColor(204, 102, 26);
const BLUE: RGBColor = RGBColor(52, 84, 158);

type Drawn = Result<(), Box<dyn std::error::Error>>;

/// A name, a colour, and the value of each epoch that has one.
struct Series<'a> {
    name: &'a str,
    color: RGBColor,
    points: Vec<(usize, f32)>,
}

impl<'a> Series<'a> {
    fn new(
        name: &'a str,
        color: RGBColor,
        history: &[EpochReport],
        of: impl Fn(&EpochReport) -> Option<f32>,
    ) -> Self {
        let point = |e: &EpochReport| Some((e.epoch, of(e).filter(|v| v.is_finite())?));
        Self {
            name,
            color,
            points: history.iter().filter_map(point).collect(),
        }
    }
}

/// Drawing into a text cannot fail but in a bug of the library, which leaves the picture unfinished.
pub(crate) fn draw(history: &[EpochReport]) -> String {
    let mut svg = String::new();
    let names: BTreeSet<&String> = history.iter().flat_map(|e| e.metrics.keys()).collect();
    let names: Vec<&str> = names
        .iter()
        .map(|n| n.as_str())
        .take(MOST_METRICS)
        .collect();
    let size = (WIDTH, PANEL_HEIGHT * (2 + names.len() as u32));
    let _ = draw_into(history, &names, SVGBackend::with_string(&mut svg, size));
    svg
}

fn draw_into(history: &[EpochReport], metrics: &[&str], backend: SVGBackend<'_>) -> Drawn {
    type Part = fn(&EpochReport) -> f32;
    let root = backend.into_drawing_area();
    root.fill(&WHITE)?;
    let series = |name, color, of: Part| Series::new(name, color, history, |e| Some(of(e)));
    let mut panels = vec![
        (
            "loss",
            vec![
                series("discriminator", GREEN, |e| e.discriminator_loss),
                series("generator", ORANGE, |e| e.generator_loss),
                series("penalty", BLUE, |e| e.penalty),
            ],
        ),
        (
            "share",
            vec![
                series("right on real", GREEN, |e| e.real_accuracy),
                series("right on painted", ORANGE, |e| e.fake_accuracy),
                series("variety", BLUE, |e| e.variety),
            ],
        ),
    ];
    for &name in metrics {
        let of = |e: &EpochReport| e.metrics.get(name).copied();
        panels.push((name, vec![Series::new(name, GREEN, history, of)]));
    }
    let areas = root.split_evenly((panels.len(), 1));
    for (area, (label, series)) in areas.iter().zip(&panels) {
        panel(area, history.len(), label, series)?;
    }
    root.present()?;
    Ok(())
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    epochs: usize,
    label: &str,
    series: &[Series<'_>],
) -> Drawn {
    let all = || series.iter().flat_map(|s| &s.points).map(|p| p.1);
    let (low, high) = (
        all().fold(f32::INFINITY, f32::min),
        all().fold(f32::NEG_INFINITY, f32::max),
    );
    let (low, high) = match low.partial_cmp(&high) {
        Some(std::cmp::Ordering::Less) => (low, high),
        Some(std::cmp::Ordering::Equal) => (low - 1.0, high + 1.0),
        _ => (0.0, 1.0), // no value at all
    };
    let margin = 0.05 * (high - low);
    let small = ("sans-serif", 14).into_font();
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(54)
        .build_cartesian_2d(1..epochs.max(2), low - margin..high + margin)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .label_style(small.clone())
        .x_desc("epoch")
        .y_desc(label)
        .draw()?;
    for Series {
        name,
        color,
        points,
    } in series
    {
        let style = color.stroke_width(2);
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
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
    use crate::Loss;
    use crate::report::of_numbers;

    #[test]
    fn a_picture_whatever_the_history() {
        let numbers: Vec<f32> = (0..11 * 20).map(|i| (i as f32 / 7.0).sin()).collect();
        let of = |numbers: &[f32]| of_numbers(Loss::default(), numbers, &[9; 20]);
        // Of each colour a line and its mark in the legend, in both panels.
        let lines = |svg: &str, colour: &str| {
            let lines = svg.split("<polyline").skip(1);
            lines.filter(|l| l.contains(colour)).count()
        };
        let mut history = of(&numbers);
        let svg = draw(&history);
        for name in ["discriminator", "generator", "penalty", "variety", "epoch"] {
            assert!(svg.contains(name), "{name}");
        }
        for colour in ["#1F6F5C", "#CC661A", "#34549E"] {
            assert_eq!(lines(&svg, colour), 4, "{colour}");
        }
        for (i, epoch) in history.iter_mut().enumerate().step_by(5) {
            epoch.metrics.insert("distance".to_string(), i as f32);
            epoch.metrics.insert("copies".to_string(), f32::NAN);
        }
        let svg = draw(&history);
        assert!(svg.contains("distance") && svg.contains("height=\"1240\""));
        assert_eq!(lines(&svg, "#1F6F5C"), 4 + 3); // a line and two marks: nothing was copied
        for numbers in [&[][..], &[f32::NAN; 11], &[f32::INFINITY; 22]] {
            assert!(draw(&of(numbers)).trim_end().ends_with("</svg>"));
        }
    }
}
