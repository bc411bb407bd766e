// The gradient of attention on the CPU. A task is a batch row and a key head, which alone writes that head's
// dk and dv and its query heads' dq: no races, one order of summation. Probabilities are computed again from
// lse, by blocks of kKeys keys and kQueries queries.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/attention/attention_grad_cpu.cc"
// clang-format off: first, since it compiles this file once for each target
#include "kernel/cpu/simd.h"
// clang-format on

#include "kernel/cpu/attention-inl.h"
#include "kernel/cpu/philox_patch-inl.h"
#include "ops/attention/attention_grad_row_kernel.h"
#include "ops/attention/attention_rule_kernel.h"

HWY_BEFORE_NAMESPACE();
namespace floe {
namespace HWY_NAMESPACE {
namespace {

constexpr int64_t kQueries = 64;  // probabilities and score gradients of 64 x 64: 32 KiB
constexpr int64_t kMaskWords = kTileRows * kKeys + kKeys + kPhiloxSlack;

}  // namespace

int64_t grad_scratch(const AttentionSpec& s) {
  return (s.width + s.value_width + 2 * kQueries) * kKeys + s.width * kKeys +
         (s.width + s.value_width) * kQueries + kMaskWords;
}

void grad_task(const AttentionSpec& s, const AttentionData& data, const GradOutputs& to, int64_t task,
               float* scratch) {
  const int64_t b = task / s.key_heads;
  const int64_t key_head = task % s.key_heads;
  const int64_t group = s.heads / s.key_heads;
  float* keys_t = scratch;
  float* values_t = keys_t + s.width * kKeys;
  float* probabilities = values_t + s.value_width * kKeys;
  float* gradients = probabilities + kQueries * kKeys;
  float* keys_here = gradients + kQueries * kKeys;
  float* queries_here = keys_here + s.width * kKeys;
  float* dout_here = queries_here + s.width * kQueries;
  auto* words = reinterpret_cast<uint32_t*>(dout_here + s.value_width * kQueries);
  const float* k = data.k + b * s.k.batch + key_head * s.k.head;
  const float* v = data.v + b * s.v.batch + key_head * s.v.head;
  const int64_t o_row = s.heads * s.value_width;  // of out and dout, which are row-major
  const int64_t dq_row = s.dq.row, dk_row = s.dk.row, dv_row = s.dv.row;
  float* dq = to.dq + b * s.dq.batch + key_head * group * s.dq.head;
  float* dk = to.dk + b * s.dk.batch + key_head * s.dk.head;
  float* dv = to.dv + b * s.dv.batch + key_head * s.dv.head;
  const AttentionRow row = data.row(s, b);
  const int64_t length = row.length;
  const bool windowed = s.window_left != AttentionSpec::kFar;
  const bool ruled = windowed || !s.plain_logits();
  zero_rows(dk + length * dk_row, s.keys - length, dk_row, s.width);
  zero_rows(dv + length * dv_row, s.keys - length, dv_row, s.value_width);
  // Else the first block of keys writes dq, and the others add to it.
  const bool zeroed = windowed || row.queries < s.queries || length == 0;
  for (int64_t member = 0; member < group && zeroed; ++member) {
    zero_rows(dq + member * s.dq.head, s.queries, dq_row, s.width);
  }
  for (int64_t k0 = 0; k0 < length; k0 += kKeys) {
    const int64_t keys = HWY_MIN(kKeys, length - k0);
    const int64_t all_vectors = (keys + kLanes - 1) / kLanes;
    transpose_keys([&](int64_t j) { return k + (k0 + j) * s.k.row; }, keys, s.width, keys_t);
    transpose_keys([&](int64_t j) { return v + (k0 + j) * s.v.row; }, keys, s.value_width, values_t);
    copy_rows(k + k0 * s.k.row, s.k.row, keys, s.width, keys_here);
    bool written = false;  // dk and dv of this block
    for (int64_t member = 0; member < group; ++member) {
      const int64_t h = key_head * group + member;
      for (int64_t first = 0; first < row.queries; first += kQueries) {
        const int64_t count = HWY_MIN(kQueries, row.queries - first);
        float* dq_chunk = dq + first * dq_row + member * s.dq.head;
        if (s.end(row, first + count - 1) <= k0 || s.begin(row, first) >= k0 + keys) {
          if (k0 == 0 && !zeroed) zero_rows(dq_chunk, count, dq_row, s.width);
          continue;
        }
        copy_rows(data.q + b * s.q.batch + first * s.q.row + h * s.q.head, s.q.row, count, s.width,
                  queries_here);
        copy_rows(data.dout + (b * s.queries + first) * o_row + h * s.value_width, o_row, count,
                  s.value_width, dout_here);
        const float* out = data.out + (b * s.queries + first) * o_row + h * s.value_width;
        const int64_t first_row = (b * s.heads + h) * s.queries + first;
        const float* lse = data.lse + first_row;
        const float* dlse = data.dlse == nullptr ? nullptr : data.dlse + first_row;
        int64_t seen[kQueries], begin[kQueries];
        int64_t start = count, stop = 0;  // of the queries that see a key of this block
        for (int64_t i = count; i-- > 0;) {
          seen[i] = HWY_MAX(int64_t{0}, HWY_MIN(kKeys, s.end(row, first + i) - k0));
          begin[i] = HWY_MAX(int64_t{0}, HWY_MIN(seen[i], s.begin(row, first + i) - k0));
          if (seen[i] == begin[i]) continue;
          start = i;
          if (stop == 0) stop = i + 1;
        }
        if (k0 == 0 && !zeroed) zero_rows(dq_chunk, start, dq_row, s.width);
        if (start >= stop) continue;
        for (int64_t i = start; i < stop; i += kTileRows) {
          const int64_t rows = HWY_MIN(kTileRows, stop - i);
          const int64_t most = seen[i + rows - 1];
          const int64_t vectors = (most + kLanes - 1) / kLanes;
          float* p = probabilities + i * kKeys;
          float* g = gradients + i * kKeys;
          multiply({rows, vectors * kLanes, s.width, queries_here + i * s.width, s.width, 1, keys_t, kKeys, p,
                    kKeys, false});
          multiply({rows, vectors * kLanes, s.value_width, dout_here + i * s.value_width, s.value_width, 1,
                    values_t, kKeys, g, kKeys, false});
          const int64_t groups = (most + 3) / 4;
          if (s.dropout) {
            philox_patch({static_cast<uint32_t>(*data.seed), s.op_id, static_cast<uint32_t>(data.ordinals[b]),
                          static_cast<uint32_t>(h), first + i, rows, k0 / 4, groups},
                         words);
          }
          const LogitRule rule = logit_rule(s, data, {b, h, first + i, k0, row.lag});
          for (int64_t r = 0; r < rows; ++r) {
            float delta = dot(out + (i + r) * o_row, dout_here + (i + r) * s.value_width, s.value_width);
            if (dlse != nullptr) delta -= dlse[i + r];
            const GradRow grad{p + r * kKeys,
                               g + r * kKeys,
                               begin[i + r],
                               seen[i + r],
                               vectors,
                               all_vectors,
                               lse[i + r],
                               delta,
                               s.dropout ? words + r * 4 * groups : nullptr,
                               s.threshold,
                               s.keep_factor,
                               &rule,
                               r};
            ruled ? grad_row<true>(grad) : grad_row<false>(grad);
          }
          ragged_product({rows, s.width, 0, g, kKeys, 1, keys_here, s.width, dq_chunk + i * dq_row, dq_row,
                          k0 > 0 || zeroed},
                         windowed ? begin + i : nullptr, seen + i);
        }
        // dv += p^T dout and dk += ds^T q, over the queries that see the first key of each run of keys.
        const bool whole = seen[start] == keys && begin[stop - 1] == 0;
        const int64_t run = whole ? keys : kTileRows;
        int64_t from = start;
        for (int64_t j = 0; j < keys; j += run) {
          const int64_t rows = HWY_MIN(run, keys - j);
          while (from < stop && seen[from] <= j) ++from;
          int64_t to = stop;
          while (to > from && begin[to - 1] >= j + rows) --to;
          if (from == to && written) continue;
          multiply({rows, s.value_width, to - from, probabilities + from * kKeys + j, 1, kKeys,
                    dout_here + from * s.value_width, s.value_width, dv + (k0 + j) * dv_row, dv_row,
                    written});
          multiply({rows, s.width, to - from, gradients + from * kKeys + j, 1, kKeys,
                    queries_here + from * s.width, s.width, dk + (k0 + j) * dk_row, dk_row, written});
        }
        written = true;
      }
    }
    if (!written) {
      zero_rows(dk + k0 * dk_row, keys, dk_row, s.width);
      zero_rows(dv + k0 * dv_row, keys, dv_row, s.value_width);
    }
  }
}

// The gradient of the bias. A task is a run of queries of one of its heads, and computes the gradients of
// their logits again for every batch row and head that shares it: no races, one order of summation.
int64_t bias_tasks(const AttentionSpec& s) {
  return (s.bias_batch == 0 ? 1 : s.batch) * (s.bias_head == 0 ? 1 : s.heads) *
         ((s.queries + kQueries - 1) / kQueries);
}

void bias_rows(const AttentionSpec& s, const AttentionData& data, const TilePlace& at, int64_t count,
               float* dbias, float* scratch);

void bias_task(const AttentionSpec& s, const AttentionData& data, float* dbias, int64_t task,
               float* scratch) {
  const int64_t chunks = (s.queries + kQueries - 1) / kQueries;
  const int64_t heads = s.bias_head == 0 ? 1 : s.heads;
  const int64_t first = task % chunks * kQueries;
  const int64_t head = task / chunks % heads, batch = task / chunks / heads;
  const int64_t count = HWY_MIN(kQueries, s.queries - first);
  dbias += ((batch * heads + head) * s.queries + first) * s.keys;
  zero_rows(dbias, count, s.keys, s.keys);
  const int64_t batch_end = s.bias_batch == 0 ? s.batch : batch + 1;
  const int64_t head_end = s.bias_head == 0 ? s.heads : head + 1;
  for (int64_t b = batch; b < batch_end; ++b) {
    const AttentionRow row = data.row(s, b);
    const int64_t live = HWY_MIN(count, row.queries - first);
    if (live <= 0) continue;
    const int64_t last = s.end(row, first + live - 1);
    for (int64_t h = head; h < head_end; ++h) {
      for (int64_t k0 = s.begin(row, first) / kKeys * kKeys; k0 < last; k0 += kKeys)
        bias_rows(s, data, {b, h, first, k0, row.lag}, live, dbias + k0, scratch);
    }
  }
}

// Adds the gradients of the logits of `count` queries and a block of keys.
void bias_rows(const AttentionSpec& s, const AttentionData& data, const TilePlace& at, int64_t count,
               float* dbias, float* scratch) {
  float* keys_t = scratch;
  float* values_t = keys_t + s.width * kKeys;
  float* probabilities = values_t + s.value_width * kKeys;
  float* gradients = probabilities + kTileRows * kKeys;
  auto* words = reinterpret_cast<uint32_t*>(gradients + kTileRows * kKeys);
  const AttentionRow row = data.row(s, at.b);
  const int64_t key_head = at.h / (s.heads / s.key_heads);
  const float* k = data.k + at.b * s.k.batch + key_head * s.k.head + at.key * s.k.row;
  const float* v = data.v + at.b * s.v.batch + key_head * s.v.head + at.key * s.v.row;
  const int64_t keys = HWY_MIN(kKeys, row.length - at.key);
  transpose_keys([&](int64_t j) { return k + j * s.k.row; }, keys, s.width, keys_t);
  transpose_keys([&](int64_t j) { return v + j * s.v.row; }, keys, s.value_width, values_t);
  const int64_t o_row = s.heads * s.value_width;
  for (int64_t i = 0; i < count; i += kTileRows) {
    const int64_t rows = HWY_MIN(kTileRows, count - i), query = at.query + i;
    const int64_t most = HWY_MIN(kKeys, s.end(row, query + rows - 1) - at.key);
    if (most <= 0) continue;
    const int64_t vectors = (most + kLanes - 1) / kLanes, groups = (most + 3) / 4;
    const float* q = data.q + at.b * s.q.batch + query * s.q.row + at.h * s.q.head;
    const int64_t o = (at.b * s.queries + query) * o_row + at.h * s.value_width;
    multiply({rows, vectors * kLanes, s.width, q, s.q.row, 1, keys_t, kKeys, probabilities, kKeys, false});
    multiply({rows, vectors * kLanes, s.value_width, data.dout + o, o_row, 1, values_t, kKeys, gradients,
              kKeys, false});
    if (s.dropout) {
      philox_patch({static_cast<uint32_t>(*data.seed), s.op_id, static_cast<uint32_t>(data.ordinals[at.b]),
                    static_cast<uint32_t>(at.h), query, rows, at.key / 4, groups},
                   words);
    }
    const LogitRule rule = logit_rule(s, data, {at.b, at.h, query, at.key, at.lag});
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t seen = HWY_MAX(int64_t{0}, HWY_MIN(kKeys, s.end(row, query + r) - at.key));
      const int64_t begin = HWY_MAX(int64_t{0}, HWY_MIN(seen, s.begin(row, query + r) - at.key));
      const int64_t lse = (at.b * s.heads + at.h) * s.queries + query + r;
      float delta = dot(data.out + o + r * o_row, data.dout + o + r * o_row, s.value_width);
      if (data.dlse != nullptr) delta -= data.dlse[lse];
      float* g = gradients + r * kKeys;
      grad_row<true>({probabilities + r * kKeys, g, begin, seen, vectors, vectors, data.lse[lse], delta,
                      s.dropout ? words + r * 4 * groups : nullptr, s.threshold, s.keep_factor, &rule, r,
                      true});
      for (int64_t j = begin; j < seen; ++j) dbias[(i + r) * s.keys + j] += g[j];
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace floe
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "device/cpu/thread_pool.h"

namespace floe {
namespace {

HWY_EXPORT(grad_scratch);
HWY_EXPORT(grad_task);
HWY_EXPORT(bias_tasks);
HWY_EXPORT(bias_task);

BoundKernel bind_grad(const KernelCall& call) {
  const AttentionSpec s = AttentionSpec::of_gradient(call);
  const int64_t scratch = (HWY_DYNAMIC_DISPATCH(grad_scratch)(s) + 15) / 16 * 16;
  return {static_cast<size_t>(scratch * call.threads) * sizeof(float), [s, scratch](const KernelRun& run) {
            AttentionData data;
            const float** floats[] = {&data.q, &data.k, &data.v, &data.out, &data.lse, &data.dout};
            size_t next = 0;
            for (const float** to : floats) *to = run.inputs[next++].as<float>();
            data.set_optional(s.at, run.inputs);
            const GradOutputs outputs{run.outputs[0].as<float>(), run.outputs[1].as<float>(),
                                      run.outputs[2].as<float>()};
            run.pool->run(s.batch * s.key_heads, [&](int64_t task, int worker) {
              HWY_DYNAMIC_DISPATCH(grad_task)
              (s, data, outputs, task, static_cast<float*>(run.workspace) + worker * scratch);
            });
            if (!s.bias_gradient) return;
            run.pool->run(HWY_DYNAMIC_DISPATCH(bias_tasks)(s), [&](int64_t task, int worker) {
              HWY_DYNAMIC_DISPATCH(bias_task)
              (s, data, run.outputs[3].as<float>(), task,
               static_cast<float*>(run.workspace) + worker * scratch);
            });
          }};
}

}  // namespace

void add_attention_grad_cpu(KernelTable& table) {
  Kernel kernel;
  kernel.op = "attention_grad";
  kernel.name = "attention_grad.f32";
  kernel.supports = [](const KernelSignature& signature) {
    const AttentionInputs at = AttentionInputs::of(*signature.attrs, 6);
    for (size_t i = 0; i < signature.inputs.size(); ++i) {
      if (signature.inputs[i] != (i < 6 || at.is_float(i) ? DType::f32 : DType::i32)) return false;
    }
    return true;
  };
  kernel.bind = bind_grad;
  kernel.strided_inputs = 0b111;
  kernel.strided_outputs = 0b111;
  table.add(std::move(kernel));
}

}  // namespace floe
#endif  // HWY_ONCE
