// Every primitive that prints, in small graphs run from both printed forms against the reference evaluator;
// states; what the sources look like; what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/temp_folder_for_test.h"
#include "compile/print_cpp_graph.h"
#include "compile/print_numpy_graph.h"
#include "nn/transformer.h"
#include "ops/all.h"
#include "ops/broadcast/broadcast.h"
#include "ops/cache_append/cache_append.h"
#include "ops/concat/concat.h"
#include "ops/elementwise/elementwise.h"
#include "ops/embedding/embedding.h"
#include "ops/group/group.h"
#include "ops/iota/iota.h"
#include "ops/matmul/matmul.h"
#include "ops/reduce/reduce.h"
#include "ops/reshape/reshape.h"
#include "ops/rope/rope.h"
#include "ops/slice/slice.h"
#include "ops/softmax/softmax.h"
#include "ops/top_k/top_k.h"
#include "ops/transpose/transpose.h"
#include "testing/printed_case.h"
#include "testing/test_device.h"

namespace floe {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

struct Case {
  Graph graph{all_ops(), "small"};
  Builder b{graph};
  PrintedCase given;
  int64_t outputs = 0;

  Dim size(std::string_view name) { return graph.symbols().declare(name); }
  Value input(Tensor value, Dims dims) {
    const std::string name = "x" + std::to_string(given.inputs.size());
    const Value input = b.input(name, {value.dtype(), std::move(dims)});
    given.inputs[name] = share(std::move(value));
    return input;
  }
  Value normal(const Shape& shape, Dims dims) {
    return input(random_tensor(DType::f32, shape, given.inputs.size() + 1), std::move(dims));
  }
  void output(Value value) { b.output("y" + std::to_string(outputs++), value); }

  // Both printed forms. One rounding a node, a product's or a sum's terms in f32 where NumPy adds them so.
  void check(double ulps) {
    if (why_no_cpp().empty()) check_printed(graph, given, run_printed_cpp(graph, given), ulps, "C++");
    if (!why_no_numpy().empty()) return;
    const auto got = run_printed_numpy(graph, {given});
    ASSERT_EQ(got.size(), 1u);
    check_printed(graph, given, got[0], ulps, "NumPy");
  }
};

// Nothing of this is worth a green mark where neither can run.
#define FLOE_SKIP_WITHOUT_BOTH() \
  if (!why_no_cpp().empty() && !why_no_numpy().empty()) GTEST_SKIP() << why_no_cpp() << "; " << why_no_numpy()

// Moving elements and integers is exact.
void movement(int64_t n) {
  Case c;
  const Dim N = c.size("N");
  const Value x = c.normal({n, 3, 4}, {N, 3, 4}), y = c.normal({n, 2, 4}, {N, 2, 4});
  const Value joined = concat(c.b, {x, y, x}, 1);  // [N, 8, 4]
  c.output(joined);
  c.output(transpose(c.b, joined, {2, 0, 1}));
  c.output(slice(c.b, joined, 1, Dim(2), Dim(3)));
  c.output(reshape(c.b, slice(c.b, joined, 2, Dim(1), Dim(2)), {N, 16}));
  c.output(broadcast(c.b, reshape(c.b, x, {N, 1, 12}), {N, 5, 12}));
  c.output(iota(c.b, {N, 3}, 0, N * 2 + 1));
  const Value i = c.input(random_tensor(DType::i32, {n, 3}, 9, 1 << 30), {N, 3});
  c.output(reduce_sum(c.b, i, {1}, /*keep=*/true));  // wraps
  c.output(reduce_max(c.b, elementwise(c.b, "neg", {i}), {-1}, /*keep=*/false));
  c.output(reduce_max(c.b, x, {0, 2}, /*keep=*/true));
  c.output(add(c.b, i, iota(c.b, {Dim(1), Dim(3)}, 1, floor_div(N, 2) + modulo(N, 3))));
  Tensor wide(DType::i64, {3});
  for (int64_t k = 0; k < 3; ++k) wide.as<int64_t>()[k] = (INT64_C(1) << 62) + k * 7;
  c.output(add(c.b, c.b.constant(std::move(wide)), broadcast(c.b, c.b.scalar(5, DType::i64), {N, 3})));
  Tensor flags(DType::boolean, {4});
  flags.set(1, 1);
  c.output(select(c.b, c.b.constant(std::move(flags)), x, like(c.b, x, -1)));
  c.output(mul(c.b, x, c.b.constant(Tensor::from_doubles(DType::f32, {4}, {0.1, -INFINITY, NAN, 1e-40}))));
  c.check(/*ulps=*/1);
}

TEST(PrintedPrimitives, MoveElementsExactly) {
  FLOE_NEEDS_CPU();
  FLOE_SKIP_WITHOUT_BOTH();
  movement(2);
}

TEST(PrintedPrimitives, TakeSizesOfOneAndNone) {
  FLOE_NEEDS_CPU();
  FLOE_SKIP_WITHOUT_BOTH();
  movement(1);
  movement(0);
}

TEST(PrintedPrimitives, MultiplyInEveryForm) {
  FLOE_NEEDS_CPU();
  FLOE_SKIP_WITHOUT_BOTH();
  Case c;
  const Dim B = c.size("B");
  const Value a = c.normal({2, 3, 4, 5}, {B, 3, 4, 5}), at = c.normal({2, 3, 5, 4}, {B, 3, 5, 4});
  const Value w = c.normal({2, 3, 5, 6}, {B, 3, 5, 6}), wt = c.normal({2, 3, 6, 5}, {B, 3, 6, 5});
  const Value m = c.normal({5, 6}, {5, 6}), bias = c.normal({6}, {6});
  c.output(matmul(c.b, a, w));
  c.output(matmul(c.b, at, w, {.transpose_a = true}));
  c.output(matmul(c.b, a, wt, {.transpose_b = true}));
  c.output(matmul(c.b, at, wt, {.transpose_a = true, .transpose_b = true}));
  c.output(matmul(c.b, a, m, {.bias = bias, .activation = "gelu"}));
  c.output(matmul(c.b, slice(c.b, a, 3, Dim(1), Dim(2)), slice(c.b, w, 2, Dim(3), Dim(2))));
  // Five terms, a bias, seven instructions of gelu.
  c.check(/*ulps=*/16);
}

TEST(PrintedPrimitives, SumAndLookUp) {
  FLOE_NEEDS_CPU();
  FLOE_SKIP_WITHOUT_BOTH();
  Case c;
  const Dim B = c.size("B"), T = c.size("T");
  const Value x = c.normal({2, 3, 8}, {B, T, 8});
  const Value ids = c.input(random_tensor(DType::i32, {2, 3}, 5, 4), {B, T});
  c.output(c.b.add("sum_squares", {x}));
  c.output(c.b.add("sum_squares", {x, c.normal({5}, {5})}));
  c.output(reduce_sum(c.b, x, {0, 1}, /*keep=*/false));
  c.output(reduce_sum(c.b, x, {}, /*keep=*/false));
  c.output(embedding(c.b, c.normal({4, 6}, {4, 6}), ids));
  c.output(embedding_grad(c.b, ids, x, Dim(4)));
  c.output(softmax(c.b, x));
  const Value heads = reshape(c.b, x, {B, T, 2, 4});
  for (const bool interleaved : {false, true}) {
    const Value turned = rope(c.b, heads, ids, {.base = 100, .interleaved = interleaved});
    c.output(turned);
    c.output(rope(c.b, turned, ids, {.base = 100, .interleaved = interleaved, .inverse = true}));
  }
  c.check(/*ulps=*/16);
}

TEST(PrintedPrimitives, RankWithTiesAndNaN) {
  FLOE_NEEDS_CPU();
  FLOE_SKIP_WITHOUT_BOTH();
  const double inf = std::numeric_limits<double>::infinity();
  Case c;
  const Value x = c.input(Tensor::from_doubles(DType::f32, {3, 5},
                                               {2, 7, 2, 7, -1,          //
                                                NAN, -inf, NAN, 3, NAN,  //
                                                NAN, NAN, NAN, NAN, inf}),
                          {c.size("N"), 5});
  for (const int64_t k : {1, 4, 7}) {
    const TopK best = top_k(c.b, x, k);
    c.output(best.values);
    c.output(best.indices);
  }
  c.check(/*ulps=*/0);
}

TEST(PrintedPrimitives, UpdateStates) {
  FLOE_NEEDS_CPU();
  FLOE_SKIP_WITHOUT_BOTH();
  Case c;
  const Type type{DType::f32, {4}};
  const Value a = c.b.state("a", type), b = c.b.state("b", type), n = c.b.state("n", type);
  c.b.state("never read", type);
  uint64_t seed = 1;
  for (const char* name : {"a", "b", "n", "never read"})
    c.given.states[name] = share(random_tensor(DType::f32, {4}, seed++));
  c.b.update("a", b);  // a swap
  c.b.update("b", a);
  c.b.update("n", add(c.b, n, a));
  c.output(n);  // as it was
  const Value cache = c.b.state("cache", {DType::f32, {3, 2, 1, 2}});
  c.given.states["cache"] = share(random_tensor(DType::f32, {3, 2, 1, 2}, 7));
  const Value added = c.normal({2, 3, 1, 2}, {2, 3, 1, 2});
  const Value table = c.input(Tensor::from_ints({2, 2}, {2, 0, -1, 1}), {2, 2});
  const Value positions = c.input(Tensor::from_ints({2}, {0, 1}), {2});
  c.b.update("cache", cache_append(c.b, cache, added, table, positions));
  c.check(/*ulps=*/1);
}

TEST(PrintedPrimitives, SayThatAnIdIsOutsideItsTable) {
  FLOE_NEEDS_CPU();
  FLOE_SKIP_WITHOUT_BOTH();
  for (const int id : {-1, 4}) {
    Case c;
    const Value table = c.normal({4, 2}, {4, 2});
    c.output(embedding(c.b, table, c.input(Tensor::from_ints({2}, {3, id}), {2})));
    if (why_no_cpp().empty()) {
      int failed = 0;
      run_printed_cpp(c.graph, c.given, &failed);
      EXPECT_EQ(failed, 1);
    }
    if (!why_no_numpy().empty()) continue;
    std::string error;
    EXPECT_TRUE(run_printed_numpy(c.graph, {c.given}, &error).empty());
    EXPECT_THAT(error, EndsWith("IndexError: an id lies outside 0..3\n"));
  }
}

// What the NumPy file says after its preludes.
std::string numpy_body(const Graph& graph) {
  const std::string source = numpy_graph(graph);
  return source.substr(source.find("\n@np.errstate(all=\"ignore\")\ndef ") + 1);
}

void small_layer(Case* c) {
  const Dim B = c->size("B");
  const Value x = c->b.input("x", {DType::f32, {B, 3}});
  const Builder::Scope scope(c->b, "layer");
  const Value w = c->b.state("layer.w", {DType::f32, {2, 3}});
  const Value y = matmul(c->b, x, w, {.transpose_b = true, .activation = "relu"});
  c->b.output("y", scale(c->b, y, 0.1));
  c->b.update("layer.w", add(c->b, w, w));
}

TEST(PrintedNumPyGraph, ReadsLikePython) {
  FLOE_NEEDS_CPU();
  Case c;
  small_layer(&c);
  EXPECT_EQ(numpy_body(c.graph), R"(@np.errstate(all="ignore")
def small(inputs, states):
    B = inputs["x"].shape[0]
    v0 = _given(inputs, "x", np.float32, (B, 3))  # f32[B, 3]

    # layer
    v1 = _given(states, "layer.w", np.float32, (2, 3))  # f32[2, 3]
    v2 = v0 @ v1.swapaxes(-1, -2)  # f32[B, 2]
    v3 = relu(v2)  # f32[B, 2]
    v5 = v3 * np.float32(0.100000001)  # f32[B, 2]
    v6 = v1 + v1  # f32[2, 3]

    outputs = {
        "y": np.asarray(v5),
    }
    updated = {
        "layer.w": np.asarray(v6),
    }
    return outputs, {**states, **updated}
)");
}

TEST(PrintedCppGraph, ReadsLikeCode) {
  FLOE_NEEDS_CPU();
  Case c;
  small_layer(&c);
  const std::string source = cpp_graph(c.graph, {{"B", 4}});
  EXPECT_THAT(source, HasSubstr(R"(
static int step_1_matmul(const void* const* inputs, void* const* outputs) {
  const float* __restrict x0 = static_cast<const float*>(inputs[0]);
  const float* __restrict x1 = static_cast<const float*>(inputs[1]);
  float* __restrict y0 = static_cast<float*>(outputs[0]);
  for (long long i0 = 0; i0 < 4; ++i0) {
    for (long long i1 = 0; i1 < 2; ++i1) {
      double sum = 0;
      for (long long k = 0; k < 3; ++k) {
        sum += static_cast<double>(x0[i0 * 3 + k]) * x1[i1 * 3 + k];
      }
      y0[i0 * 2 + i1] = static_cast<float>(sum);
    }
  }
  return 0;
}
)"));
  EXPECT_THAT(source, HasSubstr(R"(
extern "C" int small(const void* const* inputs, void* const* states, void* const* outputs, void* scratch) {
  const char* const input_0 = static_cast<const char*>(inputs[0]);  // x f32[B, 3]
  char* const state_0 = static_cast<char*>(states[0]);  // layer.w f32[2, 3]
  // outputs[0]: y f32[B, 2]
  char* const arena = static_cast<char*>(scratch);

  // layer
  {
    const void* const in[] = {input_0, state_0};
    void* const out[] = {arena};
    if (step_1_matmul(in, out) != 0) return 1;
  }
)"));
}

TEST(PrintedNumPyGraph, RefusesArraysOfAnotherShape) {
  FLOE_NEEDS_CPU();
  if (const std::string why = why_no_numpy(); !why.empty()) GTEST_SKIP() << why;
  Case c;
  const Dim N = c.size("N");
  const Value x = c.normal({2}, {N}), y = c.normal({3}, {N});
  c.output(add(c.b, x, y));
  std::string error;
  EXPECT_TRUE(run_printed_numpy(c.graph, {c.given}, &error).empty());
  EXPECT_THAT(error, EndsWith("ValueError: 'x1' must be float32 of shape (2,), is float32 of shape (3,)\n"));
}

std::string numpy_refusal(const Graph& graph) {
  return refusal(ErrorKind::user, [&] { numpy_graph(graph); });
}

TEST(PrintedGraphs, RefuseAnOpWithoutAPrintedForm) {
  FLOE_NEEDS_CPU();
  ModelConfig config;
  config.encoder_layers = config.decoder_layers = 1;
  config.source_vocabulary = config.target_vocabulary = 9;
  const Graph step = step_graph(config, {});
  const std::string text = "[print] op 'paged_attention' in decoder.0.self_attention has no printed form";
  EXPECT_EQ(numpy_refusal(step), text);
  EXPECT_EQ(refusal(ErrorKind::user, [&] { cpp_graph(step, {}); }), text);
}

TEST(PrintedGraphs, RefuseTypesThatTheyCannotPrint) {
  FLOE_NEEDS_CPU();
  Graph graph(all_ops(), "g");
  Builder b(graph);
  const Value x = b.input("x", {DType::bf16, {2}});
  b.output("y", add(b, x, x));
  EXPECT_EQ(numpy_refusal(graph), "[print_numpy] bf16 cannot be printed");
  EXPECT_EQ(refusal(ErrorKind::user, [&] { cpp_graph(graph, {}); }), "[print_cpp] bf16 cannot be printed");
}

TEST(PrintedGraphs, RefuseSizesThatNothingGives) {
  FLOE_NEEDS_CPU();
  Case c;
  const Dim K = c.size("K");
  c.b.output("y", iota(c.b, {K}, 0));
  EXPECT_EQ(numpy_refusal(c.graph),
            "[print_numpy] size 'K' cannot be read from the shape of an input or a state");
  EXPECT_THAT(refusal(ErrorKind::user, [&] { cpp_graph(c.graph, {}); }), HasSubstr("'K'"));
}

TEST(PrintedGraphs, RefuseSizesWhoseNamesPythonOrWeTake) {
  FLOE_NEEDS_CPU();
  for (const char* name : {"if", "np", "v12"}) {
    Case c;
    const Dim size = c.size(name);
    c.b.output("y", c.b.input("x", {DType::f32, {size}}));
    EXPECT_EQ(numpy_refusal(c.graph),
              fmt::format("[print_numpy] a size cannot be called '{}' in Python", name));
  }
}

}  // namespace
}  // namespace floe
