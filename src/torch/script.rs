//! Networks for programs without Kiln: TorchScript by tracing.

use std::path::Path;

use tch::Tensor;

use crate::error::TorchError;
use crate::ffi;
use crate::guard::NoGrad;

/// A tensor that the module shall hold.
pub struct Held<'a> {
    /// Parts between dots become sub-modules: `stage1.0.weight`.
    pub name: &'a str,
    /// The very tensor that the computation uses: a copy, or one that shares its storage, is not recognised.
    pub tensor: &'a Tensor,
    /// Whether it becomes a parameter; else a buffer.
    pub trainable: bool,
}

/// Records `forward` on the example `input` and writes it to `path` as a TorchScript module, which PyTorch reads by
/// `torch.jit.load` and libtorch by `torch::jit::load`. What is recorded are operations on tensors: numbers that `forward`
/// read from shapes are constants of the module. `texts` lie beside the code under their names (`_extra_files` in PyTorch).
///
/// # Errors
/// What `forward` answers, or what libtorch says of the module or of the file.
pub fn trace<E: From<TorchError>>(
    held: &[Held<'_>],
    input: &Tensor,
    path: &Path,
    texts: &[(&str, &str)],
    forward: impl FnOnce(&Tensor) -> Result<Tensor, E>,
) -> Result<(), E> {
    let _frozen = NoGrad::new();
    let (trace, input) = ffi::Trace::begin(held, input)?;
    // Dropping the trace ends it, also where `forward` fails or panics.
    let output = forward(&input)?;
    Ok(trace.end(&output, path, texts)?)
}

#[cfg(test)]
mod tests {
    use tch::{CModule, Device, Kind};

    use super::*;

    #[test]
    fn the_module_computes_the_same_and_holds_parameters_and_buffers_under_their_names() {
        let dir = std::env::temp_dir().join(format!("kiln-trace-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("m.pt");
        let weight = Tensor::randn([3, 4], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let offset = Tensor::randn([3], (Kind::Float, Device::Cpu));
        let held = [
            Held { name: "head.0.weight", tensor: &weight, trainable: true },
            Held { name: "offset", tensor: &offset, trainable: false },
        ];
        let forward = |x: &Tensor| -> Result<Tensor, TorchError> { Ok(x.f_linear(&weight, Some(&offset))?.f_relu_()?) };
        let example = Tensor::zeros([2, 4], (Kind::Float, Device::Cpu));
        trace(&held, &example, &path, &[("about", "{}")], forward).unwrap();

        let module = CModule::load(&path).unwrap();
        let names: Vec<String> = module.named_parameters().unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["head.0.weight"]);
        let x = Tensor::randn([7, 4], (Kind::Float, Device::Cpu));
        let expected = forward(&x).unwrap();
        assert!(module.forward_ts(&[x]).unwrap().equal(&expected), "another number of rows than in the example");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_failed_trace_leaves_the_thread_as_it_was() {
        let x = Tensor::zeros([2], (Kind::Float, Device::Cpu));
        let refuse = |_: &Tensor| -> Result<Tensor, TorchError> { Err(TorchError::Request("no".into())) };
        assert!(trace(&[], &x, Path::new("/nonexistent/m.pt"), &[], refuse).is_err());
        let unwritable = trace(&[], &x, Path::new("/nonexistent/m.pt"), &[], |x| Ok::<_, TorchError>(x.f_relu()?));
        assert!(unwritable.unwrap_err().to_string().contains("nonexistent"));
        // A third one would be refused if the thread were still tracing.
        assert!(trace(&[], &x, Path::new("/nonexistent/m.pt"), &[], refuse).unwrap_err().to_string().contains("no"));
    }
}
