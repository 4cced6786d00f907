//! Weighted choice with the roll as an argument.

/// The index of the entry that `roll` falls on: entry `i` is taken by exactly `weights[i]` of any
/// run of `sum(weights)` consecutive rolls. `None` when no entry has a weight.
pub fn pick<I>(weights: I, roll: u64) -> Option<usize>
where
    I: IntoIterator<Item = u32>,
    I::IntoIter: Clone,
{
    let weights = weights.into_iter();
    let total: u64 = weights.clone().map(u64::from).sum();
    let mut rest = roll.checked_rem(total)?;
    weights.enumerate().find_map(
        |(index, weight)| match rest.checked_sub(u64::from(weight)) {
            None => Some(index),
            Some(left) => {
                rest = left;
                None
            }
        },
    )
}
