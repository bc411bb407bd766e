// Philox words for a run of blocks that differ in two coordinates: what a dropout mask over scores needs.
// Included once a target, after kernel/cpu/simd.h.
#include "kernel/cpu/simd.h"  // before the guard: it includes the kernel file once a target

#if defined(FLOE_KERNEL_CPU_PHILOX_PATCH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FLOE_KERNEL_CPU_PHILOX_PATCH_INL_H_
#undef FLOE_KERNEL_CPU_PHILOX_PATCH_INL_H_
#else
#define FLOE_KERNEL_CPU_PHILOX_PATCH_INL_H_
#endif

#include "tensor/philox.h"

HWY_BEFORE_NAMESPACE();
namespace floe {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// `rows` x `groups` blocks of four words, row-major: block (r, g) has counter (first_group + g, first_row +
// r, ordinal, head). Words are those of philox(). `words` has room for kPhiloxSlack more.
constexpr int64_t kPhiloxSlack = 64;  // words: the last vector may be half empty
struct PhiloxPatch {
  uint32_t seed, op_id, ordinal, head;
  int64_t first_row, rows;
  int64_t first_group, groups;
};

inline void philox_patch(const PhiloxPatch& patch, uint32_t* HWY_RESTRICT words) {
  const int64_t total = patch.rows * patch.groups;
#if HWY_TARGET == HWY_SCALAR
  for (int64_t i = 0; i < total; ++i) {
    const PhiloxBlock block =
        philox({static_cast<uint32_t>(patch.first_group + i % patch.groups),
                static_cast<uint32_t>(patch.first_row + i / patch.groups), patch.ordinal, patch.head},
               patch.seed, patch.op_id);
    for (int k = 0; k < 4; ++k) words[4 * i + k] = block[static_cast<size_t>(k)];
  }
#else
  const hn::ScalableTag<uint64_t> d;
  const hn::Repartition<uint32_t, decltype(d)> d32;
  constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(d));
  HWY_ALIGN uint64_t group[kLanes];
  HWY_ALIGN uint64_t row[kLanes];
  int64_t g = 0, r = 0;
  // Only the low half of each lane counts; MulEven reads no other.
  const auto product = [&](auto x, uint64_t factor) {
    return hn::MulEven(hn::BitCast(d32, x), hn::BitCast(d32, hn::Set(d, factor)));
  };
  for (int64_t at = 0; at < total; at += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      group[lane] = static_cast<uint32_t>(patch.first_group + g);
      row[lane] = static_cast<uint32_t>(patch.first_row + r);
      if (++g == patch.groups) {
        g = 0;
        ++r;
      }
    }
    auto c0 = hn::Load(d, group);
    auto c1 = hn::Load(d, row);
    auto c2 = hn::Set(d, uint64_t{patch.ordinal});
    auto c3 = hn::Set(d, uint64_t{patch.head});
    uint32_t key0 = patch.seed;
    uint32_t key1 = patch.op_id;
    for (int round = 0; round < 10; ++round) {
      const auto p0 = product(c0, 0xD2511F53u);
      const auto p1 = product(c2, 0xCD9E8D57u);
      c0 = hn::Xor3(hn::ShiftRight<32>(p1), c1, hn::Set(d, uint64_t{key0}));
      c1 = p1;
      c2 = hn::Xor3(hn::ShiftRight<32>(p0), c3, hn::Set(d, uint64_t{key1}));
      c3 = p0;
      key0 += 0x9E3779B9u;
      key1 += 0xBB67AE85u;
    }
    const auto low = hn::Set(d, uint64_t{0xFFFFFFFFu});
    const auto first = hn::Or(hn::And(c0, low), hn::ShiftLeft<32>(c1));
    const auto second = hn::Or(hn::And(c2, low), hn::ShiftLeft<32>(c3));
    HWY_ALIGN uint64_t pairs[2 * kLanes];
    hn::StoreInterleaved2(first, second, d, pairs);
    hwy::CopyBytes<sizeof(uint64_t) * 2 * kLanes>(pairs, words + 4 * at);
  }
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace floe
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
