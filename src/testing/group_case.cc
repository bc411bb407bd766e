#include "testing/group_case.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "device/cpu/thread_pool.h"
#include "ops/broadcast/broadcast.h"
#include "ops/elementwise/elementwise.h"
#include "ops/group/lower.h"
#include "testing/op_case.h"

namespace floe {

std::vector<Tensor> interpreted(const GroupCase& g) {
  Attrs attrs;
  attrs.set("tape", TapePtr(std::make_shared<Tape>(g.tape())));
  std::vector<Tensor> results = g.results();
  std::vector<View> out;
  for (Tensor& tensor : results) out.push_back(view_of(tensor));
  const BoundKernel bound =
      kernels_of(DeviceKind::cpu).named(DeviceKind::cpu, "group.tiles").bind({attrs, g.views, out, 1});
  Tensor workspace(DType::u8, {static_cast<int64_t>(bound.workspace)});
  ThreadPool pool(1);
  bound.run({g.views, out, workspace.data(), &pool});
  return results;
}

Value add_integer_outputs(GroupCase& g, Value x, Value y) {
  const Value one = like(g.b, y, 1);
  const Value sum = add(g.b, mul(g.b, x, x), elementwise(g.b, "neg", {y}));
  g.output(sum);
  g.output(elementwise(g.b, "floordiv", {sum, add(g.b, elementwise(g.b, "max", {y, one}), one)}));
  g.output(elementwise(g.b, "rem", {sum, elementwise(g.b, "max", {elementwise(g.b, "abs", {y}), one})}));
  g.output(cast(g.b, sum, DType::f32));
  g.output(cast(g.b, cast(g.b, x, DType::f32), DType::i8));
  const Value less = elementwise(g.b, "lt", {x, y});
  const Value either = elementwise(g.b, "logical_or", {less, elementwise(g.b, "eq", {x, y})});
  g.output(elementwise(g.b, "logical_not", {elementwise(g.b, "logical_and", {less, either})}));
  g.output(select(g.b, either, x, y));
  for (const char* name : {"bit_and", "bit_or", "bit_xor", "shift_left", "shift_right"}) {
    g.output(elementwise(g.b, name, {sum, y}));
  }
  return either;
}

void expect_same_numbers(const Tensor& got, const Tensor& want, double ulps, const std::string& what) {
  ASSERT_EQ(got.dtype(), want.dtype()) << what;
  ASSERT_EQ(got.shape(), want.shape()) << what;
  for (int64_t i = 0; i < got.size(); ++i) {
    if (got.dtype() == DType::i64) {
      ASSERT_EQ(got.as<int64_t>()[i], want.as<int64_t>()[i]) << what << " at " << i;
      continue;
    }
    const double g = got.at(i), w = want.at(i);
    if (std::isnan(w)) {
      ASSERT_TRUE(std::isnan(g)) << what << " at " << i << ": " << g;
    } else if (ulps == 0 || std::isinf(w)) {
      ASSERT_TRUE(g == w && std::signbit(g) == std::signbit(w))
          << what << " at " << i << ": " << g << ", " << w;
    } else {
      const double unit = std::max(std::ldexp(std::fabs(w), -23), 0x1p-149);
      ASSERT_LE(std::fabs(g - w), ulps * unit) << what << " at " << i << ": " << g << ", " << w;
    }
  }
}

std::vector<Tensor> run_group_body(const Graph& body, const std::vector<Tensor*>& inputs, int threads,
                                   const std::vector<int>& over) {
  Attrs attrs;
  attrs.set("tape", TapePtr(std::make_shared<Tape>(lower_group(body))));
  KernelSignature signature{"group", {}, {}, {}, &attrs};
  std::vector<View> in, out;
  std::vector<Tensor> results;
  for (Tensor* tensor : inputs) {
    in.push_back(view_of(*tensor));
    signature.inputs.push_back(tensor->dtype());
    signature.ranks.push_back(static_cast<int>(tensor->shape().size()));
  }
  for (const NamedValue& output : body.outputs()) {
    Shape shape;
    for (const Dim& dim : body.type(output.value).dims) shape.push_back(dim.constant());
    results.emplace_back(body.type(output.value).dtype, shape);
    signature.outputs.push_back(results.back().dtype());
  }
  for (size_t k = 0; k < results.size(); ++k) {
    out.push_back(view_of(results[k]));
    if (k < over.size() && over[k] >= 0) out[k].data = in[static_cast<size_t>(over[k])].data;
  }
  const Kernel* kernel = kernels_of(DeviceKind::cpu).find(DeviceKind::cpu, signature);
  EXPECT_NE(kernel, nullptr);
  const BoundKernel bound = kernel->bind({attrs, in, out, threads});
  Tensor workspace(DType::u8, {static_cast<int64_t>(bound.workspace)});
  ThreadPool pool(threads);
  bound.run({in, out, workspace.data(), &pool});
  for (size_t k = 0; k < results.size(); ++k) {
    if (out[k].data != results[k].data()) std::memcpy(results[k].data(), out[k].data, results[k].bytes());
  }
  return results;
}

}  // namespace floe
