use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::{Error, Result};

/// What long work tells while it runs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A stage begins.
    Start {
        /// Its name.
        stage: &'a str,
        /// How many steps it has, when that is known.
        total: Option<u64>,
    },
    /// Some steps are done.
    Advance {
        /// The stage's name.
        stage: &'a str,
        /// Steps done since its start.
        done: u64,
        /// How many steps it has, when that is known.
        total: Option<u64>,
        /// A number or a word for a person: a loss, a rate. May be empty.
        message: &'a str,
    },
    /// The stage ended, or was abandoned.
    Finish {
        /// The stage's name.
        stage: &'a str,
        /// How long it took.
        elapsed: Duration,
    },
}

/// Something that listens to long work. Any `Fn(&Event)` does:
///
/// ```
/// use refrain_core::{Event, Monitor};
/// let monitor = Monitor::new(|event: &Event<'_>| {
///     if let Event::Finish { stage, elapsed } = event {
///         println!("{stage}: {elapsed:?}");
///     }
/// });
/// let stage = monitor.start("count", Some(3));
/// for i in 0..3 {
///     stage.advance(1, format_args!("{i}"))?;
/// }
/// # Ok::<(), refrain_core::Error>(())
/// ```
pub trait Progress: Send + Sync {
    /// Called for each event, from whichever thread does the work.
    fn event(&self, event: &Event<'_>);
}

impl<F: Fn(&Event<'_>) + Send + Sync> Progress for F {
    fn event(&self, event: &Event<'_>) {
        self(event);
    }
}

/// A listener that does nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: &Event<'_>) {}
}

/// A switch that stops long work at its next step; clones share it.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A token that nobody has cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the work to stop; it returns [`Error::Cancelled`].
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether someone asked.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Progress and cancellation, passed to long work as one value.
#[derive(Clone)]
pub struct Monitor {
    progress: Arc<dyn Progress>,
    cancel: CancelToken,
}

impl Default for Monitor {
    fn default() -> Self {
        Self::silent()
    }
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Monitor")
            .field("cancelled", &self.cancel.is_cancelled())
            .finish()
    }
}

impl Monitor {
    /// Tells nobody.
    pub fn silent() -> Self {
        Self::new(Silent)
    }

    /// Tells `progress`.
    pub fn new(progress: impl Progress + 'static) -> Self {
        Self {
            progress: Arc::new(progress),
            cancel: CancelToken::new(),
        }
    }

    /// Bars on the terminal.
    #[cfg(feature = "indicatif")]
    pub fn bars() -> Self {
        Self::new(Bars::default())
    }

    /// The same listener, stopped by `token`.
    #[must_use]
    pub fn with_cancel(mut self, token: CancelToken) -> Self {
        self.cancel = token;
        self
    }

    /// The token that stops this work.
    pub fn cancel_token(&self) -> CancelToken {
        self.cancel.clone()
    }

    /// Begins a stage of `total` steps; dropping the stage ends it.
    pub fn start(&self, stage: impl Into<String>, total: Option<u64>) -> Stage {
        let name = stage.into();
        self.progress.event(&Event::Start {
            stage: &name,
            total,
        });
        Stage {
            monitor: self.clone(),
            name,
            total,
            done: AtomicU64::new(0),
            began: Instant::now(),
        }
    }
}

/// One stage of long work. It can be advanced from several threads.
#[derive(Debug)]
pub struct Stage {
    monitor: Monitor,
    name: String,
    total: Option<u64>,
    done: AtomicU64,
    began: Instant,
}

impl Stage {
    /// Tells that `steps` more are done.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when someone asked the work to stop.
    pub fn advance(&self, steps: u64, message: impl std::fmt::Display) -> Result<()> {
        let done = self.done.fetch_add(steps, Ordering::Relaxed) + steps;
        let message = message.to_string();
        self.monitor.progress.event(&Event::Advance {
            stage: &self.name,
            done,
            total: self.total,
            message: &message,
        });
        self.check()
    }

    /// Returns an error when someone asked the work to stop.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub fn check(&self) -> Result<()> {
        match self.monitor.cancel.is_cancelled() {
            true => Err(Error::Cancelled {
                stage: self.name.clone(),
            }),
            false => Ok(()),
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let elapsed = self.began.elapsed();
        self.monitor.progress.event(&Event::Finish {
            stage: &self.name,
            elapsed,
        });
    }
}

/// Progress bars on the terminal (feature `indicatif`), one below the other.
///
/// Where standard error is not a terminal, each stage is one line when it ends, and a long one a line
/// every half a minute.
#[cfg(feature = "indicatif")]
#[derive(Debug, Default)]
pub struct Bars {
    all: indicatif::MultiProgress,
    open: std::sync::Mutex<Vec<Open>>,
}

/// A stage under way.
#[cfg(feature = "indicatif")]
#[derive(Debug)]
struct Open {
    stage: String,
    bar: indicatif::ProgressBar,
    /// When it last became a line.
    told: Instant,
}

/// Between two lines of a stage where there is no terminal.
#[cfg(feature = "indicatif")]
const SILENCE: Duration = Duration::from_secs(30);

#[cfg(feature = "indicatif")]
impl Bars {
    fn bar(&self, stage: &str) -> Option<indicatif::ProgressBar> {
        let open = self.open.lock().ok()?;
        let last = open.iter().rev().find(|open| open.stage == stage)?;
        Some(last.bar.clone())
    }

    /// Whether a stage that nobody sees has been silent for long, and becomes a line now.
    fn line_is_due(&self, stage: &str) -> bool {
        let Some(mut open) = self.open.lock().ok().filter(|_| self.all.is_hidden()) else {
            return false;
        };
        match open.iter_mut().rev().find(|open| open.stage == stage) {
            Some(last) if last.told.elapsed() >= SILENCE => {
                last.told = Instant::now();
                true
            }
            _ => false,
        }
    }
}

#[cfg(feature = "indicatif")]
impl Progress for Bars {
    fn event(&self, event: &Event<'_>) {
        use indicatif::{ProgressBar, ProgressStyle};
        match event {
            Event::Start { stage, total } => {
                let (bar, template) = match total {
                    Some(total) => (
                        ProgressBar::new(*total),
                        "  {prefix:28} {bar:24} {pos:>6}/{len:<6} {elapsed:>4} left {eta:>4}  {msg}",
                    ),
                    None => (
                        ProgressBar::new_spinner(),
                        "  {prefix:28} {spinner:24} {pos:>6}        {elapsed:>4}            {msg}",
                    ),
                };
                let style = ProgressStyle::with_template(template)
                    .unwrap_or_else(|_| ProgressStyle::default_bar());
                let bar = self
                    .all
                    .add(bar.with_style(style).with_prefix(stage.to_string()));
                if let Ok(mut open) = self.open.lock() {
                    open.push(Open {
                        stage: stage.to_string(),
                        bar,
                        told: Instant::now(),
                    });
                }
            }
            Event::Advance {
                stage,
                done,
                total,
                message,
            } => {
                if let Some(bar) = self.bar(stage) {
                    if !message.is_empty() {
                        bar.set_message(message.to_string());
                    }
                    bar.set_position(*done);
                    if self.line_is_due(stage) {
                        let total = total.map_or(String::new(), |total| format!("/{total}"));
                        eprintln!("  {stage:28} {done}{total}  {}", bar.message());
                    }
                }
            }
            Event::Finish { stage, elapsed } => {
                let Some(bar) = self.bar(stage) else { return };
                let message = bar.message();
                bar.finish_and_clear();
                self.all.remove(&bar);
                let line = format!("  {stage:28} {:>7.2} s  {message}", elapsed.as_secs_f64());
                if self.all.is_hidden() || self.all.println(&line).is_err() {
                    eprintln!("{line}");
                }
                if let Ok(mut open) = self.open.lock()
                    && let Some(at) = open.iter().rposition(|open| open.stage == *stage)
                {
                    open.remove(at);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn events_arrive_in_order_and_cancel_stops() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        let monitor = Monitor::new(move |event: &Event<'_>| {
            log.lock().unwrap().push(match event {
                Event::Start { stage, total } => format!("start {stage} {total:?}"),
                Event::Advance { done, message, .. } => format!("{done} {message}"),
                Event::Finish { stage, .. } => format!("finish {stage}"),
            });
        });
        let stage = monitor.start("fit", Some(2));
        stage.advance(1, "loss 0.5").unwrap();
        monitor.cancel_token().cancel();
        let error = stage.advance(1, "").unwrap_err();
        assert_eq!(error.to_string(), "cancelled during fit");
        drop(stage);
        let seen = seen.lock().unwrap();
        assert_eq!(
            *seen,
            ["start fit Some(2)", "1 loss 0.5", "2 ", "finish fit"]
        );
    }
}
