//! What holds for any counts at all.

use proptest::prelude::*;

use super::super::*;

/// Any counts, with many that are zero, small or at the end of the range.
fn any_count() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0..20_u64, any::<u64>(), Just(u64::MAX)]
}

fn any_pair() -> impl Strategy<Value = (Vec<u64>, Vec<u64>)> {
    (0..40_usize).prop_flat_map(|bins| {
        let side = || proptest::collection::vec(any_count(), bins);
        (side(), side())
    })
}

proptest! {
    #[test]
    fn any_counts_give_a_number_in_its_range((r, l) in any_pair()) {
        let both = r.iter().any(|&count| count > 0) && l.iter().any(|&count| count > 0);
        let edges: Vec<f64> = (0..=r.len()).map(|edge| (edge / 2) as f64).collect();
        let width = edges[r.len()];
        for (found, most) in [
            (psi(&r, &l), 1e3),
            (kl(&r, &l), 1e3),
            (js(&r, &l), std::f64::consts::LN_2),
            (ks(&r, &l), 1.0),
            (wasserstein(&edges, &r, &l), width),
            (chi_squared(&r, &l).map(|test| test.p_value), 1.0),
            (chi_squared(&r, &l).map(|test| test.statistic), 1e30),
        ] {
            prop_assert_eq!(found.is_some(), both);
            prop_assert!(found.is_none_or(|found| (0.0..=most).contains(&found)), "{:?}", found);
        }
    }

    #[test]
    fn sides_may_change_places((r, l) in any_pair()) {
        let (forth, back) = (psi(&r, &l), psi(&l, &r));
        prop_assert_eq!(forth.is_some(), back.is_some());
        let (forth, back) = (forth.unwrap_or(0.0), back.unwrap_or(0.0));
        prop_assert!((forth - back).abs() <= 1e-12 * forth);
        prop_assert_eq!(js(&r, &l), js(&l, &r));
        prop_assert_eq!(ks(&r, &l), ks(&l, &r));
        let (forth, back) = (chi_squared(&r, &l), chi_squared(&l, &r));
        prop_assert_eq!(forth.map(|test| test.statistic), back.map(|test| test.statistic));
    }

    #[test]
    fn a_histogram_is_0_from_itself_and_from_its_multiples(
        r in proptest::collection::vec(0..1_u64 << 61, 1..40),
    ) {
        prop_assume!(r.iter().any(|&count| count > 0));
        let edges: Vec<f64> = (0..=r.len()).map(|edge| edge as f64).collect();
        // The shares of three times as many rows differ in their last digit.
        for (times, most) in [(1, 0.0), (2, 0.0), (3, 1e-11)] {
            let l: Vec<u64> = r.iter().map(|count| times * count).collect();
            for found in [
                psi(&r, &l),
                kl(&r, &l),
                js(&r, &l),
                ks(&r, &l),
                wasserstein(&edges, &r, &l),
                chi_squared(&r, &l).map(|test| test.statistic),
            ] {
                let found = found.unwrap();
                prop_assert!((0.0..=most).contains(&found), "{} times: {}", times, found);
            }
        }
    }

    /// Coarser bins see less: joining two neighbours never moves the sides apart.
    #[test]
    fn joined_bins_lie_no_further_apart(
        pairs in proptest::collection::vec((1..1_000_u64, 1..1_000_u64), 2..40),
        at in any::<prop::sample::Index>(),
    ) {
        let (mut r, mut l): (Vec<u64>, Vec<u64>) = pairs.into_iter().unzip();
        let fine = [psi(&r, &l), kl(&r, &l), js(&r, &l), ks(&r, &l)];
        let at = at.index(r.len() - 1);
        r[at] += r.remove(at + 1);
        l[at] += l.remove(at + 1);
        let coarse = [psi(&r, &l), kl(&r, &l), js(&r, &l), ks(&r, &l)];
        for (coarse, fine) in coarse.iter().zip(&fine) {
            prop_assert!(coarse.unwrap() <= fine.unwrap() + 1e-12);
        }
    }

    /// What the rows' own statistic has above that of their bins is at most a share of a bin.
    #[test]
    fn binned_ks_is_a_close_lower_bound(
        sides in (
            proptest::collection::vec(0..1_000_u64, 1..200),
            proptest::collection::vec(0..1_000_u64, 1..200),
        ),
    ) {
        let count = |values: &[u64], bins: usize| {
            let mut counts = vec![0_u64; bins];
            values.iter().for_each(|&value| counts[value as usize * bins / 1_000] += 1);
            counts
        };
        let rows = ks(&count(&sides.0, 1_000), &count(&sides.1, 1_000)).unwrap();
        let (r, l) = (count(&sides.0, 10), count(&sides.1, 10));
        let bins = ks(&r, &l).unwrap();
        let share = |count: u64, values: &[u64]| count as f64 / values.len() as f64;
        let missed = r.iter().zip(&l)
            .map(|(&r, &l)| share(r, &sides.0).min(share(l, &sides.1)))
            .fold(0.0, f64::max);
        prop_assert!(bins <= rows + 1e-12 && rows <= bins + missed + 1e-12);
    }
}
