//! Whole screens: at every size, with and without data; and as text, to look at.

use kiln_protocol::view::{
    BlockImportance, Candidates, Clusters, Detection, Detections, HistogramGroup, HistogramMark, Histograms, Images,
    Layers, Lines, Matrix, Panel, Picture, Scatter, ScatterGroup,
};
use kiln_protocol::wire::{Push, SeriesInfo};
use kiln_protocol::{Body, Event, Level, View};
use ratatui::buffer::Buffer;
use ratatui::layout::{Rect, Size};

use super::view;
use crate::colour::Depth;
use crate::fixture;
use crate::fixture_compare;
use crate::fixture_search;
use crate::fixture_training;
use crate::look::Look;
use crate::model::Model;
use crate::model::detail::Tab;
use crate::msg::Msg;
use crate::options::{PresetInfo, Start, Wanted};
use crate::update::update;

fn look() -> Look {
    Look::plain("dark", Depth::True, false)
}

/// The screen as text.
pub(super) fn text(m: &Model, look: &Look) -> String {
    let mut buf = Buffer::empty(Rect::new(0, 0, m.size.width, m.size.height));
    view(&mut buf, m, look);
    let mut out = String::new();
    for y in 0..m.size.height {
        let mut line = String::new();
        let mut skip = 0;
        for x in 0..m.size.width {
            let symbol = buf[(x, y)].symbol();
            if skip > 0 {
                skip -= 1;
                continue;
            }
            skip = crate::text::width(symbol).saturating_sub(1);
            line.push_str(symbol);
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

const SIZES: [(u16, u16); 12] =
    [(1, 1), (2, 2), (10, 3), (3, 10), (20, 5), (40, 10), (60, 16), (80, 24), (100, 36), (120, 40), (200, 60), (1, 60)];

/// Every screen of the client at one size.
pub(super) fn screens(size: Size) -> Vec<(String, Model)> {
    let mut all = vec![("runs".to_owned(), fixture::model(size))];
    let with = |name: &str, keys: &str, mut m: Model| {
        fixture::keys(&mut m, keys);
        (name.to_owned(), m)
    };
    all.push(with("filter", "/ d i g", fixture::model(size)));
    for (name, keys) in [
        ("filter-offers", "/ s t a t e : s t tab"),
        ("filter-mistake", "/ d i g space s t a t : x"),
        ("filter-none", "/ t a g : n o p e enter"),
        ("groups", "b z j j j j j"),
        ("columns", "v space j j j j space G space g"),
        ("own-columns", "v space j j j j space G space esc"),
        ("views", "V j"),
        ("palette", ": p a u s"),
        ("palette-all", ":"),
        ("palette-none", ": z z q"),
    ] {
        all.push(with(name, keys, fixture::model(size)));
    }
    let mut tagged = fixture::model(size);
    tagged.runs.selected = Some(fixture::summaries()[4].id.clone());
    all.push(with("tagged", "t", tagged));
    all.push(with("launcher", "n", fixture::model(size)));
    all.push(with("launcher-problem", "n down", fixture::model(size)));
    let mut form = with("form", "n down e", fixture::model(size));
    let problem = form.1.launcher.presets[2].problem.clone();
    let looked = |changes: &[String], problem: Option<String>| Msg::Looked {
        wanted: Wanted { preset: "dc-nas-fashion".into(), text: None, changes: changes.to_vec() },
        info: Box::new(PresetInfo {
            problem,
            costs: fixture::costs(if changes.is_empty() { &[] } else { &[("time", "about 40 s")] }),
            ..PresetInfo::default()
        }),
        settings: fixture::settings(),
    };
    update(&mut form.1, looked(&[], problem));
    all.push(form.clone());
    let mut changed = with("form-changed", "space / d a t a enter j j j space end 9 9 9 9 9 enter", form.1.clone());
    let changes = changed.1.launcher.changes.arguments("dc-nas-fashion");
    update(
        &mut changed.1,
        looked(&changes, Some("--set data.valid=50099999: data.valid: expected a whole number".into())),
    );
    all.push(changed.clone());
    all.push(with("form-typing", "space", changed.1.clone()));
    all.push(with("form-sweep", "/ l r enter v l o g : 1 e - 3 . . 1 / 4", form.1.clone()));
    all.push(with("launcher-changed", "esc", changed.1));
    all.push(with("help", "?", fixture::model(size)));
    for (name, keys) in [("tour-1", "f2"), ("tour-3", "f2 l l"), ("tour-5", "f2 l l l l")] {
        all.push(with(name, keys, fixture::model(size)));
    }
    let mut stop = fixture::model(size);
    stop.runs.selected = Some(fixture::summaries()[0].id.clone());
    all.push(with("stop", "x", stop));
    for (i, name) in ["curves", "clusters", "candidates", "ranking", "similarity", "budget", "log", "settings"]
        .into_iter()
        .enumerate()
    {
        all.push(with(name, &(i + 1).to_string(), fixture::opened(size)));
    }
    let mut marked = fixture::opened(size);
    let mark =
        |x: f64, value: &str| kiln_protocol::wire::Mark { t: 0.0, x, key: "optim.lr".into(), value: value.into() };
    marked.detail.as_mut().unwrap().curves.marks = vec![mark(20.0, "0.01"), mark(40.0, "0.002")];
    all.push(with("curves-marks", "1 z", marked.clone()));
    crate::update::open_knobs(&mut marked, &fixture::tuned());
    all.push(with("knobs", "j", marked.clone()));
    all.push(with("knobs-typing", "enter ctrl-u - 1", marked));
    all.push(with("curves-cursor", "s s h h h h h h h h c z", fixture::opened(size)));
    all.push(with("picker", "v", fixture::opened(size)));
    for (name, keys) in [("arms", "1 l h h h h h h h h h h"), ("jobs", "2 j"), ("job", "2 j enter")] {
        all.push(with(name, keys, fixture::experiment(size)));
    }
    for (name, keys) in [
        ("blocks", "2"),
        ("weights", "2 a l l b"),
        ("labels", "3"),
        ("labels-cursor", "3 l h h"),
        ("predicted", "4"),
        ("pareto", "5"),
        ("inspect", "6 j j j j j j j enter"),
        ("retrain", "6 enter t"),
    ] {
        all.push(with(name, keys, fixture::search(size)));
    }
    for (name, keys) in [
        ("scores", "2"),
        ("scores-cursor", "2 l l l"),
        ("histograms", "3 j l l"),
        ("histogram-alone", "3 j enter"),
        ("histogram-over-time", "3 j w"),
        ("samples", "4 l j"),
        ("sample-alone", "4 l enter"),
        ("pairs", "5 j"),
        ("pairs-difference", "5 l d"),
        ("picture-part", "5 + + alt-l"),
        ("layers", "6 j j"),
        ("layers-right", "6 l l l l l"),
    ] {
        all.push(with(name, keys, fixture::training(size)));
    }
    let mut street = fixture::training(size);
    let view = Box::new(View::Detections(fixture_training::street()));
    let event = Event { seq: 8100, t: fixture::NOW, body: Body::View { name: "Detections".into(), view } };
    let run = street.detail.as_ref().unwrap().id.clone();
    fixture::push(&mut street, Push::Events { run, events: vec![event] });
    all.push(with("detections", "7", street.clone()));
    all.push(with("detections-surer", "7 + + + + + + + + j l a", street));
    let mut machine = fixture::model(size);
    fixture::machine(&mut machine);
    all.push(with("machine", "Y", machine.clone()));
    all.push(with("machine-queue", "Y G k", machine));
    for (name, keys) in [
        ("compare-curves", "1 j"),
        ("compare-time", "1 b b e h h h h h s"),
        ("compare-table", "2 j l"),
        ("compare-strip", "3 j j l"),
        ("compare-importance", "4 j"),
        ("compare-nothing", "4 f"),
        ("compare-noise", "4 F"),
        ("compare-front", "5 j j"),
    ] {
        all.push(with(name, keys, fixture_compare::compared(size)));
    }
    all.push(with("marked", "space space", fixture::model(size)));
    let mut done = fixture::model(size);
    done.runs.selected = Some(fixture::summaries()[4].id.clone());
    all.push(with("outcome", "enter", done));
    all
}

fn snapshot(width: u16, height: u16) {
    for (name, m) in screens(Size { width, height }) {
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(format!("{name}-{width}x{height}"), text(&m, &look()));
        });
    }
}

#[test]
fn screens_at_80x24() {
    snapshot(80, 24);
}

#[test]
fn screens_at_200x50() {
    snapshot(200, 50);
}

#[test]
fn the_head_of_a_run_says_which_figure_it_is_however_long_names_are() {
    let mut m = fixture::opened(Size { width: 80, height: 24 });
    let id = m.detail.as_ref().unwrap().id.clone();
    let mut run = m.runs.get(&id).unwrap().clone();
    run.best = Some(kiln_protocol::run::Best {
        name: "cluster0/stage-of-the-search/valid/accuracy".into(),
        ..run.best.unwrap()
    });
    m.runs.merge(vec![run.clone()]);
    let screen = text(&m, &look());
    let head = screen.lines().nth(1).unwrap();
    let figure = crate::text::number(run.best.as_ref().unwrap().value);
    assert!(head.ends_with(&figure) && head.contains(" best cluster0/s") && head.contains("accuracy "), "{head}");

    let long = "a-preset-with-a-name-that-nobody-would-want-to-type-twice-a-day";
    run.id = kiln_protocol::RunId(format!("{long}-k3f7"));
    m.runs.merge(vec![run.clone()]);
    m.detail.as_mut().unwrap().id = run.id.clone();
    let screen = text(&m, &look());
    let header = screen.lines().next().unwrap();
    for part in ["kiln ‹ a-preset-", "-k3f7 ", "gpu ", "cpu "] {
        assert!(header.contains(part), "{part}: {header}");
    }
    assert!(!screen.contains(long));
    let wide = Model { size: Size { width: 200, height: 50 }, ..m };
    assert!(text(&wide, &look()).contains(long), "where there is room, it is whole");
}

/// Without colours, signs and characters alone tell groups and pixels apart: text shows all there is.
#[test]
fn trainings_without_colour() {
    let named = ["scores", "histograms", "samples", "sample-alone", "pairs"];
    for theme in ["dark", "light"] {
        for (name, m) in screens(Size { width: 80, height: 24 }) {
            // What the background changes is the pictures.
            if !named.contains(&name.as_str()) || (theme == "light" && name != "samples") {
                continue;
            }
            insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
                let drawn = text(&m, &Look::plain(theme, Depth::None, false));
                insta::assert_snapshot!(format!("{name}-{theme}-plain-80x24"), drawn);
            });
        }
    }
}

#[test]
fn every_screen_draws_at_every_size_in_every_look() {
    for (width, height) in SIZES {
        for (name, m) in screens(Size { width, height }) {
            for depth in [Depth::None, Depth::Ansi16, Depth::Ansi256, Depth::True] {
                for ascii in [false, true] {
                    let drawn = text(&m, &Look::plain("light", depth, ascii));
                    assert_eq!(drawn.lines().count(), usize::from(height), "{name}");
                }
            }
        }
    }
}

#[test]
fn ascii_screens_are_ascii_but_for_names() {
    for (name, m) in screens(Size { width: 80, height: 24 }) {
        let drawn = text(&m, &Look::plain("dark", Depth::None, true));
        let odd: String = drawn.chars().filter(|c| !c.is_ascii() && !"größe日本±·°".contains(*c)).collect();
        assert_eq!(odd, "", "{name}\n{drawn}");
    }
}

/// Everything that may come from a worker at its worst.
pub(crate) fn odd_views() -> Vec<(String, View)> {
    let nan = f64::NAN;
    let mut views = fixture::views();
    for (_, view) in &mut views {
        match view {
            View::Clusters(c) => {
                c.points[0].x = nan;
                c.points[1].y = f64::INFINITY;
                c.points[2].cluster = Some(4_000_000_000);
                c.centroids.push([nan, nan]);
                c.names.truncate(1);
                c.title = "日本語\n\u{1b}[31mred".repeat(9);
            }
            View::Candidates(t) => {
                t.rows[0].cells = vec![Some(nan), Some(f64::NEG_INFINITY)];
                t.rows[1].cells = vec![Some(1e300); 9];
                t.rows[2].glyph = vec![kiln_protocol::view::GlyphBar { height: f32::NAN, class: '日' }; 500];
                t.rows[3].arch = "ü".repeat(500);
            }
            View::Scatter(s) => {
                s.groups[0].trend = Some([nan, f64::INFINITY]);
                s.groups[1].points[0] = [nan, 1.0];
                s.groups[2].labels.clear();
            }
            View::Matrix(m) => {
                m.values[0] = vec![];
                m.values[1][1] = Some(nan);
                m.values[2][2] = None;
                m.breaks = vec![0, 1, 1, 999];
                m.row_labels.truncate(3);
            }
            View::Table(t) => t.rows.push(vec!["more".into(); 12]),
            _ => unreachable!("views of searches and trainings"),
        }
    }
    views.extend(odd_searches());
    views.extend(odd_trainings());
    views.extend([
        ("no clusters".into(), View::Clusters(Clusters::default())),
        ("no candidates".into(), View::Candidates(Candidates::default())),
        ("no points".into(), View::Scatter(Scatter::default())),
        ("no matrix".into(), View::Matrix(Matrix::default())),
        ("one cell".into(), View::Matrix(Matrix { values: vec![vec![Some(1.0)]], ..Matrix::default() })),
        ("no table".into(), View::Table(kiln_protocol::run::Table::default())),
    ]);
    views
}

/// The same of searches.
fn odd_searches() -> Vec<(String, View)> {
    let nan = f64::NAN;
    let mut blocks = fixture_search::blocks();
    blocks.blocks[0].weights = vec![Some(nan), Some(-1.0), None];
    blocks.blocks[1].weights.clear();
    blocks.blocks[2].name = "日本語".repeat(9);
    blocks.blocks[3].name = String::new();
    blocks.blocks[4].chosen = Some("an operation of another space".into());
    blocks.blocks[5].chosen = None;
    blocks.blocks[6].lesion = Some(f64::INFINITY);
    blocks.blocks[7].params = u64::MAX;
    blocks.gauges[0].limit = 0.0;
    blocks.gauges[0].sampled = Some([nan, f64::INFINITY, -1.0]);
    blocks.gauges[1].limit = nan;
    let mut many = fixture_search::blocks();
    many.blocks = many.blocks.iter().cycle().take(400).cloned().collect();
    many.ops = (0..90).map(|i| format!("operation{i}")).collect();
    let mut lines = fixture_search::labels();
    lines.lines[0].points[0] = [nan, 1.0, 1.0];
    lines.lines[1].points[1] = [0.0, f64::INFINITY, nan];
    lines.lines[2].points[2][2] = f64::INFINITY;
    lines.lines[3].points.clear();
    let mut dense = fixture_search::labels();
    dense.log_x = false;
    for line in &mut dense.lines {
        line.points = (0..500).map(|i| [f64::from(i), f64::from(i).sqrt(), 1.0]).collect();
    }
    let mut scatter = fixture_search::predicted();
    scatter.groups[0].points[0] = [nan, nan];
    scatter.groups[1].joined = true;
    scatter.groups[1].points[3] = [f64::INFINITY, 0.9];
    scatter.groups[1].ids = vec![4_000_000_000];
    scatter.edges = vec![[0, 1], [7, u32::MAX], [2, 2], [3, 4]];
    vec![
        ("odd blocks".into(), View::BlockImportance(blocks)),
        ("many blocks".into(), View::BlockImportance(many)),
        ("no blocks".into(), View::BlockImportance(BlockImportance::default())),
        ("odd lines".into(), View::Lines(lines)),
        ("dense lines".into(), View::Lines(dense)),
        ("no lines".into(), View::Lines(Lines::default())),
        ("odd scatter".into(), View::Scatter(scatter)),
    ]
}

/// The same of trainings.
fn odd_trainings() -> Vec<(String, View)> {
    let nan = f64::NAN;
    let group = |name: &str, counts: &[f64]| HistogramGroup { name: name.into(), counts: counts.to_vec() };
    let panel =
        |name: &str, edges: &[f64], groups| Panel { name: name.into(), edges: edges.to_vec(), groups, marks: vec![] };
    let mut scores = fixture_training::scores();
    scores.panels[0].groups[0].counts[3] = nan;
    scores.panels[0].groups[1].counts[4] = f64::INFINITY;
    let mark = |name: &str, x| HistogramMark { name: name.into(), x };
    scores.panels[0].marks =
        vec![mark("nowhere", nan), mark(&"far ".repeat(50), 1e300), mark("", -1e300), mark("日本", 0.5)];
    let panels = vec![
        panel("no bins", &[], vec![group("a", &[])]),
        panel("no groups", &[0.0, 1.0], vec![]),
        panel("no number", &[0.0, nan], vec![group("a", &[1.0])]),
        panel("falling", &[2.0, 1.0, 0.0], vec![group("a", &[1.0, 1.0])]),
        panel("one bin", &[0.0, 1.0], vec![group("a", &[5.0])]),
        panel("no width", &[3.0, 3.0], vec![group("a", &[5.0]), group("b", &[4.0])]),
        panel("all zero", &[0.0, 1.0, 2.0], vec![group("a", &[0.0, 0.0])]),
        panel("ragged", &[0.0, 1.0, 2.0], vec![group("a", &[1.0, 2.0, 3.0]), group("b", &[])]),
        panel("the whole range", &[-f64::MAX, f64::MAX], vec![group("a", &[f64::MAX])]),
        panel(&"日本語".repeat(30), &[0.0, 1.0, 2.0], (0..12).map(|i| group(&format!("group {i}"), &[1.0])).collect()),
    ];
    let odd = Histograms { title: "odd\u{1b}[31m".into(), panels: panels.clone(), ..Histograms::default() };
    let many = Histograms { panels: panels.into_iter().cycle().take(120).collect(), ..Histograms::default() };
    let mut images = fixture_training::pairs();
    images.pictures[0].pixels = "?".into();
    images.pictures[1].width = u32::MAX;
    images.pictures[2].channels = 2;
    images.pictures[3] = Picture::new("日本語".repeat(30), 1, 200, 1, &[77; 200]);
    images.columns = u32::MAX;
    let broken = Images { pictures: images.pictures[..3].to_vec(), columns: 1, ..Images::default() };
    let single = Images { pictures: vec![Picture::new("", 1, 1, 3, &[1, 2, 3])], columns: 7, ..Images::default() };
    let mut layers = fixture_training::layers();
    layers.rows[0].cells = vec![Some(nan), Some(f64::INFINITY), Some(-1e300)];
    layers.rows[1].cells = vec![Some(1e300); 40];
    layers.rows[2].name = "日本語".repeat(30);
    layers.rows[3].cells.clear();
    layers.columns[2].full = Some(nan);
    layers.columns[4].full = Some(0.0);
    layers.columns[5].full = Some(-1.0);
    layers.columns[5].decimals = 255;
    layers.columns[3].name = String::new();
    let bare = Layers { rows: layers.rows.clone(), ..Layers::default() };
    let mut found = fixture_training::street();
    found.classes.truncate(1);
    found.scenes[0].found.extend(
        [[nan; 4], [-1e9, -1e9, 2e9, 2e9], [3.0, 3.0, -2.0, 0.0], [63.9, 47.9, 0.1, 0.1], [1e300, 0.0, 1e300, 1.0]]
            .map(|place| Detection { class: 4_000_000_000, score: Some(nan), place }),
    );
    let mut broken_scene = fixture_training::street();
    broken_scene.scenes[0].picture.pixels = "no base64".into();
    vec![
        ("odd scores".into(), View::Histogram(scores)),
        ("odd panels".into(), View::Histogram(odd)),
        ("many panels".into(), View::Histogram(many)),
        ("no panels".into(), View::Histogram(Histograms::default())),
        ("odd pictures".into(), View::Images(images)),
        ("broken pictures".into(), View::Images(broken)),
        ("one pixel".into(), View::Images(single)),
        ("no pictures".into(), View::Images(Images::default())),
        ("odd boxes".into(), View::Detections(found)),
        ("no picture".into(), View::Detections(broken_scene)),
        ("no scenes".into(), View::Detections(Detections::default())),
        ("odd layers".into(), View::Layers(layers)),
        ("no columns".into(), View::Layers(bare)),
        ("no layers".into(), View::Layers(Layers::default())),
    ]
}

#[test]
fn odd_data_draws_at_every_size() {
    for (width, height) in SIZES {
        let mut m = fixture::opened(Size { width, height });
        let run = m.detail.as_ref().unwrap().id.clone();
        let event = |seq: u64, body| Event { seq: 5000 + seq, t: f64::NAN, body };
        let mut events: Vec<Event> = odd_views()
            .into_iter()
            .enumerate()
            .map(|(i, (name, view))| event(i as u64, Body::View { name, view: Box::new(view) }))
            .collect();
        for (i, value) in [f64::NAN, f64::INFINITY, -1e308, 1e308, 0.0].into_iter().enumerate() {
            let points = vec![[59.0 + i as f64, value], [f64::NAN, 1.0]];
            events.push(event(100 + i as u64, Body::Points { series: "train/loss".into(), points: points.clone() }));
            events.push(event(200 + i as u64, Body::Points { series: format!("odd{i}"), points }));
        }
        let message = "\u{1b}[2J\t日本語\r\n".repeat(50);
        events.push(event(300, Body::Log { level: Level::Error, message }));
        fixture::push(&mut m, Push::Events { run, events });
        let tabs = m.detail.as_ref().unwrap().tabs();
        assert!(tabs.len() > 12);
        for tab in tabs {
            m.detail.as_mut().unwrap().tab = tab.clone();
            for keys in [
                "tab backtab",
                "y",
                "s",
                "+ h h",
                "right down down up left",
                "a right down b",
                "pgdn end home",
                "0 y",
                "z j l",
                "pgdn z",
            ] {
                if tab != Tab::Log || keys != "s" {
                    fixture::keys(&mut m, keys);
                }
                text(&m, &look());
            }
        }
    }
}

#[test]
fn no_data_and_one_point_draw() {
    for (width, height) in SIZES {
        let size = Size { width, height };
        let mut m = Model::new(vec![], Start::Auto, true, size, fixture::NOW);
        text(&m, &look());
        update(&mut m, Msg::Disconnected { reason: "no engine is running".into(), retry: 2.0 });
        text(&m, &look());
        let mut m = fixture::opened(size);
        let detail = m.detail.as_mut().unwrap();
        detail.views.clear();
        detail.curves = crate::model::curves::Curves::default();
        text(&m, &look());
        m.detail.as_mut().unwrap().curves.set_series(vec![SeriesInfo {
            name: "x".into(),
            points: 0,
            first_x: 0.0,
            last_x: 0.0,
            last_y: None,
            x_max: None,
            x_unit: "steps".into(),
        }]);
        text(&m, &look());
        m.detail.as_mut().unwrap().curves.take("x", &[[0.0, 0.5]]);
        update(&mut m, Msg::Tick(fixture::NOW));
        text(&m, &look());
    }
}

/// What frames write to a terminal.
#[derive(Clone, Default)]
struct Out(std::rc::Rc<std::cell::RefCell<Vec<u8>>>);

impl std::io::Write for Out {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Bytes of a frame for each message, after a first frame of the model as it is.
fn bytes_a_frame(m: &mut Model, pushes: Vec<Push>) -> Vec<String> {
    use ratatui::backend::CrosstermBackend;
    use ratatui::{Terminal, TerminalOptions, Viewport};

    let out = Out::default();
    let viewport = Viewport::Fixed(Rect::new(0, 0, m.size.width, m.size.height));
    let backend = CrosstermBackend::new(crate::term::Frames::new(out.clone()));
    let mut terminal = Terminal::with_options(backend, TerminalOptions { viewport }).unwrap();
    crate::app::draw(&mut terminal, m, &look()).unwrap();
    assert!(out.0.borrow().len() > 1000);
    let mut frame = |push| {
        fixture::push(m, push);
        out.0.borrow_mut().clear();
        crate::app::draw(&mut terminal, m, &look()).unwrap();
        String::from_utf8_lossy(&out.0.borrow()).into_owned()
    };
    pushes.into_iter().map(&mut frame).collect()
}

#[test]
fn one_more_point_costs_at_most_150_bytes() {
    for (width, height) in [(80, 24), (200, 50)] {
        let mut m = fixture::opened(Size { width, height });
        let run = m.detail.as_ref().unwrap().id.clone();
        let point = |i: i32| {
            let x = f64::from(i);
            let points = vec![[x, fixture::curve("valid/accuracy", x)]];
            let body = Body::Points { series: "valid/accuracy".into(), points };
            Push::Events { run: run.clone(), events: vec![Event { seq: 9000 + i as u64, t: fixture::NOW, body }] }
        };
        for frame in bytes_a_frame(&mut m, (59..100).map(point).collect()) {
            assert!(frame.len() > 30 && frame.len() <= 150, "{} bytes: {frame:?}", frame.len());
        }
    }
}

#[test]
fn a_sheet_of_pictures_costs_bytes_only_where_it_changes() {
    let size = Size { width: 80, height: 24 };
    let mut m = fixture::training(size);
    fixture::keys(&mut m, "4");
    let run = m.detail.as_ref().unwrap().id.clone();
    let push = |seq, name: &str, view| {
        let body = Body::View { name: name.into(), view: Box::new(view) };
        Push::Events { run: run.clone(), events: vec![Event { seq, t: fixture::NOW, body }] }
    };
    let same = || View::Images(fixture_training::samples());
    let mut one = fixture_training::samples();
    let noise = |i: usize| Picture::new("", 16, 16, 1, &(0..256).map(|n| (n * 7 + i) as u8).collect::<Vec<_>>());
    one.pictures[0] = noise(0);
    let mut all = fixture_training::samples();
    all.pictures.iter_mut().enumerate().for_each(|(i, picture)| *picture = noise(i + 1));
    let pushes = vec![
        push(8000, "Samples", same()),
        push(8001, "Layers", View::Layers(fixture_training::layers())),
        push(8002, "Samples", View::Images(one)),
        push(8003, "Samples", View::Images(all)),
    ];
    let bytes: Vec<usize> = bytes_a_frame(&mut m, pushes).iter().map(String::len).collect();
    assert!(bytes[0] < 50 && bytes[1] < 50, "nothing has changed on the screen but a frame was begun: {bytes:?}");
    // Two colours and a half-block are up to 41 bytes, and a place now and then; a picture of 16 pixels has 128 cells, and
    // four are in view.
    assert!(bytes[2] > 1000 && bytes[2] < 128 * 41 + 500, "{bytes:?}");
    assert!(bytes[3] > bytes[2] && bytes[3] < 4 * (128 * 41 + 500), "{bytes:?}");
}

#[test]
fn edges_join_their_points_whichever_lies_further_left() {
    let size = Size { width: 80, height: 24 };
    let drawn = |edges: Vec<[u32; 2]>| {
        let mut m = fixture::search(size);
        let group =
            |name: &str, point| ScatterGroup { name: name.into(), points: vec![point], ..ScatterGroup::default() };
        let groups = vec![group("a", [1.0, 1.0]), group("b", [0.0, 0.0]), group("c", [1.0, 0.0])];
        m.detail.as_mut().unwrap().views =
            vec![("Graph".into(), View::Scatter(Scatter { groups, edges, ..Scatter::default() }))];
        fixture::keys(&mut m, "2");
        text(&m, &look()).chars().filter(|c| ('\u{2801}'..='\u{28ff}').contains(c)).count()
    };
    assert_eq!(drawn(vec![]), 0);
    let (one, two) = (drawn(vec![[0, 1]]), drawn(vec![[0, 1], [1, 2]]));
    assert!(one > 20 && two > one + 20, "{one} {two}");
}

#[test]
fn a_long_list_of_runs_draws_only_what_is_in_view() {
    let size = Size { width: 80, height: 24 };
    let mut m = fixture::model(size);
    let many: Vec<_> = (0..5000)
        .map(|i| {
            let mut run = fixture::summaries()[i % 8].clone();
            run.id = kiln_protocol::RunId(format!("run-{i:05}"));
            run
        })
        .collect();
    m.runs.replace(many);
    fixture::keys(&mut m, "end");
    let drawn = text(&m, &look());
    assert!(drawn.matches("run-0").count() <= 24);
}

#[test]
fn a_lost_connection_is_told_and_the_last_state_stays() {
    let mut m = fixture::opened(Size { width: 80, height: 24 });
    update(&mut m, Msg::Disconnected { reason: "the engine closed the connection".into(), retry: 4.0 });
    let drawn = text(&m, &look());
    assert!(drawn.contains("no engine") && drawn.contains("trying again in 4s"), "{drawn}");
    assert!(drawn.contains("the engine closed the connection"), "{drawn}");
    assert!(drawn.contains("0.9612") && drawn.contains("running"), "{drawn}");
}

/// A message takes a line that is empty anyway: nothing that was on the screen goes.
#[test]
fn a_message_covers_nothing_at_80x24() {
    let size = Size { width: 80, height: 24 };
    let lines = |screen: &str| screen.lines().map(str::to_owned).collect::<Vec<_>>();
    for (name, mut m) in screens(size).into_iter().filter(|(_, m)| m.overlay.is_none()) {
        let before = lines(&text(&m, &look()));
        m.note(Level::Error, format!("rnd-4jx9 has failed: {}", "its worker was killed. ".repeat(9)));
        let after = lines(&text(&m, &look()));
        let changed: Vec<usize> = (0..24).filter(|i| before[*i] != after[*i]).collect();
        assert_eq!(changed.len(), 1, "{name}");
        assert_eq!(before[changed[0]], "", "{name}");
        assert!(after[changed[0]].starts_with(" ✗ rnd-4jx9 has failed: its worker"), "{name}: {after:#?}");
        assert!(after[changed[0]].ends_with("…  i more"), "{name}: {after:#?}");
    }
    // In full where the hint leads.
    let mut m = fixture::opened(size);
    m.note(Level::Error, format!("a {} z", "long ".repeat(60)));
    m.now += 100.0;
    fixture::keys(&mut m, "i");
    let read = text(&m, &look());
    assert!(read.contains("Messages") && read.contains(" z "), "{read}");
}

#[test]
fn an_engine_that_never_came_says_why_in_full() {
    let mut m = Model::new(vec![], Start::Auto, true, Size { width: 80, height: 24 }, fixture::NOW);
    let reason = format!("the folder {} cannot be written; set KILN_HOME", "/a/long/path".repeat(9));
    update(&mut m, Msg::Disconnected { reason, retry: 4.0 });
    assert!(text(&m, &look()).contains("set KILN_HOME"), "{}", text(&m, &look()));
}

#[test]
fn a_long_name_leaves_room_for_the_bar_and_its_heading() {
    let size = Size { width: 80, height: 24 };
    let mut m = fixture::model(size);
    let mut runs = fixture::summaries();
    runs[0].id = kiln_protocol::RunId("hournas-fashion-claim-with-a-long-name-k3f7".into());
    m.runs.replace(runs);
    fixture::keys(&mut m, "s s");
    let drawn = text(&m, &look());
    assert!(drawn.contains("done") && drawn.contains("━━"), "{drawn}");
    assert!(drawn.contains("hournas-f") && drawn.contains("-k3f7"), "both ends of the name: {drawn}");
    // States have no column here: their signs are what is sorted.
    let heading = drawn.lines().find(|l| l.contains(" run ")).unwrap();
    assert!(heading.starts_with(" ▴") || heading.starts_with(" ▾"), "{drawn}");
    let narrow = Size { width: 44, height: 24 };
    update(&mut m, Msg::Resize(narrow.width, narrow.height));
    assert!(text(&m, &look()).contains("done"), "over the figures, where there are no bars");
}

#[test]
fn an_experiment_stands_for_its_arms_not_for_its_luckiest_job() {
    for size in [Size { width: 80, height: 24 }, Size { width: 200, height: 50 }] {
        let mut m = fixture::experiment(size);
        let id = kiln_protocol::RunId(fixture::EXPERIMENT.into());
        let lucky = crate::text::number(m.runs.get(&id).unwrap().best.as_ref().unwrap().value);
        // Digits at this height are drawn large, with the name above them.
        assert!(!text(&m, &look()).contains("valid/accuracy"), "no figure while there is no outcome: {lucky}");
        let name = "clusters/accuracy/mean".to_owned();
        let outcome = kiln_protocol::Outcome {
            verdict: "The arms differ.".into(),
            figures: [(name.clone(), Some(0.9899))].into(),
            headline: vec![kiln_protocol::run::Figure::new(&name, true)],
            ..kiln_protocol::Outcome::default()
        };
        m.detail.as_mut().unwrap().outcome = Some(outcome);
        let drawn = text(&m, &look());
        assert!(drawn.contains("mean accuracy of clusters") && !drawn.contains(&lucky), "{drawn}");
        fixture::keys(&mut m, "esc");
        let drawn = text(&m, &look());
        // The list has the best of its jobs, as `kiln show` says it.
        let row = drawn.lines().find(|line| line.contains(fixture::EXPERIMENT)).unwrap();
        assert!(drawn.contains("seeds 1, 2, 3") && row.contains(&lucky), "{drawn}");
    }
}
