//! Points as bytes. Every value comes back bit for bit; what is saved is what curves have in common.
//!
//! - A column (all x, or all y) that is a multiple of one fraction is stored as integers: x is nearly always a step over
//!   the steps of an epoch, an accuracy is hits over images. How many units in the last place the value is off, for it
//!   was computed as a sum or so, is stored beside: most often zero, which takes no room.
//! - One whose values all fit 32-bit floats is stored as such: losses come from a GPU.
//! - Anything else is stored as the bits of 64-bit floats.
//!
//! The integers (bits of floats are mapped so that their order is that of the floats) are packed in groups of 64: the
//! smallest, and for each the difference to it in just as many bits as the largest needs; or the same of the differences
//! between neighbours, where that is shorter. A spike costs its own group only.

/// Values packed with one width.
const GROUP: usize = 64;

/// Largest denominator that is looked for: a million steps an epoch.
const MAX_DENOMINATOR: u64 = 1 << 20;

/// Furthest that a value may be off its fraction, in units in the last place: a few roundings.
const MAX_OFF: i64 = 8;

/// Integers up to here are exact as floats.
const EXACT: f64 = 9_007_199_254_740_992.0;

const F64: u8 = 0;
const F32: u8 = 1;
const FRACTION: u8 = 2;

/// Appends the points: number, x column, y column.
pub(crate) fn encode(points: &[[f64; 2]], out: &mut Vec<u8>) {
    write_varint(points.len() as u64, out);
    let mut column = Vec::with_capacity(points.len());
    for axis in 0..2 {
        column.clear();
        column.extend(points.iter().map(|p| p[axis]));
        encode_column(&column, out);
    }
}

/// Reads what [`encode`] wrote from the front of `bytes`; `None` if that is not what they are.
pub(crate) fn decode(mut bytes: &[u8], points: &mut Vec<[f64; 2]>) -> Option<()> {
    let from = &mut bytes;
    let n = usize::try_from(read_varint(from)?).ok().filter(|n| *n <= 1 << 24)?;
    let x = decode_column(from, n)?;
    let y = decode_column(from, n)?;
    points.extend(x.into_iter().zip(y).map(|(x, y)| [x, y]));
    Some(())
}

fn encode_column(values: &[f64], out: &mut Vec<u8>) {
    let narrow = |v: f64| f64::from(v as f32).to_bits() == v.to_bits();
    let mut best = Vec::with_capacity(values.len() * 8);
    let ints: Vec<i64> = if values.iter().all(|v| narrow(*v)) {
        best.push(F32);
        values.iter().map(|v| i64::from(order32((*v as f32).to_bits() as i32))).collect()
    } else {
        best.push(F64);
        values.iter().map(|v| to_order64(*v)).collect()
    };
    pack(&ints, &mut best);
    if let Some(Fractions { denominator, ints, off }) = fractions(values) {
        let mut packed = vec![FRACTION];
        write_varint(denominator, &mut packed);
        pack(&ints, &mut packed);
        pack(&off, &mut packed);
        if packed.len() < best.len() {
            best = packed;
        }
    }
    out.extend_from_slice(&best);
}

fn decode_column(from: &mut &[u8], n: usize) -> Option<Vec<f64>> {
    let (&kind, rest) = from.split_first()?;
    *from = rest;
    match kind {
        F64 => Some(unpack(from, n)?.into_iter().map(from_order64).collect()),
        F32 => {
            let value = |int| f64::from(f32::from_bits(order32(int as i32) as u32));
            Some(unpack(from, n)?.into_iter().map(value).collect())
        }
        FRACTION => {
            let denominator = read_varint(from)? as f64;
            let (ints, off) = (unpack(from, n)?, unpack(from, n)?);
            let value = |(int, off): (i64, i64)| match (int as f64 / denominator, off) {
                (exact, 0) => exact,
                (near, off) => from_order64(to_order64(near).wrapping_add(off)),
            };
            Some(ints.into_iter().zip(off).map(value).collect())
        }
        _ => None,
    }
}

fn to_order64(v: f64) -> i64 {
    order64(v.to_bits() as i64)
}

fn from_order64(int: i64) -> f64 {
    f64::from_bits(order64(int) as u64)
}

/// Bits of a float to an integer of the same order, and back.
fn order64(bits: i64) -> i64 {
    bits ^ ((bits >> 63) as u64 >> 1) as i64
}

fn order32(bits: i32) -> i32 {
    bits ^ ((bits >> 31) as u32 >> 1) as i32
}

/// Values as multiples of one fraction, and how far each is off, in units in the last place.
struct Fractions {
    denominator: u64,
    ints: Vec<i64>,
    off: Vec<i64>,
}

/// The values as multiples of one fraction, if they all nearly are.
fn fractions(values: &[f64]) -> Option<Fractions> {
    let mut found = Fractions { denominator: 1, ints: Vec::new(), off: Vec::new() };
    // Each round fits the value that failed; a curve with no common fraction fails at once, for want of any.
    for _ in 0..8 {
        found.ints.clear();
        found.off.clear();
        let misfit = values.iter().find(|v| {
            let scaled = (**v * found.denominator as f64).round();
            let near = scaled / found.denominator as f64;
            let off = to_order64(**v).wrapping_sub(to_order64(near));
            found.ints.push(scaled as i64);
            found.off.push(off);
            !(scaled.abs() < EXACT && off.abs() <= MAX_OFF)
        });
        let Some(misfit) = misfit else { return Some(found) };
        let wanted = lcm(found.denominator, smallest_denominator(*misfit)?)?;
        if wanted > MAX_DENOMINATOR || wanted == found.denominator {
            return None;
        }
        found.denominator = wanted;
    }
    None
}

/// The smallest `q` for which some `p / q` is nearly `v`, by continued fraction.
fn smallest_denominator(v: f64) -> Option<u64> {
    if !v.is_finite() || v.abs() >= EXACT {
        return None;
    }
    let (mut p, mut q) = ((1.0, 0.0), (0.0, 1.0));
    let mut rest = v.abs();
    for _ in 0..32 {
        let whole = rest.floor();
        p = (whole * p.0 + p.1, p.0);
        q = (whole * q.0 + q.1, q.0);
        if q.0 > MAX_DENOMINATOR as f64 {
            return None;
        }
        if (p.0 / q.0 - v.abs()).abs() <= 4.0 * f64::EPSILON * v.abs() {
            return Some(q.0 as u64);
        }
        rest = 1.0 / (rest - whole);
    }
    None
}

fn lcm(a: u64, b: u64) -> Option<u64> {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    (a / x.max(1)).checked_mul(b)
}

fn pack(ints: &[i64], out: &mut Vec<u8>) {
    let mut before = ints.first().copied().unwrap_or(0);
    write_varint(zigzag(before), out);
    let mut deltas = [0; GROUP];
    for group in ints.chunks(GROUP) {
        for (delta, &int) in deltas.iter_mut().zip(group) {
            *delta = int.wrapping_sub(before);
            before = int;
        }
        let deltas = &deltas[..group.len()];
        let (plain, stepped) = (span(group), span(deltas));
        let (flag, (base, width), items) =
            if stepped.1 < plain.1 { (0x80, stepped, deltas) } else { (0, plain, group) };
        out.push(flag | width as u8);
        write_varint(zigzag(base), out);
        let (mut held, mut bits) = (0u128, 0);
        for int in items {
            held |= u128::from(int.wrapping_sub(base) as u64) << bits;
            bits += width;
            while bits >= 8 {
                out.push(held as u8);
                held >>= 8;
                bits -= 8;
            }
        }
        if bits > 0 {
            out.push(held as u8);
        }
    }
}

/// The smallest, and how many bits the largest difference to it has.
fn span(ints: &[i64]) -> (i64, u32) {
    let (min, max) = ints.iter().fold((i64::MAX, i64::MIN), |(lo, hi), &v| (lo.min(v), hi.max(v)));
    (min, 64 - (max.wrapping_sub(min) as u64).leading_zeros())
}

fn unpack(from: &mut &[u8], n: usize) -> Option<Vec<i64>> {
    let mut before = unzigzag(read_varint(from)?);
    // No more room than the bytes can fill: 64 values take at least two.
    if n.div_ceil(GROUP) * 2 > from.len() {
        return None;
    }
    let mut ints = Vec::with_capacity(n);
    while ints.len() < n {
        let len = GROUP.min(n - ints.len());
        let (&head, rest) = from.split_first()?;
        *from = rest;
        let width = usize::from(head & 0x7f);
        if width > 64 {
            return None;
        }
        let base = unzigzag(read_varint(from)?);
        let (packed, rest) = from.split_at_checked((len * width).div_ceil(8))?;
        *from = rest;
        // With room behind, so that each value can be taken from sixteen bytes at once.
        let mut bytes = [0; GROUP * 8 + 16];
        bytes[..packed.len()].copy_from_slice(packed);
        let mask = if width == 64 { u64::MAX } else { (1 << width) - 1 };
        for i in 0..len {
            let (at, shift) = (i * width / 8, i * width % 8);
            let mut wide = [0; 16];
            wide.copy_from_slice(&bytes[at..at + 16]);
            let int = base.wrapping_add(((u128::from_le_bytes(wide) >> shift) as u64 & mask) as i64);
            before = if head & 0x80 != 0 { before.wrapping_add(int) } else { int };
            ints.push(before);
        }
    }
    Some(ints)
}

fn zigzag(v: i64) -> u64 {
    ((v << 1) ^ (v >> 63)) as u64
}

fn unzigzag(v: u64) -> i64 {
    (v >> 1) as i64 ^ -((v & 1) as i64)
}

pub(crate) fn write_varint(mut v: u64, out: &mut Vec<u8>) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

pub(crate) fn read_varint(from: &mut &[u8]) -> Option<u64> {
    let mut v = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = from.split_first()?;
        *from = rest;
        v |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(v);
        }
    }
    None
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Numbers that look random and are the same each time.
    pub(crate) struct Noise(pub u64);

    impl Noise {
        pub(crate) fn bits(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }

        /// Even in 0..1.
        pub(crate) fn unit(&mut self) -> f64 {
            (self.bits() >> 11) as f64 / EXACT
        }
    }

    fn bytes_a_point(points: &[[f64; 2]]) -> f64 {
        let mut bytes = Vec::new();
        encode(points, &mut bytes);
        let mut back = Vec::new();
        decode(&bytes, &mut back).unwrap();
        let bits = |p: &[[f64; 2]]| p.iter().map(|p| p.map(f64::to_bits)).collect::<Vec<_>>();
        assert_eq!(bits(&back), bits(points));
        bytes.len() as f64 / points.len().max(1) as f64
    }

    #[test]
    fn any_bits_come_back() {
        let mut noise = Noise(1);
        let odd = [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN, 5e-324, -5e-324, 1.0];
        for n in [0, 1, 2, 63, 64, 65, 511, 512, 513] {
            bytes_a_point(
                &(0..n).map(|_| [f64::from_bits(noise.bits()), f64::from_bits(noise.bits())]).collect::<Vec<_>>(),
            );
            bytes_a_point(&(0..n).map(|i| [odd[i % 10], odd[(i * 7 + n) % 10]]).collect::<Vec<_>>());
            bytes_a_point(
                &(0..n).map(|i| [i as f64, f64::from(f32::from_bits(noise.bits() as u32))]).collect::<Vec<_>>(),
            );
        }
    }

    #[test]
    fn curves_as_they_are_take_few_bytes() {
        let mut noise = Noise(2);
        let mut curve = |x: &dyn Fn(usize) -> f64, y: &mut dyn FnMut(usize, f64) -> f64| {
            let points: Vec<_> = (0..512).map(|i| [x(i), y(i, noise.unit())]).collect();
            bytes_a_point(&points)
        };
        let steps = |i: usize| i as f64;
        let epochs = |i: usize| 3.0 + i as f64 / 391.0;
        let irregular = |i: usize| (i * 17 + i * i % 13) as f64 / 469.0;
        let loss32 = &mut |i: usize, r: f64| f64::from((2.3 * (-(i as f64) / 300.0).exp() + 0.1 * r) as f32);
        let loss64 = &mut |i: usize, r: f64| 2.3 * (-(i as f64) / 300.0).exp() + 0.1 * r;
        let accuracy = &mut |i: usize, r: f64| ((i as f64 + 100.0 * r).round() / 1000.0).min(1.0);
        for (what, bytes, most) in [
            ("steps, 32-bit loss", curve(&steps, loss32), 3.7),
            ("epochs, 32-bit loss", curve(&epochs, loss32), 3.7),
            ("irregular epochs, 32-bit loss", curve(&irregular, loss32), 4.5),
            ("irregular epochs, 64-bit loss", curve(&irregular, loss64), 7.6),
            ("epochs, accuracy", curve(&epochs, accuracy), 1.5),
            ("constant", curve(&steps, &mut |_, _| 0.25), 0.2),
        ] {
            assert!(bytes < most, "{what}: {bytes}");
        }
    }

    #[test]
    fn an_outlier_costs_its_own_group_only() {
        let mut noise = Noise(3);
        let mut points: Vec<[f64; 2]> = (0..512).map(|i| [i as f64, f64::from(noise.unit() as f32)]).collect();
        let before = bytes_a_point(&points);
        (points[100][1], points[101][1]) = (f64::NAN, f64::INFINITY);
        assert!(bytes_a_point(&points) < before + 0.2);
    }

    #[test]
    fn bytes_that_are_no_points_are_refused_without_harm() {
        let mut bytes = Vec::new();
        encode(&(0..100).map(|i| [i as f64, (i as f64).sin()]).collect::<Vec<_>>(), &mut bytes);
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut], &mut Vec::new()), None, "cut {cut}");
        }
        let mut noise = Noise(4);
        for _ in 0..2000 {
            let mut bad = bytes.clone();
            let i = noise.bits() as usize % bad.len();
            bad[i] ^= noise.bits() as u8;
            let _ = decode(&bad, &mut Vec::new());
        }
    }

    #[test]
    fn the_order_of_mapped_bits_is_that_of_the_floats() {
        let sorted = [f64::NEG_INFINITY, -1.0, -5e-324, -0.0, 0.0, 5e-324, 1.0, f64::INFINITY];
        let mapped: Vec<i64> = sorted.iter().map(|v| order64(v.to_bits() as i64)).collect();
        assert!(mapped.is_sorted());
        let narrow: Vec<i32> = sorted.iter().map(|v| order32((*v as f32).to_bits() as i32)).collect();
        assert!(narrow.is_sorted());
    }
}
