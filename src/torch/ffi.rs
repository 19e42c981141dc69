//! The only unsafe code of Kiln: declarations of `shim.cpp` and of the few libc calls, each behind a safe function.
//!
//! Everything else in the crate calls the functions below and knows no pointer. Keep the declarations in step with the
//! C++ file. A [`tch::Tensor`] is a pointer to an `at::Tensor`; `as_ptr` lends it, `from_ptr` takes a new one over.
#![allow(unsafe_code)]

use crate::error::TorchError;
use crate::layers::{Conv, Norm};
use libc::{c_char, c_int, c_void};
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr::{NonNull, null, null_mut};
use tch::Tensor;
use torch_sys::C_tensor;

/// A network being traced, on the heap.
#[repr(C)]
struct RawTrace {
    _private: [u8; 0],
}

/// An `at::Generator` on the heap.
#[repr(C)]
struct RawGenerator {
    _private: [u8; 0],
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RawAutocast {
    pub enabled: c_int,
    pub dtype: c_int,
    pub cache: c_int,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawSgd {
    pub lr: f64,
    pub momentum: f64,
    pub dampening: f64,
    pub weight_decay: f64,
    pub nesterov: c_int,
    pub first_step: c_int,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawAdamW {
    pub lr: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    pub weight_decay: f64,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RawMemory {
    pub total: u64,
    pub free: u64,
    pub allocated: u64,
    pub reserved: u64,
    pub peak_allocated: u64,
    pub peak_reserved: u64,
    pub out_of_memory: u64,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RawStream {
    pub id: i64,
    pub device: c_int,
}

type Tensors = *const *const C_tensor;
type SgdKernel = unsafe extern "C" fn(*const RawSgd, usize, Tensors, Tensors, usize, Tensors) -> c_int;
type AdamWKernel = unsafe extern "C" fn(*const RawAdamW, usize, Tensors, Tensors, Tensors, Tensors, Tensors) -> c_int;

unsafe extern "C" {
    fn kiln_last_error() -> *const c_char;
    fn kiln_torch_version() -> *const c_char;
    fn kiln_torch_library() -> *const c_char;

    fn kiln_generator_new(seed: u64, device: c_int, out: *mut *mut RawGenerator) -> c_int;
    fn kiln_generator_free(generator: *mut RawGenerator);
    fn kiln_generator_state(generator: *const RawGenerator, out: *mut *mut C_tensor) -> c_int;
    fn kiln_generator_set_state(generator: *mut RawGenerator, state: *const C_tensor) -> c_int;
    fn kiln_normal(t: *const C_tensor, mean: f64, std: f64, generator: *mut RawGenerator) -> c_int;
    fn kiln_uniform(t: *const C_tensor, low: f64, high: f64, generator: *mut RawGenerator) -> c_int;
    fn kiln_bernoulli(t: *const C_tensor, p: f64, generator: *mut RawGenerator) -> c_int;
    fn kiln_randperm(n: i64, generator: *mut RawGenerator, out: *mut *mut C_tensor) -> c_int;
    fn kiln_randint(
        low: i64,
        high: i64,
        shape: *const i64,
        dims: usize,
        generator: *mut RawGenerator,
        out: *mut *mut C_tensor,
    ) -> c_int;

    fn kiln_set_grad(t: *const C_tensor, grad: *const C_tensor) -> c_int;
    fn kiln_clear_grads(tensors: Tensors, n: usize) -> c_int;
    fn kiln_grad_mode_exchange(enabled: c_int, previous: *mut c_int);
    fn kiln_autocast_exchange(cuda: c_int, next: *const RawAutocast, previous: *mut RawAutocast) -> c_int;
    fn kiln_channels_last(t: *const C_tensor, out: *mut *mut C_tensor) -> c_int;
    fn kiln_contiguous(t: *const C_tensor, out: *mut *mut C_tensor) -> c_int;

    fn kiln_conv(
        x: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        stride: i64,
        padding: i64,
        groups: i64,
        relu: c_int,
        rows: c_int,
        out: *mut *mut C_tensor,
    ) -> c_int;
    fn kiln_norm(
        x: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        running_mean: *const C_tensor,
        running_var: *const C_tensor,
        training: c_int,
        momentum: f64,
        eps: f64,
        relu: c_int,
        rows: c_int,
        out: *mut *mut C_tensor,
    ) -> c_int;

    fn kiln_fused_sgd(o: *const RawSgd, n: usize, p: Tensors, g: Tensors, buffers: usize, m: Tensors) -> c_int;
    fn kiln_foreach_sgd(o: *const RawSgd, n: usize, p: Tensors, g: Tensors, buffers: usize, m: Tensors) -> c_int;
    fn kiln_fused_adamw(
        o: *const RawAdamW,
        n: usize,
        p: Tensors,
        g: Tensors,
        averages: Tensors,
        squares: Tensors,
        steps: Tensors,
    ) -> c_int;
    fn kiln_foreach_adamw(
        o: *const RawAdamW,
        n: usize,
        p: Tensors,
        g: Tensors,
        averages: Tensors,
        squares: Tensors,
        steps: Tensors,
    ) -> c_int;
    fn kiln_clip_grad_norm(n: usize, grads: Tensors, max_norm: f64, out: *mut *mut C_tensor) -> c_int;

    fn kiln_set_threads(n: c_int) -> c_int;
    fn kiln_get_threads() -> c_int;
    fn kiln_deterministic(on: c_int) -> c_int;
    fn kiln_is_deterministic() -> c_int;
    fn kiln_tf32(on: c_int) -> c_int;
    fn kiln_get_tf32(matmul: *mut c_int, conv: *mut c_int) -> c_int;
    fn kiln_cudnn_benchmark(on: c_int) -> c_int;
    fn kiln_get_cudnn_benchmark() -> c_int;

    fn kiln_cuda_devices(devices: *mut c_int, cudnn: *mut i64) -> c_int;
    fn kiln_memory(device: c_int, out: *mut RawMemory) -> c_int;
    fn kiln_reset_peak_memory(device: c_int) -> c_int;
    fn kiln_empty_cache() -> c_int;

    fn kiln_trace_begin(
        n: usize,
        names: *const *const c_char,
        tensors: Tensors,
        trainable: *const c_int,
        input: *const C_tensor,
        traced: *mut *mut C_tensor,
        out: *mut *mut RawTrace,
    ) -> c_int;
    fn kiln_trace_end(
        trace: *mut RawTrace,
        output: *const C_tensor,
        path: *const c_char,
        extras: usize,
        extra_names: *const *const c_char,
        extra_texts: *const *const c_char,
    ) -> c_int;
    fn kiln_trace_drop(trace: *mut RawTrace);

    fn kiln_stream_new(device: c_int, high_priority: c_int, out: *mut RawStream) -> c_int;
    fn kiln_stream_exchange(next: *const RawStream, previous: *mut RawStream, previous_device: *mut c_int) -> c_int;
    fn kiln_stream_restore(previous: *const RawStream, previous_device: c_int) -> c_int;
    fn kiln_stream_synchronize(stream: *const RawStream) -> c_int;
}

// ---- results ----

fn check(code: c_int) -> Result<(), TorchError> {
    if code == 0 {
        return Ok(());
    }
    // SAFETY: the function returns this thread's string, NUL-terminated and alive until its next failing call; it is
    // copied here, before any other call of this thread.
    let text = unsafe { CStr::from_ptr(kiln_last_error()) }.to_string_lossy().into_owned();
    Err(if code == 2 { TorchError::OutOfMemory(text) } else { TorchError::from_text(&text) })
}

/// Calls a function that leaves a new tensor behind its last argument.
fn new_tensor(call: impl FnOnce(*mut *mut C_tensor) -> c_int) -> Result<Tensor, TorchError> {
    let mut out = null_mut();
    check(call(&mut out))?;
    // SAFETY: on success the shim has stored a `new at::Tensor` that nobody else owns; the Tensor frees it.
    Ok(unsafe { Tensor::from_ptr(out) })
}

/// The addresses of tensors, for a call that lasts no longer than the borrow.
fn pointers(tensors: &[Tensor]) -> Vec<*const C_tensor> {
    tensors.iter().map(Tensor::as_ptr).collect()
}

// ---- generators ----

/// Owner of one C++ generator.
pub(crate) struct GeneratorHandle(NonNull<RawGenerator>);

// SAFETY: the handle is the only reference to its `at::Generator`, whose methods touch no thread-local state; handing it
// to another thread hands over everything. It is not Sync: generators are not safe for use by two threads at once.
unsafe impl Send for GeneratorHandle {}

impl Drop for GeneratorHandle {
    fn drop(&mut self) {
        // SAFETY: the pointer came from kiln_generator_new and is freed once, here.
        unsafe { kiln_generator_free(self.0.as_ptr()) }
    }
}

impl GeneratorHandle {
    pub(crate) fn new(seed: u64, device: c_int) -> Result<GeneratorHandle, TorchError> {
        let mut out = null_mut();
        // SAFETY: `out` is a valid place for one pointer.
        check(unsafe { kiln_generator_new(seed, device, &mut out) })?;
        NonNull::new(out)
            .map(GeneratorHandle)
            .ok_or_else(|| TorchError::Torch("libtorch gave no random generator".into()))
    }

    pub(crate) fn state(&self) -> Result<Tensor, TorchError> {
        // SAFETY: the handle is alive, and the call only reads it.
        new_tensor(|out| unsafe { kiln_generator_state(self.0.as_ptr(), out) })
    }

    pub(crate) fn set_state(&mut self, state: &Tensor) -> Result<(), TorchError> {
        // SAFETY: handle and tensor outlive the call; the C++ side checks the tensor's type and size.
        check(unsafe { kiln_generator_set_state(self.0.as_ptr(), state.as_ptr()) })
    }

    pub(crate) fn normal(&mut self, t: &Tensor, mean: f64, std: f64) -> Result<(), TorchError> {
        // SAFETY: handle and tensor outlive the call; tensors alias by design and are bound to this thread.
        check(unsafe { kiln_normal(t.as_ptr(), mean, std, self.0.as_ptr()) })
    }

    pub(crate) fn uniform(&mut self, t: &Tensor, low: f64, high: f64) -> Result<(), TorchError> {
        // SAFETY: as for `normal`.
        check(unsafe { kiln_uniform(t.as_ptr(), low, high, self.0.as_ptr()) })
    }

    pub(crate) fn bernoulli(&mut self, t: &Tensor, p: f64) -> Result<(), TorchError> {
        // SAFETY: as for `normal`.
        check(unsafe { kiln_bernoulli(t.as_ptr(), p, self.0.as_ptr()) })
    }

    pub(crate) fn randperm(&mut self, n: i64) -> Result<Tensor, TorchError> {
        // SAFETY: the handle is alive.
        new_tensor(|out| unsafe { kiln_randperm(n, self.0.as_ptr(), out) })
    }

    pub(crate) fn randint(&mut self, low: i64, high: i64, shape: &[i64]) -> Result<Tensor, TorchError> {
        // SAFETY: the handle is alive; shape and its length belong together.
        new_tensor(|out| unsafe { kiln_randint(low, high, shape.as_ptr(), shape.len(), self.0.as_ptr(), out) })
    }
}

// ---- gradients, guards, formats ----

pub(crate) fn set_grad(t: &Tensor, grad: Option<&Tensor>) -> Result<(), TorchError> {
    // SAFETY: both tensors outlive the call; null means "none" to the shim.
    check(unsafe { kiln_set_grad(t.as_ptr(), grad.map_or(null(), Tensor::as_ptr)) })
}

pub(crate) fn clear_grads(tensors: &[Tensor]) -> Result<(), TorchError> {
    let tensors = pointers(tensors);
    // SAFETY: pointers and length belong together, and the borrowed tensors outlive the call.
    check(unsafe { kiln_clear_grads(tensors.as_ptr(), tensors.len()) })
}

/// Sets gradient mode of this thread, gives the one before.
pub(crate) fn grad_mode_exchange(enabled: bool) -> bool {
    let mut previous = 0;
    // SAFETY: `previous` is a valid place for an int; the call touches a thread-local flag only.
    unsafe { kiln_grad_mode_exchange(c_int::from(enabled), &mut previous) };
    previous != 0
}

pub(crate) fn autocast_exchange(cuda: bool, next: &RawAutocast) -> Result<RawAutocast, TorchError> {
    let mut previous = RawAutocast::default();
    // SAFETY: both structs are valid for the call, and `dtype` is a ScalarType: ours or one that torch gave before.
    check(unsafe { kiln_autocast_exchange(c_int::from(cuda), next, &mut previous) })?;
    Ok(previous)
}

pub(crate) fn channels_last(t: &Tensor) -> Result<Tensor, TorchError> {
    // SAFETY: the tensor outlives the call.
    new_tensor(|out| unsafe { kiln_channels_last(t.as_ptr(), out) })
}

pub(crate) fn contiguous(t: &Tensor) -> Result<Tensor, TorchError> {
    // SAFETY: the tensor outlives the call.
    new_tensor(|out| unsafe { kiln_contiguous(t.as_ptr(), out) })
}

// ---- operations ----

/// The address of a tensor that may be missing.
fn pointer(tensor: Option<&Tensor>) -> *const C_tensor {
    tensor.map_or(null(), |t| t.as_ptr())
}

pub(crate) fn conv(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, how: &Conv) -> Result<Tensor, TorchError> {
    let &Conv { stride, padding, groups, relu, rows } = how;
    let (relu, rows) = (c_int::from(relu), c_int::from(rows));
    // SAFETY: the tensors outlive the call.
    new_tensor(|out| unsafe {
        kiln_conv(x.as_ptr(), weight.as_ptr(), pointer(bias), stride, padding, groups, relu, rows, out)
    })
}

pub(crate) fn norm(
    x: &Tensor,
    (weight, bias): (&Tensor, &Tensor),
    running: Option<(&Tensor, &Tensor)>,
    how: &Norm,
) -> Result<Tensor, TorchError> {
    let (mean, var) = (pointer(running.map(|r| r.0)), pointer(running.map(|r| r.1)));
    let (training, momentum) = (c_int::from(how.momentum.is_some()), how.momentum.unwrap_or(0.0));
    let (relu, rows) = (c_int::from(how.relu), c_int::from(how.rows));
    // SAFETY: the tensors outlive the call.
    new_tensor(|out| unsafe {
        let (x, weight, bias) = (x.as_ptr(), weight.as_ptr(), bias.as_ptr());
        kiln_norm(x, weight, bias, mean, var, training, momentum, how.eps, relu, rows, out)
    })
}

// ---- optimiser kernels ----

fn sgd(
    kernel: SgdKernel,
    o: &RawSgd,
    params: &[Tensor],
    grads: &[Tensor],
    momentum: &[Tensor],
) -> Result<(), TorchError> {
    same_number("gradients", params, grads)?;
    let (p, g, m) = (pointers(params), pointers(grads), pointers(momentum));
    // SAFETY: params and grads have `p.len()` entries each (checked above), momentum its own count; all outlive the call.
    check(unsafe { kernel(o, p.len(), p.as_ptr(), g.as_ptr(), m.len(), m.as_ptr()) })
}

pub(crate) fn fused_sgd(o: &RawSgd, p: &[Tensor], g: &[Tensor], m: &[Tensor]) -> Result<(), TorchError> {
    sgd(kiln_fused_sgd, o, p, g, m)
}

pub(crate) fn foreach_sgd(o: &RawSgd, p: &[Tensor], g: &[Tensor], m: &[Tensor]) -> Result<(), TorchError> {
    sgd(kiln_foreach_sgd, o, p, g, m)
}

/// State of AdamW, one entry a parameter.
#[derive(Clone, Copy)]
pub(crate) struct Moments<'a> {
    pub averages: &'a [Tensor],
    pub squares: &'a [Tensor],
    pub steps: &'a [Tensor],
}

fn adamw(
    kernel: AdamWKernel,
    o: &RawAdamW,
    params: &[Tensor],
    grads: &[Tensor],
    state: Moments,
) -> Result<(), TorchError> {
    same_number("gradients", params, grads)?;
    same_number("first moments", params, state.averages)?;
    same_number("second moments", params, state.squares)?;
    same_number("step counts", params, state.steps)?;
    let (p, g) = (pointers(params), pointers(grads));
    let (a, s, n) = (pointers(state.averages), pointers(state.squares), pointers(state.steps));
    // SAFETY: all five lists have `p.len()` entries (checked above) and outlive the call.
    check(unsafe { kernel(o, p.len(), p.as_ptr(), g.as_ptr(), a.as_ptr(), s.as_ptr(), n.as_ptr()) })
}

pub(crate) fn fused_adamw(o: &RawAdamW, p: &[Tensor], g: &[Tensor], state: Moments) -> Result<(), TorchError> {
    adamw(kiln_fused_adamw, o, p, g, state)
}

pub(crate) fn foreach_adamw(o: &RawAdamW, p: &[Tensor], g: &[Tensor], state: Moments) -> Result<(), TorchError> {
    adamw(kiln_foreach_adamw, o, p, g, state)
}

fn same_number(what: &str, params: &[Tensor], other: &[Tensor]) -> Result<(), TorchError> {
    if params.len() == other.len() {
        return Ok(());
    }
    Err(TorchError::Torch(format!("{} parameters came with {} {what}", params.len(), other.len())))
}

pub(crate) fn clip_grad_norm(grads: &[Tensor], max_norm: f64) -> Result<Tensor, TorchError> {
    let grads = pointers(grads);
    // SAFETY: pointers and length belong together, and the borrowed tensors outlive the call.
    new_tensor(|out| unsafe { kiln_clip_grad_norm(grads.len(), grads.as_ptr(), max_norm, out) })
}

// ---- tracing ----

/// A trace under way on this thread; dropping it gives it up.
pub(crate) struct Trace(NonNull<RawTrace>);

impl Drop for Trace {
    fn drop(&mut self) {
        // SAFETY: the pointer came from kiln_trace_begin and is freed once: here, or by `end`, which forgets the handle.
        unsafe { kiln_trace_drop(self.0.as_ptr()) }
    }
}

/// Texts as C strings.
fn c_strings<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<CString>, TorchError> {
    let owned =
        texts.map(|text| CString::new(text).map_err(|_| TorchError::Request(format!("{text:?} has a zero byte"))));
    owned.collect()
}

impl Trace {
    /// Begins, and gives the tensor that stands for the input.
    pub(crate) fn begin(held: &[crate::script::Held], input: &Tensor) -> Result<(Trace, Tensor), TorchError> {
        let owned = c_strings(held.iter().map(|h| h.name))?;
        let names: Vec<*const c_char> = owned.iter().map(|name| name.as_ptr()).collect();
        let tensors: Vec<*const C_tensor> = held.iter().map(|h| h.tensor.as_ptr()).collect();
        let trainable: Vec<c_int> = held.iter().map(|h| c_int::from(h.trainable)).collect();
        let (mut traced, mut out) = (null_mut(), null_mut());
        // SAFETY: the three lists have `held.len()` entries each, and everything they point to outlives the call; on
        // success the shim has stored a new tensor and a new trace that nobody else owns.
        check(unsafe {
            kiln_trace_begin(
                held.len(),
                names.as_ptr(),
                tensors.as_ptr(),
                trainable.as_ptr(),
                input.as_ptr(),
                &mut traced,
                &mut out,
            )
        })?;
        // SAFETY: as above.
        let traced = unsafe { Tensor::from_ptr(traced) };
        let trace = NonNull::new(out).ok_or_else(|| TorchError::Torch("libtorch gave no trace".into()))?;
        Ok((Trace(trace), traced))
    }

    /// Ends, and writes the module.
    pub(crate) fn end(self, output: &Tensor, path: &Path, texts: &[(&str, &str)]) -> Result<(), TorchError> {
        let file = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| TorchError::Request(format!("the path {} has a zero byte", path.display())))?;
        let (owned_names, owned_texts) = (c_strings(texts.iter().map(|t| t.0))?, c_strings(texts.iter().map(|t| t.1))?);
        let names: Vec<*const c_char> = owned_names.iter().map(|text| text.as_ptr()).collect();
        let bodies: Vec<*const c_char> = owned_texts.iter().map(|text| text.as_ptr()).collect();
        let trace = self.0.as_ptr();
        std::mem::forget(self);
        // SAFETY: the shim takes the trace over, whatever it answers; the lists have `texts.len()` entries each, and
        // everything they point to outlives the call.
        check(unsafe {
            kiln_trace_end(trace, output.as_ptr(), file.as_ptr(), texts.len(), names.as_ptr(), bodies.as_ptr())
        })
    }
}

// ---- switches ----

pub(crate) fn set_threads(n: i32) -> Result<(), TorchError> {
    // SAFETY: takes a plain number.
    check(unsafe { kiln_set_threads(n) })
}

pub(crate) fn threads() -> i32 {
    // SAFETY: only reads a setting of this thread.
    unsafe { kiln_get_threads() }
}

pub(crate) fn deterministic(on: bool) -> Result<(), TorchError> {
    // SAFETY: takes a plain number.
    check(unsafe { kiln_deterministic(c_int::from(on)) })
}

pub(crate) fn is_deterministic() -> bool {
    // SAFETY: only reads a flag.
    unsafe { kiln_is_deterministic() != 0 }
}

pub(crate) fn tf32(on: bool) -> Result<(), TorchError> {
    // SAFETY: takes a plain number.
    check(unsafe { kiln_tf32(c_int::from(on)) })
}

/// (matrix products, convolutions)
pub(crate) fn get_tf32() -> Result<(bool, bool), TorchError> {
    let (mut matmul, mut conv) = (0, 0);
    // SAFETY: both are valid places for an int.
    check(unsafe { kiln_get_tf32(&mut matmul, &mut conv) })?;
    Ok((matmul != 0, conv != 0))
}

pub(crate) fn cudnn_benchmark(on: bool) -> Result<(), TorchError> {
    // SAFETY: takes a plain number.
    check(unsafe { kiln_cudnn_benchmark(c_int::from(on)) })
}

pub(crate) fn get_cudnn_benchmark() -> bool {
    // SAFETY: only reads a flag.
    unsafe { kiln_get_cudnn_benchmark() != 0 }
}

// ---- devices and streams ----

/// (number of CUDA devices, cuDNN's version number or 0)
pub(crate) fn cuda_devices() -> Result<(i32, i64), TorchError> {
    let (mut devices, mut cudnn) = (0, 0);
    // SAFETY: both are valid places of their type.
    check(unsafe { kiln_cuda_devices(&mut devices, &mut cudnn) })?;
    Ok((devices, cudnn))
}

pub(crate) fn memory(device: c_int) -> Result<RawMemory, TorchError> {
    let mut out = RawMemory::default();
    // SAFETY: `out` is a valid struct of the layout that the shim writes.
    check(unsafe { kiln_memory(device, &mut out) })?;
    Ok(out)
}

pub(crate) fn reset_peak_memory(device: c_int) -> Result<(), TorchError> {
    // SAFETY: takes a plain number; the C++ side checks the index.
    check(unsafe { kiln_reset_peak_memory(device) })
}

pub(crate) fn empty_cache() -> Result<(), TorchError> {
    // SAFETY: takes nothing; blocks in use are not touched.
    check(unsafe { kiln_empty_cache() })
}

pub(crate) fn stream_new(device: c_int, high_priority: bool) -> Result<RawStream, TorchError> {
    let mut out = RawStream::default();
    // SAFETY: `out` is a valid struct of the layout that the shim writes.
    check(unsafe { kiln_stream_new(device, c_int::from(high_priority), &mut out) })?;
    Ok(out)
}

/// Gives the stream and the device that were current before.
pub(crate) fn stream_exchange(next: RawStream) -> Result<(RawStream, c_int), TorchError> {
    let (mut previous, mut device) = (RawStream::default(), 0);
    // SAFETY: all three are valid for the call; streams of torch's pool live as long as the process.
    check(unsafe { kiln_stream_exchange(&next, &mut previous, &mut device) })?;
    Ok((previous, device))
}

pub(crate) fn stream_restore(previous: RawStream, device: c_int) -> Result<(), TorchError> {
    // SAFETY: the struct is valid for the call and holds what stream_exchange gave.
    check(unsafe { kiln_stream_restore(&previous, device) })
}

pub(crate) fn stream_synchronize(stream: RawStream) -> Result<(), TorchError> {
    // SAFETY: the struct is valid for the call and holds a stream of torch's pool.
    check(unsafe { kiln_stream_synchronize(&stream) })
}

// ---- libraries and the process ----

pub(crate) fn torch_version() -> &'static str {
    // SAFETY: a string literal of the shim.
    unsafe { CStr::from_ptr(kiln_torch_version()) }.to_str().unwrap_or("unknown")
}

/// Where the loaded libtorch_cpu.so lies.
pub(crate) fn torch_library() -> Option<PathBuf> {
    // SAFETY: null or the dynamic linker's own string, which lives as long as the library: to the end of the process.
    let name = NonNull::new(unsafe { kiln_torch_library() }.cast_mut())?;
    // SAFETY: not null (just checked), NUL-terminated, see above.
    Some(PathBuf::from(OsStr::from_bytes(unsafe { CStr::from_ptr(name.as_ptr()) }.to_bytes())))
}

/// A shared library that stays open until the process ends.
#[derive(Clone, Copy)]
pub(crate) struct Library(NonNull<c_void>);

/// Whether the symbols of a library serve the libraries opened after it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Symbols {
    Global,
    Local,
}

impl Library {
    /// Opens a library; the error is the dynamic linker's text, which names a missing dependency.
    pub(crate) fn open(path: &Path, symbols: Symbols) -> Result<Library, String> {
        let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| "the path holds a zero byte".to_string())?;
        let mode = libc::RTLD_NOW | if symbols == Symbols::Global { libc::RTLD_GLOBAL } else { libc::RTLD_LOCAL };
        // SAFETY: a NUL-terminated name; the initialisers that run are those of torch's and NVIDIA's own libraries.
        let handle = unsafe { libc::dlopen(name.as_ptr(), mode) };
        NonNull::new(handle).map(Library).ok_or_else(|| {
            // SAFETY: dlerror gives null or this thread's message, valid until the next dl call; it is copied at once.
            match NonNull::new(unsafe { libc::dlerror() }) {
                // SAFETY: not null, NUL-terminated, see above.
                Some(text) => unsafe { CStr::from_ptr(text.as_ptr()) }.to_string_lossy().into_owned(),
                None => "the dynamic linker gives no reason".into(),
            }
        })
    }

    fn symbol(self, name: &CStr) -> Option<NonNull<c_void>> {
        // SAFETY: the handle is open (it is never closed) and the name NUL-terminated.
        NonNull::new(unsafe { libc::dlsym(self.0.as_ptr(), name.as_ptr()) })
    }

    /// Asks the CUDA driver (this library must be libcuda) for the name of a device; None if it will not tell.
    pub(crate) fn cuda_device_name(self, ordinal: c_int) -> Option<String> {
        type Init = unsafe extern "C" fn(u32) -> c_int;
        type Get = unsafe extern "C" fn(*mut c_int, c_int) -> c_int;
        type Name = unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int;
        let (init, get, name) =
            (self.symbol(c"cuInit")?, self.symbol(c"cuDeviceGet")?, self.symbol(c"cuDeviceGetName")?);
        // SAFETY: these are the driver API's signatures, unchanged since CUDA 2.
        let (init, get, name) = unsafe {
            (
                std::mem::transmute::<*mut c_void, Init>(init.as_ptr()),
                std::mem::transmute::<*mut c_void, Get>(get.as_ptr()),
                std::mem::transmute::<*mut c_void, Name>(name.as_ptr()),
            )
        };
        let (mut device, mut text) = (0, [0 as c_char; 256]);
        let capacity = c_int::try_from(text.len()).ok()? - 1;
        // SAFETY: cuInit may be called again and again; both outputs are valid, and the name gets one byte less than the
        // buffer has, so that the last stays zero.
        let failed =
            unsafe { init(0) != 0 || get(&mut device, ordinal) != 0 || name(text.as_mut_ptr(), capacity, device) != 0 };
        // SAFETY: the buffer ends in a zero, see above.
        (!failed).then(|| unsafe { CStr::from_ptr(text.as_ptr()) }.to_string_lossy().into_owned())
    }
}

/// Sets a variable of the environment if it is unset and this thread is the only one; tells whether it is set now.
pub(crate) fn default_env(name: &str, value: &str) -> bool {
    if std::env::var_os(name).is_some() {
        return true;
    }
    if !std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1) {
        return false;
    }
    // SAFETY: no other thread exists (just counted) that could read the environment meanwhile.
    unsafe { std::env::set_var(name, value) };
    true
}

/// Tells glibc's allocator to keep large blocks instead of returning them to the kernel after every training step.
pub(crate) fn mallopt(parameter: c_int, value: c_int) -> bool {
    // SAFETY: takes plain numbers; glibc locks its own state.
    unsafe { libc::mallopt(parameter, value) == 1 }
}
