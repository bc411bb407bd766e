#include "passes/simplify.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <unordered_map>

#include "base/error.h"
#include "ir/evaluate.h"
#include "ir/print.h"

namespace floe {
namespace {

constexpr int kMaxRounds = 32;            // each round walks the graph once; real graphs settle in three
constexpr int64_t kMaxFoldedSize = 1024;  // elements of a constant that folding reads or makes

bool is_door(const Node& node) { return node.op->name == "input" || node.op->name == "state"; }

// Finds a node of the new graph that computes the same.
class EqualNodes {
 public:
  explicit EqualNodes(const Graph& graph) : graph_(graph) {}

  std::optional<Values> find(const Node& node, std::span<const Value> inputs) {
    catch_up();
    if (is_door(node)) return std::nullopt;
    const auto [begin, end] = by_hash_.equal_range(hash(node, inputs));
    int best = -1;  // the earliest, so that the result does not depend on the table's order
    for (auto at = begin; at != end; ++at) {
      if ((best < 0 || at->second < best) && equal(graph_.node(at->second), node, inputs)) best = at->second;
    }
    if (best < 0) return std::nullopt;
    Values results;
    for (int k = 0; k < node.result_count(); ++k) results.push_back(graph_.node(best).result(k));
    return results;
  }

 private:
  // Nodes that rules appended are entered too.
  void catch_up() {
    for (; seen_ < graph_.node_count(); ++seen_) {
      const Node& node = graph_.node(seen_);
      if (!is_door(node)) by_hash_.emplace(hash(node, node.inputs), seen_);
    }
  }

  static size_t hash(const Node& node, std::span<const Value> inputs) {
    size_t h = std::hash<const void*>()(node.op);
    const auto mix = [&](size_t x) { h = (h ^ x) * 0x9E3779B97F4A7C15ULL; };
    for (const Value input : inputs) mix(static_cast<size_t>(input.id) + 1);
    if (const AttrValue* value = node.attrs.find("value")) {  // tells constants apart
      if (const auto* tensor = std::get_if<TensorPtr>(value)) {
        const size_t bytes = std::min<size_t>((*tensor)->bytes(), 64);
        mix(bytes == 0 ? 0
                       : std::hash<std::string_view>()({static_cast<const char*>((*tensor)->data()), bytes}));
      }
    }
    return h;
  }

  static bool equal(const Node& a, const Node& b, std::span<const Value> inputs) {
    if (a.op != b.op || a.types != b.types || !std::ranges::equal(a.inputs, inputs)) return false;
    if (!(a.attrs == b.attrs)) return false;
    if (a.body == b.body) return true;
    return a.body != nullptr && b.body != nullptr && print(*a.body) == print(*b.body);
  }

  const Graph& graph_;
  int seen_ = 0;
  std::unordered_multimap<size_t, int> by_hash_;
};

bool small(const Type& type) {
  if (!std::ranges::all_of(type.dims, [](const Dim& dim) { return dim.is_constant(); })) return false;
  return type.size().constant() <= kMaxFoldedSize;
}

// A node whose operands are all small constants, on the reference evaluator, rounded to its types.
std::optional<Values> fold(const RewriteContext& c) {
  const Node& node = c.node;
  // A broadcast constant is cheaper than the constant it would become.
  if (node.inputs.empty() || node.op->name == "broadcast") return std::nullopt;
  if (!node.op->evaluate && !node.op->meaning && node.body == nullptr) return std::nullopt;
  const Graph& graph = c.builder.graph();
  std::vector<RefTensor> inputs;
  for (const Value input : c.inputs) {
    const Node& producer = graph.producer(input);
    if (producer.op->name != "constant" || !small(producer.types[0])) return std::nullopt;
    inputs.push_back(ref_of(*producer.attrs.tensor("value")));
  }
  if (!std::ranges::all_of(node.types, small)) return std::nullopt;
  std::vector<RefTensor> results;
  try {
    results = evaluate_node(c.old_graph, node, inputs, {});
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::user) throw;
    return std::nullopt;  // an integer division by zero, say: it fails when it runs, as written
  }
  Values values;
  for (const RefTensor& result : results) values.push_back(c.builder.constant(tensor_of(result)));
  return values;
}

struct Round {
  Graph graph;
  bool changed;
};

Round one_round(const Graph& graph) {
  bool changed = false;
  std::optional<EqualNodes> equal_nodes;
  Graph next = rewrite(graph, [&](const RewriteContext& c) -> std::optional<Values> {
    if (!equal_nodes) equal_nodes.emplace(c.builder.graph());
    for (const SimplifyRule& rule : simplify_rules()) {
      if (rule.op != c.node.op->name) continue;
      if (std::optional<Values> values = rule.apply(c)) {
        changed = true;
        return values;
      }
    }
    if (std::optional<Values> values = fold(c)) {
      changed = true;
      return values;
    }
    std::optional<Values> values = equal_nodes->find(c.node, c.inputs);
    changed = changed || values.has_value();
    return values;
  });
  Graph live = remove_dead(next);
  return {std::move(live), changed};
}

}  // namespace

std::optional<double> splat_of(const Graph& graph, Value value) {
  const Node* node = &graph.producer(value);
  while (node->op->name == "broadcast" || node->op->name == "reshape")
    node = &graph.producer(node->inputs[0]);
  if (node->op->name != "constant") return std::nullopt;
  const Tensor& tensor = *node->attrs.tensor("value");
  if (tensor.size() == 0 || tensor.size() > kMaxFoldedSize) return std::nullopt;
  const size_t width = size_of(tensor.dtype());
  const auto* bytes = static_cast<const char*>(tensor.data());
  for (int64_t i = 1; i < tensor.size(); ++i) {
    if (std::memcmp(bytes, bytes + static_cast<size_t>(i) * width, width) != 0) return std::nullopt;
  }
  return tensor.at(0);
}

Graph merge_equal(const Graph& graph) {
  std::optional<EqualNodes> equal_nodes;
  const Graph merged = rewrite(graph, [&](const RewriteContext& c) {
    if (!equal_nodes) equal_nodes.emplace(c.builder.graph());
    return equal_nodes->find(c.node, c.inputs);
  });
  return remove_dead(merged);
}

Graph simplify(const Graph& given) {
  Graph graph = remove_dead(given);
  for (int round = 0; round < kMaxRounds; ++round) {
    Round next = one_round(graph);
    graph = std::move(next.graph);
    if (!next.changed) break;
  }
  return graph;
}

}  // namespace floe
