//! The estimate against NannyML and scikit-learn (`tests/oracles/drift_estimate.py`), against labels
//! that are drawn, and where it is known.

use proptest::prelude::*;

use super::*;

const ORACLE: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/oracles/drift_estimate.tsv"
));

/// The generator of `tests/oracles/draw.py`.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    /// Evenly in [0, 1).
    fn uniform(&mut self) -> f64 {
        self.below(1 << 31) as f64 / (1_u64 << 31) as f64
    }

    fn counts(&mut self, kind: &str, bins: usize) -> Vec<u64> {
        let mut counts: Vec<u64> = (0..bins)
            .map(|_| {
                let r = self.below(1 << 31);
                match kind {
                    "plain" => 1 + r % 1000,
                    "holes" if r.is_multiple_of(3) => 0,
                    "holes" => r % 100,
                    _ => panic!("no kind {kind}"),
                }
            })
            .collect();
        counts[0] += 1;
        counts
    }
}

/// Inner borders of equally wide bins of 0 to 1.
fn edges(bins: usize) -> Vec<f64> {
    (1..bins).map(|edge| edge as f64 / bins as f64).collect()
}

fn fitted(rows: &[u64], positives: &[u64]) -> Calibration {
    Calibration::new(edges(rows.len()), rows.to_vec(), positives.to_vec()).unwrap()
}

#[track_caller]
fn near(found: f64, expected: f64, allowed: f64) {
    assert!(
        (found - expected).abs() <= allowed,
        "{found}, expected {expected}"
    );
}

#[test]
fn estimates_equal_nannyml_and_scikit_learn() {
    let rows: Vec<Vec<&str>> = ORACLE
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split('\t').collect())
        .collect();
    assert!(rows.len() > 20);
    for row in rows {
        let bins: usize = row[2].parse().unwrap();
        let mut draw = Draw(row[1].parse().unwrap());
        let rows = draw.counts(row[0], bins);
        let mut positives: Vec<u64> = (0_u64..)
            .zip(&rows)
            .map(|(place, &n)| draw.below(1 + place * n / bins as u64 + n / 9).min(n))
            .collect();
        positives[0] = 0;
        let (mut above, mut below) = (draw.counts(row[0], bins), draw.counts(row[0], bins));
        above[..bins / 2].fill(0);
        below[bins / 2 + 1..].fill(0);

        let calibration = fitted(&rows, &positives);
        let found = estimate(&calibration, &above, &below).unwrap();
        let expected: Vec<f64> = row[3..].iter().map(|text| text.parse().unwrap()).collect();
        near(found.positives, expected[0], 1e-12);
        near(found.precision.unwrap(), expected[1], 1e-12);
        near(found.recall.unwrap(), expected[2], 1e-12);
        near(found.f1.unwrap(), expected[3], 1e-12);
        // NannyML rounds its sums to five decimals.
        near(found.auc.unwrap(), expected[4], 1e-5);
        assert_eq!(calibration.probabilities().len(), bins);
        for (&p, &expected) in calibration.probabilities().iter().zip(&expected[5..]) {
            near(p, expected, 1e-12);
        }
    }
}

/// The chance of a positive at a score: what the calibration has to find.
fn chance(score: f64) -> f64 {
    0.02 + 0.9 * score * score
}

/// Precision, recall, F1, AUC (ties in a bin counted half) and the share of positives.
fn realised(rows: &[(f64, bool)], threshold: f64, calibration: &Calibration) -> [f64; 5] {
    let count = |predicted: bool, label: bool| {
        let cell =
            |&&(score, truth): &&(f64, bool)| (score >= threshold) == predicted && truth == label;
        rows.iter().filter(cell).count() as f64
    };
    let (tp, fp, fneg) = (count(true, true), count(true, false), count(false, true));
    let mut cells = vec![[0.0; 2]; calibration.probabilities().len()];
    for &(score, label) in rows {
        cells[calibration.bin(score).unwrap()][usize::from(label)] += 1.0;
    }
    let (mut negatives, mut ranked) = (0.0, 0.0);
    for [negative, positive] in cells {
        ranked += positive * (negatives + 0.5 * negative);
        negatives += negative;
    }
    let positives = tp + fneg;
    [
        tp / (tp + fp),
        tp / positives,
        2.0 * tp / (2.0 * tp + fp + fneg),
        ranked / positives / negatives,
        positives / rows.len() as f64,
    ]
}

#[test]
fn estimates_come_near_what_labels_say_later() {
    let (bins, threshold) = (40, 0.63);
    let mut draw = Draw(7);
    let (mut rows, mut positives) = (vec![0; bins], vec![0; bins]);
    let empty = fitted(&vec![1; bins], &[vec![0; bins - 1], vec![1]].concat());
    for _ in 0..400_000 {
        let score = draw.uniform();
        let bin = empty.bin(score).unwrap();
        rows[bin] += 1;
        positives[bin] += u64::from(draw.uniform() < chance(score));
    }
    let calibration = fitted(&rows, &positives);

    // Another mix of the same rows: low scores have become far more frequent.
    let mut before = [1.0; 5];
    for (live, allowed) in [(4_000, 0.06), (400_000, 0.006)] {
        let mut labelled = Vec::new();
        let (mut above, mut below) = (vec![0; bins], vec![0; bins]);
        for _ in 0..live {
            let score = draw.uniform() * draw.uniform();
            labelled.push((score, draw.uniform() < chance(score)));
            let side = if score >= threshold {
                &mut above
            } else {
                &mut below
            };
            side[calibration.bin(score).unwrap()] += 1;
        }
        let found = estimate(&calibration, &above, &below).unwrap();
        let truth = realised(&labelled, threshold, &calibration);
        assert_eq!(found.rows, live);
        let found = [
            found.precision.unwrap(),
            found.recall.unwrap(),
            found.f1.unwrap(),
            found.auc.unwrap(),
            found.positives,
        ];
        for (found, truth) in found.iter().zip(truth) {
            near(*found, truth, allowed);
        }
        before = found;
    }
    // The mix matters: in training's own mix positives are more frequent.
    let training = estimate(&calibration, &rows, &vec![0; bins]).unwrap();
    assert!(training.positives > before[4] + 0.1);
}

#[test]
fn concept_drift_is_invisible() {
    // The same scores, whatever becomes of their labels, give the same estimate.
    let calibration = fitted(&[100, 100], &[10, 90]);
    let found = estimate(&calibration, &[0, 100], &[100, 0]).unwrap();
    near(found.precision.unwrap(), 0.9, 1e-15);
    near(found.recall.unwrap(), 0.9, 1e-15);
    near(found.f1.unwrap(), 0.9, 1e-15);
    // P = 10, 90; N = 90, 10: (10·45 + 90·(90 + 5))/(100·100).
    near(found.auc.unwrap(), 0.9, 1e-15);
    near(found.positives, 0.5, 1e-15);
}

#[test]
fn perfect_and_constant_scores() {
    let perfect = fitted(&[50, 50], &[0, 50]);
    let found = estimate(&perfect, &[0, 30], &[70, 0]).unwrap();
    let one = Some(1.0);
    assert_eq!(
        (found.precision, found.recall, found.f1, found.auc),
        (one, one, one, one)
    );
    near(found.positives, 0.3, 1e-15);

    // One bin, all predicted positive: precision is the share of positives, AUC is chance.
    let constant = fitted(&[80], &[20]);
    let found = estimate(&constant, &[10], &[0]).unwrap();
    assert_eq!((found.precision, found.recall), (Some(0.25), one));
    assert_eq!((found.f1, found.auc), (Some(0.4), Some(0.5)));
}

#[test]
fn ratios_without_a_denominator_are_absent() {
    let perfect = fitted(&[50, 50], &[0, 50]);
    // None predicted positive, none positive: nothing but the share of positives.
    let found = estimate(&perfect, &[0, 0], &[70, 0]).unwrap();
    assert_eq!(
        found,
        Estimate {
            rows: 70,
            positives: 0.0,
            precision: None,
            recall: None,
            f1: None,
            auc: None
        }
    );
    // None predicted positive though there are positives.
    let found = estimate(&perfect, &[0, 0], &[70, 30]).unwrap();
    assert_eq!((found.precision, found.recall), (None, Some(0.0)));
    assert_eq!((found.f1, found.auc), (Some(0.0), Some(1.0)));
    assert_eq!(estimate(&perfect, &[0, 0], &[0, 0]), None);
    assert_eq!(estimate(&perfect, &[1], &[1]), None);
    assert_eq!(estimate(&perfect, &[1, 2, 3], &[1, 2, 3]), None);
    let most = estimate(&perfect, &[u64::MAX; 2], &[u64::MAX; 2]).unwrap();
    assert_eq!((most.rows, most.positives), (u64::MAX, 0.5));
    // Counts that round up one by one and less so together.
    let sure = fitted(&[1; 4], &[0, 1, 1, 1]);
    let odd = (1 << 53) + 3;
    let all = estimate(&sure, &[0, odd, odd, odd], &[0; 4]).unwrap();
    assert_eq!(all.positives, 1.0);
}

#[test]
fn violators_are_pooled_and_gaps_filled() {
    // The second and third bin violate, and so does the first with both together.
    let pooled = fitted(&[10, 10, 20, 10], &[5, 8, 2, 9]);
    assert_eq!(pooled.probabilities(), [0.375, 0.375, 0.375, 0.9]);
    let gaps = fitted(&[0, 10, 0, 0, 0, 10, 0], &[0, 2, 0, 0, 0, 6, 0]);
    for (p, expected) in gaps
        .probabilities()
        .iter()
        .zip([0.2, 0.2, 0.3, 0.4, 0.5, 0.6, 0.6])
    {
        near(*p, expected, 1e-15);
    }
}

#[test]
fn a_score_on_a_border_belongs_to_the_bin_above() {
    let calibration = fitted(&[1, 1], &[0, 1]);
    for (score, bin) in [
        (f64::NEG_INFINITY, Some(0)),
        (0.499, Some(0)),
        (0.5, Some(1)),
        (f64::INFINITY, Some(1)),
        (f64::NAN, None),
    ] {
        assert_eq!(calibration.bin(score), bin, "{score}");
    }
}

#[test]
fn what_is_no_calibration_is_refused() {
    for (edges, rows, positives, expected) in [
        (vec![f64::NAN], vec![1, 1], vec![0, 1], "NaN is not finite"),
        (
            vec![0.1, f64::INFINITY],
            vec![1, 1, 1],
            vec![0, 1, 1],
            "inf is not finite",
        ),
        (
            vec![0.5, 0.5],
            vec![1, 1, 1],
            vec![0, 1, 1],
            "do not rise strictly",
        ),
        (
            vec![0.5, 0.4],
            vec![1, 1, 1],
            vec![0, 1, 1],
            "do not rise strictly",
        ),
        (
            vec![0.5],
            vec![1],
            vec![1, 1],
            "2 calibration bins with 1 counts of rows and 2 of positives",
        ),
        (vec![], vec![], vec![], "1 calibration bins with 0"),
        (
            vec![0.5],
            vec![1, 1],
            vec![0, 2],
            "bin 1 has 2 positives in 1 rows",
        ),
        (
            vec![0.5],
            vec![1, 1],
            vec![0, 0],
            "without a positive label",
        ),
        (
            vec![0.5],
            vec![1, 1],
            vec![1, 1],
            "without a negative label",
        ),
        (vec![], vec![0], vec![0], "without a positive label"),
    ] {
        let message = Calibration::new(edges, rows, positives).unwrap_err();
        assert!(message.contains(expected), "{message}");
    }
}

fn any_count() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0..20_u64, any::<u64>(), Just(u64::MAX)]
}

proptest! {
    #[test]
    fn any_counts_give_ratios(
        bins in proptest::collection::vec(
            (any_count(), any_count(), any_count(), any_count()),
            1..30,
        ),
    ) {
        let rows: Vec<u64> = bins.iter().map(|bin| bin.0.max(bin.1)).collect();
        let positives: Vec<u64> = bins.iter().map(|bin| bin.0.min(bin.1)).collect();
        let above: Vec<u64> = bins.iter().map(|bin| bin.2).collect();
        let below: Vec<u64> = bins.iter().map(|bin| bin.3).collect();
        let Ok(calibration) = Calibration::new(edges(bins.len()), rows, positives) else {
            return Ok(());
        };
        let probabilities = calibration.probabilities();
        prop_assert_eq!(probabilities.len(), bins.len());
        prop_assert!(probabilities.is_sorted(), "{:?}", probabilities);
        prop_assert!(probabilities.iter().all(|p| (0.0..=1.0).contains(p)));
        if let Some(found) = estimate(&calibration, &above, &below) {
            let Estimate { positives, precision, recall, f1, auc, .. } = found;
            for ratio in [Some(positives), precision, recall, f1, auc].into_iter().flatten() {
                prop_assert!((0.0..=1.0).contains(&ratio), "{:?}", found);
            }
            // Scores that rank by the chance of a positive are never worse than chance.
            prop_assert!(auc.is_none_or(|auc| auc >= 0.5 - 1e-9), "{:?}", found);
        }
    }
}
