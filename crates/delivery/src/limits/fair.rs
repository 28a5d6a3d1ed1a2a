//! Dividing what is scarce: weighted max-min fairness. Who wants less than its part gets that, the others share the rest.

/// Who wants how much, and how its part compares to the others'.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Demand {
    pub(crate) weight: u64,
    pub(crate) want: u64,
}

/// The part of each, in the demands' order; together no more than there is, and no more to anybody than it wants.
pub(crate) fn divide(there: u64, demands: &[Demand]) -> Vec<u64> {
    let mut parts = vec![0; demands.len()];
    let mut order: Vec<usize> = (0..demands.len()).filter(|place| demands[*place].weight > 0).collect();
    // By want for each weight: when one wants no more than its part, so do all before it.
    order.sort_by(|a, b| {
        let (a, b) = (demands[*a], demands[*b]);
        (u128::from(a.want) * u128::from(b.weight)).cmp(&(u128::from(b.want) * u128::from(a.weight)))
    });
    let mut weights: u128 = order.iter().map(|place| u128::from(demands[*place].weight)).sum();
    let mut left = there;
    for place in order {
        let Demand { weight, want } = demands[place];
        let part = u128::from(left) * u128::from(weight) / weights;
        parts[place] = want.min(u64::try_from(part).unwrap_or(left));
        left -= parts[place];
        weights -= u128::from(weight);
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(there: u64, demands: &[(u64, u64)], expect: &[u64]) {
        let demands: Vec<Demand> =
            demands.iter().map(|(weight, want)| Demand { weight: *weight, want: *want }).collect();
        assert_eq!(divide(there, &demands), expect);
    }

    #[test]
    fn who_wants_less_than_its_part_leaves_the_rest_to_the_others() {
        check(90, &[(1, 1_000), (1, 1_000), (1, 1_000)], &[30, 30, 30]);
        check(90, &[(1, 10), (1, 1_000), (1, 1_000)], &[10, 40, 40]);
        check(90, &[(1, 1_000), (2, 1_000)], &[30, 60]);
        check(90, &[(1, 1_000), (2, 20)], &[70, 20]);
        check(90, &[(1, 10), (1, 10)], &[10, 10]);
        check(90, &[], &[]);
    }

    proptest! {
        #[test]
        fn no_more_than_there_is_is_given_and_nothing_is_left_that_somebody_wants(
            there in 0u64..1_000_000,
            demands in prop::collection::vec((1u64..100, 0u64..1_000_000), 0..12),
        ) {
            let demands: Vec<Demand> = demands.into_iter().map(|(weight, want)| Demand { weight, want }).collect();
            let parts = divide(there, &demands);
            let wanted: u64 = demands.iter().map(|demand| demand.want).sum();
            prop_assert!(parts.iter().zip(&demands).all(|(part, demand)| *part <= demand.want));
            prop_assert_eq!(parts.iter().sum::<u64>(), there.min(wanted));
            for (a, part_a) in demands.iter().zip(&parts) {
                for (b, part_b) in demands.iter().zip(&parts) {
                    let (a_each, b_each) = (part_a / a.weight, part_b / b.weight);
                    prop_assert!(*part_a >= a.want || a_each + 2 >= b_each, "{:?} got {}, {:?} got {}", a, part_a, b, part_b);
                }
            }
        }
    }
}
