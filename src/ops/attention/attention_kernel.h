// What the kernels of attention read at bind time.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>

#include "kernel/kernel.h"
#include "ops/attention/attention_inputs_kernel.h"

namespace floe {

struct HeadsLayout {  // [batch, row, head, feature]; features contiguous
  int64_t batch = 0, row = 0, head = 0;
  static HeadsLayout of(const View& view) { return {view.strides[0], view.strides[1], view.strides[2]}; }
};

// A batch row: how many keys and queries it has, and that query i stands at key i + lag.
struct AttentionRow {
  int64_t length = 0, queries = 0, lag = 0;
};

struct AttentionSpec {
  int64_t batch, queries, keys, heads, key_heads, width, value_width;
  HeadsLayout q, k, v;
  HeadsLayout dq, dk, dv;  // of the gradient
  enum class Causal { none, top_left, bottom_right } causal = Causal::none;
  float scale = 1;
  AttentionInputs at;
  bool lengths = false, dropout = false, general = false;
  uint32_t threshold = 0;  // of the upper 24 bits of a Philox word: below, the probability is dropped
  float keep_factor = 1;   // 1 / (1 - dropout)
  uint32_t op_id = 0;
  static constexpr int64_t kFar = int64_t{1} << 40;  // beyond every key
  int64_t window_left = kFar, window_right = kFar;
  float softcap = 0;                      // 0: none
  int64_t bias_batch = 0, bias_head = 0;  // strides; 0 where all share it
  bool bias_gradient = false;

  bool has(size_t input) const { return input != AttentionInputs::kAbsent; }
  // Whether scale alone makes a logit of a product.
  bool plain_logits() const { return softcap == 0 && !has(at.bias) && !has(at.slopes); }
  // Whether a node asks for more than a causal mask, lengths and dropout, which every kernel knows.
  static bool is_general(const Attrs& attrs) {
    for (const char* name : {"query_lengths", "bias", "slopes", "dlse"}) {
      if (attrs.flag(name, false)) return true;
    }
    return attrs.has("window_left") || attrs.has("window_right") || attrs.number("softcap", 0) > 0;
  }

  // `inputs`: q, k and, but for attention_weights, v; `first` of them are always there.
  static AttentionSpec of(const Attrs& attrs, std::span<const View> inputs, size_t first) {
    AttentionSpec s = of(attrs, inputs[0], inputs[1], inputs[first > 2 ? 2 : 1]);
    s.at = AttentionInputs::of(attrs, first);
    if (s.has(s.at.bias)) {
      const View& bias = inputs[s.at.bias];
      s.bias_batch = bias.dims[0] == 1 ? 0 : bias.strides[0];
      s.bias_head = bias.dims[1] == 1 ? 0 : bias.strides[1];
    }
    return s;
  }

 private:
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
    s.general = is_general(attrs);
    s.window_left = std::min(attrs.integer("window_left", kFar), kFar);
    s.window_right = std::min(attrs.integer("window_right", kFar), kFar);
    s.softcap = static_cast<float>(attrs.number("softcap", 0));
    s.bias_gradient = attrs.flag("bias_gradient", false);
    const double rate = attrs.number("dropout", 0);
    s.dropout = rate > 0;
    if (s.dropout) {
      s.threshold = static_cast<uint32_t>(std::ceil(static_cast<double>(static_cast<float>(rate)) * 0x1p24));
      s.keep_factor = static_cast<float>(1 / (1 - rate));
      s.op_id = static_cast<uint32_t>(attrs.integer("op_id"));
    }
    return s;
  }

 public:
  static AttentionSpec of_gradient(const KernelCall& call) {
    AttentionSpec s = of(call.attrs, call.inputs, 6);
    s.dq = HeadsLayout::of(call.outputs[0]);
    s.dk = HeadsLayout::of(call.outputs[1]);
    s.dv = HeadsLayout::of(call.outputs[2]);
    return s;
  }

  // Query i sees the keys begin() to end() - 1. Neither falls from query to query.
  int64_t end(const AttentionRow& row, int64_t i) const {
    const int64_t right = causal == Causal::none ? window_right : 0;
    const int64_t n = i + row.lag + right + 1;
    return n < 0 ? 0 : (n < row.length ? n : row.length);
  }
  int64_t begin(const AttentionRow& row, int64_t i) const {
    const int64_t n = i + row.lag - window_left, last = end(row, i);
    return n < 0 ? 0 : (n < last ? n : last);
  }
};

// Data of one run; optional ones null.
struct AttentionData {
  const float *q = nullptr, *k = nullptr, *v = nullptr;
  const float *out = nullptr, *lse = nullptr, *dout = nullptr;  // of the gradient
  const float *bias = nullptr, *slopes = nullptr, *dlse = nullptr;
  const int32_t *lengths = nullptr, *query_lengths = nullptr, *seed = nullptr, *ordinals = nullptr;

  void set_optional(const AttentionInputs& at, std::span<const View> inputs) {
    const auto set = [&]<class T>(size_t input, const T*& to) {
      if (input != AttentionInputs::kAbsent) to = inputs[input].as<T>();
    };
    set(at.bias, bias);
    set(at.slopes, slopes);
    set(at.dlse, dlse);
    set(at.lengths, lengths);
    set(at.query_lengths, query_lengths);
    set(at.seed, seed);
    set(at.ordinals, ordinals);
  }
  AttentionRow row(const AttentionSpec& s, int64_t b) const {
    const auto count = [&](const int32_t* of, int64_t most) {
      if (of == nullptr) return most;
      const int64_t n = of[b];
      return n < 0 ? 0 : (n < most ? n : most);
    };
    AttentionRow row{count(lengths, s.keys), count(query_lengths, s.queries)};
    if (s.causal == AttentionSpec::Causal::top_left) return row;
    row.lag = query_lengths == nullptr ? s.keys - s.queries : row.length - row.queries;
    return row;
  }
};

struct GradOutputs {
  float *dq, *dk, *dv;
  float* dbias = nullptr;
};

}  // namespace floe
