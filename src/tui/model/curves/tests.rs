//! What charts show of series, and where their cursors go.

use super::*;

fn info(name: &str, points: u64, last_x: f64, x_max: Option<f64>) -> SeriesInfo {
    SeriesInfo { name: name.into(), points, first_x: 1.0, last_x, last_y: Some(0.5), x_max, x_unit: "epochs".into() }
}

fn curves() -> Curves {
    let mut curves = Curves::default();
    curves.set_series(vec![
        info("train/loss", 10, 10.0, Some(100.0)),
        info("valid/accuracy", 10, 10.0, Some(100.0)),
        info("cand-000/valid/accuracy", 5, 2.0, Some(100.0)),
        info("train/accuracy", 1_000_000, 10.0, Some(100.0)),
    ]);
    curves
}

#[test]
fn names_have_parts() {
    assert_eq!((metric("train/loss"), subject("train/loss")), ("loss", "train"));
    assert_eq!((metric("lr"), subject("lr")), ("lr", "lr"));
    assert!(per_candidate("cand-007/valid/accuracy") && per_candidate("net-3/loss"));
    for no in ["train/loss", "cand-/x", "-7/x", "cand-007", "cand-a7/x", ""] {
        assert!(!per_candidate(no), "{no}");
    }
}

#[test]
fn candidates_are_hidden_until_asked_for_and_do_not_shift_colours() {
    let mut curves = curves();
    let panels = |c: &Curves| c.panels.iter().map(|p| (p.metric.clone(), p.series.clone())).collect::<Vec<_>>();
    assert_eq!(panels(&curves), [("accuracy".into(), vec![(1, 0), (3, 1)]), ("loss".into(), vec![(0, 0)])]);
    curves.toggle_candidates();
    assert_eq!(panels(&curves)[0].1, [(1, 0), (3, 1), (2, 2)]);
    curves.choose(&["valid/accuracy".into()], false);
    assert_eq!(panels(&curves)[0].1, [(3, 1), (2, 2)]);
    curves.judge_by("train/loss");
    assert_eq!(curves.panels[0].metric, "loss");
}

#[test]
fn other_plans_are_other_charts_and_candidates_alone_are_shown() {
    let mut curves = Curves::default();
    curves.set_series(vec![info("cand-000/valid/accuracy", 5, 2.0, Some(100.0))]);
    assert_eq!(curves.panels[0].title, "accuracy");
    let early = info("early/accuracy", 5, 2.0, Some(40.0));
    let valid = info("valid/accuracy", 5, 2.0, Some(900.0));
    curves.set_series(vec![info("cand-000/valid/accuracy", 5, 2.0, Some(100.0)), early, valid]);
    let titles = |c: &Curves| c.panels.iter().map(|p| p.title.clone()).collect::<Vec<_>>();
    assert_eq!(titles(&curves), ["valid/accuracy", "early/accuracy"]);
    curves.judge_by("early/accuracy");
    curves.toggle_candidates();
    assert_eq!(titles(&curves), ["early/accuracy", "valid/accuracy", "accuracy of candidates"]);
    assert_eq!(curves.panels.iter().map(|p| p.full.to).collect::<Vec<_>>(), [40.0, 900.0, 100.0]);
}

#[test]
fn what_matters_comes_first_and_many_alike_series_share_a_chart() {
    let mut curves = Curves::default();
    let mut all = vec![info("search/tau", 5, 2.0, Some(40.0)), info("search/train/loss", 5, 2.0, Some(40.0))];
    all.extend((0..16).map(|i| info(&format!("entropy/stage{}.{}", i / 4, i % 4), 5, 2.0, Some(40.0))));
    all.extend(["search/entropy", "search/accuracy", "net/top5", "net/top1"].map(|n| info(n, 5, 2.0, Some(40.0))));
    curves.set_series(all);
    let titles: Vec<&str> = curves.panels.iter().map(|p| p.title.as_str()).collect();
    assert_eq!(titles, ["accuracy", "loss", "tau", "entropy", "top5", "top1"]);
    assert_eq!(curves.panels[3].series.len(), 17, "with the mean over the parts");
    curves.series.retain(|s| s.name != "search/entropy");
    curves.refresh();
    let titles: Vec<&str> = curves.panels.iter().map(|p| p.title.as_str()).collect();
    assert_eq!(titles, ["accuracy", "loss", "tau", "top5", "top1", "entropy"], "the group alone comes last");
    // The training that the search was for, once it is under way.
    curves.take("valid/accuracy", &[[1.0, 0.9]]);
    let titles: Vec<&str> = curves.panels.iter().map(|p| p.title.as_str()).take(3).collect();
    assert_eq!(titles, ["valid/accuracy", "search/accuracy", "loss"]);
}

#[test]
fn a_zoomed_chart_shows_what_is_in_it_in_full_height() {
    let mut curves = Curves::default();
    curves.started(&BTreeMap::from([("*".into(), 100.0)]), &BTreeMap::new(), false);
    for i in 0..=100 {
        curves.take(
            "valid/accuracy",
            &[[f64::from(i), if i < 50 { f64::from(i) / 55.0 } else { 0.95 + 1e-4 * f64::from(i) }]],
        );
    }
    let low = |c: &Curves| c.panels[0].y.scale().lo;
    assert_eq!(low(&curves), 0.0);
    curves.zoom(0.2);
    curves.pan(2.0);
    assert!(low(&curves) > 0.9, "{:?}", curves.panels[0].y);
    assert!(curves.zoom_all() && low(&curves) == 0.0);
}

#[test]
fn only_what_is_missing_is_asked_for_and_only_once() {
    let mut curves = curves();
    let wants = curves.wants(&[(0, 200)]);
    let grid = Grid { from: 0.0, to: 100.0, columns: 200 };
    assert_eq!(
        wants,
        [
            Want { names: vec!["valid/accuracy".into()], grid: None },
            Want { names: vec!["train/accuracy".into()], grid: Some(grid) },
        ]
    );
    assert_eq!(curves.wants(&[(0, 200)]), []);
    for want in &wants {
        let series = want.names.iter().map(|n| Series {
            name: n.clone(),
            points: vec![[1.0, 0.5]],
            total: 1,
            ..Series::default()
        });
        curves.answer(want, series.collect());
    }
    assert_eq!(curves.wants(&[(0, 200)]), []);
    // Another width: only the decimated one has to be asked for again.
    assert_eq!(curves.wants(&[(0, 150)]).len(), 1);
    curves.doubt();
    assert_eq!(curves.wants(&[(0, 200)]).iter().map(|w| w.names.len()).sum::<usize>(), 2);
}

#[test]
fn pushes_that_overtake_an_answer_are_kept() {
    let mut curves = curves();
    let want = curves.wants(&[(1, 100)]).remove(0);
    curves.answer(
        &want,
        vec![Series { name: "train/loss".into(), points: vec![[1.0, 2.0]], total: 1, ..Series::default() }],
    );
    curves.take("train/loss", &[[11.0, 1.0]]);
    curves.answer(
        &want,
        vec![Series {
            name: "train/loss".into(),
            points: vec![[1.0, 2.0], [10.0, 1.5]],
            total: 2,
            ..Series::default()
        }],
    );
    assert_eq!(curves.track("train/loss").unwrap().points(), [[1.0, 2.0], [10.0, 1.5], [11.0, 1.0]]);
}

#[test]
fn the_axis_is_the_plan_and_grows_only_beyond_it() {
    let mut curves = curves();
    assert_eq!(curves.panels[1].full, Window { from: 0.0, to: 100.0 });
    curves.take("train/loss", &[[50.0, 1.0]]);
    assert_eq!(curves.panels[1].full.to, 100.0);
    curves.take("train/loss", &[[120.0, 1.0]]);
    assert_eq!(curves.panels[1].full.to, 200.0);
    curves.take("new/loss", &[[1.0, f64::NAN]]);
    assert_eq!(curves.series.last().unwrap().last_y, None);
    assert!(curves.track("new/loss").is_some());
}

#[test]
fn series_that_grow_long_are_decimated_here() {
    let mut curves = Curves::default();
    curves.started(&BTreeMap::from([("*".into(), 10_000.0)]), &BTreeMap::new(), false);
    for i in 0..10_000 {
        curves.take("train/loss", &[[f64::from(i), f64::from(i % 7)]]);
        assert!(curves.wants(&[(0, 100)]).is_empty());
    }
    let track = curves.track("train/loss").unwrap();
    assert!(track.points().len() <= 200 && track.bounds(0.0, 1e4, false) == Some((0.0, 6.0)));
}

#[test]
fn the_cursor_starts_at_the_newest_point_and_stays_in_the_window() {
    let mut curves = curves();
    let want = curves.wants(&[(1, 200)]).remove(0);
    let points = (0..=10).map(|i| [f64::from(i), 1.0]).chain([[9.25, 1.0]]).collect::<Vec<_>>();
    let mut points = points;
    points.sort_by(|a, b| a[0].total_cmp(&b[0]));
    curves.answer(&want, vec![Series { name: "train/loss".into(), points, total: 12, ..Series::default() }]);
    curves.next_panel(1);
    let mut visited = Vec::new();
    // A cell is 1 wide, then 10: steps go from point to point, at least a cell on where points are dense.
    for (by, cells) in [(-1.0, 101), (-1.0, 101), (-1.0, 101), (1.0, 101), (-1.0, 11), (-1.0, 11), (1.0, 101)] {
        curves.move_cursor(by, cells);
        visited.push(curves.cursor.unwrap());
    }
    assert_eq!(visited, [10.0, 9.0, 8.0, 9.0, 0.0, 0.0, 1.0]);
}

#[test]
fn the_cursor_comes_along_to_a_shorter_chart_and_means_nothing_on_one_that_counts_otherwise() {
    let mut curves = Curves::default();
    let early = SeriesInfo { x_unit: "networks".into(), ..info("early/best", 40, 40.0, Some(40.0)) };
    curves.set_series(vec![info("train/loss", 90, 90.0, Some(100.0)), info("valid/f1", 20, 20.0, Some(30.0)), early]);
    curves.move_cursor(-1.0, 101);
    assert_eq!(curves.cursor, Some(90.0));
    assert_eq!(curves.panels.iter().map(|p| curves.cursor_in(p)).collect::<Vec<_>>(), [Some(90.0), Some(90.0), None]);
    curves.next_panel(1);
    assert_eq!(curves.cursor, Some(30.0));
    curves.next_panel(1);
    assert_eq!(curves.cursor_in(&curves.panels[2]), Some(30.0));
    assert_eq!(curves.cursor_in(&curves.panels[0]), None);
}

#[test]
fn zooming_ends_at_both_ends() {
    let mut curves = curves();
    for _ in 0..200 {
        curves.zoom(0.5);
    }
    let narrow = curves.panels[0].window().span();
    assert!(narrow > 0.0 && narrow < 1e-3);
    curves.pan(1e9);
    assert!(curves.panels[0].window().to <= 100.0);
    for _ in 0..200 {
        curves.zoom(2.0);
    }
    assert_eq!(curves.panels[0].zoom, None);
    assert!(!curves.zoom_all());
}

#[test]
fn a_logarithmic_x_axis_begins_beyond_nothing_and_zooms_by_ratios() {
    let mut curves = Curves::default();
    curves.set_series(vec![SeriesInfo { first_x: 0.0, ..info("train/loss", 3, 100.0, Some(1000.0)) }]);
    curves.series.push(info("valid/loss", 3, 100.0, Some(1000.0)));
    curves.refresh();
    let want = curves.wants(&[(0, 200)]).remove(0);
    let points: Vec<[f64; 2]> = [1.0, 10.0, 100.0].map(|x| [x, 1.0]).to_vec();
    let series = |name: &String| Series { name: name.clone(), points: points.clone(), total: 3, ..Series::default() };
    curves.answer(&want, want.names.iter().map(series).collect());
    curves.toggle_log_x();
    assert_eq!(curves.panels[0].full, Window { from: 1.0, to: 1000.0 });
    // A third of the axis is a decade: around its middle, half of it lies between the roots of ten and of a hundred thousand.
    curves.zoom_at(1.0 / 3.0, 0.5);
    let window = curves.panels[0].window();
    assert!((window.from - 10.0).abs() < 1e-9 && (window.to - 100.0).abs() < 1e-6, "{window:?}");
    curves.pan(1.0);
    assert!((curves.panels[0].window().to - 1000.0).abs() < 1e-6);
    assert!(curves.zoom_all());
    assert!(curves.put_cursor(0.3) && curves.cursor == Some(10.0), "{:?}", curves.cursor);
    assert!(!curves.put_cursor(0.31), "the same point");
    curves.toggle_log_x();
    assert_eq!(curves.panels[0].full.from, 0.0);
    // A series of nothing but zeros has an axis all the same.
    let mut zero = Curves::default();
    zero.set_series(vec![SeriesInfo { first_x: 0.0, ..info("x", 1, 0.0, None) }]);
    zero.toggle_log_x();
    let full = zero.panels[0].full;
    assert!(full.from > 0.0 && full.to > full.from, "{full:?}");
}

#[test]
fn the_pointer_zooms_where_it_points() {
    let mut curves = curves();
    curves.zoom_at(0.5, 0.2);
    assert_eq!(curves.panels[0].window(), Window { from: 10.0, to: 60.0 });
    assert!(!Curves::default().put_cursor(0.5));
}
