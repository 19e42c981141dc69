// Loops over raw memory for `ops.cpp`: 32-bit floats, channels innermost ("rows" of `channels` numbers, one row a pixel).
// Every result depends on its arguments alone, not on the thread that asks. Apart from torch's headers so that this file
// compiles in a second, with vector instructions chosen when the program is loaded.
#pragma once

#include <cstdint>

namespace kiln {

// Sums over `rows` rows, added to `sum` and `squares` (64 bits) of each channel: x - shift, and its square.
void moments(const float* x, int64_t rows, int64_t channels, const float* shift, double* sum, double* squares);

// y = x * scale + offset, for each channel; below zero it becomes zero if `relu`.
void scale_rows(const float* x, int64_t rows, int64_t channels, const float* scale, const float* offset, bool relu,
                float* y);

// Sums over rows, added to `sum_g` and `sum_gx` of each channel: g, and g * (x - mean); g is dy, or zero where `relu`
// and x * scale + offset is not above zero.
void norm_sums(const float* x, const float* dy, int64_t rows, int64_t channels, const float* scale,
               const float* offset, const float* mean, bool relu, double* sum_g, double* sum_gx);

// dx = g * scale + x * slope + constant, g as in `norm_sums`.
void norm_gradient(const float* x, const float* dy, int64_t rows, int64_t channels, const float* scale,
                   const float* offset, const float* slope, const float* constant, bool relu, float* dx);

// dx = dy where y is above zero, else zero.
void relu_gradient(const float* y, const float* dy, int64_t n, float* dx);

// Zero where below zero; not-a-number stays.
void relu_in_place(float* y, int64_t n);

// A convolution's window on one image: kernel `k` by `k`.
struct Window {
  int64_t height, width, out_height, out_width, k, stride, padding;
};

// The patches under the window, one row of k * k * channels numbers a pixel of the output, of `images` images.
void patches(const float* x, int64_t images, int64_t channels, const Window& w, float* rows);

// Adds patches back to where they came from; `dx` starts as zeros.
void add_patches(const float* rows, int64_t images, int64_t channels, const Window& w, float* dx);

// The gradient of a depthwise convolution's weights, added to `dw`, [k * k][channels]. For `k` of 3, 5 and 7.
void depthwise_weight(const float* x, const float* dy, int64_t images, int64_t channels, const Window& w, float* dw);

}  // namespace kiln
