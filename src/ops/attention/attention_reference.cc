// Attention in double, one query at a time: the truth that kernels are held against.
#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/attention/attention_inputs_kernel.h"
#include "ops/attention/attention_parts.h"
#include "tensor/philox.h"

namespace floe {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

constexpr int64_t kFar = int64_t{1} << 40;  // beyond every key

struct Problem {
  const EvalArgs& args;
  AttentionInputs at;
  const RefTensor& q;
  const RefTensor& k;
  int64_t batch, queries, keys, heads, key_heads, width;
  std::string causal;
  double scale, softcap, dropout;
  int64_t left, right, op_id;

  Problem(const EvalArgs& a, size_t first)
      : args(a),
        at(AttentionInputs::of(a.attrs, first)),
        q(a.inputs[0]),
        k(a.inputs[1]),
        batch(q.shape[0]),
        queries(q.shape[1]),
        keys(k.shape[1]),
        heads(q.shape[2]),
        key_heads(k.shape[2]),
        width(q.shape[3]),
        causal(a.attrs.text("causal")),
        scale(a.attrs.number("scale")),
        softcap(a.attrs.number("softcap", 0)),
        dropout(a.attrs.number("dropout", 0)),
        left(std::min(a.attrs.integer("window_left", kFar), kFar)),
        right(std::min(a.attrs.integer("window_right", kFar), kFar)),
        op_id(a.attrs.integer("op_id", 0)) {
    if (causal != "none") right = 0;
  }

  int64_t count_of(size_t input, int64_t b, int64_t most) const {
    if (input == AttentionInputs::kAbsent) return most;
    return std::clamp<int64_t>(args.inputs[input].i[static_cast<size_t>(b)], 0, most);
  }
  // The key where query i stands.
  int64_t place(int64_t b, int64_t i) const {
    if (causal == "top_left") return i;
    if (at.query_lengths == AttentionInputs::kAbsent) return i + keys - queries;
    return i + count_of(at.lengths, b, keys) - count_of(at.query_lengths, b, queries);
  }
  // A query sees the keys begin() to end() - 1.
  int64_t end(int64_t b, int64_t i) const {
    if (i >= count_of(at.query_lengths, b, queries)) return 0;
    const int64_t length = count_of(at.lengths, b, keys);
    if (causal == "none" && right == kFar) return length;
    return std::clamp<int64_t>(place(b, i) + right + 1, 0, length);
  }
  int64_t begin(int64_t b, int64_t i) const { return std::clamp<int64_t>(place(b, i) - left, 0, end(b, i)); }
  // Of a bias and its gradient.
  size_t bias_at(const RefTensor& bias, int64_t b, int64_t h, int64_t i, int64_t j) const {
    const int64_t row = (bias.shape[0] == 1 ? 0 : b) * bias.shape[1] + (bias.shape[1] == 1 ? 0 : h);
    return static_cast<size_t>((row * queries + i) * keys + j);
  }
  size_t query_row(int64_t b, int64_t i, int64_t h, int64_t size) const {
    return static_cast<size_t>(((b * queries + i) * heads + h) * size);
  }
  size_t key_row(int64_t b, int64_t j, int64_t h, int64_t size) const {
    return static_cast<size_t>(((b * keys + j) * key_heads + h * key_heads / heads) * size);
  }
  // With `slope` the derivative by scale * q k.
  double logit(int64_t b, int64_t i, int64_t j, int64_t h, double* slope = nullptr) const {
    double sum = 0;
    for (int64_t d = 0; d < width; ++d) {
      sum += q.f[query_row(b, i, h, width) + static_cast<size_t>(d)] *
             k.f[key_row(b, j, h, width) + static_cast<size_t>(d)];
    }
    double x = sum * scale;
    if (slope != nullptr) *slope = 1;
    if (softcap > 0) {
      const double t = std::tanh(x / softcap);
      x = softcap * t;
      if (slope != nullptr) *slope = 1 - t * t;
    }
    if (at.bias != AttentionInputs::kAbsent)
      x += args.inputs[at.bias].f[bias_at(args.inputs[at.bias], b, h, i, j)];
    if (at.slopes != AttentionInputs::kAbsent)
      x -= args.inputs[at.slopes].f[static_cast<size_t>(h)] * static_cast<double>(std::abs(place(b, i) - j));
    return x;
  }
  double mask(int64_t b, int64_t i, int64_t j, int64_t h) const {
    if (dropout == 0) return 1;
    const uint32_t bits =
        philox_bits(static_cast<uint32_t>(args.inputs[at.seed].i[0]), static_cast<uint32_t>(op_id),
                    {static_cast<uint32_t>(j), static_cast<uint32_t>(i),
                     static_cast<uint32_t>(args.inputs[at.ordinals].i[static_cast<size_t>(b)]),
                     static_cast<uint32_t>(h)});
    return philox_uniform(bits) >= static_cast<float>(dropout) ? 1 / (1 - dropout) : 0;
  }

  // Logits of the seen keys become exp(logit - max); gives their sum and lse.
  std::vector<double> row(int64_t b, int64_t i, int64_t h, double* sum, double* lse) const {
    std::vector<double> p;
    double top = -kInfinity;
    for (int64_t j = begin(b, i); j < end(b, i); ++j) {
      p.push_back(logit(b, i, j, h));
      if (!(p.back() <= top) && !std::isnan(top)) top = p.back();
    }
    const double shift = top == -kInfinity ? 0 : top;
    *sum = 0;
    for (double& x : p) *sum += x = std::exp(x - shift);
    *lse = *sum == 0 ? -kInfinity : shift + std::log(*sum);
    return p;
  }

  template <class F>
  void each_row(F body) const {
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t h = 0; h < heads; ++h) {
        for (int64_t i = 0; i < queries; ++i) body(b, h, i);
      }
    }
  }
  size_t lse_at(int64_t b, int64_t h, int64_t i) const {
    return static_cast<size_t>((b * heads + h) * queries + i);
  }
};

}  // namespace

std::vector<RefTensor> evaluate_attention(const EvalArgs& args) {
  const Problem s(args, 3);
  const RefTensor& v = args.inputs[2];
  const int64_t size = v.shape[3];
  RefTensor out(s.q.dtype, args.shapes[0]), lse(DType::f32, args.shapes[1]);
  s.each_row([&](int64_t b, int64_t h, int64_t i) {
    double sum;
    const std::vector<double> p = s.row(b, i, h, &sum, &lse.f[s.lse_at(b, h, i)]);
    for (int64_t j = s.begin(b, i); sum != 0 && j < s.end(b, i); ++j) {
      const double weight = p[static_cast<size_t>(j - s.begin(b, i))] / sum;
      const double mask = s.mask(b, i, j, h);
      for (int64_t d = 0; mask != 0 && d < size; ++d) {
        out.f[s.query_row(b, i, h, size) + static_cast<size_t>(d)] +=
            weight * mask * v.f[s.key_row(b, j, h, size) + static_cast<size_t>(d)];
      }
    }
  });
  return {out, lse};
}

std::vector<RefTensor> evaluate_attention_grad(const EvalArgs& args) {
  const Problem s(args, 6);
  const RefTensor& v = args.inputs[2];
  const RefTensor& out = args.inputs[3];
  const RefTensor& lse = args.inputs[4];
  const RefTensor& dout = args.inputs[5];
  const int64_t size = v.shape[3];
  RefTensor dq(s.q.dtype, s.q.shape), dk(s.k.dtype, s.k.shape), dv(v.dtype, v.shape);
  const bool with_bias = args.attrs.flag("bias_gradient", false);
  RefTensor dbias(DType::f32, with_bias ? args.inputs[s.at.bias].shape : Shape{});
  s.each_row([&](int64_t b, int64_t h, int64_t i) {
    const double row_lse = lse.f[s.lse_at(b, h, i)];
    if (row_lse == -kInfinity) return;
    const size_t o = s.query_row(b, i, h, size);
    const size_t qi = s.query_row(b, i, h, s.width);
    double delta = 0;
    for (size_t d = 0; d < static_cast<size_t>(size); ++d) delta += dout.f[o + d] * out.f[o + d];
    if (s.at.dlse != AttentionInputs::kAbsent) delta -= args.inputs[s.at.dlse].f[s.lse_at(b, h, i)];
    for (int64_t j = s.begin(b, i); j < s.end(b, i); ++j) {
      const size_t vj = s.key_row(b, j, h, size);
      const size_t kj = s.key_row(b, j, h, s.width);
      double slope;
      const double p = std::exp(s.logit(b, i, j, h, &slope) - row_lse);
      const double mask = s.mask(b, i, j, h);
      double dp = 0;
      for (size_t d = 0; d < static_cast<size_t>(size); ++d) {
        dp += dout.f[o + d] * v.f[vj + d];
        dv.f[vj + d] += p * mask * dout.f[o + d];
      }
      const double by_logit = p * (dp * mask - delta);
      if (with_bias) dbias.f[s.bias_at(dbias, b, h, i, j)] += by_logit;
      const double ds = by_logit * slope * s.scale;
      for (size_t d = 0; d < static_cast<size_t>(s.width); ++d) {
        dq.f[qi + d] += ds * s.k.f[kj + d];
        dk.f[kj + d] += ds * s.q.f[qi + d];
      }
    }
  });
  if (with_bias) return {dq, dk, dv, dbias};
  return {dq, dk, dv};
}

std::vector<RefTensor> evaluate_attention_weights(const EvalArgs& args) {
  const Problem s(args, 2);
  RefTensor weights(DType::f32, args.shapes[0]);
  s.each_row([&](int64_t b, int64_t h, int64_t i) {
    double sum, lse;
    const std::vector<double> p = s.row(b, i, h, &sum, &lse);
    for (size_t j = 0; sum != 0 && j < p.size(); ++j) {
      const size_t key = static_cast<size_t>(s.begin(b, i)) + j;
      weights.f[s.lse_at(b, h, i) * static_cast<size_t>(s.keys) + key] = p[j] / sum;
    }
  });
  return {weights};
}

}  // namespace floe
