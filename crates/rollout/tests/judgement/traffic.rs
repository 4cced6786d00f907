//! Simulated traffic of a rollout, with what disturbs real measurements.
//!
//! A second is one tick. Pods count requests and bad ones; a scraper reads them every other second,
//! each at its own phase.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "small counts"
)]

use std::f64::consts::TAU;

use fairlead_rollout::judgement::{Arm, Block, Pairing, Reading, Sample};

use super::random::Random;

/// Seconds of a run.
pub(super) const SECONDS: u32 = 600;
/// Steps of a run.
pub(super) const STEPS: usize = 4;
/// Milliseconds of a block: four scrapes.
const BLOCK: i64 = 8_000;

/// What a run is made of.
#[derive(Clone, Copy)]
pub(super) struct Scene {
    /// The canary's part of the traffic in each step.
    pub shares: [f64; STEPS],
    /// The canary's requests of the whole run.
    pub canary_requests: f64,
    /// The primary's rate of bad requests.
    pub primary: f64,
    /// What the canary adds to it.
    pub excess: f64,
    /// What happens beside chance.
    pub disturbance: Disturbance,
}

/// What happens beside chance.
#[derive(Clone, Copy)]
pub(super) struct Disturbance {
    /// How alike the requests of one pod and second are (beta-binomial).
    pub alike: f64,
    /// The deviation of a slow wander of the rate that both versions share.
    pub wander: f64,
    /// The deviation of each pod's own slow wander.
    pub own_wander: f64,
    /// Outages of both versions in a run.
    pub shocks: f64,
    /// How far load and rate follow the time of day.
    pub drift: f64,
    /// Losses of a pod's counters in a run, for every two pods.
    pub resets: f64,
    /// The part of scrapes that are missed.
    pub late: f64,
    /// The primary has two to seven pods, as an autoscaler likes.
    pub autoscale: bool,
}

impl Disturbance {
    /// Nothing.
    pub(super) const NONE: Self = Self {
        alike: 0.0,
        wander: 0.0,
        own_wander: 0.0,
        shocks: 0.0,
        drift: 0.0,
        resets: 0.0,
        late: 0.0,
        autoscale: false,
    };

    /// All at once.
    pub(super) const ALL: Self = Self {
        alike: 0.02,
        wander: 0.5,
        own_wander: 0.25,
        shocks: 3.0,
        drift: 0.5,
        resets: 3.0,
        late: 0.05,
        autoscale: true,
    };
}

struct Pod {
    name: String,
    phase: u32,
    requests: f64,
    bad: f64,
    wander: f64,
    scraped: Option<(i64, Sample)>,
}

struct Fleet {
    arm: Arm,
    pods: Vec<Pod>,
    made: u32,
}

impl Fleet {
    fn new(arm: Arm) -> Self {
        Self {
            arm,
            pods: Vec::new(),
            made: 0,
        }
    }

    fn scale(&mut self, count: usize, random: &mut Random) {
        self.pods.truncate(count);
        while self.pods.len() < count {
            self.made += 1;
            self.pods.push(Pod {
                name: format!("{:?}-{}", self.arm, self.made),
                phase: u32::from(random.is(0.5)),
                requests: 0.0,
                bad: 0.0,
                wander: random.normal(),
                scraped: None,
            });
        }
    }

    fn serve(&mut self, requests: f64, rate: f64, disturbance: &Disturbance, random: &mut Random) {
        let each = requests / self.pods.len() as f64;
        for pod in &mut self.pods {
            pod.wander = 0.9 * pod.wander + 0.436 * random.normal();
            let own = (disturbance.own_wander * pod.wander
                - disturbance.own_wander * disturbance.own_wander / 2.0)
                .exp();
            let mean = (rate * own).clamp(0.0, 0.95);
            let rate = if disturbance.alike > 0.0 && mean > 0.0 {
                random.beta(mean, disturbance.alike)
            } else {
                mean
            };
            let served = random.poisson(each);
            pod.requests += served;
            pod.bad += random.binomial(served, rate);
        }
    }

    fn scrape(
        &mut self,
        second: u32,
        disturbance: &Disturbance,
        random: &mut Random,
    ) -> Vec<Reading> {
        for pod in &mut self.pods {
            if random.is(disturbance.resets / f64::from(SECONDS) / 2.0) {
                (pod.requests, pod.bad) = (0.0, 0.0);
            }
            if second % 2 == pod.phase && !random.is(disturbance.late) {
                let counters = Sample {
                    requests: pod.requests,
                    bad: vec![pod.bad],
                };
                pod.scraped = Some((i64::from(second) * 1000, counters));
            }
        }
        let reading = |pod: &Pod| {
            let (at, counters) = pod.scraped.clone()?;
            Some(Reading {
                arm: self.arm,
                series: pod.name.clone(),
                at,
                counters,
            })
        };
        self.pods.iter().filter_map(reading).collect()
    }
}

/// What both versions meet alike: the time of day, a slow wander, outages.
struct Weather {
    wander: f64,
    outage: f64,
    until: u32,
    day: f64,
}

impl Weather {
    fn new(random: &mut Random) -> Self {
        Self {
            wander: random.normal(),
            outage: 0.0,
            until: 0,
            day: random.between(0.0, TAU),
        }
    }

    /// The load of a second, as a factor, and the primary's rate.
    fn advance(&mut self, second: u32, scene: &Scene, random: &mut Random) -> (f64, f64) {
        let Disturbance {
            wander,
            shocks,
            drift,
            ..
        } = scene.disturbance;
        let seconds = f64::from(SECONDS);
        self.wander = 0.95f64.mul_add(self.wander, 0.312 * random.normal());
        if second >= self.until {
            self.outage = 0.0;
        }
        if random.is(shocks / seconds) {
            self.outage = random.between(0.05, 0.4);
            self.until = second + random.between(3.0, 20.0) as u32;
        }
        let daily = 1.0 + drift * (TAU * f64::from(second) / seconds + self.day).sin();
        let shared = wander.mul_add(self.wander, -wander * wander / 2.0).exp();
        (daily, scene.primary * shared * daily + self.outage)
    }
}

/// The blocks of one run.
pub(super) fn blocks(scene: &Scene, random: &mut Random) -> Vec<Block> {
    let disturbance = &scene.disturbance;
    let mut canary = Fleet::new(Arm::Canary);
    let mut primary = Fleet::new(Arm::Primary);
    let mut pairing = Pairing::new(BLOCK);
    let mut weather = Weather::new(random);
    let mut blocks = Vec::new();
    let mean_share = scene.shares.iter().sum::<f64>() / STEPS as f64;
    let mean_load = scene.canary_requests / f64::from(SECONDS) / mean_share;
    for second in 0..SECONDS {
        let (daily, rate) = weather.advance(second, scene, random);
        let step = second * STEPS as u32 / SECONDS;
        let share = scene.shares[step as usize];
        let load = mean_load * daily;
        let replicas = if disturbance.autoscale {
            4.0f64.mul_add(daily, random.between(0.0, 1.2))
        } else {
            4.0
        };
        primary.scale(replicas as usize, random);
        canary.scale(2, random);
        canary.serve(load * share, rate + scene.excess, disturbance, random);
        primary.serve(load * (1.0 - share), rate, disturbance, random);
        let mut readings = canary.scrape(second, disturbance, random);
        readings.extend(primary.scrape(second, disturbance, random));
        blocks.extend(pairing.read(step, &readings));
    }
    blocks
}
