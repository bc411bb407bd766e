// Cases of attention in 2-byte types, as the tests of the GPU's kernels check them.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "ops/attention/attention_cases_for_test.h"
#include "testing/op_case.h"

namespace floe {

struct CudaSizes {
  int64_t batch = 2, queries = 5, keys = 7, heads = 2, key_heads = 2, width = 64, value_width = 64;
  std::string causal = "none";
  std::vector<int32_t> lengths = {};
  double dropout = 0;
  DType dtype = DType::bf16;
};

inline std::string text_of(const CudaSizes& s) {
  const auto n = [](int64_t x) { return std::to_string(x); };
  return std::string(name_of(s.dtype)) + " B" + n(s.batch) + " Sq" + n(s.queries) + " Sk" + n(s.keys) + " H" +
         n(s.heads) + "/" + n(s.key_heads) + " D" + n(s.width) + "/" + n(s.value_width) + " " + s.causal +
         (s.lengths.empty() ? "" : " lengths") + (s.dropout > 0 ? " dropout" : "");
}

inline OpCase forward(const CudaSizes& s) {
  OpCase c{"attention",
           {CaseInput::normal({s.batch, s.queries, s.heads, s.width}, s.dtype),
            CaseInput::normal({s.batch, s.keys, s.key_heads, s.width}, s.dtype),
            CaseInput::normal({s.batch, s.keys, s.key_heads, s.value_width}, s.dtype)},
           {{"causal", s.causal},
            {"scale", 1 / std::sqrt(static_cast<double>(std::max<int64_t>(1, s.width)))},
            {"lengths", !s.lengths.empty()}}};
  if (!s.lengths.empty()) c.inputs.push_back(CaseInput::of(Tensor::from_ints({s.batch}, s.lengths)));
  add_dropout(s.batch, s.dropout, &c);
  return c;
}

// How far each element of each result may be from the reference's, but for lse.
//
// With u = 2^-8 (2^-11 in f16) a value that is rounded to the type is off by up to u of itself, or by 2^-25
// where f16 has no smaller steps. Rounded are the result, and p and ds before they meet the other operand of
// the last product:
//   out: u sum p m |v|,  dv: u sum p m |dout|,  dq: u sum |ds| |k|,  dk: u sum |ds| |q|
// f32 adds 2^-14, which is 512 of its roundings, of the same sums with ds = p (m dout v^T - delta) replaced
// by the sum of the absolute terms of that, since it cancels.
inline std::vector<std::vector<double>> bounds(const CudaSizes& s, const OpCase& c,
                                               const std::vector<RefTensor>& want) {
  const std::vector<RefTensor> x = case_inputs(c);
  const bool grad = c.op == "attention_grad";
  const RefTensor &q = x[0], &k = x[1], &v = x[2];
  const RefTensor& lse = grad ? x[4] : want[1];
  const double scale = c.attrs.number("scale"), most = 1 / (1 - s.dropout);
  const double u = s.dtype == DType::f16 ? 0x1p-11 : 0x1p-8, step = s.dtype == DType::f16 ? 0x1p-25 : 0;
  constexpr double kSingle = 0x1p-14;
  std::vector<std::vector<double>> all;
  for (const RefTensor& result : want) {
    all.emplace_back();
    for (const double value : result.f) all.back().push_back(1.01 * u * std::fabs(value) + step);
  }
  const auto at = [](int64_t b, int64_t rows, int64_t row, int64_t heads, int64_t h, int64_t width) {
    return static_cast<size_t>(((b * rows + row) * heads + h) * width);
  };
  const auto width = static_cast<size_t>(s.width), value_width = static_cast<size_t>(s.value_width);
  for (int64_t b = 0; b < s.batch; ++b) {
    for (int64_t h = 0; h < s.heads; ++h) {
      const int64_t key_head = h * s.key_heads / s.heads;
      for (int64_t i = 0; i < s.queries; ++i) {
        const double row_lse = lse.f[static_cast<size_t>((b * s.heads + h) * s.queries + i)];
        const size_t qi = at(b, s.queries, i, s.heads, h, s.width);
        const size_t oi = at(b, s.queries, i, s.heads, h, s.value_width);
        double delta = 0, delta_terms = 0;
        for (size_t d = 0; grad && d < value_width; ++d) {
          delta += x[3].f[oi + d] * x[5].f[oi + d];
          delta_terms += std::fabs(x[3].f[oi + d] * x[5].f[oi + d]);
        }
        int64_t seen = s.keys;
        if (!s.lengths.empty()) seen = std::min<int64_t>(seen, s.lengths[static_cast<size_t>(b)]);
        if (s.causal == "top_left") seen = std::min(seen, i + 1);
        if (s.causal == "bottom_right") seen = std::min(seen, i + 1 + s.keys - s.queries);
        for (int64_t j = 0; j < seen; ++j) {
          const size_t kj = at(b, s.keys, j, s.key_heads, key_head, s.width);
          const size_t vj = at(b, s.keys, j, s.key_heads, key_head, s.value_width);
          double score = 0;
          for (size_t d = 0; d < width; ++d) score += q.f[qi + d] * k.f[kj + d];
          const double p = std::exp(score * scale - row_lse);
          const double p_error = ((u + kSingle) * p + step) * most;
          if (!grad) {
            for (size_t d = 0; d < value_width; ++d) all[0][oi + d] += p_error * std::fabs(v.f[vj + d]);
            continue;
          }
          double dp = 0, dp_terms = 0;
          for (size_t d = 0; d < value_width; ++d) {
            dp += x[5].f[oi + d] * v.f[vj + d];
            dp_terms += std::fabs(x[5].f[oi + d] * v.f[vj + d]);
            all[2][vj + d] += p_error * std::fabs(x[5].f[oi + d]);
          }
          // A dropped key has -delta alone.
          const double ds =
              p * std::max(std::fabs(most * dp - delta), s.dropout > 0 ? std::fabs(delta) : 0.0);
          const double ds_error = (u * ds + step + kSingle * p * (most * dp_terms + delta_terms)) * scale;
          for (size_t d = 0; d < width; ++d) {
            all[0][qi + d] += ds_error * std::fabs(k.f[kj + d]);
            all[1][kj + d] += ds_error * std::fabs(q.f[qi + d]);
          }
        }
      }
    }
  }
  return all;
}

// lse is f32: a logarithm after a sum of D products in the tensor cores' order, 32 units of it.
inline void check(const CudaSizes& s, const OpCase& c) {
  SCOPED_TRACE(c.op + " " + text_of(s));
  const std::vector<RefTensor> want = reference(c);
  const std::vector<Tensor> got = run_kernel(c), again = run_kernel(c);
  ASSERT_EQ(got.size(), want.size());
  const std::vector<std::vector<double>> most = bounds(s, c, want);
  for (size_t k = 0; k < want.size(); ++k) {
    if (want[k].dtype == DType::f32) {
      expect_close(got[k], want[k], 32, c.op + " lse");
    } else {
      for (int64_t i = 0; i < got[k].size(); ++i) {
        const auto n = static_cast<size_t>(i);
        ASSERT_LE(std::fabs(got[k].at(i) - want[k].f[n]), most[k][n])
            << c.op << " result " << k << " at " << i << ": got " << got[k].at(i) << ", want "
            << want[k].f[n];
      }
    }
    EXPECT_TRUE(got[k].bytes() == 0 || std::memcmp(got[k].data(), again[k].data(), got[k].bytes()) == 0)
        << "other bits on a second run";
  }
}
inline void check_both(const CudaSizes& s) {
  check(s, forward(s));
  check(s, backward(forward(s)));
}

}  // namespace floe
