// The work of ops on shapes that can be counted by hand.
#include "ops/work.h"

#include <gtest/gtest.h>

#include "compile/compile.h"
#include "ir/builder.h"
#include "ops/adamw/adamw.h"
#include "ops/all.h"
#include "ops/attention/attention.h"
#include "ops/cache_append/cache_append.h"
#include "ops/elementwise/elementwise.h"
#include "ops/embedding/embedding.h"
#include "ops/embedding/embedding_sum.h"
#include "ops/group/group.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/linear_cross_entropy/linear_cross_entropy.h"
#include "ops/matmul/matmul.h"
#include "ops/paged_attention/append_attention.h"
#include "ops/paged_attention/paged_attention.h"
#include "ops/reduce/reduce.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/rope/rope.h"
#include "ops/search/search.h"
#include "ops/slice/slice.h"
#include "ops/softmax/softmax.h"
#include "ops/sum_squares/sum_squares.h"
#include "ops/top_k/top_k.h"
#include "ops/transpose/transpose.h"
#include "testing/test_device.h"

namespace floe {
namespace {

struct WorkTest : testing::Test {
  Graph graph{all_ops(), "g"};
  Builder b{graph};
  int inputs = 0;

  Value in(Dims dims, DType dtype = DType::f32) {
    return b.input("x" + std::to_string(inputs++), {dtype, std::move(dims)});
  }
  Work of(Value value) const { return work_of(graph, graph.producer(value)); }
  void expect(Value value, int64_t flops, int64_t bytes, DType products = DType::f32) const {
    const Work work = of(value);
    const std::string& op = graph.producer(value).op->name;
    EXPECT_EQ(work.flops.text(), std::to_string(flops)) << op;
    EXPECT_EQ(work.bytes.text(), std::to_string(bytes)) << op;
    EXPECT_EQ(work.products, products) << op;
  }
};

TEST_F(WorkTest, OfAProductIsTwiceItsTerms) {
  expect(matmul(b, in({2, 3, 5}), in({5, 7})), 2 * 2 * 3 * 7 * 5, 4 * (30 + 35 + 42));
  expect(matmul(b, in({2, 3, 5}), in({2, 7, 5}), {.transpose_b = true}), 2 * 2 * 3 * 7 * 5,
         4 * (30 + 70 + 42));
  expect(matmul(b, in({5, 3}, DType::bf16), in({5, 7}, DType::bf16), {.transpose_a = true}), 2 * 3 * 7 * 5,
         2 * (15 + 35 + 21), DType::bf16);
}

TEST_F(WorkTest, OfAProductCountsBiasAndActivation) {
  const Value y =
      matmul(b, in({3, 5}), in({7, 5}), {.transpose_b = true, .bias = in({7}), .activation = "relu"});
  expect(y, 21 * (2 * 5 + 1 + 1), 4 * (15 + 35 + 7 + 21));
}

TEST_F(WorkTest, IsAnExpressionOfSymbolicLengths) {
  const Dim rows = b.graph().symbols().declare("N", {.min = 1, .max = 100});
  const Work work = of(matmul(b, in({rows, 5}), in({5, 7})));
  EXPECT_EQ(work.flops.text(), "70*N");
  EXPECT_EQ(work.bytes.evaluate({{"N", 3}}), 4 * (15 + 35 + 21));
}

TEST_F(WorkTest, OfAnOperandReadTwiceCountsItOnce) {
  const Value x = in({4, 4});
  expect(matmul(b, x, x), 2 * 64, 4 * (16 + 16));
}

TEST_F(WorkTest, OfAttentionIsOfThePairsThatAreSeen) {
  const auto one = [&](Causal causal, int64_t queries, int64_t keys) {
    const Dim heads = 3, d = 8;
    return attention(b, {.q = in({2, queries, heads, d}),
                         .k = in({2, keys, heads, d}),
                         .v = in({2, keys, heads, d}),
                         .causal = causal})
        .out;
  };
  const int64_t each = 2 * 3 * 4 * 8;  // batch, heads, 4 d
  const auto bytes = [](int64_t queries, int64_t keys) {
    return 4 * (2 * 3 * 8 * (queries + 2 * keys + queries) + 2 * 3 * queries);  // out and lse
  };
  expect(one(Causal::none, 5, 6), each * 5 * 6, bytes(5, 6));
  expect(one(Causal::top_left, 5, 5), each * (1 + 2 + 3 + 4 + 5), bytes(5, 5));
  expect(one(Causal::bottom_right, 5, 5), each * (1 + 2 + 3 + 4 + 5), bytes(5, 5));
  expect(one(Causal::bottom_right, 2, 6), each * (5 + 6), bytes(2, 6));
  expect(one(Causal::bottom_right, 1, 6), each * 6, bytes(1, 6));
}

// Four keys a query; the first ones see fewer.
TEST_F(WorkTest, OfAWindowIsItsWidth) {
  AttentionArgs args{.q = in({2, 9, 3, 8}), .k = in({2, 9, 3, 8}), .v = in({2, 9, 3, 8})};
  args.causal = Causal::top_left;
  args.window_left = 3;
  const int64_t bytes = 4 * (2 * 3 * 8 * 4 * 9 + 2 * 3 * 9);
  expect(attention(b, args).out, 2 * 3 * 4 * 8 * 9 * 4, bytes);
  args.causal = Causal::none;
  args.window_right = 20;  // wider than all
  expect(attention(b, args).out, 2 * 3 * 4 * 8 * 9 * 9, bytes);
}

TEST_F(WorkTest, OfAttentionsGradientIsFiveProducts) {
  const AttentionArgs args{.q = in({2, 5, 3, 8}), .k = in({2, 6, 3, 8}), .v = in({2, 6, 3, 8})};
  const AttentionResult result = attention(b, args);
  const Value dq = attention_grad(b, args, result, in({2, 5, 3, 8})).dq;
  const int64_t queries = 2 * 5 * 3 * 8, keys = 2 * 6 * 3 * 8;
  expect(dq, 2 * 3 * 5 * 6 * 10 * 8,
         4 * (queries + 2 * keys + queries + 2 * 5 * 3 + queries + queries + 2 * keys));
  expect(attention_weights(b, args), 2 * 3 * 5 * 6 * 2 * 8, 4 * (queries + keys + 2 * 3 * 5 * 6));
}

TEST_F(WorkTest, OfPagedAttentionIsOfWhatItsTableNames) {
  const Value out = paged_attention(b, {.q = in({4, 1, 6, 8}),
                                        .k_cache = in({100, 2, 3, 8}),
                                        .v_cache = in({100, 2, 3, 8}),
                                        .table = in({4, 5}, DType::i32),
                                        .lengths = in({4}, DType::i32)});
  const int64_t keys = 4 * 5 * 2;
  expect(out, keys * 6 * 4 * 8, 4 * (2 * 4 * 6 * 8 + keys * 3 * 16 + 20 + 4));
}

TEST_F(WorkTest, OfTheClassifierIsOneProductAndThreeForItsGradient) {
  const LinearCrossEntropy args{
      .x = in({2, 3, 8}), .weight = in({50, 8}), .targets = in({2, 3}, DType::i32), .bias = in({50})};
  const int64_t read = 4 * (48 + 400 + 6 + 50);
  expect(linear_cross_entropy(b, args).loss, 6 * 50 * (2 * 8 + 6), read + 4 * 3);
  expect(linear_cross_entropy_grad(b, args).dx, 6 * 50 * (6 * 8 + 9), read + 4 * (3 + 48 + 400 + 50));
}

TEST_F(WorkTest, OfAGroupIsItsBodysOperationsOnceAnElement) {
  Graph body(all_ops(), "body");
  body.symbols() = graph.symbols();
  Builder inner(body);
  const Value x = inner.input("x", {DType::bf16, {3, 5}}), y = inner.input("y", {DType::f32, {5}});
  // A cast is no arithmetic; relu is max(x, 0).
  inner.output("z", elementwise(inner, "relu", {add(inner, cast(inner, x, DType::f32), y)}));
  const Value z =
      group(b, std::make_shared<const Graph>(std::move(body)), {in({3, 5}, DType::bf16), in({5})})[0];
  expect(z, 2 * 15, 2 * 15 + 4 * 5 + 4 * 15);
}

TEST_F(WorkTest, OfRowsOfATableIsOfTheRowsThatAreRead) {
  const Value ids = in({2, 3}, DType::i32);
  expect(embedding(b, in({1000, 8}), ids), 0, 4 * (2 * 48 + 6));
  expect(embedding_grad(b, ids, in({2, 3, 8}), 1000), 48, 4 * (6 + 48 + 8000));
  const EmbeddingSumArgs both{.table = in({1000, 8}, DType::bf16),
                              .ids = ids,
                              .added_table = in({20, 8}, DType::bf16),
                              .added_ids = in({2, 3}, DType::i32),
                              .scale = 2,
                              .out = DType::f32};
  expect(embedding_sum(b, both), 2 * 48, 2 * 2 * 48 + 4 * (6 + 6 + 48));
}

// What is added is moved, read and written. 4 rows see up to 5 * 2 positions each.
TEST_F(WorkTest, OfAppendingWhileAttendingIsBothTogether) {
  const AppendAttention made = append_attention(b, {.q = in({4, 1, 6, 8}),
                                                    .k = in({4, 1, 3, 8}),
                                                    .v = in({4, 1, 3, 8}),
                                                    .k_cache = in({100, 2, 3, 8}),
                                                    .v_cache = in({100, 2, 3, 8}),
                                                    .table = in({4, 5}, DType::i32),
                                                    .positions = in({4}, DType::i32),
                                                    .lengths = in({4}, DType::i32)});
  expect(made.out, 40 * 6 * 32, 4 * (192 + 2 * 192 + 40 * 48 + 20 + 4 + 4 + 192));
}

TEST_F(WorkTest, OfWhatIsWrittenInPlaceIsOnlyWhatIsTouched) {
  const Value cache =
      cache_append(b, in({100, 2, 3, 8}), in({4, 1, 3, 8}), in({4, 5}, DType::i32), in({4}, DType::i32));
  expect(cache, 0, 4 * (2 * 96 + 20 + 4));
  const Value state = in({64, 10}, DType::i32), rows = in({4}, DType::i32);
  expect(beam_rows(b, state, rows, in({4}, DType::i32), in({4}, DType::i32)).state, 0, 4 * (3 * 40 + 12));
}

TEST_F(WorkTest, OfAnOptimizerStepReadsFourTensorsAndWritesThree) {
  AdamW args{.parameters =
                 {{.param = in({6, 7}), .grad = in({6, 7}, DType::bf16), .m = in({6, 7}), .v = in({6, 7})}},
             .lr = in({}),
             .step = in({}, DType::i32),
             .scale = in({}),
             .skip = in({})};
  expect(adamw(b, args)[0].param, 15 * 42, 42 * (6 * 4 + 2) + 4 * 4);
  args.parameters.push_back({.param = in({5}), .grad = in({5}), .m = in({5}), .v = in({5}), .copied = true});
  expect(adamw(b, args)[0].param, 15 * 47, 42 * (6 * 4 + 2) + 5 * (7 * 4 + 2) + 4 * 4);
  expect(sum_squares(b, {in({6, 7}), in({3})}), 2 * 45, 4 * (45 + 1));
}

TEST_F(WorkTest, OfMovesIsTheirBytesAlone) {
  const Value x = in({4, 10});
  expect(slice(b, x, 1, 2, 3), 0, 4 * 2 * 12);
  expect(transpose(b, x, {1, 0}), 0, 4 * 80);
}

TEST_F(WorkTest, OfRowsIsANumberOfOperationsAnElement) {
  const Value x = in({4, 10}), gamma = in({10}), beta = in({10}), dy = in({4, 10});
  expect(layer_norm(b, x, gamma, beta, 1e-5), 7 * 40, 4 * (40 + 20 + 40));
  expect(layer_norm_grad(b, x, gamma, dy, 1e-5).dx, 16 * 40, 4 * (40 + 10 + 40 + 40 + 20));
  expect(rms_norm(b, x, gamma, 1e-5), 4 * 40, 4 * (40 + 10 + 40));
  expect(rms_norm_grad(b, x, gamma, dy, 1e-5).dx, 11 * 40, 4 * (40 + 10 + 40 + 40 + 10));
  expect(softmax(b, x), 5 * 40, 4 * 80);
  expect(log_softmax(b, x), 5 * 40, 4 * 80);
  expect(reduce_sum(b, x, {1}, /*keep=*/false), 40, 4 * 44);
  expect(reduce_max(b, x, {0}, /*keep=*/false), 40, 4 * 50);
  expect(top_k(b, x, 2).values, 40, 4 * (40 + 8 + 8));
  expect(rope(b, in({2, 3, 4, 6}), in({2, 3}, DType::i32)), 3 * 144, 4 * (144 + 6 + 144));
}

TEST(Work, EveryOpThatBecomesAStepHasARow) {
  for (const auto& [name, op] : all_ops().all()) {
    const bool no_step =
        op.pointwise || name == "input" || name == "state" || name == "constant" || name == "reshape";
    EXPECT_EQ(has_work_row(name), !no_step) << name;
  }
}

TEST(Work, OfAProgramsStepsStandsInTheProgram) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  const Dim rows = graph.symbols().declare("N", {.min = 1, .max = 100});
  const Value sum = b.state("sum", {DType::f32, {5, 7}});
  const Value x = b.input("x", {DType::f32, {rows, 5}});
  const Value y = matmul(b, x, sum);
  b.output("y", y);
  // The state is replaced by an input, which must be copied into it.
  b.update("sum", b.input("next", {DType::f32, {5, 7}}));
  const std::shared_ptr<const Program> program = test_compile({graph});
  const ProgramEntry& entry = program->entries[0];
  ASSERT_EQ(entry.steps.size(), 2u);
  EXPECT_EQ(entry.steps[0].work.flops.text(), "70*N");
  EXPECT_EQ(entry.steps[1].op, "copy");
  EXPECT_EQ(entry.steps[1].work.flops.text(), "0");
  EXPECT_EQ(entry.steps[1].work.bytes.text(), "280");
}

}  // namespace
}  // namespace floe
