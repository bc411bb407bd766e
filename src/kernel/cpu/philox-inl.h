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
  // One block a 64-bit lane: a product needs its 64 bits, and the upper halves of c1 and c3 may hold
  // anything, since only the lower ones are multiplied.
  const hn::ScalableTag<uint64_t> d;
  const hn::Repartition<uint32_t, decltype(d)> d32;
  const hn::Repartition<int32_t, decltype(d)> di;
  const hn::Repartition<float, decltype(d)> df;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto low = hn::Set(d, 0xFFFFFFFFu);
  const auto m0 = hn::Set(d32, 0xD2511F53u);
  const auto m1 = hn::Set(d32, 0xCD9E8D57u);
  const auto unit = hn::Set(df, 0x1p-24f);
  for (int64_t i = 0; i < n; i += 4 * lanes) {
    auto c0 = hn::Add(hn::Set(d, static_cast<uint64_t>((at.feature + static_cast<uint64_t>(i)) >> 2)),
                      hn::Iota(d, 0));
    auto c1 = hn::Set(d, at.position);
    auto c2 = hn::Set(d, at.ordinal);
    auto c3 = hn::Set(d, at.head);
    uint32_t key0 = seed;
    uint32_t key1 = op_id;
    for (int round = 0; round < 10; ++round) {
      const auto p0 = hn::MulEven(hn::BitCast(d32, c0), m0);
      const auto p1 = hn::MulEven(hn::BitCast(d32, c2), m1);
      c0 = hn::Xor(hn::Xor(hn::ShiftRight<32>(p1), c1), hn::Set(d, key0));
      c2 = hn::Xor(hn::Xor(hn::ShiftRight<32>(p0), c3), hn::Set(d, key1));
      c1 = p1;
      c3 = p0;
      key0 += 0x9E3779B9u;
      key1 += 0xBB67AE85u;
    }
    const auto to_unit = [&](auto even, auto odd) HWY_ATTR {
      const auto bits = hn::BitCast(d32, hn::Or(hn::And(even, low), hn::ShiftLeft<32>(odd)));
      return hn::BitCast(d, hn::Mul(hn::ConvertTo(df, hn::BitCast(di, hn::ShiftRight<8>(bits))), unit));
    };
    hn::StoreInterleaved2(to_unit(c0, c1), to_unit(c2, c3), d, reinterpret_cast<uint64_t*>(out + i));
  }
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace floe
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
