// See kernels.h.

#include "kernels.h"

#include <algorithm>
#include <cstring>
#include <vector>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
// One copy of the function for each generation of vector instructions; the dynamic linker takes the one that fits.
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif
#define INLINE static inline __attribute__((always_inline))

namespace kiln {
namespace {

// W numbers of neighbouring channels.
template <int W>
struct Lanes {
  typedef float Floats __attribute__((vector_size(W * sizeof(float))));
};
template <int W>
using Vec = typename Lanes<W>::Floats;

template <int W>
INLINE Vec<W> load(const float* p) {
  Vec<W> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

template <int W>
INLINE void store(float* p, Vec<W> v) {
  std::memcpy(p, &v, sizeof v);
}

// Not-a-number goes through, so that a training that diverges shows it.
template <int W>
INLINE Vec<W> positive(Vec<W> v) {
  return v < 0.0f ? Vec<W>{} : v;
}

template <int W>
INLINE Vec<W> passed(Vec<W> dy, Vec<W> y) {
  return y <= 0.0f ? Vec<W>{} : dy;
}

template <int W>
INLINE void add_to(double* sum, Vec<W> v) {
  for (int i = 0; i < W; ++i) sum[i] += v[i];
}

// Rows that fit the first cache; sums over them may be kept in 32 bits.
int64_t chunk(int64_t channels) { return std::max<int64_t>(8, 4096 / channels); }

// BODY(W) for all channels from `c` on, 16 at a time, then 8, then one by one.
#define EACH_CHANNEL(BODY)                      \
  do {                                          \
    int64_t c = 0;                              \
    for (; c + 16 <= channels; c += 16) BODY(16); \
    for (; c + 8 <= channels; c += 8) BODY(8);    \
    for (; c < channels; ++c) BODY(1);            \
  } while (false)

template <int W>
INLINE void moments_of(const float* x, int64_t rows, int64_t step, const float* shift, double* sum, double* squares) {
  const Vec<W> k = load<W>(shift);
  Vec<W> s0{}, s1{}, q0{}, q1{};
  int64_t r = 0;
  for (; r + 2 <= rows; r += 2) {
    const Vec<W> a = load<W>(x + r * step) - k, b = load<W>(x + (r + 1) * step) - k;
    s0 += a;
    q0 += a * a;
    s1 += b;
    q1 += b * b;
  }
  if (r < rows) {
    const Vec<W> a = load<W>(x + r * step) - k;
    s0 += a;
    q0 += a * a;
  }
  add_to<W>(sum, s0 + s1);
  add_to<W>(squares, q0 + q1);
}

template <int W>
INLINE void scale_of(const float* x, int64_t rows, int64_t step, const float* scale, const float* offset, bool relu,
                     float* y) {
  const Vec<W> a = load<W>(scale), b = load<W>(offset);
  if (relu) {
    for (int64_t r = 0; r < rows; ++r) store<W>(y + r * step, positive<W>(load<W>(x + r * step) * a + b));
  } else {
    for (int64_t r = 0; r < rows; ++r) store<W>(y + r * step, load<W>(x + r * step) * a + b);
  }
}

template <int W>
INLINE void norm_sums_of(const float* x, const float* dy, int64_t rows, int64_t step, const float* scale,
                         const float* offset, const float* mean, bool relu, double* sum_g, double* sum_gx) {
  const Vec<W> a = load<W>(scale), b = load<W>(offset), m = load<W>(mean);
  Vec<W> s0{}, s1{}, q0{}, q1{};
  auto one = [&](int64_t r, Vec<W>& s, Vec<W>& q) __attribute__((always_inline)) {
    const Vec<W> v = load<W>(x + r * step);
    Vec<W> g = load<W>(dy + r * step);
    if (relu) g = passed<W>(g, v * a + b);
    s += g;
    q += g * (v - m);
  };
  int64_t r = 0;
  for (; r + 2 <= rows; r += 2) {
    one(r, s0, q0);
    one(r + 1, s1, q1);
  }
  if (r < rows) one(r, s0, q0);
  add_to<W>(sum_g, s0 + s1);
  add_to<W>(sum_gx, q0 + q1);
}

template <int W>
INLINE void norm_gradient_of(const float* x, const float* dy, int64_t rows, int64_t step, const float* scale,
                             const float* offset, const float* slope, const float* constant, bool relu, float* dx) {
  const Vec<W> a = load<W>(scale), b = load<W>(offset), s = load<W>(slope), k = load<W>(constant);
  for (int64_t r = 0; r < rows; ++r) {
    const Vec<W> v = load<W>(x + r * step);
    Vec<W> g = load<W>(dy + r * step);
    if (relu) g = passed<W>(g, v * a + b);
    store<W>(dx + r * step, g * a + (v * s + k));
  }
}

// ---- depthwise ----

// W channels of one image with zeros around it, `width` pixels a line.
template <int W>
INLINE void framed(const float* image, int64_t step, int64_t height, int64_t width, int64_t before, int64_t lines,
                   int64_t columns, float* frame) {
  std::memset(frame, 0, sizeof(float) * W * lines * columns);
  for (int64_t y = 0; y < height; ++y) {
    float* to = frame + W * ((y + before) * columns + before);
    const float* from = image + y * width * step;
    for (int64_t x = 0; x < width; ++x) store<W>(to + W * x, load<W>(from + x * step));
  }
}

template <int W, int K>
INLINE void depthwise_weight_of(const float* x, const float* dy, int64_t step, const Window& w, float* frame,
                                float* dw) {
  const int64_t columns = w.width + 2 * w.padding;
  framed<W>(x, step, w.height, w.width, w.padding, w.height + 2 * w.padding, columns, frame);
  // A line of the kernel at a time: its sums stay in registers.
  for (int i = 0; i < K; ++i) {
    Vec<W> sums[K];
    for (int j = 0; j < K; ++j) sums[j] = load<W>(dw + (i * K + j) * step);
    for (int64_t oy = 0; oy < w.out_height; ++oy) {
      for (int64_t ox = 0; ox < w.out_width; ++ox) {
        const float* at = frame + W * ((oy * w.stride + i) * columns + ox * w.stride);
        const Vec<W> g = load<W>(dy + (oy * w.out_width + ox) * step);
#pragma GCC unroll 8
        for (int j = 0; j < K; ++j) sums[j] += g * load<W>(at + W * j);
      }
    }
    for (int j = 0; j < K; ++j) store<W>(dw + (i * K + j) * step, sums[j]);
  }
}

// ---- patches ----

// For every line of every patch of an image, in order: where the image's part of it begins, and how many numbers lie
// before the image, inside, and after it.
template <class F>
INLINE void each_line(int64_t channels, const Window& w, F&& line) {
  for (int64_t oy = 0; oy < w.out_height; ++oy) {
    for (int64_t ox = 0; ox < w.out_width; ++ox) {
      const int64_t left = ox * w.stride - w.padding;
      const int64_t from = std::min(std::max<int64_t>(0, -left), w.k);
      const int64_t to = std::max(std::min(w.k, w.width - left), from);
      for (int64_t i = 0; i < w.k; ++i) {
        const int64_t y = oy * w.stride - w.padding + i;
        if (y < 0 || y >= w.height) {
          line(0, w.k * channels, 0, 0);
        } else {
          line((y * w.width + left + from) * channels, from * channels, (to - from) * channels, (w.k - to) * channels);
        }
      }
    }
  }
}

INLINE float* fill(float* to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = 0.0f;
  return to + n;
}

INLINE float* copy(float* to, const float* from, int64_t n) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) store<8>(to + i, load<8>(from + i));
  for (; i < n; ++i) to[i] = from[i];
  return to + n;
}

}  // namespace

CLONES void moments(const float* x, int64_t rows, int64_t channels, const float* shift, double* sum, double* squares) {
  const int64_t step = chunk(channels);
  for (int64_t r = 0; r < rows; r += step) {
    const int64_t n = std::min(step, rows - r);
#define BODY(W) moments_of<W>(x + r * channels + c, n, channels, shift + c, sum + c, squares + c)
    EACH_CHANNEL(BODY);
#undef BODY
  }
}

CLONES void scale_rows(const float* x, int64_t rows, int64_t channels, const float* scale, const float* offset,
                       bool relu, float* y) {
  const int64_t step = chunk(channels);
  for (int64_t r = 0; r < rows; r += step) {
    const int64_t n = std::min(step, rows - r), at = r * channels;
#define BODY(W) scale_of<W>(x + at + c, n, channels, scale + c, offset + c, relu, y + at + c)
    EACH_CHANNEL(BODY);
#undef BODY
  }
}

CLONES void norm_sums(const float* x, const float* dy, int64_t rows, int64_t channels, const float* scale,
                      const float* offset, const float* mean, bool relu, double* sum_g, double* sum_gx) {
  const int64_t step = chunk(channels);
  for (int64_t r = 0; r < rows; r += step) {
    const int64_t n = std::min(step, rows - r), at = r * channels;
#define BODY(W) \
  norm_sums_of<W>(x + at + c, dy + at + c, n, channels, scale + c, offset + c, mean + c, relu, sum_g + c, sum_gx + c)
    EACH_CHANNEL(BODY);
#undef BODY
  }
}

CLONES void norm_gradient(const float* x, const float* dy, int64_t rows, int64_t channels, const float* scale,
                          const float* offset, const float* slope, const float* constant, bool relu, float* dx) {
  const int64_t step = chunk(channels);
  for (int64_t r = 0; r < rows; r += step) {
    const int64_t n = std::min(step, rows - r), at = r * channels;
#define BODY(W)                                                                                              \
  norm_gradient_of<W>(x + at + c, dy + at + c, n, channels, scale + c, offset + c, slope + c, constant + c, \
                      relu, dx + at + c)
    EACH_CHANNEL(BODY);
#undef BODY
  }
}

CLONES void relu_gradient(const float* y, const float* dy, int64_t n, float* dx) {
  for (int64_t i = 0; i < n; ++i) dx[i] = y[i] <= 0.0f ? 0.0f : dy[i];
}

CLONES void relu_in_place(float* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = y[i] < 0.0f ? 0.0f : y[i];
}

CLONES void patches(const float* x, int64_t images, int64_t channels, const Window& w, float* rows) {
  const int64_t line = w.width * channels;
  for (int64_t image = 0; image < images; ++image, x += w.height * line) {
    each_line(channels, w, [&](int64_t at, int64_t before, int64_t inside, int64_t after) __attribute__((always_inline)) {
      rows = fill(rows, before);
      rows = copy(rows, x + at, inside);
      rows = fill(rows, after);
    });
  }
}

CLONES void add_patches(const float* rows, int64_t images, int64_t channels, const Window& w, float* dx) {
  const int64_t line = w.width * channels;
  for (int64_t image = 0; image < images; ++image, dx += w.height * line) {
    each_line(channels, w, [&](int64_t at, int64_t before, int64_t inside, int64_t after) __attribute__((always_inline)) {
      rows += before;
      for (int64_t n = 0; n < inside; ++n) dx[at + n] += rows[n];
      rows += inside + after;
    });
  }
}

CLONES void depthwise_weight(const float* x, const float* dy, int64_t images, int64_t channels, const Window& w,
                             float* dw) {
  // Scratch memory for 16 channels of an image, on the boundary of a cache line, across which loads cost double.
  const int64_t pixels = (w.height + 2 * w.padding) * (w.width + 2 * w.padding);
  std::vector<float> scratch(16 * pixels + 16);
  const auto misaligned = reinterpret_cast<uintptr_t>(scratch.data()) / sizeof(float) % 16;
  float* frame = scratch.data() + (16 - misaligned) % 16;
  const int64_t in = w.height * w.width * channels, out = w.out_height * w.out_width * channels;
  for (int64_t image = 0; image < images; ++image, x += in, dy += out) {
#define AT(W, K) depthwise_weight_of<W, K>(x + c, dy + c, channels, w, frame, dw + c)
#define BODY3(W) AT(W, 3)
#define BODY5(W) AT(W, 5)
#define BODY7(W) AT(W, 7)
    if (w.k == 3) EACH_CHANNEL(BODY3);
    if (w.k == 5) EACH_CHANNEL(BODY5);
    if (w.k == 7) EACH_CHANNEL(BODY7);
#undef BODY7
#undef BODY5
#undef BODY3
#undef AT
  }
}

}  // namespace kiln
