#include "passes/shard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>

#include "base/error.h"
#include "ir/builder.h"
#include "ir/print.h"
#include "ir/verify.h"
#include "ops/all.h"
#include "ops/attention/attention.h"
#include "ops/dropout/dropout.h"
#include "ops/elementwise/elementwise.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/linear_cross_entropy/linear_cross_entropy.h"
#include "ops/matmul/matmul.h"
#include "ops/reduce/reduce.h"
#include "ops/reshape/reshape.h"
#include "ops/slice/slice.h"
#include "passes/autodiff.h"
#include "passes/rank_evaluate_for_test.h"
#include "passes/simplify.h"

namespace floe {
namespace {

Graph graph_of(const std::string& statements, const OpTable& ops = all_ops()) {
  return parse(ops, "graph \"g\" {\n" + statements + "\n}\n");
}
std::string refusal(const Graph& graph, int64_t ways) {
  try {
    shard(graph, {{"tp", ways}});
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::user) << e.what();
    return e.what();
  }
  return "accepted";
}

const char* kX = "dim B in 1..8\n%0 = input {dims = <B, 4>, dtype = f32, name = \"x\"} : f32[B, 4]\n";
std::string weight(int result, const char* name, const char* dims, const char* marks) {
  return fmt::format("%{} = state {{dims = <{}>, dtype = f32, name = \"{}\"{}}} : f32[{}]\n", result, dims,
                     name, marks, dims);
}

TEST(Shard, TurnsAColumnAndARowProductIntoOneAllReduce) {
  const Graph graph = graph_of(
      std::string(kX) + weight(1, "up", "8, 4", ", shard_axis = 0") +
      weight(2, "up_bias", "8", ", shard_axis = 0") + weight(3, "down", "4, 8", ", shard_axis = 1") +
      weight(4, "down_bias", "4", "") +
      "%5 = matmul(%0, %1, %2) {activation = \"relu\", transpose_a = false, transpose_b = true} : f32[B, 8]\n"
      "%6 = matmul(%5, %3, %4) {activation = \"\", transpose_a = false, transpose_b = true} : f32[B, 4] @ "
      "\"ffn\"\n"
      "return \"y\" = %6");
  const Graph cut = shard(graph, {{"tp", 2}});
  verify(cut, "shard");
  EXPECT_EQ(
      print(cut),
      print(graph_of(std::string(kX) + weight(1, "up", "4, 4", ", shard_axis = 0, shard_ways = 2") +
                     weight(2, "up_bias", "4", ", shard_axis = 0, shard_ways = 2") +
                     weight(3, "down", "4, 4", ", shard_axis = 1, shard_ways = 2") +
                     weight(4, "down_bias", "4", "") +
                     "%5 = fan_out(%0) {mesh = \"tp\", ways = 2} : f32[B, 4]\n"
                     "%6 = matmul(%5, %1, %2) {activation = \"relu\", transpose_a = false, transpose_b = "
                     "true} : f32[B, 4]\n"
                     "%7 = matmul(%6, %3) {activation = \"\", transpose_a = false, transpose_b = true} : "
                     "f32[B, 4] @ \"ffn\"\n"
                     "%8 = all_reduce(%7) {mesh = \"tp\", reduce = \"sum\", ways = 2} : f32[B, 4] @ \"ffn\"\n"
                     "%9 = add(%8, %4) : f32[B, 4] @ \"ffn\"\nreturn \"y\" = %9")));
  EXPECT_THAT(print(drop_fan_outs(cut)), testing::Not(testing::HasSubstr("fan_out")));
}

TEST(Shard, OverOneWayOrWithoutMarksChangesNothing) {
  const std::string text = std::string(kX) + weight(1, "w", "8, 4", ", shard_axis = 0") +
                           "%2 = matmul(%0, %1) {transpose_b = true} : f32[B, 8]\nreturn \"y\" = %2";
  EXPECT_EQ(print(shard(graph_of(text), {{"tp", 1}})), print(graph_of(text)));
  const std::string plain = std::string(kX) + weight(1, "w", "8, 4", "") +
                            "%2 = matmul(%0, %1) {transpose_b = true} : f32[B, 8]\nreturn \"y\" = %2";
  EXPECT_EQ(print(shard(graph_of(plain), {{"tp", 4}})), print(graph_of(plain)));
}

TEST(Shard, GathersWhatAnOpWantsWhole) {
  const Graph cut =
      shard(graph_of(std::string(kX) + weight(1, "w", "6, 4", ", shard_axis = 0, shard_sections = [2, 4]") +
                     "%2 = matmul(%0, %1) {transpose_b = true} : f32[B, 6]\n"
                     "%3 = softmax(%2) : f32[B, 6]\nreturn \"y\" = %3"),
            {{"tp", 2}});
  verify(cut, "shard");
  // Each section on its own: [a_0, b_0] and [a_1, b_1] are [a, b].
  EXPECT_THAT(print(cut),
              testing::HasSubstr("%7 = all_gather(%6) {axis = 1, mesh = \"tp\", ways = 2} : f32[B, 4]\n"
                                 "  %8 = concat(%5, %7) {axis = 1} : f32[B, 6]\n"
                                 "  %9 = softmax(%8) : f32[B, 6]\n"));
}

TEST(Shard, KeepsAStateWholeThatNoReaderTakesCut) {
  // softmax wants rows whole; w is read by a product as well, which then works on whole rows too.
  const std::string text =
      std::string(kX) + weight(1, "w", "6, 4", "") +
      "%2 = softmax(%1) : f32[6, 4]\n%3 = matmul(%0, %1) {transpose_b = true} : f32[B, 6]\n"
      "%4 = matmul(%3, %2) : f32[B, 4]\nreturn \"y\" = %4";
  std::string marked = text;
  const std::string plain = "name = \"w\"";
  marked.replace(marked.find(plain), plain.size(), plain + ", shard_axis = 1");
  EXPECT_EQ(print(shard(graph_of(marked), {{"tp", 2}})), print(graph_of(text)));
}

TEST(Shard, RefusesLengthsThatTheRanksDoNotDivideAndNamesTheWaysThatFit) {
  const Graph graph = graph_of(std::string(kX) + weight(1, "w", "6, 4", ", shard_axis = 0") +
                               "%2 = matmul(%0, %1) {transpose_b = true} : f32[B, 6]\nreturn \"y\" = %2");
  EXPECT_EQ(refusal(graph, 4),
            "[shard] state 'w': a length of 6 cannot be cut 4 ways; it can be cut 1, 2, 3, 6 ways");
  EXPECT_EQ(refusal(graph, 0), "[shard] 0 ways: at least 1 is needed");
  const Graph sections =
      graph_of(weight(0, "w", "9, 4", ", shard_axis = 0, shard_sections = [6, 3]") + "return \"y\" = %0");
  EXPECT_EQ(refusal(sections, 2),
            "[shard] a section of state 'w': a length of 3 cannot be cut 2 ways; it can be cut 1, 3 ways");
  // 3 heads of 4 features: 12 can be cut 2 ways, heads cannot.
  const Graph heads =
      graph_of(std::string(kX) + weight(1, "w", "12, 4", ", shard_axis = 0") +
               "%2 = matmul(%0, %1) {transpose_b = true} : f32[B, 12]\n"
               "%3 = reshape(%2) {dims = <B, 3, 4>} : f32[B, 3, 4] @ \"attention\"\nreturn \"y\" = %3");
  EXPECT_EQ(refusal(heads, 2),
            "[shard] reshape in attention: a length of 3 cannot be cut 2 ways; it can be cut 1, 3 ways");
}

TEST(Shard, RefusesAnOpThatIsNotLinearOnAPartialSum) {
  OpTable table;
  define_all_ops(table);
  OpDef bad = table.get("exp");
  bad.name = "eager_exp";
  bad.shard = [](const ShardArgs& args) { return ShardRule{args.placements, args.placements}; };
  table.add(bad);
  const Graph graph = graph_of(std::string(kX) + weight(1, "w", "3, 4", ", shard_axis = 1") +
                                   "%2 = matmul(%0, %1) {transpose_b = true} : f32[B, 3]\n"
                                   "%3 = eager_exp(%2) : f32[B, 3] @ \"head\"\nreturn \"y\" = %3",
                               table);
  EXPECT_EQ(refusal(graph, 2), "[shard] eager_exp in head is not linear: it cannot work on a partial sum");
}

TEST(Shard, CutsStatesBySectionsAndPutsThemTogetherAgain) {
  Tensor whole(DType::f32, {2, 6, 2});
  for (int64_t i = 0; i < whole.size(); ++i) whole.set(i, static_cast<double>(i));
  const Attrs marks{{"shard_axis", int64_t{1}}, {"shard_sections", std::vector<int64_t>{2, 4}}};
  std::vector<Tensor> parts;
  for (int64_t rank = 0; rank < 2; ++rank) parts.push_back(part_of(whole, marks, rank, 2));
  ASSERT_EQ(parts[1].shape(), (Shape{2, 3, 2}));
  // Rank 1 holds column 1 of the first section, columns 2 and 3 of the second.
  EXPECT_EQ(parts[1].at(0), 2);
  EXPECT_EQ(parts[1].at(2), 8);
  EXPECT_EQ(parts[1].at(4), 10);
  EXPECT_EQ(parts[1].at(6), 14);
  const Tensor back = whole_of(parts, marks);
  for (int64_t i = 0; i < whole.size(); ++i) EXPECT_EQ(back.at(i), whole.at(i));
  EXPECT_EQ(part_of(whole, {}, 1, 2).shape(), whole.shape());
  EXPECT_THROW(part_of(whole, marks, 0, 4), Error);
}

// A decoder layer with a loss over a vocabulary, on B sentences of S tokens.
constexpr int kModel = 8, kHeads = 4, kHead = 2, kInner = 12, kWords = 12;

Value parameter(Builder& b, const char* name, Dims dims, int axis = -1, std::vector<int64_t> sections = {}) {
  Attrs marks;
  if (axis >= 0) marks.set("shard_axis", int64_t{axis});
  if (!sections.empty()) marks.set("shard_sections", std::move(sections));
  return b.state(name, {DType::f32, std::move(dims)}, std::move(marks));
}

Graph decoder_layer(double attention_dropout) {
  Graph graph(all_ops(), "layer");
  Builder b(graph);
  const Dim batch = graph.symbols().declare("B", {1, 8, 1});
  const Dim length = graph.symbols().declare("S", {1, 16, 1});
  const Dims rows{batch, length, Dim(kModel)};
  const Value x = b.input("x", {DType::f32, rows});
  const Value target = b.input("target", {DType::i32, {batch, length}});
  const Value lengths = b.input("lengths", {DType::i32, {batch}});
  const Value seed = b.input("seed", {DType::i32, {}});
  const Value ordinals = b.input("ordinals", {DType::i32, {batch}});

  Value h = x;
  {
    const Builder::Scope scope(b, "attention");
    const Value normed =
        layer_norm(b, h, parameter(b, "a.gamma", {kModel}), parameter(b, "a.beta", {kModel}), 1e-5);
    const Value merged =
        linear(b, normed, parameter(b, "qkv", {3 * kModel, kModel}, 0, {kModel, kModel, kModel}),
               parameter(b, "qkv.bias", {3 * kModel}, 0, {kModel, kModel, kModel}));
    const auto heads = [&](int part) {
      return reshape(b, slice(b, merged, 2, part * kModel, kModel), {batch, length, kHeads, kHead});
    };
    AttentionArgs args{heads(0), heads(1), heads(2), Causal::top_left};
    args.lengths = lengths;
    if (attention_dropout > 0) {
      args.dropout = attention_dropout;
      args.seed = seed;
      args.ordinals = ordinals;
      args.op_id = b.next_op_id();
    }
    const Value mixed = reshape(b, attention(b, args).out, rows);
    const Value out =
        linear(b, mixed, parameter(b, "out", {kModel, kModel}, 1), parameter(b, "out.bias", {kModel}));
    h = add(b, h, dropout(b, out, seed, ordinals, 0.3));
  }
  {
    const Builder::Scope scope(b, "feed_forward");
    const Value normed =
        layer_norm(b, h, parameter(b, "f.gamma", {kModel}), parameter(b, "f.beta", {kModel}), 1e-5);
    const Value inner = elementwise(
        b, "gelu",
        {linear(b, normed, parameter(b, "up", {kInner, kModel}, 0), parameter(b, "up.bias", {kInner}, 0))});
    const Value out =
        linear(b, inner, parameter(b, "down", {kModel, kInner}, 1), parameter(b, "down.bias", {kModel}));
    h = add(b, h, dropout(b, out, seed, ordinals, 0.3));
  }
  b.output("h", h);
  const LinearCrossEntropy loss{.x = h,
                                .weight = parameter(b, "words", {kWords, kModel}, 0),
                                .targets = target,
                                .label_smoothing = 0.1,
                                .ignore_index = 0};
  b.output("loss", linear_cross_entropy(b, loss).loss);
  return graph;
}

std::vector<std::string> parameters(const Graph& graph) {
  std::vector<std::string> names;
  for (const NamedValue& state : graph.states()) names.push_back(state.name);
  return names;
}

// Gradients, and one step of AdamW on every parameter, element by element.
Graph training_step(const Graph& forward) {
  const std::vector<std::string> names = parameters(forward);
  Differentiated d = differentiate(forward, "loss", names);
  Builder b(d.graph);
  const Value rate = b.input("rate", {DType::f32, {}});
  for (const std::string& name : names) {
    Value state;
    Attrs marks;
    for (const NamedValue& each : d.graph.states()) {
      if (each.name == name) state = each.value;
    }
    for (const char* mark : {"shard_axis", "shard_sections"}) {
      const AttrValue* value = d.graph.producer(state).attrs.find(mark);
      if (value != nullptr) marks.set(mark, *value);
    }
    const Type type = b.type(state);
    const Value g = d.gradients.at(name);
    const Value m = add(b, scale(b, b.state("m." + name, type, marks), 0.9), scale(b, g, 0.1));
    const Value v = add(b, scale(b, b.state("v." + name, type, marks), 0.98), scale(b, mul(b, g, g), 0.02));
    const Value step = div(b, m, add(b, elementwise(b, "sqrt", {v}), b.scalar(1e-3)));
    d.graph.add_output("d." + name, g);
    d.graph.add_update(name, sub(b, state, mul(b, rate, add(b, step, scale(b, state, 0.01)))));
    d.graph.add_update("m." + name, m);
    d.graph.add_update("v." + name, v);
  }
  return d.graph;
}

Tensor f64_of(const RefTensor& ref) { return Tensor::from_doubles(DType::f64, ref.shape, ref.f); }
RefTensor ref_f32(const Tensor& tensor) {
  RefTensor ref = ref_of(tensor);
  ref.dtype = DType::f32;
  return ref;
}

void expect_close(const RefTensor& got, const RefTensor& want, const std::string& what) {
  ASSERT_EQ(got.shape, want.shape) << what;
  double largest = 0;
  for (const double x : want.f) largest = std::max(largest, std::fabs(x));
  for (size_t i = 0; i < want.f.size(); ++i)
    ASSERT_NEAR(got.f[i], want.f[i], 1e-12 * largest) << what << " at " << i;
}

RefMap random_inputs(int64_t batch, int64_t length) {
  std::mt19937_64 random(static_cast<uint64_t>(batch * 100 + length));
  std::normal_distribution<double> normal;
  RefMap inputs;
  RefTensor x(DType::f32, {batch, length, kModel});
  for (double& value : x.f) value = normal(random);
  inputs["x"] = x;
  RefTensor target(DType::i32, {batch, length});
  for (int64_t& word : target.i) word = static_cast<int64_t>(random() % kWords);
  inputs["target"] = target;
  RefTensor lengths(DType::i32, {batch});
  RefTensor ordinals(DType::i32, {batch});
  for (int64_t i = 0; i < batch; ++i) {
    lengths.i[static_cast<size_t>(i)] = std::max<int64_t>(1, length - i);
    ordinals.i[static_cast<size_t>(i)] = 10 + i;
  }
  inputs["lengths"] = lengths;
  inputs["ordinals"] = ordinals;
  RefTensor seed(DType::i32, {});
  seed.i = {1234};
  inputs["seed"] = seed;
  RefTensor rate(DType::f32, {});
  rate.f = {0.01};
  inputs["rate"] = rate;
  return inputs;
}

// One device against `ways` ranks: loss, activations, every gradient and every updated state.
void expect_ranks_equal_one(double attention_dropout, int64_t ways, int64_t batch, int64_t length) {
  const Graph layer = decoder_layer(attention_dropout);
  const Graph one = training_step(layer);
  const Graph cut_layer = shard(layer, {{"tp", ways}});
  verify(cut_layer, "shard");
  const Graph cut = simplify(drop_fan_outs(training_step(cut_layer)));
  verify(cut, "simplify");

  const RefMap inputs = random_inputs(batch, length);
  std::mt19937_64 random(7);
  std::normal_distribution<double> normal;
  RefMap states;
  std::map<std::string, Attrs> marks;
  std::vector<RefMap> parts(static_cast<size_t>(ways));
  for (const NamedValue& state : one.states()) {
    const Type& type = one.type(state.value);
    Shape shape;
    for (const Dim& dim : type.dims) shape.push_back(dim.constant());
    RefTensor value(DType::f32, shape);
    for (double& x : value.f) x = state.name.starts_with("v.") ? 0.01 : 0.3 * normal(random);
    for (const NamedValue& each : cut.states()) {
      if (each.name == state.name) marks[state.name] = cut.producer(each.value).attrs;
    }
    for (int64_t rank = 0; rank < ways; ++rank) {
      parts[static_cast<size_t>(rank)][state.name] =
          ref_f32(part_of(f64_of(value), marks[state.name], rank, ways));
    }
    states[state.name] = std::move(value);
  }

  const Evaluation want = evaluate(one, inputs, states);
  const std::vector<Evaluation> got = evaluate_on_ranks(cut, inputs, parts);
  for (const Evaluation& rank : got) {
    expect_close(rank.outputs.at("loss"), want.outputs.at("loss"), "loss");
    expect_close(rank.outputs.at("h"), want.outputs.at("h"), "h");
  }
  const auto expect_parts = [&](const std::string& name, const auto& of, const RefTensor& whole,
                                const Attrs& mark) {
    std::vector<Tensor> pieces;
    for (const Evaluation& rank : got) pieces.push_back(f64_of(of(rank)));
    expect_close(ref_f32(whole_of(pieces, mark)), whole, name);
    if (mark.has("shard_axis")) return;  // whole states must be equal on every rank
    for (const Evaluation& rank : got) EXPECT_EQ(of(rank).f, of(got[0]).f) << name;
  };
  for (const std::string& name : parameters(layer)) {
    const std::string d = "d." + name;
    expect_parts(
        d, [&](const Evaluation& e) -> const RefTensor& { return e.outputs.at(d); }, want.outputs.at(d),
        marks[name]);
  }
  for (const auto& [name, value] : want.updates) {
    expect_parts(
        name, [&, key = name](const Evaluation& e) -> const RefTensor& { return e.updates.at(key); }, value,
        marks[name]);
  }
}

TEST(Shard, TrainsADecoderLayerOnTwoRanksAsOnOneAtThreeLengths) {
  for (const int64_t length : {1, 4, 7}) {
    SCOPED_TRACE(length);
    expect_ranks_equal_one(/*attention_dropout=*/0, /*ways=*/2, /*batch=*/3, length);
  }
}

TEST(Shard, TrainsADecoderLayerOnFourRanksAsOnOne) { expect_ranks_equal_one(0, 4, 2, 5); }

TEST(Shard, KeepsTheMasksOfAttentionDropout) { expect_ranks_equal_one(0.4, 2, 2, 5); }

// Two all_reduces forward and two backward, as in the paper; nothing else travels.
TEST(Shard, CostsTwoAllReducesEachWayForALayer) {
  const Graph step = drop_fan_outs(training_step(shard(decoder_layer(0), {{"tp", 2}})));
  std::map<std::string, int> count;
  for (const Node& node : step.nodes()) ++count[node.op->name];
  EXPECT_EQ(count["all_reduce"], 4);
  EXPECT_EQ(count["all_gather"] + count["local_shard"] + count["reduce_scatter"], 0);
}

}  // namespace
}  // namespace floe
