// What the kernels for many rows share (sm_90): operands in panels of 64 k, brought by the copy engine and
// read by wgmma. A chain of wgmma over K gives the bits of a chain of mma.sync over the same groups of 16
// (RowLinearCuda.ARowHasTheSameBitsAmongAnyNumberOfRows), so their sums are those of the other kernels.
#pragma once
#include "device/cuda/launch.cuh"
#include "kernel/cuda/tensor_map.h"
#include "kernel/cuda/tma.cuh"
#include "kernel/cuda/wgmma.cuh"
#include "ops/row_linear/row_linear_cuda.cuh"

namespace floe {

constexpr int kTileRows = 64;  // of a warpgroup
constexpr int kPanel = 64;     // elements of K: 128 bytes of a row, with tma.cuh's swizzle
constexpr int kPanelRow = 128;
constexpr int kRowsPanel = kTileRows * kPanelRow;  // bytes
constexpr int64_t kMostResident = 1024;            // of K, where a block keeps its rows

inline CUtensorMap panel_map(const void* data, int64_t rows, int64_t k, int box_rows) {
  return tensor_map(
      {.data = data, .dims = {k, rows, 1, 1}, .strides = {1, k, 0, 0}, .box = {kPanel, box_rows, 1, 1}});
}

__device__ inline void load_panel(const CUtensorMap& map, uint32_t bar, uint32_t to, int panel, int row) {
  load_box(&map, bar, to, {{panel * kPanel, row, 0, 0}}, cache_policy<Keep::normally>());
}

// sums += a panel of rows times one of weights; under way until wait_products.
template <int kColumns>
__device__ inline void start_panel(float (&sums)[kColumns / 2], uint32_t x, uint32_t w) {
  start_products();
  multiply_shared<__nv_bfloat16, kColumns, kPanel, Along::rows, Along::rows>(
      sums, TileDescriptor::along_rows(x), 0, TileDescriptor::along_rows(w), 0, true);
  commit_products();
}

}  // namespace floe
