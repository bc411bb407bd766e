#include "ir/print.h"

#include "ir/op.h"

namespace floe {
namespace {

void print_into(const Graph& graph, int depth, std::string* out) {
  const std::string indent(static_cast<size_t>(depth) * 2, ' ');
  *out += fmt::format("{}graph {} {{\n", indent, quote(graph.name()));
  for (const auto& [name, info] : graph.symbols().all()) {
    *out += fmt::format("{}  dim {} in {}..{}", indent, name, info.min, info.max);
    if (info.multiple != 1) *out += fmt::format(" multiple {}", info.multiple);
    *out += "\n";
  }
  for (const Node& node : graph.nodes()) {
    *out += indent + "  " + print_node(graph, node);
    if (node.body != nullptr) {
      *out += " body\n";
      print_into(*node.body, depth + 2, out);
    } else {
      *out += "\n";
    }
  }
  for (const NamedValue& update : graph.updates()) {
    *out += fmt::format("{}  update {} = %{}\n", indent, quote(update.name), update.value.id);
  }
  for (const NamedValue& output : graph.outputs()) {
    *out += fmt::format("{}  return {} = %{}\n", indent, quote(output.name), output.value.id);
  }
  *out += indent + "}\n";
}

std::string dot_escape(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

}  // namespace

std::string print_node(const Graph& graph, const Node& node) {
  (void)graph;
  std::string out;
  for (int i = 0; i < node.result_count(); ++i)
    out += fmt::format("{}%{}", i > 0 ? ", " : "", node.result(i).id);
  out += " = " + node.op->name;
  if (!node.inputs.empty()) {
    out += "(";
    for (size_t i = 0; i < node.inputs.size(); ++i)
      out += fmt::format("{}%{}", i > 0 ? ", " : "", node.inputs[i].id);
    out += ")";
  }
  const std::string attrs = node.attrs.text();
  if (!attrs.empty()) out += " " + attrs;
  out += " : ";
  for (size_t i = 0; i < node.types.size(); ++i) out += (i > 0 ? ", " : "") + text_of(node.types[i]);
  if (!node.where.empty()) out += " @ " + quote(node.where);
  return out;
}

std::string print(const Graph& graph) {
  std::string out;
  print_into(graph, 0, &out);
  return out;
}

std::string print_dot(const Graph& graph) {
  std::string out =
      "digraph floe {\n  rankdir=TB; node [shape=box, style=filled, fontname=\"Helvetica\", fontsize=10];\n"
      "  edge [fontname=\"Helvetica\", fontsize=8];\n";
  for (int i = 0; i < graph.node_count(); ++i) {
    const Node& node = graph.node(i);
    const bool door = node.op->name == "input" || node.op->name == "state" || node.op->name == "constant";
    std::string label = node.op->name;
    if (node.attrs.has("name")) label += "\\n" + dot_escape(node.attrs.text("name"));
    if (!node.where.empty()) label += "\\n" + dot_escape(node.where);
    out += fmt::format("  n{} [label=\"{}\", fillcolor=\"{}\"];\n", i, label,
                       door                                                        ? "#e8e8e8"
                       : node.body != nullptr                                      ? "#ffe0b0"
                       : node.op->name == "matmul" || node.op->name == "attention" ? "#b8d8ff"
                                                                                   : "#ffffff");
    for (const Value input : node.inputs) {
      out += fmt::format("  n{} -> n{} [label=\"{}\"];\n", graph.producer_index(input), i,
                         dot_escape(text_of(graph.type(input))));
    }
  }
  int k = 0;
  for (const NamedValue& output : graph.outputs()) {
    out += fmt::format("  o{} [label=\"{}\", shape=oval, fillcolor=\"#c0f0c0\"];\n  n{} -> o{};\n", k,
                       dot_escape(output.name), graph.producer_index(output.value), k);
    ++k;
  }
  return out + "}\n";
}

}  // namespace floe
