#include "comm/combine.h"

#include <bit>
#include <cmath>
#include <type_traits>

#include "base/error.h"

namespace floe {
namespace {

// How a dtype is read, added and written: bf16 and f16 through f32, integers as unsigned so that they wrap.
template <class Stored, class Work, Work (*load)(Stored), Stored (*store)(Work)>
struct Number {
  using stored = Stored;
  using work = Work;
  static Work get(const void* p, int64_t i) { return load(static_cast<const Stored*>(p)[i]); }
  static void put(void* p, int64_t i, Work value) { static_cast<Stored*>(p)[i] = store(value); }
};
template <class T>
T same(T value) {
  return value;
}

template <class T>
T sum(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  } else {
    return a + b;
  }
}
template <class T>
T larger(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(a)) return a;
    if (std::isnan(b)) return b;
  }
  return a < b ? b : a;
}

template <class N, class Combine>
typename N::work over_ranks(std::span<const void* const> ins, int64_t at, const Combine& two) {
  if (ins.size() == 1) return N::get(ins[0], at);
  const size_t half = std::bit_floor(ins.size() - 1);  // the left subtree is full
  return two(over_ranks<N>(ins.first(half), at, two), over_ranks<N>(ins.subspan(half), at, two));
}

template <class N>
void combine_as(CollectiveOp op, std::span<const void* const> ins, int64_t begin, int64_t end, void* out) {
  using W = typename N::work;
  const auto two = op == CollectiveOp::all_reduce_max ? larger<W> : sum<W>;
  for (int64_t i = begin; i < end; ++i) N::put(out, i - begin, over_ranks<N>(ins, i, two));
}

}  // namespace

void combine(CollectiveOp op, DType dtype, std::span<const void* const> ins, int64_t begin, int64_t end,
             void* out) {
  switch (dtype) {
    case DType::f32:
      return combine_as<Number<float, float, same<float>, same<float>>>(op, ins, begin, end, out);
    case DType::f64:
      return combine_as<Number<double, double, same<double>, same<double>>>(op, ins, begin, end, out);
    case DType::bf16:
      return combine_as<Number<uint16_t, float, from_bf16, to_bf16>>(op, ins, begin, end, out);
    case DType::f16:
      return combine_as<Number<uint16_t, float, from_f16, to_f16>>(op, ins, begin, end, out);
    case DType::i8:
      return combine_as<Number<int8_t, int8_t, same<int8_t>, same<int8_t>>>(op, ins, begin, end, out);
    case DType::u8:
      return combine_as<Number<uint8_t, uint8_t, same<uint8_t>, same<uint8_t>>>(op, ins, begin, end, out);
    case DType::i32:
      return combine_as<Number<int32_t, int32_t, same<int32_t>, same<int32_t>>>(op, ins, begin, end, out);
    case DType::i64:
      return combine_as<Number<int64_t, int64_t, same<int64_t>, same<int64_t>>>(op, ins, begin, end, out);
    case DType::boolean:
      break;
  }
  FLOE_CHECK(false, "{} of bools", name_of(op));
}

}  // namespace floe
