//! A small deterministic source of randomness with the distributions that traffic needs.
//!
//! SplitMix64 (Steele, Lea, Flood 2014), gamma by Marsaglia and Tsang (2000).

#![expect(
    clippy::cast_precision_loss,
    reason = "53 bits of randomness are enough"
)]

/// A sequence that its seed determines.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Above 0, below 1.
    pub(super) fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + self.uniform() * (high - low)
    }

    pub(super) fn is(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    pub(super) fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }

    fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            return self.gamma(shape + 1.0) * self.uniform().powf(1.0 / shape);
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && self.uniform().ln() < 0.5 * x * x + d * (1.0 - v + v.ln()) {
                return d * v;
            }
        }
    }

    /// A beta with this mean, in which two requests share their fate with probability `alike`.
    pub(super) fn beta(&mut self, mean: f64, alike: f64) -> f64 {
        let total = 1.0 / alike - 1.0;
        let a = self.gamma(mean * total);
        let b = self.gamma((1.0 - mean) * total);
        if a + b > 0.0 { a / (a + b) } else { mean }
    }

    /// How many of `n` succeed: exact by waiting times where few do, else by the normal.
    pub(super) fn binomial(&mut self, n: f64, probability: f64) -> f64 {
        if probability > 0.5 {
            return n - self.binomial(n, 1.0 - probability);
        }
        if probability <= 0.0 {
            return 0.0;
        }
        if n * probability > 50.0 {
            let deviation = (n * probability * (1.0 - probability)).sqrt();
            return (n * probability + deviation * self.normal())
                .round()
                .clamp(0.0, n);
        }
        let log = (-probability).ln_1p();
        let (mut tried, mut hits) = (0.0, 0.0);
        loop {
            tried += (self.uniform().ln() / log).floor() + 1.0;
            if tried > n {
                return hits;
            }
            hits += 1.0;
        }
    }

    pub(super) fn poisson(&mut self, mean: f64) -> f64 {
        self.binomial(
            (mean * 1000.0).round().max(1.0),
            (mean / (mean * 1000.0).round().max(1.0)).min(1.0),
        )
    }
}
