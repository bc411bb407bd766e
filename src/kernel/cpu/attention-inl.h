// What attention, its gradient and paged attention share: a small matrix product in registers, the
// transposition of a block of keys, and one block's step of the online softmax (Milakov, Gimelshein: "Online
// normalizer calculation for softmax", 2018; Dao et al.: "FlashAttention", 2022). Included once a target,
// after kernel/cpu/simd.h.
//
// Why bits never depend on what lies beside a query: a score is one chain of fused multiply-adds over d =
// 0..D-1, an output one chain over its keys in order, keys come in blocks of kKeys counted from key 0, and a
// row's sum keeps one partial sum for each lane = key mod lanes. How many queries share a register tile
// changes none of these.
#include "kernel/cpu/simd.h"  // before the guard: it includes the kernel file once a target

#if defined(FLOE_KERNEL_CPU_ATTENTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FLOE_KERNEL_CPU_ATTENTION_INL_H_
#undef FLOE_KERNEL_CPU_ATTENTION_INL_H_
#else
#define FLOE_KERNEL_CPU_ATTENTION_INL_H_
#endif

#include <cmath>
#include <cstdint>
#include <limits>

#include "kernel/cpu/exp-inl.h"
#include "kernel/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace floe {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F32 = hn::ScalableTag<float>;
constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(F32()));
constexpr int64_t kKeys =
    64;  // in a block: a transposed block of 64 features is 16 KiB, a third of an L1 cache
constexpr int64_t kTileRows = 6;  // 6 x 4 accumulators and 4 operands fit 32 registers, 6 x 2 and 2 fit 16
constexpr int kTileVectors = HWY_TARGET == HWY_AVX3 ? 4 : 2;
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// c[r][n] (+)= sum over t of a[r * a_row + t * a_step] * b[t * b_step + n]
struct Product {
  int64_t rows, columns, depth;
  const float* a;
  int64_t a_row, a_step;
  const float* b;
  int64_t b_step;
  float* c;
  int64_t c_row;
  bool accumulate;
};

template <int kRows, int kVectors, bool kTail>
HWY_INLINE void product_tile(const Product& p, int64_t row, int64_t column) {
  const F32 d;
  using V = hn::Vec<F32>;
  const auto mask = hn::FirstN(d, static_cast<size_t>(kTail ? p.columns - column : kLanes));
  const auto load = [&](const float* from) {
    if constexpr (kTail) {
      return hn::MaskedLoad(mask, d, from);
    } else {
      return hn::LoadU(d, from);
    }
  };
  V sum[kRows][kVectors];
  float* c = p.c + row * p.c_row + column;
  for (int r = 0; r < kRows; ++r) {
    for (int n = 0; n < kVectors; ++n) {
      sum[r][n] = p.accumulate ? load(c + r * p.c_row + n * kLanes) : hn::Zero(d);
    }
  }
  const float* a = p.a + row * p.a_row;
  const float* b = p.b + column;
  for (int64_t t = 0; t < p.depth; ++t) {
    V operand[kVectors];
    for (int n = 0; n < kVectors; ++n) operand[n] = load(b + n * kLanes);
    for (int r = 0; r < kRows; ++r) {
      const V factor = hn::Set(d, a[r * p.a_row]);
      for (int n = 0; n < kVectors; ++n) sum[r][n] = hn::MulAdd(factor, operand[n], sum[r][n]);
    }
    a += p.a_step;
    b += p.b_step;
  }
  for (int r = 0; r < kRows; ++r) {
    for (int n = 0; n < kVectors; ++n) {
      if constexpr (kTail) {
        hn::BlendedStore(sum[r][n], mask, d, c + r * p.c_row + n * kLanes);
      } else {
        hn::StoreU(sum[r][n], d, c + r * p.c_row + n * kLanes);
      }
    }
  }
}

template <int kRows>
HWY_NOINLINE void product_rows(const Product& p, int64_t row) {
  int64_t column = 0;
  if constexpr (kTileVectors >= 4) {
    for (; column + 4 * kLanes <= p.columns; column += 4 * kLanes)
      product_tile<kRows, 4, false>(p, row, column);
  }
  for (; column + 2 * kLanes <= p.columns; column += 2 * kLanes)
    product_tile<kRows, 2, false>(p, row, column);
  for (; column + kLanes <= p.columns; column += kLanes) product_tile<kRows, 1, false>(p, row, column);
  if (column < p.columns) product_tile<kRows, 1, true>(p, row, column);
}

inline void multiply(const Product& p) {
  int64_t row = 0;
  for (; row + 6 <= p.rows; row += 6) product_rows<6>(p, row);
  for (; row + 4 <= p.rows; row += 4) product_rows<4>(p, row);
  for (; row + 2 <= p.rows; row += 2) product_rows<2>(p, row);
  if (row < p.rows) product_rows<1>(p, row);
}

// to[f * kKeys + j] = row(j)[f] for j < keys, f < features; 0 for the other j of the last vector.
template <class RowOf>
HWY_INLINE void transpose_keys(const RowOf& row, int64_t keys, int64_t features, float* HWY_RESTRICT to) {
  int64_t j = 0;
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
  // Four keys at a time in 4 x 4 blocks of 128 bits.
  const hn::FixedTag<float, 4> d;
  const hn::FixedTag<double, 2> pairs;
  for (; j + 4 <= keys; j += 4) {
    const float* from[4] = {row(j), row(j + 1), row(j + 2), row(j + 3)};
    int64_t f = 0;
    for (; f + 4 <= features; f += 4) {
      const auto k0 = hn::LoadU(d, from[0] + f);
      const auto k1 = hn::LoadU(d, from[1] + f);
      const auto k2 = hn::LoadU(d, from[2] + f);
      const auto k3 = hn::LoadU(d, from[3] + f);
      const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, k0, k1));
      const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, k2, k3));
      const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, k0, k1));
      const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, k2, k3));
      float* at = to + f * kKeys + j;
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, low01, low23)), d, at);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, low01, low23)), d, at + kKeys);
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, high01, high23)), d, at + 2 * kKeys);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, high01, high23)), d, at + 3 * kKeys);
    }
    for (; f < features; ++f) {
      for (int k = 0; k < 4; ++k) to[f * kKeys + j + k] = from[k][f];
    }
  }
#endif
  for (; j < keys; ++j) {
    const float* from = row(j);
    for (int64_t f = 0; f < features; ++f) to[f * kKeys + j] = from[f];
  }
  const int64_t end = (keys + kLanes - 1) / kLanes * kLanes;
  for (int64_t f = 0; f < features && keys < end; ++f) {
    for (int64_t k = keys; k < end; ++k) to[f * kKeys + k] = 0;
  }
}

// The state of a query between blocks of keys: scores so far have maximum `top`, and sum is that of exp(score
// - top).
struct OnlineRow {
  float top = kMinusInfinity;
  float sum = 0;
};

// Scores of the first `seen` keys of a block become exp(scale * score - top), the others 0; `vectors` of them
// are stored. Returns the factor that what was accumulated before must be multiplied with.
HWY_INLINE float softmax_step(float* scores, int64_t seen, int64_t vectors, float scale, OnlineRow* row) {
  const F32 d;
  const auto factor = hn::Set(d, scale);
  const auto nothing = hn::Set(d, kMinusInfinity);
  auto top = nothing;
  for (int64_t n = 0; n < vectors; ++n) {
    auto s = hn::Mul(hn::Load(d, scores + n * kLanes), factor);
    if ((n + 1) * kLanes > seen) {
      const int64_t left = seen - n * kLanes;
      s = hn::IfThenElse(hn::FirstN(d, static_cast<size_t>(left > 0 ? left : 0)), s, nothing);
    }
    hn::Store(s, d, scores + n * kLanes);
    top = hn::Max(top, s);
  }
  const float block_top = hn::GetLane(hn::MaxOfLanes(d, top));
  const float new_top = row->top > block_top ? row->top : block_top;
  // A NaN among the scores survives in exp below, whatever the maximum made of it.
  const auto shift = hn::Set(d, new_top == kMinusInfinity ? 0.0f : new_top);
  auto sum = hn::Zero(d);
  for (int64_t n = 0; n < vectors; ++n) {
    const auto p = fast_exp(d, hn::Sub(hn::Load(d, scores + n * kLanes), shift));
    hn::Store(p, d, scores + n * kLanes);
    sum = hn::Add(sum, p);
  }
  const float block_sum = hn::GetLane(hn::SumOfLanes(d, sum));
  if (row->top == kMinusInfinity && row->sum == 0) {  // the first block with a score: nothing to multiply
    *row = {new_top, block_sum};
    return 1;
  }
  const float rescale = hn::GetLane(fast_exp(d, hn::Sub(hn::Set(d, row->top), shift)));
  row->sum = row->sum * rescale + block_sum;
  row->top = new_top;
  return rescale;
}

HWY_INLINE float log_sum_exp(const OnlineRow& row) {
  return row.sum == 0 ? kMinusInfinity : row.top + std::log(row.sum);
}

inline void zero_rows(float* x, int64_t rows, int64_t stride, int64_t n) {
  const F32 d;
  for (int64_t r = 0; r < rows; ++r, x += stride) {
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) hn::StoreU(hn::Zero(d), d, x + i);
    if (i < n) hn::BlendedStore(hn::Zero(d), hn::FirstN(d, static_cast<size_t>(n - i)), d, x + i);
  }
}

// Rows side by side. Rows of one head lie a power of two apart and would share a few sets of the L1 cache.
inline void copy_rows(const float* HWY_RESTRICT from, int64_t stride, int64_t rows, int64_t n,
                      float* HWY_RESTRICT to) {
  const F32 d;
  for (int64_t r = 0; r < rows; ++r, from += stride, to += n) {
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) hn::StoreU(hn::LoadU(d, from + i), d, to + i);
    if (i < n) {
      const auto mask = hn::FirstN(d, static_cast<size_t>(n - i));
      hn::BlendedStore(hn::MaskedLoad(mask, d, from + i), mask, d, to + i);
    }
  }
}

inline float dot(const float* x, const float* y, int64_t n) {
  const F32 d;
  auto sum = hn::Zero(d);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) sum = hn::MulAdd(hn::LoadU(d, x + i), hn::LoadU(d, y + i), sum);
  if (i < n) {
    const auto mask = hn::FirstN(d, static_cast<size_t>(n - i));
    sum = hn::MulAdd(hn::MaskedLoad(mask, d, x + i), hn::MaskedLoad(mask, d, y + i), sum);
  }
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

// x[0..n) *= factor
HWY_INLINE void scale_row(float* x, int64_t n, float factor) {
  const F32 d;
  const auto f = hn::Set(d, factor);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) hn::StoreU(hn::Mul(hn::LoadU(d, x + i), f), d, x + i);
  if (i < n) {
    const auto mask = hn::FirstN(d, static_cast<size_t>(n - i));
    hn::BlendedStore(hn::Mul(hn::MaskedLoad(mask, d, x + i), f), mask, d, x + i);
  }
}

// c[r] (+)= sum over begin[r] <= t < depth[r] of a[r * kKeys + t] * b[t], for rows whose bounds do not fall;
// `begin` null: 0. What the rows share is one product, the rest of each row its own, so that a key that a
// query does not see cannot reach it even as 0 * NaN.
HWY_INLINE void ragged_product(Product p, const int64_t* begin, const int64_t* depth) {
  const Product all = p;
  // Shared is from the last row's first key to the first row's last, if there is any.
  const int64_t from = begin == nullptr ? 0 : begin[p.rows - 1];
  const auto alone = [&](int64_t r, int64_t first, int64_t last, bool accumulate) {
    Product one = all;
    one.rows = 1;
    one.depth = last - first;
    one.a = all.a + r * all.a_row + first * all.a_step;
    one.b = all.b + first * all.b_step;
    one.c = all.c + r * all.c_row;
    one.accumulate = accumulate;
    multiply(one);
  };
  if (begin != nullptr && (from > depth[0] || begin[0] != from)) {
    for (int64_t r = 0; r < p.rows; ++r) alone(r, begin[r], depth[r], p.accumulate);
    return;
  }
  p.depth = depth[0] - from;
  p.a += from * p.a_step;
  p.b += from * p.b_step;
  if (p.depth > 0 || !p.accumulate) multiply(p);
  for (int64_t r = 1; r < p.rows; ++r) {
    if (depth[r] != depth[0]) alone(r, depth[0], depth[r], true);
  }
}

// What makes logits of a tile's products where scale alone does not: cap(scale * product) + bias - slope *
// |place - key|, with cap(x) = softcap * tanh(x / softcap).
struct LogitRule {
  float scale = 1;
  float softcap = 0;  // 0: none
  float slope = 0;
  int64_t place = 0;            // of the tile's first query, counted from the block's first key
  const float* bias = nullptr;  // of the tile's first query and the block's first key, or null
  int64_t bias_row = 0;
};

// Logits of lanes of row r of a tile, from their products; lanes at or beyond `seen` are undefined. `cap`
// becomes the derivative of the cap.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V logits_of(D d, V products, const LogitRule& rule, int64_t r, int64_t key, int64_t seen, V* cap) {
  V x = hn::Mul(products, hn::Set(d, rule.scale));
  if (rule.softcap > 0) {
    const V t = tanh_f32(d, hn::Div(x, hn::Set(d, rule.softcap)));
    x = hn::Mul(t, hn::Set(d, rule.softcap));
    *cap = hn::NegMulAdd(t, t, hn::Set(d, 1.0f));
  }
  if (rule.bias != nullptr) {
    const int64_t left = seen - key;
    const auto mask = hn::FirstN(d, static_cast<size_t>(left > 0 ? HWY_MIN(left, kLanes) : 0));
    x = hn::Add(x, hn::MaskedLoad(mask, d, rule.bias + r * rule.bias_row + key));
  }
  if (rule.slope != 0) {
    const V distance = hn::Abs(hn::Iota(d, static_cast<float>(key - rule.place - r)));
    x = hn::NegMulAdd(hn::Set(d, rule.slope), distance, x);
  }
  return x;
}

// The products of row r of a tile become logits, those of keys before `begin` -inf; `vectors` of them.
HWY_INLINE void logits_row(float* scores, const LogitRule& rule, int64_t r, int64_t begin, int64_t seen,
                           int64_t vectors) {
  const F32 d;
  auto cap = hn::Zero(d);
  for (int64_t n = 0; n < vectors; ++n) {
    auto x = logits_of(d, hn::Load(d, scores + n * kLanes), rule, r, n * kLanes, seen, &cap);
    if (begin > n * kLanes) {
      const auto before = hn::FirstN(d, static_cast<size_t>(HWY_MIN(begin - n * kLanes, kLanes)));
      x = hn::IfThenElse(before, hn::Set(d, kMinusInfinity), x);
    }
    hn::Store(x, d, scores + n * kLanes);
  }
}

// Up to kTileRows queries against one block of keys.
struct QueryTile {
  int64_t rows;
  int64_t width, value_width;  // D, Dv
  const float* q;
  int64_t q_row;
  const float* keys;  // transposed: [D][kKeys]
  const float* values;
  int64_t v_row;
  const int64_t* seen;    // by row, of this block, 0..kKeys; never falls from row to row
  float scale;            // where there is no rule
  const uint32_t* words;  // of the dropout mask, or null
  int64_t words_row;
  uint32_t threshold;  // kept where word >> 8 is not below
  OnlineRow* state;
  float* out;  // not yet divided by the sum
  int64_t out_row;
  float* scores;                    // [kTileRows][kKeys], aligned
  const LogitRule* rule = nullptr;  // of logits; null: scale alone, and there is no `begin`
  const int64_t* begin = nullptr;   // by row: keys before it are not seen; null: 0
};

HWY_INLINE void drop_scores(float* scores, const uint32_t* words, int64_t vectors, uint32_t threshold) {
  const F32 d;
  const hn::RebindToUnsigned<F32> du;
  const hn::RebindToSigned<F32> di;
  const auto limit = hn::Set(di, static_cast<int32_t>(threshold));
  for (int64_t n = 0; n < vectors; ++n) {
    const auto value = hn::BitCast(di, hn::ShiftRight<8>(hn::LoadU(du, words + n * kLanes)));
    const auto dropped = hn::RebindMask(d, hn::Lt(value, limit));
    hn::Store(hn::IfThenZeroElse(dropped, hn::Load(d, scores + n * kLanes)), d, scores + n * kLanes);
  }
}

inline void attend(const QueryTile& t) {
  const int64_t most = t.seen[t.rows - 1];
  if (most <= 0) return;
  const int64_t vectors = (most + kLanes - 1) / kLanes;
  multiply({t.rows, vectors * kLanes, t.width, t.q, t.q_row, 1, t.keys, kKeys, t.scores, kKeys, false});
  for (int64_t r = 0; r < t.rows; ++r) {
    float* scores = t.scores + r * kKeys;
    if (t.rule != nullptr)
      logits_row(scores, *t.rule, r, t.begin == nullptr ? 0 : t.begin[r], t.seen[r], vectors);
    const float rescale =
        softmax_step(scores, t.seen[r], vectors, t.rule == nullptr ? t.scale : 1, &t.state[r]);
    if (rescale != 1) scale_row(t.out + r * t.out_row, t.value_width, rescale);
    if (t.words != nullptr) drop_scores(scores, t.words + r * t.words_row, vectors, t.threshold);
  }
  ragged_product({t.rows, t.value_width, 0, t.scores, kKeys, 1, t.values, t.v_row, t.out, t.out_row, true},
                 t.begin, t.seen);
}

// The last step: out / sum * factor, exactly 0 for a row without keys or with only -inf scores.
HWY_INLINE void finish_row(const OnlineRow& row, float factor, int64_t n, float* out) {
  if (row.sum == 0) {
    for (int64_t i = 0; i < n; ++i) out[i] = 0;
  } else {
    scale_row(out, n, factor / row.sum);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace floe
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
