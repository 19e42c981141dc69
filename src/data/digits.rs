//! The 8x8 digits of the UCI set as CSV: 64 pixels from 0 to 16, row by row, then the digit; no header. The path is the
//! file or the folder that holds `digits.csv`, plain or gzipped. The set has no test part of its own.

use std::path::Path;

use crate::DataError;
use crate::error::FETCH_AGAIN;
use crate::part::{Part, Raw};
use crate::source::{self, Source};

const SIDE: usize = 8;
const PIXELS: usize = SIDE * SIDE;
const WHITE: u16 = 16;

pub(crate) fn read(path: &Path) -> Result<Raw, DataError> {
    let file = if path.is_dir() {
        let Some(file) = source::find(path, &["digits.csv"]) else {
            let wanted = "it, plain or as digits.csv.gz";
            return Err(DataError::missing(&path.join("digits.csv"), wanted, "Check the path of the data set"));
        };
        file
    } else {
        path.to_owned()
    };
    let bytes = Source::open(&file)?.rest()?;
    let mut train = Part::default();
    for (line, text) in (1..).zip(bytes.split(|&b| b == b'\n')).filter(|(_, text)| !text.trim_ascii().is_empty()) {
        let fields = text.split(|&b| b == b',');
        let count = fields.clone().count();
        if count != PIXELS + 1 {
            let found = format!("has {count} values in line {line}");
            return Err(DataError::malformed(&file, found, format!("{PIXELS} pixels and the digit"), FETCH_AGAIN));
        }
        for (column, field) in fields.enumerate() {
            let pixel = column < PIXELS;
            let (limit, wanted) = if pixel { (WHITE, "a pixel from 0 to 16") } else { (9, "a digit from 0 to 9") };
            let value = std::str::from_utf8(field).ok().and_then(|text| text.trim().parse::<u16>().ok());
            let Some(value) = value.filter(|value| *value <= limit) else {
                let shown = String::from_utf8_lossy(field);
                let found = format!("has '{}' in line {line}, column {}", shown.trim(), column + 1);
                return Err(DataError::malformed(&file, found, wanted, FETCH_AGAIN));
            };
            if pixel {
                // Spread over the whole range of a byte, so that digits look like any other grey image.
                train.pixels.push(((value * 255 + WHITE / 2) / WHITE) as u8);
            } else {
                train.labels.push(i64::from(value));
            }
        }
    }
    if train.len() == 0 {
        return Err(DataError::malformed(&file, "holds no line", "65 numbers a line", FETCH_AGAIN));
    }
    let classes = (0..10).map(|i| i.to_string()).collect();
    Ok(Raw { shape: [1, SIDE, SIDE], classes, train, valid: None, test: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Dir, gzip, message};

    fn line(pixel: &str, digit: &str) -> String {
        format!("{}{digit}\n", format!("{pixel},").repeat(64))
    }

    #[test]
    fn pixels_are_spread_over_a_byte() {
        let dir = Dir::new();
        let path = dir.file("digits.csv", (line("0", "3") + &line("16", "0") + &line("8", "9")).as_bytes());
        let raw = read(&path).unwrap();
        assert_eq!((raw.shape, raw.classes.len()), ([1, 8, 8], 10));
        assert_eq!(raw.train.labels, [3, 0, 9]);
        assert_eq!([raw.train.pixels[0], raw.train.pixels[64], raw.train.pixels[128]], [0, 255, 128]);
    }

    #[test]
    fn folder_gzip_and_blank_lines() {
        let dir = Dir::new();
        dir.file("digits.csv.gz", &gzip((line("1", "1") + "\n" + &line(" 2 ", "2")).as_bytes()));
        assert_eq!(read(dir.path()).unwrap().train.labels, [1, 2]);
    }

    #[test]
    fn mistakes_name_line_and_column() {
        let dir = Dir::new();
        let write = |text: String| dir.file("digits.csv", text.as_bytes());
        let good = line("1", "1");
        let text = message(read(&write(good.clone() + &line("17", "1"))));
        assert!(text.contains("digits.csv has '17' in line 2, column 1; expected a pixel from 0 to 16"), "{text}");
        let text = message(read(&write(good.clone() + "\n" + &line("1", "10"))));
        assert!(text.contains("has '10' in line 3, column 65; expected a digit from 0 to 9"), "{text}");
        let text = message(read(&write(good.clone() + "1,2,3\n")));
        assert!(text.contains("has 3 values in line 2; expected 64 pixels and the digit"), "{text}");
        let text = message(read(&write(line("pixel", "digit") + &good)));
        assert!(text.contains("has 'pixel' in line 1, column 1"), "{text}");
        assert!(message(read(&write(String::new()))).contains("holds no line"));
    }

    #[test]
    fn torn_gzip_and_missing_file() {
        let dir = Dir::new();
        assert!(message(read(dir.path())).contains("digits.csv is missing"));
        assert!(message(read(&dir.path().join("other.csv"))).contains("other.csv cannot be read"));
        let packed = gzip(line("1", "1").repeat(50).as_bytes());
        let path = dir.file("digits.csv.gz", &packed[..packed.len() / 2]);
        assert!(message(read(&path)).contains("digits.csv.gz is a gzip file that is cut short or damaged"));
    }
}
