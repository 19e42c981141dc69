use std::collections::{HashMap, HashSet};
use std::io::Read;

use super::*;

/// A table of the folder that `KILN_DATA` names, by column; `None` where it names none.
pub(crate) fn table(name: &str) -> Option<Vec<HashMap<String, String>>> {
    let folder = std::env::var_os("KILN_DATA")?;
    let bytes = std::fs::read(std::path::Path::new(&folder).join(name)).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let row = |line: &str| names.iter().zip(line.split(',')).map(|(k, v)| ((*k).to_owned(), v.to_owned())).collect();
    Some(lines.map(row).collect())
}

#[test]
fn a_cell_of_nas_bench_101_has_its_published_hash() {
    // The first lines of the published table, and one with fewer vertices.
    let ops = "input|conv1x1-bn-relu|conv3x3-bn-relu|maxpool3x3|conv3x3-bn-relu|maxpool3x3|output";
    let cell = Cell101::from_table("0100000001000100011000000001000001000000010000000", ops).unwrap();
    assert_eq!(cell.canonical_hash(), "000191735c964ed3522167de6c847cfe");
    assert_eq!(cell.edges(), 8);
    assert!(cell.admitted());
    let ops = "input|maxpool3x3|maxpool3x3|conv1x1-bn-relu|conv3x3-bn-relu|maxpool3x3|output";
    let cell = Cell101::from_table("0100100001001100010000000100000001000000010000000", ops).unwrap();
    assert_eq!(cell.canonical_hash(), "000e8fd298548d5f1281ee0543413335");
}

#[test]
fn isomorphic_cells_have_one_hash_and_others_another() {
    let cell = |matrix, ops| Cell101::from_table(matrix, ops).unwrap();
    // Two parallel branches, in either order; then the branches' operations swapped against a chain.
    let a = cell("0110000100010000", "input|conv3x3-bn-relu|conv1x1-bn-relu|output");
    let b = cell("0110000100010000", "input|conv1x1-bn-relu|conv3x3-bn-relu|output");
    let chain = cell("0100001000010000", "input|conv3x3-bn-relu|conv1x1-bn-relu|output");
    assert_eq!(a.canonical_hash(), b.canonical_hash());
    assert_ne!(a.canonical_hash(), chain.canonical_hash());
    // A vertex off every path changes nothing.
    let dangling = cell("0110100001000000000000000", "input|conv3x3-bn-relu|conv1x1-bn-relu|maxpool3x3|output");
    let pruned = dangling.pruned().unwrap();
    assert_eq!((pruned.ops.len(), pruned.edges()), (3, 3));
    assert_eq!(pruned.canonical_hash(), dangling.canonical_hash());
    assert_eq!(cell("0100", "input|output").canonical_hash().len(), 32);
    assert!(cell("0000", "input|output").pruned().is_none());
}

#[test]
fn genes_of_vertices_round_trip() {
    let ops = "input|conv1x1-bn-relu|conv3x3-bn-relu|maxpool3x3|output";
    let cell = Cell101::from_table("0110100010000110000100000", ops).unwrap();
    let arch = cell.arch().unwrap();
    assert_eq!(arch.to_string(), "c1i0-c3i0-mpi12-none-none-out023");
    assert_eq!(Cell101::from_genes(&arch.genes).unwrap(), cell);
    assert_eq!(cell.to_table(), ("0110100010000110000100000".into(), ops.into()));
    let wrong = |gene: &str| Cell101::from_genes(&[gene.into(), "out0".into()]).unwrap_err().to_string();
    for gene in ["c3", "c3i", "c3i1", "c5i0", "c3i00", "out0", "c3i0x", ""] {
        assert!(wrong(gene).contains("gene of vertex 1"), "{gene}: {}", wrong(gene));
    }
}

#[test]
fn cells_that_are_none_are_refused_with_a_reason() {
    let said = |matrix, ops| Cell101::from_table(matrix, ops).unwrap_err().to_string();
    assert!(said("010", "input|output").contains("4 digits"));
    assert!(said("0012", "input|output").contains("digits"));
    assert!(said("0010", "input|output").contains("lower to higher"));
    assert!(said("0100", "output|input").contains("vertex 0"));
    assert!(said("010001000", "input|input|output").contains("inner vertex 1"));
    assert!(said("010001000", "input|conv7x7|output").contains("`conv7x7`"));
    let eight = vec![vec![false; 8]; 8];
    assert!(Cell101::new(eight, vec![Vertex::Input; 8]).unwrap_err().to_string().contains("2 to 7"));
}

#[test]
fn cells_of_nas_bench_201_read_as_they_are_written() {
    let text = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|none~2|";
    let cell = Cell201::from_text(text).unwrap();
    assert_eq!(cell.text(), text);
    assert_eq!(cell.arch().to_string(), "c3-c3-ap-skip-c3-none");
    assert_eq!(Cell201::from_genes(&cell.genes()).unwrap(), cell);
    let said = |text| Cell201::from_text(text).unwrap_err().to_string();
    assert!(said("|none~0|").contains("parts between"));
    assert!(said("|none~0|+|none~0|+|none~0|none~1|none~2|").contains("part 2"));
    assert!(said("|none~0|+|none~1|none~0|+|none~0|none~1|none~2|").contains("`~0`"));
    assert!(said("|nor_conv_7x7~0|+|none~0|none~1|+|none~0|none~1|none~2|").contains("nor_conv_7x7"));
}

#[test]
fn nas_bench_201_has_its_published_number_of_graphs() {
    let (mut graphs, mut functions) = (HashSet::new(), HashSet::new());
    for code in 0..5usize.pow(6) {
        let ops = std::array::from_fn(|i| Edge::ALL[code / 5usize.pow(i as u32) % 5]);
        graphs.insert(Cell201 { ops }.canonical());
        functions.insert(Cell201 { ops }.function());
    }
    assert_eq!((graphs.len(), functions.len()), (6466, 4930));
    let cell = |text: &str| Cell201::from_genes(&text.split('-').map(String::from).collect::<Vec<_>>()).unwrap();
    let direct = cell("none-none-none-c3-none-none");
    // The same by way of an identity; and with a zero inside a sum, which the published texts keep.
    let round = cell("c3-none-none-none-skip-none");
    let zero = cell("none-skip-none-none-none-c3");
    assert!(direct.canonical() == round.canonical() && direct.function() == round.function());
    assert!(direct.canonical() != zero.canonical() && direct.function() == zero.function());
    assert_eq!(cell("none-c3-c3-none-ap-none").function(), "");
}

#[test]
fn the_published_tables_read_whole() {
    let Some(rows) = table("nas-bench-101-cells/nas-bench-101-cells.csv.gz") else { return };
    assert_eq!(rows.len(), 13_484);
    for row in &rows {
        let cell = Cell101::from_table(&row["adjacency"], &row["ops"]).unwrap();
        assert_eq!(cell.canonical_hash(), row["hash"]);
        assert!(cell.admitted());
        assert_eq!(Cell101::from_genes(&cell.arch().unwrap().genes).unwrap(), cell);
    }
    let rows = table("nas-bench-201/nas-bench-201.csv.gz").unwrap();
    let mut groups: HashMap<String, &str> = HashMap::new();
    for row in &rows {
        let cell = Cell201::from_text(&row["arch"]).unwrap();
        assert_eq!(cell.text(), row["arch"]);
        let digits: String = cell.ops.iter().map(|op| (*op as usize).to_string()).collect();
        assert_eq!(digits, row["ops"]);
        assert_eq!(*groups.entry(cell.canonical()).or_insert(&row["iso_group"]), row["iso_group"]);
    }
    assert_eq!((rows.len(), groups.len()), (15_625, 6_466));
}
