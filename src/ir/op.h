// The definition of an op: the only thing a pass may ask of it. One op, one folder under src/ops.
//
// A primitive has `evaluate`, its value in double. Every other op has a `meaning`, the same value as a graph
// of simpler ops: truth in tests, fallback where a device has no kernel, default gradient, and pattern for
// foreign graphs.
#pragma once
#include <functional>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "ir/graph.h"

namespace floe {

class Builder;
struct RefTensor;

struct InferArgs {
  const OpDef& op;
  std::vector<Type> inputs;
  const Attrs& attrs;
  const Graph* body;
  const SymbolTable& symbols;

  // Error{user} "[matmul] inner dims differ: ..."
  template <class... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> text, Args&&... args) const;
  void require(bool condition, std::string_view what) const;
  bool equal(const Dim& a, const Dim& b) const;  // provable; inconclusive is an error that names both
  void require_float(int input) const;
  void require_rank(int input, int rank) const;
};

struct GradientArgs {
  const Node& node;  // in the graph that is being differentiated
  std::span<const Value> inputs;
  std::span<const Value> outputs;
  std::span<const Value> d_outputs;  // gradient of each result; no value where nothing depends on it
  std::vector<bool> needed;          // which inputs need a gradient
};

struct EvalArgs {
  const Node& node;
  std::span<const RefTensor> inputs;
  const Attrs& attrs;         // dims already numbers
  std::vector<Shape> shapes;  // of the results
};

// Where a value lives along the mesh's tensor-parallel axis.
struct Placement {
  enum class Kind { replicate, shard, partial } kind = Kind::replicate;
  int dim = 0;  // of a shard
  static Placement replicate() { return {}; }
  static Placement shard(int dim) { return {Kind::shard, dim}; }
  static Placement partial() { return {Kind::partial, 0}; }
  bool operator==(const Placement&) const = default;
};
std::string text_of(const Placement& placement);  // "R", "S(1)", "P(sum)"

struct ShardArgs {
  const Node& node;
  std::vector<Type> inputs;
  std::vector<Placement> placements;  // of the inputs, as they come
};
// What the op wants its inputs to be and what its results then are. Attributes that change with the cut (a
// count of heads) are named in `attrs`, with `ways` ranks.
struct ShardRule {
  std::vector<Placement> inputs;
  std::vector<Placement> outputs;
};

struct OpDef {
  std::string name;
  std::string summary;  // one line: what it computes, with shapes
  int min_inputs = 0;
  int max_inputs = 0;

  std::function<std::vector<Type>(const InferArgs&)> infer;
  std::function<std::vector<RefTensor>(const EvalArgs&)> evaluate;
  std::function<Values(Builder&, const Node&, std::span<const Value> inputs)> meaning;
  // Gradient per input (no value where none is needed or none exists). Missing: the meaning is
  // differentiated.
  std::function<Values(Builder&, const GradientArgs&)> gradient;
  std::function<ShardRule(const ShardArgs&)> shard;  // missing: everything replicated

  bool pointwise = false;                     // may join a pointwise group
  bool differentiable = true;                 // false: gradients stop here (comparisons, integers, search)
  std::vector<std::pair<int, int>> in_place;  // (result, input) pairs that may share memory in every kernel
  // The same where they depend on the node: of an op with any number of operands. May be missing.
  std::function<std::vector<std::pair<int, int>>(const Node&)> in_place_of;
};

class OpTable {
 public:
  void add(OpDef op);                             // throws bug on a second definition
  const OpDef& get(std::string_view name) const;  // throws Error{user} "unknown op"
  const OpDef* find(std::string_view name) const;
  const std::map<std::string, OpDef, std::less<>>& all() const { return ops_; }

 private:
  std::map<std::string, OpDef, std::less<>> ops_;
};

// Generated from the op() lines of src/ops/CMakeLists.txt; ops/all.h gives the one table.
void define_all_ops(OpTable& table);

template <class... Args>
void InferArgs::fail(fmt::format_string<Args...> text, Args&&... args) const {
  throw Error(ErrorKind::user, "[" + op.name + "] " + fmt::format(text, std::forward<Args>(args)...));
}

}  // namespace floe
