//! TensorBoard's event files: records of length, data and masked CRC-32C, each an `Event` in protocol buffers. Of those
//! messages a few fields are needed, so they are written by hand.

use std::io::{self, Write};

use kiln_protocol::View;
use kiln_protocol::run::RunSummary;
use kiln_protocol::view::Picture;

use super::points::Whole;
use crate::draw::{figures, png};

/// TensorBoard's x axis has whole steps. Where series have points between them (half an epoch), all steps of the run are
/// thousandths.
pub const PARTS: f64 = 1000.0;

/// Steps for each unit of x: 1 where all are whole, else [`PARTS`].
pub fn steps_per_unit(series: &[Whole]) -> f64 {
    let all_whole = series.iter().flat_map(|s| &s.points).all(|p| p.x.fract() == 0.0);
    if all_whole { 1.0 } else { PARTS }
}

/// What TensorBoard looks for in a folder.
pub fn file_name(summary: &RunSummary) -> String {
    let host = summary.host.as_deref().unwrap_or("localhost");
    let plain: String = host.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    format!("events.out.tfevents.{:010}.{plain}.kiln", summary.started.unwrap_or(summary.created) as u64)
}

/// Writes a run: its series, its settings and verdict as text, the last state of its sheets of pictures.
///
/// # Errors
/// Those of writing.
pub fn write(
    out: &mut impl Write,
    summary: &RunSummary,
    series: &[Whole],
    texts: &[(&str, String)],
    views: &[(String, View)],
) -> io::Result<()> {
    let start = summary.started.unwrap_or(summary.created);
    let end = summary.ended.or(summary.last_event).unwrap_or(start);
    let version = Message::default().double(1, start).bytes(3, b"brain.Event:2");
    record(out, &version.0)?;
    let per_unit = steps_per_unit(series);
    for one in series {
        for point in &one.points {
            let value = Message::default().bytes(1, one.name.as_bytes()).float(2, point.y as f32);
            let step = (point.x * per_unit).round() as i64;
            record(out, &event(point.t.unwrap_or(start), step, value).0)?;
        }
    }
    for (name, text) in texts {
        let plugin = Message::default().bytes(1, b"text");
        let metadata = Message::default().message(1, plugin);
        // A tensor of one string and no dimension.
        let tensor = Message::default().varint(1, 7).message(2, Message::default()).bytes(8, text.as_bytes());
        let value = Message::default().bytes(1, name.as_bytes()).message(8, tensor).message(9, metadata);
        record(out, &event(end, 0, value).0)?;
    }
    let step = series.iter().filter_map(|s| s.points.last()).map(|p| p.x * per_unit).fold(0.0, f64::max);
    for (name, view) in views {
        let View::Images(images) = view else { continue };
        for (i, picture) in images.pictures.iter().enumerate() {
            if let Some(image) = image(picture) {
                let tag = match picture.label.as_str() {
                    "" => format!("{name}/{i}"),
                    label => format!("{name}/{i} {label}"),
                };
                let value = Message::default().bytes(1, tag.as_bytes()).message(4, image);
                record(out, &event(end, step as i64, value).0)?;
            }
        }
    }
    out.flush()
}

fn image(picture: &Picture) -> Option<Message> {
    let rgb = figures::rgb(picture).ok()?;
    let png = png::of_pixels(picture.width, picture.height, &rgb)?;
    let size = Message::default().varint(1, picture.height.into()).varint(2, picture.width.into());
    Some(size.varint(3, 3).bytes(4, &png))
}

/// An event with a summary of one value.
fn event(wall_time: f64, step: i64, value: Message) -> Message {
    let summary = Message::default().message(1, value);
    Message::default().double(1, wall_time).varint(2, step as u64).message(5, summary)
}

fn record(out: &mut impl Write, data: &[u8]) -> io::Result<()> {
    let length = (data.len() as u64).to_le_bytes();
    out.write_all(&length)?;
    out.write_all(&masked_crc(&length).to_le_bytes())?;
    out.write_all(data)?;
    out.write_all(&masked_crc(data).to_le_bytes())
}

/// Masked, since the CRC of bytes that hold CRCs is a weak one.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Fields of a message in protocol buffers.
#[derive(Clone, Debug, Default, PartialEq)]
struct Message(Vec<u8>);

impl Message {
    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn tag(&mut self, field: u64, kind: u64) {
        self.raw_varint(field << 3 | kind);
    }

    fn varint(mut self, field: u64, value: u64) -> Message {
        self.tag(field, 0);
        self.raw_varint(value);
        self
    }

    fn double(mut self, field: u64, value: f64) -> Message {
        self.tag(field, 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn float(mut self, field: u64, value: f32) -> Message {
        self.tag(field, 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn bytes(mut self, field: u64, value: &[u8]) -> Message {
        self.tag(field, 2);
        self.raw_varint(value.len() as u64);
        self.0.extend(value);
        self
    }

    fn message(self, field: u64, value: Message) -> Message {
        self.bytes(field, &value.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::points::Point;
    use kiln_protocol::RunId;
    use kiln_protocol::view::Images;

    /// The records of a file, their sums checked.
    fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while !bytes.is_empty() {
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            let crc = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            assert_eq!(crc(8), masked_crc(&bytes[..8]));
            let data = &bytes[12..12 + length];
            assert_eq!(crc(12 + length), masked_crc(data));
            all.push(data.to_vec());
            bytes = &bytes[16 + length..];
        }
        all
    }

    #[test]
    fn sums_are_those_of_the_standard() {
        // RFC 3720, B.4: 32 bytes of zeros, of ones, and rising.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c::crc32c(&[0xff; 32]), 0x62a8_ab43);
        // The first twelve bytes of every file that TensorFlow writes whose first event is 24 bytes long.
        assert_eq!(masked_crc(&24_u64.to_le_bytes()).to_le_bytes(), [0xa3, 0x7f, 0x4b, 0x22]);
    }

    #[test]
    fn a_point_is_an_event_with_a_simple_value() {
        let summary = RunSummary::queued(RunId("a-0001".into()), 5.0);
        let points = vec![Point { x: 1.0, y: 0.5, t: Some(2.0) }, Point { x: 300.0, y: -1.0, t: None }];
        let series = [Whole { name: "a/b".into(), x_unit: String::new(), points }];
        let mut bytes = Vec::new();
        write(&mut bytes, &summary, &series, &[], &[]).unwrap();
        let records = records(&bytes);
        assert_eq!(records.len(), 3);
        assert!(records[0].ends_with(b"brain.Event:2"), "{:?}", records[0]);
        let mut expected = vec![0x09];
        expected.extend(2.0_f64.to_le_bytes());
        // step 1; summary of 12 bytes; value of 10 bytes; tag "a/b"; simple_value 0.5
        expected.extend([0x10, 1, 0x2a, 12, 0x0a, 10, 0x0a, 3, b'a', b'/', b'b', 0x15, 0, 0, 0, 0x3f]);
        assert_eq!(records[1], expected);
        assert_eq!(records[2][9..12], [0x10, 0xac, 0x02], "300 as varint");
        assert_eq!(records[2][1..9], 5.0_f64.to_le_bytes(), "a point without a time is of the run's beginning");
    }

    #[test]
    fn texts_and_pictures_come_along_and_half_epochs_are_steps() {
        let summary = RunSummary::queued(RunId("a-0001".into()), 5.0);
        let half = Whole { points: vec![Point { x: 0.5, y: 1.0, t: None }], ..Whole::default() };
        assert_eq!((steps_per_unit(&[]), steps_per_unit(&[half])), (1.0, PARTS));
        let picture = Picture::new("seven", 1, 1, 1, &[9]);
        let views = [("samples".to_owned(), View::Images(Images { pictures: vec![picture], ..Images::default() }))];
        let mut bytes = Vec::new();
        write(&mut bytes, &summary, &[], &[("settings", "seed = 7".into())], &views).unwrap();
        let records = records(&bytes);
        let has = |n: usize, text: &[u8]| records[n].windows(text.len()).any(|w| w == text);
        assert!(has(1, b"settings") && has(1, b"seed = 7") && has(1, b"text"));
        assert!(has(2, b"samples/0 seven") && has(2, b"\x89PNG"));
        assert_eq!(file_name(&summary), "events.out.tfevents.0000000005.localhost.kiln");
    }
}
