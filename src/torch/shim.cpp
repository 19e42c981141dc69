// What Kiln needs of libtorch and tch 0.24 does not offer, behind a C ABI. Uses symbols of libtorch_cpu and libc10 only,
// so the program links and runs without CUDA; where a CUDA library was opened before, the same calls reach it.
//
// Conventions: errors as in attempt.h; `at::Tensor**` results are owned by the caller. Operations of our own are in ops.cpp.
// The declarations on the Rust side are in ffi.rs; keep the two in step.

#include "attempt.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/DeviceAccelerator.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <c10/core/GradMode.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/headeronly/version.h>

#include <dlfcn.h>

#include <cmath>
#include <string>
#include <vector>

namespace {

thread_local std::string last_error;

}  // namespace

void kiln::keep(const char* text) noexcept {
  try {
    last_error = text;
  } catch (...) {
    last_error.clear();
  }
}

namespace {

using Tensors = std::vector<at::Tensor>;

Tensors list(const at::Tensor* const* tensors, size_t n) {
  Tensors out;
  out.reserve(n);
  for (size_t i = 0; i < n; ++i) out.push_back(*tensors[i]);
  return out;
}

// Device as Rust passes it: -1 for the CPU, else the index of a CUDA device.
at::Device device_of(int device) {
  return device < 0 ? at::Device(at::kCPU) : at::Device(at::kCUDA, static_cast<at::DeviceIndex>(device));
}

// Do the elements lie in the same order? The stride of a dimension of size one means nothing.
bool same_layout(const at::Tensor& a, const at::Tensor& b) {
  for (int64_t d = 0; d < a.dim(); ++d) {
    if (a.size(d) > 1 && a.stride(d) != b.stride(d)) return false;
  }
  return true;
}

void check_like(const at::Tensor& param, const at::Tensor& other, const char* what, size_t i) {
  TORCH_CHECK(other.defined(), what, " ", i, " is undefined");
  TORCH_CHECK(
      other.sizes().equals(param.sizes()) && other.scalar_type() == param.scalar_type() &&
          other.device() == param.device(),
      what, " ", i, " is ", other.sizes(), " of ", other.scalar_type(), " on ", other.device(), ", but its parameter is ",
      param.sizes(), " of ", param.scalar_type(), " on ", param.device());
}

// The fused kernels walk raw memory and check no strides: state must lie exactly as its parameter does.
void check_state(const Tensors& params, const Tensors& state, const char* what) {
  TORCH_CHECK(state.size() == params.size(), params.size(), " parameters came with ", state.size(), " tensors of ", what);
  for (size_t i = 0; i < params.size(); ++i) {
    TORCH_CHECK(params[i].is_non_overlapping_and_dense(), "parameter ", i, " has gaps or overlaps in memory");
    check_like(params[i], state[i], what, i);
    TORCH_CHECK(same_layout(params[i], state[i]), what, " ", i, " lies in memory with strides ", state[i].strides(),
                ", its parameter with ", params[i].strides(), "; make it with zeros_like of the parameter");
  }
}

// Gradients may come out of autograd in another memory format; those are copied into the parameter's.
Tensors conform(const Tensors& params, Tensors grads) {
  TORCH_CHECK(grads.size() == params.size(), params.size(), " parameters came with ", grads.size(), " gradients");
  for (size_t i = 0; i < params.size(); ++i) {
    check_like(params[i], grads[i], "gradient", i);
    if (!same_layout(params[i], grads[i])) grads[i] = at::empty_like(params[i]).copy_(grads[i]);
  }
  return grads;
}

// Makes the strides exactly these. Where only strides of size-one dimensions differ, nothing is copied.
at::Tensor restride(const at::Tensor& t, at::IntArrayRef strides, bool same_order) {
  if (t.strides().equals(strides)) return t;
  if (same_order) return t.as_strided(t.sizes(), strides);
  return at::empty_strided(t.sizes(), strides, t.options()).copy_(t);
}

}  // namespace

extern "C" {

const char* kiln_last_error() { return last_error.c_str(); }

const char* kiln_torch_version() { return TORCH_VERSION; }

// Path of the loaded libtorch_cpu, as the dynamic linker knows it; null if it cannot say.
const char* kiln_torch_library() {
  Dl_info info{};
  auto symbol = reinterpret_cast<const void*>(&at::set_num_threads);
  return dladdr(symbol, &info) != 0 ? info.dli_fname : nullptr;
}

// ---- generators and random fills ----

int kiln_generator_new(uint64_t seed, int device, at::Generator** out) {
  return attempt([&] {
    if (device < 0) {
      *out = new at::Generator(at::detail::createCPUGenerator(seed));
      return;
    }
    at::globalContext().lazyInitDevice(at::kCUDA);
    auto generator = at::detail::getCUDAHooks().getNewGenerator(static_cast<at::DeviceIndex>(device));
    generator.set_current_seed(seed);
    *out = new at::Generator(std::move(generator));
  });
}

void kiln_generator_free(at::Generator* generator) { delete generator; }

int kiln_generator_state(const at::Generator* generator, at::Tensor** out) {
  return attempt([&] { *out = new at::Tensor(generator->get_state()); });
}

int kiln_generator_set_state(at::Generator* generator, const at::Tensor* state) {
  return attempt([&] { generator->set_state(*state); });
}

int kiln_normal(at::Tensor* t, double mean, double std, at::Generator* generator) {
  return attempt([&] {
    at::NoGradGuard no_grad;
    t->normal_(mean, std, *generator);
  });
}

int kiln_uniform(at::Tensor* t, double low, double high, at::Generator* generator) {
  return attempt([&] {
    at::NoGradGuard no_grad;
    t->uniform_(low, high, *generator);
  });
}

int kiln_bernoulli(at::Tensor* t, double p, at::Generator* generator) {
  return attempt([&] {
    at::NoGradGuard no_grad;
    t->bernoulli_(p, *generator);
  });
}

int kiln_randperm(int64_t n, at::Generator* generator, at::Tensor** out) {
  return attempt([&] {
    auto options = at::TensorOptions(at::kLong).device(generator->device());
    *out = new at::Tensor(at::randperm(n, *generator, options));
  });
}

int kiln_randint(int64_t low, int64_t high, const int64_t* shape, size_t dims, at::Generator* generator,
                 at::Tensor** out) {
  return attempt([&] {
    auto options = at::TensorOptions(at::kLong).device(generator->device());
    *out = new at::Tensor(at::randint(low, high, at::IntArrayRef(shape, dims), *generator, options));
  });
}

// ---- gradients ----

// A null gradient clears it.
int kiln_set_grad(at::Tensor* t, const at::Tensor* grad) {
  return attempt([&] {
    if (grad == nullptr || !grad->defined()) {
      t->mutable_grad().reset();
      return;
    }
    check_like(*t, *grad, "gradient", 0);
    t->mutable_grad() = grad->detach();
  });
}

int kiln_clear_grads(const at::Tensor* const* tensors, size_t n) {
  return attempt([&] {
    for (size_t i = 0; i < n; ++i) {
      at::Tensor t = *tensors[i];
      t.mutable_grad().reset();
    }
  });
}

// ---- guards ----

void kiln_grad_mode_exchange(int enabled, int* previous) {
  *previous = c10::GradMode::is_enabled() ? 1 : 0;
  c10::GradMode::set_enabled(enabled != 0);
}

struct kiln_autocast_state {
  int enabled;
  int dtype;  // at::ScalarType
  int cache;
};

// Sets autocast of this thread and tells what it was before. The weight cache is off while ours is on: it is one map for
// all threads, so a neighbour leaving its autocast would change where casts (and thus roundings) happen in this one.
int kiln_autocast_exchange(int cuda, const kiln_autocast_state* next, kiln_autocast_state* previous) {
  return attempt([&] {
    auto device = cuda != 0 ? at::kCUDA : at::kCPU;
    previous->enabled = at::autocast::is_autocast_enabled(device) ? 1 : 0;
    previous->dtype = static_cast<int>(at::autocast::get_autocast_dtype(device));
    previous->cache = at::autocast::is_autocast_cache_enabled() ? 1 : 0;
    at::autocast::set_autocast_dtype(device, static_cast<at::ScalarType>(next->dtype));
    at::autocast::set_autocast_enabled(device, next->enabled != 0);
    at::autocast::set_autocast_cache_enabled(next->cache != 0);
  });
}

// ---- memory formats ----

int kiln_channels_last(const at::Tensor* t, at::Tensor** out) {
  return attempt([&] {
    if (t->dim() != 4) {
      *out = new at::Tensor(*t);
      return;
    }
    auto c = t->size(1), h = t->size(2), w = t->size(3);
    // Written out: for one channel (or one pixel) contiguous(ChannelsLast) finds nothing to do and keeps strides that
    // the convolutions then take for the plain layout.
    *out = new at::Tensor(
        restride(*t, {c * h * w, 1, w * c, c}, t->is_contiguous(at::MemoryFormat::ChannelsLast)));
  });
}

int kiln_contiguous(const at::Tensor* t, at::Tensor** out) {
  return attempt([&] {
    std::vector<int64_t> strides(t->dim());
    int64_t next = 1;
    for (int64_t d = t->dim() - 1; d >= 0; --d) {
      strides[d] = next;
      next *= std::max<int64_t>(t->size(d), 1);
    }
    *out = new at::Tensor(restride(*t, strides, t->is_contiguous()));
  });
}

// ---- optimiser kernels ----

struct kiln_sgd {
  double lr, momentum, dampening, weight_decay;
  int nesterov, first_step;
};

int kiln_fused_sgd(const kiln_sgd* o, size_t n, const at::Tensor* const* params, const at::Tensor* const* grads,
                   size_t buffers, const at::Tensor* const* momentum) {
  return attempt([&] {
    at::NoGradGuard no_grad;
    auto ps = list(params, n);
    auto gs = conform(ps, list(grads, n));
    auto ms = list(momentum, buffers);
    check_state(ps, o->momentum == 0.0 ? ps : ms, "momentum");
    if (o->momentum == 0.0) ms.clear();
    if (n == 0) return;
    at::_fused_sgd_(ps, gs, ms, o->weight_decay, o->momentum, o->lr, o->dampening, o->nesterov != 0,
                    /*maximize=*/false, o->first_step != 0);
  });
}

int kiln_foreach_sgd(const kiln_sgd* o, size_t n, const at::Tensor* const* params, const at::Tensor* const* grads,
                     size_t buffers, const at::Tensor* const* momentum) {
  return attempt([&] {
    at::NoGradGuard no_grad;
    auto ps = list(params, n);
    auto gs = conform(ps, list(grads, n));
    auto ms = list(momentum, buffers);
    check_state(ps, o->momentum == 0.0 ? ps : ms, "momentum");
    if (n == 0) return;
    if (o->weight_decay != 0.0) gs = at::_foreach_add(gs, ps, o->weight_decay);
    if (o->momentum != 0.0) {
      if (o->first_step != 0) {
        at::_foreach_copy_(ms, gs);
      } else {
        at::_foreach_mul_(ms, o->momentum);
        at::_foreach_add_(ms, gs, 1.0 - o->dampening);
      }
      // Out of place, so that the caller's gradients stay as they were.
      gs = o->nesterov != 0 ? at::_foreach_add(gs, ms, o->momentum) : ms;
    }
    at::_foreach_add_(ps, gs, -o->lr);
  });
}

struct kiln_adamw {
  double lr, beta1, beta2, eps, weight_decay;
};

namespace {

void check_steps(const Tensors& steps, size_t n, const char* kernel, bool on_param_device, const Tensors& params) {
  TORCH_CHECK(steps.size() == n, n, " parameters came with ", steps.size(), " step counts");
  for (size_t i = 0; i < n; ++i) {
    auto device = on_param_device ? params[i].device() : at::Device(at::kCPU);
    TORCH_CHECK(steps[i].defined() && steps[i].numel() == 1 && steps[i].scalar_type() == at::kFloat &&
                    steps[i].device() == device,
                "step count ", i, " must be one float32 on ", device, " for ", kernel);
  }
}

}  // namespace

int kiln_fused_adamw(const kiln_adamw* o, size_t n, const at::Tensor* const* params, const at::Tensor* const* grads,
                     const at::Tensor* const* averages, const at::Tensor* const* squares,
                     const at::Tensor* const* steps) {
  return attempt([&] {
    at::NoGradGuard no_grad;
    auto ps = list(params, n);
    auto gs = conform(ps, list(grads, n));
    auto as = list(averages, n), ss = list(squares, n), counts = list(steps, n);
    check_state(ps, as, "first moment");
    check_state(ps, ss, "second moment");
    check_steps(counts, n, "fused AdamW", true, ps);
    if (n == 0) return;
    at::_foreach_add_(counts, 1);
    at::_fused_adamw_(ps, gs, as, ss, {}, counts, o->lr, o->beta1, o->beta2, o->weight_decay, o->eps,
                      /*amsgrad=*/false, /*maximize=*/false);
  });
}

int kiln_foreach_adamw(const kiln_adamw* o, size_t n, const at::Tensor* const* params, const at::Tensor* const* grads,
                       const at::Tensor* const* averages, const at::Tensor* const* squares,
                       const at::Tensor* const* steps) {
  return attempt([&] {
    at::NoGradGuard no_grad;
    auto ps = list(params, n);
    auto gs = conform(ps, list(grads, n));
    auto as = list(averages, n), ss = list(squares, n), counts = list(steps, n);
    check_state(ps, as, "first moment");
    check_state(ps, ss, "second moment");
    check_steps(counts, n, "foreach AdamW (it reads them on the host)", false, ps);
    if (n == 0) return;
    at::_foreach_add_(counts, 1);
    if (o->weight_decay != 0.0) at::_foreach_mul_(ps, 1.0 - o->lr * o->weight_decay);
    at::_foreach_lerp_(as, gs, 1.0 - o->beta1);
    at::_foreach_mul_(ss, o->beta2);
    at::_foreach_addcmul_(ss, gs, gs, 1.0 - o->beta2);
    std::vector<at::Scalar> step_sizes, roots;
    step_sizes.reserve(n);
    roots.reserve(n);
    for (size_t i = 0; i < n; ++i) {
      double step = counts[i].item<float>();
      step_sizes.emplace_back(-(o->lr / (1.0 - std::pow(o->beta1, step))));
      roots.emplace_back(std::sqrt(1.0 - std::pow(o->beta2, step)));
    }
    auto denominators = at::_foreach_sqrt(ss);
    at::_foreach_div_(denominators, roots);
    at::_foreach_add_(denominators, o->eps);
    at::_foreach_addcdiv_(ps, as, denominators, step_sizes);
  });
}

// Scales the gradients in place so that their common 2-norm is at most `max_norm`; gives the norm before. No host read.
int kiln_clip_grad_norm(size_t n, const at::Tensor* const* grads, double max_norm, at::Tensor** out) {
  return attempt([&] {
    at::NoGradGuard no_grad;
    auto gs = list(grads, n);
    if (n == 0) {
      *out = new at::Tensor(at::zeros({}, at::kFloat));
      return;
    }
    for (size_t i = 0; i < n; ++i) TORCH_CHECK(gs[i].defined(), "gradient ", i, " is undefined");
    auto total = at::linalg_vector_norm(at::stack(at::_foreach_norm(gs, 2.0)), 2.0);
    auto scale = at::clamp_max(max_norm / (total + 1e-6), 1.0);
    at::_foreach_mul_(gs, scale);
    *out = new at::Tensor(total);
  });
}

// ---- switches of the whole process ----

int kiln_set_threads(int n) {
  return attempt([&] { at::set_num_threads(n); });
}

int kiln_get_threads() { return at::get_num_threads(); }

int kiln_deterministic(int on) {
  return attempt([&] {
    auto& context = at::globalContext();
    context.setDeterministicAlgorithms(on != 0, /*warn_only=*/false);
    // Filling fresh memory with NaN finds reads of uninitialised memory; it is no part of determinism and costs a pass.
    context.setDeterministicFillUninitializedMemory(false);
    context.setDeterministicCuDNN(on != 0);
    context.setDeterministicMkldnn(on != 0);
    if (on != 0) context.setBenchmarkCuDNN(false);
  });
}

int kiln_is_deterministic() { return at::globalContext().deterministicAlgorithms() ? 1 : 0; }

int kiln_tf32(int on) {
  return attempt([&] {
    at::globalContext().setAllowTF32CuBLAS(on != 0);
    at::globalContext().setAllowTF32CuDNN(on != 0);
  });
}

int kiln_get_tf32(int* matmul, int* conv) {
  return attempt([&] {
    *matmul = at::globalContext().allowTF32CuBLAS() ? 1 : 0;
    *conv = at::globalContext().allowTF32CuDNN() ? 1 : 0;
  });
}

int kiln_cudnn_benchmark(int on) {
  return attempt([&] { at::globalContext().setBenchmarkCuDNN(on != 0); });
}

int kiln_get_cudnn_benchmark() { return at::globalContext().benchmarkCuDNN() ? 1 : 0; }

// ---- devices ----

// Asking creates torch's CUDA hooks for good: open libtorch_cuda before.
int kiln_cuda_devices(int* devices, int64_t* cudnn) {
  return attempt([&] {
    auto& hooks = at::detail::getCUDAHooks();
    *devices = hooks.hasCUDA() ? static_cast<int>(hooks.deviceCount()) : 0;
    *cudnn = hooks.hasCuDNN() ? static_cast<int64_t>(hooks.versionCuDNN()) : 0;
  });
}

struct kiln_memory_stats {
  uint64_t total, free, allocated, reserved, peak_allocated, peak_reserved, out_of_memory;
};

int kiln_memory(int device, kiln_memory_stats* out) {
  return attempt([&] {
    at::globalContext().lazyInitDevice(at::kCUDA);
    auto index = static_cast<at::DeviceIndex>(device);
    auto stats = at::accelerator::getDeviceStats(index);
    auto [free, total] = at::accelerator::getMemoryInfo(index);
    constexpr auto all = static_cast<size_t>(at::CachingAllocator::StatType::AGGREGATE);
    out->total = total;
    out->free = free;
    out->allocated = stats.allocated_bytes[all].current;
    out->reserved = stats.reserved_bytes[all].current;
    out->peak_allocated = stats.allocated_bytes[all].peak;
    out->peak_reserved = stats.reserved_bytes[all].peak;
    out->out_of_memory = stats.num_ooms;
  });
}

int kiln_reset_peak_memory(int device) {
  return attempt([&] {
    at::globalContext().lazyInitDevice(at::kCUDA);
    at::accelerator::resetPeakStats(static_cast<at::DeviceIndex>(device));
  });
}

int kiln_empty_cache() {
  return attempt([&] { at::accelerator::emptyCache(); });
}

// ---- streams ----

struct kiln_stream {
  int64_t id;
  int device;
};

namespace {

c10::Stream unpack(const kiln_stream& s) { return c10::Stream(c10::Stream::UNSAFE, device_of(s.device), s.id); }

kiln_stream pack(const c10::Stream& s) { return {s.id(), static_cast<int>(s.device_index())}; }

}  // namespace

int kiln_stream_new(int device, int high_priority, kiln_stream* out) {
  return attempt([&] {
    TORCH_CHECK(device >= 0, "the CPU has no streams");
    c10::impl::VirtualGuardImpl guard(at::kCUDA);
    at::globalContext().lazyInitDevice(at::kCUDA);
    *out = pack(guard.getStreamFromGlobalPool(device_of(device), high_priority != 0));
  });
}

// Makes `next` the current stream and its device the current device of this thread; tells both from before.
int kiln_stream_exchange(const kiln_stream* next, kiln_stream* previous, int* previous_device) {
  return attempt([&] {
    c10::impl::VirtualGuardImpl guard(at::kCUDA);
    *previous_device = guard.exchangeDevice(device_of(next->device)).index();
    *previous = pack(guard.exchangeStream(unpack(*next)));
  });
}

int kiln_stream_restore(const kiln_stream* previous, int previous_device) {
  return attempt([&] {
    c10::impl::VirtualGuardImpl guard(at::kCUDA);
    guard.exchangeStream(unpack(*previous));
    guard.setDevice(device_of(previous_device));
  });
}

int kiln_stream_synchronize(const kiln_stream* stream) {
  return attempt([&] {
    c10::impl::VirtualGuardImpl guard(at::kCUDA);
    guard.synchronizeStream(unpack(*stream));
  });
}

}  // extern "C"
