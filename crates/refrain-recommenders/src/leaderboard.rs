use std::fmt;
use std::time::Instant;

use refrain_data::Interactions;

use crate::{Evaluator, Metric, Recommender, Report, Result};

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
    /// How long fitting took, in seconds.
    pub fit_seconds: f64,
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
        self.enter(name, &model, began.elapsed().as_secs_f64())?;
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
        fit_seconds: f64,
    ) -> Result<()> {
        let report = self.judge.run(model, &self.metrics)?;
        self.rows.push(Row {
            name: name.into(),
            report,
            fit_seconds,
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

    /// The table in Markdown.
    pub fn to_markdown(&self) -> String {
        let mut lines = vec!["| model |".to_string(), "|---|".to_string()];
        let titles = self
            .metrics
            .iter()
            .map(Metric::to_string)
            .chain(["fit (s)".to_string()]);
        for title in titles {
            lines[0].push_str(&format!(" {title} |"));
            lines[1].push_str("---:|");
        }
        for row in &self.rows {
            let values = row
                .report
                .values
                .iter()
                .map(|(_, value)| format!(" {value:.4} |"));
            let values: String = values.collect();
            lines.push(format!("| {} |{values} {:.2} |", row.name, row.fit_seconds));
        }
        lines.join("\n")
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
            for (_, value) in &row.report.values {
                write!(f, "  {value:>12.4}")?;
            }
            write!(f, "  {:>8.2}", row.fit_seconds)?;
        }
        Ok(())
    }
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
    }
}
