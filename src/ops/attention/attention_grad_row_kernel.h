// The step from products q k and dout v to probabilities and their gradients, for one query and a block of
// keys. Included once a target, after kernel/cpu/simd.h.
#include "kernel/cpu/simd.h"  // before the guard: it includes the kernel file once a target

#if defined(FLOE_OPS_ATTENTION_GRAD_ROW_KERNEL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FLOE_OPS_ATTENTION_GRAD_ROW_KERNEL_H_
#undef FLOE_OPS_ATTENTION_GRAD_ROW_KERNEL_H_
#else
#define FLOE_OPS_ATTENTION_GRAD_ROW_KERNEL_H_
#endif

#include "kernel/cpu/attention-inl.h"

HWY_BEFORE_NAMESPACE();
namespace floe {
namespace HWY_NAMESPACE {

// One query's row against a block of keys: p = exp(logit - lse) for the keys it sees, else 0;  m = mask / (1
// - rate)
//   probabilities <- p m,  gradients (dout v^T) <- p * (m * gradients - delta), by the logits, or times the
//   logits' derivative, by the products q k
struct GradRow {
  float* probabilities;  // the products
  float* gradients;
  int64_t begin, seen, computed, vectors;  // `computed` vectors hold products, up to `vectors` are written
  float lse, delta;
  const uint32_t* words;
  uint32_t threshold;
  float keep_factor;
  const LogitRule* rule;
  int64_t r;  // the row in the rule's tile
  bool by_logits = false;
};

// kRule: the logits are more than scale * product, or keys before `begin` are not seen.
template <bool kRule>
HWY_INLINE void grad_row(const GradRow& row) {
  const F32 d;
  const hn::RebindToUnsigned<F32> du;
  const hn::RebindToSigned<F32> di;
  const auto limit = hn::Set(di, static_cast<int32_t>(row.threshold));
  const auto keep = hn::Set(d, row.keep_factor);
  const auto scale = hn::Set(d, row.by_logits ? 1.0f : row.rule->scale);
  const auto lse = hn::Set(d, row.lse);
  const auto delta = hn::Set(d, row.delta);
  const int64_t live = row.lse == kMinusInfinity ? 0 : row.computed;
  for (int64_t n = 0; n < live; ++n) {
    const int64_t left = row.seen - n * kLanes;
    auto mask = hn::FirstN(d, static_cast<size_t>(HWY_MAX(int64_t{0}, HWY_MIN(left, kLanes))));
    const auto products = hn::Load(d, row.probabilities + n * kLanes);
    auto slope = scale;  // of the result by the product
    auto s = hn::Mul(products, hn::Set(d, row.rule->scale));
    if constexpr (kRule) {
      auto cap = hn::Set(d, 1.0f);
      s = logits_of(d, products, *row.rule, row.r, n * kLanes, row.seen, &cap);
      if (!row.by_logits) slope = hn::Mul(slope, cap);
      const int64_t before = row.begin - n * kLanes;
      if (before > 0) mask = hn::AndNot(hn::FirstN(d, static_cast<size_t>(HWY_MIN(before, kLanes))), mask);
    }
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
    hn::Store(hn::IfThenElseZero(mask, hn::Mul(hn::Mul(p, slope), hn::Sub(g, delta))), d,
              row.gradients + n * kLanes);
  }
  for (int64_t n = live; n < row.vectors; ++n) {
    hn::Store(hn::Zero(d), d, row.probabilities + n * kLanes);
    hn::Store(hn::Zero(d), d, row.gradients + n * kLanes);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace floe
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
