// Attention in double, one query at a time: the truth that kernels are held against.
#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/attention/attention_parts.h"
#include "tensor/philox.h"

namespace floe {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Problem {
  const EvalArgs& args;
  const RefTensor& q;
  const RefTensor& k;
  int64_t batch, queries, keys, heads, key_heads, width;
  std::string causal;
  double scale;
  const RefTensor* lengths = nullptr;
  const RefTensor* seed = nullptr;
  const RefTensor* ordinals = nullptr;
  double dropout;
  int64_t op_id;

  Problem(const EvalArgs& a, size_t first)
      : args(a),
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
        dropout(a.attrs.number("dropout", 0)),
        op_id(a.attrs.integer("op_id", 0)) {
    if (a.attrs.flag("lengths")) lengths = &a.inputs[first++];
    if (dropout > 0) {
      seed = &a.inputs[first];
      ordinals = &a.inputs[first + 1];
    }
  }

  // How many keys a query sees: they are always the first ones.
  int64_t seen(int64_t b, int64_t i) const {
    int64_t n = keys;
    if (lengths != nullptr) n = std::min(n, lengths->i[static_cast<size_t>(b)]);
    if (causal == "top_left") n = std::min(n, i + 1);
    if (causal == "bottom_right") n = std::min(n, i + 1 + keys - queries);
    return std::max<int64_t>(n, 0);
  }
  size_t query_row(int64_t b, int64_t i, int64_t h, int64_t size) const {
    return static_cast<size_t>(((b * queries + i) * heads + h) * size);
  }
  size_t key_row(int64_t b, int64_t j, int64_t h, int64_t size) const {
    return static_cast<size_t>(((b * keys + j) * key_heads + h * key_heads / heads) * size);
  }
  double score(int64_t b, int64_t i, int64_t j, int64_t h) const {
    double sum = 0;
    for (int64_t d = 0; d < width; ++d) {
      sum += q.f[query_row(b, i, h, width) + static_cast<size_t>(d)] *
             k.f[key_row(b, j, h, width) + static_cast<size_t>(d)];
    }
    return sum * scale;
  }
  double mask(int64_t b, int64_t i, int64_t j, int64_t h) const {
    if (dropout == 0) return 1;
    const uint32_t bits =
        philox_bits(static_cast<uint32_t>(seed->i[0]), static_cast<uint32_t>(op_id),
                    {static_cast<uint32_t>(j), static_cast<uint32_t>(i),
                     static_cast<uint32_t>(ordinals->i[static_cast<size_t>(b)]), static_cast<uint32_t>(h)});
    return philox_uniform(bits) >= static_cast<float>(dropout) ? 1 / (1 - dropout) : 0;
  }

  // Scores of the seen keys become exp(score - max); gives their sum and lse.
  std::vector<double> row(int64_t b, int64_t i, int64_t h, double* sum, double* lse) const {
    std::vector<double> p;
    double top = -kInfinity;
    for (int64_t j = 0; j < seen(b, i); ++j) {
      p.push_back(score(b, i, j, h));
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
    for (int64_t j = 0; sum != 0 && j < static_cast<int64_t>(p.size()); ++j) {
      const double weight = p[static_cast<size_t>(j)] / sum;
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
  s.each_row([&](int64_t b, int64_t h, int64_t i) {
    const double row_lse = lse.f[s.lse_at(b, h, i)];
    if (row_lse == -kInfinity) return;
    const size_t o = s.query_row(b, i, h, size);
    const size_t qi = s.query_row(b, i, h, s.width);
    double delta = 0;
    for (size_t d = 0; d < static_cast<size_t>(size); ++d) delta += dout.f[o + d] * out.f[o + d];
    for (int64_t j = 0; j < s.seen(b, i); ++j) {
      const size_t vj = s.key_row(b, j, h, size);
      const size_t kj = s.key_row(b, j, h, s.width);
      const double p = std::exp(s.score(b, i, j, h) - row_lse);
      const double mask = s.mask(b, i, j, h);
      double dp = 0;
      for (size_t d = 0; d < static_cast<size_t>(size); ++d) {
        dp += dout.f[o + d] * v.f[vj + d];
        dv.f[vj + d] += p * mask * dout.f[o + d];
      }
      const double ds = p * (dp * mask - delta) * s.scale;
      for (size_t d = 0; d < static_cast<size_t>(s.width); ++d) {
        dq.f[qi + d] += ds * s.k.f[kj + d];
        dk.f[kj + d] += ds * s.q.f[qi + d];
      }
    }
  });
  return {dq, dk, dv};
}

std::vector<RefTensor> evaluate_attention_weights(const EvalArgs& args) {
  const Problem s(args, 2);
  RefTensor weights(DType::f32, args.shapes[0]);
  s.each_row([&](int64_t b, int64_t h, int64_t i) {
    double sum, lse;
    const std::vector<double> p = s.row(b, i, h, &sum, &lse);
    for (size_t j = 0; sum != 0 && j < p.size(); ++j) {
      weights.f[s.lse_at(b, h, i) * static_cast<size_t>(s.keys) + j] = p[j] / sum;
    }
  });
  return {weights};
}

}  // namespace floe
