#include "ops/slice/slice.h"

#include "ir/evaluate.h"
#include "ops/broadcast/broadcast.h"
#include "ops/concat/concat.h"
#include "ops/elementwise/elementwise.h"
#include "ops/infer.h"

namespace floe {
namespace {

Dim one_dim(const Attrs& attrs, std::string_view name) {
  const Dims& dims = attrs.dims(name);
  FLOE_CHECK(dims.size() == 1, "attribute '{}' must be one dim, is {}", name, text_of(dims));
  return dims[0];
}

void require_at_most(const InferArgs& args, const Dim& low, const Dim& high, std::string_view what) {
  const Known known = args.symbols.less_equal(low, high);
  if (known == Known::no) args.fail("{}: {} is past {}", what, low.text(), high.text());
  if (known == Known::unknown) {
    args.fail("{}: cannot tell whether {} <= {}", what, low.text(), high.text());
  }
}

std::vector<Type> infer(const InferArgs& args) {
  Type result = args.inputs[0];
  const int axis = normal_axis(args, args.attrs.integer("axis"), result.rank());
  const Dim begin = one_dim(args.attrs, "begin");
  const Dim length = one_dim(args.attrs, "length");
  require_at_most(args, Dim(0), begin, "begin");
  require_at_most(args, Dim(0), length, "length");
  require_at_most(args, begin + length, result.dim(axis), fmt::format("end on axis {}", axis));
  result.dims[static_cast<size_t>(axis)] = length;
  return {result};
}

std::vector<RefTensor> evaluate_slice(const EvalArgs& args) {
  const RefTensor& x = args.inputs[0];
  const int64_t given = args.attrs.integer("axis");
  const auto axis = static_cast<size_t>(given < 0 ? given + static_cast<int64_t>(x.shape.size()) : given);
  const int64_t begin = args.attrs.integers("begin")[0];
  RefTensor out(x.dtype, args.shapes[0]);
  int64_t inner = 1;
  for (size_t i = axis + 1; i < x.shape.size(); ++i) inner *= x.shape[i];
  const int64_t length = out.shape[axis] * inner;
  for (int64_t at = 0; at < out.size(); ++at) {
    const int64_t from = at / length * x.shape[axis] * inner + begin * inner + at % length;
    if (is_float(x.dtype)) {
      out.f[static_cast<size_t>(at)] = x.f[static_cast<size_t>(from)];
    } else {
      out.i[static_cast<size_t>(at)] = x.i[static_cast<size_t>(from)];
    }
  }
  return {out};
}

// dx = [0 .. 0, dy, 0 .. 0] along the axis
Values gradient(Builder& b, const GradientArgs& args) {
  const Type x = b.type(args.inputs[0]);
  const int64_t given = args.node.attrs.integer("axis");
  const auto axis = static_cast<size_t>(given < 0 ? given + x.rank() : given);
  const Dim begin = one_dim(args.node.attrs, "begin");
  const Dim rest = x.dims[axis] - begin - one_dim(args.node.attrs, "length");
  const Value dy = args.d_outputs[0];
  Values parts;
  const auto zeros = [&](const Dim& length) {
    if (length == Dim(0)) return;
    Dims dims = x.dims;
    dims[axis] = length;
    parts.push_back(broadcast(b, like(b, dy, 0), dims));
  };
  zeros(begin);
  parts.push_back(dy);
  zeros(rest);
  return {parts.size() == 1 ? dy : concat(b, parts, static_cast<int64_t>(axis))};
}

// Any cut but along the axis stays.
ShardRule shard(const ShardArgs& args) {
  Placement at = args.placements[0];
  const int rank = args.inputs[0].rank();
  const int64_t given = args.node.attrs.integer("axis");
  if (at.kind == Placement::Kind::shard && at.dim == (given < 0 ? given + rank : given)) {
    at = Placement::replicate();
  }
  return {{at}, {at}};
}

}  // namespace

Value slice(Builder& b, Value x, int64_t axis, Dim begin, Dim length) {
  return b.add("slice", {x},
               {{"axis", axis}, {"begin", Dims{std::move(begin)}}, {"length", Dims{std::move(length)}}});
}

void define_slice(OpTable& table) {
  OpDef op;
  op.name = "slice";
  op.summary = "x[begin : begin + length] along attribute axis";
  op.min_inputs = op.max_inputs = 1;
  op.infer = infer;
  op.evaluate = evaluate_slice;
  op.gradient = gradient;
  op.shard = shard;
  table.add(std::move(op));
}

}  // namespace floe
