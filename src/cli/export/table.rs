//! Tables for other programs: CSV, JSON lines, Parquet. One row a point, or one row a run.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;

use parquet::basic::{Compression, ConvertedType, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use serde_json::{Map, Value as Json, json};

use super::points::Run;

/// A cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    None,
    Text(String),
    Whole(i64),
    Number(f64),
    /// Seconds since the Unix epoch.
    Time(f64),
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Whole,
    Number,
    Time,
}

/// A table whose cells keep their kinds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Cell>>,
}

impl Cell {
    fn text(text: &str) -> Cell {
        if text.is_empty() { Cell::None } else { Cell::Text(text.to_owned()) }
    }

    fn kind(&self) -> Option<Kind> {
        match self {
            Cell::None => None,
            Cell::Text(_) => Some(Kind::Text),
            Cell::Whole(_) => Some(Kind::Whole),
            Cell::Number(_) => Some(Kind::Number),
            Cell::Time(_) => Some(Kind::Time),
        }
    }

    /// As CSV has it: `NaN`, `inf` and `-inf` are what pandas, R and polars read as numbers.
    fn plain(&self) -> String {
        match self {
            Cell::None => String::new(),
            Cell::Text(text) => text.clone(),
            Cell::Whole(n) => n.to_string(),
            Cell::Number(v) => v.to_string(),
            Cell::Time(t) => format!("{t:.3}"),
        }
    }

    /// As Kiln's own JSON has it: what is no number is null, infinities are words.
    fn json(&self) -> Json {
        match self {
            Cell::None => Json::Null,
            Cell::Text(text) => json!(text),
            Cell::Whole(n) => json!(n),
            Cell::Number(v) | Cell::Time(v) if v.is_finite() => json!(v),
            Cell::Number(v) if v.is_infinite() => json!(if *v > 0.0 { "inf" } else { "-inf" }),
            Cell::Number(_) | Cell::Time(_) => Json::Null,
        }
    }

    fn of_json(value: &Json) -> Cell {
        match value {
            Json::Null => Cell::None,
            Json::String(text) => Cell::Text(text.clone()),
            Json::Number(n) => match n.as_i64() {
                Some(n) => Cell::Whole(n),
                None => n.as_f64().map_or(Cell::None, Cell::Number),
            },
            other => Cell::Text(other.to_string()),
        }
    }
}

/// One row a point.
pub fn of_points(runs: &[Run]) -> Table {
    let columns = ["run", "arm", "seed", "series", "x", "x_unit", "y", "time"].map(str::to_owned).to_vec();
    let mut rows = Vec::new();
    for run in runs {
        let (id, seed) = (Cell::Text(run.summary.id.0.clone()), whole(run.summary.seed));
        let arm = run.summary.arm.as_deref().map_or(Cell::None, Cell::text);
        for series in &run.series {
            let (name, unit) = (Cell::Text(series.name.clone()), Cell::text(&series.x_unit));
            rows.extend(series.points.iter().map(|p| {
                let time = p.t.map_or(Cell::None, Cell::Time);
                let (x, y) = (Cell::Number(p.x), Cell::Number(p.y));
                vec![id.clone(), arm.clone(), seed.clone(), name.clone(), x, unit.clone(), y, time]
            }));
        }
    }
    Table { columns, rows }
}

fn whole(n: u64) -> Cell {
    i64::try_from(n).map_or_else(|_| Cell::Text(n.to_string()), Cell::Whole)
}

/// One row an object: columns are the keys of all, in the order of their first appearance.
pub fn of_objects(objects: &[Map<String, Json>]) -> Table {
    let mut known = BTreeSet::new();
    let mut columns: Vec<String> = Vec::new();
    for key in objects.iter().flat_map(Map::keys) {
        if known.insert(key) {
            columns.push(key.clone());
        }
    }
    let cell = |object: &Map<String, Json>, key: &String| object.get(key).map_or(Cell::None, Cell::of_json);
    let rows = objects.iter().map(|object| columns.iter().map(|key| cell(object, key)).collect()).collect();
    Table { columns, rows }
}

/// Comma-separated, with a header.
///
/// # Errors
/// Those of writing.
pub fn csv(table: &Table, out: impl Write) -> Result<(), String> {
    let mut writer = csv::Writer::from_writer(out);
    let mut write = || -> csv::Result<()> {
        writer.write_record(&table.columns)?;
        for row in &table.rows {
            writer.write_record(row.iter().map(Cell::plain))?;
        }
        Ok(writer.flush()?)
    };
    write().map_err(|e| e.to_string())
}

/// One JSON object a line; empty cells are left out.
///
/// # Errors
/// Those of writing.
pub fn json_lines(table: &Table, mut out: impl Write) -> Result<(), String> {
    for row in &table.rows {
        let filled = table.columns.iter().zip(row).filter(|(_, cell)| **cell != Cell::None);
        let object: Map<String, Json> = filled.map(|(name, cell)| (name.clone(), cell.json())).collect();
        let line = serde_json::to_string(&object).map_err(|e| e.to_string())?;
        writeln!(out, "{line}").map_err(|e| e.to_string())?;
    }
    out.flush().map_err(|e| e.to_string())
}

/// Rows that a group of a Parquet file holds: readers keep one in memory.
const GROUP: usize = 1 << 20;

/// Apache Parquet, compressed with Snappy.
///
/// # Errors
/// Those of writing.
pub fn parquet(table: &Table, out: impl Write + Send) -> Result<(), String> {
    let kinds: Vec<Kind> = (0..table.columns.len()).map(|c| kind_of(table, c)).collect();
    write_parquet(table, &kinds, out).map_err(|e| e.to_string())
}

/// Whole numbers with fractions are numbers; any other mixture is text.
fn kind_of(table: &Table, column: usize) -> Kind {
    let kinds = table.rows.iter().filter_map(|row| row.get(column)?.kind());
    let merge = |a: Option<Kind>, b: Kind| match a {
        None => Some(b),
        Some(a) if a == b => Some(a),
        Some(Kind::Whole | Kind::Number) if matches!(b, Kind::Whole | Kind::Number) => Some(Kind::Number),
        Some(_) => Some(Kind::Text),
    };
    kinds.fold(None, merge).unwrap_or(Kind::Text)
}

fn field(name: &str, kind: Kind) -> Result<Arc<Type>, ParquetError> {
    let physical = match kind {
        Kind::Text => Physical::BYTE_ARRAY,
        Kind::Number => Physical::DOUBLE,
        Kind::Whole | Kind::Time => Physical::INT64,
    };
    let builder = Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL);
    let builder = match kind {
        Kind::Text => builder.with_converted_type(ConvertedType::UTF8).with_logical_type(Some(LogicalType::String)),
        Kind::Time => builder.with_logical_type(Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
        Kind::Whole | Kind::Number => builder,
    };
    builder.build().map(Arc::new)
}

fn write_parquet(table: &Table, kinds: &[Kind], out: impl Write + Send) -> Result<(), ParquetError> {
    let fields = table.columns.iter().zip(kinds).map(|(name, kind)| field(name, *kind)).collect::<Result<_, _>>()?;
    let schema = Arc::new(Type::group_type_builder("kiln").with_fields(fields).build()?);
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = SerializedFileWriter::new(out, schema, Arc::new(properties))?;
    for rows in table.rows.chunks(GROUP) {
        let mut group = writer.next_row_group()?;
        for (c, kind) in kinds.iter().enumerate() {
            let Some(mut column) = group.next_column()? else { break };
            let cells = || rows.iter().map(|row| row.get(c).unwrap_or(&Cell::None));
            let there: Vec<i16> = cells().map(|cell| i16::from(*cell != Cell::None)).collect();
            let filled = cells().filter(|cell| **cell != Cell::None);
            match kind {
                Kind::Text => {
                    let values: Vec<ByteArray> = filled.map(|cell| cell.plain().into_bytes().into()).collect();
                    column.typed::<ByteArrayType>().write_batch(&values, Some(&there), None)?;
                }
                Kind::Number => {
                    let values: Vec<f64> = filled.map(number).collect();
                    column.typed::<DoubleType>().write_batch(&values, Some(&there), None)?;
                }
                Kind::Whole | Kind::Time => {
                    let values: Vec<i64> = filled.map(integer).collect();
                    column.typed::<Int64Type>().write_batch(&values, Some(&there), None)?;
                }
            }
            column.close()?;
        }
        group.close()?;
    }
    writer.close().map(drop)
}

fn number(cell: &Cell) -> f64 {
    match cell {
        Cell::Number(v) | Cell::Time(v) => *v,
        Cell::Whole(n) => *n as f64,
        Cell::Text(_) | Cell::None => f64::NAN,
    }
}

/// Whole numbers as they are, times in microseconds.
fn integer(cell: &Cell) -> i64 {
    match cell {
        Cell::Whole(n) => *n,
        Cell::Time(t) => (t * 1e6).round() as i64,
        Cell::Number(_) | Cell::Text(_) | Cell::None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::points::{Point, Whole};
    use kiln_protocol::{RunId, RunSummary};
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::{Field, Row};

    fn runs() -> Vec<Run> {
        let mut summary = RunSummary::queued(RunId("a-0001".into()), 1.0);
        summary.seed = 7;
        let point = |x, y, t| Point { x, y, t };
        let points = vec![
            point(0.5, 0.1 + 0.2, Some(1_767_225_601.25)),
            point(1.0, f64::NAN, None),
            point(2.0, f64::NEG_INFINITY, None),
        ];
        let series = vec![Whole { name: "train/loss".into(), x_unit: "epochs".into(), points }];
        vec![Run { summary, series }]
    }

    fn object(row: &Row) -> Json {
        let value = |field: &Field| match field {
            Field::Str(text) => json!(text),
            Field::Long(n) | Field::TimestampMicros(n) => json!(n),
            Field::Double(v) => json!(v),
            Field::Null => Json::Null,
            other => panic!("{other:?}"),
        };
        row.get_column_iter().map(|(name, field)| (name.clone(), value(field))).collect::<Map<_, _>>().into()
    }

    fn written(write: impl Fn(&Table, &mut Vec<u8>) -> Result<(), String>) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&of_points(&runs()), &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn csv_has_a_header_and_every_digit() {
        let text = String::from_utf8(written(|t, out| csv(t, out))).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "run,arm,seed,series,x,x_unit,y,time");
        assert_eq!(lines[1], "a-0001,,7,train/loss,0.5,epochs,0.30000000000000004,1767225601.250");
        assert_eq!(lines[2], "a-0001,,7,train/loss,1,epochs,NaN,");
        assert_eq!(lines[3], "a-0001,,7,train/loss,2,epochs,-inf,");
        let odd = Table { columns: vec!["a".into()], rows: vec![vec![Cell::Text("x,\"y\"\nz".into())]] };
        let mut bytes = Vec::new();
        csv(&odd, &mut bytes).unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), "a\n\"x,\"\"y\"\"\nz\"\n");
    }

    #[test]
    fn json_lines_are_objects() {
        let text = String::from_utf8(written(|t, out| json_lines(t, out))).unwrap();
        let lines: Vec<Json> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines[0]["y"].as_f64().map(f64::to_bits), Some((0.1_f64 + 0.2).to_bits()));
        assert_eq!((&lines[1]["y"], &lines[2]["y"]), (&Json::Null, &json!("-inf")));
        assert!(lines[0].get("arm").is_none() && lines[0]["seed"] == 7);
    }

    #[test]
    fn parquet_keeps_kinds_and_gaps() {
        let bytes = bytes::Bytes::from(written(|t, out| parquet(t, out)));
        let reader = SerializedFileReader::new(bytes).unwrap();
        let rows: Vec<Json> = reader.get_row_iter(None).unwrap().map(|row| object(&row.unwrap())).collect();
        assert_eq!(rows.len(), 3);
        assert_eq!((&rows[0]["run"], &rows[0]["seed"], &rows[0]["arm"]), (&json!("a-0001"), &json!(7), &Json::Null));
        assert_eq!(rows[0]["y"].as_f64(), Some(0.1 + 0.2));
        let schema = reader.metadata().file_metadata().schema_descr();
        let time = schema.column(7);
        assert!(matches!(time.logical_type_ref(), Some(LogicalType::Timestamp(_))), "{time:?}");
        assert_eq!(time.physical_type(), Physical::INT64);
    }

    #[test]
    fn objects_become_columns_of_one_kind() {
        let objects = [json!({"id": "a", "n": 1, "x": 2}), json!({"id": "b", "x": 0.5, "mixed": [1]})];
        let objects: Vec<Map<String, Json>> = objects.iter().map(|o| o.as_object().unwrap().clone()).collect();
        let table = of_objects(&objects);
        assert_eq!(table.columns, ["id", "n", "x", "mixed"]);
        assert_eq!(table.rows[1], [Cell::Text("b".into()), Cell::None, Cell::Number(0.5), Cell::Text("[1]".into())]);
        let kinds: Vec<Kind> = (0..4).map(|c| kind_of(&table, c)).collect();
        assert_eq!(kinds, [Kind::Text, Kind::Whole, Kind::Number, Kind::Text]);
        let mut bytes = Vec::new();
        parquet(&table, &mut bytes).unwrap();
        let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).unwrap();
        let rows: Vec<Json> = reader.get_row_iter(None).unwrap().map(|row| object(&row.unwrap())).collect();
        assert_eq!((&rows[0]["x"], &rows[1]["x"]), (&json!(2.0), &json!(0.5)));
    }
}
