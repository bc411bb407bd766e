// Attention on the CPU. A task is a batch row, a head and a run of queries; it walks the keys in blocks that
// lie transposed in its L1 cache, so no more than kTileRows x kKeys scores exist at once
// (kernel/cpu/attention-inl.h).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/attention/attention_cpu.cc"
// clang-format off: first, since it compiles this file once for each target
#include "kernel/cpu/simd.h"
// clang-format on

#include "kernel/cpu/attention-inl.h"
#include "kernel/cpu/philox_patch-inl.h"
#include "kernel/cpu/softmax-inl.h"
#include "ops/attention/attention_kernel.h"
#include "ops/attention/attention_rule_kernel.h"

HWY_BEFORE_NAMESPACE();
namespace floe {
namespace HWY_NAMESPACE {

constexpr int64_t kQueries =
    128;  // in a task: transposing 64 keys costs a few percent of 128 queries' products

int64_t forward_tasks(const AttentionSpec& s) {
  return s.batch * s.heads * ((s.queries + kQueries - 1) / kQueries);
}

constexpr int64_t kMaskWords = kTileRows * kKeys + kKeys + kPhiloxSlack;

// Floats of one worker's scratch space, a multiple of 16 so that all start aligned.
int64_t forward_scratch(const AttentionSpec& s) {
  return (s.width + s.value_width + kTileRows) * kKeys + kMaskWords + 2 * kQueries;
}

void forward_task(const AttentionSpec& s, const AttentionData& data, float* out, float* lse, int64_t task,
                  float* scratch) {
  const int64_t chunks = (s.queries + kQueries - 1) / kQueries;
  const int64_t b = task / chunks / s.heads;
  const int64_t h = task / chunks % s.heads;
  const int64_t first = task % chunks * kQueries;
  const int64_t count = HWY_MIN(kQueries, s.queries - first);
  const int64_t key_head = h / (s.heads / s.key_heads);
  float* keys_t = scratch;
  float* values = keys_t + s.width * kKeys;
  float* scores = values + s.value_width * kKeys;
  auto* words = reinterpret_cast<uint32_t*>(scores + kTileRows * kKeys);
  auto* state = reinterpret_cast<OnlineRow*>(words + kMaskWords);
  const int64_t out_row = s.heads * s.value_width;
  const float* q = data.q + b * s.q.batch + first * s.q.row + h * s.q.head;
  const float* k = data.k + b * s.k.batch + key_head * s.k.head;
  const float* v = data.v + b * s.v.batch + key_head * s.v.head;
  out += (b * s.queries + first) * out_row + h * s.value_width;
  lse += (b * s.heads + h) * s.queries + first;
  for (int64_t i = 0; i < count; ++i) {
    state[i] = OnlineRow();
  }
  zero_rows(out, count, out_row, s.value_width);
  const AttentionRow row = data.row(s, b);
  const int64_t live = HWY_MAX(int64_t{0}, HWY_MIN(count, row.queries - first));
  const int64_t last = live == 0 ? 0 : s.end(row, first + live - 1);
  const bool windowed = s.window_left != AttentionSpec::kFar;
  for (int64_t k0 = s.begin(row, first) / kKeys * kKeys; k0 < last; k0 += kKeys) {
    const int64_t keys = HWY_MIN(kKeys, last - k0);
    transpose_keys([&](int64_t j) { return k + (k0 + j) * s.k.row; }, keys, s.width, keys_t);
    copy_rows(v + k0 * s.v.row, s.v.row, keys, s.value_width, values);
    for (int64_t i = 0; i < live; i += kTileRows) {
      const int64_t rows = HWY_MIN(kTileRows, live - i);
      int64_t seen[kTileRows], begin[kTileRows];
      for (int64_t r = 0; r < rows; ++r) {
        seen[r] = HWY_MAX(int64_t{0}, HWY_MIN(kKeys, s.end(row, first + i + r) - k0));
        begin[r] = HWY_MAX(int64_t{0}, HWY_MIN(seen[r], s.begin(row, first + i + r) - k0));
      }
      if (seen[rows - 1] == 0 || begin[0] == kKeys) continue;
      const int64_t groups = (seen[rows - 1] + 3) / 4;
      if (s.dropout) {
        philox_patch({static_cast<uint32_t>(*data.seed), s.op_id, static_cast<uint32_t>(data.ordinals[b]),
                      static_cast<uint32_t>(h), first + i, rows, k0 / 4, groups},
                     words);
      }
      const LogitRule rule = logit_rule(s, data, {b, h, first + i, k0, row.lag});
      attend({rows, s.width, s.value_width, q + i * s.q.row, s.q.row, keys_t, values, s.value_width, seen,
              s.scale, s.dropout ? words : nullptr, 4 * groups, s.threshold, state + i, out + i * out_row,
              out_row, scores, windowed || !s.plain_logits() ? &rule : nullptr, windowed ? begin : nullptr});
    }
  }
  for (int64_t i = 0; i < count; ++i) {
    finish_row(state[i], s.keep_factor, s.value_width, out + i * out_row);
    lse[i] = log_sum_exp(state[i]);
  }
}

int64_t weights_scratch(const AttentionSpec& s) { return s.width * kKeys; }

void weights_task(const AttentionSpec& s, const AttentionData& data, float* weights, int64_t task,
                  float* scratch) {
  const int64_t chunks = (s.queries + kQueries - 1) / kQueries;
  const int64_t b = task / chunks / s.heads;
  const int64_t h = task / chunks % s.heads;
  const int64_t first = task % chunks * kQueries;
  const int64_t count = HWY_MIN(kQueries, s.queries - first);
  const float* q = data.q + b * s.q.batch + first * s.q.row + h * s.q.head;
  const float* k = data.k + b * s.k.batch + h / (s.heads / s.key_heads) * s.k.head;
  weights += ((b * s.heads + h) * s.queries + first) * s.keys;
  const AttentionRow row = data.row(s, b);
  const int64_t last = s.end(row, first + count - 1);
  for (int64_t k0 = 0; k0 < last; k0 += kKeys) {
    const int64_t keys = HWY_MIN(kKeys, last - k0);
    transpose_keys([&](int64_t j) { return k + (k0 + j) * s.k.row; }, keys, s.width, scratch);
    multiply({count, keys, s.width, q, s.q.row, 1, scratch, kKeys, weights + k0, s.keys, false});
  }
  for (int64_t i = 0; i < count; ++i) {
    const int64_t seen = s.end(row, first + i);
    float* to = weights + i * s.keys;
    if (seen > 0) softmax_row(to, to, seen, s.scale);
    for (int64_t j = seen; j < s.keys; ++j) to[j] = 0;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace floe
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <algorithm>

#include "device/cpu/thread_pool.h"

namespace floe {

void add_attention_grad_cpu(KernelTable& table);

namespace {

HWY_EXPORT(forward_tasks);
HWY_EXPORT(forward_scratch);
HWY_EXPORT(forward_task);
HWY_EXPORT(weights_scratch);
HWY_EXPORT(weights_task);

bool floats_then_ids(const KernelSignature& signature, size_t floats) {
  const AttentionInputs at = AttentionInputs::of(*signature.attrs, floats);
  for (size_t i = 0; i < signature.inputs.size(); ++i) {
    if (signature.inputs[i] != (i < floats || at.is_float(i) ? DType::f32 : DType::i32)) return false;
  }
  return true;
}

BoundKernel bind_forward(const KernelCall& call) {
  const AttentionSpec s = AttentionSpec::of(call.attrs, call.inputs, 3);
  const int64_t scratch = (HWY_DYNAMIC_DISPATCH(forward_scratch)(s) + 15) / 16 * 16;
  const int64_t tasks = HWY_DYNAMIC_DISPATCH(forward_tasks)(s);
  return {
      static_cast<size_t>(scratch * call.threads) * sizeof(float), [s, scratch, tasks](const KernelRun& run) {
        AttentionData data{run.inputs[0].as<float>(), run.inputs[1].as<float>(), run.inputs[2].as<float>()};
        data.set_optional(s.at, run.inputs);
        run.pool->run(tasks, [&](int64_t task, int worker) {
          HWY_DYNAMIC_DISPATCH(forward_task)
          (s, data, run.outputs[0].as<float>(), run.outputs[1].as<float>(), task,
           static_cast<float*>(run.workspace) + worker * scratch);
        });
      }};
}

BoundKernel bind_weights(const KernelCall& call) {
  const AttentionSpec s = AttentionSpec::of(call.attrs, call.inputs, 2);
  const int64_t scratch = (HWY_DYNAMIC_DISPATCH(weights_scratch)(s) + 15) / 16 * 16;
  const int64_t tasks = HWY_DYNAMIC_DISPATCH(forward_tasks)(s);
  return {
      static_cast<size_t>(scratch * call.threads) * sizeof(float), [s, scratch, tasks](const KernelRun& run) {
        AttentionData data{run.inputs[0].as<float>(), run.inputs[1].as<float>()};
        data.set_optional(s.at, run.inputs);
        run.pool->run(tasks, [&](int64_t task, int worker) {
          HWY_DYNAMIC_DISPATCH(weights_task)
          (s, data, run.outputs[0].as<float>(), task, static_cast<float*>(run.workspace) + worker * scratch);
        });
      }};
}

}  // namespace

void add_attention_cpu(KernelTable& table) {
  Kernel forward;
  forward.op = "attention";
  forward.name = "attention.f32";
  forward.supports = [](const KernelSignature& signature) { return floats_then_ids(signature, 3); };
  forward.bind = bind_forward;
  forward.strided_inputs = 0b111;
  table.add(std::move(forward));

  Kernel weights;
  weights.op = "attention_weights";
  weights.name = "attention_weights.f32";
  // A picture for a person: what is rarer than lengths is left to the meaning.
  weights.supports = [](const KernelSignature& signature) {
    return floats_then_ids(signature, 2) && !AttentionSpec::is_general(*signature.attrs);
  };
  weights.bind = bind_weights;
  weights.strided_inputs = 0b11;
  table.add(std::move(weights));

  add_attention_grad_cpu(table);
}

}  // namespace floe
#endif  // HWY_ONCE
