// What the CPU kernels of attention read at bind time.
#pragma once
#include <cmath>
#include <cstdint>

#include "kernel/kernel.h"

namespace floe {

struct HeadsLayout {  // [batch, row, head, feature]; features contiguous
  int64_t batch = 0, row = 0, head = 0;
  static HeadsLayout of(const View& view) { return {view.strides[0], view.strides[1], view.strides[2]}; }
};

struct AttentionSpec {
  int64_t batch, queries, keys, heads, key_heads, width, value_width;
  HeadsLayout q, k, v;
  HeadsLayout dq, dk, dv;  // of the gradient
  enum class Causal { none, top_left, bottom_right } causal = Causal::none;
  float scale = 1;
  bool lengths = false, dropout = false;
  uint32_t threshold = 0;  // of the upper 24 bits of a Philox word: below, the probability is dropped
  float keep_factor = 1;   // 1 / (1 - dropout)
  uint32_t op_id = 0;

  // `v` may be the view of k where there are no values.
  static AttentionSpec of(const Attrs& attrs, const View& q, const View& k, const View& v) {
    AttentionSpec s{
        q.dims[0], q.dims[1],          k.dims[1],          q.dims[2],          k.dims[2], q.dims[3],
        v.dims[3], HeadsLayout::of(q), HeadsLayout::of(k), HeadsLayout::of(v), {},        {},
        {}};
    const std::string& causal = attrs.text("causal");
    s.causal = causal == "top_left" ? Causal::top_left
                                    : (causal == "bottom_right" ? Causal::bottom_right : Causal::none);
    s.scale = static_cast<float>(attrs.number("scale"));
    s.lengths = attrs.flag("lengths");
    const double rate = attrs.number("dropout", 0);
    s.dropout = rate > 0;
    if (s.dropout) {
      s.threshold = static_cast<uint32_t>(std::ceil(static_cast<double>(static_cast<float>(rate)) * 0x1p24));
      s.keep_factor = static_cast<float>(1 / (1 - rate));
      s.op_id = static_cast<uint32_t>(attrs.integer("op_id"));
    }
    return s;
  }

  static AttentionSpec of_gradient(const KernelCall& call) {
    AttentionSpec s = of(call.attrs, call.inputs[0], call.inputs[1], call.inputs[2]);
    s.dq = HeadsLayout::of(call.outputs[0]);
    s.dk = HeadsLayout::of(call.outputs[1]);
    s.dv = HeadsLayout::of(call.outputs[2]);
    return s;
  }

  // How many keys query i of a row with `length` keys sees: always the first ones, and never fewer than query
  // i - 1.
  int64_t seen(int64_t length, int64_t i) const {
    int64_t n = length;
    if (causal == Causal::top_left && i + 1 < n) n = i + 1;
    if (causal == Causal::bottom_right && i + 1 + keys - queries < n) n = i + 1 + keys - queries;
    return n > 0 ? n : 0;
  }
};

// Data of one run; optional ones null.
struct AttentionData {
  const float *q = nullptr, *k = nullptr, *v = nullptr;
  const float *out = nullptr, *lse = nullptr, *dout = nullptr;  // of the gradient
  const int32_t *lengths = nullptr, *seed = nullptr, *ordinals = nullptr;

  int64_t length(const AttentionSpec& s, int64_t b) const {
    if (lengths == nullptr) return s.keys;
    const int64_t n = lengths[b];
    return n < 0 ? 0 : (n < s.keys ? n : s.keys);
  }
};

struct GradOutputs {
  float *dq, *dk, *dv;
};

}  // namespace floe
