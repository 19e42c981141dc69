//! Tables of architectures with their accuracies, as CSV with a header line, plain or gzipped.
//!
//! | column | meaning |
//! | --- | --- |
//! | `arch` | the architecture as its space writes it; or, for cells of NAS-Bench-101, the two columns below |
//! | `adjacency` | the vertices x vertices matrix row by row, as 0 and 1 |
//! | `ops` | the vertices' operations, between vertical bars |
//! | `accuracy` | what is predicted; any other name may be asked for |
//! | `params`, `seconds` | parameters of the network and seconds of its training; may be absent or empty |
//!
//! Further columns are allowed and ignored. What an architecture is, only its space knows: the texts come out as they are.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::DataError;
use crate::error::FETCH_AGAIN;
use crate::source::Source;

/// Columns to read.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a> {
    /// Column of the accuracy; `None` where a table is only to be predicted, then the column `accuracy` if there is one.
    pub label: Option<&'a str>,
    /// A second column of accuracies; empty for none.
    pub test: &'a str,
    /// Whether accuracies are fractions (0 to 1) instead of percent (0 to 100).
    pub fractions: bool,
}

/// A table as read.
#[derive(Clone, Debug, PartialEq)]
pub struct Cells {
    pub rows: Vec<CellRow>,
    /// Column of [`Written::Text`], or of the first of the two of [`Written::Matrix`], from 1: for messages.
    pub column: usize,
    /// SHA-256 of the unpacked file, in hexadecimal.
    pub digest: String,
}

/// A line of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct CellRow {
    /// From 1, the header being line 1.
    pub line: u64,
    pub arch: Written,
    /// Percent; `None` only where no label was asked for.
    pub accuracy: Option<f64>,
    /// Percent.
    pub test: Option<f64>,
    pub params: Option<f64>,
    pub seconds: Option<f64>,
}

/// An architecture as a table writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// As its space writes it.
    Text(String),
    /// A matrix of edges and the operations.
    Matrix { adjacency: String, ops: String },
}

const ARCH: &str = "an architecture a line under the name `arch`, or a cell under `adjacency` and `ops`";

/// Reads a table.
///
/// # Errors
/// A file that is missing or damaged, columns that are missing, lines of another length, accuracies that are no number or
/// out of range: a sentence with file, line and column.
pub fn read_cells(path: &Path, columns: &Columns) -> Result<Cells, DataError> {
    if path.is_dir() {
        let advice = "Name a table in it";
        return Err(DataError::malformed(path, "is a folder", "a table of architectures as CSV", advice));
    }
    if !path.is_file() {
        let advice = "Check the path of the table";
        return Err(DataError::missing(path, "a table of architectures as CSV, plain or gzipped", advice));
    }
    let bytes = Source::open(path)?.rest()?;
    let digest = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(&bytes[..]);
    let unreadable =
        |error: csv::Error| DataError::malformed(path, format!("is no CSV: {error}"), "UTF-8", FETCH_AGAIN);
    let header = reader.headers().map_err(unreadable)?.clone();
    let find = |name: &str| header.iter().position(|h| h == name);
    if header.is_empty() {
        return Err(DataError::malformed(path, "is empty", ARCH, FETCH_AGAIN));
    }
    let names = || header.iter().map(|h| format!("`{h}`")).collect::<Vec<_>>().join(", ");
    let lacks = |name: &str, wanted: &str, advice: &str| {
        DataError::malformed(path, format!("has no column `{name}` in line 1 (it has {})", names()), wanted, advice)
    };
    let (text, matrix) = (find("arch"), find("adjacency").zip(find("ops")));
    let Some(column) = text.or(matrix.map(|m| m.0)) else {
        return Err(lacks("arch", ARCH, "Rename the column that holds the architectures"));
    };
    let wanted = "one of accuracies";
    let label = match columns.label {
        Some(name) => Some((
            find(name).ok_or_else(|| lacks(name, wanted, "Rename a column, or set assessor.label to its name"))?,
            name,
        )),
        None => find("accuracy").map(|at| (at, "accuracy")),
    };
    let test = match columns.test {
        "" => None,
        name => {
            let advice = "Rename a column, or set assessor.test-label to its name, or to nothing";
            Some((find(name).ok_or_else(|| lacks(name, wanted, advice))?, name))
        }
    };
    let extra = [(find("params"), "params"), (find("seconds"), "seconds")];
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(unreadable)?;
        let line = record.position().map_or(0, |start| line_of(&bytes, start));
        if record.len() != header.len() {
            let found = format!("has {} values in line {line}", record.len());
            let wanted = format!("{}, as in the header", header.len());
            return Err(DataError::malformed(path, found, wanted, "Mend the line"));
        }
        let field = |at: usize| record.get(at).unwrap_or_default();
        let place = Place { path, line };
        let arch = match (text, matrix) {
            (Some(at), _) => Written::Text(field(at).to_owned()),
            (None, Some((a, o))) => Written::Matrix { adjacency: field(a).to_owned(), ops: field(o).to_owned() },
            (None, None) => continue, // the header has one of them
        };
        let percent = |(at, name): (usize, &str)| place.accuracy(field(at), at, name, columns.fractions);
        let maybe = |(at, name): (Option<usize>, &str)| match at.map(|at| (at, field(at))) {
            None | Some((_, "")) => Ok(None),
            Some((at, text)) => place.number(text, at, name).map(Some),
        };
        rows.push(CellRow {
            line,
            arch,
            accuracy: label.filter(|l| columns.label.is_some() || !field(l.0).is_empty()).map(percent).transpose()?,
            test: test.map(percent).transpose()?,
            params: maybe(extra[0])?,
            seconds: maybe(extra[1])?,
        });
    }
    if rows.is_empty() {
        return Err(DataError::malformed(path, "holds no architecture", "a header and a line for each", FETCH_AGAIN));
    }
    let least = 1.0; // percent: every accuracy below it means that these are fractions
    let highest = rows.iter().filter_map(|r| r.accuracy).fold(f64::NEG_INFINITY, f64::max);
    if columns.label.is_some() && !columns.fractions && highest <= least {
        let found = format!("has no accuracy above 1 in column `{}`", columns.label.unwrap_or_default());
        let advice = "If these are fractions, set assessor.unit to \"fraction\"";
        return Err(DataError::malformed(path, found, "percent, from 0 to 100", advice));
    }
    Ok(Cells { rows, column: column + 1, digest })
}

/// Line of a record, counted from 1. The reader's own count stops before empty lines that it passes over.
fn line_of(bytes: &[u8], start: &csv::Position) -> u64 {
    let from = usize::try_from(start.byte()).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
    let empty = from.iter().take_while(|b| matches!(b, b'\r' | b'\n')).filter(|b| **b == b'\n').count();
    start.line() + empty as u64
}

/// Where a value stands.
struct Place<'a> {
    path: &'a Path,
    line: u64,
}

impl Place<'_> {
    fn number(&self, text: &str, column: usize, name: &str) -> Result<f64, DataError> {
        text.parse::<f64>().ok().filter(|v| v.is_finite()).ok_or_else(|| self.wrong(text, column, name, "a number"))
    }

    /// In percent.
    fn accuracy(&self, text: &str, column: usize, name: &str, fractions: bool) -> Result<f64, DataError> {
        let (most, wanted) =
            if fractions { (1.0, "an accuracy from 0 to 1") } else { (100.0, "an accuracy from 0 to 100") };
        let value = text.parse::<f64>().ok().filter(|v| (0.0..=most).contains(v));
        let value = value.ok_or_else(|| self.wrong(text, column, name, wanted))?;
        Ok(if fractions { 100.0 * value } else { value })
    }

    fn wrong(&self, text: &str, column: usize, name: &str, wanted: &str) -> DataError {
        let found = format!("has '{text}' in line {}, column {} (`{name}`)", self.line, column + 1);
        DataError::malformed(self.path, found, wanted, "Mend the line, or leave it out")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Dir, gzip, message};

    const ALL: Columns = Columns { label: Some("accuracy"), test: "", fractions: false };

    #[test]
    fn both_ways_of_writing_are_read_plain_and_gzipped() {
        let dir = Dir::new();
        let text = "arch,accuracy,params,seconds,more\nc3-c1,91.5,120,3.5,x\n\nc1-c1, 20 ,,,\n";
        for path in [dir.file("a.csv", text.as_bytes()), dir.file("a.csv.gz", &gzip(text.as_bytes()))] {
            let table = read_cells(&path, &ALL).unwrap();
            assert_eq!((table.rows.len(), table.column, table.digest.len()), (2, 1, 64));
            let [first, second] = table.rows.as_slice() else { panic!() };
            assert_eq!(first.arch, Written::Text("c3-c1".into()));
            assert_eq!(
                (first.line, first.accuracy, first.params, first.seconds),
                (2, Some(91.5), Some(120.0), Some(3.5))
            );
            assert_eq!((second.line, second.accuracy, second.params), (4, Some(20.0), None));
        }
        let path = dir.file("b.csv", b"ops,x,adjacency,valid,test\ninput|output,1,0100,0.5,0.25\n");
        let table = read_cells(&path, &Columns { label: Some("valid"), test: "test", fractions: true }).unwrap();
        let row = &table.rows[0];
        assert_eq!(row.arch, Written::Matrix { adjacency: "0100".into(), ops: "input|output".into() });
        assert_eq!((row.accuracy, row.test, table.column), (Some(50.0), Some(25.0), 3));
    }

    #[test]
    fn a_table_without_accuracies_can_still_be_predicted() {
        let dir = Dir::new();
        let none = Columns { label: None, ..ALL };
        let path = dir.file("a.csv", b"arch\nc3\n");
        assert_eq!(read_cells(&path, &none).unwrap().rows[0].accuracy, None);
        let path = dir.file("a.csv", b"arch,accuracy\nc3,\nc1,7\n");
        let known: Vec<Option<f64>> = read_cells(&path, &none).unwrap().rows.iter().map(|r| r.accuracy).collect();
        assert_eq!(known, [None, Some(7.0)]);
    }

    #[test]
    fn mistakes_are_one_sentence_with_place_and_remedy() {
        let dir = Dir::new();
        let said = |text: &str| message(read_cells(&dir.file("a.csv", text.as_bytes()), &ALL));
        let text = said("name,accuracy\nc3,1\n");
        assert!(text.contains("a.csv has no column `arch` in line 1 (it has `name`, `accuracy`)"), "{text}");
        let text = said("arch,acc\nc3,1\n");
        assert!(text.contains("no column `accuracy`") && text.contains("assessor.label"), "{text}");
        let text = said("arch,accuracy\nc3,91\nc1,101\n");
        assert!(
            text.contains("has '101' in line 3, column 2 (`accuracy`); expected an accuracy from 0 to 100"),
            "{text}"
        );
        for wrong in ["-1", "NaN", "", "high"] {
            assert!(
                said(&format!("arch,accuracy\nc3,{wrong}\n")).contains(&format!("has '{wrong}' in line 2, column 2"))
            );
        }
        let text = said("arch,accuracy\nc3,91,7\n");
        assert!(text.contains("has 3 values in line 2; expected 2, as in the header"), "{text}");
        let text = said("arch,accuracy\nc3,0.91\nc1,0.5\n");
        assert!(text.contains("assessor.unit"), "{text}");
        assert!(said("arch,accuracy\n").contains("holds no architecture"));
        assert!(said("arch,accuracy,params\nc3,9,many\n").contains("has 'many' in line 2, column 3 (`params`)"));
    }

    #[test]
    fn torn_gzip_and_missing_file() {
        let dir = Dir::new();
        let packed = gzip("arch,accuracy\nc3,9\n".repeat(200).as_bytes());
        let path = dir.file("a.csv.gz", &packed[..packed.len() / 2]);
        let text = message(read_cells(&path, &ALL));
        assert!(text.contains("a.csv.gz is a gzip file that is cut short or damaged"), "{text}");
        assert!(message(read_cells(&dir.path().join("none.csv"), &ALL)).contains("none.csv is missing"));
    }
}
