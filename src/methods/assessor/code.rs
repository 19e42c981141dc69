//! Architectures as numbers: a flat vector, an image, and for cells their graph (card, step 1).
//!
//! | space | flat | image | graph |
//! | --- | --- | --- | --- |
//! | `nas-bench-101` | 21 bits of the upper triangle, 5 inner vertices x 3 operations: 36 | `[A | O]`, 1x7x12 | 7 vertices, 5 labels |
//! | `nas-bench-201` | 6 edges x 5 operations: 30 | `[A | O]`, 1x8x15 | 8 vertices (input, the 6 edges' operations, output), 7 labels |
//! | any other | one-hot of its decisions | decisions x options, 1xDxK | – |
//!
//! A cell of NAS-Bench-101 with fewer than 7 vertices is padded so that the output is always the last row and column and
//! unused inner rows are zero. In a cell of NAS-Bench-201 operations stand on edges; its graph is the one of which they are
//! the vertices, the same for all cells.

use kiln_arch::cell::{Cell201, MAX_VERTICES, Vertex};
use kiln_arch::{Arch, Cell101, Space};
use kiln_nn::torch::TorchError;
use tch::{Device, Kind, Tensor};

use crate::error::{MethodError, Result};

/// Vertices of the graph of a cell of NAS-Bench-201: the input, six operations, the output.
const VERTICES_201: usize = 8;

/// How the architectures of a space are written as numbers.
#[derive(Clone, Debug)]
pub enum Coder {
    Cell101,
    Cell201,
    /// One-hot of the decisions.
    Decisions(Box<Space>),
}

/// Codes of `n` architectures, on one device.
#[derive(Debug)]
pub struct Codes {
    /// f32 `[n, f]`, zeros and ones.
    pub flat: Tensor,
    /// f32 `[n, 1, rows, columns]`, zeros and ones.
    pub image: Tensor,
    pub graph: Option<Graphs>,
}

/// The graphs of `n` cells.
#[derive(Debug)]
pub struct Graphs {
    /// f32 `[n, v, v]`: `A + I`, every row divided by its sum.
    pub forward: Tensor,
    /// f32 `[n, v, v]`: `A^T + I`, the same.
    pub backward: Tensor,
    /// f32 `[n, v, labels]`: one-hot; zero rows where there is no vertex.
    pub labels: Tensor,
    /// f32 `[n, 1, v]`: one over the number of vertices at each of them, zero elsewhere: a product with it is the mean.
    pub share: Tensor,
}

/// One architecture.
struct Code {
    flat: Vec<f32>,
    rows: Vec<Vec<f32>>,
    graph: Option<Graph>,
}

struct Graph {
    /// `v x v`
    adjacency: Vec<Vec<bool>>,
    /// Label of each vertex; `None` for padding.
    labels: Vec<Option<usize>>,
    kinds: usize,
}

impl Coder {
    /// The coder of a space, by its name.
    pub fn of(space: &Space) -> Coder {
        match space.name.as_str() {
            "nas-bench-101" => Coder::Cell101,
            "nas-bench-201" => Coder::Cell201,
            _ => Coder::Decisions(Box::new(space.clone())),
        }
    }

    /// Length of the flat code.
    pub fn flat_len(&self) -> i64 {
        match self {
            Coder::Cell101 => 36,
            Coder::Cell201 => 30,
            Coder::Decisions(space) => space.decisions.iter().map(|d| d.options.len() as i64).sum(),
        }
    }

    /// Rows and columns of the image.
    pub fn image_size(&self) -> (i64, i64) {
        match self {
            Coder::Cell101 => (7, 12),
            Coder::Cell201 => (8, 15),
            Coder::Decisions(space) => {
                let options = space.decisions.iter().map(|d| d.options.len()).max().unwrap_or(1);
                (space.decisions.len() as i64, options as i64)
            }
        }
    }

    /// Labels of the vertices, if there are graphs.
    pub fn labels(&self) -> Option<i64> {
        match self {
            Coder::Cell101 => Some(5),
            Coder::Cell201 => Some(7),
            Coder::Decisions(_) => None,
        }
    }

    /// Codes of these architectures.
    ///
    /// # Errors
    /// An architecture that is not of this space.
    pub fn codes(&self, archs: &[Arch], device: Device) -> Result<Codes> {
        let coded: Vec<Code> = archs.iter().map(|arch| self.code(arch)).collect::<Result<_>>()?;
        let n = coded.len() as i64;
        let (rows, columns) = self.image_size();
        let tensor = |values: Vec<f32>, shape: &[i64]| -> Result<Tensor, TorchError> {
            if values.is_empty() {
                return Ok(Tensor::f_zeros(shape, (Kind::Float, device))?);
            }
            Ok(Tensor::f_from_slice(&values)?.f_view(shape)?.f_to_device(device)?)
        };
        let build = || -> Result<Codes, TorchError> {
            let flat = tensor(coded.iter().flat_map(|c| c.flat.iter().copied()).collect(), &[n, self.flat_len()])?;
            let image = coded.iter().flat_map(|c| c.rows.iter().flatten().copied()).collect();
            let image = tensor(image, &[n, 1, rows, columns])?;
            let graph = match self.labels() {
                None => None,
                Some(kinds) => {
                    let graphs = || coded.iter().filter_map(|c| c.graph.as_ref());
                    let adjacency =
                        graphs().flat_map(|g| g.adjacency.iter().flatten().map(|&e| f32::from(u8::from(e))));
                    let adjacency = tensor(adjacency.collect(), &[n, rows, rows])?;
                    let labels = tensor(graphs().flat_map(Graph::one_hot).collect(), &[n, rows, kinds])?;
                    let share = tensor(graphs().flat_map(Graph::share).collect(), &[n, 1, rows])?;
                    let eye = Tensor::f_eye(rows, (Kind::Float, device))?;
                    let normal = |a: Tensor| -> Result<Tensor, TorchError> {
                        let looped = a.f_add(&eye)?;
                        Ok(looped.f_div(&looped.f_sum_dim_intlist([-1i64].as_slice(), true, Kind::Float)?)?)
                    };
                    let forward = normal(adjacency.shallow_clone())?;
                    let backward = normal(adjacency.f_transpose(1, 2)?)?.f_contiguous()?;
                    Some(Graphs { forward, backward, labels, share })
                }
            };
            Ok(Codes { flat, image, graph })
        };
        build().map_err(MethodError::failed)
    }

    fn code(&self, arch: &Arch) -> Result<Code> {
        match self {
            Coder::Cell101 => cell101(&Cell101::from_genes(&arch.genes).map_err(MethodError::failed)?),
            Coder::Cell201 => Ok(cell201(&Cell201::from_genes(&arch.genes).map_err(MethodError::failed)?)),
            Coder::Decisions(space) => decisions(space, arch),
        }
    }
}

impl Graph {
    fn one_hot(&self) -> impl Iterator<Item = f32> {
        let row = |label: &Option<usize>| {
            let label = *label;
            (0..self.kinds).map(move |k| f32::from(u8::from(label == Some(k)))).collect::<Vec<f32>>()
        };
        self.labels.iter().flat_map(row).collect::<Vec<f32>>().into_iter()
    }

    fn share(&self) -> impl Iterator<Item = f32> {
        let there = self.labels.iter().flatten().count().max(1) as f32;
        self.labels.iter().map(move |l| if l.is_some() { 1.0 / there } else { 0.0 }).collect::<Vec<f32>>().into_iter()
    }

    /// `[A | O]`, row by row.
    fn rows(&self) -> Vec<Vec<f32>> {
        let labels: Vec<f32> = self.one_hot().collect();
        let edges = self.adjacency.iter().map(|row| row.iter().map(|&e| f32::from(u8::from(e))));
        edges.zip(labels.chunks(self.kinds)).map(|(edges, ops)| edges.chain(ops.iter().copied()).collect()).collect()
    }
}

fn cell101(cell: &Cell101) -> Result<Code> {
    let n = cell.ops.len();
    if !(2..=MAX_VERTICES).contains(&n) {
        return Err(MethodError::failed(format!("a cell of {n} vertices does not fit {MAX_VERTICES}")));
    }
    // The output goes last, whatever stands between.
    let place = |v: usize| if v + 1 == n { MAX_VERTICES - 1 } else { v };
    let mut adjacency = vec![vec![false; MAX_VERTICES]; MAX_VERTICES];
    let mut labels = vec![None; MAX_VERTICES];
    for (i, op) in cell.ops.iter().enumerate() {
        let label = match op {
            Vertex::Input => 0,
            Vertex::Conv3x3 => 1,
            Vertex::Conv1x1 => 2,
            Vertex::MaxPool3x3 => 3,
            Vertex::Output => 4,
        };
        labels[place(i)] = Some(label);
        for j in (i + 1)..n {
            adjacency[place(i)][place(j)] = cell.adjacency[i][j];
        }
    }
    let bit = |set: bool| f32::from(u8::from(set));
    let edges = (0..MAX_VERTICES).flat_map(|i| ((i + 1)..MAX_VERTICES).map(move |j| (i, j)));
    let mut flat: Vec<f32> = edges.map(|(i, j)| bit(adjacency[i][j])).collect();
    for label in &labels[1..MAX_VERTICES - 1] {
        flat.extend((1..4).map(|op| bit(*label == Some(op))));
    }
    let graph = Graph { adjacency, labels, kinds: 5 };
    Ok(Code { flat, rows: graph.rows(), graph: Some(graph) })
}

fn cell201(cell: &Cell201) -> Code {
    let edges = Cell201::EDGES;
    let mut adjacency = vec![vec![false; VERTICES_201]; VERTICES_201];
    for (i, &(from, to)) in edges.iter().enumerate() {
        adjacency[0][i + 1] |= from == 0;
        adjacency[i + 1][VERTICES_201 - 1] |= to == 3;
        for (j, &(start, _)) in edges.iter().enumerate() {
            adjacency[i + 1][j + 1] |= start == to;
        }
    }
    let ops = cell.ops.iter().map(|op| Some(1 + *op as usize));
    let labels: Vec<Option<usize>> = std::iter::once(Some(0)).chain(ops).chain([Some(6)]).collect();
    let flat = cell.ops.iter().flat_map(|op| (0..5).map(|k| f32::from(u8::from(*op as usize == k)))).collect();
    let graph = Graph { adjacency, labels, kinds: 7 };
    Code { flat, rows: graph.rows(), graph: Some(graph) }
}

fn decisions(space: &Space, arch: &Arch) -> Result<Code> {
    space.validate(arch).map_err(MethodError::failed)?;
    let columns = space.decisions.iter().map(|d| d.options.len()).max().unwrap_or(1);
    let hot = |n: usize, gene: &str, options: &[String]| -> Vec<f32> {
        (0..n).map(|k| f32::from(u8::from(options.get(k).is_some_and(|o| o == gene)))).collect()
    };
    let pairs = || space.decisions.iter().zip(&arch.genes);
    let flat = pairs().flat_map(|(d, gene)| hot(d.options.len(), gene, &d.options)).collect();
    let rows = pairs().map(|(d, gene)| hot(columns, gene, &d.options)).collect();
    Ok(Code { flat, rows, graph: None })
}

impl Codes {
    /// Number of architectures.
    pub fn len(&self) -> i64 {
        self.flat.size().first().copied().unwrap_or(0)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same tensors once more; graphs only if `graphs`.
    pub fn share(&self, graphs: bool) -> Codes {
        let graph = self.graph.as_ref().filter(|_| graphs).map(|g| Graphs {
            forward: g.forward.shallow_clone(),
            backward: g.backward.shallow_clone(),
            labels: g.labels.shallow_clone(),
            share: g.share.shallow_clone(),
        });
        Codes { flat: self.flat.shallow_clone(), image: self.image.shallow_clone(), graph }
    }

    /// Rows `index` (i64 on the codes' device).
    pub fn select(&self, index: &Tensor) -> Result<Codes, TorchError> {
        self.map(|t| Ok(t.f_index_select(0, index)?))
    }

    /// `len` rows from `start`.
    pub fn range(&self, start: i64, len: i64) -> Result<Codes, TorchError> {
        self.map(|t| Ok(t.f_narrow(0, start, len)?))
    }

    /// These and then those of `other`.
    pub fn with(&self, other: &Codes) -> Result<Codes, TorchError> {
        let join = |a: &Tensor, b: &Tensor| -> Result<Tensor, TorchError> { Ok(Tensor::f_cat(&[a, b], 0)?) };
        let graph = match (&self.graph, &other.graph) {
            (Some(a), Some(b)) => Some(Graphs {
                forward: join(&a.forward, &b.forward)?,
                backward: join(&a.backward, &b.backward)?,
                labels: join(&a.labels, &b.labels)?,
                share: join(&a.share, &b.share)?,
            }),
            _ => None,
        };
        Ok(Codes { flat: join(&self.flat, &other.flat)?, image: join(&self.image, &other.image)?, graph })
    }

    fn map(&self, f: impl Fn(&Tensor) -> Result<Tensor, TorchError>) -> Result<Codes, TorchError> {
        let graph = match &self.graph {
            None => None,
            Some(g) => Some(Graphs {
                forward: f(&g.forward)?,
                backward: f(&g.backward)?,
                labels: f(&g.labels)?,
                share: f(&g.share)?,
            }),
        };
        Ok(Codes { flat: f(&self.flat)?, image: f(&self.image)?, graph })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn rows(t: &Tensor) -> Vec<Vec<f32>> {
        Vec::try_from(t).unwrap()
    }

    #[test]
    fn a_small_cell_of_nas_bench_101_is_padded_with_its_output_last() {
        let cell = Cell101::from_table("010001000", "input|conv1x1-bn-relu|output").unwrap();
        let codes = Coder::Cell101.codes(&[cell.arch().unwrap()], Device::Cpu).unwrap();
        let flat = &rows(&codes.flat)[0];
        assert_eq!(flat.len(), 36);
        // Edges 0 -> 1 and 1 -> 6, of the upper triangle row by row; conv1x1 is the second operation of inner vertex 1.
        let ones: Vec<usize> = (0..36).filter(|&i| flat[i] == 1.0).collect();
        assert_eq!(ones, [0, 10, 22]);
        assert_eq!(codes.image.size(), [1, 1, 7, 12]);
        let image = rows(&codes.image.view([7, 12]));
        assert_eq!((image[0][1], image[1][6], image[1][7 + 2], image[6][7 + 4]), (1.0, 1.0, 1.0, 1.0));
        assert_eq!(image.iter().flatten().sum::<f32>(), 2.0 + 3.0);
        let graph = codes.graph.unwrap();
        assert_eq!(rows(&graph.forward.view([7, 7]))[1], [0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.5]);
        assert_eq!(rows(&graph.backward.view([7, 7]))[6], [0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.5]);
        // Padding is masked: the mean counts three vertices.
        let third = 1.0 / 3.0;
        assert_eq!(rows(&graph.share.view([1, 7]))[0], [third, third, 0.0, 0.0, 0.0, 0.0, third]);
        assert_eq!(graph.labels.sum(Kind::Float).double_value(&[]), 3.0);
    }

    #[test]
    fn operations_are_the_vertices_of_a_cell_of_nas_bench_201() {
        let cell =
            Cell201::from_text("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|").unwrap();
        let codes = Coder::Cell201.codes(&[cell.arch()], Device::Cpu).unwrap();
        assert_eq!((codes.flat.size(), codes.image.size()), (vec![1, 30], vec![1, 1, 8, 15]));
        let image = rows(&codes.image.view([8, 15]));
        let neighbours = |v: usize| (0..8).filter(|&j| image[v][j] == 1.0).collect::<Vec<_>>();
        // From the input: edges into node 1, 2, 3. After 1<-0 come 2<-1 and 3<-1; after 3<-2 the output.
        assert_eq!((neighbours(0), neighbours(1), neighbours(6)), (vec![1, 2, 4], vec![3, 5], vec![7]));
        assert_eq!(neighbours(7), Vec::<usize>::new());
        assert_eq!((image[1][8 + 4], image[3][8 + 2], image[7][8 + 6]), (1.0, 1.0, 1.0));
    }

    #[test]
    fn other_spaces_are_one_hot_of_their_decisions() {
        let space = Space::named("digits-mlp").unwrap();
        let coder = Coder::of(&space);
        let arch = space.reference();
        let codes = coder.codes(&[arch.clone(), arch.clone()], Device::Cpu).unwrap();
        let options: usize = space.decisions.iter().map(|d| d.options.len()).sum();
        assert_eq!(codes.flat.size(), [2, options as i64]);
        assert_eq!(codes.flat.sum(Kind::Float).double_value(&[]), 2.0 * space.decisions.len() as f64);
        assert_eq!(codes.image.size()[2], space.decisions.len() as i64);
        assert!(codes.graph.is_none());
        let other = Arch { space: "conv-cells".into(), ..arch };
        assert!(coder.codes(&[other], Device::Cpu).unwrap_err().to_string().contains("conv-cells"));
        let one = Space::named("digits-mlp").unwrap().only(&BTreeMap::new()).unwrap();
        assert_eq!(Coder::of(&one).flat_len(), coder.flat_len());
    }
}
