//! Convolutions of 64 images and both gradients, in operations a second, beside PyTorch's.
//!
//! ```text
//! cargo run --release -p refrain-benches --bin convolution -- --python python3 --threads 1
//! ```
//!
//! Each side does every shape in turn; the figures are of the median time over the rounds.

use std::error::Error;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use clap::Parser;
use rand::RngExt;
use refrain::kernels::Convolution;
use refrain::rng;
use refrain_benches::{Torch, median, script};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Convolutions and their gradients, beside PyTorch")]
struct Arguments {
    /// A Python with PyTorch; without it only our side runs.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Threads for both sides.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Rounds; in each, each side does everything once.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
}

/// Channels, filters, kernel, stride, side of the image.
const SHAPES: [[usize; 5]; 9] = [
    [3, 32, 3, 2, 32],
    [32, 64, 3, 2, 16],
    [64, 128, 3, 2, 8],
    [128, 64, 3, 1, 8],
    [64, 64, 3, 1, 16],
    [128, 128, 3, 1, 16],
    [64, 64, 3, 1, 32],
    [32, 64, 1, 1, 32],
    [64, 64, 3, 1, 64],
];
const IMAGES: usize = 64;

fn main() {
    if let Err(error) = run(&Arguments::parse()) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let threads = arguments.threads;
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()?;
    let mut torch = match &arguments.python {
        Some(python) => {
            let mut command = Command::new(python);
            command.arg(script("torch_convolution.py"));
            command.arg(threads.to_string()).arg(IMAGES.to_string());
            command.args(SHAPES.map(|shape| shape.map(|n| n.to_string()).join(",")));
            Some(Torch::start(&mut command)?)
        }
        None => None,
    };
    let cases: Vec<Case> = SHAPES.into_iter().map(Case::new).collect();
    let mut ours = vec![Vec::new(); 3 * cases.len()];
    let mut theirs = ours.clone();
    for round in 0..=arguments.rounds {
        let times = cases.iter().flat_map(Case::seconds);
        let answer = torch.as_mut().map(|torch| torch.turn(1)).transpose()?;
        for (i, time) in times.enumerate().filter(|_| round > 0) {
            ours[i].push(time); // the first round warms up
            if let Some(answer) = &answer {
                theirs[i].push(answer["seconds"][i].as_f64().unwrap_or(f64::NAN));
            }
        }
    }
    println!(
        "10⁹ operations a second, {threads} threads, {IMAGES} images; in brackets PyTorch's\n\
         channels filters kernel stride image       maps        image      weights"
    );
    for (i, case) in cases.iter().enumerate() {
        let Convolution {
            channels,
            filters,
            kernel,
            stride,
            image,
            ..
        } = case.convolution;
        let side = image[0];
        print!("{channels:8} {filters:7} {kernel:6} {stride:6} {side:5}");
        for part in 3 * i..3 * i + 3 {
            let rate = |times: &Vec<f64>| case.operations() / median(times.clone()) / 1e9;
            print!("  {:4.0} ({:4.0})", rate(&ours[part]), rate(&theirs[part]));
        }
        println!();
    }
    Ok(())
}

struct Case {
    convolution: Convolution,
    images: Vec<f32>,
    maps: Vec<f32>,
    weights: Vec<f32>,
}

impl Case {
    fn new([channels, filters, kernel, stride, side]: [usize; 5]) -> Self {
        let maps = (side + 2 * (kernel / 2) - kernel) / stride + 1;
        let convolution = Convolution {
            channels,
            filters,
            kernel,
            stride,
            padding: kernel / 2,
            image: [side; 2],
            maps: [maps; 2],
        };
        let mut rng = rng::stream(1, 0);
        let mut draw = |n: usize| (0..n).map(|_| rng.random_range(-1.0..1.0f32)).collect();
        Self {
            convolution,
            images: draw(IMAGES * convolution.image_len()),
            maps: draw(IMAGES * convolution.map_len()),
            weights: draw(filters * channels * kernel * kernel),
        }
    }

    fn operations(&self) -> f64 {
        let pixels = self.maps.len() / self.convolution.filters;
        2.0 * (pixels * self.weights.len()) as f64
    }

    /// Of the maps, the gradient for the images and that for the weights.
    fn seconds(&self) -> [f64; 3] {
        let c = &self.convolution;
        let timed = |work: &dyn Fn() -> Vec<f32>| {
            let began = Instant::now();
            std::hint::black_box(work());
            began.elapsed().as_secs_f64()
        };
        let (filters, channels) = (vec![0.0; c.filters], vec![0.0; c.channels]);
        [
            timed(&|| c.forward(&self.images, &self.weights, &filters)),
            timed(&|| c.transposed(&self.maps, &self.weights, &channels)),
            timed(&|| c.weight_gradient(&self.images, &self.maps)),
        ]
    }
}
