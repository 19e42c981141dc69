//! Numbers of few bits as planes of bits, and the convolution of such by XNOR, AND and counting.
//!
//! A weight of `B` bits is an odd number from `-(2^B - 1)` to `2^B - 1`: the sum of `2^i s_i` with signs `s_i` of -1 or +1,
//! one a plane (bit 1 for +1). A feature of one bit is such a sign; one of more bits is a number from 0 to `2^B - 1`, the sum
//! of `2^j b_j` with plain bits. With `n` channels and `|x|` the ones of `x`, planes multiply as
//!
//! - sign by sign: `n - 2 |s xor t|`
//! - sign by bit: `2 |s and b| - |b|`

use super::{Bits, Unit};

/// Planes of bits over places, such as the pixels of a map: for each place `channels` bits, in words of 64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planes {
    channels: usize,
    words: usize,
    places: usize,
    data: Vec<u64>,
}

impl Planes {
    /// All bits 0.
    pub fn new(planes: usize, places: usize, channels: usize) -> Planes {
        let words = channels.div_ceil(64);
        Planes { channels, words, places, data: vec![0; planes * places * words] }
    }

    /// Sets a bit to 1.
    pub fn set(&mut self, plane: usize, place: usize, channel: usize) {
        let word = (plane * self.places + place) * self.words + channel / 64;
        self.data[word] |= 1 << (channel % 64);
    }

    /// Puts a whole number from 0 to `2^planes - 1`.
    pub fn put(&mut self, planes: usize, place: usize, channel: usize, value: u32) {
        for plane in (0..planes).filter(|plane| value >> plane & 1 == 1) {
            self.set(plane, place, channel);
        }
    }

    fn row(&self, plane: usize, place: usize) -> &[u64] {
        let at = (plane * self.places + place) * self.words;
        &self.data[at..at + self.words]
    }
}

/// Weights of a unit `[out, channels, k, k]` from their bits in a file: plane by plane, output by output, tap by tap (rows
/// first), channel by channel, the lowest bit of a byte first.
pub fn weights(bytes: &[u8], bits: Bits, out: usize, channels: usize, taps: usize) -> Planes {
    let planes = usize::from(bits.weights);
    let mut packed = Planes::new(planes, out * taps, channels);
    let mut at = 0;
    for plane in 0..planes {
        for place in 0..out * taps {
            for channel in 0..channels {
                if bytes.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1) {
                    packed.set(plane, place, channel);
                }
                at += 1;
            }
        }
    }
    packed
}

/// The bits of weights for a file, in the order of [`weights`]. `values` are the odd whole numbers that stand for them, in the
/// order `[out, channels, k, k]`.
pub fn pack(values: &[i8], bits: Bits, out: usize, channels: usize, taps: usize) -> Vec<u8> {
    let planes = usize::from(bits.weights);
    let mut bytes = vec![0; (planes * out * channels * taps).div_ceil(8)];
    let top = bits.weight_top() as i32;
    let mut at = 0;
    for plane in 0..planes {
        for o in 0..out {
            for tap in 0..taps {
                for channel in 0..channels {
                    let value = i32::from(values[(o * channels + channel) * taps + tap]);
                    // The sum of 2^i s_i is 2 sum of 2^i b_i, less the sum of all 2^i.
                    if ((value + top) / 2) >> plane & 1 == 1 {
                        bytes[at / 8] |= 1 << (at % 8);
                    }
                    at += 1;
                }
            }
        }
    }
    bytes
}

/// A map of quantised features, with one more place that stands for everything around it.
pub struct Features {
    planes: Planes,
    bits: Bits,
    side: [usize; 2],
}

impl Features {
    /// Quantises a map of `channels` by height by width real numbers: the sign (zero counts as +1) to one bit, else the share
    /// of 0 to 1 rounded to a level (halves to even ones).
    pub fn of(map: &[f32], channels: usize, side: [usize; 2], bits: Bits) -> Features {
        let area = side[0] * side[1];
        let count = usize::from(bits.activations);
        let mut planes = Planes::new(count, area + 1, channels);
        for channel in 0..channels {
            for place in 0..area {
                let value = level(map[channel * area + place], bits);
                planes.put(count, place, channel, value);
            }
            if bits.activations == 1 && bits.pad_plus {
                planes.set(0, area, channel);
            }
        }
        Features { planes, bits, side }
    }
}

/// The level of a real number: 0 or 1 (for -1 and +1) of one bit, else from 0 to `2^B - 1`.
pub fn level(v: f32, bits: Bits) -> u32 {
    if bits.activations == 1 {
        return u32::from(v >= 0.0);
    }
    // What is no number becomes 0.
    (v.clamp(0.0, 1.0) * bits.activation_top() as f32).round_ties_even() as u32
}

/// Sums of products of a unit's weights and features: `[out, height, width]` of its output.
pub fn convolve(unit: &Unit, features: &Features, weights: &Planes) -> Vec<i32> {
    let [height, width] = features.side;
    let outside = height * width;
    let (k, stride) = (unit.kernel as usize, unit.stride as usize);
    let (taps, around) = (k * k, k / 2);
    let [rows, columns] = unit.output.map(|n| n as usize);
    let out = weights.places / taps;
    let channels = weights.channels as i32;
    let weight_planes = usize::from(features.bits.weights);
    let feature_planes = usize::from(features.bits.activations);
    let mut sums = vec![0; out * rows * columns];
    let mut places = vec![outside; taps];
    for row in 0..rows {
        for column in 0..columns {
            for (tap, place) in places.iter_mut().enumerate() {
                let y = (row * stride + tap / k).checked_sub(around).filter(|y| *y < height);
                let x = (column * stride + tap % k).checked_sub(around).filter(|x| *x < width);
                *place = y.zip(x).map_or(outside, |(y, x)| y * width + x);
            }
            for o in 0..out {
                let mut sum = 0;
                for (tap, &place) in places.iter().enumerate() {
                    for i in 0..weight_planes {
                        let signs = weights.row(i, o * taps + tap);
                        if feature_planes == 1 {
                            sum += (channels - 2 * differing(signs, features.planes.row(0, place))) << i;
                        } else {
                            for j in 0..feature_planes {
                                sum += signed(signs, features.planes.row(j, place)) << (i + j);
                            }
                        }
                    }
                }
                sums[(o * rows + row) * columns + column] = sum;
            }
        }
    }
    sums
}

/// Bits in which two rows differ.
fn differing(a: &[u64], b: &[u64]) -> i32 {
    a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones() as i32).sum()
}

/// The sum of the bits of `b`, each times the sign in `signs`.
fn signed(signs: &[u64], b: &[u64]) -> i32 {
    signs.iter().zip(b).map(|(s, b)| 2 * (s & b).count_ones() as i32 - b.count_ones() as i32).sum()
}
