#include "ops/group/group.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "device/cpu/thread_pool.h"
#include "ops/all.h"
#include "ops/broadcast/broadcast.h"
#include "ops/dropout/dropout.h"
#include "ops/elementwise/elementwise.h"
#include "ops/elementwise/functions.h"
#include "ops/group/lower.h"
#include "tensor/philox.h"
#include "testing/group_case.h"
#include "testing/op_case.h"

namespace floe {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

struct Body {
  std::shared_ptr<Graph> graph = std::make_shared<Graph>(all_ops(), "group");
  Builder b{*graph};
  Value input(const char* name, Dims dims, DType type = DType::f32) {
    return b.input(name, {type, std::move(dims)});
  }
};

Tensor ramp(Shape shape, double from, double step) {
  Tensor tensor(DType::f32, std::move(shape));
  for (int64_t i = 0; i < tensor.size(); ++i) tensor.set(i, from + step * static_cast<double>(i));
  return tensor;
}

CaseInput operand(const ScalarFunction& row, int i, const Shape& shape) {
  if (row.kind == ScalarFunction::Kind::logical || (row.kind == ScalarFunction::Kind::select && i == 0)) {
    return CaseInput::integers(shape, 0, 2, DType::boolean);
  }
  if (row.kind == ScalarFunction::Kind::integer) return CaseInput::integers(shape, -70, 70);
  const bool positive = row.name == "log" || row.name == "sqrt" || row.name == "rsqrt" || row.name == "pow";
  return positive ? CaseInput::uniform(shape, 0.1, 3) : CaseInput::normal(shape);
}

Attrs attrs_of(const ScalarFunction& row) {
  return row.name == "cast" ? Attrs{{"dtype", DType::i32}} : Attrs{};
}

TEST(GroupOnCpu, RunsEveryScalarFunctionOnOddShapes) {
  for (const ScalarFunction& row : scalar_functions()) {
    for (const Shape& shape : {Shape{}, Shape{1}, Shape{7}, Shape{3, 171}, Shape{2, 3, 521}, Shape{0, 4}}) {
      OpCase c{row.name, {}, attrs_of(row)};
      for (int i = 0; i < row.arity; ++i) c.inputs.push_back(operand(row, i, shape));
      SCOPED_TRACE(row.name + " " + text_of(shape));
      check_kernel(c);
    }
  }
}

TEST(GroupOnCpu, BroadcastsOperandsLikeNumPy) {
  const std::vector<std::vector<Shape>> shapes = {{{5, 700}, {700}},
                                                  {{5, 700}, {5, 1}},
                                                  {{5, 700}, {}},
                                                  {{4, 1, 3}, {5, 1}},
                                                  {{2, 3, 4}, {3, 1}},
                                                  {{70000, 3}, {3}},
                                                  {{3, 1, 1030}, {1, 4, 1}},
                                                  {{2, 1, 3, 1, 5}, {4, 1, 2, 1}},
                                                  {{1, 1}, {1}},
                                                  {{0, 3}, {3}},
                                                  {{3, 0}, {3, 1}},
                                                  {{600, 1}, {1, 600}}};
  for (const auto& pair : shapes) {
    SCOPED_TRACE(text_of(pair[0]) + text_of(pair[1]));
    check_kernel({"sub", {CaseInput::normal(pair[0]), CaseInput::normal(pair[1])}, {}});
    check_kernel({"sub", {CaseInput::normal(pair[1]), CaseInput::normal(pair[0])}, {}});
  }
  check_kernel({"broadcast", {CaseInput::normal({3, 1})}, {{"dims", Dims{2, 3, 5}}}});
  check_kernel({"broadcast", {CaseInput::integers({}, 0, 2, DType::boolean)}, {{"dims", Dims{1000}}}});
}

TEST(GroupOnCpu, GivesTheReferenceOnNonFiniteOperands) {
  const std::vector<double> special = {kNan, kInf, -kInf, 0.0, -0.0, 1.0, -1.0, 2.5};
  const auto n = static_cast<int64_t>(special.size());
  for (const ScalarFunction& row : scalar_functions()) {
    if (row.kind == ScalarFunction::Kind::logical || row.kind == ScalarFunction::Kind::integer) continue;
    OpCase c{row.name, {}, row.name == "cast" ? Attrs{{"dtype", DType::boolean}} : Attrs{}};
    for (int i = 0; i < row.arity; ++i) {
      const Shape shape = i == row.arity - 1 ? Shape{n} : Shape{n, 1};
      c.inputs.push_back(row.kind == ScalarFunction::Kind::select && i == 0
                             ? operand(row, 0, shape)
                             : CaseInput::of(Tensor::from_doubles(DType::f32, shape, special)));
    }
    SCOPED_TRACE(row.name);
    check_kernel(c);
  }
}

TEST(GroupOnCpu, ChoosesByMaskAndKeepsWhatTheMaskKeeps) {
  // where(x != x, 0, x) of NaN and inf.
  Body g;
  const Value x = g.input("x", {2});
  g.b.output("y", select(g.b, elementwise(g.b, "ne", {x, x}), like(g.b, x, 0), x));
  Tensor in = Tensor::from_doubles(DType::f32, {2}, {kNan, kInf});
  const Tensor y = std::move(run_group_body(*g.graph, {&in})[0]);
  EXPECT_EQ(y.at(0), 0);
  EXPECT_EQ(y.at(1), kInf);
}

TEST(GroupOnCpu, ComputesIntegersExactly) {
  for (const DType type : {DType::i8, DType::u8, DType::i32, DType::i64}) {
    for (const char* name : {"add", "sub", "mul", "max", "min", "lt", "le", "eq", "ne", "bit_and", "bit_or",
                             "bit_xor", "shift_left", "shift_right"}) {
      SCOPED_TRACE(std::string(name) + " " + std::string(name_of(type)));
      const int64_t low = type == DType::u8 ? 0 : -100;
      check_kernel(
          {name,
           {CaseInput::integers({3, 211}, low, 100, type), CaseInput::integers({211}, low, 100, type)},
           {}});
    }
    for (const char* name : {"floordiv", "rem"}) {
      check_kernel(
          {name, {CaseInput::integers({3, 211}, 0, 100, type), CaseInput::integers({211}, 1, 9, type)}, {}});
    }
    for (const DType to : {DType::f32, DType::boolean, DType::i8, DType::u8, DType::i32, DType::i64}) {
      check_kernel({"cast", {CaseInput::integers({777}, 0, 3, type)}, {{"dtype", to}}});
      check_kernel({"cast", {CaseInput::integers({777}, 0, 2, DType::boolean)}, {{"dtype", to}}});
      check_kernel({"cast", {CaseInput::uniform({777}, -300, 300)}, {{"dtype", to}}});
    }
  }
  for (const char* name : {"lt", "le", "eq", "ne"}) {
    check_kernel(
        {name,
         {CaseInput::integers({99}, 0, 2, DType::boolean), CaseInput::integers({99}, 0, 2, DType::boolean)},
         {}});
  }
}

TEST(GroupOnCpu, WrapsIntegersAndRefusesDivisionByZero) {
  FLOE_NEEDS_CPU();
  const int32_t least = std::numeric_limits<int32_t>::min();
  const int32_t most = std::numeric_limits<int32_t>::max();
  check_kernel({"floordiv",
                {CaseInput::of(Tensor::from_ints({3}, {least, -7, 7})),
                 CaseInput::of(Tensor::from_ints({3}, {-1, 2, -2}))},
                {}});
  check_kernel({"rem",
                {CaseInput::of(Tensor::from_ints({3}, {least, -7, 7})),
                 CaseInput::of(Tensor::from_ints({3}, {-1, 2, -2}))},
                {}});
  check_kernel(
      {"add",
       {CaseInput::of(Tensor::from_ints({1}, {most})), CaseInput::of(Tensor::from_ints({1}, {most}))},
       {}});
  try {
    run_kernel({"floordiv",
                {CaseInput::of(Tensor::from_ints({1}, {1})), CaseInput::of(Tensor::from_ints({1}, {0}))},
                {}});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::user);
    EXPECT_STREQ(error.what(), "integer division by zero");
  }
}

TEST(GroupOnCpu, DividesFloatsAsPythonDoes) {
  const auto floats = [](const std::vector<float>& v) { return CaseInput::of(Tensor::from_floats({3}, v)); };
  const Tensor y =
      std::move(run_kernel({"floordiv", {floats({1, 0.5, 6}), floats({0.1f, 0.1f, 0.2f})}, {}})[0]);
  EXPECT_EQ(y.at(0), 9);
  EXPECT_EQ(y.at(1), 4);
  EXPECT_EQ(y.at(2), 29);
}

TEST(GroupOnCpu, DropsOutByTheSameMaskAsTheReference) {
  for (const Shape& shape : {Shape{3, 7}, Shape{2, 3, 5}, Shape{2, 5, 512}, Shape{2, 2, 1100},
                             Shape{2, 3, 4, 70}, Shape{1, 1, 1}, Shape{0, 3, 4}, Shape{70000, 2}}) {
    SCOPED_TRACE(text_of(shape));
    check_kernel({"dropout",
                  {CaseInput::normal(shape), CaseInput::integers({}, 0, 1 << 20),
                   CaseInput::integers({shape[0]}, 0, 1 << 20)},
                  {{"p", 0.25}, {"op_id", int64_t{9}}}});
    Dims dims;
    for (const int64_t dim : shape) dims.emplace_back(dim);
    check_kernel({"uniform",
                  {CaseInput::integers({}, -5, 1 << 20), CaseInput::integers({shape[0]}, 0, 1 << 20)},
                  {{"dims", dims}, {"op_id", int64_t{1} << 31}}});
  }
}

// y0 = relu(x + bias) * s; y1 = x - y0; y2 = x < y0: several results, shared values, every kind of
// broadcasting.
std::shared_ptr<Graph> several_results(int64_t rows, int64_t d) {
  Body g;
  const Value x = g.input("x", {rows, d});
  const Value bias = g.input("bias", {d});
  const Value s = g.input("s", {rows, 1});
  const Value y0 = mul(g.b, elementwise(g.b, "relu", {add(g.b, x, bias)}), s);
  g.b.output("y0", y0);
  g.b.output("y1", sub(g.b, x, y0));
  g.b.output("y2", elementwise(g.b, "lt", {x, y0}));
  return g.graph;
}

TEST(GroupOnCpu, GivesSeveralResultsAlsoOverItsInputs) {
  for (const int64_t d : {1, 3, 300, 512, 1111}) {
    const int64_t rows = 37;
    const auto body = several_results(rows, d);
    Tensor x = ramp({rows, d}, -3, 0.01);
    Tensor bias = ramp({d}, 1, -0.02);
    Tensor s = ramp({rows, 1}, -1, 0.3);
    const std::vector<Tensor> apart = run_group_body(*body, {&x, &bias, &s}, 1);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t k = 0; k < d; ++k) {
        const int64_t i = r * d + k;
        const float sum = static_cast<float>(x.at(i)) + static_cast<float>(bias.at(k));
        const float y0 = std::max(sum, 0.0f) * static_cast<float>(s.at(r));
        ASSERT_EQ(apart[0].at(i), y0);
        ASSERT_EQ(apart[1].at(i), static_cast<float>(x.at(i)) - y0);
        ASSERT_EQ(apart[2].at(i), x.at(i) < y0 ? 1 : 0);
      }
    }
    for (const std::vector<int>& over : {std::vector<int>{0, -1, -1}, std::vector<int>{-1, 0, -1}}) {
      Tensor again = ramp({rows, d}, -3, 0.01);
      const std::vector<Tensor> shared = run_group_body(*body, {&again, &bias, &s}, 2, over);
      for (size_t k = 0; k < 3; ++k)
        EXPECT_EQ(std::memcmp(shared[k].data(), apart[k].data(), apart[k].bytes()), 0) << d;
    }
  }
}

TEST(GroupOnCpu, ReadsRowsWithStrides) {
  Body g;
  const Value x = g.input("x", {4, 6});
  g.b.output("y", scale(g.b, x, 2));
  Attrs attrs;
  attrs.set("tape", TapePtr(std::make_shared<Tape>(lower_group(*g.graph))));
  Tensor whole = ramp({4, 18}, 0, 1);
  Tensor y(DType::f32, {4, 6});
  View view(whole.as<float>() + 6, DType::f32, {4, 6});
  view.strides[0] = 18;
  const std::vector<View> in = {view}, out = {view_of(y)};
  const BoundKernel bound =
      kernels_of(DeviceKind::cpu).named(DeviceKind::cpu, "group.tiles").bind({attrs, in, out, 1});
  Tensor workspace(DType::u8, {static_cast<int64_t>(bound.workspace)});
  ThreadPool pool(1);
  bound.run({in, out, workspace.data(), &pool});
  for (int64_t i = 0; i < 24; ++i) {
    const int64_t from = i / 6 * 18 + 6 + i % 6;
    EXPECT_EQ(y.at(i), 2.0 * static_cast<double>(from));
  }
}

TEST(GroupOnCpu, GivesTheSameBitsForAnyNumberOfThreads) {
  const auto body = several_results(1000, 77);
  Tensor x = ramp({1000, 77}, -3, 0.01), bias = ramp({77}, 1, -0.02), s = ramp({1000, 1}, -1, 0.3);
  const std::vector<Tensor> one = run_group_body(*body, {&x, &bias, &s}, 1);
  const std::vector<Tensor> three = run_group_body(*body, {&x, &bias, &s}, 3);
  for (size_t k = 0; k < 3; ++k) EXPECT_EQ(std::memcmp(one[k].data(), three[k].data(), one[k].bytes()), 0);
}

TEST(GroupOnCpu, ComputesHalvesInFloatAndRoundsInCastsAndWhereItStores) {
  for (const DType type : {DType::bf16, DType::f16}) {
    Body g;
    const Value x = g.input("x", {5, 1}, type), y = g.input("y", {7}, type), wide = g.input("w", {5, 7});
    g.b.output("sum", add(g.b, x, y));
    g.b.output("cast", sub(g.b, cast(g.b, cast(g.b, wide, type), DType::f32), wide));
    Tensor in_x(type, {5, 1}), in_y(type, {7}), in_wide(DType::f32, {5, 7});
    for (int64_t i = 0; i < 5; ++i) in_x.set(i, 0.1 + static_cast<double>(i));
    for (int64_t i = 0; i < 7; ++i) in_y.set(i, 1.0 / (3 + static_cast<double>(i)));
    for (int64_t i = 0; i < 35; ++i) in_wide.set(i, 1.0 / (3 + static_cast<double>(i)));
    const std::vector<Tensor> got = run_group_body(*g.graph, {&in_x, &in_y, &in_wide});
    for (int64_t i = 0; i < 35; ++i) {
      EXPECT_EQ(got[0].at(i), round_to(type, static_cast<float>(in_x.at(i / 7) + in_y.at(i % 7))));
      EXPECT_EQ(got[1].at(i), static_cast<float>(round_to(type, in_wide.at(i)) - in_wide.at(i)));
    }
  }
}

TEST(Group, EvaluatesItsBody) {
  const auto body = several_results(2, 3);
  Graph graph(all_ops(), "g");
  Builder b(graph);
  const Values inputs = {b.input("x", {DType::f32, {2, 3}}), b.input("bias", {DType::f32, {3}}),
                         b.input("s", {DType::f32, {2, 1}})};
  const Values results = group(b, body, inputs);
  b.output("y1", results[1]);
  RefMap feeds = {{"x", ref_of(ramp({2, 3}, 1, 1))},
                  {"bias", ref_of(ramp({3}, 0, 0))},
                  {"s", ref_of(ramp({2, 1}, 2, 0))}};
  EXPECT_EQ(evaluate(graph, feeds, {}).outputs.at("y1").f, (std::vector<double>{-1, -2, -3, -4, -5, -6}));
}

TEST(Group, LowersSharedWorkOnceAndKeepsOrdinalsApart) {
  Body g;
  const Value x = g.input("x", {2, 2});
  const Value seed = g.input("seed", {}, DType::i32);
  const Value ordinals = g.input("ordinals", {2}, DType::i32);
  const Value keep = elementwise(g.b, "le", {g.b.scalar(0.5), uniform(g.b, seed, ordinals, {2, 2}, 4)});
  const Value shifted = add(g.b, x, cast(g.b, ordinals, DType::f32));  // aligned from the right here
  g.b.output("y", select(g.b, keep, shifted, shifted));
  const Tape tape = lower_group(*g.graph);
  EXPECT_EQ(text_of(tape),
            "r0 = constant 0.5 : f32\n"
            "r1 = input 1 : i32\n"
            "r2 = input 2 : i32\n"
            "r3 = uniform r1, r2 4 : f32\n"
            "r4 = le r0, r3 : bool\n"
            "r5 = input 2 : i32\n"
            "r6 = cast r5 : f32\n"
            "r7 = input 0 : f32\n"
            "r8 = add r7, r6 : f32\n"
            "r9 = select r4, r8, r8 : f32\n"
            "out r9\n");
}

TEST(Group, NamesTheResultsThatMayLieOverInputs) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  const Values inputs = {b.input("x", {DType::f32, {2, 3}}), b.input("bias", {DType::f32, {3}}),
                         b.input("s", {DType::f32, {2, 1}})};
  const Values results = group(b, several_results(2, 3), inputs);
  EXPECT_EQ(group_in_place(graph, graph.producer(results[0])),
            (std::vector<std::pair<int, int>>{{0, 0}, {1, 0}}));
}

std::string refusal(const std::function<void(Builder&)>& build) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  try {
    build(b);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Group, RefusesABodyThatDoesNotFit) {
  const auto body = several_results(2, 3);
  EXPECT_EQ(refusal([&](Builder& b) { b.add_all("group", {}); }), "[group] has no body");
  EXPECT_EQ(refusal([&](Builder& b) { group(b, body, {}); }), "[group] the body takes 3 inputs, got 0");
  EXPECT_EQ(refusal([&](Builder& b) {
              const Value x = b.input("x", {DType::f32, {3, 3}});
              group(b, body, {x, x, x});
            }),
            "[group] the body's input 'x' is f32[2, 3], got f32[3, 3]");
  Body shapes;
  const Value x = shapes.input("x", {2, 3});
  shapes.b.output("y", scale(shapes.b, x, 2));
  shapes.b.output("z", shapes.b.scalar(1));
  EXPECT_EQ(refusal([&](Builder& b) { group(b, shapes.graph, {b.input("x", {DType::f32, {2, 3}})}); }),
            "[group] results must have one shape, got f32[2, 3] and f32[]");
  Body sum;
  sum.b.output("y", sum.b.add("reduce_sum", {sum.input("x", {2, 3})}, {{"axes", std::vector<int64_t>{0}}}));
  EXPECT_EQ(refusal([&](Builder& b) { group(b, sum.graph, {b.input("x", {DType::f32, {2, 3}})}); }),
            "[group] 'reduce_sum' is no pointwise op");
}

}  // namespace
}  // namespace floe
