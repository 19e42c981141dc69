//! Plots as files: a [`Scene`] of simple shapes, written as SVG or painted as PNG, so that both show the same.
//!
//! - [`chart`]: curves with axes, a legend, bands and marks
//! - [`figures`]: the other kinds of view: scatter, bars, heat maps, pictures
//! - [`svg`], [`png`]: the two ways out
//! - [`font`]: how wide a text is, and its outlines

pub mod chart;
pub mod figures;
pub mod font;
pub mod png;
pub mod svg;

pub use chart::{Chart, Curve, Mark};

/// A drawing. Lengths are CSS pixels, y grows downwards.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scene {
    pub width: f32,
    pub height: f32,
    /// Later ones cover earlier ones.
    pub shapes: Vec<Shape>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// A line through two and more points.
    Line {
        points: Vec<[f32; 2]>,
        ink: Ink,
        width: f32,
        dash: &'static [f32],
    },
    /// A filled polygon; `opacity` 0 to 1.
    Area {
        points: Vec<[f32; 2]>,
        ink: Ink,
        opacity: f32,
    },
    Rect {
        x: f32,
        y: f32,
        width: f32,
        height: f32,
        ink: Ink,
        label: String,
    },
    /// `label` is what hovering shows, where the medium can.
    Dot {
        x: f32,
        y: f32,
        radius: f32,
        ink: Ink,
        label: String,
    },
    /// `y` is the base line; turned by a quarter anticlockwise if `up`.
    Text {
        x: f32,
        y: f32,
        text: String,
        size: f32,
        anchor: Anchor,
        ink: Ink,
        bold: bool,
        up: bool,
    },
    /// RGB pixels, `columns * rows * 3` bytes, drawn without smoothing.
    Pixels {
        x: f32,
        y: f32,
        width: f32,
        height: f32,
        columns: u32,
        rows: u32,
        rgb: Vec<u8>,
    },
}

/// Which end of a text its x means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// A colour by its role.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ink {
    Paper,
    Text,
    Dim,
    Grid,
    /// The n-th of several curves or groups.
    Series(usize),
    /// From little (0) to much (1) on a scale that is also in order for the colour-blind and in grey.
    Heat(f64),
}

/// What the roles look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Palette {
    pub paper: [u8; 3],
    pub text: [u8; 3],
    pub dim: [u8; 3],
    pub grid: [u8; 3],
    pub series: [[u8; 3]; SERIES],
}

/// Colours of curves before they come again; [`dash`] then tells them apart.
pub const SERIES: usize = 7;

/// Okabe and Ito's colours, which nearly everybody tells apart, without their yellow, which white paper swallows.
pub const LIGHT: Palette = Palette {
    paper: [255, 255, 255],
    text: [31, 35, 40],
    dim: [101, 109, 118],
    grid: [225, 228, 232],
    series: [
        [0, 114, 178],
        [213, 94, 0],
        [0, 158, 115],
        [204, 121, 167],
        [230, 159, 0],
        [86, 180, 233],
        [110, 110, 110],
    ],
};

/// The same on dark paper; the blue is lighter.
pub const DARK: Palette = Palette {
    paper: [13, 17, 23],
    text: [230, 237, 243],
    dim: [139, 148, 158],
    grid: [38, 44, 54],
    series: [
        [76, 160, 230],
        [232, 124, 44],
        [30, 190, 145],
        [222, 150, 190],
        [230, 175, 40],
        [130, 205, 245],
        [165, 165, 165],
    ],
};

impl Palette {
    pub fn rgb(&self, ink: Ink) -> [u8; 3] {
        match ink {
            Ink::Paper => self.paper,
            Ink::Text => self.text,
            Ink::Dim => self.dim,
            Ink::Grid => self.grid,
            Ink::Series(n) => self.series[n % SERIES],
            Ink::Heat(share) => heat(share),
        }
    }
}

/// Stops of the scale for heat maps: viridis, at equal distances.
const VIRIDIS: [[f64; 3]; 6] = [
    [68.0, 1.0, 84.0],
    [65.0, 68.0, 135.0],
    [42.0, 120.0, 142.0],
    [34.0, 168.0, 132.0],
    [122.0, 209.0, 81.0],
    [253.0, 231.0, 37.0],
];

fn heat(share: f64) -> [u8; 3] {
    let last = VIRIDIS.len() - 1;
    let at = if share.is_finite() { share.clamp(0.0, 1.0) * last as f64 } else { 0.0 };
    let below = (at as usize).min(last - 1);
    let part = at - below as f64;
    let mix = |i: usize| VIRIDIS[below][i] * (1.0 - part) + VIRIDIS[below + 1][i] * part;
    [mix(0), mix(1), mix(2)].map(|v| v.round() as u8)
}

/// How the n-th curve is dashed: whole lines as long as there are colours.
pub fn dash(n: usize) -> &'static [f32] {
    const DASHES: [&[f32]; 4] = [&[], &[6.0, 3.0], &[2.0, 2.0], &[8.0, 3.0, 2.0, 3.0]];
    DASHES[n / SERIES % DASHES.len()]
}

impl Scene {
    pub fn new(width: f32, height: f32) -> Scene {
        Scene { width, height, shapes: Vec::new() }
    }

    /// Several drawings one below the other, as wide as the widest.
    pub fn stacked(scenes: Vec<Scene>) -> Scene {
        Scene::in_columns(scenes, 1)
    }

    /// Several drawings, row after row, in as many columns as make the whole about as wide as high; up to three stay below one
    /// another.
    pub fn tiled(scenes: Vec<Scene>) -> Scene {
        let most = |of: fn(&Scene) -> f32| scenes.iter().map(of).fold(1.0, f32::max);
        let even = (scenes.len() as f32 * most(|s| s.height) / most(|s| s.width)).sqrt().round();
        let columns = if scenes.len() > 3 { even.max(1.0) as usize } else { 1 };
        Scene::in_columns(scenes, columns)
    }

    fn in_columns(scenes: Vec<Scene>, columns: usize) -> Scene {
        const GAP: f32 = 18.0;
        let width = scenes.iter().map(|s| s.width).fold(0.0, f32::max);
        let mut all = Scene::new(0.0, 0.0);
        let mut top = 0.0;
        for (i, scene) in scenes.into_iter().enumerate() {
            let column = i % columns;
            if column == 0 && i > 0 {
                top = all.height + GAP;
            }
            let right = column as f32 * (width + GAP);
            (all.width, all.height) = (all.width.max(right + width), all.height.max(top + scene.height));
            all.shapes.extend(scene.shapes.into_iter().map(|shape| shape.moved(right, top)));
        }
        all
    }

    pub fn line(&mut self, points: Vec<[f32; 2]>, ink: Ink, width: f32) {
        self.shapes.push(Shape::Line { points, ink, width, dash: &[] });
    }

    /// A text in the usual size.
    pub fn text(&mut self, at: [f32; 2], text: impl Into<String>, anchor: Anchor, ink: Ink) {
        let [x, y] = at;
        self.shapes.push(Shape::Text { x, y, text: text.into(), size: SIZE, anchor, ink, bold: false, up: false });
    }

    pub fn heading(&mut self, at: [f32; 2], text: impl Into<String>) {
        let [x, y] = at;
        let (size, anchor, ink) = (HEADING, Anchor::Start, Ink::Text);
        self.shapes.push(Shape::Text { x, y, text: text.into(), size, anchor, ink, bold: true, up: false });
    }
}

/// Sizes of text.
pub const SIZE: f32 = 11.0;
pub const HEADING: f32 = 13.0;

impl Shape {
    fn moved(mut self, right: f32, down: f32) -> Shape {
        match &mut self {
            Shape::Line { points, .. } | Shape::Area { points, .. } => {
                for point in points {
                    *point = [point[0] + right, point[1] + down];
                }
            }
            Shape::Rect { x, y, .. }
            | Shape::Dot { x, y, .. }
            | Shape::Text { x, y, .. }
            | Shape::Pixels { x, y, .. } => (*x, *y) = (*x + right, *y + down),
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heat_rises_and_ends_where_it_should() {
        assert_eq!((heat(0.0), heat(1.0), heat(f64::NAN)), ([68, 1, 84], [253, 231, 37], [68, 1, 84]));
        let light = |rgb: [u8; 3]| 0.2126 * f64::from(rgb[0]) + 0.7152 * f64::from(rgb[1]) + 0.0722 * f64::from(rgb[2]);
        let lights: Vec<f64> = (0..=20).map(|i| light(heat(f64::from(i) / 20.0))).collect();
        assert!(lights.is_sorted_by(|a, b| a < b), "{lights:?}");
    }

    #[test]
    fn more_curves_than_colours_are_dashed() {
        assert!(dash(SERIES - 1).is_empty() && !dash(SERIES).is_empty());
        assert_eq!(LIGHT.rgb(Ink::Series(1)), LIGHT.rgb(Ink::Series(1 + SERIES)));
    }

    #[test]
    fn scenes_stand_one_below_the_other() {
        let mut one = Scene::new(10.0, 20.0);
        one.line(vec![[0.0, 0.0], [1.0, 1.0]], Ink::Text, 1.0);
        let all = Scene::stacked(vec![one.clone(), one]);
        assert_eq!((all.width, all.height), (10.0, 58.0));
        let Shape::Line { points, .. } = &all.shapes[1] else { panic!("{all:?}") };
        assert_eq!(points, &[[0.0, 38.0], [1.0, 39.0]]);
    }

    #[test]
    fn many_scenes_fill_a_square_row_after_row() {
        let scenes = |n: u16| {
            (0..n).map(|i| {
                let mut one = Scene::new(20.0, 20.0);
                one.line(vec![[f32::from(i), 0.0]], Ink::Text, 1.0);
                one
            })
        };
        let all = Scene::tiled(scenes(5).collect());
        assert_eq!((all.width, all.height), (58.0, 3.0 * 20.0 + 2.0 * 18.0), "two columns, three rows");
        let places: Vec<[f32; 2]> = all
            .shapes
            .iter()
            .map(|shape| if let Shape::Line { points, .. } = shape { points[0] } else { panic!("{shape:?}") })
            .collect();
        assert_eq!(places, [[0.0, 0.0], [39.0, 0.0], [2.0, 38.0], [41.0, 38.0], [4.0, 76.0]]);
        let few = Scene::tiled(scenes(3).collect());
        assert_eq!((few.width, few.height), (20.0, 96.0));
        assert_eq!(Scene::tiled(Vec::new()).height, 0.0);
    }
}
