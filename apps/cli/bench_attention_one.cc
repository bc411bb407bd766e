// Floe's side of the benchmark of attention: a case as a program whose operands and results are states on the
// device, launched over and over. On a GPU the program is one recording, so a launch is one call.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <numeric>

#include "attention_case.h"
#include "base/error.h"
#include "bench_attention.h"
#include "bench_numbers.h"
#include "compile/compile.h"
#include "device/device.h"
#include "kernel/kernel.h"
#include "ops/all.h"
#include "ops/attention/attention.h"
#include "ops/paged_attention/paged_attention.h"
#include "runtime/session.h"

namespace floe {
namespace {

using Json = nlohmann::ordered_json;
using Pass = AttentionCase::Pass;

constexpr int64_t kCacheBlock = 16;
constexpr const char *kForward = "forward", *kMeasured = "measured";

struct Setting {
  DType dtype;
  double sample_seconds;
  Numbers& values;
  const KernelTable& kernels;
  Device& device;
};

int64_t cache_blocks(const AttentionCase& c) { return (c.keys + kCacheBlock - 1) / kCacheBlock; }

// So many sets of operands take turns that a short case is not served from a cache, where one that it follows
// would not have left it there either.
int64_t sets_of(const AttentionCase& c, size_t element) {
  const double bytes =
      cache_bytes_of(c, element) + static_cast<double>(c.batch * c.queries * c.heads * c.width) * 2 * element;
  constexpr double kPastEveryCache = 128.0 * (1 << 20);
  return std::clamp<int64_t>(static_cast<int64_t>(kPastEveryCache / bytes) + 1, 1, 8);
}

// Types of the operands of set i and of what is written for it, by name.
struct Set {
  const AttentionCase& c;
  DType dtype;
  std::string end;  // of the names

  Type queries() const { return {dtype, {c.batch, c.queries, c.heads, c.width}}; }
  Type keys() const {
    if (c.pass == Pass::decode)
      return {dtype, {c.batch * cache_blocks(c), kCacheBlock, c.key_heads, c.width}};
    return {dtype, {c.batch, c.keys, c.key_heads, c.width}};
  }
  Type lse() const { return {DType::f32, {c.batch, c.heads, c.queries}}; }
  std::vector<std::pair<std::string, Type>> given() const {
    std::vector<std::pair<std::string, Type>> all = {
        {"q" + end, queries()}, {"k" + end, keys()}, {"v" + end, keys()}};
    if (c.pass == Pass::backward) all.emplace_back("dout" + end, queries());
    return all;
  }
  std::vector<std::pair<std::string, Type>> made() const {
    std::vector<std::pair<std::string, Type>> all = {{"out" + end, queries()}};
    if (c.pass != Pass::decode) all.emplace_back("lse" + end, lse());
    if (c.pass == Pass::backward) {
      all.emplace_back("dq" + end, queries());
      all.emplace_back("dk" + end, keys());
      all.emplace_back("dv" + end, keys());
    }
    return all;
  }
};

// As the states that they are in both graphs.
struct Operands {
  Builder& b;
  std::map<std::string, Value> by_name = {};

  Value operator()(const std::string& name, const Type& type) {
    const auto [at, fresh] = by_name.try_emplace(name);
    if (fresh) at->second = b.state(name, type);
    return at->second;
  }
  AttentionArgs attention(const Set& set) {
    const AttentionCase& c = set.c;
    AttentionArgs args{(*this)("q" + set.end, set.queries()), (*this)("k" + set.end, set.keys()),
                       (*this)("v" + set.end, set.keys())};
    if (c.causal) args.causal = Causal::top_left;
    if (c.lengths) args.lengths = (*this)("lengths", {DType::i32, {c.batch}});
    if (c.dropout > 0) {
      args.dropout = c.dropout;
      args.seed = (*this)("seed", {DType::i32, {}});
      args.ordinals = (*this)("ordinals", {DType::i32, {c.batch}});
    }
    return args;
  }
  // The planner gives a result its state's memory where the state stands before it.
  void declare(const Set& set) {
    for (const auto& [name, type] : set.made()) (*this)(name, type);
  }
};

Graph forward_graph(const std::vector<Set>& sets, const char* name) {
  Graph graph(all_ops(), name);
  Builder b(graph);
  Operands operands{b};
  for (const Set& set : sets) {
    operands.declare(set);
    const AttentionResult result = attention(b, operands.attention(set));
    b.update("out" + set.end, result.out);
    b.update("lse" + set.end, result.lse);
  }
  return graph;
}

Graph backward_graph(const std::vector<Set>& sets) {
  Graph graph(all_ops(), kMeasured);
  Builder b(graph);
  Operands operands{b};
  for (const Set& set : sets) {
    operands.declare(set);
    const AttentionResult result{operands("out" + set.end, set.queries()),
                                 operands("lse" + set.end, set.lse())};
    const AttentionGrads grads =
        attention_grad(b, operands.attention(set), result, operands("dout" + set.end, set.queries()));
    b.update("dq" + set.end, grads.dq);
    b.update("dk" + set.end, grads.dk);
    b.update("dv" + set.end, grads.dv);
  }
  return graph;
}

Graph decode_graph(const std::vector<Set>& sets) {
  Graph graph(all_ops(), kMeasured);
  Builder b(graph);
  Operands operands{b};
  for (const Set& set : sets) {
    const AttentionCase& c = set.c;
    operands.declare(set);
    const Value out = paged_attention(
        b, {operands("q" + set.end, set.queries()), operands("k" + set.end, set.keys()),
            operands("v" + set.end, set.keys()), operands("table", {DType::i32, {c.batch, cache_blocks(c)}}),
            operands("lengths", {DType::i32, {c.batch}})});
    b.update("out" + set.end, out);
  }
  return graph;
}

std::vector<Graph> graphs_of(const AttentionCase& c, const std::vector<Set>& sets) {
  if (c.pass == Pass::decode) return {decode_graph(sets)};
  if (c.pass == Pass::forward) return {forward_graph(sets, kMeasured)};
  return {forward_graph(sets, kForward), backward_graph(sets)};
}

void set_ids(const AttentionCase& c, State* state) {
  std::vector<int32_t> rows(static_cast<size_t>(c.batch));
  std::iota(rows.begin(), rows.end(), 0);
  state->set("ordinals", Tensor::from_ints({c.batch}, rows));
  state->set("seed", Tensor::from_ints({}, {1}));
  if (c.lengths) state->set("lengths", Tensor::from_ints({c.batch}, attention_lengths(c)));
  if (c.pass != Pass::decode) return;
  std::fill(rows.begin(), rows.end(), static_cast<int32_t>(c.keys));
  state->set("lengths", Tensor::from_ints({c.batch}, rows));
  // A cache in use has its blocks anywhere.
  std::vector<int32_t> table(static_cast<size_t>(c.batch * cache_blocks(c)));
  std::iota(table.begin(), table.end(), 0);
  std::shuffle(table.begin(), table.end(), std::mt19937(1));
  state->set("table", Tensor::from_ints({c.batch, cache_blocks(c)}, table));
}

class Measurement {
 public:
  Measurement(const AttentionCase& c, const Setting& setting)
      : case_(c), setting_(setting), count_(sets_of(case_, size_of(setting.dtype))), state_(&setting.device) {
    std::vector<Set> sets;
    for (int64_t i = 0; i < count_; ++i) sets.push_back({case_, setting.dtype, std::to_string(i)});
    for (const Set& set : sets) {
      for (const auto& [name, type] : set.given()) state_.set(name, setting.values.tensor(shape_of(type)));
      for (const auto& [name, type] : set.made()) state_.set_zero(name, type.dtype, shape_of(type));
    }
    for (const auto& [name, type] : sets[0].made())
      made_ += static_cast<size_t>(count(shape_of(type))) * size_of(type.dtype);
    set_ids(case_, &state_);
    const auto program = compile(graphs_of(case_, sets), setting.kernels, {.device = setting.device.kind()});
    const size_t steps = program->entry(kMeasured).steps.size();
    FLOE_CHECK(steps == static_cast<size_t>(count_), "{} times attention became {} steps", count_, steps);
    session_ = std::make_unique<Session>(program, setting.kernels, setting.device, state_);
    if (case_.pass == Pass::backward) session_->launch(kForward, {});
    timed(2);  // kernels are chosen in the first, recorded in the second
    launches_ = std::clamp<int64_t>(static_cast<int64_t>(setting.sample_seconds / timed(1)) + 1, 1, 10'000);
  }

  double seconds() { return timed(launches_) / static_cast<double>(launches_ * count_); }
  // Results and workspace of one.
  size_t bytes() const { return made_ + session_->arena_bytes(); }

 private:
  static Shape shape_of(const Type& type) {
    Shape shape;
    for (const Dim& dim : type.dims) shape.push_back(dim.constant());
    return shape;
  }
  double timed(int64_t launches) {
    setting_.device.wait();
    const auto start = std::chrono::steady_clock::now();
    for (int64_t i = 0; i < launches; ++i) session_->launch(kMeasured, {});
    setting_.device.wait();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  AttentionCase case_;
  Setting setting_;
  int64_t count_;
  State state_;
  std::unique_ptr<Session> session_;
  size_t made_ = 0;
  int64_t launches_ = 1;
};

}  // namespace

int bench_attention_one(const std::string& text) {
  const Json q = Json::parse(text);
  DeviceKind kind{};
  parse(q.at("device").get<std::string>(), &kind);
  KernelTable kernels;
  add_all_kernels(kind, kernels);
  const std::unique_ptr<Device> device = open_device(kind, q.at("threads"));
  const DType dtype = parse_dtype(q.at("precision").get<std::string>());
  Numbers values(dtype);
  const Setting setting{dtype, q.at("sample_seconds"), values, kernels, *device};
  std::unique_ptr<Measurement> measurement;
  std::string measured, line;
  while (std::getline(std::cin, line)) {
    if (line != measured) {
      measurement.reset();  // its memory first
      measurement = std::make_unique<Measurement>(attention_case_of(Json::parse(line)), setting);
      measured = line;
    }
    fmt::print("{}\n", Json({{"seconds", measurement->seconds()},
                             {"bytes", measurement->bytes()},
                             {"device", device->name()}})
                           .dump());
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace floe
