//! Schroeder's reverb: four damped combs side by side, then two all-passes (Schroeder, 1962; the
//! damping is Moorer's, 1979).

/// A room.
pub(crate) struct Reverb {
    combs: Vec<Comb>,
    passes: Vec<AllPass>,
}

struct Comb {
    line: Vec<f32>,
    at: usize,
    low: f32,
}

struct AllPass {
    line: Vec<f32>,
    at: usize,
}

/// How much of the echo comes back.
const FEEDBACK: f32 = 0.78;
/// How much of the treble each echo loses.
const DAMPING: f32 = 0.35;

impl Reverb {
    /// A room for a sample rate; `spread` samples make the other ear's differ.
    pub(crate) fn new(rate: f32, spread: usize) -> Self {
        let samples = |at_44100: usize| {
            let n = at_44100 as f32 * rate / 44_100.0;
            vec![0.0; (n as usize + spread).max(1)]
        };
        let combs = [1116, 1277, 1422, 1617]
            .map(|n| Comb {
                line: samples(n),
                at: 0,
                low: 0.0,
            })
            .into();
        let passes = [556, 225]
            .map(|n| AllPass {
                line: samples(n),
                at: 0,
            })
            .into();
        Self { combs, passes }
    }

    /// The sound of the room alone.
    pub(crate) fn run(mut self, dry: &[f32]) -> Vec<f32> {
        dry.iter().map(|x| self.step(*x)).collect()
    }

    fn step(&mut self, x: f32) -> f32 {
        let mut y: f32 = self.combs.iter_mut().map(|c| c.step(x)).sum::<f32>() * 0.25;
        for pass in &mut self.passes {
            y = pass.step(y);
        }
        y
    }
}

impl Comb {
    fn step(&mut self, x: f32) -> f32 {
        let y = self.line[self.at];
        self.low = y * (1.0 - DAMPING) + self.low * DAMPING;
        // Far below hearing, and denormal numbers are slow.
        if self.low.abs() < 1e-15 {
            self.low = 0.0;
        }
        self.line[self.at] = x + self.low * FEEDBACK;
        self.at = (self.at + 1) % self.line.len();
        y
    }
}

impl AllPass {
    fn step(&mut self, x: f32) -> f32 {
        let held = self.line[self.at];
        let y = held - 0.5 * x;
        self.line[self.at] = x + 0.5 * y;
        self.at = (self.at + 1) % self.line.len();
        y
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_impulse_rings_and_dies() {
        let mut dry = vec![0.0; 44_100 * 3];
        dry[0] = 1.0;
        let wet = Reverb::new(44_100.0, 0).run(&dry);
        let energy = |part: &[f32]| part.iter().map(|x| x * x).sum::<f32>();
        assert!(energy(&wet[..44_100]) > 0.01);
        assert!(energy(&wet[88_200..]) < 1e-4);
    }
}
