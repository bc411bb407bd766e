#include "ops/group/group.h"

#include "ir/rewrite.h"

namespace floe {
namespace {

std::vector<Type> infer(const InferArgs& args) {
  if (args.body == nullptr) args.fail("has no body");
  const Graph& body = *args.body;
  if (body.inputs().size() != args.inputs.size()) {
    args.fail("the body takes {} inputs, got {}", body.inputs().size(), args.inputs.size());
  }
  for (size_t i = 0; i < args.inputs.size(); ++i) {
    const Type& want = body.type(body.inputs()[i].value);
    if (want != args.inputs[i]) {
      args.fail("the body's input '{}' is {}, got {}", body.inputs()[i].name, text_of(want),
                text_of(args.inputs[i]));
    }
  }
  for (const Node& node : body.nodes()) {
    if (!node.op->pointwise && node.op->name != "input" && node.op->name != "constant") {
      args.fail("'{}' is no pointwise op", node.op->name);
    }
  }
  if (body.outputs().empty()) args.fail("the body has no outputs");
  std::vector<Type> results;
  for (const NamedValue& output : body.outputs()) {
    results.push_back(body.type(output.value));
    if (results.back().dims != results.front().dims) {
      args.fail("results must have one shape, got {} and {}", text_of(results.front()),
                text_of(results.back()));
    }
  }
  return results;
}

}  // namespace

Values group(Builder& b, std::shared_ptr<const Graph> body, Values inputs) {
  return b.add_all("group", std::move(inputs), {}, std::move(body));
}

std::shared_ptr<const Graph> body_of(const Graph& graph, const Node& node) {
  auto body = std::make_shared<Graph>(graph.ops(), "group");
  body->symbols() = graph.symbols();
  Builder b(*body);
  Values inputs;
  for (size_t k = 0; k < node.inputs.size(); ++k) {
    inputs.push_back(b.input("x" + std::to_string(k), graph.type(node.inputs[k])));
  }
  const Values results = copy_node(b, node, inputs);
  for (size_t k = 0; k < results.size(); ++k) b.output("y" + std::to_string(k), results[k]);
  return body;
}

void define_group(OpTable& table) {
  OpDef op;
  op.name = "group";
  op.summary = "pointwise ops of the body in one pass over memory";
  op.min_inputs = 0;
  op.max_inputs = 64;
  op.infer = infer;
  table.add(std::move(op));
}

}  // namespace floe
