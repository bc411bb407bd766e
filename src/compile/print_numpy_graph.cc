#include "compile/print_numpy_graph.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <optional>
#include <set>

#include "base/error.h"
#include "compile/numpy_nodes.h"
#include "compile/numpy_scalar.h"
#include "compile/print_numpy.h"
#include "compile/printable.h"
#include "ir/op.h"
#include "ops/group/lower.h"

namespace floe {
namespace {

// A size becomes a variable: it must be none of ours and no word of the language.
void check_size_name(const std::string& name) {
  static const std::set<std::string, std::less<>> taken = {
      "F",      "np",     "inputs",  "states",   "floordiv", "mod",    "and",  "as",     "assert",
      "async",  "await",  "break",   "class",    "continue", "def",    "del",  "elif",   "else",
      "except", "False",  "finally", "for",      "from",     "global", "if",   "import", "in",
      "is",     "lambda", "None",    "nonlocal", "not",      "or",     "pass", "raise",  "return",
      "True",   "try",    "while",   "with",     "yield"};
  const bool a_value =
      name.size() > 1 && name[0] == 'v' &&
      std::all_of(name.begin() + 1, name.end(), [](unsigned char c) { return std::isdigit(c); });
  if (a_value || taken.count(name) != 0)
    fail_user("[print_numpy] a size cannot be called '{}' in Python", name);
}

std::string comment_of(const Node& node) {
  std::string types;
  for (const Type& type : node.types) types += (types.empty() ? "" : ", ") + text_of(type);
  return "  # " + types;
}

// 0, 1, 2, ... and tables of one number are written as such; others element by element.
std::string constant_array(const Tensor& value) {
  const std::string type(numpy_type(value.dtype()));
  const auto element = [&](int64_t i) {
    return value.dtype() == DType::i64 ? fmt::format("{}({})", type, value.as<int64_t>()[i])
                                       : numpy_literal(value.dtype(), value.at(i));
  };
  Dims dims;
  for (const int64_t dim : value.shape()) dims.emplace_back(dim);
  if (value.shape().empty()) return element(0);
  bool same = true, counts = value.dtype() == DType::i32 && value.shape().size() == 1;
  for (int64_t i = 0; i < value.size(); ++i) {
    same = same && element(i) == element(0);
    counts = counts && value.at(i) == static_cast<double>(i);
  }
  if (value.size() == 0) return fmt::format("np.zeros({}, {})", numpy_dims(dims), type);
  if (same) return fmt::format("np.full({}, {})", numpy_dims(dims), element(0));
  if (counts) return fmt::format("np.arange({}, dtype={})", value.size(), type);
  std::string elements;
  for (int64_t i = 0; i < value.size(); ++i) {
    const std::string text = element(i);  // "np.float32(0.5)": the type is said once
    const size_t open = text.find('(');
    elements += (i == 0 ? "" : ", ") + text.substr(open + 1, text.size() - open - 2);
  }
  return fmt::format("np.array([{}], {}).reshape({})", elements, type, numpy_dims(dims));
}

class NumpyPrinter {
 public:
  explicit NumpyPrinter(const Graph& graph)
      : graph_(graph), names_(static_cast<size_t>(graph.value_count())) {}

  std::string run() {
    std::string body = sizes();
    for (const Node& node : graph_.nodes()) body += line_of(node);
    return numpy_prelude() + numpy_node_prelude() + functions() +
           fmt::format("\n\n@np.errstate(all=\"ignore\")\ndef {}(inputs, states):\n",
                       identifier_of(graph_.name())) +
           body + result();
  }

 private:
  std::string& name(Value value) { return names_[static_cast<size_t>(value.id)]; }

  // "B, T = ...": each size from the first dim that is it and nothing else.
  std::string sizes() {
    std::set<std::string> wanted;
    for (const Node& node : graph_.nodes()) {
      std::vector<std::string> symbols;
      for (const Type& type : node.types) {
        for (const Dim& dim : type.dims) dim.collect_symbols(&symbols);
      }
      for (const auto& [attribute, value] : node.attrs.all()) {
        if (const auto* dims = std::get_if<Dims>(&value)) {
          for (const Dim& dim : *dims) dim.collect_symbols(&symbols);
        }
      }
      wanted.insert(symbols.begin(), symbols.end());
    }
    std::string out;
    for (const std::string& symbol : wanted) {
      check_size_name(symbol);
      std::optional<std::string> shape = find_size(graph_.inputs(), "inputs", symbol);
      if (!shape) shape = find_size(graph_.states(), "states", symbol);
      if (!shape)
        fail_user("[print_numpy] size '{}' cannot be read from the shape of an input or a state", symbol);
      out += fmt::format("    {} = {}\n", symbol, *shape);
    }
    return out;
  }

  std::optional<std::string> find_size(const std::vector<NamedValue>& given, const char* map,
                                       const std::string& symbol) const {
    for (const NamedValue& value : given) {
      const Dims& dims = graph_.type(value.value).dims;
      for (size_t k = 0; k < dims.size(); ++k) {
        if (dims[k] == Dim::symbol(symbol)) return fmt::format("{}[{}].shape[{}]", map, quote(value.name), k);
      }
    }
    return std::nullopt;
  }

  std::string line_of(const Node& node) {
    const std::string& op = node.op->name;
    std::string targets;
    for (int k = 0; k < node.result_count(); ++k) {
      numpy_type(node.types[static_cast<size_t>(k)].dtype);  // refuses
      name(node.result(k)) = fmt::format("v{}", node.result(k).id);
      targets += (k == 0 ? "" : ", ") + name(node.result(k));
    }
    std::string value;
    if (op == "input" || op == "state") {
      value = fmt::format("_given({}s, {}, {}, {})", op, quote(node.attrs.text("name")),
                          numpy_type(node.types[0].dtype), numpy_dims(node.types[0].dims));
    } else if (op == "constant") {
      value = constant_array(*node.attrs.tensor("value"));
      if (node.types[0].rank() == 0) {  // a number is written where it is used
        name(node.result()) = value;
        return "";
      }
    } else {
      std::vector<std::string> operands;
      for (const Value input : node.inputs) operands.push_back(name(input));
      value = numpy_node(graph_, node, operands);
      if (is_numpy_function(node)) used_.emplace(op, lower_node(graph_, node));
    }
    std::string place;
    if (node.where != where_ && !node.where.empty()) place = "\n    # " + node.where + "\n";
    where_ = node.where;
    return fmt::format("{}    {} = {}{}\n", place, targets, value, comment_of(node));
  }

  std::string functions() const {
    std::string out;
    for (const auto& [op, tape] : used_) out += numpy_function(op, tape);
    return out;
  }

  std::string result() {
    const auto dict = [&](const char* start, const std::vector<NamedValue>& values) {
      std::string out;
      for (const NamedValue& value : values) {
        out += fmt::format("        {}: np.asarray({}),\n", quote(value.name), name(value.value));
      }
      return fmt::format("    {} = {{\n{}    }}\n", start, out);
    };
    return "\n" + dict("outputs", graph_.outputs()) + dict("updated", graph_.updates()) +
           "    return outputs, {**states, **updated}\n";
  }

  const Graph& graph_;
  std::vector<std::string> names_;    // by value
  std::map<std::string, Tape> used_;  // functions of several instructions
  std::string where_;
};

}  // namespace

std::string numpy_graph(const Graph& graph) { return NumpyPrinter(printable(graph)).run(); }

}  // namespace floe
