#include "ir/verify.h"

#include <set>

#include "base/error.h"
#include "ir/op.h"
#include "ir/print.h"

namespace floe {
namespace {

constexpr int kNeighbours = 3;  // lines shown before and after the fault

class Verifier {
 public:
  Verifier(const Graph& graph, std::string_view pass) : graph_(graph), pass_(pass) {}

  void run() {
    int32_t next = 0;
    for (int i = 0; i < graph_.node_count(); ++i) {
      at_ = i;
      const Node& node = graph_.node(i);
      require(node.first.id == next, "values are not numbered in order");
      next += node.result_count();
      for (const Value input : node.inputs) {
        require(input.id >= 0 && input.id < node.first.id,
                fmt::format("%{} is used before it is defined", input.id));
      }
      check_types(node);
      if (node.body != nullptr) verify(*node.body, pass_);
    }
    at_ = -1;
    check_names();
  }

 private:
  void require(bool condition, const std::string& what) const {
    if (condition) return;
    std::string text = fmt::format("after {}: graph '{}': {}", pass_, graph_.name(), what);
    for (int i = std::max(0, at_ - kNeighbours);
         at_ >= 0 && i <= at_ + kNeighbours && i < graph_.node_count(); ++i) {
      text += fmt::format("\n{} {}", i == at_ ? "->" : "  ", print_node(graph_, graph_.node(i)));
    }
    throw Error(ErrorKind::bug, text);
  }

  void check_types(const Node& node) {
    InferArgs args{*node.op, {}, node.attrs, node.body.get(), graph_.symbols()};
    for (const Value input : node.inputs) args.inputs.push_back(graph_.type(input));
    const int count = static_cast<int>(node.inputs.size());
    require(count >= node.op->min_inputs && count <= node.op->max_inputs, "wrong number of inputs");
    std::vector<Type> types;
    std::string failure;
    try {
      types = node.op->infer(args);
    } catch (const Error& e) {
      failure = e.what();
    }
    require(failure.empty(), failure);
    require(types == node.types, "types are not what infer gives");
    for (const Type& type : node.types) {
      for (const Dim& dim : type.dims) {
        std::vector<std::string> names;
        dim.collect_symbols(&names);
        for (const std::string& name : names) {
          require(graph_.symbols().has(name), fmt::format("dim '{}' is not declared", name));
        }
      }
    }
  }

  void check_names() const {
    const auto unique = [&](const std::vector<NamedValue>& list, const char* kind) {
      std::set<std::string> seen;
      for (const NamedValue& entry : list) {
        require(seen.insert(entry.name).second, fmt::format("{} '{}' occurs twice", kind, entry.name));
      }
    };
    unique(graph_.inputs(), "input");
    unique(graph_.states(), "state");
    unique(graph_.outputs(), "output");
    unique(graph_.updates(), "update");
    for (const NamedValue& output : graph_.outputs()) {
      require(output.value.id >= 0 && output.value.id < graph_.value_count(),
              fmt::format("output '{}' is no value", output.name));
    }
    for (const NamedValue& update : graph_.updates()) {
      require(update.value.id >= 0 && update.value.id < graph_.value_count(),
              fmt::format("update '{}' is no value", update.name));
      Value state;
      for (const NamedValue& entry : graph_.states()) {
        if (entry.name == update.name) state = entry.value;
      }
      require(static_cast<bool>(state), fmt::format("update of '{}', which is no state", update.name));
      require(graph_.type(state) == graph_.type(update.value),
              fmt::format("update of '{}' is {}, the state {}", update.name,
                          text_of(graph_.type(update.value)), text_of(graph_.type(state))));
    }
  }

  const Graph& graph_;
  std::string_view pass_;
  int at_ = -1;
};

}  // namespace

void verify(const Graph& graph, std::string_view pass) { Verifier(graph, pass).run(); }

}  // namespace floe
