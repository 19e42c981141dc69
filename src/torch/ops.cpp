// Operations for networks on the CPU in 32 bits and channels-last order, where libtorch leaves time lying about:
// normalisation with its activation in two passes over memory instead of three (five backwards instead of seven), and
// convolutions whose oneDNN kernels are slow at the small sizes that searches train. Everything else is handed to libtorch.
//
// As in torch, results do not depend on what else runs; with equal threads they are equal bit for bit. No second
// derivatives: asking for them is an error. Conventions of the C ABI: see shim.cpp.

#include "attempt.h"
#include "kernels.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/TracerMode.h>
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// Numbers for which a second thread is worth waking.
constexpr int64_t kWorthSharing = 1 << 16;
// Parts that sums are made of, whatever the number of threads: so their bits do not depend on it.
constexpr int64_t kParts = 16;
// Numbers of patches that are held at a time: half of a small second cache.
constexpr int64_t kPatches = 1 << 17;

bool plain_float(const at::Tensor& t) { return t.is_cpu() && t.scalar_type() == at::kFloat; }

// `[n, c, h, w]` with channels innermost in memory, or `[n, c]`. Copies where they are not.
at::Tensor rows_of(const at::Tensor& t) {
  return t.contiguous(t.dim() == 4 ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous);
}

at::Tensor empty_rows(const at::Tensor& like, at::IntArrayRef sizes) {
  auto format = sizes.size() == 4 ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
  return at::empty(sizes, like.options().requires_grad(false), format);
}

void refuse_second_derivatives() {
  TORCH_CHECK(!c10::GradMode::is_enabled(), "Kiln's own operations have no second derivatives");
}

// Does `work(first row, end)` for parts of the rows, and tells which part it is.
template <class F>
void in_parts(int64_t rows, int64_t channels, F&& work) {
  const int64_t parts = rows * channels < kWorthSharing ? 1 : kParts;
  const int64_t step = (rows + parts - 1) / parts;
  at::parallel_for(0, parts, 1, [&](int64_t from, int64_t to) {
    for (int64_t part = from; part < to; ++part) {
      const int64_t begin = std::min(part * step, rows), end = std::min(begin + step, rows);
      if (begin < end) work(part, begin, end);
    }
  });
}

// Two sums a channel over all rows, added up part by part in order.
template <class F>
std::vector<double> two_sums(int64_t rows, int64_t channels, F&& work) {
  std::vector<double> parts(kParts * 2 * channels);
  in_parts(rows, channels, [&](int64_t part, int64_t from, int64_t to) {
    double* sums = parts.data() + part * 2 * channels;
    work(from, to, sums, sums + channels);
  });
  for (int64_t part = 1; part < kParts; ++part) {
    for (int64_t i = 0; i < 2 * channels; ++i) parts[i] += parts[part * 2 * channels + i];
  }
  parts.resize(2 * channels);
  return parts;
}

// ---- batch normalisation, with or without ReLU ----

// Of each channel: what the input is multiplied by, and what is added then.
struct Affine {
  std::vector<float> scale, offset;
};

Affine affine(const float* weight, const float* bias, const float* mean, const float* inverse, int64_t channels) {
  Affine a{std::vector<float>(channels), std::vector<float>(channels)};
  for (int64_t c = 0; c < channels; ++c) {
    a.scale[c] = weight[c] * inverse[c];
    a.offset[c] = bias[c] - mean[c] * a.scale[c];
  }
  return a;
}

void apply_affine(const at::Tensor& x, const Affine& a, bool relu, const at::Tensor& y) {
  const int64_t channels = x.size(1), rows = x.numel() / channels;
  const float* from = x.const_data_ptr<float>();
  float* to = y.mutable_data_ptr<float>();
  in_parts(rows, channels, [&](int64_t, int64_t begin, int64_t end) {
    const int64_t at = begin * channels;
    kiln::scale_rows(from + at, end - begin, channels, a.scale.data(), a.offset.data(), relu, to + at);
  });
}

struct Norm : Function<Norm> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& input, const at::Tensor& weight,
                            const at::Tensor& bias, const at::Tensor* running_mean, const at::Tensor* running_var,
                            double momentum, double eps, bool relu) {
    auto x = rows_of(input);
    const int64_t channels = x.size(1), rows = x.numel() / channels;
    const float* from = x.const_data_ptr<float>();

    // Sums are taken of the distance from the mean of the first rows: then even 32 bits lose nothing to cancellation.
    const int64_t few = std::min<int64_t>(rows, 32);
    std::vector<float> shift(channels);
    for (int64_t r = 0; r < few; ++r) {
      for (int64_t c = 0; c < channels; ++c) shift[c] += from[r * channels + c] / static_cast<float>(few);
    }
    auto sums = two_sums(rows, channels, [&](int64_t begin, int64_t end, double* sum, double* squares) {
      kiln::moments(from + begin * channels, end - begin, channels, shift.data(), sum, squares);
    });
    auto stats = at::empty({2, channels}, x.options().requires_grad(false));
    float* mean = stats.mutable_data_ptr<float>();
    float* inverse = mean + channels;
    float* kept_mean = running_mean == nullptr ? nullptr : running_mean->mutable_data_ptr<float>();
    float* kept_var = running_var == nullptr ? nullptr : running_var->mutable_data_ptr<float>();
    const double n = static_cast<double>(rows);
    for (int64_t c = 0; c < channels; ++c) {
      const double off = sums[c] / n, var = std::max(sums[channels + c] / n - off * off, 0.0);
      mean[c] = static_cast<float>(shift[c] + off);
      inverse[c] = static_cast<float>(1.0 / std::sqrt(var + eps));
      if (kept_mean != nullptr) {
        kept_mean[c] = static_cast<float>((1.0 - momentum) * kept_mean[c] + momentum * (shift[c] + off));
        kept_var[c] = static_cast<float>((1.0 - momentum) * kept_var[c] + momentum * (var * n / (n - 1.0)));
      }
      // `max` above has swallowed it.
      if (std::isnan(sums[channels + c])) inverse[c] = std::nanf("");
    }
    auto y = empty_rows(x, x.sizes());
    auto a = affine(weight.const_data_ptr<float>(), bias.const_data_ptr<float>(), mean, inverse, channels);
    apply_affine(x, a, relu, y);
    ctx->save_for_backward({x, weight, bias, stats});
    ctx->saved_data["relu"] = relu;
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    refuse_second_derivatives();
    auto saved = ctx->get_saved_variables();
    const auto &x = saved[0], &weight = saved[1], &bias = saved[2], &stats = saved[3];
    const bool relu = ctx->saved_data["relu"].toBool();
    auto dy = rows_of(grads[0]);
    const int64_t channels = x.size(1), rows = x.numel() / channels;
    const float* mean = stats.const_data_ptr<float>();
    const float* inverse = mean + channels;
    const float *from = x.const_data_ptr<float>(), *g = dy.const_data_ptr<float>();
    auto a = affine(weight.const_data_ptr<float>(), bias.const_data_ptr<float>(), mean, inverse, channels);

    auto sums = two_sums(rows, channels, [&](int64_t begin, int64_t end, double* sum_g, double* sum_gx) {
      const int64_t at = begin * channels;
      kiln::norm_sums(from + at, g + at, end - begin, channels, a.scale.data(), a.offset.data(), mean, relu, sum_g,
                      sum_gx);
    });
    auto dweight = at::empty({channels}, stats.options()), dbias = at::empty({channels}, stats.options());
    std::vector<float> slope(channels), constant(channels);
    const double n = static_cast<double>(rows);
    for (int64_t c = 0; c < channels; ++c) {
      const double sum_g = sums[c], sum_gx = sums[channels + c], inv = inverse[c], scale = a.scale[c];
      dweight.mutable_data_ptr<float>()[c] = static_cast<float>(sum_gx * inv);
      dbias.mutable_data_ptr<float>()[c] = static_cast<float>(sum_g);
      // dx = scale * (g - mean(g) - (x - mean) / deviation^2 * mean(g * (x - mean)))
      const double s = -scale * inv * inv * sum_gx / n;
      slope[c] = static_cast<float>(s);
      constant[c] = static_cast<float>(-scale * sum_g / n - s * mean[c]);
    }
    auto dx = empty_rows(x, x.sizes());
    float* to = dx.mutable_data_ptr<float>();
    in_parts(rows, channels, [&](int64_t, int64_t begin, int64_t end) {
      const int64_t at = begin * channels;
      kiln::norm_gradient(from + at, g + at, end - begin, channels, a.scale.data(), a.offset.data(), slope.data(),
                          constant.data(), relu, to + at);
    });
    return {dx, dweight, dbias, {}, {}, {}, {}, {}};
  }
};

// ---- convolutions ----

kiln::Window window(const at::Tensor& x, int64_t k, int64_t stride, int64_t padding) {
  const int64_t height = x.size(2), width = x.size(3);
  auto out = [&](int64_t side) { return (side + 2 * padding - k) / stride + 1; };
  return {height, width, out(height), out(width), k, stride, padding};
}

// Images whose patches fit the cache.
int64_t images_at_once(const kiln::Window& w, int64_t length) {
  return std::max<int64_t>(1, kPatches / (w.out_height * w.out_width * length));
}

// A dense convolution as matrix products over patches; a pointwise one needs none.
struct Dense : Function<Dense> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& input, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias, int64_t stride, int64_t padding, bool relu) {
    auto x = rows_of(input);
    const int64_t images = x.size(0), channels = x.size(1), out = weight.size(0), k = weight.size(2);
    const auto w = window(x, k, stride, padding);
    const int64_t pixels = w.out_height * w.out_width, length = k * k * channels;
    auto kernel = rows_of(weight);
    auto columns = kernel.as_strided({length, out}, {1, length});
    auto y = empty_rows(x, {images, out, w.out_height, w.out_width});
    auto y_rows = y.as_strided({images * pixels, out}, {out, 1});
    auto product = [&](const at::Tensor& rows, at::Tensor to) {
      if (bias) {
        at::addmm_out(to, *bias, rows, columns);
      } else {
        at::mm_out(to, rows, columns);
      }
    };
    if (k == 1) {
      product(x.as_strided({images * pixels, channels}, {channels, 1}), y_rows);
    } else {
      const int64_t step = images_at_once(w, length);
      auto held = at::empty({std::min(step, images) * pixels, length}, y.options());
      for (int64_t i = 0; i < images; i += step) {
        const int64_t n = std::min(step, images - i);
        kiln::patches(x.const_data_ptr<float>() + i * w.height * w.width * channels, n, channels, w,
                      held.mutable_data_ptr<float>());
        product(held.narrow(0, 0, n * pixels), y_rows.narrow(0, i * pixels, n * pixels));
      }
    }
    if (relu) kiln::relu_in_place(y.mutable_data_ptr<float>(), y.numel());
    ctx->save_for_backward({x, weight, relu ? y : at::Tensor()});
    ctx->saved_data["stride"] = stride;
    ctx->saved_data["padding"] = padding;
    ctx->saved_data["bias"] = bias.has_value();
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    refuse_second_derivatives();
    auto saved = ctx->get_saved_variables();
    const auto &x = saved[0], &weight = saved[1], &y = saved[2];
    const int64_t images = x.size(0), channels = x.size(1), out = weight.size(0), k = weight.size(2);
    const auto w = window(x, k, ctx->saved_data["stride"].toInt(), ctx->saved_data["padding"].toInt());
    const int64_t pixels = w.out_height * w.out_width, length = k * k * channels;
    auto dy = rows_of(grads[0]);
    if (y.defined()) {
      auto passed = empty_rows(dy, dy.sizes());
      kiln::relu_gradient(y.const_data_ptr<float>(), dy.const_data_ptr<float>(), dy.numel(),
                          passed.mutable_data_ptr<float>());
      dy = passed;
    }
    auto dy_rows = dy.as_strided({images * pixels, out}, {out, 1});
    auto kernel = rows_of(weight).as_strided({out, length}, {length, 1});
    const bool wanted = ctx->needs_input_grad(0);
    at::Tensor dx, dbias;
    auto dweight = empty_rows(weight, weight.sizes());
    auto dweight_rows = dweight.as_strided({out, length}, {length, 1});
    if (ctx->saved_data["bias"].toBool()) dbias = dy_rows.sum(0);
    if (k == 1) {
      at::mm_out(dweight_rows, dy_rows.t(), x.as_strided({images * pixels, channels}, {channels, 1}));
      if (wanted) {
        dx = empty_rows(x, x.sizes());
        auto dx_rows = dx.as_strided({images * pixels, channels}, {channels, 1});
        at::mm_out(dx_rows, dy_rows, kernel);
      }
    } else {
      const int64_t step = images_at_once(w, length), size = w.height * w.width * channels;
      auto held = at::empty({std::min(step, images) * pixels, length}, dy.options());
      if (wanted) dx = empty_rows(x, x.sizes()).zero_();
      for (int64_t i = 0; i < images; i += step) {
        const int64_t n = std::min(step, images - i);
        auto rows = held.narrow(0, 0, n * pixels);
        auto g = dy_rows.narrow(0, i * pixels, n * pixels);
        kiln::patches(x.const_data_ptr<float>() + i * size, n, channels, w, rows.mutable_data_ptr<float>());
        if (i == 0) {
          at::mm_out(dweight_rows, g.t(), rows);
        } else {
          dweight_rows.addmm_(g.t(), rows);
        }
        if (wanted) {
          at::mm_out(rows, g, kernel);
          kiln::add_patches(rows.const_data_ptr<float>(), n, channels, w, dx.mutable_data_ptr<float>() + i * size);
        }
      }
    }
    return {dx, dweight, dbias, {}, {}, {}};
  }
};

// A depthwise convolution whose gradient of the weights is ours: oneDNN's is ten times slower for kernels of 5 and 7.
struct Depthwise : Function<Depthwise> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& input, const at::Tensor& weight, int64_t stride,
                            int64_t padding) {
    auto x = rows_of(input);
    ctx->save_for_backward({x, weight});
    ctx->saved_data["stride"] = stride;
    ctx->saved_data["padding"] = padding;
    return at::conv2d(x, weight, {}, stride, padding, 1, x.size(1));
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    refuse_second_derivatives();
    auto saved = ctx->get_saved_variables();
    const auto &x = saved[0], &weight = saved[1];
    const int64_t stride = ctx->saved_data["stride"].toInt(), padding = ctx->saved_data["padding"].toInt();
    const int64_t channels = x.size(1), k = weight.size(2);
    const auto w = window(x, k, stride, padding);
    auto dy = rows_of(grads[0]);
    at::Tensor dx;
    if (ctx->needs_input_grad(0)) {
      dx = std::get<0>(at::convolution_backward(dy, x, weight, c10::nullopt, {stride, stride}, {padding, padding},
                                                {1, 1}, false, {0, 0}, channels, {true, false, false}));
    }
    auto taps = at::zeros({k * k, channels}, dy.options());
    kiln::depthwise_weight(x.const_data_ptr<float>(), dy.const_data_ptr<float>(), x.size(0), channels, w,
                           taps.mutable_data_ptr<float>());
    auto dweight = empty_rows(weight, weight.sizes());
    dweight.copy_(taps.t().view({channels, 1, k, k}));
    return {dx, dweight, {}, {}};
  }
};

// Ours work on memory that neither autocast nor a trace sees.
bool nobody_listens() {
  return !at::autocast::is_autocast_enabled(at::kCPU) && !at::tracer::impl::is_dispatch_enabled();
}

// Where ours is the faster one; measured against oneDNN on AVX-512 with batches of 64. oneDNN is good at dense kernels
// that move pixel by pixel, and slow at the input's gradient of those that leap.
bool dense_is_ours(const at::Tensor& x, const at::Tensor& weight, int64_t stride) {
  const int64_t channels = weight.size(1), k = weight.size(2);
  if (k == 1) return true;
  const bool few = channels % 4 == 0 && channels <= 16 && weight.size(0) <= 64 && k <= 5;
  return few && (stride > 1 || x.size(2) * x.size(3) <= 32);
}

}  // namespace

extern "C" {

// Convolution without dilation; `relu` is applied to its result. `rows` says that the network keeps channels innermost.
int kiln_conv(const at::Tensor* x, const at::Tensor* weight, const at::Tensor* bias, int64_t stride, int64_t padding,
              int64_t groups, int relu, int rows, at::Tensor** out) {
  return attempt([&] {
    const auto b = bias == nullptr ? std::nullopt : std::optional(*bias);
    const bool square = weight->dim() == 4 && weight->size(2) == weight->size(3);
    const bool ours = rows != 0 && square && x->dim() == 4 && x->numel() > 0 && plain_float(*x) &&
                      plain_float(*weight) && nobody_listens();
    if (ours && groups == 1 && x->size(1) == weight->size(1) && !(weight->size(2) == 1 && (stride != 1 || padding != 0)) &&
        dense_is_ours(*x, *weight, stride)) {
      *out = new at::Tensor(Dense::apply(*x, *weight, b, stride, padding, relu != 0));
      return;
    }
    const int64_t k = square ? weight->size(2) : 0;
    at::Tensor y;
    if (ours && groups == x->size(1) && groups == weight->size(0) && groups > 1 && (k == 5 || k == 7) && !b) {
      y = Depthwise::apply(*x, *weight, stride, padding);
    } else {
      y = at::conv2d(*x, *weight, b, stride, padding, 1, groups);
    }
    *out = new at::Tensor(relu != 0 ? y.relu_() : y);
  });
}

// Batch normalisation; `relu` is applied to its result. With `training` by the batch's own statistics, towards which the
// running ones, where given, move by `momentum`.
int kiln_norm(const at::Tensor* x, const at::Tensor* weight, const at::Tensor* bias, const at::Tensor* running_mean,
              const at::Tensor* running_var, int training, double momentum, double eps, int relu, int rows,
              at::Tensor** out) {
  return attempt([&] {
    const int64_t channels = weight->numel();
    const bool ours = rows != 0 && (x->dim() == 4 || x->dim() == 2) && x->size(1) == channels && plain_float(*x) &&
                      plain_float(*weight) && x->numel() > channels && nobody_listens();
    if (ours && training != 0) {
      *out = new at::Tensor(Norm::apply(*x, *weight, *bias, running_mean, running_var, momentum, eps, relu != 0));
      return;
    }
    if (ours && running_mean != nullptr && !c10::GradMode::is_enabled()) {
      auto from = rows_of(*x);
      auto inverse = at::rsqrt(*running_var + eps);
      auto a = affine(weight->const_data_ptr<float>(), bias->const_data_ptr<float>(),
                      running_mean->const_data_ptr<float>(), inverse.const_data_ptr<float>(), channels);
      auto y = empty_rows(from, from.sizes());
      apply_affine(from, a, relu != 0, y);
      *out = new at::Tensor(y);
      return;
    }
    auto maybe = [](const at::Tensor* t) { return t == nullptr ? at::Tensor() : *t; };
    auto y = at::batch_norm(*x, *weight, *bias, maybe(running_mean), maybe(running_var), training != 0, momentum, eps,
                            true);
    *out = new at::Tensor(relu != 0 ? y.relu_() : y);
  });
}

}  // extern "C"
