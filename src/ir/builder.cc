#include "ir/builder.h"

#include "base/error.h"

namespace floe {

Values Builder::add_all(std::string_view op_name, Values inputs, Attrs attrs,
                        std::shared_ptr<const Graph> body) {
  const OpDef& op = graph_.ops().get(op_name);
  const int count = static_cast<int>(inputs.size());
  InferArgs args{op, {}, attrs, body.get(), graph_.symbols()};
  if (count < op.min_inputs || count > op.max_inputs) {
    if (op.min_inputs == op.max_inputs) args.fail("takes {} inputs, got {}", op.min_inputs, count);
    args.fail("takes {} to {} inputs, got {}", op.min_inputs, op.max_inputs, count);
  }
  for (const Value input : inputs) args.inputs.push_back(graph_.type(input));
  Node node;
  try {
    node.types = op.infer(args);
  } catch (const Error& error) {
    if (where_.empty()) throw;
    throw Error(error.kind(), fmt::format("{} (in {})", error.what(), where_));
  }
  node.op = &op;
  node.inputs = std::move(inputs);
  node.attrs = std::move(attrs);
  node.body = std::move(body);
  node.where = where_;
  const Node& added = graph_.append(std::move(node));
  Values results;
  for (int i = 0; i < added.result_count(); ++i) results.push_back(added.result(i));
  return results;
}

Value Builder::input(std::string_view name, Type type) {
  return add("input", {}, {{"name", std::string(name)}, {"dtype", type.dtype}, {"dims", type.dims}});
}

Value Builder::state(std::string_view name, Type type, Attrs marks) {
  marks.set("name", std::string(name));
  marks.set("dtype", type.dtype);
  marks.set("dims", type.dims);
  return add("state", {}, std::move(marks));
}

Value Builder::constant(Tensor value) {
  return add("constant", {}, {{"value", TensorPtr(std::make_shared<Tensor>(std::move(value)))}});
}

Value Builder::scalar(double value, DType type) { return constant(Tensor::from_doubles(type, {}, {value})); }

Builder::Scope::Scope(Builder& builder, std::string_view name) : builder_(builder), saved_(builder.where_) {
  builder_.where_ = saved_.empty() ? std::string(name) : saved_ + "." + std::string(name);
}

}  // namespace floe
