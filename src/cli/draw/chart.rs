//! Curves with axes.

use kiln_tui::chart::{Fit, Scale};

use super::{Anchor, HEADING, Ink, SIZE, Scene, Shape, dash, font};

/// One curve.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    pub name: String,
    /// x rising; what is not finite breaks the curve.
    pub points: Vec<[f64; 2]>,
    /// Deviation of each point, drawn as a band; may be empty.
    pub spread: Vec<f64>,
}

/// An event worth a line from top to bottom, such as a live knob that was turned.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mark {
    pub x: f64,
    pub label: String,
}

/// Curves over the same axes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chart {
    pub title: String,
    pub x_label: String,
    pub y_label: String,
    pub curves: Vec<Curve>,
    pub log_x: bool,
    pub log_y: bool,
    /// Ends of the x axis; those of the data where `None`.
    pub from: Option<f64>,
    pub to: Option<f64>,
    pub marks: Vec<Mark>,
}

/// Between the parts of a drawing.
pub const GAP: f32 = 8.0;

/// Room for labels of the y axis at least, so that charts below each other line up as a rule.
const MARGIN: f32 = 52.0;

/// Where data are drawn, and how they are placed there.
pub struct Frame {
    pub left: f32,
    pub top: f32,
    pub right: f32,
    pub bottom: f32,
    pub x: Scale,
    pub y: Scale,
}

impl Frame {
    /// Place of a point; `None` for what has none, such as NaN.
    pub fn place(&self, [x, y]: [f64; 2]) -> Option<[f32; 2]> {
        let (x, y) = (self.x.place(x)?, self.y.place(y)?);
        Some([self.left + (self.right - self.left) * x as f32, self.bottom - (self.bottom - self.top) * y as f32])
    }
}

/// The range of data on an axis: exact along x, to nice numbers along y.
pub fn range(values: impl Iterator<Item = f64>, log: bool) -> Option<(f64, f64)> {
    let usable = values.filter(|v| v.is_finite() && (!log || *v > 0.0));
    usable.fold(None, |range, v| match range {
        None => Some((v, v)),
        Some((lo, hi)) => Some((f64::min(lo, v), f64::max(hi, v))),
    })
}

/// Data whose spread is less than this share of them are flat: what differs is the rounding of means.
const FLAT: f64 = 1e-9;

/// A scale that ends at nice numbers.
pub fn nice(range: Option<(f64, f64)>, log: bool) -> Scale {
    let flat = |(lo, hi): (f64, f64)| hi - lo <= FLAT * lo.abs().max(hi.abs());
    let range = range.map(|(lo, hi)| if flat((lo, hi)) { (lo, lo) } else { (lo, hi) });
    let mut fit = Fit::default();
    if !fit.follow(range, log) {
        return exact(None, log);
    }
    fit.scale()
}

/// A scale that ends where the data do.
fn exact(range: Option<(f64, f64)>, log: bool) -> Scale {
    let (lo, hi) = range.unwrap_or(if log { (0.1, 1.0) } else { (0.0, 1.0) });
    let hi = if hi > lo { hi } else { lo + if log { lo } else { 1.0 } };
    Scale { lo, hi, log }
}

/// Names with their colours, in as many lines as they need; how high that becomes.
pub fn legend(scene: &mut Scene, names: &[&str], top: f32, left: f32, right: f32) -> f32 {
    const SWATCH: f32 = 18.0;
    const LINE: f32 = 16.0;
    let (mut x, mut y) = (left, top + SIZE);
    for (n, name) in names.iter().enumerate() {
        let name = font::cut(name, SIZE, right - left - SWATCH - GAP);
        let width = SWATCH + 5.0 + font::width(&name, SIZE);
        if x > left && x + width > right {
            (x, y) = (left, y + LINE);
        }
        let (ink, middle) = (Ink::Series(n), y - SIZE * 0.35);
        let points = vec![[x, middle], [x + SWATCH, middle]];
        scene.shapes.push(Shape::Line { points, ink, width: 2.0, dash: dash(n) });
        scene.text([x + SWATCH + 5.0, y], name, Anchor::Start, Ink::Text);
        x += width + 2.0 * GAP;
    }
    if names.is_empty() { 0.0 } else { y - top + GAP }
}

/// Title, legend, grid and labels of axes; what is drawn into the frame comes after.
pub fn frame(scene: &mut Scene, title: &str, names: &[&str], labels: [&str; 2], x: Scale, y: Scale) -> Frame {
    let (width, height) = (scene.width, scene.height);
    let mut top = 4.0;
    if !title.is_empty() {
        scene.heading([4.0, top + HEADING], font::cut(title, HEADING * 1.08, width - 8.0));
        top += HEADING + GAP;
    }
    top += legend(scene, names, top, 4.0, width - 4.0);
    let bottom = height - SIZE - 2.0 * GAP - if labels[0].is_empty() { 0.0 } else { SIZE + 4.0 };
    let y_ticks = y.ticks(((bottom - top) / 36.0).max(2.0) as usize);
    let widest = y_ticks.iter().map(|t| font::width(&t.1, SIZE)).fold(0.0, f32::max);
    let turned = if labels[1].is_empty() { 0.0 } else { SIZE + 6.0 };
    let left = (widest + GAP + turned + 4.0).max(MARGIN);
    let frame = Frame { left, top: top + 4.0, right: width - 14.0, bottom, x, y };
    for (value, label) in y_ticks {
        let Some([_, at]) = frame.place([x.lo, value]) else { continue };
        scene.line(vec![[frame.left, at], [frame.right, at]], Ink::Grid, 1.0);
        scene.text([frame.left - 6.0, at + SIZE * 0.35], label, Anchor::End, Ink::Dim);
    }
    let mut free = f32::MIN;
    for (value, label) in x.ticks(((frame.right - frame.left) / 90.0).max(2.0) as usize) {
        let Some([at, _]) = frame.place([value, y.lo]) else { continue };
        scene.line(vec![[at, frame.bottom], [at, frame.bottom + 4.0]], Ink::Dim, 1.0);
        let half = font::width(&label, SIZE) / 2.0;
        if at - half > free {
            scene.text([at, frame.bottom + 4.0 + SIZE + 3.0], label, Anchor::Middle, Ink::Dim);
            free = at + half + 6.0;
        }
    }
    scene.line(vec![[frame.left, frame.bottom], [frame.right, frame.bottom]], Ink::Dim, 1.0);
    if !labels[0].is_empty() {
        let room = frame.right - frame.left;
        scene.text([frame.right, height - 5.0], font::cut(labels[0], SIZE, room), Anchor::End, Ink::Dim);
    }
    if !labels[1].is_empty() {
        scene.shapes.push(Shape::Text {
            x: SIZE,
            y: (frame.top + frame.bottom) / 2.0,
            text: font::cut(labels[1], SIZE, frame.bottom - frame.top),
            size: SIZE,
            anchor: Anchor::Middle,
            ink: Ink::Dim,
            bold: false,
            up: true,
        });
    }
    frame
}

impl Chart {
    /// The drawing, in that many pixels.
    pub fn draw(&self, width: f32, height: f32) -> Scene {
        let mut scene = Scene::new(width, height);
        let within = |x: f64| self.from.is_none_or(|from| x >= from) && self.to.is_none_or(|to| x <= to);
        let points = || self.curves.iter().flat_map(|c| c.points.iter().filter(|p| within(p[0])));
        let x = range(points().map(|p| p[0]).chain(self.from).chain(self.to), self.log_x);
        let spread = self.curves.iter().flat_map(|c| {
            let both = c.points.iter().zip(&c.spread).filter(|(p, s)| within(p[0]) && s.is_finite());
            both.flat_map(|(p, s)| [p[1] - s, p[1] + s])
        });
        let y = range(points().map(|p| p[1]).chain(spread), self.log_y);
        let names: Vec<&str> = self.curves.iter().map(|c| c.name.as_str()).collect();
        // A single curve is named by the title.
        let names = if names.len() == 1 && (names[0] == self.title || names[0].is_empty()) { vec![] } else { names };
        let (x, y) = (exact(x, self.log_x), nice(y, self.log_y));
        let frame = frame(&mut scene, &self.title, &names, [&self.x_label, &self.y_label], x, y);
        for mark in self.marks.iter().filter(|m| within(m.x)) {
            let Some([at, _]) = frame.place([mark.x, y.hi]) else { continue };
            if at < frame.left - 0.5 || at > frame.right + 0.5 {
                continue;
            }
            let points = vec![[at, frame.top], [at, frame.bottom]];
            scene.shapes.push(Shape::Line { points, ink: Ink::Dim, width: 1.0, dash: &[3.0, 3.0] });
            // Towards the middle, so that no label leaves the drawing.
            let right = at > (frame.left + frame.right) / 2.0;
            let (at, anchor) = if right { (at - 4.0, Anchor::End) } else { (at + 4.0, Anchor::Start) };
            scene.text([at, frame.top + SIZE], mark.label.clone(), anchor, Ink::Dim);
        }
        for (n, curve) in self.curves.iter().enumerate() {
            band(&mut scene, &frame, curve, n, &within);
        }
        for (n, curve) in self.curves.iter().enumerate() {
            let placed = curve.points.iter().map(|p| if within(p[0]) { frame.place(*p) } else { None });
            for piece in pieces(placed) {
                match piece[..] {
                    [[x, y]] => {
                        let label = String::new();
                        scene.shapes.push(Shape::Dot { x, y, radius: 2.5, ink: Ink::Series(n), label });
                    }
                    _ => {
                        let ink = Ink::Series(n);
                        scene.shapes.push(Shape::Line { points: piece, ink, width: 1.6, dash: dash(n) });
                    }
                }
            }
        }
        if points().all(|p| frame.place(*p).is_none()) {
            let middle = [(frame.left + frame.right) / 2.0, (frame.top + frame.bottom) / 2.0];
            let why = if self.log_y { "no positive value to draw" } else { "no point to draw" };
            scene.text(middle, why, Anchor::Middle, Ink::Dim);
        }
        scene
    }
}

fn band(scene: &mut Scene, frame: &Frame, curve: &Curve, n: usize, within: &dyn Fn(f64) -> bool) {
    let edges = curve.points.iter().zip(&curve.spread).map(|([x, y], s)| {
        // On a logarithmic axis a band that reaches zero ends at the bottom.
        let low = if frame.y.log { (y - s).max(frame.y.lo) } else { y - s };
        if within(*x) { frame.place([*x, low]).zip(frame.place([*x, y + s])) } else { None }
    });
    for piece in pieces(edges).into_iter().filter(|piece| piece.len() > 1) {
        let below = piece.iter().map(|(low, _)| *low);
        let above = piece.iter().rev().map(|(_, high)| *high);
        scene.shapes.push(Shape::Area { points: below.chain(above).collect(), ink: Ink::Series(n), opacity: 0.18 });
    }
}

/// What stands between gaps.
fn pieces<T>(items: impl Iterator<Item = Option<T>>) -> Vec<Vec<T>> {
    let mut pieces = vec![Vec::new()];
    for item in items {
        match (item, pieces.last_mut()) {
            (Some(item), Some(piece)) => piece.push(item),
            (None, Some(piece)) if !piece.is_empty() => pieces.push(Vec::new()),
            _ => {}
        }
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(name: &str, points: &[[f64; 2]]) -> Curve {
        Curve { name: name.into(), points: points.to_vec(), spread: vec![] }
    }

    fn lines(scene: &Scene) -> Vec<&Vec<[f32; 2]>> {
        let points = |s: &'_ Shape| match s {
            Shape::Line { ink: Ink::Series(_), width, .. } => *width < 2.0,
            _ => false,
        };
        let all = scene.shapes.iter().filter(|s| points(s)).filter_map(|s| match s {
            Shape::Line { points, .. } => Some(points),
            _ => None,
        });
        all.collect()
    }

    fn said(scene: &Scene) -> Vec<&str> {
        let texts = scene.shapes.iter().filter_map(|s| match s {
            Shape::Text { text, .. } => Some(text.as_str()),
            _ => None,
        });
        texts.collect()
    }

    #[test]
    fn a_curve_goes_from_edge_to_edge_and_breaks_where_there_is_nothing() {
        let points = [[0.0, 0.0], [1.0, 1.0], [2.0, f64::NAN], [3.0, 0.5], [4.0, 1.0]];
        let chart = Chart { title: "a".into(), curves: vec![curve("a", &points)], ..Chart::default() };
        let scene = chart.draw(400.0, 200.0);
        let lines = lines(&scene);
        assert_eq!(lines.iter().map(|l| l.len()).collect::<Vec<_>>(), [2, 2]);
        let (first, last) = (lines[0][0], lines[1][1]);
        assert!(first[0] < last[0] && first[1] > last[1], "up is up: {lines:?}");
        assert!(last[0] <= 400.0 && lines.iter().all(|l| l.iter().all(|p| (0.0..200.0).contains(&p[1]))));
        assert_eq!(said(&scene).iter().filter(|t| **t == "a").count(), 1, "named once: {:?}", said(&scene));
    }

    #[test]
    fn several_curves_are_named_banded_and_marked() {
        let mut banded = curve("mean", &[[1.0, 1.0], [2.0, 2.0]]);
        banded.spread = vec![0.5, 3.0];
        let curves = vec![banded, curve("other", &[[1.0, 1.5]])];
        let marks = vec![Mark { x: 1.5, label: "optim.lr = 0.01".into() }, Mark { x: 9.0, label: "late".into() }];
        let scene = Chart { curves, marks, to: Some(4.0), ..Chart::default() }.draw(600.0, 300.0);
        let texts = said(&scene);
        assert!(["mean", "other", "optim.lr = 0.01", "4"].iter().all(|t| texts.contains(t)), "{texts:?}");
        assert!(!texts.contains(&"late"));
        let areas = scene.shapes.iter().filter(|s| matches!(s, Shape::Area { points, .. } if points.len() == 4));
        assert_eq!(areas.count(), 1);
        assert!(scene.shapes.iter().any(|s| matches!(s, Shape::Dot { ink: Ink::Series(1), .. })));
        assert!(texts.contains(&"-2"), "the axis has room for the band: {texts:?}");
    }

    #[test]
    fn logarithmic_axes_leave_out_what_has_no_place() {
        let points = [[0.0, 1.0], [1.0, 10.0], [10.0, 0.0], [100.0, 1000.0], [1000.0, 100.0]];
        let chart = Chart { log_x: true, log_y: true, curves: vec![curve("x", &points)], ..Chart::default() };
        let scene = chart.draw(500.0, 300.0);
        assert_eq!(lines(&scene).len(), 1, "{scene:?}");
        let none = Chart { log_y: true, curves: vec![curve("x", &[[0.0, -1.0]])], ..Chart::default() };
        assert!(said(&none.draw(300.0, 200.0)).contains(&"no positive value to draw"));
        assert!(said(&Chart::default().draw(300.0, 200.0)).contains(&"no point to draw"));
        // What differs in the last bits only is flat.
        let noise = nice(Some((0.3, 0.1 + 0.2)), false);
        assert!(noise.hi - noise.lo > 0.01, "{noise:?}");
        // Flat data and no room at all are drawn somehow.
        for (width, height) in [(1.0, 1.0), (50.0, 20.0), (4000.0, 30.0)] {
            let flat = Chart { curves: vec![curve("x", &[[5.0, 2.0], [5.0, 2.0]])], ..Chart::default() };
            assert!(!flat.draw(width, height).shapes.is_empty());
        }
    }

    #[test]
    fn legends_take_the_lines_that_they_need() {
        let mut scene = Scene::new(200.0, 100.0);
        assert_eq!(legend(&mut scene, &[], 0.0, 0.0, 200.0), 0.0);
        let one = legend(&mut scene, &["a"], 0.0, 0.0, 200.0);
        let many = legend(&mut scene, &["a long name", "another name", "a third one"], 0.0, 0.0, 200.0);
        assert!(many > one + 10.0, "{one} {many}");
    }
}
