// Attention and its gradients written down plainly, in double and in a storage type's own precision, for
// sizes where the op's own reference takes too long: both are held beside a kernel's results. Without bias,
// slopes and dropout.
#pragma once
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <thread>
#include <vector>

#include "ops/attention/attention_cases_for_test.h"

namespace floe {

// body(first, last) over parts of 0..n, by several threads where there is enough to do.
inline void in_parallel(int64_t n, int64_t work_of_each, const std::function<void(int64_t, int64_t)>& body) {
  const int64_t most = std::clamp<int64_t>(std::thread::hardware_concurrency(), 1, 16);
  const int64_t parts = std::clamp<int64_t>(n * work_of_each / (1 << 22), 1, std::min(n, most));
  std::vector<std::thread> threads;
  for (int64_t p = 1; p < parts; ++p) threads.emplace_back(body, n * p / parts, n * (p + 1) / parts);
  body(0, n / parts);
  for (std::thread& thread : threads) thread.join();
}

// out, dq, dk, dv as the kernel's results lie; each a list of numbers.
using AttentionTruth = std::vector<std::vector<double>>;

// A = double with a rounding to nothing is the truth. A = float, every value that an eager framework would
// store rounded to the type by `rounded` (scores, probabilities, their gradients, results), is what the same
// precision allows. In f32 delta is the sum of out * dout, as kernels have it, who hold no row of dp; in
// short types it is an eager framework's, the sum of p * dp, since there the rounding of out is what a kernel
// adds.
template <class A, class Round>
class PlainAttention {
 public:
  // `inputs`: q, k, v, dout.
  PlainAttention(const Asked& s, const std::vector<RefTensor>& inputs, Round rounded)
      : s_(s), rounded_(rounded), recomputes_(s.dtype == DType::f32) {
    for (const RefTensor& x : inputs) inputs_.emplace_back(x.f.begin(), x.f.end());
    for (const int64_t size :
         {s.batch * s.queries * s.heads * s.value_width, s.batch * s.queries * s.heads * s.width,
          s.batch * s.keys * s.key_heads * s.width, s.batch * s.keys * s.key_heads * s.value_width})
      results_.emplace_back(static_cast<size_t>(size));
  }

  AttentionTruth operator()() {
    for (int64_t b = 0; b < s_.batch; ++b) {
      for (int64_t h = 0; h < s_.heads; ++h) head(b, h);
    }
    AttentionTruth truth;
    for (const std::vector<A>& result : results_) {
      truth.emplace_back(result.begin(), result.end());
      for (double& x : truth.back()) x = rounded_(static_cast<A>(x));
    }
    return truth;
  }

 private:
  // The keys that query i sees, as attention.h has them.
  std::pair<int64_t, int64_t> seen(int64_t b, int64_t i) const {
    const auto row = static_cast<size_t>(b);
    const int64_t length = s_.lengths.empty() ? s_.keys : s_.lengths[row];
    const int64_t queries = s_.query_lengths.empty() ? s_.queries : s_.query_lengths[row];
    if (i >= queries) return {0, 0};
    int64_t place = i;
    if (s_.causal != "top_left") place += s_.query_lengths.empty() ? s_.keys - s_.queries : length - queries;
    int64_t end = length, begin = 0;
    if (s_.causal != "none") end = std::min(end, place + 1);
    if (s_.right >= 0) end = std::min(end, place + s_.right + 1);
    if (s_.left >= 0) begin = place - s_.left;
    end = std::max<int64_t>(end, 0);
    return {std::clamp<int64_t>(begin, 0, end), end};
  }
  A* at(std::vector<A>& x, int64_t b, int64_t rows, int64_t row, int64_t heads, int64_t h, int64_t width) {
    return x.data() + ((b * rows + row) * heads + h) * width;
  }
  // [feature][key]
  std::vector<A> transposed(std::vector<A>& x, int64_t b, int64_t h, int64_t width) {
    std::vector<A> to(static_cast<size_t>(width * s_.keys));
    for (int64_t j = 0; j < s_.keys; ++j) {
      const A* from = at(x, b, s_.keys, j, s_.key_heads, h, width);
      for (int64_t d = 0; d < width; ++d) to[static_cast<size_t>(d * s_.keys + j)] = from[d];
    }
    return to;
  }
  // to[j] = sum over d of x[d] * columns[d][j]
  static void products(const A* x, const std::vector<A>& columns, int64_t width, int64_t keys,
                       std::pair<int64_t, int64_t> of, A* to) {
    for (int64_t j = of.first; j < of.second; ++j) to[j] = 0;
    for (int64_t d = 0; d < width; ++d) {
      const A* column = columns.data() + d * keys;
      for (int64_t j = of.first; j < of.second; ++j) to[j] += x[d] * column[j];
    }
  }

  void head(int64_t b, int64_t h) {
    const int64_t g = h * s_.key_heads / s_.heads, keys = s_.keys;
    const std::vector<A> k_t = transposed(inputs_[1], b, g, s_.width);
    const std::vector<A> v_t = transposed(inputs_[2], b, g, s_.value_width);
    std::vector<A> p(static_cast<size_t>(s_.queries * keys)), ds = p;
    const auto scale =
        static_cast<A>(s_.scale != 0 ? s_.scale : 1 / std::sqrt(static_cast<double>(s_.width)));
    const int64_t work = keys * (s_.width + s_.value_width);
    in_parallel(s_.queries, 2 * work, [&](int64_t first, int64_t last) {
      std::vector<A> caps(static_cast<size_t>(keys)), dp = caps, scores = caps;
      for (int64_t i = first; i < last; ++i) {
        const std::pair<int64_t, int64_t> of = seen(b, i);
        A* row = p.data() + i * keys;
        products(at(inputs_[0], b, s_.queries, i, s_.heads, h, s_.width), k_t, s_.width, keys, of, row);
        A top = -std::numeric_limits<A>::infinity(), sum = 0, delta = 0;
        for (int64_t j = of.first; j < of.second; ++j) {
          row[j] = rounded_(row[j] * scale);
          if (s_.softcap > 0) {
            const auto cap = static_cast<A>(s_.softcap);
            const A t = rounded_(std::tanh(rounded_(row[j] / cap)));
            row[j] = rounded_(cap * t);
            caps[static_cast<size_t>(j)] = rounded_(1 - rounded_(t * t));
          }
          top = std::max(top, row[j]);
        }
        for (int64_t j = of.first; j < of.second; ++j) {
          scores[static_cast<size_t>(j)] = row[j];
          sum += row[j] = std::exp(row[j] - top);
        }
        A* out = at(results_[0], b, s_.queries, i, s_.heads, h, s_.value_width);
        const A* dout = at(inputs_[3], b, s_.queries, i, s_.heads, h, s_.value_width);
        products(dout, v_t, s_.value_width, keys, of, dp.data());
        for (int64_t j = of.first; j < of.second; ++j) {
          row[j] = rounded_(row[j] / sum);
          const A* v = at(inputs_[2], b, keys, j, s_.key_heads, g, s_.value_width);
          for (int64_t d = 0; d < s_.value_width; ++d) out[d] += row[j] * v[d];
          dp[static_cast<size_t>(j)] = rounded_(dp[static_cast<size_t>(j)]);
          delta += row[j] * dp[static_cast<size_t>(j)];
        }
        if (recomputes_) {
          delta = 0;
          for (int64_t d = s_.value_width; d-- > 0;) delta += out[d] * dout[d];
          for (int64_t j = of.first; j < of.second; ++j)
            row[j] = std::exp(scores[static_cast<size_t>(j)] - (top + std::log(sum)));
        }
        A* dq = at(results_[1], b, s_.queries, i, s_.heads, h, s_.width);
        for (int64_t j = of.first; j < of.second; ++j) {
          A x = rounded_(row[j] * (dp[static_cast<size_t>(j)] - delta));
          if (s_.softcap > 0) x = rounded_(x * caps[static_cast<size_t>(j)]);
          x = rounded_(x * scale);
          ds[static_cast<size_t>(i * keys + j)] = x;
          const A* k = at(inputs_[1], b, keys, j, s_.key_heads, g, s_.width);
          for (int64_t d = 0; d < s_.width; ++d) dq[d] += x * k[d];
        }
      }
    });
    in_parallel(keys, s_.queries * (s_.width + s_.value_width), [&](int64_t first, int64_t last) {
      for (int64_t j = first; j < last; ++j) {
        A* dk = at(results_[2], b, keys, j, s_.key_heads, g, s_.width);
        A* dv = at(results_[3], b, keys, j, s_.key_heads, g, s_.value_width);
        for (int64_t i = 0; i < s_.queries; ++i) {
          const A x = ds[static_cast<size_t>(i * keys + j)], y = p[static_cast<size_t>(i * keys + j)];
          if (x == 0 && y == 0) continue;
          const A* q = at(inputs_[0], b, s_.queries, i, s_.heads, h, s_.width);
          const A* dout = at(inputs_[3], b, s_.queries, i, s_.heads, h, s_.value_width);
          for (int64_t d = 0; d < s_.width; ++d) dk[d] += x * q[d];
          for (int64_t d = 0; d < s_.value_width; ++d) dv[d] += y * dout[d];
        }
      }
    });
  }

  Asked s_;
  Round rounded_;
  bool recomputes_;
  std::vector<std::vector<A>> inputs_, results_;
};

// A number as the type holds it.
inline float rounded_to(DType dtype, float x) {
  if (dtype == DType::bf16) return from_bf16(to_bf16(x));
  return dtype == DType::f16 ? from_f16(to_f16(x)) : x;
}

inline AttentionTruth exact_attention(const Asked& s, const std::vector<RefTensor>& inputs) {
  const auto nothing = [](double x) { return x; };
  return PlainAttention<double, decltype(nothing)>(s, inputs, nothing)();
}

inline AttentionTruth attention_in(DType dtype, const Asked& s, const std::vector<RefTensor>& inputs) {
  const auto stored = [dtype](float x) { return rounded_to(dtype, x); };
  return PlainAttention<float, decltype(stored)>(s, inputs, stored)();
}

}  // namespace floe
