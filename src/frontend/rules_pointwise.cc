// Element by element: arithmetic, comparisons, activations, casts.
#include <cmath>
#include <limits>

#include "frontend/onnx_call.h"
#include "frontend/onnx_tensor.h"
#include "frontend/onnx_values.h"
#include "ops/elementwise/elementwise.h"

namespace floe {
namespace {

using C = OnnxCall&;

constexpr double kInf = std::numeric_limits<double>::infinity();

Value fn(C c, const char* name, Value x) { return elementwise(c.b, name, {x}); }
Value fn(C c, const char* name, Value x, Value y) { return elementwise(c.b, name, {x, y}); }
Value num(C c, Value x, double value) { return like(c.b, x, value); }

template <const char* const& kName>
Values unary(C c) {
  return {fn(c, kName, c.x())};
}
template <const char* const& kName>
Values binary(C c) {
  if (c.integer("broadcast", 0) != 0) c.fail("the broadcasting of opsets below 7 is not supported");
  return {fn(c, kName, c.x(0), c.x(1))};
}
template <const char* const& kName>
Values swapped(C c) {
  return {fn(c, kName, c.x(1), c.x(0))};
}
template <const char* const& kName>
Values several(C c) {
  Value all = c.x(0);
  for (size_t k = 1; k < c.in.size(); ++k) all = fn(c, kName, all, c.x(k));
  return {all};
}

constexpr const char *kAbs = "abs", *kNeg = "neg", *kFloor = "floor", *kRound = "round", *kExp = "exp",
                     *kLog = "log", *kSqrt = "sqrt", *kTanh = "tanh", *kErf = "erf", *kSin = "sin",
                     *kCos = "cos", *kSigmoid = "sigmoid", *kNot = "logical_not", *kAdd = "add",
                     *kSub = "sub", *kMul = "mul", *kMax = "max", *kMin = "min", *kAnd = "logical_and",
                     *kOr = "logical_or", *kNe = "ne", *kEq = "eq", *kLt = "lt", *kLe = "le",
                     *kBitAnd = "bit_and", *kBitOr = "bit_or", *kBitXor = "bit_xor";

Values divide(C c) {
  const bool whole = !is_float(c.type().dtype);
  return {whole ? truncated_div(c.b, c.x(0), c.x(1)) : div(c.b, c.x(0), c.x(1))};
}

Values ceil(C c) { return {fn(c, "neg", fn(c, "floor", fn(c, "neg", c.x())))}; }

Values sign(C c) {
  const Value x = c.x(), zero = num(c, x, 0);
  if (c.type().dtype == DType::u8) return {fn(c, "min", x, num(c, x, 1))};
  const Value rest = select(c.b, fn(c, "lt", x, zero), num(c, x, -1), x);  // 0 and NaN stay
  return {select(c.b, fn(c, "lt", zero, x), num(c, x, 1), rest)};
}

Values reciprocal(C c) { return {div(c.b, num(c, c.x(), 1), c.x())}; }
Values relu(C c) {
  return {is_float(c.type().dtype) ? fn(c, "relu", c.x()) : fn(c, "max", c.x(), num(c, c.x(), 0))};
}
Values tan(C c) { return {div(c.b, fn(c, "sin", c.x()), fn(c, "cos", c.x()))}; }
Values softsign(C c) { return {div(c.b, c.x(), add(c.b, fn(c, "abs", c.x()), num(c, c.x(), 1)))}; }

// max(x, 0) + log(1 + e^-|x|), which no x overflows.
Value softplus_of(C c, Value x) {
  const Value tail = fn(c, "exp", fn(c, "neg", fn(c, "abs", x)));
  return add(c.b, fn(c, "max", x, num(c, x, 0)), fn(c, "log", add(c.b, tail, num(c, x, 1))));
}
Values softplus(C c) { return {softplus_of(c, c.x())}; }
Values mish(C c) { return {mul(c.b, c.x(), fn(c, "tanh", softplus_of(c, c.x())))}; }

Value elu_of(C c, Value x, double alpha, double scale_by, double divide_by) {
  const Value power = fn(c, "exp", scale(c.b, x, 1 / divide_by));
  const Value low = scale(c.b, sub(c.b, power, num(c, x, 1)), alpha * scale_by);
  return select(c.b, fn(c, "lt", x, num(c, x, 0)), low, scale_by == 1 ? x : scale(c.b, x, scale_by));
}
Values elu(C c) { return {elu_of(c, c.x(), c.number("alpha", 1), 1, 1)}; }
Values celu(C c) {
  const double alpha = c.number("alpha", 1);
  return {elu_of(c, c.x(), alpha, 1, alpha)};
}
Values selu(C c) {
  // Klambauer et al.: "Self-normalizing neural networks", 2017; as the standard prints them.
  return {elu_of(c, c.x(), c.number("alpha", 1.67326319217681884765625),
                 c.number("gamma", 1.05070102214813232421875), 1)};
}
Values leaky_relu(C c) {
  const Value x = c.x();
  return {select(c.b, fn(c, "lt", x, num(c, x, 0)), scale(c.b, x, c.number("alpha", 0.01)), x)};
}
Values prelu(C c) {
  const Value x = c.x();
  return {select(c.b, fn(c, "lt", x, num(c, x, 0)), mul(c.b, c.x(1), x), x)};
}
Values thresholded_relu(C c) {
  const Value x = c.x();
  return {select(c.b, fn(c, "lt", num(c, x, c.number("alpha", 1)), x), x, num(c, x, 0))};
}
Value hard_sigmoid_of(C c, double alpha, double beta) {
  return clamp(c.b, add(c.b, scale(c.b, c.x(), alpha), num(c, c.x(), beta)), 0, 1);
}
Values hard_sigmoid(C c) { return {hard_sigmoid_of(c, c.number("alpha", 0.2), c.number("beta", 0.5))}; }
Values hard_swish(C c) { return {mul(c.b, c.x(), hard_sigmoid_of(c, 1.0 / 6, 0.5))}; }
Value swish_of(C c, Value x, double alpha) {
  if (alpha == 1) return fn(c, "silu", x);
  return mul(c.b, x, fn(c, "sigmoid", scale(c.b, x, alpha)));
}
Values swish(C c) { return {swish_of(c, c.x(), c.number("alpha", 1))}; }
Values gelu(C c) {
  const std::string how = c.text("approximate", "none");
  if (how != "none" && how != "tanh") c.fail("approximate is none or tanh, not '{}'", how);
  return {fn(c, how == "tanh" ? "gelu_tanh" : "gelu", c.x())};
}
Values swiglu(C c) { return {mul(c.b, swish_of(c, c.x(0), c.number("alpha", 1)), c.x(1))}; }

Values is_nan(C c) { return {isnan(c.b, c.x())}; }
Values is_inf(C c) {
  const Value x = c.x();
  const Value up = fn(c, "eq", x, num(c, x, kInf)), down = fn(c, "eq", x, num(c, x, -kInf));
  const bool want_up = c.integer("detect_positive", 1) != 0, want_down = c.integer("detect_negative", 1) != 0;
  if (want_up && want_down) return {fn(c, "logical_or", up, down)};
  if (want_up || want_down) return {want_up ? up : down};
  return {fn(c, "logical_and", up, down)};  // nothing is both
}

// With the dividend's sign: C's fmod, of integers C's %.
Values modulo(C c) {
  const Value x = c.x(0), y = c.x(1);
  if (c.integer("fmod", 0) == 0) return {fn(c, "rem", x, y)};
  if (c.type().dtype == DType::u8) return {fn(c, "rem", x, y)};
  const Value rest = fn(c, "rem", fn(c, "abs", x), fn(c, "abs", y));
  return {select(c.b, fn(c, "lt", x, num(c, x, 0)), fn(c, "neg", rest), rest)};
}

// Whole exponents that are known become products, which are exact for integers.
Values power(C c) {
  const Value x = c.x(0), y = c.x(1);
  const DType dtype = c.type().dtype;
  const RefTensor* known = c.b.graph().is(y, "constant") ? c.known.numbers(y) : nullptr;
  if (known != nullptr && known->size() == 1 && c.rank(1) <= c.rank(0)) {
    const double e = known->number(0);
    if (e == 0.5 && is_float(dtype)) return {fn(c, "sqrt", x)};
    if (e >= 1 && e <= 16 && e == std::floor(e)) {
      Value all;
      Value square = x;
      for (auto rest = static_cast<int64_t>(e); rest > 0; rest /= 2) {
        if (rest % 2 == 1) all = all ? mul(c.b, all, square) : square;
        if (rest > 1) square = mul(c.b, square, square);
      }
      return {all};
    }
  }
  const DType wide = is_float(dtype) ? dtype : DType::f32;
  const Value raised = fn(c, "pow", cast(c.b, x, wide), cast(c.b, y, wide));
  if (is_float(dtype)) return {raised};
  const bool whole = !is_float(c.type(1).dtype);  // then f32 only strays by its rounding
  return {cast(c.b, whole ? fn(c, "round", raised) : raised, dtype)};
}

Values mean(C c) {
  Value all = c.x(0);
  for (size_t k = 1; k < c.in.size(); ++k) all = add(c.b, all, c.x(k));
  return {div(c.b, all, num(c, all, static_cast<double>(c.in.size())))};
}

Values clip(C c) {
  Value x = c.x();
  const auto bound = [&](size_t i, const char* name, double otherwise) {
    if (c.has(i)) return c.x(i);
    return c.attribute(name) != nullptr ? num(c, x, c.number(name, otherwise)) : Value{};
  };
  const Value low = bound(1, "min", -kInf), high = bound(2, "max", kInf);
  if (low) x = fn(c, "max", x, low);
  if (high) x = fn(c, "min", x, high);
  return {x};
}

Values where(C c) { return {select(c.b, c.x(0), c.x(1), c.x(2))}; }
Values identity(C c) { return {c.x()}; }
Values cast_to(C c) { return {cast(c.b, c.x(), dtype_of_onnx(static_cast<int32_t>(c.integer("to", 0))))}; }
Values cast_like(C c) { return {cast(c.b, c.x(0), c.type(1).dtype)}; }
Values bit_not(C c) { return {sub(c.b, num(c, c.x(), -1), c.x())}; }
Values bit_shift(C c) {
  const std::string direction = c.text("direction", "");
  if (direction != "LEFT" && direction != "RIGHT") c.fail("direction is LEFT or RIGHT, not '{}'", direction);
  return {fn(c, direction == "LEFT" ? "shift_left" : "shift_right", c.x(0), c.x(1))};
}

// Without training, or with a ratio of 0, what comes in goes out, and nothing is masked.
Values dropout(C c) {
  const bool training = c.has(2) && c.scalar(c.in[2], "training_mode") != 0;
  if (training && (!c.has(1) || c.scalar(c.in[1], "ratio") != 0))
    c.fail("random numbers of training mode are not ONNX's to compare with");
  const Value yes = c.b.scalar(1, DType::boolean);
  Value mask;
  if (c.wants(1)) {
    mask = c.b.add("broadcast", {yes}, {{"dims", c.type().dims}});
    if (c.opset < 10) mask = cast(c.b, mask, c.type().dtype);
  }
  return {c.x(), mask};
}

}  // namespace

void add_onnx_pointwise(OnnxRules& rules) {
  const OnnxRules mine = {
      {"Abs", unary<kAbs>},
      {"Neg", unary<kNeg>},
      {"Floor", unary<kFloor>},
      {"Round", unary<kRound>},
      {"Exp", unary<kExp>},
      {"Log", unary<kLog>},
      {"Sqrt", unary<kSqrt>},
      {"Tanh", unary<kTanh>},
      {"Erf", unary<kErf>},
      {"Sin", unary<kSin>},
      {"Cos", unary<kCos>},
      {"Sigmoid", unary<kSigmoid>},
      {"Not", unary<kNot>},
      {"Add", binary<kAdd>},
      {"Sub", binary<kSub>},
      {"Mul", binary<kMul>},
      {"Div", divide},
      {"And", binary<kAnd>},
      {"Or", binary<kOr>},
      {"Xor", binary<kNe>},
      {"Equal", binary<kEq>},
      {"Less", binary<kLt>},
      {"LessOrEqual", binary<kLe>},
      {"Greater", swapped<kLt>},
      {"GreaterOrEqual", swapped<kLe>},
      {"BitwiseAnd", binary<kBitAnd>},
      {"BitwiseOr", binary<kBitOr>},
      {"BitwiseXor", binary<kBitXor>},
      {"BitwiseNot", bit_not},
      {"BitShift", bit_shift},
      {"Max", several<kMax>},
      {"Min", several<kMin>},
      {"Sum", several<kAdd>},
      {"Mean", mean},
      {"Ceil", ceil},
      {"Sign", sign},
      {"Reciprocal", reciprocal},
      {"Relu", relu},
      {"Tan", tan},
      {"Softsign", softsign},
      {"Softplus", softplus},
      {"Mish", mish},
      {"Elu", elu},
      {"Celu", celu},
      {"Selu", selu},
      {"LeakyRelu", leaky_relu},
      {"PRelu", prelu},
      {"ThresholdedRelu", thresholded_relu},
      {"HardSigmoid", hard_sigmoid},
      {"HardSwish", hard_swish},
      {"Swish", swish},
      {"Gelu", gelu},
      {"SwiGLU", swiglu},
      {"IsNaN", is_nan},
      {"IsInf", is_inf},
      {"Mod", modulo},
      {"Pow", power},
      {"Clip", clip},
      {"Where", where},
      {"Identity", identity},
      {"Cast", cast_to},
      {"CastLike", cast_like},
      {"Dropout", dropout},
  };
  rules.insert(mine.begin(), mine.end());
}

}  // namespace floe
