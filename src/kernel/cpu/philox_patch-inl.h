// Philox words for a run of blocks that differ in two coordinates: what a dropout mask over scores needs.
// Included once a target, after kernel/cpu/simd.h.
#include "kernel/cpu/simd.h"  // before the guard: it includes the kernel file once a target

#if defined(FLOE_KERNEL_CPU_PHILOX_PATCH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FLOE_KERNEL_CPU_PHILOX_PATCH_INL_H_
#undef FLOE_KERNEL_CPU_PHILOX_PATCH_INL_H_
#else
#define FLOE_KERNEL_CPU_PHILOX_PATCH_INL_H_
#endif

#include "kernel/cpu/philox-inl.h"

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
  const PhiloxD d;
  const hn::RebindToSigned<PhiloxD> di;
  constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(d));
  constexpr int kChains = 2;
  constexpr int64_t kStep = kChains * kLanes;
  HWY_ALIGN int64_t lane_group[kStep];
  HWY_ALIGN int64_t lane_row[kStep];
  for (int64_t lane = 0; lane < kStep; ++lane) {
    lane_group[lane] = lane % patch.groups;
    lane_row[lane] = lane / patch.groups;
  }
  hn::Vec<decltype(di)> group[kChains], row[kChains];
  for (int c = 0; c < kChains; ++c) {
    group[c] = hn::Load(di, lane_group + c * kLanes);
    row[c] = hn::Load(di, lane_row + c * kLanes);
  }
  const auto groups = hn::Set(di, patch.groups);
  const auto last_group = hn::Set(di, patch.groups - 1);
  const auto group_step = hn::Set(di, kStep % patch.groups);
  const auto row_step = hn::Set(di, kStep / patch.groups);
  for (int64_t at = 0; at < total; at += kStep) {
    PhiloxLanes<kChains> block;
    for (int c = 0; c < kChains; ++c) {
      block.c0[c] = hn::BitCast(d, hn::Add(group[c], hn::Set(di, patch.first_group)));
      block.c1[c] = hn::BitCast(d, hn::Add(row[c], hn::Set(di, patch.first_row)));
      block.c2[c] = hn::Set(d, uint64_t{patch.ordinal});
      block.c3[c] = hn::Set(d, uint64_t{patch.head});
      group[c] = hn::Add(group[c], group_step);
      row[c] = hn::Add(row[c], row_step);
      const auto over = hn::Gt(group[c], last_group);
      group[c] = hn::Sub(group[c], hn::IfThenElseZero(over, groups));
      row[c] = hn::Add(row[c], hn::IfThenElseZero(over, hn::Set(di, 1)));
    }
    block.ten_rounds(patch.seed, patch.op_id);
    for (int c = 0; c < kChains; ++c) {
      hn::StoreInterleaved2(block.words01(c), block.words23(c), d,
                            reinterpret_cast<uint64_t*>(words + 4 * (at + c * kLanes)));
    }
  }
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace floe
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
