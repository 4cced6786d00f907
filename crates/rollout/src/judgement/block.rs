//! What was counted for both roles over the same few seconds.
//!
//! Pure. Counts may be fractions, since a metrics server extrapolates; a count that cannot be one
//! makes the block unusable instead of wrong.

/// What one role was asked in one block, and how many of these requests were bad in which way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// All requests that ended in the block.
    pub requests: f64,
    /// Requests that were bad: one count for a rate; for a latency, one for each bucket bound,
    /// the requests that took longer than it.
    pub bad: Vec<f64>,
}

impl Sample {
    /// Whether the counts can be counts: finite, not negative, none above `requests`.
    fn is_usable(&self) -> bool {
        let within = |count: f64| (0.0..=self.requests).contains(&count);
        self.requests.is_finite() && self.bad.iter().all(|bad| within(*bad))
    }

    /// The bad requests of one kind; 0 for a kind that nothing was counted for.
    pub(super) fn bad(&self, kind: usize) -> f64 {
        self.bad.get(kind).copied().unwrap_or_default()
    }

    /// The same requests without the first kind of bad ones.
    fn without_first(&self) -> Self {
        Self {
            requests: self.requests,
            bad: self.bad.iter().skip(1).copied().collect(),
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.bad.resize(self.bad.len().max(other.bad.len()), 0.0);
        for (sum, bad) in self.bad.iter_mut().zip(&other.bad) {
            *sum += bad;
        }
    }

    /// Whether counters at `earlier` can have grown to these without beginning anew.
    pub(super) fn is_since(&self, earlier: &Self) -> bool {
        self.requests >= earlier.requests
            && self.bad.len() == earlier.bad.len()
            && self
                .bad
                .iter()
                .zip(&earlier.bad)
                .all(|(now, then)| now >= then)
    }

    /// How much counters have grown since `earlier`.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let grown = |kind| self.bad(kind) - earlier.bad(kind);
        Self {
            requests: self.requests - earlier.requests,
            bad: (0..self.bad.len()).map(grown).collect(),
        }
    }
}

/// A few seconds in which both roles had traffic, judged as one pair.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// Grows from block to block; a block whose id is not above the last one is ignored, so that
    /// nothing is counted twice. The time of the block's end, in milliseconds, will do.
    pub id: u64,
    /// The step of the rollout: it names the weight, and no two weights are pooled.
    pub step: u32,
    /// The canary's requests.
    pub canary: Sample,
    /// The primary's requests.
    pub primary: Sample,
}

impl Block {
    /// The same block about slow requests alone: failed ones are the first kind.
    pub(super) fn without_failures(&self) -> Self {
        Self {
            canary: self.canary.without_first(),
            primary: self.primary.without_first(),
            ..*self
        }
    }

    /// Whether both roles had traffic and their counts can be compared.
    pub(super) fn is_usable(&self) -> bool {
        self.canary.is_usable()
            && self.primary.is_usable()
            && self.canary.requests > 0.0
            && self.primary.requests > 0.0
    }
}
