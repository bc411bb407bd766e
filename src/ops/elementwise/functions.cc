#include "ops/elementwise/functions.h"

#include <cmath>
#include <functional>
#include <numbers>

#include "base/error.h"

namespace floe {
namespace {

using Kind = ScalarFunction::Kind;
using E = ScalarExpr;
using Formula1 = std::function<E(E)>;
using Formula2 = std::function<E(E, E)>;

Tape tape1(const Formula1& f) {
  TapeBuilder t(1);
  t.result(f(t.input(0)));
  return t.take();
}
Tape tape2(const Formula2& f) {
  TapeBuilder t(2);
  t.result(f(t.input(0), t.input(1)));
  return t.take();
}
// Derivatives see the operands and the result.
Tape derivative1(const Formula2& f) { return tape2(f); }
Tape derivative2(const std::function<E(E, E, E)>& f) {
  TapeBuilder t(3);
  t.result(f(t.input(0), t.input(1), t.input(2)));
  return t.take();
}

ScalarFunction floating(const char* name, const Formula1& value, const Formula2& derivative) {
  return {name, 1, Kind::floating, tape1(value), {derivative1(derivative)}};
}
ScalarFunction arithmetic(const char* name, const Formula2& value, const std::function<E(E, E, E)>& by_a,
                          const std::function<E(E, E, E)>& by_b, Kind kind = Kind::arithmetic) {
  return {name, 2, kind, tape2(value), {derivative2(by_a), derivative2(by_b)}};
}
ScalarFunction primitive(const char* name, int arity, Kind kind) {
  ScalarOp op;
  FLOE_CHECK(find_scalar_op(name, &op), "no scalar op '{}'", name);
  TapeBuilder t(arity);
  t.result(t.emit(op, kind == Kind::compare || kind == Kind::logical ? DType::boolean : DType::f32, 0,
                  arity > 1 ? 1 : -1, arity > 2 ? 2 : -1));
  return {name, arity, kind, t.take(), {}};
}

E one(E x) { return x.tape->constant(1); }
E zero(E x) { return x.tape->constant(0); }
// At a tie max and min give each operand half of the gradient.
E share_of(E winner, E loser) {
  return select(less(loser, winner), one(winner),
                select(equal(loser, winner), winner.tape->constant(0.5), zero(winner)));
}
E sigmoid(E x) { return 1.0 / (1.0 + exp(-x)); }

constexpr double kInvSqrt2 = 1 / std::numbers::sqrt2;
const double kInvSqrt2Pi = 1 / std::sqrt(2 * std::numbers::pi);
const double kSqrt2OverPi = std::sqrt(2 / std::numbers::pi);
constexpr double kGeluCubic = 0.044715;  // Hendrycks and Gimpel, "Gaussian error linear units", 2016

std::vector<ScalarFunction> make_rows() {
  std::vector<ScalarFunction> rows;
  const auto a1 = [](E a, E, E) { return one(a); };
  rows.push_back(arithmetic("add", [](E a, E b) { return a + b; }, a1, a1));
  rows.push_back(arithmetic("sub", [](E a, E b) { return a - b; }, a1, [](E a, E, E) { return -one(a); }));
  rows.push_back(arithmetic(
      "mul", [](E a, E b) { return a * b; }, [](E, E b, E) { return b; }, [](E a, E, E) { return a; }));
  rows.push_back(arithmetic(
      "div", [](E a, E b) { return a / b; }, [](E, E b, E) { return 1.0 / b; },
      [](E, E b, E y) { return -y / b; }));
  rows.push_back(arithmetic(
      "max", [](E a, E b) { return max(a, b); }, [](E a, E b, E) { return share_of(a, b); },
      [](E a, E b, E) { return share_of(b, a); }));
  rows.push_back(arithmetic(
      "min", [](E a, E b) { return min(a, b); }, [](E a, E b, E) { return share_of(-a, -b); },
      [](E a, E b, E) { return share_of(-b, -a); }));
  rows.push_back(arithmetic(
      "pow", [](E a, E b) { return pow(a, b); }, [](E a, E b, E) { return b * pow(a, b - 1.0); },
      [](E a, E, E y) { return y * log(a); }, Kind::floating));
  rows.push_back({"neg", 1, Kind::arithmetic, tape1([](E x) { return -x; }), {derivative1([](E x, E) {
                    return -one(x);
                  })}});
  rows.push_back({"abs", 1, Kind::arithmetic, tape1([](E x) { return abs(x); }), {derivative1([](E x, E) {
                    return select(less(zero(x), x), one(x), select(less(x, zero(x)), -one(x), zero(x)));
                  })}});
  rows.push_back(primitive("floor", 1, Kind::arithmetic));
  rows.push_back(primitive("round", 1, Kind::arithmetic));
  rows.push_back(primitive("floordiv", 2, Kind::arithmetic));
  rows.push_back(primitive("rem", 2, Kind::arithmetic));
  for (const char* name : {"bit_and", "bit_or", "bit_xor", "shift_left", "shift_right"}) {
    rows.push_back(primitive(name, 2, Kind::integer));
  }

  rows.push_back(floating("exp", [](E x) { return exp(x); }, [](E, E y) { return y; }));
  rows.push_back(floating("log", [](E x) { return log(x); }, [](E x, E) { return 1.0 / x; }));
  rows.push_back(floating("sqrt", [](E x) { return sqrt(x); }, [](E, E y) { return 0.5 / y; }));
  rows.push_back(floating("tanh", [](E x) { return tanh(x); }, [](E, E y) { return 1.0 - y * y; }));
  rows.push_back(floating(
      "erf", [](E x) { return erf(x); },
      [](E x, E) { return (2 * kInvSqrt2Pi * std::numbers::sqrt2) * exp(-(x * x)); }));
  rows.push_back(floating("sin", [](E x) { return sin(x); }, [](E x, E) { return cos(x); }));
  rows.push_back(floating("cos", [](E x) { return cos(x); }, [](E x, E) { return -sin(x); }));
  rows.push_back(floating("rsqrt", [](E x) { return 1.0 / sqrt(x); }, [](E x, E y) { return -0.5 * y / x; }));
  rows.push_back(floating("square", [](E x) { return x * x; }, [](E x, E) { return 2.0 * x; }));
  rows.push_back(floating("sigmoid", [](E x) { return sigmoid(x); }, [](E, E y) { return y * (1.0 - y); }));
  // Of the result, not of the operand: what a product made before its relu need not be kept or made again.
  rows.push_back(floating(
      "relu", [](E x) { return max(x, zero(x)); },
      [](E, E y) { return select(less(zero(y), y), one(y), zero(y)); }));
  rows.push_back(floating(
      "silu", [](E x) { return x * sigmoid(x); },
      [](E x, E y) {
        const E s = sigmoid(x);
        return s + y * (1.0 - s);
      }));
  rows.push_back(floating(
      "gelu", [](E x) { return 0.5 * x * (1.0 + erf(kInvSqrt2 * x)); },
      [](E x, E) { return 0.5 * (1.0 + erf(kInvSqrt2 * x)) + kInvSqrt2Pi * x * exp(-0.5 * (x * x)); }));
  rows.push_back(floating(
      "gelu_tanh", [](E x) { return 0.5 * x * (1.0 + tanh(kSqrt2OverPi * (x + kGeluCubic * x * x * x))); },
      [](E x, E) {
        const E t = tanh(kSqrt2OverPi * (x + kGeluCubic * x * x * x));
        return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * (kSqrt2OverPi * (1.0 + 3 * kGeluCubic * x * x));
      }));

  for (const char* name : {"lt", "le", "eq", "ne"}) rows.push_back(primitive(name, 2, Kind::compare));
  for (const char* name : {"logical_and", "logical_or"}) rows.push_back(primitive(name, 2, Kind::logical));
  rows.push_back(primitive("logical_not", 1, Kind::logical));
  rows.push_back(primitive("select", 3, Kind::select));
  rows.push_back(primitive("cast", 1, Kind::cast));
  return rows;
}

}  // namespace

const std::vector<ScalarFunction>& scalar_functions() {
  static const std::vector<ScalarFunction> rows = make_rows();
  return rows;
}

const ScalarFunction* find_scalar_function(std::string_view name) {
  for (const ScalarFunction& row : scalar_functions()) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

}  // namespace floe
