#include "ops/dropout/dropout.h"

#include "ir/evaluate.h"
#include "ops/elementwise/elementwise.h"
#include "tensor/philox.h"

namespace floe {
namespace {

// seed i32 [], ordinals i32 [B] at inputs `first`, `first + 1`; dims [B, ...] of rank 2 to 4.
void require_coordinates(const InferArgs& args, size_t first, const Dims& dims) {
  const Type& seed = args.inputs[first];
  const Type& ordinals = args.inputs[first + 1];
  if (seed.dtype != DType::i32 || seed.rank() != 0)
    args.fail("the seed must be i32[], got {}", text_of(seed));
  if (ordinals.dtype != DType::i32 || ordinals.rank() != 1) {
    args.fail("the ordinals must be i32[B], got {}", text_of(ordinals));
  }
  if (dims.size() < 2 || dims.size() > 4) {
    args.fail("coordinates are [B, feature], [B, position, feature] or [B, head, position, feature], got {}",
              text_of(dims));
  }
  if (!args.equal(dims[0], ordinals.dim(0))) {
    args.fail("{} ordinals for {} rows", ordinals.dim(0).text(), dims[0].text());
  }
}

std::vector<RefTensor> evaluate_uniform(const EvalArgs& args) {
  RefTensor out(DType::f32, args.shapes[0]);
  const Shape& shape = out.shape;
  const auto seed = static_cast<uint32_t>(args.inputs[0].i[0]);
  const auto op_id = static_cast<uint32_t>(args.attrs.integer("op_id"));
  for (int64_t at = 0; at < count(shape); ++at) {
    int64_t rest = at;
    const auto take = [&rest](int64_t dim) {
      const int64_t coordinate = rest % dim;
      rest /= dim;
      return static_cast<uint32_t>(coordinate);
    };
    PhiloxCoordinates c;
    c.feature = take(shape.back());
    if (shape.size() > 2) c.position = take(shape[shape.size() - 2]);
    if (shape.size() > 3) c.head = take(shape[1]);
    c.ordinal = static_cast<uint32_t>(args.inputs[1].i[static_cast<size_t>(rest)]);
    out.f[static_cast<size_t>(at)] = philox_uniform(philox_bits(seed, op_id, c));
  }
  return {out};
}

}  // namespace

Value uniform(Builder& b, Value seed, Value ordinals, Dims dims, int64_t op_id) {
  return b.add("uniform", {seed, ordinals}, {{"dims", std::move(dims)}, {"op_id", op_id}});
}

Value dropout(Builder& b, Value x, Value seed, Value ordinals, double p) {
  if (p == 0) return x;
  return b.add("dropout", {x, seed, ordinals}, {{"p", p}, {"op_id", b.next_op_id()}});
}

void define_dropout(OpTable& table) {
  OpDef random;
  random.name = "uniform";
  random.summary = "(seed i32[], ordinals i32[B]) -> f32 in [0, 1) of attribute dims [B, ...]";
  random.min_inputs = random.max_inputs = 2;
  random.pointwise = true;
  random.differentiable = false;
  random.infer = [](const InferArgs& args) -> std::vector<Type> {
    const Dims& dims = args.attrs.dims("dims");
    require_coordinates(args, 0, dims);
    return {{DType::f32, dims}};
  };
  random.evaluate = evaluate_uniform;
  table.add(std::move(random));

  OpDef drop;
  drop.name = "dropout";
  drop.summary = "(x [B, ...], seed i32[], ordinals i32[B]) -> x / (1 - p) where uniform >= p, else 0";
  drop.min_inputs = drop.max_inputs = 3;
  drop.pointwise = true;
  drop.infer = [](const InferArgs& args) -> std::vector<Type> {
    args.require_float(0);
    const double p = args.attrs.number("p");
    if (!(p >= 0 && p < 1)) args.fail("p must be in 0 <= p < 1, got {}", p);
    require_coordinates(args, 1, args.inputs[0].dims);
    return {args.inputs[0]};
  };
  drop.meaning = [](Builder& b, const Node& node, std::span<const Value> inputs) -> Values {
    const double p = node.attrs.number("p");
    const Value u = uniform(b, inputs[1], inputs[2], b.type(inputs[0]).dims, node.attrs.integer("op_id"));
    const Value keep = elementwise(b, "le", {b.scalar(p), u});
    return {select(b, keep, scale(b, inputs[0], 1 / (1 - p)), like(b, inputs[0], 0))};
  };
  // y = x * mask / (1 - p):  dx = dy * mask / (1 - p), with the same mask since it has the same op id.
  drop.gradient = [](Builder& b, const GradientArgs& args) -> Values {
    return {b.add("dropout", {args.d_outputs[0], args.inputs[1], args.inputs[2]}, args.node.attrs), {}, {}};
  };
  table.add(std::move(drop));
}

}  // namespace floe
