// No value of their own and no meaning: what they give depends on the other ranks (but for fan_out).
#include "ops/collective/collective.h"

#include "ir/evaluate.h"
#include "ops/infer.h"

namespace floe {
namespace {

MeshAxis mesh_of(const Attrs& attrs) { return {attrs.text("mesh"), attrs.integer("ways")}; }

int64_t checked_ways(const InferArgs& args) {
  const int64_t ways = mesh_of(args.attrs).ways;
  if (ways < 1) args.fail("ways must be at least 1, got {}", ways);
  return ways;
}

std::vector<Type> infer_same(const InferArgs& args) {
  checked_ways(args);
  if (args.attrs.has("reduce")) {
    const std::string& reduce = args.attrs.text("reduce");
    if (reduce != "sum" && reduce != "max") args.fail("reduce must be sum or max, got '{}'", reduce);
    if (args.inputs[0].dtype == DType::boolean) args.fail("operand must not be bool");
  }
  return {args.inputs[0]};
}

std::vector<Type> infer_gather(const InferArgs& args) {
  Type type = args.inputs[0];
  Dim& dim = type.dims[static_cast<size_t>(normal_axis(args, args.attrs.integer("axis"), type.rank()))];
  dim = dim * Dim(checked_ways(args));
  return {type};
}

std::vector<Type> infer_cut(const InferArgs& args) {
  Type type = args.inputs[0];
  const Dim ways(checked_ways(args));
  Dim& dim = type.dims[static_cast<size_t>(normal_axis(args, args.attrs.integer("axis"), type.rank()))];
  if (floor_div(dim, ways) * ways != dim) {
    args.fail("{} is not known to be a multiple of {}", dim.text(), ways.text());
  }
  dim = floor_div(dim, ways);
  return {type};
}

Value add_op(Builder& b, std::string_view op, Value x, const MeshAxis& mesh, Attrs attrs) {
  attrs.set("mesh", mesh.name);
  attrs.set("ways", mesh.ways);
  return b.add(op, {x}, std::move(attrs));
}

OpDef define(const char* name, const char* summary, std::vector<Type> (*infer)(const InferArgs&),
             Values (*gradient)(Builder&, const GradientArgs&)) {
  OpDef op;
  op.name = name;
  op.summary = summary;
  op.min_inputs = op.max_inputs = 1;
  op.infer = infer;
  op.gradient = gradient;
  return op;
}

int64_t axis_of(const GradientArgs& args) { return args.node.attrs.integer("axis"); }

}  // namespace

Value all_reduce(Builder& b, Value x, const MeshAxis& mesh) {
  return add_op(b, "all_reduce", x, mesh, {{"reduce", "sum"}});
}
Value all_reduce_max(Builder& b, Value x, const MeshAxis& mesh) {
  return add_op(b, "all_reduce", x, mesh, {{"reduce", "max"}});
}
Value fan_out(Builder& b, Value x, const MeshAxis& mesh) { return add_op(b, "fan_out", x, mesh, {}); }
Value all_gather(Builder& b, Value x, int64_t axis, const MeshAxis& mesh) {
  return add_op(b, "all_gather", x, mesh, {{"axis", axis}});
}
Value local_shard(Builder& b, Value x, int64_t axis, const MeshAxis& mesh) {
  return add_op(b, "local_shard", x, mesh, {{"axis", axis}});
}
Value reduce_scatter(Builder& b, Value x, int64_t axis, const MeshAxis& mesh) {
  return add_op(b, "reduce_scatter", x, mesh, {{"axis", axis}});
}

void define_collective(OpTable& table) {
  OpDef reduce = define("all_reduce", "sum or max over the ranks of x", infer_same,
                        [](Builder& b, const GradientArgs& args) -> Values {
                          if (args.node.attrs.text("reduce") != "sum") {
                            fail_user("[all_reduce] a maximum over ranks has no gradient");
                          }
                          (void)b;
                          return {args.d_outputs[0]};
                        });
  reduce.in_place = {{0, 0}};
  table.add(std::move(reduce));

  OpDef fan = define("fan_out", "x; its gradient is summed over the ranks", infer_same,
                     [](Builder& b, const GradientArgs& args) -> Values {
                       return {all_reduce(b, args.d_outputs[0], mesh_of(args.node.attrs))};
                     });
  fan.evaluate = [](const EvalArgs& args) -> std::vector<RefTensor> { return {args.inputs[0]}; };
  table.add(std::move(fan));

  table.add(define("all_gather", "the ranks' x, one after the other along attribute axis", infer_gather,
                   [](Builder& b, const GradientArgs& args) -> Values {
                     return {local_shard(b, args.d_outputs[0], axis_of(args), mesh_of(args.node.attrs))};
                   }));
  table.add(define("local_shard", "this rank's part of x along attribute axis", infer_cut,
                   [](Builder& b, const GradientArgs& args) -> Values {
                     return {all_gather(b, args.d_outputs[0], axis_of(args), mesh_of(args.node.attrs))};
                   }));
  table.add(define("reduce_scatter", "this rank's part along attribute axis of the sum of x", infer_cut,
                   [](Builder& b, const GradientArgs& args) -> Values {
                     return {all_gather(b, args.d_outputs[0], axis_of(args), mesh_of(args.node.attrs))};
                   }));
}

}  // namespace floe
