#include "compile/print_numpy.h"

#include <fmt/core.h>

#include "compile/numpy_scalar.h"
#include "kernel/cpu/scalar_math.h"

namespace floe {
namespace {

template <size_t N>
std::string list(const float (&coefficients)[N]) {
  std::string text;
  for (const float c : coefficients) text += fmt::format("{}{:.9g}", text.empty() ? "" : ", ", c);
  return "[" + text + "]";
}

// "r0 = x1", "r1 = r0 + r0", ...: a line for each register.
std::string registers(const Tape& tape) {
  std::string out;
  for (size_t r = 0; r < tape.code.size(); ++r) {
    const ScalarInstr& instr = tape.code[r];
    std::vector<std::string> operands;
    for (const int32_t operand : {instr.a, instr.b, instr.c}) {
      if (operand >= 0) operands.push_back(fmt::format("r{}", operand));
    }
    const std::string expression = instr.op == ScalarOp::input
                                       ? fmt::format("x{}", static_cast<int64_t>(instr.imm))
                                       : numpy_expression(tape, static_cast<int32_t>(r), operands, "shape");
    out += fmt::format("    r{} = {}\n", r, expression);
  }
  return out;
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


def _shift_left(a, b):
    return np.where((b < 0) | (b > 63), a.dtype.type(0), np.left_shift(a, b & a.dtype.type(63)))


def _shift_right(a, b):
    none = np.where(a < 0, np.zeros_like(a) - a.dtype.type(1), np.zeros_like(a))
    return np.where((b < 0) | (b > 63), none, np.right_shift(a, b & a.dtype.type(63)))


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

std::string numpy_function(std::string_view name, const Tape& tape) {
  std::string parameters;
  for (int k = 0; k < tape.inputs; ++k) parameters += fmt::format("{}x{}", k == 0 ? "" : ", ", k);
  return fmt::format("\n\ndef {}({}):\n{}    return r{}\n", name, parameters, registers(tape),
                     tape.outputs[0]);
}

std::string numpy_group(std::string_view name, const Tape& tape, const Shape& shape) {
  std::string parameters;
  for (int k = 0; k < tape.inputs; ++k) parameters += fmt::format("{}x{}", k == 0 ? "" : ", ", k);
  std::string dims;
  for (const int64_t dim : shape) dims += fmt::format("{}, ", dim);
  std::string out =
      fmt::format("\n@np.errstate(all=\"ignore\")\ndef {}({}):\n    shape = ({})\n", name, parameters, dims);
  out += registers(tape);
  std::string results;
  for (const int32_t r : tape.outputs) {
    results += fmt::format("np.broadcast_to(r{}, shape).astype({}), ", r,
                           numpy_type(tape.code[static_cast<size_t>(r)].type));
  }
  return out + "    return (" + results + ")\n";
}

}  // namespace floe
