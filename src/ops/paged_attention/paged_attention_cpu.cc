// paged_attention on the CPU. A task is some rows and a key head; 64 keys at a time are gathered through the
// table, keys transposed and values copied, then treated exactly as `attention` treats them: the same bits
// for the same keys, however the cache is cut into blocks.
//
// Neighbouring rows of one query that name the same keys (the beam of a sentence, in cross attention) are one
// task: gathering costs more than attending, and how many queries share a tile changes no bit.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/paged_attention/paged_attention_cpu.cc"
// clang-format off: first, since it compiles this file once for each target
#include "kernel/cpu/simd.h"
// clang-format on

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "kernel/cpu/attention-inl.h"
#include "ops/paged_attention/paged_attention_kernel.h"

HWY_BEFORE_NAMESPACE();
namespace floe {
namespace HWY_NAMESPACE {

int64_t paged_scratch(const PagedSpec& s) {
  const int64_t states = HWY_MAX(s.queries, kSharingRows) * (s.heads / s.key_heads);
  return (s.width + s.value_width + kTileRows) * kKeys + 2 * states;
}

void paged_task(const PagedSpec& s, const PagedData& data, float* out, const PagedTask& task,
                float* scratch) {
  const int64_t row = task.row;
  const int64_t key_head = task.key_head;
  const int64_t group = s.heads / s.key_heads;
  float* keys_t = scratch;
  float* values = keys_t + s.width * kKeys;
  float* scores = values + s.value_width * kKeys;
  auto* state = reinterpret_cast<OnlineRow*>(scores + kTileRows * kKeys);
  const int32_t* table = data.table + row * s.table_width;
  const int64_t length = data.lengths[row];
  if (length > s.table_width * s.block) {
    fail_user("[paged_attention] row {}: length {} is beyond its table of {} blocks of {}", row, length,
              s.table_width, s.block);
  }
  // Rows that share their keys are queries of one row that all see every key.
  const bool sharing = task.rows > 1;
  const int64_t queries = sharing ? task.rows : s.queries;
  const int64_t query_stride = sharing ? s.q_batch_stride : s.q_row_stride;
  const bool causal = s.causal && !sharing;
  // One query of many heads is a tile of heads; else a tile is of queries of one head.
  const bool by_heads = queries == 1;
  const int64_t tile_rows = by_heads ? group : queries;
  const int64_t tiles = by_heads ? 1 : group;
  const int64_t out_row = by_heads ? s.value_width : s.heads * s.value_width;
  const int64_t q_row = by_heads ? s.q_head_stride : query_stride;
  const float* q = data.q + row * s.q_batch_stride + key_head * group * s.q_head_stride;
  out += row * s.queries * s.heads * s.value_width + key_head * group * s.value_width;
  const auto seen_by = [&](int64_t i) { return causal ? length - queries + 1 + i : length; };
  for (int64_t i = 0; i < queries; ++i) {
    for (int64_t member = 0; member < group; ++member) {
      state[member * queries + i] = OnlineRow();
    }
    zero_rows(out + i * s.heads * s.value_width, group, s.value_width, s.value_width);
  }
  for (int64_t k0 = 0; k0 < length; k0 += kKeys) {
    const int64_t keys = HWY_MIN(kKeys, length - k0);
    int64_t entry[kKeys];
    for (int64_t j = 0; j < keys; ++j) {
      const int64_t slot = table[(k0 + j) / s.block];
      if (slot < 0 || slot >= s.blocks) {
        fail_user("[paged_attention] row {}: table names block {} of {}", row, slot, s.blocks);
      }
      entry[j] = (slot * s.block + (k0 + j) % s.block) * s.key_heads + key_head;
      std::memcpy(values + j * s.value_width, data.v + entry[j] * s.value_width,
                  static_cast<size_t>(s.value_width) * sizeof(float));
    }
    transpose_keys([&](int64_t j) { return data.k + entry[j] * s.width; }, keys, s.width, keys_t);
    for (int64_t tile = 0; tile < tiles; ++tile) {
      for (int64_t i = 0; i < tile_rows; i += kTileRows) {
        const int64_t rows = HWY_MIN(kTileRows, tile_rows - i);
        int64_t seen[kTileRows];
        for (int64_t r = 0; r < rows; ++r) {
          seen[r] = HWY_MAX(int64_t{0}, HWY_MIN(kKeys, seen_by(by_heads ? 0 : i + r) - k0));
        }
        attend({rows, s.width, s.value_width, q + tile * s.q_head_stride + i * q_row, q_row, keys_t, values,
                s.value_width, seen, s.scale, nullptr, 0, 0, state + tile * queries + i,
                out + tile * s.value_width + i * out_row, out_row, scores});
      }
    }
  }
  for (int64_t i = 0; i < queries; ++i) {
    for (int64_t member = 0; member < group; ++member) {
      finish_row(state[member * queries + i], 1, s.value_width, out + (i * s.heads + member) * s.value_width);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace floe
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "device/cpu/thread_pool.h"
#include "kernel/kernel.h"

namespace floe {
namespace {

HWY_EXPORT(paged_scratch);
HWY_EXPORT(paged_task);

// First rows of runs of rows that name the same keys, then the number of rows: `starts` has room for one more
// than there are rows. Returns how many runs there are.
int64_t find_runs(const PagedSpec& s, const PagedData& data, int32_t* starts) {
  int64_t runs = 0;
  for (int64_t r = 0; r < s.rows; ++r) {
    const int64_t length = data.lengths[r];
    const int64_t entries = std::clamp<int64_t>((length + s.block - 1) / s.block, 0, s.table_width);
    const int32_t* line = data.table + r * s.table_width;
    const bool same = r > 0 && s.queries == 1 && length == data.lengths[r - 1] &&
                      r - starts[runs - 1] < kSharingRows &&
                      std::equal(line, line + entries, line - s.table_width);
    if (!same) starts[runs++] = static_cast<int32_t>(r);
  }
  starts[runs] = static_cast<int32_t>(s.rows);
  return runs;
}

BoundKernel bind_paged(const KernelCall& call) {
  const View& q = call.inputs[0];
  const View& k = call.inputs[1];
  PagedSpec s;
  s.rows = q.dims[0];
  s.queries = q.dims[1];
  s.heads = q.dims[2];
  s.width = q.dims[3];
  s.q_batch_stride = q.strides[0];
  s.q_row_stride = q.strides[1];
  s.q_head_stride = q.strides[2];
  s.blocks = k.dims[0];
  s.block = k.dims[1];
  s.key_heads = k.dims[2];
  s.value_width = call.inputs[2].dims[3];
  s.table_width = call.inputs[3].dims[1];
  s.scale = static_cast<float>(call.attrs.number("scale"));
  s.causal = call.attrs.flag("causal");
  const int64_t scratch = (HWY_DYNAMIC_DISPATCH(paged_scratch)(s) + 15) / 16 * 16;
  const size_t tasks_at = static_cast<size_t>(scratch * call.threads) * sizeof(float);
  const size_t workspace = tasks_at + static_cast<size_t>(s.rows + 1) * sizeof(int32_t);
  return {workspace, [s, scratch, tasks_at](const KernelRun& run) {
            const PagedData data{run.inputs[0].as<float>(), run.inputs[1].as<float>(),
                                 run.inputs[2].as<float>(), run.inputs[3].as<int32_t>(),
                                 run.inputs[4].as<int32_t>()};
            auto* starts = reinterpret_cast<int32_t*>(static_cast<char*>(run.workspace) + tasks_at);
            const int64_t tasks = find_runs(s, data, starts) * s.key_heads;
            // The heads of a row lie side by side in the cache: one thread takes them, if that leaves enough
            // for the others.
            const int64_t grain = std::clamp<int64_t>(tasks / (4 * run.pool->threads()), 1, s.key_heads);
            run.pool->run_ranges(tasks, grain, [&](int64_t begin, int64_t end, int worker) {
              for (int64_t i = begin; i < end; ++i) {
                const int32_t* at = starts + i / s.key_heads;
                HWY_DYNAMIC_DISPATCH(paged_task)
                (s, data, run.outputs[0].as<float>(), {at[0], at[1] - at[0], i % s.key_heads},
                 static_cast<float*>(run.workspace) + worker * scratch);
              }
            });
          }};
}

}  // namespace

void add_paged_attention_cpu(KernelTable& table) {
  Kernel kernel;
  kernel.op = "paged_attention";
  kernel.name = "paged_attention.f32";
  kernel.supports = [](const KernelSignature& signature) {
    return signature.inputs[0] == DType::f32 && signature.inputs[1] == DType::f32 &&
           signature.inputs[2] == DType::f32;
  };
  kernel.bind = bind_paged;
  kernel.strided_inputs = 0b1;
  table.add(std::move(kernel));
}

}  // namespace floe
#endif  // HWY_ONCE
