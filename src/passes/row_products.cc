#include "passes/row_products.h"

#include <algorithm>
#include <optional>
#include <set>

#include "base/error.h"
#include "ir/builder.h"
#include "ir/rewrite.h"
#include "ops/reshape/reshape.h"
#include "ops/row_linear/row_linear.h"

namespace floe {
namespace {

// One row_linear to be: the nodes that it replaces, by index, and what the rest becomes.
struct Merged {
  int product = -1;
  int norm = -1, reshape = -1;  // before the product, reshape after norm; -1: none
  std::vector<int> after;       // activation, casts, addition, in order
  std::string activation;
  Value residual;
  Value result;  // of the last node
  DType out = DType::f32;

  std::vector<int> nodes() const {
    std::vector<int> all{product};
    if (norm >= 0) all.push_back(norm);
    if (reshape >= 0) all.push_back(reshape);
    all.insert(all.end(), after.begin(), after.end());
    return all;
  }
};

bool is_activation(const Node& node) {
  static const std::set<std::string, std::less<>> names = {"relu", "gelu",    "gelu_tanh",
                                                           "silu", "sigmoid", "tanh"};
  return names.count(node.op->name) != 0;
}

class Merger {
 public:
  Merger(const Graph& graph, const SupportsNode& supported)
      : graph_(graph),
        supported_(supported),
        users_(users_of(graph)),
        reads_(static_cast<size_t>(graph.value_count()), 0),
        merged_of_(static_cast<size_t>(graph.node_count()), -1),
        done_(static_cast<size_t>(graph.node_count()), false),
        map_(static_cast<size_t>(graph.value_count())),
        result_(graph.ops(), graph.name()),
        b_(result_) {
    for (const Node& node : graph.nodes()) {
      for (const Value input : node.inputs) ++reads_[index(input)];
    }
    for (const NamedValue& output : graph.outputs()) ++reads_[index(output.value)];
    for (const NamedValue& update : graph.updates()) ++reads_[index(update.value)];
    result_.symbols() = graph.symbols();
  }

  Graph run() {
    for (int i = 0; i < graph_.node_count(); ++i) choose(i);
    for (int i = 0; i < graph_.node_count(); ++i) {  // in the order of the door
      if (graph_.node(i).op->name == "input") emit(i);
    }
    for (int i = 0; i < graph_.node_count(); ++i) emit(i);
    for (const NamedValue& output : graph_.outputs()) result_.add_output(output.name, get(output.value));
    for (const NamedValue& update : graph_.updates()) result_.add_update(update.name, get(update.value));
    return remove_dead(result_);
  }

 private:
  static size_t index(Value value) { return static_cast<size_t>(value.id); }
  const Node& node(int i) const { return graph_.node(i); }
  bool free(int i) const { return merged_of_[static_cast<size_t>(i)] < 0; }

  // The node that alone reads `value`, once; -1 where there is none.
  int only_reader(Value value) const {
    return reads_[index(value)] == 1 && users_[index(value)].size() == 1 ? users_[index(value)][0] : -1;
  }

  void choose(int i) {
    const Node& product = node(i);
    if (product.op->name != "matmul" || graph_.type(product.inputs[1]).rank() != 2) return;
    if (product.attrs.flag("transpose_a", false) || !product.attrs.flag("transpose_b", false)) return;
    Merged alone;
    alone.product = i;
    alone.activation = product.attrs.text("activation", "");
    alone.result = product.result();
    alone.out = product.types[0].dtype;
    Merged unnormed = alone;
    follow(&unnormed);
    Merged whole = unnormed;
    add_norm(&whole);
    for (const Merged& each : {whole, unnormed, alone}) {
      if (accept(each)) return;
    }
  }

  // What alone reads the product, and alone reads that, as far as row_linear does it too.
  void follow(Merged* m) const {
    for (;;) {
      const int i = only_reader(m->result);
      if (i < 0 || !free(i) || !join(node(i), m)) break;
      m->after.push_back(i);
      m->result = node(i).result();
      m->out = node(i).types[0].dtype;
    }
    // A group reads bf16 and makes f32 of it in registers: no reason to write f32.
    while (!m->after.empty() && node(m->after.back()).op->name == "cast" && m->out == DType::f32) {
      const std::vector<int>& users = users_[index(m->result)];
      if (std::ranges::none_of(users, [&](int user) { return node(user).op->pointwise; })) break;
      m->result = node(m->after.back()).inputs[0];
      m->out = graph_.type(m->result).dtype;
      m->after.pop_back();
    }
  }

  bool join(const Node& next, Merged* m) const {
    const DType type = next.types[0].dtype;
    if (type != DType::f32 && type != DType::bf16) return false;
    if (next.op->name == "cast") {  // up before the residual, down at the end
      const bool up = m->out == DType::bf16 && type == DType::f32 && !m->residual;
      return up || (m->out == DType::f32 && type == DType::bf16);
    }
    if (is_activation(next)) {
      if (!m->activation.empty() || m->residual) return false;
      m->activation = next.op->name;
      return true;
    }
    if (next.op->name != "add" || m->residual) return false;
    const Value other = next.inputs[next.inputs[0] == m->result ? 1 : 0];
    if (graph_.type(other).dims != next.types[0].dims) return false;
    // What was widened only to be added is read as it lies.
    const Node& producer = graph_.producer(other);
    m->residual = producer.op->name == "cast" && graph_.type(producer.inputs[0]).dtype == DType::bf16
                      ? producer.inputs[0]
                      : other;
    return true;
  }

  void add_norm(Merged* m) const {
    Value x = node(m->product).inputs[0];
    int reshaped = -1;
    if (graph_.is(x, "reshape") && reads_[index(x)] == 1) {
      reshaped = graph_.producer_index(x);
      x = node(reshaped).inputs[0];
      // Rows must stay rows, and nobody else may want them in their old shape.
      if (graph_.type(x).rank() < 1 || reads_[index(x)] != 1 ||
          graph_.type(x).dim(-1) != node(reshaped).types[0].dim(-1))
        return;
    }
    if (!graph_.is(x, "layer_norm") && !graph_.is(x, "rms_norm")) return;
    if (!free(graph_.producer_index(x))) return;
    m->norm = graph_.producer_index(x);
    m->reshape = reshaped;
  }

  // Is the norm's result read by more than the product?
  bool keeps_norm(const Merged& m) const { return reads_[index(node(m.norm).result())] > 1; }

  // What the merged node reads, in the graph that is given.
  Values inputs_of(const Merged& m) const {
    const Node& product = node(m.product);
    Values inputs = product.inputs;
    if (m.norm >= 0) {
      const Values& of_norm = node(m.norm).inputs;
      inputs[0] = of_norm[0];
      inputs.insert(inputs.end(), of_norm.begin() + 1, of_norm.end());
    }
    if (m.residual) inputs.push_back(m.residual);
    return inputs;
  }

  bool accept(const Merged& m) {
    if (reaches_itself(m) || !has_kernel(m)) return false;
    for (const int i : m.nodes()) merged_of_[static_cast<size_t>(i)] = static_cast<int>(merged_.size());
    merged_.push_back(m);
    return true;
  }

  // Does something that the merged node would read depend on it? What is merged already counts as one node.
  bool reaches_itself(const Merged& m) const {
    const std::vector<int> members = m.nodes();
    std::set<int> seen;
    std::vector<int> open;
    const auto visit = [&](Value value) {
      const int i = graph_.producer_index(value);
      if (seen.insert(i).second) open.push_back(i);
    };
    for (const Value input : inputs_of(m)) visit(input);
    while (!open.empty()) {
      const int i = open.back();
      open.pop_back();
      if (std::ranges::find(members, i) != members.end()) return true;
      const int merged = merged_of_[static_cast<size_t>(i)];
      for (const Value input : merged < 0 ? node(i).inputs : inputs_of(merged_[static_cast<size_t>(merged)]))
        visit(input);
    }
    return false;
  }

  bool has_kernel(const Merged& m) const {
    Graph scratch(graph_.ops(), "scratch");
    scratch.symbols() = graph_.symbols();
    Builder b(scratch);
    const RowLinear made = build(b, m, [&](Value value) {
      return b.input(fmt::format("x{}", scratch.node_count()), graph_.type(value));
    });
    return supported_(scratch, scratch.producer(made.y));
  }

  template <class Get>
  RowLinear build(Builder& b, const Merged& m, Get get) const {
    const Node& product = node(m.product);
    RowLinearArgs args{.activation = m.activation, .out = m.out};
    if (m.norm >= 0) {
      const Node& norm = node(m.norm);
      args.x = get(norm.inputs[0]);
      if (m.reshape >= 0) args.x = reshape(b, args.x, node(m.reshape).types[0].dims);
      args.norm = norm.op->name;
      args.gamma = get(norm.inputs[1]);
      if (norm.inputs.size() > 2) args.beta = get(norm.inputs[2]);
      args.eps = norm.attrs.number("eps");
      args.keep_norm = keeps_norm(m);
    } else {
      args.x = get(product.inputs[0]);
    }
    args.w = get(product.inputs[1]);
    if (product.inputs.size() > 2) args.bias = get(product.inputs[2]);
    if (m.residual) args.residual = get(m.residual);
    b.set_where(product.where);
    return row_linear(b, args);
  }

  Value get(Value old) {
    emit(graph_.producer_index(old));
    return map_[index(old)];
  }

  // Appends node i, or what it is merged into, after what that reads.
  void emit(int i) {
    const int merged = merged_of_[static_cast<size_t>(i)];
    if (done_[static_cast<size_t>(i)]) return;
    if (merged >= 0) {
      const Merged& m = merged_[static_cast<size_t>(merged)];
      for (const int each : m.nodes()) done_[static_cast<size_t>(each)] = true;
      for (const Value input : inputs_of(m)) get(input);
      const RowLinear made = build(b_, m, [&](Value value) { return get(value); });
      map_[index(m.result)] = made.y;
      if (made.normed) map_[index(node(m.norm).result())] = made.normed;
      return;
    }
    done_[static_cast<size_t>(i)] = true;
    Values inputs;
    for (const Value input : node(i).inputs) inputs.push_back(get(input));
    b_.set_where(node(i).where);
    const Values results = copy_node(b_, node(i), inputs);
    for (size_t k = 0; k < results.size(); ++k) map_[index(node(i).first) + k] = results[k];
  }

  const Graph& graph_;
  const SupportsNode& supported_;
  std::vector<std::vector<int>> users_;  // by value
  std::vector<int> reads_;               // by value: by nodes, outputs and updates
  std::vector<int> merged_of_;           // by node: of which row_linear it is a part
  std::vector<Merged> merged_;
  std::vector<bool> done_;  // by node
  Values map_;              // by value: in the new graph
  Graph result_;
  Builder b_;
};

}  // namespace

Graph merge_row_products(const Graph& graph, const SupportsNode& supported) {
  return Merger(graph, supported).run();
}

}  // namespace floe
