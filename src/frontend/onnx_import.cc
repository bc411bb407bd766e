// Walks the nodes of an ONNX graph in order and calls their rules.
#include <algorithm>
#include <cctype>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "frontend/onnx.h"
#include "frontend/onnx_call.h"
#include "frontend/onnx_tensor.h"
#include "ops/all.h"

namespace floe {
namespace {

constexpr int64_t kMostConstant = 1024;  // elements; a larger initializer is a weight
constexpr int64_t kMostNodes = 1 << 20;  // of the graph that is built: functions may call one another
// Of a dim without a number. Exporters write ends of slices beyond any length, from 10^9 on.
constexpr SymbolInfo kAnyLength{.min = 0, .max = 1 << 28, .multiple = 1};
constexpr int kMostDepth = 64;

using Names = std::map<std::string, Value, std::less<>>;
using Arguments = std::map<std::string, OnnxAttribute>;

std::string title(const OnnxNode& node) {
  const std::string name = !node.name.empty() ? node.name : node.outputs.empty() ? "" : node.outputs[0];
  return fmt::format("node '{}' ({})", name, node.op);
}

class Importer {
 public:
  using Bounds = std::map<std::string, SymbolInfo>;
  Importer(const OnnxModel& model, const OpTable& ops, const OnnxOptions& options, const Bounds& bounds)
      : model_(model),
        options_(options),
        bounds_(bounds),
        result_{Graph(ops, options.name), {}, {}, false},
        builder_(result_.graph),
        known_(builder_, [this](const Node& door) { return offer(door); }) {
    for (const OnnxFunction& f : model.functions) functions_[f.domain + ":" + f.name] = &f;
    folder_ = folder_of(model.path);
  }

  OnnxImport run() {
    check_opsets();
    check_operators();
    Names names;
    add_initializers(model_.graph, &names);
    for (const OnnxValue& input : model_.graph.inputs) {
      if (names.count(input.name) == 0) names[input.name] = add_input(input);
    }
    scopes_.push_back(std::move(names));
    run_nodes(model_.graph.nodes, model_.opsets, nullptr);
    std::set<std::string> seen;
    for (const OnnxValue& output : model_.graph.outputs) {
      const Value* value = find(output.name);
      if (value == nullptr) fail_user("output '{}' is made by no node", output.name);
      if (!seen.insert(output.name).second) fail_user("output '{}' is named twice", output.name);
      builder_.output(output.name, *value);
    }
    if (model_.graph.outputs.empty()) fail_user("the graph has no outputs");
    std::sort(result_.specialised.begin(), result_.specialised.end());
    return std::move(result_);
  }

 private:
  void check_opsets() {
    for (const auto& [domain, version] : model_.opsets) {
      if (domain.empty() && (version < 1 || version > 28))
        fail_user("opset {} of ONNX is not supported; 7 to 28 are", version);
    }
    if (model_.graph.sparse) fail_user("sparse initializers are not supported");
  }

  // All at once, with the nodes that use them.
  void check_operators() {
    std::map<std::string, std::vector<std::string>> missing;
    const auto walk = [&](const auto& self, const std::vector<OnnxNode>& nodes) -> void {
      for (const OnnxNode& node : nodes) {
        const std::string name = full_name(node);
        if (onnx_rules().count(name) == 0 && functions_.count(node.domain + ":" + node.op) == 0)
          missing[name].push_back(!node.name.empty() || node.outputs.empty() ? node.name : node.outputs[0]);
        for (const OnnxAttribute& a : node.attributes) {
          if (a.g != nullptr) self(self, a.g->nodes);
        }
      }
    };
    walk(walk, model_.graph.nodes);
    for (const OnnxFunction& f : model_.functions) walk(walk, f.nodes);
    if (missing.empty()) return;
    std::string text;
    for (const auto& [op, nodes] : missing) {
      text += fmt::format("{}{} in", text.empty() ? "" : "; ", op);
      for (size_t k = 0; k < nodes.size() && k < 5; ++k)
        text += fmt::format("{} '{}'", k > 0 ? "," : "", nodes[k]);
      if (nodes.size() > 5) text += fmt::format(" and {} more", nodes.size() - 5);
    }
    fail_user("operators that are not supported: {}", text);
  }

  static std::string full_name(const OnnxNode& node) {
    return node.domain.empty() ? node.op : node.domain + ":" + node.op;
  }

  Dim dim_of(const OnnxValue& input, size_t k) {
    const OnnxDim& dim = input.dims[k];
    const auto fixed = options_.shapes.find(input.name);
    if (fixed != options_.shapes.end()) {
      if (fixed->second.size() != input.dims.size())
        fail_user("input '{}' has rank {}, its shape was given as {}", input.name, input.dims.size(),
                  text_of(fixed->second));
      if (dim.known && dim.value != fixed->second[k])
        fail_user("input '{}' has dim {} = {}, its shape was given as {}", input.name, k, dim.value,
                  text_of(fixed->second));
      return {fixed->second[k]};
    }
    if (dim.known) {
      if (dim.value < 0) fail_user("input '{}' has dim {}", input.name, dim.value);
      return {dim.value};
    }
    // A name of letters, digits and _, that no other spelling shares.
    const std::string spelt = dim.name.empty() ? fmt::format("{}_{}", input.name, k) : dim.name;
    const auto known = symbols_.find(dim.name.empty() ? "\n" + spelt : spelt);
    if (known != symbols_.end()) return known->second;
    std::string name;
    for (const char c : spelt) name += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
    if (name.empty() || std::isalpha(static_cast<unsigned char>(name[0])) == 0) name.insert(0, "d");
    while (result_.graph.symbols().has(name)) name += "_";
    const auto bound = bounds_.find(name);
    return symbols_[dim.name.empty() ? "\n" + spelt : spelt] =
               result_.graph.symbols().declare(name, bound == bounds_.end() ? kAnyLength : bound->second);
  }

  Value add_input(const OnnxValue& input) {
    if (!input.is_tensor) fail_user("input '{}' is no tensor", input.name);
    if (!input.has_shape && options_.shapes.count(input.name) == 0)
      fail_user("input '{}' has no shape, not even a rank", input.name);
    for (const NamedValue& other : result_.graph.inputs()) {
      if (other.name == input.name) fail_user("input '{}' is named twice", input.name);
    }
    Type type{supported(input.type, input.name), {}};
    if (!input.has_shape) {
      for (const int64_t dim : options_.shapes.at(input.name)) type.dims.emplace_back(dim);
    }
    for (size_t k = 0; k < input.dims.size(); ++k) type.dims.push_back(dim_of(input, k));
    if (type.rank() > kMaxRank)
      fail_user("input '{}' has rank {}; at most {}", input.name, type.rank(), kMaxRank);
    return builder_.input(input.name, type);
  }

  static DType supported(int32_t type, const std::string& what) {
    try {
      return dtype_of_onnx(type);
    } catch (const Error& e) {
      fail_user("'{}': {}", what, e.what());
    }
  }

  void add_initializers(const OnnxGraph& graph, Names* names) {
    for (const OnnxTensor& t : graph.initializers) {
      Tensor tensor = tensor_of_onnx(t, folder_);
      if (names->count(t.name) != 0) fail_user("initializer '{}' is there twice", t.name);
      if (tensor.size() <= kMostConstant) {
        (*names)[t.name] = builder_.constant(std::move(tensor));
        continue;
      }
      Type type{tensor.dtype(), {}};
      for (const int64_t dim : tensor.shape()) type.dims.emplace_back(dim);
      std::string name = t.name;
      while (result_.states.count(name) != 0) name += "_";
      (*names)[t.name] = builder_.state(name, type);
      result_.states[name] = std::make_shared<Tensor>(std::move(tensor));
    }
  }

  TensorPtr offer(const Node& door) {
    const std::string& name = door.attrs.text("name");
    if (door.op->name == "state") return result_.states.at(name);
    const auto value = options_.values.find(name);
    if (value == options_.values.end()) return nullptr;
    if (value->second->dtype() != door.types[0].dtype)
      fail_user("input '{}' must be {}, got {}", name, name_of(door.types[0].dtype),
                name_of(value->second->dtype()));
    Binding binding;
    bind_dims(door.types[0].dims, value->second->shape(), name, &binding);
    for (const Dim& dim : door.types[0].dims) {
      if (!dim.is_constant()) return nullptr;  // its value would fix the dim, too
    }
    if (std::ranges::find(result_.specialised, name) == result_.specialised.end())
      result_.specialised.push_back(name);
    return value->second;
  }

  const Value* find(const std::string& name) const {
    for (size_t k = scopes_.size(); k-- > first_scope_;) {
      const auto found = scopes_[k].find(name);
      if (found != scopes_[k].end()) return &found->second;
    }
    return nullptr;
  }

  void run_nodes(const std::vector<OnnxNode>& nodes, const std::map<std::string, int64_t>& opsets,
                 const Arguments* arguments) {
    if (++depth_ > kMostDepth) fail_user("graphs and functions call one another too deeply");
    for (const OnnxNode& node : nodes) {
      try {
        Builder::Scope scope(builder_,
                             node.name.empty() && !node.outputs.empty() ? node.outputs[0] : node.name);
        run_node(node, nodes, opsets, arguments);
      } catch (const BoundNeeded& e) {
        throw BoundNeeded(e.symbol, e.upper, e.bound, fmt::format("{}: {}", title(node), e.what()));
      } catch (const Error& e) {
        if (e.kind() == ErrorKind::bug) throw;
        throw Error(e.kind(), fmt::format("{}: {}", title(node), e.what()));
      }
    }
    --depth_;
  }

  void run_node(const OnnxNode& node, const std::vector<OnnxNode>& nodes,
                const std::map<std::string, int64_t>& opsets, const Arguments* arguments) {
    if (result_.graph.node_count() > kMostNodes) fail_user("the graph grows past {} nodes", kMostNodes);
    Values in;
    for (const std::string& name : node.inputs) {
      if (name.empty()) {
        in.emplace_back();
        continue;
      }
      const Value* value = find(name);
      if (value == nullptr) {
        const bool later = std::ranges::any_of(
            nodes, [&](const OnnxNode& n) { return std::ranges::find(n.outputs, name) != n.outputs.end(); });
        if (later)
          fail_user("reads '{}' before it is made: the nodes are out of order or form a cycle", name);
        fail_user("reads '{}', which no input, initializer or node gives", name);
      }
      in.push_back(*value);
    }
    const auto version = opsets.find(node.domain);
    OnnxCall call{builder_,
                  known_,
                  node,
                  version == opsets.end() ? 1 : version->second,
                  arguments,
                  [&](const OnnxGraph& graph, const Values& values) {
                    return run_graph(graph, values, opsets, arguments);
                  },
                  folder_,
                  std::move(in)};
    const auto function = functions_.find(node.domain + ":" + node.op);
    const Values results = function != functions_.end() ? run_function(*function->second, call)
                                                        : onnx_rules().at(full_name(node))(call);
    for (size_t k = 0; k < node.outputs.size(); ++k) {
      if (node.outputs[k].empty()) continue;
      if (k >= results.size() || !results[k])
        fail_user("output {} ('{}') is not supported", k, node.outputs[k]);
      if (builder_.type(results[k]).rank() > kMaxRank)
        fail_user("its result is of rank {}; at most {}", builder_.type(results[k]).rank(), kMaxRank);
      if (!scopes_.back().emplace(node.outputs[k], results[k]).second)
        fail_user("makes '{}', which is there already", node.outputs[k]);
    }
  }

  // A graph in an attribute: it sees what is around it.
  Values run_graph(const OnnxGraph& graph, const Values& inputs, const std::map<std::string, int64_t>& opsets,
                   const Arguments* arguments) {
    if (inputs.size() != graph.inputs.size())
      fail_user("graph '{}' takes {} values, gets {}", graph.name, graph.inputs.size(), inputs.size());
    if (graph.sparse) fail_user("sparse initializers are not supported");
    Names names;
    add_initializers(graph, &names);
    for (size_t k = 0; k < inputs.size(); ++k) names[graph.inputs[k].name] = inputs[k];
    scopes_.push_back(std::move(names));
    run_nodes(graph.nodes, opsets, arguments);
    Values results;
    for (const OnnxValue& output : graph.outputs) {
      const Value* value = find(output.name);
      if (value == nullptr)
        fail_user("output '{}' of graph '{}' is made by no node", output.name, graph.name);
      results.push_back(*value);
    }
    scopes_.pop_back();
    return results;
  }

  Values run_function(const OnnxFunction& f, const OnnxCall& call) {
    Arguments arguments;
    for (const OnnxAttribute& a : f.defaults) arguments[a.name] = a;
    for (const OnnxAttribute& a : call.node.attributes) {
      const OnnxAttribute* value = call.attribute(a.name);
      if (value != nullptr) arguments[a.name] = *value;
    }
    Names names;
    for (size_t k = 0; k < f.inputs.size(); ++k)
      names[f.inputs[k]] = k < call.in.size() ? call.in[k] : Value{};
    const size_t saved = std::exchange(first_scope_, scopes_.size());
    scopes_.push_back(std::move(names));
    run_nodes(f.nodes, f.opsets.empty() ? model_.opsets : f.opsets, &arguments);
    Values results;
    for (const std::string& output : f.outputs) {
      const Value* value = find(output);
      results.push_back(value == nullptr ? Value{} : *value);
    }
    scopes_.pop_back();
    first_scope_ = saved;
    return results;
  }

  const OnnxModel& model_;
  const OnnxOptions& options_;
  const Bounds& bounds_;
  OnnxImport result_;
  Builder builder_;
  KnownValues known_;
  std::string folder_;
  std::map<std::string, const OnnxFunction*> functions_;
  std::map<std::string, Dim> symbols_;
  std::vector<Names> scopes_;
  size_t first_scope_ = 0;  // that the names of a function's nodes may come from
  int depth_ = 0;
};

}  // namespace

std::unique_ptr<OnnxModel> read_onnx(const std::string& path) { return parse_onnx(read_file(path), path); }

OnnxImport import_onnx(const OnnxModel& model, const OpTable& ops, const OnnxOptions& options) {
  constexpr int kMostRounds = 64;
  Importer::Bounds bounds;
  try {
    for (int round = 0;; ++round) {
      try {
        return Importer(model, ops, options, bounds).run();
      } catch (const BoundNeeded& e) {
        SymbolInfo& info = bounds.emplace(e.symbol, kAnyLength).first->second;
        const SymbolInfo old = info;
        (e.upper ? info.max : info.min) = e.upper ? std::min(info.max, e.bound) : std::max(info.min, e.bound);
        if (info == old || info.min > info.max || round == kMostRounds) throw;
      }
    }
  } catch (const Error& e) {
    if (e.kind() == ErrorKind::bug) throw;
    throw Error(e.kind(), fmt::format("{}: {}", model.path, e.what()));
  }
}

OnnxImport import_onnx_for(const OnnxModel& model, const OpTable& ops, const NamedTensors& inputs,
                           const std::string& name) {
  OnnxOptions options{.name = name, .values = inputs, .shapes = {}};
  try {
    OnnxImport import = import_onnx(model, ops, options);
    Binding binding;
    for (const NamedValue& input : import.graph.inputs()) {
      const auto given = inputs.find(input.name);
      if (given != inputs.end())
        bind_dims(import.graph.type(input.value).dims, given->second->shape(), input.name, &binding);
    }
    import.graph.symbols().check(binding);
    return import;
  } catch (const Error& e) {
    if (e.kind() == ErrorKind::bug) throw;
  }
  for (const auto& [input, tensor] : inputs) options.shapes[input] = tensor->shape();
  OnnxImport import = import_onnx(model, ops, options);
  import.fixed_shapes = true;
  return import;
}

std::vector<std::string> onnx_operators() {
  std::vector<std::string> names;
  for (const auto& [name, rule] : onnx_rules()) names.push_back(name);
  return names;
}

}  // namespace floe
