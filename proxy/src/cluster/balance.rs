//! Choice among endpoints; pure, the rolls are arguments.

use std::cell::Cell;
use std::rc::Rc;

use super::Host;

/// One after another, each as often as its weight says.
pub fn round_robin<'h>(hosts: &[&'h Rc<Host>], turn: &Cell<usize>) -> Option<&'h Rc<Host>> {
    let total: usize = hosts.iter().map(|host| host.weight as usize).sum();
    let position = turn.get();
    turn.set(position.wrapping_add(1));
    let index = fairlead_routing::pick(
        hosts.iter().map(|host| host.weight),
        position.checked_rem(total)? as u64,
    )?;
    hosts.get(index).copied()
}

/// At random, by weight.
pub fn random<'h>(hosts: &[&'h Rc<Host>], roll: u64) -> Option<&'h Rc<Host>> {
    let index = fairlead_routing::pick(hosts.iter().map(|host| host.weight), roll >> 16)?;
    hosts.get(index).copied()
}

/// The less loaded of two chosen at random ("power of two choices"): with equal weights both are
/// chosen evenly, else by weight, and load counts relative to it.
pub fn least_request<'h>(
    hosts: &[&'h Rc<Host>],
    first_roll: u64,
    second_roll: u64,
) -> Option<&'h Rc<Host>> {
    let first = random(hosts, first_roll)?;
    if hosts.len() == 1 {
        return Some(first);
    }
    let others: Vec<_> = hosts
        .iter()
        .copied()
        .filter(|host| !Rc::ptr_eq(host, first))
        .collect();
    let second = random(&others, second_roll)?;
    let load = |host: &Host| {
        (u64::from(host.active.get()) + 1) * u64::from(u32::MAX) / u64::from(host.weight)
    };
    Some(if load(second) < load(first) {
        second
    } else {
        first
    })
}

/// The same endpoint for the same key, as long as it is there; when it goes, only its keys move
/// (rendezvous hashing, weighted).
pub fn by_hash<'h>(hosts: &[&'h Rc<Host>], key: u64) -> Option<&'h Rc<Host>> {
    let score = |host: &Host| {
        let mixed = mix(key ^ hash(host.address.to_string().as_bytes()));
        #[expect(
            clippy::cast_precision_loss,
            reason = "53 bits are enough to choose by"
        )]
        let unit = ((mixed >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
        -f64::from(host.weight) / unit.ln().min(-f64::MIN_POSITIVE)
    };
    hosts
        .iter()
        .copied()
        .max_by(|a, b| score(a).total_cmp(&score(b)))
}

/// A number for a text, the same in every process (FNV-1a).
pub fn hash(bytes: &[u8]) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold))
}

/// Spreads the bits of a number over all of it (the finalizer of MurmurHash3).
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let value = (value ^ (value >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    value ^ (value >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(weights: &[u32]) -> Vec<Rc<Host>> {
        let host = |(index, weight): (usize, &u32)| {
            let address =
                std::net::SocketAddr::from(([10, 0, 0, u8::try_from(index).unwrap()], 80));
            Rc::new(Host::for_tests(address, *weight))
        };
        weights.iter().enumerate().map(host).collect()
    }

    #[test]
    fn a_key_moves_only_when_its_endpoint_goes() {
        let all = hosts(&[1, 1, 1, 1]);
        let all: Vec<_> = all.iter().collect();
        let fewer = &all[..3];
        for key in (0..1000).map(mix) {
            let before = by_hash(&all, key).unwrap();
            let after = by_hash(fewer, key).unwrap();
            assert!(Rc::ptr_eq(before, after) || Rc::ptr_eq(before, all[3]));
        }
    }

    #[test]
    fn keys_spread_by_weight() {
        let all = hosts(&[1, 3]);
        let all: Vec<_> = all.iter().collect();
        let heavy = (0..10_000)
            .map(mix)
            .filter(|key| Rc::ptr_eq(by_hash(&all, *key).unwrap(), all[1]));
        let share = heavy.count();
        assert!((7300..7700).contains(&share), "{share} of 10000");
    }

    #[test]
    fn of_two_the_less_loaded_takes_the_request() {
        let all = hosts(&[1, 1]);
        all[0].active.set(5);
        let all: Vec<_> = all.iter().collect();
        for roll in (0..100).map(mix) {
            assert!(Rc::ptr_eq(
                least_request(&all, roll, mix(roll)).unwrap(),
                all[1]
            ));
        }
    }
}
