// Philox numbers of one row, a vector of blocks at a time; equal to tensor/philox.h bit for bit. Included
// once a target, after kernel/cpu/simd.h.
#include "kernel/cpu/simd.h"  // before the guard: it includes the kernel file once a target

#if defined(FLOE_KERNEL_CPU_PHILOX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FLOE_KERNEL_CPU_PHILOX_INL_H_
#undef FLOE_KERNEL_CPU_PHILOX_INL_H_
#else
#define FLOE_KERNEL_CPU_PHILOX_INL_H_
#endif

#include "tensor/philox.h"

HWY_BEFORE_NAMESPACE();
namespace floe {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET != HWY_SCALAR
using PhiloxD = hn::ScalableTag<uint64_t>;
using PhiloxV = hn::Vec<PhiloxD>;

// One block a 64-bit lane, in kChains vectors: a round is a chain of seven cycles, and two keep the
// multiplier busy. Only the low half of a lane counts: a product needs its 64 bits, and no step reads the
// upper half of a counter.
template <int kChains>
struct PhiloxLanes {
  PhiloxV c0[kChains], c1[kChains], c2[kChains], c3[kChains];

  HWY_INLINE void ten_rounds(uint32_t key0, uint32_t key1) {
    const PhiloxD d;
    const hn::Repartition<uint32_t, PhiloxD> d32;
    const auto m0 = hn::Set(d32, 0xD2511F53u);
    const auto m1 = hn::Set(d32, 0xCD9E8D57u);
    for (int round = 0; round < 10; ++round) {
      const PhiloxV k0 = hn::Set(d, uint64_t{key0});
      const PhiloxV k1 = hn::Set(d, uint64_t{key1});
      for (int c = 0; c < kChains; ++c) {
        const PhiloxV p0 = hn::MulEven(hn::BitCast(d32, c0[c]), m0);
        const PhiloxV p1 = hn::MulEven(hn::BitCast(d32, c2[c]), m1);
        c0[c] = hn::Xor3(hn::ShiftRight<32>(p1), c1[c], k0);
        c1[c] = p1;
        c2[c] = hn::Xor3(hn::ShiftRight<32>(p0), c3[c], k1);
        c3[c] = p0;
      }
      key0 += 0x9E3779B9u;
      key1 += 0xBB67AE85u;
    }
  }

  // The words 0 and 1, or 2 and 3, of chain c's blocks.
  HWY_INLINE PhiloxV words01(int c) const { return pair(c0[c], c1[c]); }
  HWY_INLINE PhiloxV words23(int c) const { return pair(c2[c], c3[c]); }

 private:
  static HWY_INLINE PhiloxV pair(PhiloxV even, PhiloxV odd) {
    return hn::Or(hn::And(even, hn::Set(PhiloxD(), uint64_t{0xFFFFFFFFu})), hn::ShiftLeft<32>(odd));
  }
};
#endif

// out[i] = the uniform number of feature at.feature + i, for i in 0..n-1; at.feature is a multiple of 4.
// Writes up to 252 bytes past the end.
HWY_INLINE void philox_row(uint32_t seed, uint32_t op_id, const PhiloxCoordinates& at, int64_t n,
                           float* out) {
#if HWY_TARGET == HWY_SCALAR
  for (int64_t i = 0; i < n; i += 4) {
    const PhiloxBlock block =
        philox({(at.feature + static_cast<uint32_t>(i)) >> 2, at.position, at.ordinal, at.head}, seed, op_id);
    for (int k = 0; k < 4; ++k) out[i + k] = philox_uniform(block[static_cast<size_t>(k)]);
  }
#else
  const PhiloxD d;
  const hn::Repartition<uint32_t, PhiloxD> d32;
  const hn::Repartition<int32_t, PhiloxD> di;
  const hn::Repartition<float, PhiloxD> df;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto unit = hn::Set(df, 0x1p-24f);
  const auto to_unit = [&](PhiloxV words) HWY_ATTR {
    const auto bits = hn::ShiftRight<8>(hn::BitCast(d32, words));
    return hn::BitCast(d, hn::Mul(hn::ConvertTo(df, hn::BitCast(di, bits)), unit));
  };
  for (int64_t i = 0; i < n; i += 4 * lanes) {
    PhiloxLanes<1> block;
    block.c0[0] = hn::Add(hn::Set(d, static_cast<uint64_t>((at.feature + static_cast<uint64_t>(i)) >> 2)),
                          hn::Iota(d, 0));
    block.c1[0] = hn::Set(d, at.position);
    block.c2[0] = hn::Set(d, at.ordinal);
    block.c3[0] = hn::Set(d, at.head);
    block.ten_rounds(seed, op_id);
    hn::StoreInterleaved2(to_unit(block.words01(0)), to_unit(block.words23(0)), d,
                          reinterpret_cast<uint64_t*>(out + i));
  }
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace floe
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
