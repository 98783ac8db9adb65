use std::fmt::{self, Write};
use std::time::Instant;

use refrain_data::Interactions;

use crate::stream::quoted;
use crate::{Bootstrap, Error, Evaluator, Metric, Paired, Recommender, Report, Result};

/// Fitted models on one split, as a table: text by `{}`, [Markdown](Leaderboard::to_markdown),
/// [CSV](Leaderboard::to_csv) or a [picture](Leaderboard::to_svg). The columns are NDCG@10, recall@20 and
/// coverage@10; [`Leaderboard`] has others, and measures the time of fitting.
///
/// ```
/// use refrain_data::{Interactions, split};
/// use refrain_recommenders::{Bootstrap, ItemKnn, Popularity, compare};
///
/// let log = Interactions::from_events((0..900).map(|n| (n / 30, (n * n + n / 30) % 40, 1.0)))?;
/// let (train, test) = split::random(&log, 0.2, 7)?;
/// let (popular, knn) = (Popularity::default().fit(&train)?, ItemKnn::default().fit(&train)?);
/// let board = compare(&[("popularity", &popular), ("item-kNN", &knn)], &train, &test)?;
/// println!("{board}");
/// for (name, test) in board.versus_best(&Bootstrap::default())? {
///     println!("{name} is behind the best by {test}"); // −0.0100 [−0.0300, +0.0100], p = 0.3000
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`Evaluator::new`] and [`Evaluator::run`].
pub fn compare<'a>(
    models: &[(&str, &dyn Recommender)],
    train: &'a Interactions,
    test: &Interactions,
) -> Result<Leaderboard<'a>> {
    let mut board = Leaderboard::new(train, test)?;
    for (name, model) in models {
        board.enter(*name, *model, None)?;
    }
    Ok(board)
}

/// Several models on one split, as a table.
///
/// ```
/// use refrain_data::{Interactions, split};
/// use refrain_recommenders::{ItemKnn, Leaderboard, Popularity};
///
/// let log = Interactions::from_events((0..900).map(|n| (n / 30, (n * n + n / 30) % 40, 1.0)))?;
/// let (train, test) = split::random(&log, 0.2, 7)?;
/// let mut board = Leaderboard::new(&train, &test)?;
/// board.run("popularity", || Popularity::default().fit(&train))?;
/// let model = board.run("item-kNN", || ItemKnn::default().fit(&train))?; // to be used further
/// println!("{board}");
/// assert_eq!(board.rows().len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Leaderboard<'a> {
    judge: Evaluator<'a>,
    metrics: Vec<Metric>,
    rows: Vec<Row>,
}

/// One model's row.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The name it was entered under.
    pub name: String,
    /// What it scored.
    pub report: Report,
    /// How long fitting took, in seconds, where that is known.
    pub fit_seconds: Option<f64>,
}

impl<'a> Leaderboard<'a> {
    /// An empty table of NDCG@10, recall@20 and coverage@10.
    ///
    /// # Errors
    /// As [`Evaluator::new`].
    pub fn new(train: &'a Interactions, test: &Interactions) -> Result<Self> {
        let metrics = vec![Metric::Ndcg(10), Metric::Recall(20), Metric::Coverage(10)];
        Ok(Self {
            judge: Evaluator::new(train, test)?,
            metrics,
            rows: Vec::new(),
        })
    }

    /// Other columns. The first one decides who is best.
    #[must_use]
    pub fn metrics(mut self, metrics: &[Metric]) -> Self {
        self.metrics = metrics.to_vec();
        self
    }

    /// Fits a model, measures it, and hands it back.
    ///
    /// # Errors
    /// Whatever fitting or measuring returns.
    pub fn run<M: Recommender>(
        &mut self,
        name: impl Into<String>,
        fit: impl FnOnce() -> Result<M>,
    ) -> Result<M> {
        let began = Instant::now();
        let model = fit()?;
        self.enter(name, &model, Some(began.elapsed().as_secs_f64()))?;
        Ok(model)
    }

    /// Measures a model that is fitted already.
    ///
    /// # Errors
    /// As [`Evaluator::run`].
    pub fn enter(
        &mut self,
        name: impl Into<String>,
        model: &dyn Recommender,
        fit_seconds: impl Into<Option<f64>>,
    ) -> Result<()> {
        let report = self.judge.run(model, &self.metrics)?;
        self.rows.push(Row {
            name: name.into(),
            report,
            fit_seconds: fit_seconds.into(),
        });
        Ok(())
    }

    /// The rows, in the order they were entered.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The row with the highest first column; the earlier one when two are equal.
    pub fn best(&self) -> Option<&Row> {
        let value = |row: &Row| row.report.values.first().map_or(0.0, |v| v.1);
        self.rows
            .iter()
            .reduce(|best, row| if value(row) > value(best) { row } else { best })
    }

    /// Each row less the best one in the first column, with an interval and the p-value of a paired
    /// test; see [`Report::versus`]. Empty without rows.
    ///
    /// # Errors
    /// [`Error::Config`] when the first column is over all lists together.
    pub fn versus_best(&self, bootstrap: &Bootstrap) -> Result<Vec<(&str, Paired)>> {
        let (Some(best), Some(&metric)) = (self.best(), self.metrics.first()) else {
            return Ok(Vec::new());
        };
        self.rows
            .iter()
            .map(|row| {
                let paired = row.report.versus(&best.report, metric, bootstrap)?;
                Ok((row.name.as_str(), paired))
            })
            .collect()
    }

    /// The table in Markdown.
    pub fn to_markdown(&self) -> String {
        let titles: String = self.titles().map(|t| format!(" {t} |")).collect();
        let rule = "---:|".repeat(self.metrics.len() + 1);
        let mut text = format!("| model |{titles}\n|---|{rule}");
        for row in &self.rows {
            let name = row.name.replace('|', "\\|");
            let values = row.report.values.iter();
            let values: String = values.map(|(_, value)| format!(" {value:.4} |")).collect();
            let seconds = row.fit_seconds.map_or(String::new(), |s| format!("{s:.2}"));
            // Writing to a string cannot fail.
            let _ = write!(text, "\n| {name} |{values} {seconds} |");
        }
        text
    }

    /// The table as comma-separated values, with all digits.
    pub fn to_csv(&self) -> String {
        let mut text = "model".to_string();
        self.titles()
            .for_each(|title| text += &format!(",{}", quoted(&title)));
        for row in &self.rows {
            text += &format!("\n{}", quoted(&row.name));
            for (_, value) in &row.report.values {
                text += &format!(",{value}");
            }
            text += &row.fit_seconds.map_or(",".to_string(), |s| format!(",{s}"));
        }
        text + "\n"
    }

    /// A picture of one column as SVG: a bar per model, with its bootstrap interval where the metric
    /// has a value per user.
    ///
    /// # Errors
    /// [`Error::Config`] for a metric that is not among the columns, and for settings out of range.
    pub fn to_svg(&self, metric: Metric, bootstrap: &Bootstrap) -> Result<String> {
        if !self.metrics.contains(&metric) {
            return Err(Error::Config {
                model: "leaderboard",
                field: "metric",
                value: metric.to_string(),
                expected: "must be among its columns",
            });
        }
        let mut bars = Vec::new();
        for row in &self.rows {
            let value = row.report.get(metric).unwrap_or_default();
            let interval = match metric.is_per_user() {
                true => Some(row.report.interval(metric, bootstrap)?),
                false => None,
            };
            bars.push(Bar {
                name: &row.name,
                value,
                ends: interval.map(|i| (i.low, i.high)),
            });
        }
        Ok(bar_chart(&metric.to_string(), &bars))
    }

    fn titles(&self) -> impl Iterator<Item = String> + '_ {
        let metrics = self.metrics.iter().map(Metric::to_string);
        metrics.chain(["fit (s)".to_string()])
    }
}

impl fmt::Display for Leaderboard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.rows.iter().map(|row| row.name.chars().count());
        let width = names.max().unwrap_or(0).max(5);
        write!(f, "{:width$}", "model")?;
        for metric in &self.metrics {
            write!(f, "  {metric:>12}")?;
        }
        write!(f, "  {:>8}", "fit (s)")?;
        for row in &self.rows {
            write!(f, "\n{:width$}", row.name)?;
            for (metric, value) in &row.report.values {
                let width = metric.to_string().chars().count().max(12);
                write!(f, "  {value:>width$.4}")?;
            }
            let seconds = row.fit_seconds.map_or(String::new(), |s| format!("{s:.2}"));
            write!(f, "  {seconds:>8}")?;
        }
        Ok(())
    }
}

/// A bar of the picture, and the ends of its interval.
struct Bar<'a> {
    name: &'a str,
    value: f64,
    ends: Option<(f64, f64)>,
}

/// Horizontal bars from 0, the names on the left and the values on the right.
fn bar_chart(title: &str, bars: &[Bar<'_>]) -> String {
    const LEFT: f64 = 180.0;
    const WIDE: f64 = 380.0;
    const STEP: f64 = 28.0;
    let ends = bars.iter().flat_map(|bar| {
        let (low, high) = bar.ends.unwrap_or((bar.value, bar.value));
        [low, high]
    });
    let (least, most) = ends.fold((0.0f64, 0.0f64), |(a, b), v| (a.min(v), b.max(v)));
    let span = if most > least { most - least } else { 1.0 };
    let x = |value: f64| LEFT + (value - least) / span * WIDE;
    let height = 40.0 + STEP * bars.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 640 {height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"640\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-weight=\"bold\">{}</text>\n",
        escaped(title)
    );
    for (at, bar) in bars.iter().enumerate() {
        let top = 32.0 + STEP * at as f64;
        let (from, to) = (x(bar.value.min(0.0)), x(bar.value.max(0.0)));
        let mut last = to;
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n\
             <rect x=\"{from:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"18\" fill=\"#4c78a8\"/>",
            LEFT - 8.0,
            top + 14.0,
            escaped(bar.name),
            to - from,
        );
        if let Some((low, high)) = bar.ends {
            let middle = top + 9.0;
            last = last.max(x(high));
            let _ = writeln!(
                svg,
                "<path d=\"M{0:.1} {2:.1}H{1:.1}M{0:.1} {3:.1}v8M{1:.1} {3:.1}v8\" \
                 stroke=\"#1b1b1b\" fill=\"none\"/>",
                x(low),
                x(high),
                middle,
                middle - 4.0,
            );
        }
        let (at, down) = (last + 6.0, top + 14.0);
        let _ = writeln!(
            svg,
            "<text x=\"{at:.1}\" y=\"{down:.1}\">{:.4}</text>",
            bar.value
        );
    }
    svg + "</svg>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use refrain_data::split;

    use super::*;
    use crate::conformance::blocks_log;
    use crate::{ItemKnn, Random};

    #[test]
    fn a_table_of_two() {
        let (train, test) = split::random(&blocks_log(), 0.25, 5).unwrap();
        let mut board = Leaderboard::new(&train, &test).unwrap();
        assert!(board.best().is_none());
        board
            .run("chance", || Random::default().fit(&train))
            .unwrap();
        board
            .run("item-kNN", || ItemKnn::default().fit(&train))
            .unwrap();
        assert_eq!(board.best().unwrap().name, "item-kNN");
        let text = board.to_string();
        assert_eq!(text.lines().count(), 3);
        assert!(
            text.lines()
                .all(|line| line.len() == text.lines().next().unwrap().len())
        );
        assert_eq!(board.to_markdown().lines().count(), 4);
        let csv = board.to_csv();
        assert!(csv.starts_with("model,NDCG@10,recall@20,coverage@10,fit (s)\nchance,0."));
        assert_eq!(csv.lines().count(), 3);
        let tests = board.versus_best(&Bootstrap::default()).unwrap();
        assert_eq!((tests[1].0, tests[1].1.p), ("item-kNN", 1.0));
        assert!(tests[0].1.difference.high < 0.0 && tests[0].1.p < 0.01);
    }

    #[test]
    fn a_picture_of_odd_names() {
        let (train, test) = split::random(&blocks_log(), 0.25, 5).unwrap();
        let chance = Random::default().fit(&train).unwrap();
        let board = compare(&[("a <b> & \"c, d\"|", &chance)], &train, &test).unwrap();
        let bootstrap = Bootstrap::default();
        let svg = board.to_svg(Metric::Ndcg(10), &bootstrap).unwrap();
        assert!(svg.contains("a &lt;b&gt; &amp; \"c, d\"|</text>"));
        assert_eq!(
            (svg.matches("<rect").count(), svg.matches("<path").count()),
            (2, 1)
        );
        assert!(!svg.contains("NaN"));
        let svg = board.to_svg(Metric::Coverage(10), &bootstrap).unwrap();
        assert_eq!(svg.matches("<path").count(), 0);
        assert!(board.to_svg(Metric::Auc, &bootstrap).is_err());
        assert!(board.to_csv().contains("\"a <b> & \"\"c, d\"\"|\","));
        assert!(board.to_csv().ends_with(",\n"));
        assert!(board.to_markdown().contains("\\|"));
    }
}
