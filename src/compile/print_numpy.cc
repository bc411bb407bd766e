#include "compile/print_numpy.h"

#include <cmath>
#include <set>

#include "base/error.h"
#include "kernel/cpu/scalar_math.h"

namespace floe {
namespace {

std::string number(double value) {
  const auto x = static_cast<float>(value);
  if (std::isnan(x)) return "np.float32(\"nan\")";
  if (std::isinf(x)) return x > 0 ? "np.float32(\"inf\")" : "np.float32(\"-inf\")";
  return fmt::format("np.float32({:.9g})", x);
}

template <size_t N>
std::string list(const float (&coefficients)[N]) {
  std::string text;
  for (const float c : coefficients) text += fmt::format("{}{:.9g}", text.empty() ? "" : ", ", c);
  return "[" + text + "]";
}

std::string_view numpy_type(DType type) {
  switch (type) {
    case DType::f32:
      return "np.float32";
    case DType::i8:
      return "np.int8";
    case DType::u8:
      return "np.uint8";
    case DType::i32:
      return "np.int32";
    case DType::i64:
      return "np.int64";
    case DType::boolean:
      return "np.bool_";
    default:
      fail_user("[print_numpy] {} cannot be printed", name_of(type));
  }
}

std::string_view infix_of(ScalarOp op) {
  switch (op) {
    case ScalarOp::add:
      return "+";
    case ScalarOp::sub:
      return "-";
    case ScalarOp::mul:
      return "*";
    case ScalarOp::div:
      return "/";
    case ScalarOp::lt:
      return "<";
    case ScalarOp::le:
      return "<=";
    case ScalarOp::eq:
      return "==";
    case ScalarOp::ne:
      return "!=";
    case ScalarOp::logical_and:
      return "&";
    case ScalarOp::logical_or:
      return "|";
    default:
      return "";
  }
}

std::string_view function_of(ScalarOp op) {
  switch (op) {
    case ScalarOp::abs:
      return "np.abs";
    case ScalarOp::sqrt:
      return "np.sqrt";
    case ScalarOp::floor:
      return "np.floor";
    case ScalarOp::round:
      return "np.rint";
    case ScalarOp::max:
      return "np.maximum";
    case ScalarOp::min:
      return "np.minimum";
    case ScalarOp::exp:
      return "_exp";
    case ScalarOp::log:
      return "_log";
    case ScalarOp::tanh:
      return "_tanh";
    case ScalarOp::erf:
      return "_erf";
    case ScalarOp::sin:
      return "np.sin";
    case ScalarOp::cos:
      return "np.cos";
    case ScalarOp::pow:
      return "np.power";
    case ScalarOp::floordiv:
      return "_floordiv";
    case ScalarOp::rem:
      return "_rem";
    case ScalarOp::select:
      return "np.where";
    default:
      return "";
  }
}

std::string expression(const Tape& tape, const ScalarInstr& instr) {
  const bool integer = !is_float(instr.type);
  switch (instr.op) {
    case ScalarOp::input:
      return fmt::format("x{}", static_cast<int64_t>(instr.imm));
    case ScalarOp::constant:
      if (instr.type == DType::f32) return number(instr.imm);
      if (instr.type == DType::boolean) return instr.imm != 0 ? "np.bool_(True)" : "np.bool_(False)";
      return fmt::format("{}({})", numpy_type(instr.type), static_cast<int64_t>(instr.imm));
    case ScalarOp::neg:
      return fmt::format("-r{}", instr.a);
    case ScalarOp::logical_not:
      return fmt::format("~r{}", instr.a);
    case ScalarOp::floor:
    case ScalarOp::round:
      if (integer) return fmt::format("r{}", instr.a);
      break;
    case ScalarOp::cast:
      if (tape.code[static_cast<size_t>(instr.a)].type == DType::f32 && is_integer(instr.type)) {
        return fmt::format("_to_int(r{}).astype({})", instr.a, numpy_type(instr.type));
      }
      return fmt::format("np.asarray(r{}).astype({})", instr.a, numpy_type(instr.type));
    case ScalarOp::uniform:
      return fmt::format("_uniform(r{}, r{}, {}, shape)", instr.a, instr.b,
                         static_cast<uint32_t>(static_cast<int64_t>(instr.imm)));
    default:
      break;
  }
  if (const std::string_view infix = infix_of(instr.op); !infix.empty()) {
    return fmt::format("r{} {} r{}", instr.a, infix, instr.b);
  }
  std::string operands;
  const int32_t registers[] = {instr.a, instr.b, instr.c};
  for (int k = 0; k < info_of(instr.op).arity; ++k)
    operands += fmt::format("{}r{}", k == 0 ? "" : ", ", registers[k]);
  return fmt::format("{}({})", function_of(instr.op), operands);
}

}  // namespace

std::string numpy_prelude() {
  const std::string head = R"(import numpy as np

F = np.float32


def _polynomial(coefficients, x):
    p = F(coefficients[-1])
    for c in coefficients[-2::-1]:
        p = p * x + F(c)
    return p


def _ints(x):
    return np.asarray(x, np.float32).view(np.int32)


def _floats(bits):
    return np.asarray(bits, np.int32).view(np.float32)

)";
  const std::string functions =
      fmt::format(R"(
def _exp(x):
    c = np.where(x < F({high}), x, F({high}))
    c = np.where(c > F({low}), c, F({low}))
    t = c * F({log2e}) + F({magic})
    n = t - F({magic})
    r = (c - n * F({ln2_high})) - n * F({ln2_low})
    y = ((r * r) * _polynomial({exp}, r) + r) + F(1)
    e = _ints(t) - np.int32({magic_bits})
    half = e >> 1
    y = (y * _floats((half + 127) << 23)) * _floats((e - half + 127) << 23)
    return np.where(x == x, y, x)


def _log(x):
    tiny = x < F({smallest})
    bits = _ints(np.where(tiny, x * F({two23}), x))
    e = (bits - np.int32({sqrt_half})) >> 23
    f = _floats(bits - (e << 23)) - F(1)
    k = np.where(tiny, e - 23, e).astype(np.float32)
    z = f * f
    y = (f * z) * _polynomial({log}, f) + k * F({ln2_low})
    y = y - F(0.5) * z
    y = (f + y) + k * F({ln2_high})
    y = np.where(x < F("inf"), y, x)
    y = np.where(x < 0, F("nan"), y)
    return np.where(x == 0, F("-inf"), y)


def _tanh(x):
    a = np.abs(x)
    z = x * x
    small = x + (x * z) * _polynomial({tanh}, z)
    large = F(1) - F(2) / (_exp(a + a) + F(1))
    return np.copysign(np.where(a < F({tanh_small}), small, large), x)


def _erf(x):
    a = np.abs(x)
    small = x + x * _polynomial({erf}, x * x)
    t = np.where(a < 4, a, F(4))
    large = F(1) - _exp(-(t * _polynomial({erfc}, t)))
    y = np.where(a < 1, small, np.copysign(large, x))
    return np.where(x == x, y, x)

)",
                  fmt::arg("high", scalar::kExpHigh), fmt::arg("low", scalar::kExpLow),
                  fmt::arg("log2e", fmt::format("{:.9g}", scalar::kLog2e)),
                  fmt::arg("magic", scalar::kRoundMagic), fmt::arg("magic_bits", scalar::kRoundMagicBits),
                  fmt::arg("ln2_high", fmt::format("{:.9g}", scalar::kLn2High)),
                  fmt::arg("ln2_low", fmt::format("{:.9g}", scalar::kLn2Low)),
                  fmt::arg("exp", list(scalar::kExp)), fmt::arg("log", list(scalar::kLog)),
                  fmt::arg("smallest", fmt::format("{:.9g}", scalar::kSmallestNormal)),
                  fmt::arg("two23", scalar::kTwo23), fmt::arg("sqrt_half", scalar::kSqrtHalfBits),
                  fmt::arg("tanh", list(scalar::kTanh)), fmt::arg("tanh_small", scalar::kTanhSmall),
                  fmt::arg("erf", list(scalar::kErf)), fmt::arg("erfc", list(scalar::kErfc)));
  const std::string tail = R"(
def _checked(b):
    if np.issubdtype(np.asarray(b).dtype, np.integer) and np.any(np.asarray(b) == 0):
        raise ZeroDivisionError("integer division by zero")
    return b


def _floordiv(a, b):
    return np.floor_divide(a, _checked(b))


def _rem(a, b):
    return np.remainder(a, _checked(b))


def _to_int(x):  # truncates; NaN gives 0, what lies outside is clamped
    x = np.asarray(x)
    inside = np.abs(x) < F(2.0**63)
    clamped = np.where(x < 0, np.int64(-(2**63)), np.int64(2**63 - 1))
    clamped = np.where(np.isnan(x), np.int64(0), clamped)
    return np.where(inside, np.where(inside, x, F(0)).astype(np.int64), clamped)


def _uniform(seed, ordinals, op_id, shape):  # Philox4x32-10 of (feature, position, ordinal, head)
    low = np.uint64(0xFFFFFFFF)
    word = np.uint64(32)
    rank = len(shape)

    def along(axis, values):
        return np.asarray(values).astype(np.int64).astype(np.uint64).reshape([-1 if k == axis else 1 for k in range(rank)])

    feature = np.arange(shape[-1], dtype=np.uint64)
    c0 = along(rank - 1, feature >> np.uint64(2))
    c1 = along(rank - 2, np.arange(shape[-2])) if rank > 2 else np.uint64(0)
    c2 = along(0, ordinals) & low
    c3 = along(1, np.arange(shape[1])) if rank > 3 else np.uint64(0)
    key0 = int(seed) & 0xFFFFFFFF
    key1 = op_id
    for _ in range(10):
        p0 = c0 * np.uint64(0xD2511F53)
        p1 = c2 * np.uint64(0xCD9E8D57)
        c0, c1 = (p1 >> word) ^ c1 ^ np.uint64(key0), p1 & low
        c2, c3 = (p0 >> word) ^ c3 ^ np.uint64(key1), p0 & low
        key0 = (key0 + 0x9E3779B9) & 0xFFFFFFFF
        key1 = (key1 + 0xBB67AE85) & 0xFFFFFFFF
    lane = along(rank - 1, feature & np.uint64(3))
    bits = np.where(lane == 0, c0, np.where(lane == 1, c1, np.where(lane == 2, c2, c3)))
    return np.broadcast_to((bits >> np.uint64(8)).astype(np.float32) * F(2.0**-24), shape)

)";
  return head + functions + tail;
}

std::string numpy_group(std::string_view name, const Tape& tape, const Shape& shape) {
  std::string parameters;
  for (int k = 0; k < tape.inputs; ++k) parameters += fmt::format("{}x{}", k == 0 ? "" : ", ", k);
  std::string dims;
  for (const int64_t dim : shape) dims += fmt::format("{}, ", dim);
  std::string out =
      fmt::format("\n@np.errstate(all=\"ignore\")\ndef {}({}):\n    shape = ({})\n", name, parameters, dims);
  for (size_t r = 0; r < tape.code.size(); ++r) {
    out += fmt::format("    r{} = {}\n", r, expression(tape, tape.code[r]));
  }
  std::string results;
  for (const int32_t r : tape.outputs) {
    results += fmt::format("np.broadcast_to(r{}, shape).astype({}), ", r,
                           numpy_type(tape.code[static_cast<size_t>(r)].type));
  }
  return out + "    return (" + results + ")\n";
}

}  // namespace floe
