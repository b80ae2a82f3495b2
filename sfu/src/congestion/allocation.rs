//! Which size of which picture fits into what is known to go through.
//!
//! A pure function of wishes, rates and a budget. Everybody's smallest picture comes first, in the
//! order of how much it matters; what remains makes the most important ones larger, each as far as
//! it is wished, then the next. What is sent already counts a little less than it takes and what
//! would be new a little more, so that a rate that swings makes nothing flap. Sound is not here:
//! it is sent whatever happens.

use arrayvec::ArrayVec;

use crate::publication::LAYERS_MAX;

/// What is sent stays while so much of its rate fits, in percent.
const KEEP_PERCENT: u64 = 95;
/// What is new must fit with so much of its rate.
const TAKE_PERCENT: u64 = 115;

/// One size of a picture, and what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The layer, or the largest of those in one stream.
    pub rank: u8,
    /// Bits per second.
    pub rate: u64,
}

/// The sizes of a picture that may be sent, smallest first, up to the one that is wished.
pub type Steps = ArrayVec<Step, LAYERS_MAX>;

/// How much a picture matters; more is more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(pub u8);

/// What is known of one subscription to a picture.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// How much it matters.
    pub priority: Priority,
    /// What may be sent of it.
    pub steps: Steps,
    /// The largest of them that is allowed now; `None` if none is.
    pub held: Option<u8>,
    /// It may be left out where not even its smallest size fits.
    pub may_pause: bool,
}

/// What one subscription is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// Up to this size.
    UpTo(u8),
    /// Nothing for now.
    Nothing,
}

/// What is allowed, in the order of what was wanted, and what everything would take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allocation {
    /// For each subscription.
    pub allowances: Vec<Allowance>,
    /// Bits per second of what is allowed.
    pub used: u64,
    /// Bits per second that would have to fit for every wish to be fulfilled.
    pub wanted: u64,
}

/// Shares a budget in bits per second.
pub fn allocate(budget: u64, wanted: &[Wanted]) -> Allocation {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    // Stable: what came first stays first among equals.
    order.sort_by_key(|&index| std::cmp::Reverse(wanted[index].priority));
    let mut chosen: Vec<Option<usize>> = vec![None; wanted.len()];
    let mut left = Left(budget as i64);
    // What cannot be left out is paid for before anything that can.
    for can_wait in [false, true] {
        for &index in order
            .iter()
            .filter(|&&index| wanted[index].may_pause == can_wait)
        {
            let one = &wanted[index];
            if let Some(price) = one.price(0)
                && (left.take(price) || !can_wait && left.owe(price))
            {
                chosen[index] = Some(0);
            }
        }
    }
    for group in order.chunk_by(|&a, &b| wanted[a].priority == wanted[b].priority) {
        raise(&mut left, wanted, group, &mut chosen);
    }
    let total = |rate: fn(&Wanted, Option<usize>) -> u64| -> u64 {
        let each = wanted.iter().zip(&chosen);
        each.map(|(one, &chosen)| rate(one, chosen)).sum()
    };
    Allocation {
        used: total(|one, chosen| chosen.map_or(0, |step| one.steps[step].rate)),
        wanted: total(|one, chosen| match (one.steps.last(), chosen) {
            (Some(last), Some(step)) if one.steps[step].rank == last.rank => last.rate,
            (last, _) => last.map_or(0, |last| last.rate * TAKE_PERCENT / 100),
        }),
        allowances: wanted
            .iter()
            .zip(&chosen)
            .map(|(one, chosen)| match chosen {
                Some(step) => Allowance::UpTo(one.steps[*step].rank),
                // What has no sizes cannot be too large.
                None if one.steps.is_empty() => Allowance::UpTo(u8::MAX),
                None => Allowance::Nothing,
            })
            .collect(),
    }
}

/// Everybody of a group one size larger, and again, as long as something fits.
fn raise(left: &mut Left, wanted: &[Wanted], group: &[usize], chosen: &mut [Option<usize>]) {
    for next in 1..LAYERS_MAX {
        for &index in group {
            let one = &wanted[index];
            if chosen[index] == Some(next - 1)
                && let (Some(now), Some(then)) = (one.price(next - 1), one.price(next))
                && left.take(then.saturating_sub(now))
            {
                chosen[index] = Some(next);
            }
        }
    }
}

impl Wanted {
    /// What a step counts.
    fn price(&self, step: usize) -> Option<u64> {
        let step = self.steps.get(step)?;
        let is_held = self.held.is_some_and(|held| held >= step.rank);
        let percent = if is_held { KEEP_PERCENT } else { TAKE_PERCENT };
        Some(step.rate * percent / 100)
    }
}

/// What is left of a budget.
struct Left(i64);

impl Left {
    fn take(&mut self, price: u64) -> bool {
        let fits = self.0 >= price as i64;
        if fits {
            self.0 -= price as i64;
        }
        fits
    }

    fn owe(&mut self, price: u64) -> bool {
        self.0 -= price as i64;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera(priority: u8, held: Option<u8>) -> Wanted {
        let rates = [100_000, 400_000, 1_500_000];
        Wanted {
            priority: Priority(priority),
            steps: (0..)
                .zip(rates)
                .map(|(rank, rate)| Step { rank, rate })
                .collect(),
            held,
            may_pause: true,
        }
    }

    fn shared(budget_kbps: u64, wanted: &[Wanted]) -> Vec<Option<u8>> {
        let allocation = allocate(budget_kbps * 1_000, wanted);
        let rank = |allowance: &Allowance| match allowance {
            Allowance::UpTo(rank) => Some(*rank),
            Allowance::Nothing => None,
        };
        allocation.allowances.iter().map(rank).collect()
    }

    #[test]
    fn everybody_is_small_before_anybody_is_large() {
        let three = [camera(0, None), camera(0, None), camera(0, None)];
        assert_eq!(shared(100, &three), [None, None, None]);
        assert_eq!(shared(240, &three), [Some(0), Some(0), None]);
        assert_eq!(shared(400, &three), [Some(0), Some(0), Some(0)]);
        assert_eq!(shared(700, &three), [Some(1), Some(0), Some(0)]);
        assert_eq!(shared(2_700, &three), [Some(2), Some(1), Some(1)]);
        assert_eq!(shared(9_000, &three), [Some(2), Some(2), Some(2)]);
    }

    #[test]
    fn what_matters_more_is_large_first_and_last_to_go() {
        let three = [camera(0, None), camera(2, None), camera(1, None)];
        assert_eq!(shared(120, &three), [None, Some(0), None]);
        assert_eq!(shared(240, &three), [None, Some(0), Some(0)]);
        assert_eq!(shared(2_000, &three), [Some(0), Some(2), Some(0)]);
    }

    #[test]
    fn what_must_not_be_paused_is_sent_whatever_it_takes() {
        let mut three = [camera(2, None), camera(0, None), camera(0, None)];
        three[1].may_pause = false;
        assert_eq!(shared(0, &three), [None, Some(0), None]);
        assert_eq!(shared(120, &three), [None, Some(0), None]);
    }

    #[test]
    fn between_keeping_and_taking_nothing_changes() {
        for budget in [1_430, 1_500, 1_700] {
            assert_eq!(
                shared(budget, &[camera(0, Some(2))]),
                [Some(2)],
                "{budget} keeps"
            );
            assert_eq!(
                shared(budget, &[camera(0, Some(1))]),
                [Some(1)],
                "{budget} takes not"
            );
        }
        assert_eq!(shared(1_300, &[camera(0, Some(2))]), [Some(1)]);
        assert_eq!(shared(1_750, &[camera(0, Some(1))]), [Some(2)]);
    }

    #[test]
    fn what_would_have_to_fit_does_fit_when_it_does() {
        for held in [None, Some(0), Some(1)] {
            let two = [camera(0, held), camera(1, held)];
            let needed = allocate(500_000, &two).wanted;
            assert_eq!(shared(needed / 1_000, &two), [Some(2), Some(2)], "{held:?}");
        }
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        fn any_wanted() -> impl Strategy<Value = Wanted> {
            let rates = prop::collection::vec(0_u64..3_000_000, 0..4);
            let held = prop::option::of(0_u8..4);
            (rates, held, 0_u8..3, any::<bool>()).prop_map(
                |(mut rates, held, priority, may_pause)| {
                    rates.sort_unstable();
                    Wanted {
                        priority: Priority(priority),
                        steps: (0..)
                            .zip(rates)
                            .map(|(rank, rate)| Step { rank, rate })
                            .collect(),
                        held,
                        may_pause,
                    }
                },
            )
        }

        proptest! {
            #[test]
            fn it_fits_and_settles(
                budget in 0_u64..20_000_000,
                wanted in prop::collection::vec(any_wanted(), 0..12),
            ) {
                let first = allocate(budget, &wanted);
                let owed: u64 = wanted
                    .iter()
                    .filter(|one| !one.may_pause)
                    .filter_map(|one| one.steps.first())
                    .map(|step| step.rate)
                    .sum();
                prop_assert!(first.used * KEEP_PERCENT / 100 <= budget + owed + 12);
                // What matters more may still grow into what its keeping costs less than its taking;
                // nothing goes round in circles.
                let mut settled = wanted.clone();
                let mut before = first;
                for look in 0.. {
                    for (one, allowance) in settled.iter_mut().zip(&before.allowances) {
                        prop_assert!(one.may_pause || *allowance != Allowance::Nothing);
                        one.held = match allowance {
                            Allowance::UpTo(rank) => Some(*rank),
                            Allowance::Nothing => None,
                        };
                    }
                    let after = allocate(budget, &settled);
                    if after == before {
                        break;
                    }
                    prop_assert!(look < 36, "it does not settle");
                    before = after;
                }
            }
        }
    }
}
