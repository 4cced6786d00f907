//! Simulated traffic of a rollout, with what disturbs real measurements.
//!
//! What disturbs changes once a second. Pods count requests and bad ones; a scraper reads each of
//! them at its own phase, as often as the pace says.

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

/// How closely the counters are looked at.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    /// Looks at the world in a second; counters grow between them.
    pub ticks: u32,
    /// Ticks between two scrapes of a pod, two at least.
    pub scrape: u32,
    /// Milliseconds of a block.
    pub block: i64,
}

impl Pace {
    /// The default: blocks of half a second, read once in each.
    pub(super) const FINE: Self = Self {
        ticks: 4,
        scrape: 2,
        block: 500,
    };
    /// Blocks of 8 seconds, read four times in each.
    pub(super) const COARSE: Self = Self {
        ticks: 1,
        scrape: 2,
        block: 8_000,
    };
}

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
    /// How closely all that is looked at.
    pub pace: Pace,
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
    /// Its rate of bad requests in this second.
    rate: f64,
    scraped: Option<(i64, Sample)>,
}

impl Pod {
    /// Goes on to the next second.
    fn change(&mut self, rate: f64, by: &Disturbance, random: &mut Random) {
        self.wander = 0.9 * self.wander + 0.436 * random.normal();
        let own = by.own_wander * self.wander - by.own_wander * by.own_wander / 2.0;
        let mean = (rate * own.exp()).clamp(0.0, 0.95);
        self.rate = if by.alike > 0.0 && mean > 0.0 {
            random.beta(mean, by.alike)
        } else {
            mean
        };
    }
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
                rate: 0.0,
                scraped: None,
            });
        }
    }

    /// Serves the requests of one tick; the first one of a second brings a rate of its own.
    fn serve(&mut self, requests: f64, rate: Option<f64>, by: &Disturbance, random: &mut Random) {
        let each = requests / self.pods.len() as f64;
        for pod in &mut self.pods {
            if let Some(rate) = rate {
                pod.change(rate, by, random);
            }
            let served = random.poisson(each);
            pod.requests += served;
            pod.bad += random.binomial(served, pod.rate);
        }
    }

    fn scrape(&mut self, tick: u32, scene: &Scene, random: &mut Random) -> Vec<Reading> {
        let Scene {
            disturbance, pace, ..
        } = scene;
        let ticks = f64::from(SECONDS * pace.ticks);
        for pod in &mut self.pods {
            if random.is(disturbance.resets / ticks / 2.0) {
                (pod.requests, pod.bad) = (0.0, 0.0);
            }
            if tick % pace.scrape == pod.phase && !random.is(disturbance.late) {
                let counters = Sample {
                    requests: pod.requests,
                    bad: vec![pod.bad],
                };
                let at = i64::from(tick) * 1000 / i64::from(pace.ticks);
                pod.scraped = Some((at, counters));
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
    let Pace { ticks, block, .. } = scene.pace;
    let mut pairing = Pairing::new(block);
    let mut weather = Weather::new(random);
    let mut blocks = Vec::new();
    let mean_share = scene.shares.iter().sum::<f64>() / STEPS as f64;
    let mean_load = scene.canary_requests / f64::from(SECONDS) / mean_share;
    for second in 0..SECONDS {
        let (daily, rate) = weather.advance(second, scene, random);
        let step = second * STEPS as u32 / SECONDS;
        let share = scene.shares[step as usize];
        let load = mean_load * daily / f64::from(ticks);
        let replicas = if disturbance.autoscale {
            4.0f64.mul_add(daily, random.between(0.0, 1.2))
        } else {
            4.0
        };
        primary.scale(replicas as usize, random);
        canary.scale(2, random);
        for tick in second * ticks..(second + 1) * ticks {
            let new = (tick % ticks == 0).then_some(rate);
            let worse = new.map(|rate| rate + scene.excess);
            canary.serve(load * share, worse, disturbance, random);
            primary.serve(load * (1.0 - share), new, disturbance, random);
            let mut readings = canary.scrape(tick, scene, random);
            readings.extend(primary.scrape(tick, scene, random));
            blocks.extend(pairing.read(step, &readings));
        }
    }
    blocks
}
