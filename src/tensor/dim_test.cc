#include "tensor/dim.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/temp_folder_for_test.h"

namespace floe {
namespace {

using testing::AllOf;
using testing::HasSubstr;

const Dim B = Dim::symbol("B");
const Dim S = Dim::symbol("S");

TEST(Dim, EqualPolynomialsHaveOneForm) {
  EXPECT_EQ(B * S + 3, 3 + S * B);
  EXPECT_EQ((B + 1) * (B - 1), B * B - 1);
  EXPECT_EQ(B - B, 0);
  EXPECT_NE(B, S);
  EXPECT_NE(B * 2, B * 3);
  EXPECT_EQ((Dim(2) * B * S + 3).text(), "2*B*S + 3");
  EXPECT_EQ((3 - B).text(), "-B + 3");
  EXPECT_EQ(Dim(0).text(), "0");
  EXPECT_EQ(text_of(Dims{B, S, 512}), "[B, S, 512]");
  EXPECT_EQ(product({B, 2, S}), S * B * 2);
  EXPECT_EQ(product({}), 1);
}

TEST(Dim, KnowsConstantsAndPlainSymbols) {
  EXPECT_TRUE((B - B + 4).is_constant());
  EXPECT_EQ((B - B + 4).constant(), 4);
  EXPECT_EQ(Dim().constant(), 0);
  EXPECT_THAT(refusal(ErrorKind::bug, [] { (void)B.constant(); }), HasSubstr("size B is not a number"));
  std::string_view name;
  EXPECT_TRUE(S.is_symbol(&name));
  EXPECT_EQ(name, "S");
  EXPECT_FALSE((S * 2).is_symbol());
  EXPECT_FALSE((S * S).is_symbol());
  EXPECT_FALSE((S + 1).is_symbol());
  EXPECT_FALSE(floor_div(S, 2).is_symbol());
  std::vector<std::string> names;
  (B * floor_div(S + 1, 2) + B).collect_symbols(&names);
  EXPECT_THAT(names, testing::UnorderedElementsAre("B", "S"));
}

TEST(Dim, ADivisionWithoutRemainderByFormIsExact) {
  EXPECT_EQ(floor_div(2 * B * S, B), 2 * S);
  EXPECT_EQ(floor_div(4 * B + 8, 4), B + 2);
  EXPECT_EQ(floor_div(6 * B, -2), -3 * B);
  EXPECT_EQ(modulo(4 * B + 8, 4), 0);
  EXPECT_EQ(floor_div(0, B), 0);
  EXPECT_EQ(floor_div(B + 1, 2).text(), "floordiv(B + 1, 2)");
  EXPECT_EQ(modulo(B * S, S + 1).text(), "mod(B*S, S + 1)");
  EXPECT_NE(floor_div(B, 2) * 2, B);
}

TEST(Dim, DivisionAndRemainderRoundDownAsInPython) {
  const std::pair<int64_t, int64_t> cases[] = {{7, 2}, {-7, 2}, {7, -2}, {-7, -2},
                                               {6, 3}, {-6, 3}, {0, 5},  {-1, 8}};
  const std::pair<int64_t, int64_t> right[] = {{3, 1}, {-4, 1}, {-4, -1}, {3, -1},
                                               {2, 0}, {-2, 0}, {0, 0},   {-1, 7}};
  for (size_t i = 0; i < std::size(cases); ++i) {
    const auto [a, b] = cases[i];
    EXPECT_EQ(floor_div(a, b), right[i].first) << a << " / " << b;
    EXPECT_EQ(modulo(a, b), right[i].second) << a << " % " << b;
    const Binding binding{{"B", a}, {"S", b}};
    EXPECT_EQ(floor_div(B, S).evaluate(binding), right[i].first) << a << " / " << b;
    EXPECT_EQ(modulo(B, S).evaluate(binding), right[i].second) << a << " % " << b;
  }
  EXPECT_THAT(refusal(ErrorKind::user, [] { floor_div(B, 0); }), HasSubstr("size B divided by zero"));
  EXPECT_THAT(refusal(ErrorKind::user, [] { modulo(B, S - S); }), HasSubstr("size B divided by zero"));
  EXPECT_THAT(refusal(ErrorKind::user, [] { floor_div(B, S).evaluate({{"B", 1}, {"S", 0}}); }),
              HasSubstr("size floordiv(B, S) divides by zero"));
}

TEST(Dim, ValuesPast64BitsAreRefusedAndNeverWrap) {
  const Dim huge(INT64_MAX);
  for (const Dim& dim : {huge, Dim(-INT64_MAX), huge * B - INT64_MAX}) EXPECT_EQ(Dim::parse(dim.text()), dim);
  const char* message = "does not fit 64 bits";
  EXPECT_THAT(refusal(ErrorKind::user, [&] { (void)(huge + 1); }), HasSubstr(message));
  EXPECT_THAT(refusal(ErrorKind::user, [&] { (void)(huge * B * 2); }), HasSubstr(message));
  EXPECT_THAT(refusal(ErrorKind::user, [&] { (void)(Dim(-INT64_MAX) - 1); }), HasSubstr(message));
  EXPECT_THAT(refusal(ErrorKind::user, [&] { (void)Dim(INT64_MIN); }), HasSubstr(message));
  const Binding large{{"B", INT64_C(1) << 62}, {"S", INT64_MIN}};
  EXPECT_THAT(refusal(ErrorKind::user, [&] { (void)(B * 2).evaluate(large); }),
              AllOf(HasSubstr("2*B"), HasSubstr(message)));
  EXPECT_THAT(refusal(ErrorKind::user, [&] { (void)(B + B * B).evaluate(large); }), HasSubstr(message));
  EXPECT_THAT(
      refusal(ErrorKind::user, [&] { (void)floor_div(S, -1 * B).evaluate({{"B", 1}, {"S", INT64_MIN}}); }),
      HasSubstr(message));
  EXPECT_EQ(modulo(S, B - 3).evaluate({{"B", 2}, {"S", INT64_MIN}}), 0);
}

TEST(Dim, EvaluateNamesTheSymbolThatHasNoValue) {
  EXPECT_EQ((B * S + 1).evaluate({{"B", 3}, {"S", 5}}), 16);
  EXPECT_EQ((B * S + 1).evaluate({{"B", 0}, {"S", 5}}), 1);
  EXPECT_THAT(refusal(ErrorKind::user, [] { (void)(B * S).evaluate({{"B", 3}}); }),
              HasSubstr("size B*S needs a value for 'S'"));
}

TEST(Dim, ParseRefusesWhatIsNoSizeAndSaysWhere) {
  EXPECT_EQ(Dim::parse(" 2 * B*S - -3 "), 2 * B * S + 3);
  const std::pair<const char*, const char*> cases[] = {{"", "a number or a name expected"},
                                                       {"2 B", "unexpected 'B'"},
                                                       {"B +", "a number or a name expected"},
                                                       {"max(B, S)", "unknown function 'max'"},
                                                       {"mod(B)", "',' expected"},
                                                       {"mod(B, S", "')' expected"},
                                                       {"(B)", "a number or a name expected"},
                                                       {"9223372036854775808", "too large"},
                                                       {"mod(B, 0)", "divided by zero"},
                                                       {"B/2", "unexpected '/2'"}};
  for (const auto& [text, message] : cases) {
    const char* size = text;  // clang 14 captures no structured binding
    EXPECT_THAT(refusal(ErrorKind::user, [&] { (void)Dim::parse(size); }), HasSubstr(message)) << size;
  }
  EXPECT_THAT(refusal(ErrorKind::user, [] { (void)Dim::parse(std::string(100'000, '-') + "1"); }),
              HasSubstr("nested too deeply"));
}

// A product of sums can double its terms with every factor; a text of a few hundred bytes must not eat the
// memory.
TEST(Dim, AProductWithTooManyTermsIsRefused) {
  std::string sum = "floordiv(2*a";
  for (char c = 'b'; c <= 'j'; ++c) sum += std::string(" + 2*") + c;
  sum += ", 2)";
  std::string product = sum;
  for (int i = 0; i < 12; ++i) product += "*" + sum;
  EXPECT_THAT(refusal(ErrorKind::user, [&] { (void)Dim::parse(product); }),
              HasSubstr("more than 4096 terms"));
}

// A random expression, built as a Dim and evaluated beside it in plain integers.
struct Random {
  std::mt19937 engine{17};
  int below(int n) { return static_cast<int>(engine() % static_cast<unsigned>(n)); }

  std::pair<Dim, int64_t> expression(int depth, const Binding& binding) {
    static const char* const kNames[] = {"B", "S", "a_1"};
    if (depth == 0) {
      if (below(3) == 0) {
        const int64_t value = below(21) - 10;
        return {Dim(value), value};
      }
      const char* name = kNames[below(3)];
      return {Dim::symbol(name), binding.find(name)->second};
    }
    const auto [x, x_value] = expression(depth - 1, binding);
    const auto [y, y_value] = expression(below(depth), binding);
    switch (below(5)) {
      case 0:
        return {x + y, x_value + y_value};
      case 1:
        return {x - y, x_value - y_value};
      case 2:
        return {x * y, x_value * y_value};
      default:
        break;
    }
    const int64_t by = below(7) + 1;
    const int64_t rest = ((x_value % by) + by) % by;
    if (below(2) == 0) return {modulo(x, by), rest};
    return {floor_div(x, by), (x_value - rest) / by};
  }
};

TEST(Dim, RandomExpressionsEvaluatePrintAndParseRight) {
  Random random;
  for (int round = 0; round < 3'000; ++round) {
    const Binding binding{{"B", random.below(9)}, {"S", random.below(40)}, {"a_1", random.below(5) + 1}};
    const auto [dim, value] = random.expression(round % 5, binding);
    EXPECT_EQ(dim.evaluate(binding), value) << dim.text();
    EXPECT_EQ(Dim::parse(dim.text()), dim) << dim.text();
    EXPECT_EQ(Dim::parse(dim.text()).text(), dim.text());
  }
}

TEST(Dim, RandomBytesParseOrAreRefused) {
  std::mt19937 engine(5);
  const std::string letters = "BS12+-* (),modflrdiv_";
  int parsed = 0;
  for (int round = 0; round < 50'000; ++round) {
    std::string text;
    for (unsigned n = engine() % 24; n > 0; --n) text += letters[engine() % letters.size()];
    try {
      const Dim dim = Dim::parse(text);
      ++parsed;
      EXPECT_EQ(Dim::parse(dim.text()), dim) << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::user) << text;
    }
  }
  EXPECT_GT(parsed, 100);
}

TEST(SymbolTable, BoundsDecideOrLeaveItOpen) {
  SymbolTable table;
  table.declare("B", {.min = 1, .max = 64});
  table.declare("S", {.min = 0, .max = 128, .multiple = 8});
  EXPECT_EQ(table.equal(B + 1, 1 + B), Known::yes);
  EXPECT_EQ(table.equal(B, B + 1), Known::no);
  EXPECT_EQ(table.equal(B, 65), Known::no);
  EXPECT_EQ(table.equal(B, 64), Known::unknown);
  EXPECT_EQ(table.equal(B, S), Known::unknown);
  EXPECT_EQ(table.less_equal(B, 64), Known::yes);
  EXPECT_EQ(table.less_equal(65, B), Known::no);
  EXPECT_EQ(table.less_equal(B, S), Known::unknown);
  EXPECT_EQ(table.less_equal(B, B * B), Known::unknown)
      << "B is not known to be the same on both sides of a range";
  EXPECT_EQ(table.less_equal(floor_div(S, 8), 16), Known::yes);
  EXPECT_EQ(table.less_equal(modulo(B, 8), 7), Known::yes);
  EXPECT_EQ(table.less_equal(modulo(B, 8), 6), Known::unknown);
  EXPECT_EQ(table.range(-2 * B + 3).min, -125);
  EXPECT_EQ(table.range(-2 * B + 3).max, 1);
}

TEST(SymbolTable, MultiplesDecideToo) {
  SymbolTable table;
  table.declare("S", {.min = 0, .max = 128, .multiple = 8});
  EXPECT_EQ(table.equal(modulo(S, 8), 0), Known::yes);
  EXPECT_EQ(table.equal(modulo(S + 16, 4), 0), Known::yes);
  EXPECT_EQ(table.equal(modulo(S + 1, 8), 0), Known::unknown);
  EXPECT_EQ(table.equal(modulo(S, 16), 0), Known::unknown);
  EXPECT_EQ(table.equal(S, 12), Known::no);
  EXPECT_EQ(table.equal(S, 16), Known::unknown);
  EXPECT_EQ(table.equal(2 * S * B, 8), Known::no);
}

TEST(SymbolTable, AnInconclusiveComparisonIsAnErrorThatNamesBothSides) {
  SymbolTable table;
  table.declare("B", {.min = 1, .max = 64});
  EXPECT_TRUE(table.decide_equal(B, B, "matmul"));
  EXPECT_FALSE(table.decide_equal(B, 0, "matmul"));
  EXPECT_EQ(refusal(ErrorKind::user, [&] { table.decide_equal(B, S + 1, "matmul"); }),
            "[matmul] cannot tell whether B == S + 1");
}

TEST(SymbolTable, ZeroTimesSomethingUnboundedIsZero) {
  SymbolTable table;
  table.declare("Z", {.min = 0, .max = 0});
  const Dim z = Dim::symbol("Z");
  const Dim unbounded = floor_div(B, S);  // S may be 0: no bound is known
  EXPECT_EQ(table.range(z * unbounded).min, 0);
  EXPECT_EQ(table.range(z * unbounded).max, 0);
  EXPECT_EQ(table.less_equal(B * unbounded, 10), Known::unknown);
  EXPECT_EQ(table.less_equal(0, B * unbounded), Known::unknown);
}

TEST(SymbolTable, SumsThatADoubleRoundsAreNotTakenForKnown) {
  SymbolTable table;
  table.declare("X", {.min = INT64_C(1) << 40, .max = INT64_C(1) << 40});
  const Dim x = Dim::symbol("X");
  // X*X is exactly 2^80; 2^80 - 1 is smaller, but a double cannot tell.
  EXPECT_NE(table.less_equal(x * x, x * x * x * 0 + x * x - 1), Known::yes);
  const Dim y = x * (INT64_C(1) << 14);  // 2^54
  EXPECT_NE(table.less_equal(y, (INT64_C(1) << 54) - 1), Known::yes);
}

TEST(SymbolTable, RangesHoldEveryValueOfRandomExpressions) {
  SymbolTable table;
  table.declare("B", {.min = 0, .max = 8});
  table.declare("S", {.min = 0, .max = 40, .multiple = 4});
  table.declare("a_1", {.min = 1, .max = 5});
  Random random;
  for (int round = 0; round < 3'000; ++round) {
    const Binding binding{{"B", random.below(9)}, {"S", random.below(11) * 4}, {"a_1", random.below(5) + 1}};
    const auto [dim, value] = random.expression(round % 5, binding);
    const SymbolTable::Range range = table.range(dim);
    EXPECT_LE(range.min, static_cast<double>(value)) << dim.text();
    EXPECT_GE(range.max, static_cast<double>(value)) << dim.text();
    EXPECT_NE(table.equal(dim, value), Known::no) << dim.text();
    EXPECT_NE(table.less_equal(dim, value), Known::no) << dim.text();
    EXPECT_NE(table.equal(dim, value + 1), Known::yes) << dim.text();
  }
}

TEST(SymbolTable, RefusesImpossibleOrContradictingDeclarations) {
  SymbolTable table;
  table.declare("B", {.min = 1, .max = 64});
  table.declare("B", {.min = 1, .max = 64});
  EXPECT_THAT(refusal(ErrorKind::user, [&] { table.declare("B"); }),
              HasSubstr("dim 'B' is declared twice with other bounds"));
  EXPECT_THAT(refusal(ErrorKind::user, [&] { table.declare("C", {.min = 5, .max = 4}); }),
              HasSubstr("dim 'C': bounds 5..4"));
  EXPECT_THAT(refusal(ErrorKind::user, [&] { table.declare("C", {.multiple = 0}); }),
              HasSubstr("multiple 0"));
  EXPECT_FALSE(table.has("C"));
  SymbolTable other;
  other.declare("B", {.min = 2, .max = 64});
  EXPECT_THAT(refusal(ErrorKind::user, [&] { table.merge(other); }), HasSubstr("'B'"));
}

TEST(SymbolTable, ChecksABindingAgainstBoundsAndMultiples) {
  SymbolTable table;
  table.declare("S", {.min = 8, .max = 128, .multiple = 8});
  table.check({{"S", 16}, {"unknown", -1}});
  table.check({});
  EXPECT_EQ(refusal(ErrorKind::user, [&] { table.check({{"S", 136}}); }), "dim 'S' = 136 is outside 8..128");
  EXPECT_EQ(refusal(ErrorKind::user, [&] { table.check({{"S", 0}}); }), "dim 'S' = 0 is outside 8..128");
  EXPECT_EQ(refusal(ErrorKind::user, [&] { table.check({{"S", 12}}); }),
            "dim 'S' = 12 is not a multiple of 8");
}

}  // namespace
}  // namespace floe
