use proptest::prelude::*;

use super::*;

/// A minute and an hour: panes of 5 seconds and of 150.
const LENGTHS: Lengths = Lengths {
    short_ms: 60_000,
    long_ms: 3_600_000,
};
const NOW: i64 = 1_700_000_000_000 - 1_700_000_000_000 % 60_000;

fn row(windows: &mut Windows, at_ms: i64, cell: usize) {
    let counts = windows.open(at_ms);
    counts.rows += 1;
    counts.cells[cell] += 1;
}

fn pane(cells: &[u64]) -> Counts {
    Counts {
        rows: cells.iter().sum(),
        cells: cells.to_vec(),
    }
}

#[test]
fn a_row_counts_at_once_and_leaves_with_its_window() {
    let mut windows = Windows::new(LENGTHS, 2);
    row(&mut windows, NOW, 0);
    row(&mut windows, NOW + 4_999, 1);
    row(&mut windows, NOW + 5_000, 1);
    assert_eq!(windows.short(NOW + 6_000).counts, pane(&[1, 2]));
    assert_eq!(windows.tumbling(NOW / 60_000), pane(&[0, 0]));
    let closed = windows.close(NOW + 5_000, false);
    assert_eq!(closed, [(NOW, pane(&[1, 1]))]);
    assert!(windows.close(NOW + 5_000, false).is_empty());
    assert_eq!(windows.close(NOW + 10_000, false).len(), 1);
    assert_eq!(windows.short(NOW + 59_999).counts, pane(&[1, 2]));
    assert_eq!(windows.tumbling(NOW / 60_000), pane(&[1, 2]));
    // A pane later the first one is out of the short window.
    assert_eq!(windows.short(NOW + 60_000).counts, pane(&[0, 1]));
    assert_eq!(windows.long(NOW + 60_000).counts, pane(&[1, 2]));
    windows.forget(NOW + 120_000);
    assert_eq!(windows.tumbling(NOW / 60_000), pane(&[1, 2]));
    windows.forget(NOW + 120_000 + LENGTHS.patience_ms(true));
    assert_eq!(windows.tumbling(NOW / 60_000), pane(&[0, 0]));
    windows.forget(NOW + 3_700_000);
    assert_eq!(windows.long(NOW + 3_700_000).counts.rows, 0);
}

#[test]
fn what_is_open_at_the_end_is_closed_too() {
    let mut windows = Windows::new(LENGTHS, 1);
    row(&mut windows, NOW, 0);
    assert_eq!(windows.close(NOW, true).len(), 1);
}

#[test]
fn another_number_of_cells_and_another_time_do_not_join() {
    let mut windows = Windows::new(LENGTHS, 2);
    windows.join(NOW, &pane(&[1]), NOW);
    windows.join(NOW - 10 * 3_600_000, &pane(&[1, 1]), NOW);
    windows.join(NOW + 3_600_000, &pane(&[1, 1]), NOW);
    assert_eq!(windows.long(NOW).counts.rows, 0);
    assert!(windows.fine.is_empty() && windows.coarse.is_empty());
}

#[test]
fn memory_has_a_bound_whatever_the_clock_does() {
    let mut windows = Windows::new(LENGTHS, 1);
    let mut most = 0;
    for step in 0..20_000_i64 {
        let at = NOW + step * 1_733 + if step % 7 == 0 { -3_600_000 } else { 0 };
        row(&mut windows, at, 0);
        windows.close(at, false);
        most = most.max(windows.open.len() + windows.fine.len() + windows.coarse.len());
    }
    assert!(most <= LENGTHS.panes_max(), "{most} panes");
    for at in [i64::MIN, i64::MAX, 0, -1] {
        row(&mut windows, at, 0);
        windows.close(at, false);
        let _sums = (windows.short(at), windows.long(at), windows.tumbling(at));
    }
}

#[test]
fn every_window_is_there_when_it_is_judged() {
    for (short_ms, shared) in [(1_000, true), (1_000, false), (3_000, true), (60_000, true)] {
        let lengths = Lengths {
            short_ms,
            long_ms: 3_600_000,
        };
        let length = lengths.tumbling_ms();
        let mut windows = Windows::new(lengths, 1);
        let (mut sent, mut judged, mut open) = (0, 0, 0);
        for at in (NOW..NOW + 40 * length).step_by(50) {
            // Each row waits as long as a record may.
            row(&mut windows, at - LATE_MS + 100, 0);
            sent += 1;
            windows.close(at - LATE_MS, false);
            windows.forget(at);
            open = open.max(windows.open.len());
            let ended = (at - lengths.patience_ms(shared)).div_euclid(length) - 1;
            let counts = windows.tumbling(ended);
            if counts.rows > 0 {
                judged += 1;
                let whole = (length + 49) / 50;
                assert!(
                    counts.rows as i64 >= whole - 3 || ended * length < NOW,
                    "{counts:?}"
                );
            }
        }
        assert!(judged > sent / 2, "{short_ms} ms: {judged} of {sent}");
        assert!(open <= lengths.open_max(), "{open} open panes");
    }
}

#[test]
fn the_shortest_and_the_longest_windows_are_windows() {
    for (short_ms, long_ms) in [(0, 0), (1, 1), (u64::MAX, u64::MAX), (60_000, 1)] {
        let mut windows = Windows::new(Lengths { short_ms, long_ms }, 1);
        row(&mut windows, NOW, 0);
        assert_eq!(windows.short(NOW).counts.rows, 1);
        windows.close(NOW, true);
        assert_eq!(windows.short(NOW).counts.rows, 1);
    }
}

proptest! {
    /// However rows are spread over replicas, and in whatever order their panes arrive, the sums are
    /// those of one process that saw all of them.
    #[test]
    fn replicas_add_up(
        rows in prop::collection::vec((0_i64..120_000, 0_usize..3, 0_usize..4), 1..200),
        swap in any::<bool>(),
    ) {
        let now = NOW + 120_000;
        let mut rows = rows;
        rows.sort_unstable();
        let mut one = Windows::new(LENGTHS, 4);
        let mut replicas: Vec<Windows> = (0..3).map(|_| Windows::new(LENGTHS, 4)).collect();
        let mut panes = vec![Vec::new(); 3];
        for (at, replica, cell) in rows {
            row(&mut one, NOW + at, cell);
            one.close(NOW + at, false);
            row(&mut replicas[replica], NOW + at, cell);
            panes[replica].extend(replicas[replica].close(NOW + at, false));
        }
        one.close(now, true);
        for (replica, panes) in panes.iter_mut().enumerate() {
            panes.extend(replicas[replica].close(now, true));
        }
        let mut foreign: Vec<_> = panes[1].iter().chain(&panes[2]).cloned().collect();
        if swap {
            foreign.reverse();
        }
        for (start, counts) in foreign {
            replicas[0].join(start, &counts, now);
        }
        prop_assert_eq!(replicas[0].short(now), one.short(now));
        prop_assert_eq!(replicas[0].long(now), one.long(now));
        for number in [NOW / 60_000, NOW / 60_000 + 1] {
            prop_assert_eq!(replicas[0].tumbling(number), one.tumbling(number));
        }
    }
}
