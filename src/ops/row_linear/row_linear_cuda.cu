// row_linear in bf16 on the GPU: which kernel and tile, and where the norm is done. A few rows are normed
// inside the product; more rows by the norm's own kernel before it, which gives the same bits.
#include <algorithm>

#include "device/cuda/launch.cuh"
#include "kernel/cuda/norm.cuh"
#include "kernel/kernel.h"
#include "ops/row_linear/row_linear_cuda.cuh"
#include "ops/row_linear/row_linear_kernel.h"

namespace floe {
namespace {

// Up to so many rows the blocks norm their 16 rows for themselves: that takes less than a kernel more. Not
// where many blocks would norm the same ones, nor 64 rows: a processor norms them for 5 us.
constexpr int64_t kMostInside = 64;
constexpr int64_t kMostColumnsInside = 4096;
constexpr int64_t kMostSplit = 32;     // above so many rows a tile of 64 is filled well enough
constexpr int64_t kEnoughBlocks = 96;  // of an H100's 132 processors: a larger tile is worth some of them

RowNorm norm_of(const std::string& name) {
  if (name.empty()) return RowNorm::none;
  return name == "layer_norm" ? RowNorm::layer_norm : RowNorm::rms_norm;
}

bool supports(const KernelSignature& s) {
  const RowLinearOperands at(*s.attrs);
  const auto low_or_f32 = [](DType type) { return type == DType::bf16 || type == DType::f32; };
  for (size_t k = 0; k < s.inputs.size(); ++k) {
    const auto input = static_cast<int>(k);
    const bool scale = input == at.gamma || input == at.beta;
    if (input < 2 ? s.inputs[k] != DType::bf16 : scale ? s.inputs[k] != DType::f32 : !low_or_f32(s.inputs[k]))
      return false;
  }
  CudaActivation activation;
  return low_or_f32(s.outputs[0]) && find_activation(s.attrs->text("activation", ""), &activation);
}

enum class Way { split, staged, wide, walk };
struct Choice {
  RowTile tile;
  Way way;
};

// The largest tile that gives enough blocks; 16 rows of them where each block norms its own. The bits are the
// same with any.
Choice choose(int64_t m, int64_t n, int64_t k, bool norm_inside) {
  const auto blocks = [&](const RowTile& tile) {
    return ((m + tile.rows - 1) / tile.rows) * ((n + tile.columns - 1) / tile.columns);
  };
  const Choice any{{16, 16}, Way::split};
  if (k % 8 != 0) return any;
  if (m > kMostSplit && walk_serves(m, n, k)) return {{64, 64}, Way::walk};
  if (m > kMostSplit && wide_serves(n, k)) return {wide_tile(m, n, k), Way::wide};
  if (m > 16 && !norm_inside) {
    for (const RowTile tile : {RowTile{128, 128}, {64, 128}, {64, 64}}) {
      if (n % 2 == 0 && m > tile.rows / 2 && blocks(tile) >= kEnoughBlocks) return {tile, Way::staged};
    }
  }
  if (k % kChunk != 0) return any;
  if (m <= 16 || norm_inside) {
    // As many columns as leave two to four blocks a processor: their loads hide each other's latency.
    if (blocks({16, 32}) >= 528) return {{16, 32}, Way::split};
    return {{16, blocks({16, 16}) >= 264 ? 16 : 8}, Way::split};
  }
  for (const RowTile tile : {RowTile{32, 32}, {16, 32}, {16, 16}}) {
    if (blocks(tile) >= kEnoughBlocks) return {tile, Way::split};
  }
  return {{16, 8}, Way::split};
}

template <bool kCentred>
void norm_first(const RowLinearCall& call, __nv_bfloat16* to, void* stream) {
  start_norm<kCentred>(NormCall<__nv_bfloat16, float>{.x = call.x,
                                                      .gamma = call.gamma,
                                                      .beta = call.beta,
                                                      .y = to,
                                                      .rows = call.m,
                                                      .n = call.k,
                                                      .eps = call.eps},
                       stream);
}

BoundKernel bind(const KernelCall& call) {
  const RowLinearOperands at(call.attrs);
  const View &x = call.inputs[0], &w = call.inputs[1];
  const auto has_type = [](const View& view, DType type) { return view.dtype == type; };
  RowLinearCall args{};
  args.m = x.rows();
  args.n = w.dims[0];
  args.k = w.dims[1];
  args.eps = at.norm.empty() ? 0 : static_cast<float>(call.attrs.number("eps"));
  find_activation(call.attrs.text("activation", ""), &args.activation);
  args.bias_f32 = at.bias >= 0 && has_type(call.inputs[static_cast<size_t>(at.bias)], DType::f32);
  args.residual_f32 = at.residual >= 0 && has_type(call.inputs[static_cast<size_t>(at.residual)], DType::f32);
  args.y_f32 = has_type(call.outputs[0], DType::f32);
  uint32_t weights = 1u << 1;
  for (const int input : {at.gamma, at.beta, at.bias}) {
    if (input >= 0) weights |= 1u << input;
  }
  args.early = (call.frozen_inputs & weights) == weights;
  const RowNorm norm = norm_of(at.norm);
  const bool wide = args.m > kMostSplit && wide_serves(args.n, args.k);
  const bool inside = norm != RowNorm::none && args.n > 0 && args.k <= kMostNormed && args.k % kChunk == 0 &&
                      !wide && (args.m <= 16 || (args.m <= kMostInside && args.n <= kMostColumnsInside));
  const bool before = norm != RowNorm::none && !inside;
  const bool keeps = call.outputs.size() > 1;
  const Choice choice = choose(args.m, args.n, args.k, inside);
  BoundKernel bound;
  if (before && !keeps) bound.workspace = static_cast<size_t>(args.m * args.k) * sizeof(__nv_bfloat16);
  bound.run = [=](const KernelRun& run) {
    const auto input = [&](int k) -> void* {
      return k < 0 ? nullptr : run.inputs[static_cast<size_t>(k)].data;
    };
    RowLinearCall now = args;
    now.x = static_cast<const __nv_bfloat16*>(input(0));
    now.w = static_cast<const __nv_bfloat16*>(input(1));
    now.gamma = static_cast<const float*>(input(at.gamma));
    now.beta = static_cast<const float*>(input(at.beta));
    now.bias = input(at.bias);
    now.residual = input(at.residual);
    now.y = run.outputs[0].data;
    if (keeps) now.normed = run.outputs[1].as<__nv_bfloat16>();
    if (before) {
      __nv_bfloat16* to = keeps ? now.normed : static_cast<__nv_bfloat16*>(run.workspace);
      if (norm == RowNorm::layer_norm) {
        norm_first<true>(now, to, run.stream);
      } else {
        norm_first<false>(now, to, run.stream);
      }
      now.x = to;
      now.normed = nullptr;
    }
    const RowNorm own = inside ? norm : RowNorm::none;
    switch (choice.way) {
      case Way::walk:
        return start_walk(now, run.stream);
      case Way::wide:
        return start_wide(now, choice.tile, run.stream);
      case Way::staged:
        return start_staged(now, choice.tile, run.stream);
      case Way::split:
        return start_split(now, choice.tile, own, run.stream);
    }
  };
  return bound;
}

}  // namespace

void add_row_linear_cuda(KernelTable& table) {
  table.add({.op = "row_linear",
             .device = DeviceKind::cuda,
             .name = "row_linear.bf16",
             .supports = supports,
             .bind = bind});
}

}  // namespace floe
