//! MovieLens-100K, what comes next: each user's last item among all others, at the defaults, beside a
//! SASRec in PyTorch of the same configuration.
//!
//! ```text
//! REFRAIN_DATA=DATA cargo run --release -p refrain-benches --bin sequential -- --python python3
//! ```
//!
//! The last item of each user is the test, the last but one is what early stopping looks at. Full
//! ranking over all items that the user did not have. `--tune` compares settings by the last but one
//! item instead, which is how the defaults of Markov and session-kNN were chosen.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use clap::Parser;
use refrain::Monitor;
use refrain::data::datasets::MovieLens;
use refrain::data::{Interactions, split};
use refrain::recommenders::{
    Bert4Rec, Gru4Rec, Markov, Metric, NextItemLoss, Order, Popularity, Recommender, Result,
    SasRec, Sequences, SessionKnn, Training, evaluate,
};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "MovieLens-100K: sequential recommenders, and SASRec in PyTorch")]
struct Arguments {
    /// The folder of MovieLens-100K; REFRAIN_DATA/ml-100k if not given.
    #[arg(long)]
    data: Option<PathBuf>,
    /// A Python with torch and numpy; without it only our side runs.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Threads for both sides.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// The seed of the neural models.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Only models whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Compares settings on the last but one item.
    #[arg(long)]
    tune: bool,
    /// Tells the losses.
    #[arg(long)]
    verbose: bool,
}

fn main() {
    if let Err(error) = run(&Arguments::parse()) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

type Fit = Box<dyn Fn(&Interactions) -> Result<Box<dyn Recommender>>>;

fn boxed<M: Recommender + 'static>(fit: impl Fn(&Interactions) -> Result<M> + 'static) -> Fit {
    Box::new(move |log| Ok(Box::new(fit(log)?)))
}

fn run(arguments: &Arguments) -> std::result::Result<(), Box<dyn Error>> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(arguments.threads)
        .build_global()?;
    let folder = match (&arguments.data, std::env::var_os("REFRAIN_DATA")) {
        (Some(folder), _) => folder.clone(),
        (None, Some(data)) => Path::new(&data).join("ml-100k"),
        (None, None) => return Err("pass --data or set REFRAIN_DATA".into()),
    };
    let ratings = MovieLens::load(&folder)?.ratings;
    let (mut train, mut test) = split::leave_last_out(&ratings, 1)?;
    if arguments.tune {
        (train, test) = split::leave_last_out(&train, 1)?;
    }
    println!("{} training and {} test events", train.len(), test.len());
    let metrics = [Metric::HitRate(10), Metric::Ndcg(10)];
    println!("{:44} {:>8} {:>8} {:>9}", "", "HR@10", "NDCG@10", "fit (s)");
    for (name, fit) in models(arguments)? {
        if !name.contains(&arguments.only) {
            continue;
        }
        let began = Instant::now();
        let model = fit(&train)?;
        let seconds = began.elapsed().as_secs_f64();
        let report = evaluate(&*model, &train, &test, &metrics)?;
        let value = |metric| report.get(metric).unwrap_or(f64::NAN);
        println!(
            "{name:44} {:>8.4} {:>8.4} {seconds:>9.2}",
            value(metrics[0]),
            value(metrics[1])
        );
    }
    if !arguments.tune {
        epoch(arguments, &train)?;
        if let Some(python) = &arguments.python {
            theirs(arguments, python, &train, &test)?;
        }
    }
    Ok(())
}

fn models(arguments: &Arguments) -> std::result::Result<Vec<(String, Fit)>, Box<dyn Error>> {
    let device = refrain::device("cpu")?;
    let monitor = match arguments.verbose {
        true => Monitor::new(|event: &refrain::Event<'_>| {
            if let refrain::Event::Advance { done, message, .. } = event {
                eprintln!("{done:4} {message}");
            }
        }),
        false => Monitor::silent(),
    };
    let training = Training {
        seed: arguments.seed,
        ..Training::default()
    };
    let sasrec = {
        let (device, monitor) = (device.clone(), monitor.clone());
        move |config: SasRec| {
            let (device, monitor) = (device.clone(), monitor.clone());
            boxed(move |log| config.fit_with(log, &device, &monitor))
        }
    };
    let base = SasRec {
        training: training.clone(),
        ..SasRec::default()
    };
    let mut all: Vec<(String, Fit)> = Vec::new();
    if arguments.tune {
        for (order, reach, smoothing) in [
            (1, 1, 10.0),
            (1, 10, 10.0),
            (1, 10, 100.0),
            (1, 30, 30.0),
            (2, 10, 10.0),
            (2, 10, 30.0),
            (2, 30, 100.0),
            (3, 10, 30.0),
        ] {
            let config = Markov {
                order,
                reach,
                smoothing,
            };
            all.push((format!("{config:?}"), boxed(move |log| config.fit(log))));
        }
        for (neighbours, half_life, proximity, idf) in [
            (200, 5.0, 20.0, true),
            (200, 5.0, 20.0, false),
            (100, 5.0, 20.0, true),
            (500, 5.0, 20.0, true),
            (200, 10.0, 20.0, true),
            (200, 20.0, 20.0, true),
            (200, 20.0, 50.0, true),
            (200, 10.0, 10.0, true),
            (200, 10.0, 1e6, true),
        ] {
            let config = SessionKnn {
                neighbours,
                half_life,
                proximity,
                idf,
                ..SessionKnn::default()
            };
            let name = format!("session-kNN {neighbours} {half_life} {proximity} {idf}");
            all.push((name, boxed(move |log| config.fit(log))));
        }
        for (width, layers, context, dropout, batch, rate) in [
            (64, 2, 50, 0.3, 64, 1e-3),
            (64, 2, 50, 0.5, 64, 1e-3),
            (64, 2, 200, 0.3, 64, 1e-3),
            (64, 2, 50, 0.3, 32, 1e-3),
            (128, 2, 50, 0.5, 64, 1e-3),
        ] {
            let config = SasRec {
                width,
                layers,
                context,
                dropout,
                training: Training {
                    batch,
                    learning_rate: rate,
                    ..training.clone()
                },
                ..SasRec::default()
            };
            let name = format!("SASRec {width} {layers} {context} {dropout} {batch} {rate}");
            all.push((name, sasrec(config)));
        }
        for (width, layers, context, dropout) in [
            (64, 1, 50, 0.3),
            (64, 1, 50, 0.5),
            (128, 1, 50, 0.5),
            (64, 1, 200, 0.3),
        ] {
            let config = Gru4Rec {
                width,
                layers,
                context,
                dropout,
                training: training.clone(),
            };
            let name = format!("GRU4Rec {width} {layers} {context} {dropout}");
            let (device, monitor) = (device.clone(), monitor.clone());
            let fit = move |log: &Interactions| config.fit_with(log, &device, &monitor);
            all.push((name, boxed(fit)));
        }
        for (cloze, dropout, order, patience) in [
            (0.3, 0.3, Order::Rotary, 20),
            (0.3, 0.3, Order::Rotary, 60),
            (0.3, 0.1, Order::Rotary, 60),
            (0.15, 0.3, Order::Rotary, 60),
            (0.6, 0.3, Order::Rotary, 60),
            (0.3, 0.3, Order::Learned, 60),
        ] {
            let config = Bert4Rec {
                dropout,
                cloze,
                order,
                training: Training {
                    patience: Some(patience),
                    seed: arguments.seed,
                    ..Bert4Rec::default().training
                },
                ..Bert4Rec::default()
            };
            let name = format!("BERT4Rec {cloze} {dropout} {order:?} {patience}");
            let (device, monitor) = (device.clone(), monitor.clone());
            let fit = move |log: &Interactions| config.fit_with(log, &device, &monitor);
            all.push((name, boxed(fit)));
        }
        return Ok(all);
    }
    all.push((
        "popularity".into(),
        boxed(|log| Popularity::default().fit(log)),
    ));
    all.push(("Markov".into(), boxed(|log| Markov::default().fit(log))));
    all.push((
        "session-kNN".into(),
        boxed(|log| SessionKnn::default().fit(log)),
    ));
    all.push(("SASRec".into(), sasrec(base.clone())));
    for (name, loss) in [
        (
            "SASRec, sampled softmax 256",
            NextItemLoss::SampledSoftmax { negatives: 256 },
        ),
        (
            "SASRec, gBCE 256",
            NextItemLoss::Gbce {
                negatives: 256,
                calibration: 0.75,
            },
        ),
    ] {
        let config = SasRec {
            training: Training {
                loss,
                ..training.clone()
            },
            ..base.clone()
        };
        all.push((name.into(), sasrec(config)));
    }
    let (gru_device, gru_monitor) = (device.clone(), monitor.clone());
    let gru = Gru4Rec {
        training: training.clone(),
        ..Gru4Rec::default()
    };
    all.push((
        "GRU4Rec".into(),
        boxed(move |log| gru.fit_with(log, &gru_device, &gru_monitor)),
    ));
    let bert = Bert4Rec::default();
    let bert = Bert4Rec {
        training: Training {
            seed: arguments.seed,
            ..bert.training.clone()
        },
        ..bert
    };
    all.push((
        "BERT4Rec".into(),
        boxed(move |log| bert.fit_with(log, &device, &monitor)),
    ));
    Ok(all)
}

/// What an epoch of SASRec takes: several, less the first.
fn epoch(arguments: &Arguments, train: &Interactions) -> std::result::Result<(), Box<dyn Error>> {
    if !"SASRec".contains(&arguments.only) {
        return Ok(());
    }
    let device = refrain::device("cpu")?;
    let seconds = |epochs| -> std::result::Result<f64, Box<dyn Error>> {
        let config = SasRec {
            training: Training {
                epochs,
                validate: false,
                ..Training::default()
            },
            ..SasRec::default()
        };
        let began = Instant::now();
        config.fit(train, &device)?;
        Ok(began.elapsed().as_secs_f64())
    };
    let (one, six) = (seconds(1)?, seconds(6)?);
    println!("SASRec: {:.3} s an epoch", (six - one) / 5.0);
    Ok(())
}

/// Writes the ordered histories, runs the peer on them, and prints what it says.
fn theirs(
    arguments: &Arguments,
    python: &Path,
    train: &Interactions,
    test: &Interactions,
) -> std::result::Result<(), Box<dyn Error>> {
    let sequences = Sequences::new(train)?;
    let users: Vec<serde_json::Value> = (0..train.n_users() as u32)
        .map(|user| {
            serde_json::json!({
                "history": sequences.of(user),
                "test": test.user_items(user).0.first(),
            })
        })
        .collect();
    let SasRec {
        width,
        layers,
        heads,
        context,
        dropout,
        training,
        ..
    } = SasRec::default();
    let task = serde_json::json!({
        "items": train.n_items(), "users": users, "width": width, "layers": layers,
        "heads": heads, "context": context, "dropout": dropout, "batch": training.batch,
        "learning_rate": training.learning_rate, "epochs": training.epochs,
        "patience": training.patience, "seed": arguments.seed, "threads": arguments.threads,
    });
    let path = std::env::temp_dir().join(format!("refrain-sasrec-{}.json", std::process::id()));
    std::fs::write(&path, task.to_string())?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/sasrec.py");
    let status = Command::new(python)
        .arg(script)
        .arg(&path)
        .stderr(Stdio::inherit())
        .status();
    std::fs::remove_file(&path)?;
    match status?.success() {
        true => Ok(()),
        false => Err("the peer failed; it needs torch and numpy".into()),
    }
}
