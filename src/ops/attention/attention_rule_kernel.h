// The rule of logits of a tile of attention on the CPU, from what the op was given. Included once a target,
// after kernel/cpu/simd.h.
#include "kernel/cpu/simd.h"  // before the guard: it includes the kernel file once a target

#if defined(FLOE_OPS_ATTENTION_RULE_KERNEL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FLOE_OPS_ATTENTION_RULE_KERNEL_H_
#undef FLOE_OPS_ATTENTION_RULE_KERNEL_H_
#else
#define FLOE_OPS_ATTENTION_RULE_KERNEL_H_
#endif

#include "kernel/cpu/attention-inl.h"
#include "ops/attention/attention_kernel.h"

HWY_BEFORE_NAMESPACE();
namespace floe {
namespace HWY_NAMESPACE {

// Where a tile of queries meets a block of keys: the first of each, and the row's lag.
struct TilePlace {
  int64_t b, h, query, key, lag;
};

inline LogitRule logit_rule(const AttentionSpec& s, const AttentionData& data, const TilePlace& at) {
  LogitRule rule;
  rule.scale = s.scale;
  rule.softcap = s.softcap;
  if (data.slopes != nullptr) rule.slope = data.slopes[at.h];
  rule.place = at.query + at.lag - at.key;
  if (data.bias != nullptr) {
    rule.bias = data.bias + at.b * s.bias_batch + at.h * s.bias_head + at.query * s.keys + at.key;
    rule.bias_row = s.keys;
  }
  return rule;
}

}  // namespace HWY_NAMESPACE
}  // namespace floe
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
