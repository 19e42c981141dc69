//! Kinds of view other than curves.

use kiln_protocol::View;
use kiln_protocol::view::{
    Clusters, Detection, Detections, Histograms, Images, Lines, Matrix, Panel, Picture, Scatter,
};

use super::chart::{self, Chart, Curve, Frame, GAP};
use super::{Anchor, HEADING, Ink, SIZE, Scene, Shape, font};
use crate::human;

/// A view as a drawing of that width; `None` for kinds that are tables.
pub fn view(name: &str, view: &View, width: f32) -> Option<Scene> {
    match view {
        View::Scatter(scatter) => Some(of_scatter(scatter, width)),
        View::Clusters(clusters) => Some(of_clusters(clusters, width)),
        View::Lines(lines) => Some(of_lines(lines, width)),
        View::Histogram(histograms) => Some(of_histograms(histograms, width)),
        View::Matrix(matrix) => Some(of_matrix(matrix, width)),
        View::Images(images) => Some(of_images(name, images, width)),
        View::Detections(found) => Some(of_detections(name, found, width)),
        _ => None,
    }
}

/// One group of points, as all kinds of clouds have it.
struct Group<'a> {
    name: String,
    points: Vec<([f64; 2], &'a str)>,
    joined: bool,
    trend: Option<[f64; 2]>,
}

fn cloud(title: &str, labels: [&str; 2], groups: &[Group<'_>], diagonal: bool, width: f32) -> (Scene, Frame) {
    let mut scene = Scene::new(width, width * 0.55);
    let all = || groups.iter().flat_map(|g| g.points.iter().map(|p| p.0));
    let mut x = chart::range(all().map(|p| p[0]), false);
    let mut y = chart::range(all().map(|p| p[1]), false);
    if let (true, Some(a), Some(b)) = (diagonal, x, y) {
        x = Some((a.0.min(b.0), a.1.max(b.1)));
        y = x;
    }
    let names: Vec<&str> = groups.iter().map(|g| g.name.as_str()).collect();
    let names = if names.len() == 1 && names[0].is_empty() { vec![] } else { names };
    let frame = chart::frame(&mut scene, title, &names, labels, chart::nice(x, false), chart::nice(y, false));
    let straight = |f: &dyn Fn(f64) -> f64| -> Option<Vec<[f32; 2]>> {
        let ends = [frame.x.lo, frame.x.hi].map(|x| frame.place([x, f(x)]));
        Some(vec![ends[0]?, ends[1]?])
    };
    if let Some(points) = diagonal.then(|| straight(&|x| x)).flatten() {
        scene.shapes.push(Shape::Line { points, ink: Ink::Dim, width: 1.0, dash: &[3.0, 3.0] });
    }
    for (n, group) in groups.iter().enumerate() {
        let ink = Ink::Series(n);
        let placed: Vec<[f32; 2]> = group.points.iter().filter_map(|p| frame.place(p.0)).collect();
        if group.joined && placed.len() > 1 {
            scene.line(placed, ink, 1.4);
        }
        // Only what stays inside the frame: a steep trend leaves it soon.
        let inside = |p: &[f32; 2]| p[1] >= frame.top - 1.0 && p[1] <= frame.bottom + 1.0;
        if let Some([slope, intercept]) = group.trend
            && let Some(points) = straight(&|x| slope * x + intercept).filter(|p| p.iter().all(inside))
        {
            scene.shapes.push(Shape::Line { points, ink, width: 1.2, dash: &[6.0, 3.0] });
        }
        for (point, label) in &group.points {
            if let Some([x, y]) = frame.place(*point) {
                scene.shapes.push(Shape::Dot { x, y, radius: 2.6, ink, label: (*label).to_owned() });
            }
        }
    }
    (scene, frame)
}

fn of_scatter(view: &Scatter, width: f32) -> Scene {
    let group = |g: &'_ kiln_protocol::view::ScatterGroup| {
        let label = |i: usize| g.labels.get(i).map_or("", String::as_str).to_owned();
        (g.name.clone(), (0..g.points.len()).map(label).collect::<Vec<String>>())
    };
    let labels: Vec<(String, Vec<String>)> = view.groups.iter().map(group).collect();
    let groups: Vec<Group<'_>> = view
        .groups
        .iter()
        .zip(&labels)
        .map(|(g, (name, labels))| Group {
            name: name.clone(),
            points: g.points.iter().copied().zip(labels.iter().map(String::as_str)).collect(),
            joined: g.joined,
            trend: g.trend,
        })
        .collect();
    let (mut scene, frame) = cloud(&view.title, [&view.x_label, &view.y_label], &groups, view.diagonal, width);
    let all: Vec<[f64; 2]> = view.groups.iter().flat_map(|g| g.points.iter().copied()).collect();
    // Below the points.
    let mut edges: Vec<Shape> = Vec::new();
    for [a, b] in &view.edges {
        let end = |i: u32| all.get(i as usize).and_then(|p| frame.place(*p));
        if let (Some(a), Some(b)) = (end(*a), end(*b)) {
            edges.push(Shape::Line { points: vec![a, b], ink: Ink::Grid, width: 1.0, dash: &[] });
        }
    }
    let dots = scene.shapes.iter().position(|s| matches!(s, Shape::Dot { .. })).unwrap_or(scene.shapes.len());
    scene.shapes.splice(dots..dots, edges);
    scene
}

fn of_clusters(view: &Clusters, width: f32) -> Scene {
    let count = view.points.iter().filter_map(|p| p.cluster).max().map_or(0, |c| c as usize + 1);
    let mut groups: Vec<Group<'_>> = (0..count.max(view.names.len()))
        .map(|c| Group {
            name: view.names.get(c).cloned().unwrap_or_else(|| format!("cluster {c}")),
            points: Vec::new(),
            joined: false,
            trend: None,
        })
        .collect();
    groups.push(Group { name: "none".into(), points: Vec::new(), joined: false, trend: None });
    let none = groups.len() - 1;
    for point in &view.points {
        let group = point.cluster.map_or(none, |c| c as usize);
        groups[group].points.push(([point.x, point.y], &point.label));
    }
    groups.retain(|g| g.name != "none" || !g.points.is_empty());
    let (mut scene, frame) = cloud(&view.title, [&view.x_label, &view.y_label], &groups, false, width);
    for point in view.points.iter().filter(|p| p.winner) {
        let Some([x, y]) = frame.place([point.x, point.y]) else { continue };
        let ring = (0..=24).map(|i| {
            let turn = std::f32::consts::TAU * i as f32 / 24.0;
            [x + 6.0 * turn.cos(), y + 6.0 * turn.sin()]
        });
        scene.line(ring.collect(), Ink::Text, 1.4);
    }
    for [x, y] in view.centroids.iter().filter_map(|c| frame.place(*c)) {
        scene.line(vec![[x - 5.0, y], [x + 5.0, y]], Ink::Text, 1.6);
        scene.line(vec![[x, y - 5.0], [x, y + 5.0]], Ink::Text, 1.6);
    }
    scene
}

fn of_lines(view: &Lines, width: f32) -> Scene {
    let curve = |line: &'_ kiln_protocol::view::Line| Curve {
        name: line.name.clone(),
        points: line.points.iter().map(|p| [p[0], p[1]]).collect(),
        spread: line.points.iter().map(|p| p[2]).collect(),
    };
    let chart = Chart {
        title: view.title.clone(),
        x_label: view.x_label.clone(),
        y_label: view.y_label.clone(),
        curves: view.lines.iter().map(curve).collect(),
        log_x: view.log_x,
        ..Chart::default()
    };
    chart.draw(width, width * 0.5)
}

fn of_histograms(view: &Histograms, width: f32) -> Scene {
    let panels: Vec<Scene> = view
        .panels
        .iter()
        .enumerate()
        .map(|(i, panel)| {
            let title = match (view.title.as_str(), panel.name.as_str()) {
                (title, "") => title.to_owned(),
                (title, name) if i == 0 && !title.is_empty() => format!("{title}: {name}"),
                (_, name) => name.to_owned(),
            };
            of_panel(&title, &view.x_label, panel, width)
        })
        .collect();
    Scene::stacked(panels)
}

fn of_panel(title: &str, x_label: &str, panel: &Panel, width: f32) -> Scene {
    let mut scene = Scene::new(width, 180.0);
    let x = chart::range(panel.edges.iter().copied().chain(panel.marks.iter().map(|m| m.x)), false);
    let counts = panel.groups.iter().flat_map(|g| g.counts.iter().copied());
    let y = chart::range(counts.chain([0.0]), false);
    let names: Vec<&str> = panel.groups.iter().map(|g| g.name.as_str()).collect();
    let names = if names.len() == 1 { vec![] } else { names };
    let frame = chart::frame(&mut scene, title, &names, [x_label, ""], chart::nice(x, false), chart::nice(y, false));
    for (n, group) in panel.groups.iter().enumerate() {
        // The outline of the steps: groups over one another stay readable.
        let mut outline: Vec<[f32; 2]> = Vec::new();
        for (bin, count) in panel.edges.windows(2).zip(&group.counts) {
            outline.extend(bin.iter().filter_map(|x| frame.place([*x, *count])));
        }
        let ends = outline.first().copied().zip(outline.last().copied());
        if let Some((first, last)) = ends {
            let area = [[first[0], frame.bottom]].into_iter().chain(outline.clone()).chain([[last[0], frame.bottom]]);
            scene.shapes.push(Shape::Area { points: area.collect(), ink: Ink::Series(n), opacity: 0.3 });
            scene.line(outline, Ink::Series(n), 1.2);
        }
    }
    for mark in &panel.marks {
        let Some([at, _]) = frame.place([mark.x, frame.y.lo]) else { continue };
        let points = vec![[at, frame.top], [at, frame.bottom]];
        scene.shapes.push(Shape::Line { points, ink: Ink::Text, width: 1.0, dash: &[3.0, 3.0] });
        scene.text([at + 3.0, frame.top + SIZE], mark.name.clone(), Anchor::Start, Ink::Dim);
    }
    scene
}

/// Most cells that get their number written into them.
const NUMBERED: usize = 12;

fn of_matrix(view: &Matrix, width: f32) -> Scene {
    let rows = view.values.len();
    let columns = view.values.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let widest = view.row_labels.iter().map(|l| font::width(l, SIZE)).fold(0.0, f32::max);
    let left = (widest + GAP).clamp(20.0, width * 0.4);
    let side = ((width - left - 4.0) / columns as f32).min(46.0);
    let high = side.min(if rows > NUMBERED { 14.0 } else { 26.0 });
    let top = HEADING + 3.0 * GAP + SIZE;
    let mut scene = Scene::new(width, top + high * rows as f32 + GAP);
    scene.heading([4.0, 4.0 + HEADING], font::cut(&view.title, HEADING * 1.08, width - 8.0));
    let bounds = chart::range(view.values.iter().flatten().flatten().copied(), false);
    let (lo, hi) = bounds.unwrap_or((0.0, 1.0));
    for (c, label) in view.column_labels.iter().enumerate().take(columns) {
        // Labels that do not fit their column say nothing.
        if font::width(label, SIZE) <= side {
            scene.text([left + side * (c as f32 + 0.5), top - 5.0], label.clone(), Anchor::Middle, Ink::Dim);
        }
    }
    for (r, values) in view.values.iter().enumerate() {
        let y = top + high * r as f32;
        if let Some(label) = view.row_labels.get(r).filter(|_| high >= SIZE) {
            let label = font::cut(label, SIZE, left - GAP);
            scene.text([left - 5.0, y + high / 2.0 + SIZE * 0.35], label, Anchor::End, Ink::Dim);
        }
        for (c, value) in values.iter().enumerate() {
            let Some(v) = value.filter(|v| v.is_finite()) else { continue };
            let share = if hi > lo { (v - lo) / (hi - lo) } else { 0.5 };
            let x = left + side * c as f32;
            let label = format!(
                "{}{}{}",
                view.row_labels.get(r).map_or(String::new(), |l| format!("{l}, ")),
                view.column_labels.get(c).map_or(String::new(), |l| format!("{l}: ")),
                human::number(v)
            );
            let (ink, width, height) = (Ink::Heat(share), side, high);
            scene.shapes.push(Shape::Rect { x, y, width, height, ink, label });
        }
        if view.breaks.contains(&r) && r > 0 {
            scene.line(vec![[left, y], [left + side * columns as f32, y]], Ink::Text, 1.5);
        }
    }
    let scale = format!("{} (dark) to {} (light)", human::number(lo), human::number(hi));
    scene.text([width - 4.0, 4.0 + HEADING], scale, Anchor::End, Ink::Dim);
    scene
}

/// Least side of a picture on the page.
const PICTURE: f32 = 56.0;

fn of_images(name: &str, view: &Images, width: f32) -> Scene {
    let labelled = view.pictures.iter().any(|p| !p.label.is_empty());
    let largest = view.pictures.iter().map(|p| p.width).max().unwrap_or(1) as f32;
    let side = largest.clamp(PICTURE, 128.0);
    let fits = ((width - 8.0) / (side + 6.0)).floor().max(1.0) as usize;
    let columns = if view.columns > 0 { (view.columns as usize).min(fits) } else { fits };
    let below = if labelled { SIZE + 4.0 } else { 0.0 };
    let step = side + 6.0 + below;
    let top = HEADING + 2.0 * GAP;
    let rows = view.pictures.len().div_ceil(columns.max(1));
    let mut scene = Scene::new(width, top + step * rows as f32);
    let title = if view.title.is_empty() { name } else { &view.title };
    scene.heading([4.0, 4.0 + HEADING], font::cut(title, HEADING * 1.08, width - 8.0));
    for (i, picture) in view.pictures.iter().enumerate() {
        let (x, y) = (4.0 + (i % columns) as f32 * (side + 6.0), top + (i / columns) as f32 * step);
        match rgb(picture) {
            Ok(rgb) => {
                let (w, h) = (picture.width as f32, picture.height as f32);
                let scale = (side / w).min(side / h);
                let (width, height) = (w * scale, h * scale);
                let (columns, rows) = (picture.width, picture.height);
                scene.shapes.push(Shape::Pixels { x, y, width, height, columns, rows, rgb });
            }
            Err(_) => scene.text([x, y + side / 2.0], "?", Anchor::Start, Ink::Dim),
        }
        if !picture.label.is_empty() {
            scene.text([x, y + side + SIZE + 1.0], font::cut(&picture.label, SIZE, side), Anchor::Start, Ink::Dim);
        }
    }
    scene
}

/// Pictures with the boxes that were found, each class in its colour; what is known to be there is dashed.
fn of_detections(name: &str, view: &Detections, width: f32) -> Scene {
    const SIDE: f32 = 230.0;
    let columns = ((width - 8.0) / (SIDE + 8.0)).floor().max(1.0) as usize;
    let title = if view.title.is_empty() { name } else { &view.title };
    let mut scene = Scene::new(width, 0.0);
    scene.heading([4.0, 4.0 + HEADING], font::cut(title, HEADING * 1.08, width - 8.0));
    let classes: Vec<&str> = view.classes.iter().map(String::as_str).collect();
    let top = HEADING + 2.0 * GAP + chart::legend(&mut scene, &classes, HEADING + 2.0 * GAP, 4.0, width - 4.0);
    for (i, one) in view.scenes.iter().enumerate() {
        let (x, y) = (4.0 + (i % columns) as f32 * (SIDE + 8.0), top + (i / columns) as f32 * (SIDE + 8.0));
        let Ok(rgb) = rgb(&one.picture) else {
            scene.text([x, y + SIDE / 2.0], "?", Anchor::Start, Ink::Dim);
            continue;
        };
        let (columns, rows) = (one.picture.width, one.picture.height);
        let scale = (SIDE / columns as f32).min(SIDE / rows as f32);
        let (width, height) = (columns as f32 * scale, rows as f32 * scale);
        scene.shapes.push(Shape::Pixels { x, y, width, height, columns, rows, rgb });
        let place = |d: &Detection| {
            let [left, upper, w, h] = d.place.map(|v| v as f32 * scale);
            let (x0, y0) = (x + left.clamp(0.0, width), y + upper.clamp(0.0, height));
            let (x1, y1) = (x + (left + w).clamp(0.0, width), y + (upper + h).clamp(0.0, height));
            vec![[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]
        };
        let dashes: &'static [f32] = &[4.0, 3.0];
        for (found, dash) in one.truth.iter().map(|d| (d, dashes)).chain(one.found.iter().map(|d| (d, &[] as &[f32]))) {
            let (points, ink) = (place(found), Ink::Series(found.class as usize));
            if let (Some(score), Some([x, y])) = (found.score, points.first()) {
                let class = view.classes.get(found.class as usize).map_or("?", String::as_str);
                scene.text([x + 2.0, y + SIZE], format!("{class} {score:.2}"), Anchor::Start, ink);
            }
            scene.shapes.push(Shape::Line { points, ink, width: 1.6, dash });
        }
    }
    scene.height = top + view.scenes.len().div_ceil(columns) as f32 * (SIDE + 8.0);
    scene
}

/// Three bytes a pixel, also of grey pictures.
pub fn rgb(picture: &Picture) -> Result<Vec<u8>, String> {
    let bytes = picture.bytes()?;
    Ok(if picture.channels == 1 { bytes.iter().flat_map(|b| [*b; 3]).collect() } else { bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_protocol::view::{ClusterPoint, HistogramGroup, HistogramMark, Layers, Line, ScatterGroup};

    fn count(scene: &Scene, wanted: impl Fn(&Shape) -> bool) -> usize {
        scene.shapes.iter().filter(|s| wanted(s)).count()
    }

    #[test]
    fn clouds_show_every_point_and_what_joins_them() {
        let group = ScatterGroup {
            name: "g".into(),
            points: vec![[0.0, 0.0], [1.0, 2.0], [2.0, f64::NAN]],
            labels: vec!["first".into()],
            trend: Some([1.0, 0.0]),
            joined: true,
            ..ScatterGroup::default()
        };
        let scatter =
            Scatter { groups: vec![group], diagonal: true, edges: vec![[0, 1], [0, 9]], ..Scatter::default() };
        let scene = of_scatter(&scatter, 400.0);
        assert_eq!(count(&scene, |s| matches!(s, Shape::Dot { .. })), 2);
        assert_eq!(count(&scene, |s| matches!(s, Shape::Dot { label, .. } if label == "first")), 1);
        let dashed = |s: &Shape| matches!(s, Shape::Line { dash, .. } if !dash.is_empty());
        assert_eq!(count(&scene, dashed), 2, "diagonal and trend: {scene:?}");

        let point = |cluster, winner| ClusterPoint { id: 1, x: 1.0, y: 2.0, cluster, winner, label: "net".into() };
        let clusters = Clusters {
            points: vec![point(Some(1), true), point(None, false)],
            centroids: vec![[0.0, 0.0], [1.0, 2.0]],
            names: vec!["small".into()],
            ..Clusters::default()
        };
        let scene = of_clusters(&clusters, 400.0);
        let said = |text: &str| count(&scene, |s| matches!(s, Shape::Text { text: t, .. } if t == text));
        assert_eq!((said("small"), said("cluster 1"), said("none")), (1, 1, 1));
        assert_eq!(count(&scene, |s| matches!(s, Shape::Dot { .. })), 2);
    }

    #[test]
    fn boxes_lie_on_their_pictures() {
        let found = Detection { class: 1, score: Some(0.75), place: [1.0, 1.0, 2.0, 90.0] };
        let truth = Detection { class: 0, score: None, place: [0.0, 0.0, 2.0, 2.0] };
        let picture = Picture::new("", 4, 4, 1, &[0; 16]);
        let scenes = vec![kiln_protocol::view::Scene { picture, found: vec![found], truth: vec![truth] }];
        let classes = vec!["cat".to_owned(), "dog".to_owned()];
        let view = View::Detections(Detections { classes, scenes, ..Detections::default() });
        let scene = view_of(&view);
        let boxes = |dashed: bool| {
            count(
                &scene,
                |s| matches!(s, Shape::Line { points, dash, .. } if points.len() == 5 && dash.is_empty() != dashed),
            )
        };
        assert_eq!((boxes(false), boxes(true)), (1, 1));
        assert_eq!(count(&scene, |s| matches!(s, Shape::Text { text, .. } if text == "dog 0.75")), 1);
        let inside = |s: &Shape| match s {
            Shape::Line { points, .. } => points.iter().all(|p| p[1] <= scene.height),
            _ => true,
        };
        assert!(scene.shapes.iter().all(inside), "a box ends with its picture");
    }

    fn view_of(view: &View) -> Scene {
        super::view("v", view, 400.0).unwrap()
    }

    #[test]
    fn bars_cells_and_pictures_are_all_there() {
        let panel = Panel {
            name: "conv1".into(),
            edges: vec![0.0, 1.0, 2.0],
            groups: vec![HistogramGroup { name: "w".into(), counts: vec![3.0, 1.0] }],
            marks: vec![HistogramMark { name: "best".into(), x: 1.5 }],
        };
        let histograms = Histograms { panels: vec![panel.clone(), panel], ..Histograms::default() };
        let scene = of_histograms(&histograms, 300.0);
        assert_eq!(count(&scene, |s| matches!(s, Shape::Area { points, .. } if points.len() == 6)), 2);
        assert!(scene.height > 360.0);

        let values = vec![vec![Some(0.0), None], vec![Some(1.0), Some(0.5)]];
        let matrix = Matrix { values, breaks: vec![1], row_labels: vec!["r".into()], ..Matrix::default() };
        let scene = of_matrix(&matrix, 300.0);
        assert_eq!(count(&scene, |s| matches!(s, Shape::Rect { .. })), 3);
        assert_eq!(count(&scene, |s| matches!(s, Shape::Rect { ink: Ink::Heat(v), .. } if *v == 0.5)), 1);

        let picture = Picture::new("seven", 2, 1, 1, &[0, 200]);
        let broken = Picture { pixels: "?".into(), ..picture.clone() };
        let images = Images { pictures: vec![picture, broken], ..Images::default() };
        let scene = of_images("samples", &images, 300.0);
        let grey = |s: &Shape| matches!(s, Shape::Pixels { rgb, .. } if rgb == &[0, 0, 0, 200, 200, 200]);
        assert_eq!(count(&scene, grey), 1);

        let line = Line { name: "a".into(), points: vec![[1.0, 2.0, 0.5], [2.0, 3.0, 0.0]] };
        let lines = View::Lines(Lines { lines: vec![line], ..Lines::default() });
        let scene = view("l", &lines, 300.0).unwrap();
        assert_eq!(count(&scene, |s| matches!(s, Shape::Area { .. })), 1);
        assert_eq!(view("t", &View::Layers(Layers::default()), 300.0), None);
        for empty in [
            View::Scatter(Scatter::default()),
            View::Clusters(Clusters::default()),
            View::Matrix(Matrix::default()),
            View::Images(Images::default()),
            View::Histogram(Histograms::default()),
        ] {
            assert!(view("e", &empty, 300.0).is_some(), "{empty:?}");
        }
    }
}
