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
#include "ops/attention/attention_kernel.h"

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

// One query's row: p = exp(scale * s - lse) for the keys it sees, else 0;  m = mask / (1 - rate)
// probabilities <- p m,  gradients (dout v^T) <- scale * p * (m * gradients - delta)
struct GradRow {
  float* probabilities;
  float* gradients;
  int64_t seen, computed, vectors;  // `computed` vectors hold products, up to `vectors` are written
  float scale, lse, delta;
  const uint32_t* words;
  uint32_t threshold;
  float keep_factor;
};
HWY_INLINE void grad_row(const GradRow& row) {
  const F32 d;
  const hn::RebindToUnsigned<F32> du;
  const hn::RebindToSigned<F32> di;
  const auto limit = hn::Set(di, static_cast<int32_t>(row.threshold));
  const auto keep = hn::Set(d, row.keep_factor);
  const auto scale = hn::Set(d, row.scale);
  const auto lse = hn::Set(d, row.lse);
  const auto delta = hn::Set(d, row.delta);
  const int64_t live = row.lse == kMinusInfinity ? 0 : row.computed;
  for (int64_t n = 0; n < live; ++n) {
    const int64_t left = row.seen - n * kLanes;
    const auto mask = hn::FirstN(d, static_cast<size_t>(HWY_MAX(int64_t{0}, HWY_MIN(left, kLanes))));
    const auto s = hn::Mul(hn::Load(d, row.probabilities + n * kLanes), scale);
    auto p = hn::IfThenElseZero(mask, fast_exp(d, hn::Sub(s, lse)));
    auto g = hn::Load(d, row.gradients + n * kLanes);
    auto dropped_p = p;
    if (row.words != nullptr) {
      const auto word = hn::BitCast(di, hn::ShiftRight<8>(hn::LoadU(du, row.words + n * kLanes)));
      const auto dropped = hn::RebindMask(d, hn::Lt(word, limit));
      dropped_p = hn::IfThenZeroElse(dropped, hn::Mul(p, keep));
      g = hn::IfThenZeroElse(dropped, hn::Mul(g, keep));
    }
    hn::Store(dropped_p, d, row.probabilities + n * kLanes);
    hn::Store(hn::IfThenElseZero(mask, hn::Mul(hn::Mul(p, scale), hn::Sub(g, delta))), d,
              row.gradients + n * kLanes);
  }
  for (int64_t n = live; n < row.vectors; ++n) {
    hn::Store(hn::Zero(d), d, row.probabilities + n * kLanes);
    hn::Store(hn::Zero(d), d, row.gradients + n * kLanes);
  }
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
  const int64_t length = data.length(s, b);
  zero_rows(dk + length * dk_row, s.keys - length, dk_row, s.width);
  zero_rows(dv + length * dv_row, s.keys - length, dv_row, s.value_width);
  for (int64_t member = 0; member < group && length == 0; ++member) {
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
      for (int64_t first = 0; first < s.queries; first += kQueries) {
        const int64_t count = HWY_MIN(kQueries, s.queries - first);
        float* dq_chunk = dq + first * dq_row + member * s.dq.head;
        if (s.seen(length, first + count - 1) <= k0) {
          if (k0 == 0) zero_rows(dq_chunk, count, dq_row, s.width);
          continue;
        }
        copy_rows(data.q + b * s.q.batch + first * s.q.row + h * s.q.head, s.q.row, count, s.width,
                  queries_here);
        copy_rows(data.dout + (b * s.queries + first) * o_row + h * s.value_width, o_row, count,
                  s.value_width, dout_here);
        const float* out = data.out + (b * s.queries + first) * o_row + h * s.value_width;
        const float* lse = data.lse + (b * s.heads + h) * s.queries + first;
        int64_t seen[kQueries];
        int64_t start = count;  // the first query that sees a key of this block
        for (int64_t i = count; i-- > 0;) {
          seen[i] = HWY_MAX(int64_t{0}, HWY_MIN(kKeys, s.seen(length, first + i) - k0));
          if (seen[i] > 0) start = i;
        }
        if (k0 == 0) zero_rows(dq_chunk, start, dq_row, s.width);
        for (int64_t i = start; i < count; i += kTileRows) {
          const int64_t rows = HWY_MIN(kTileRows, count - i);
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
          for (int64_t r = 0; r < rows; ++r) {
            const float delta =
                dot(out + (i + r) * o_row, dout_here + (i + r) * s.value_width, s.value_width);
            grad_row({p + r * kKeys, g + r * kKeys, seen[i + r], vectors, all_vectors, s.scale, lse[i + r],
                      delta, s.dropout ? words + r * 4 * groups : nullptr, s.threshold, s.keep_factor});
          }
          ragged_product(
              {rows, s.width, 0, g, kKeys, 1, keys_here, s.width, dq_chunk + i * dq_row, dq_row, k0 > 0},
              seen + i);
        }
        // dv += p^T dout and dk += ds^T q, over the queries that see the first key of each run of keys.
        const bool whole = seen[start] == keys;
        const int64_t run = whole ? keys : kTileRows;
        int64_t from = start;
        for (int64_t j = 0; j < keys; j += run) {
          const int64_t rows = HWY_MIN(run, keys - j);
          while (from < count && seen[from] <= j) ++from;
          if (from == count && written) break;
          multiply({rows, s.value_width, count - from, probabilities + from * kKeys + j, 1, kKeys,
                    dout_here + from * s.value_width, s.value_width, dv + (k0 + j) * dv_row, dv_row,
                    written});
          multiply({rows, s.width, count - from, gradients + from * kKeys + j, 1, kKeys,
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

}  // namespace HWY_NAMESPACE
}  // namespace floe
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "device/cpu/thread_pool.h"

namespace floe {
namespace {

HWY_EXPORT(grad_scratch);
HWY_EXPORT(grad_task);

BoundKernel bind_grad(const KernelCall& call) {
  const AttentionSpec s = AttentionSpec::of_gradient(call);
  const int64_t scratch = (HWY_DYNAMIC_DISPATCH(grad_scratch)(s) + 15) / 16 * 16;
  return {static_cast<size_t>(scratch * call.threads) * sizeof(float), [s, scratch](const KernelRun& run) {
            AttentionData data;
            const float** floats[] = {&data.q, &data.k, &data.v, &data.out, &data.lse, &data.dout};
            size_t next = 0;
            for (const float** to : floats) *to = run.inputs[next++].as<float>();
            if (s.lengths) data.lengths = run.inputs[next++].as<int32_t>();
            if (s.dropout) {
              data.seed = run.inputs[next].as<int32_t>();
              data.ordinals = run.inputs[next + 1].as<int32_t>();
            }
            const GradOutputs outputs{run.outputs[0].as<float>(), run.outputs[1].as<float>(),
                                      run.outputs[2].as<float>()};
            run.pool->run(s.batch * s.key_heads, [&](int64_t task, int worker) {
              HWY_DYNAMIC_DISPATCH(grad_task)
              (s, data, outputs, task, static_cast<float*>(run.workspace) + worker * scratch);
            });
          }};
}

}  // namespace

void add_attention_grad_cpu(KernelTable& table) {
  Kernel kernel;
  kernel.op = "attention_grad";
  kernel.name = "attention_grad.f32";
  kernel.supports = [](const KernelSignature& signature) {
    for (size_t i = 0; i < signature.inputs.size(); ++i) {
      if (signature.inputs[i] != (i < 6 ? DType::f32 : DType::i32)) return false;
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
