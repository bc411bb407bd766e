#include "kernel/cpu/tile_run.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "device/cpu/thread_pool.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernel/cpu/tile_run.cc"
#include "kernel/cpu/simd.h"

#include "kernel/cpu/math-inl.h"
#include "kernel/cpu/philox-inl.h"

// Elements do not meet, so a loop whose result lies over an operand may still be vectorised.
// NOLINTNEXTLINE(bugprone-macro-parentheses): i is declared here
#define FLOE_ELEMENTS(i, n) _Pragma("GCC ivdep") for (int64_t i = 0; i < (n); ++i)

HWY_BEFORE_NAMESPACE();
namespace floe {
namespace HWY_NAMESPACE {

using Kind = TilePlan::Kind;
using Step = TilePlan::Step;

// Integers that may lie where floats were written: moving elements by their bits.
template <class T>
struct ByBits {
  // NOLINTNEXTLINE(modernize-use-using): an alias would drop the attribute
  typedef T type __attribute__((may_alias));
};

struct Registers {
  char** pointers;
  template <class T>
  T* of(int32_t reg) const {
    return reinterpret_cast<T*>(pointers[reg]);
  }
};

template <class F>
HWY_INLINE void map1(const float* a, float* out, int64_t count, F f) {
  const hn::ScalableTag<float> d;
  const auto n = static_cast<size_t>(count);
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(f(d, hn::LoadU(d, a + i)), d, out + i);
  if (i == n) return;
  const auto rest = hn::FirstN(d, n - i);
  hn::BlendedStore(f(d, hn::MaskedLoad(rest, d, a + i)), rest, d, out + i);
}

template <class F>
HWY_INLINE void map2(const float* a, const float* b, float* out, int64_t count, F f) {
  const hn::ScalableTag<float> d;
  const auto n = static_cast<size_t>(count);
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(f(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, out + i);
  if (i == n) return;
  const auto rest = hn::FirstN(d, n - i);
  hn::BlendedStore(f(hn::MaskedLoad(rest, d, a + i), hn::MaskedLoad(rest, d, b + i)), rest, d, out + i);
}

void float_step(const Step& s, const Registers& r, int64_t n) {
  const float* a = r.of<float>(s.a);
  const float* b = s.b < 0 ? nullptr : r.of<float>(s.b);
  float* out = r.of<float>(s.dst);
  const auto one = [&](auto f) HWY_ATTR { map1(a, out, n, f); };
  const auto two = [&](auto f) HWY_ATTR { map2(a, b, out, n, f); };
  const auto each1 = [&](auto f) {
    for (int64_t i = 0; i < n; ++i) out[i] = f(a[i]);
  };
  const auto each2 = [&](auto f) {
    for (int64_t i = 0; i < n; ++i) out[i] = f(a[i], b[i]);
  };
  switch (s.op) {
    case ScalarOp::add:
      return two([](auto x, auto y) HWY_ATTR { return hn::Add(x, y); });
    case ScalarOp::sub:
      return two([](auto x, auto y) HWY_ATTR { return hn::Sub(x, y); });
    case ScalarOp::mul:
      return two([](auto x, auto y) HWY_ATTR { return hn::Mul(x, y); });
    case ScalarOp::div:
      return two([](auto x, auto y) HWY_ATTR { return hn::Div(x, y); });
    case ScalarOp::max:
      return two([](auto x, auto y) HWY_ATTR { return max_f32(x, y); });
    case ScalarOp::min:
      return two([](auto x, auto y) HWY_ATTR { return min_f32(x, y); });
    case ScalarOp::neg:
      return one([](auto, auto x) HWY_ATTR { return hn::Neg(x); });
    case ScalarOp::abs:
      return one([](auto, auto x) HWY_ATTR { return hn::Abs(x); });
    case ScalarOp::sqrt:
      return one([](auto, auto x) HWY_ATTR { return hn::Sqrt(x); });
    case ScalarOp::floor:
      return one([](auto, auto x) HWY_ATTR { return hn::Floor(x); });
    case ScalarOp::round:
      return one([](auto, auto x) HWY_ATTR { return hn::Round(x); });
    case ScalarOp::exp:
      return one([](auto d, auto x) HWY_ATTR { return exp_f32(d, x); });
    case ScalarOp::log:
      return one([](auto d, auto x) HWY_ATTR { return log_f32(d, x); });
    case ScalarOp::tanh:
      return one([](auto d, auto x) HWY_ATTR { return tanh_f32(d, x); });
    case ScalarOp::erf:
      return one([](auto d, auto x) HWY_ATTR { return erf_f32(d, x); });
    case ScalarOp::sin:
      return each1(scalar::sin);
    case ScalarOp::cos:
      return each1(scalar::cos);
    case ScalarOp::pow:
      return each2(scalar::pow);
    case ScalarOp::floordiv:
      return each2(scalar::floordiv);
    case ScalarOp::rem:
      return each2(scalar::rem);
    default:
      break;
  }
  fail_bug(__FILE__, __LINE__, fmt::format("scalar op '{}' on f32", info_of(s.op).name));
}

HWY_INLINE int64_t wrap_to(DType type, int64_t value) {
  return type == DType::i8    ? static_cast<int8_t>(value)
         : type == DType::u8  ? static_cast<uint8_t>(value)
         : type == DType::i32 ? static_cast<int32_t>(value)
                              : value;
}

// T is int32_t (also holding i8 and u8, wrapped afterwards) or int64_t; arithmetic is unsigned, so it wraps.
template <class T>
void integer_step(const Step& s, const Registers& r, int64_t n) {
  using U = std::make_unsigned_t<T>;
  const T* a = r.of<T>(s.a);
  const T* b = s.b < 0 ? nullptr : r.of<T>(s.b);
  T* out = r.of<T>(s.dst);
  const auto unary = [&](auto f) { FLOE_ELEMENTS(i, n) out[i] = static_cast<T>(f(static_cast<U>(a[i]))); };
  const auto binary = [&](auto f) {
    FLOE_ELEMENTS(i, n) out[i] = static_cast<T>(f(static_cast<U>(a[i]), static_cast<U>(b[i])));
  };
  switch (s.op) {
    case ScalarOp::add:
      binary([](U x, U y) { return x + y; });
      break;
    case ScalarOp::sub:
      binary([](U x, U y) { return x - y; });
      break;
    case ScalarOp::mul:
      binary([](U x, U y) { return x * y; });
      break;
    case ScalarOp::max:
      binary([](U x, U y) { return static_cast<T>(x) > static_cast<T>(y) ? x : y; });
      break;
    case ScalarOp::min:
      binary([](U x, U y) { return static_cast<T>(x) < static_cast<T>(y) ? x : y; });
      break;
    case ScalarOp::neg:
      unary([](U x) { return U{0} - x; });
      break;
    case ScalarOp::abs:
      unary([](U x) { return static_cast<T>(x) < 0 ? U{0} - x : x; });
      break;
    case ScalarOp::floor:
    case ScalarOp::round:
      unary([](U x) { return x; });
      break;
    case ScalarOp::bit_and:
      binary([](U x, U y) { return x & y; });
      break;
    case ScalarOp::bit_or:
      binary([](U x, U y) { return x | y; });
      break;
    case ScalarOp::bit_xor:
      binary([](U x, U y) { return x ^ y; });
      break;
    case ScalarOp::shift_left:
    case ScalarOp::shift_right:
      for (int64_t i = 0; i < n; ++i) {
        out[i] = static_cast<T>(s.op == ScalarOp::shift_left ? scalar::shift_left(a[i], b[i])
                                                             : scalar::shift_right(a[i], b[i]));
      }
      break;
    case ScalarOp::floordiv:
    case ScalarOp::rem:
      for (int64_t i = 0; i < n; ++i) {
        if (b[i] == 0) fail_user("integer division by zero");
        out[i] = static_cast<T>(s.op == ScalarOp::floordiv ? scalar::int_floordiv(a[i], b[i])
                                                           : scalar::int_rem(a[i], b[i]));
      }
      break;
    default:
      fail_bug(__FILE__, __LINE__, fmt::format("scalar op '{}' on integers", info_of(s.op).name));
  }
  if (s.type == DType::i8 || s.type == DType::u8) {
    for (int64_t i = 0; i < n; ++i) out[i] = static_cast<T>(wrap_to(s.type, out[i]));
  }
}

template <class T>
void compare_step(const Step& s, const Registers& r, int64_t n) {
  const T* a = r.of<T>(s.a);
  const T* b = r.of<T>(s.b);
  if (s.operand == Kind::mask) std::swap(a, b);  // true is -1 here: only lt and le see the difference
  int32_t* out = r.of<int32_t>(s.dst);
  const auto each = [&](auto f) { FLOE_ELEMENTS(i, n) out[i] = f(a[i], b[i]) ? -1 : 0; };
  switch (s.op) {
    case ScalarOp::lt:
      return each([](T x, T y) { return x < y; });
    case ScalarOp::le:
      return each([](T x, T y) { return x <= y; });
    case ScalarOp::eq:
      return each([](T x, T y) { return x == y; });
    default:
      return each([](T x, T y) { return x != y; });
  }
}

void mask_step(const Step& s, const Registers& r, int64_t n) {
  const int32_t* a = r.of<int32_t>(s.a);
  const int32_t* b = s.b < 0 ? nullptr : r.of<int32_t>(s.b);
  int32_t* out = r.of<int32_t>(s.dst);
  switch (s.op) {
    case ScalarOp::logical_and:
      FLOE_ELEMENTS(i, n) out[i] = a[i] & b[i];
      return;
    case ScalarOp::logical_or:
      FLOE_ELEMENTS(i, n) out[i] = a[i] | b[i];
      return;
    case ScalarOp::logical_not:
      FLOE_ELEMENTS(i, n) out[i] = ~a[i];
      return;
    default:
      break;
  }
  fail_bug(__FILE__, __LINE__, fmt::format("scalar op '{}' on booleans", info_of(s.op).name));
}

template <class T>  // an integer of the result's width
void select_step(const Step& s, const Registers& r, int64_t n) {
  using Bits = typename ByBits<T>::type;
  const int32_t* a = r.of<int32_t>(s.a);
  const Bits* b = r.of<Bits>(s.b);
  const Bits* c = r.of<Bits>(s.c);
  Bits* out = r.of<Bits>(s.dst);
  FLOE_ELEMENTS(i, n) out[i] = (static_cast<T>(a[i]) & b[i]) | (~static_cast<T>(a[i]) & c[i]);
}

// Not in place where widths differ: the plan gives the result a slot of its own.
template <class From>
void cast_step(const Step& s, const Registers& r, int64_t n) {
  const From* a = r.of<From>(s.a);
  const bool from_mask = s.operand == Kind::mask;
  switch (TilePlan::kind_of(s.type)) {
    case Kind::f32: {
      float* out = r.of<float>(s.dst);
      if (from_mask) {
        FLOE_ELEMENTS(i, n) out[i] = a[i] != 0 ? 1.0f : 0.0f;
      } else {
        FLOE_ELEMENTS(i, n) out[i] = static_cast<float>(a[i]);
      }
      if (s.type == DType::bf16) {
        for (int64_t i = 0; i < n; ++i) out[i] = from_bf16(to_bf16(out[i]));
      } else if (s.type == DType::f16) {
        for (int64_t i = 0; i < n; ++i) out[i] = from_f16(to_f16(out[i]));
      }
      return;
    }
    case Kind::mask: {
      int32_t* out = r.of<int32_t>(s.dst);
      FLOE_ELEMENTS(i, n) out[i] = a[i] != 0 ? -1 : 0;
      return;
    }
    case Kind::i32: {
      int32_t* out = r.of<int32_t>(s.dst);
      for (int64_t i = 0; i < n; ++i) {
        out[i] = static_cast<int32_t>(wrap_to(s.type, from_mask ? a[i] != 0 : scalar::to_int(a[i])));
      }
      return;
    }
    case Kind::i64: {
      int64_t* out = r.of<int64_t>(s.dst);
      for (int64_t i = 0; i < n; ++i) out[i] = from_mask ? a[i] != 0 : scalar::to_int(a[i]);
      return;
    }
  }
}

void run_step(const Step& s, const Registers& r, int64_t n) {
  switch (s.op) {
    case ScalarOp::select:
      return s.operand == Kind::i64 ? select_step<int64_t>(s, r, n) : select_step<int32_t>(s, r, n);
    case ScalarOp::lt:
    case ScalarOp::le:
    case ScalarOp::eq:
    case ScalarOp::ne:
      return s.operand == Kind::f32   ? compare_step<float>(s, r, n)
             : s.operand == Kind::i64 ? compare_step<int64_t>(s, r, n)
                                      : compare_step<int32_t>(s, r, n);
    case ScalarOp::cast:
      return s.operand == Kind::f32   ? cast_step<float>(s, r, n)
             : s.operand == Kind::i64 ? cast_step<int64_t>(s, r, n)
                                      : cast_step<int32_t>(s, r, n);
    default:
      break;
  }
  switch (s.operand) {
    case Kind::f32:
      return float_step(s, r, n);
    case Kind::i32:
      return integer_step<int32_t>(s, r, n);
    case Kind::i64:
      return integer_step<int64_t>(s, r, n);
    case Kind::mask:
      return mask_step(s, r, n);
  }
}

// Register elements `to`.. from `n` elements of memory at `from`, `stride` elements apart.
template <class Memory, class T>
HWY_INLINE void load_as(const void* from, int64_t stride, int64_t n, char* reg, int64_t to, bool mask) {
  const auto* in = static_cast<const typename ByBits<Memory>::type*>(from);
  auto* out = reinterpret_cast<typename ByBits<T>::type*>(reg) + to;
  const T sign = mask ? T(-1) : T(1);
  if (stride == 1) {
    FLOE_ELEMENTS(i, n) out[i] = sign * static_cast<T>(in[i]);
  } else if (stride == 0) {
    const T value = n > 0 ? static_cast<T>(sign * static_cast<T>(in[0])) : T(0);
    FLOE_ELEMENTS(i, n) out[i] = value;
  } else {
    for (int64_t i = 0; i < n; ++i) out[i] = sign * static_cast<T>(in[i * stride]);
  }
}

void load_half(const void* from, int64_t stride, int64_t n, char* reg, int64_t to, float (*widen)(uint16_t)) {
  const auto* in = static_cast<const uint16_t*>(from);
  float* out = reinterpret_cast<float*>(reg) + to;
  for (int64_t i = 0; i < n; ++i) out[i] = widen(in[i * stride]);
}

void load(DType type, const char* base, int64_t offset, int64_t stride, int64_t n, char* reg, int64_t to) {
  const char* from = base + offset * static_cast<int64_t>(size_of(type));
  switch (type) {
    case DType::f32:  // by bits, so that no NaN is changed
    case DType::i32:
      return load_as<int32_t, int32_t>(from, stride, n, reg, to, false);
    case DType::bf16:
      return load_half(from, stride, n, reg, to, from_bf16);
    case DType::f16:
      return load_half(from, stride, n, reg, to, from_f16);
    case DType::i64:
      return load_as<int64_t, int64_t>(from, stride, n, reg, to, false);
    case DType::i8:
      return load_as<int8_t, int32_t>(from, stride, n, reg, to, false);
    case DType::u8:
      return load_as<uint8_t, int32_t>(from, stride, n, reg, to, false);
    default:
      return load_as<uint8_t, int32_t>(from, stride, n, reg, to, true);
  }
}

void store(DType type, const char* reg, int64_t n, char* to) {
  const auto* in = reinterpret_cast<const int32_t*>(reg);
  auto* bytes = reinterpret_cast<uint8_t*>(to);
  switch (type) {
    case DType::boolean:
      FLOE_ELEMENTS(i, n) bytes[i] = static_cast<uint8_t>(in[i] & 1);
      return;
    case DType::bf16:
    case DType::f16:
      for (int64_t i = 0; i < n; ++i) {
        const float value = reinterpret_cast<const float*>(reg)[i];
        reinterpret_cast<uint16_t*>(to)[i] = type == DType::bf16 ? to_bf16(value) : to_f16(value);
      }
      return;
    case DType::i8:
    case DType::u8:
      FLOE_ELEMENTS(i, n) bytes[i] = static_cast<uint8_t>(in[i]);
      return;
    default:
      std::memcpy(to, reg, static_cast<size_t>(n) * size_of(type));
  }
}

struct Tile {
  int64_t first_row, rows, column, width;  // width elements of each row, from `column` on
  int64_t begin, count;                    // in the row-major space
};

Tile tile_at(const TilePlan& plan, int64_t t) {
  Tile tile{};
  if (plan.tiles_per_row > 1 || plan.rows_per_tile == 1) {
    tile.first_row = t / plan.tiles_per_row;
    tile.rows = 1;
    tile.column = t % plan.tiles_per_row * TilePlan::kTile;
    tile.width = std::min(TilePlan::kTile, plan.inner - tile.column);
  } else {
    tile.first_row = t * plan.rows_per_tile;
    tile.rows = std::min(plan.rows_per_tile, plan.rows - tile.first_row);
    tile.width = plan.inner;
  }
  tile.begin = tile.first_row * plan.inner + tile.column;
  tile.count = tile.rows * tile.width;
  return tile;
}

// Element coordinates of a row, but the last.
std::array<int64_t, kMaxRank> coordinates_of(const TilePlan& plan, int64_t row) {
  std::array<int64_t, kMaxRank> at{};
  for (int k = plan.rank - 2; k >= 0; --k) {
    at[static_cast<size_t>(k)] = row % plan.dims[static_cast<size_t>(k)];
    row /= plan.dims[static_cast<size_t>(k)];
  }
  return at;
}

void load_tile(const TileJob& job, const TilePlan::Load& from, const Tile& tile, const Registers& r,
               char* slot) {
  const TilePlan& plan = job.plan;
  const char* base = job.inputs[static_cast<size_t>(from.input)].as<char>();
  const auto size = static_cast<int64_t>(size_of(from.type));
  const bool as_it_is = from.type == DType::f32 || from.type == DType::i32 || from.type == DType::i64;
  if (from.dense) {
    if (as_it_is) {
      r.pointers[from.reg] = const_cast<char*>(base) + tile.begin * size;
    } else {
      load(from.type, base, tile.begin, 1, tile.count, slot, 0);
    }
    return;
  }
  const int64_t inner = from.strides[static_cast<size_t>(plan.rank - 1)];
  for (int64_t row = 0; row < tile.rows; ++row) {
    const auto at = coordinates_of(plan, tile.first_row + row);
    int64_t offset = tile.column * inner;
    for (int k = 0; k + 1 < plan.rank; ++k)
      offset += at[static_cast<size_t>(k)] * from.strides[static_cast<size_t>(k)];
    if (tile.rows == 1 && inner == 1 && as_it_is) {
      r.pointers[from.reg] = const_cast<char*>(base) + offset * size;
      return;
    }
    load(from.type, base, offset, inner, tile.width, slot, row * tile.width);
  }
  r.pointers[from.reg] = slot;
}

void uniform_step(const TileJob& job, const Step& s, const Tile& tile, const Registers& r) {
  const TilePlan& plan = job.plan;
  const auto random = std::find_if(plan.randoms.begin(), plan.randoms.end(),
                                   [&](const TilePlan::Random& each) { return each.reg == s.b; });
  const auto* ordinals = job.inputs[static_cast<size_t>(random->input)].as<int32_t>();
  const auto seed = static_cast<uint32_t>(r.of<int32_t>(s.a)[0]);
  const auto op_id = static_cast<uint32_t>(static_cast<int64_t>(s.imm));
  for (int64_t row = 0; row < tile.rows; ++row) {
    const auto c = coordinates_of(plan, tile.first_row + row);
    PhiloxCoordinates at;
    at.feature = static_cast<uint32_t>(tile.column);
    at.ordinal = static_cast<uint32_t>(ordinals[c[0] * random->stride]);
    if (plan.rank > 2) at.position = static_cast<uint32_t>(c[static_cast<size_t>(plan.rank - 2)]);
    if (plan.rank > 3) at.head = static_cast<uint32_t>(c[1]);
    philox_row(seed, op_id, at, tile.width, r.of<float>(s.dst) + row * tile.width);
  }
}

void run_task(const TileJob& job, int64_t first, int64_t last, int worker) {
  const TilePlan& plan = job.plan;
  char* scratch = job.workspace + static_cast<size_t>(worker) * plan.scratch_bytes;
  const Registers r{reinterpret_cast<char**>(scratch)};
  const auto slot = [&](int32_t reg) {
    return scratch + plan.pointers_bytes +
           static_cast<size_t>(plan.slot[static_cast<size_t>(reg)]) * plan.slot_bytes;
  };
  for (size_t k = 0; k < plan.slot.size(); ++k) {
    if (plan.slot[k] >= 0) r.pointers[k] = slot(static_cast<int32_t>(k));
  }
  const int64_t most = std::min(TilePlan::kTile, plan.rows * plan.inner);
  for (const TilePlan::Constant& constant : plan.constants) {
    const auto integer = static_cast<int64_t>(constant.value);
    const float number = static_cast<float>(constant.value);
    const auto narrow = static_cast<int32_t>(wrap_to(constant.type, integer));
    const uint8_t truth = integer != 0 ? 1 : 0;
    switch (TilePlan::kind_of(constant.type)) {
      case Kind::f32:
        load(DType::f32, reinterpret_cast<const char*>(&number), 0, 0, most, slot(constant.reg), 0);
        break;
      case Kind::i32:
        load(DType::i32, reinterpret_cast<const char*>(&narrow), 0, 0, most, slot(constant.reg), 0);
        break;
      case Kind::i64:
        load(DType::i64, reinterpret_cast<const char*>(&integer), 0, 0, most, slot(constant.reg), 0);
        break;
      case Kind::mask:
        load(DType::boolean, reinterpret_cast<const char*>(&truth), 0, 0, most, slot(constant.reg), 0);
    }
  }
  for (const TilePlan::Load& from : plan.loads) {
    if (from.scalar) {
      load(from.type, job.inputs[static_cast<size_t>(from.input)].as<char>(), 0, 0, most, slot(from.reg), 0);
    }
  }
  for (int64_t t = first; t < last; ++t) {
    const Tile tile = tile_at(plan, t);
    for (const TilePlan::Load& from : plan.loads) {
      if (!from.scalar) load_tile(job, from, tile, r, slot(from.reg));
    }
    const auto memory = [&](const TilePlan::Store& to) {
      return job.outputs[static_cast<size_t>(to.output)].as<char>() +
             tile.begin * static_cast<int64_t>(size_of(to.type));
    };
    for (const TilePlan::Store& to : plan.stores) {
      if (to.direct) r.pointers[to.reg] = memory(to);
    }
    for (const Step& step : plan.steps) {
      if (step.op == ScalarOp::uniform) {
        uniform_step(job, step, tile, r);
      } else {
        run_step(step, r, tile.count);
      }
    }
    for (const TilePlan::Store& to : plan.stores) {
      if (!to.direct) store(to.type, r.pointers[to.reg], tile.count, memory(to));
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace floe
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace floe {
namespace {
HWY_EXPORT(run_task);
}  // namespace

void run_tiles(const TilePlan& plan, std::span<const View> inputs, std::span<const View> outputs,
               void* workspace, ThreadPool& pool) {
  const TileJob job{plan, inputs, outputs, static_cast<char*>(workspace)};
  // One captured pointer, so that std::function needs no memory.
  pool.run((plan.tiles + TilePlan::kTilesPerTask - 1) / TilePlan::kTilesPerTask,
           [&job](int64_t task, int worker) {
             const int64_t first = task * TilePlan::kTilesPerTask;
             HWY_DYNAMIC_DISPATCH(run_task)
             (job, first, std::min(job.plan.tiles, first + TilePlan::kTilesPerTask), worker);
           });
}

}  // namespace floe
#endif  // HWY_ONCE
