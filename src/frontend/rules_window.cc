// Convolutions and pools. A convolution is a matrix product over windows that gathers make: for models that
// have a few beside their Transformer, not for convolution nets.
#include <limits>
#include <numeric>

#include "frontend/onnx_call.h"
#include "frontend/onnx_values.h"
#include "ops/broadcast/broadcast.h"
#include "ops/concat/concat.h"
#include "ops/elementwise/elementwise.h"
#include "ops/gather/gather.h"
#include "ops/iota/iota.h"
#include "ops/matmul/matmul.h"
#include "ops/reshape/reshape.h"
#include "ops/transpose/transpose.h"

namespace floe {
namespace {

using C = OnnxCall&;

struct Windows {
  std::vector<int64_t> kernel, strides, dilations;
  std::vector<int64_t> before, after;  // padding
};

Windows windows_of(C c, const std::vector<int64_t>& kernel) {
  const size_t n = kernel.size();
  const auto list = [&](const char* name, size_t size, int64_t otherwise) {
    const std::vector<int64_t> given = c.integers(name).value_or(std::vector<int64_t>(size, otherwise));
    if (given.size() != size) c.fail("{} has {} entries for {} dims", name, given.size(), n);
    return given;
  };
  Windows w{kernel, list("strides", n, 1), list("dilations", n, 1), {}, {}};
  const std::string automatic = c.text("auto_pad", "NOTSET");
  if (automatic == "NOTSET") {
    const std::vector<int64_t> pads = list("pads", 2 * n, 0);
    w.before.assign(pads.begin(), pads.begin() + static_cast<int64_t>(n));
    w.after.assign(pads.begin() + static_cast<int64_t>(n), pads.end());
  } else if (automatic == "VALID") {
    w.before.assign(n, 0);
    w.after.assign(n, 0);
  } else if (automatic == "SAME_UPPER" || automatic == "SAME_LOWER") {
    for (size_t k = 0; k < n; ++k) {
      const int64_t size = c.constant_dim(c.type().dim(static_cast<int>(k) + 2), "a padded size");
      const int64_t out = (size + w.strides[k] - 1) / std::max<int64_t>(w.strides[k], 1);
      const int64_t all =
          std::max<int64_t>(0, (out - 1) * w.strides[k] + (kernel[k] - 1) * w.dilations[k] + 1 - size);
      w.before.push_back(automatic == "SAME_UPPER" ? all / 2 : all - all / 2);
      w.after.push_back(all - w.before.back());
    }
  } else {
    c.fail("auto_pad '{}' is unknown", automatic);
  }
  constexpr int64_t kMost = 1 << 20;
  for (size_t k = 0; k < n; ++k) {
    for (const int64_t at : {kernel[k], w.strides[k], w.dilations[k], w.before[k] + 1, w.after[k] + 1}) {
      if (at < 1 || at > kMost) c.fail("a kernel, stride, dilation or pad of {} is no size", at);
    }
  }
  return w;
}

// [N, C, d...] -> [N, C, out_0, k_0, out_1, k_1, ...]
Value unfold(C c, Value x, const Windows& w, double fill) {
  for (size_t k = 0; k < w.kernel.size(); ++k) {
    const int axis = 2 + 2 * static_cast<int>(k);
    const auto padding = [&](int64_t length) {
      Dims dims = c.b.type(x).dims;
      dims[static_cast<size_t>(axis)] = Dim(length);
      return broadcast(c.b, like(c.b, x, fill), dims);
    };
    Values parts;
    if (w.before[k] > 0) parts.push_back(padding(w.before[k]));
    parts.push_back(x);
    if (w.after[k] > 0) parts.push_back(padding(w.after[k]));
    if (parts.size() > 1) x = concat(c.b, parts, axis);
    const Dim covered = c.b.type(x).dim(axis) - Dim((w.kernel[k] - 1) * w.dilations[k] + 1);
    if (!c.assume_less_equal(Dim(0), covered, "the reach of a kernel"))
      c.fail("a kernel of {} does not fit dim {}", w.kernel[k], c.b.type(x).dim(axis).text());
    const Dim out = floor_div(covered, Dim(w.strides[k])) + Dim(1);
    const Value first = scale(c.b, iota(c.b, {out, Dim(1)}, 0), static_cast<double>(w.strides[k]));
    const Value within =
        scale(c.b, iota(c.b, {Dim(1), Dim(w.kernel[k])}, 1), static_cast<double>(w.dilations[k]));
    x = gather(c.b, x, add(c.b, first, within), axis);
  }
  return x;
}

// x [N, C, d...], w [M, C / groups, k...], bias [M] -> [N, M, out...]
Values convolution(C c) {
  const Type x = c.type(0), weight = c.type(1);
  const int spatial = x.rank() - 2;
  if (spatial < 1 || spatial > 2 || weight.rank() != x.rank())
    c.fail("operands {} and {}; convolutions of one and two dims are supported", text_of(x), text_of(weight));
  std::vector<int64_t> kernel;
  for (int k = 0; k < spatial; ++k) kernel.push_back(c.constant_dim(weight.dim(k + 2), "the kernel's size"));
  const int64_t groups = c.integer("group", 1);
  const int64_t channels = c.constant_dim(x.dim(1), "the number of channels"),
                results = c.constant_dim(weight.dim(0), "the number of channels");
  if (groups < 1 || channels % groups != 0 || results % groups != 0 ||
      weight.dim(1) != Dim(channels / groups))
    c.fail("{} groups of {} with weights {}", groups, text_of(x), text_of(weight));
  const Value windows = unfold(c, c.x(0), windows_of(c, kernel), 0);
  // [N, G, out..., C / G * k...] times [G, C / G * k..., M / G]
  const Dims dims = c.b.type(windows).dims;
  Dims apart{dims[0], Dim(groups), Dim(channels / groups)}, outs;
  apart.insert(apart.end(), dims.begin() + 2, dims.end());
  std::vector<int64_t> perm{0, 1}, behind{2};
  Dim depth(channels / groups);
  for (int k = 0; k < spatial; ++k) {
    perm.push_back(3 + 2 * k);
    behind.push_back(4 + 2 * k);
    outs.push_back(dims[static_cast<size_t>(2 + 2 * k)]);
    depth = depth * Dim(kernel[static_cast<size_t>(k)]);
  }
  perm.insert(perm.end(), behind.begin(), behind.end());
  const Value rows = reshape(c.b, transpose(c.b, reshape(c.b, windows, apart), perm),
                             {dims[0], Dim(groups), product(outs), depth});
  const Value w = reshape(c.b, c.x(1), {Dim(groups), Dim(results / groups), depth});
  Value y;
  if (groups == 1) {
    y = matmul(c.b, reshape(c.b, rows, {dims[0], product(outs), depth}),
               reshape(c.b, w, {Dim(results), depth}),
               {.transpose_b = true, .bias = c.has(2) ? c.in[2] : Value{}});
    y = transpose(c.b, y, {0, 2, 1});
  } else {
    y = numpy_matmul(c.b, rows, swap_last_two(c.b, w));
    y = reshape(c.b, transpose(c.b, y, {0, 1, 3, 2}), {dims[0], Dim(results), product(outs)});
    if (c.has(2)) y = add(c.b, y, reshape(c.b, c.in[2], {Dim(results), Dim(1)}));
  }
  Dims to{dims[0], Dim(results)};
  to.insert(to.end(), outs.begin(), outs.end());
  return {reshape(c.b, y, to)};
}

Values max_pool(C c) {
  const auto kernel = c.integers("kernel_shape");
  if (!kernel || static_cast<int>(kernel->size()) != c.rank() - 2 || kernel->size() > 2)
    c.fail("pools of one and two dims are supported, the operand is {}", text_of(c.type()));
  if (c.integer("ceil_mode", 0) != 0) c.fail("ceil_mode is not supported");
  const Value windows = unfold(c, c.x(), windows_of(c, *kernel), -std::numeric_limits<double>::infinity());
  std::vector<int64_t> axes;
  for (size_t k = 0; k < kernel->size(); ++k) axes.push_back(3 + 2 * static_cast<int64_t>(k));
  return {max_over(c.b, windows, axes, /*keep=*/false)};
}

template <bool kMax>
Values global_pool(C c) {
  if (c.rank() < 3) c.fail("the operand must have rank 3 or more, is {}", text_of(c.type()));
  std::vector<int64_t> axes(static_cast<size_t>(c.rank() - 2));
  std::iota(axes.begin(), axes.end(), 2);
  return {kMax ? max_over(c.b, c.x(), axes, true) : mean_over(c.b, c.x(), axes, true)};
}

}  // namespace

void add_onnx_window(OnnxRules& rules) {
  const OnnxRules mine = {{"Conv", convolution},
                          {"MaxPool", max_pool},
                          {"GlobalMaxPool", global_pool<true>},
                          {"GlobalAveragePool", global_pool<false>}};
  rules.insert(mine.begin(), mine.end());
}

}  // namespace floe
