#include "testing/op_case.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "ir/builder.h"
#include "ops/elementwise/elementwise.h"
#include "ops/reduce/reduce.h"
#include "passes/autodiff.h"
#include "testing/case_kernel.h"
#include "testing/test_device.h"

namespace floe {
namespace {

constexpr size_t kGuard = 256;  // also keeps the alignment that allocate() gives
constexpr unsigned char kGuardByte = 0xA5;

// Device memory with guard bytes on both sides, filled with them inside too.
class Guarded {
 public:
  Guarded(Device& device, size_t size)
      : device_(device), size_(size), bytes_(size + 2 * kGuard, kGuardByte), memory_(device, bytes_.size()) {
    device_.upload(memory_.data(), bytes_.data(), bytes_.size());
    device_.wait();
  }
  void* data() const { return static_cast<char*>(memory_.data()) + kGuard; }
  void fill(const void* from) {
    if (size_ > 0) device_.upload(data(), from, size_);
    device_.wait();
  }
  // What lies inside; call fetch() first.
  const unsigned char* contents() const { return bytes_.data() + kGuard; }
  void fetch() {
    device_.download(bytes_.data(), memory_.data(), bytes_.size());
    device_.wait();
  }
  bool intact() const {
    for (size_t i = 0; i < kGuard; ++i) {
      if (bytes_[i] != kGuardByte || bytes_[kGuard + size_ + i] != kGuardByte) return false;
    }
    return true;
  }

 private:
  Device& device_;
  size_t size_;
  std::vector<unsigned char> bytes_;
  DeviceBuffer memory_;
};

std::vector<Tensor> run_once(const OpCase& c, const std::vector<Tensor>& inputs) {
  const CaseGraph built = graph_of(c);
  const Node& node = built.graph.producer(built.results[0]);
  const std::unique_ptr<Device> device = open_test_device(c.threads);
  const ChosenKernel chosen = choose(c, built, *device);
  std::vector<Tensor> outputs;
  if (chosen.kernel == nullptr) {
    ADD_FAILURE() << "no " << name_of(device->kind()) << " kernel for '" << c.op << "'";
    return outputs;
  }
  std::vector<Guarded> in_memory, out_memory;
  std::vector<View> in_views, out_views;
  for (const Tensor& tensor : inputs) {
    in_memory.emplace_back(*device, tensor.bytes());
    in_views.emplace_back(nullptr, tensor.dtype(), tensor.shape());
  }
  for (const Type& type : node.types) {
    out_views.emplace_back(nullptr, type.dtype, fixed_shape(type));
    out_memory.emplace_back(*device, out_views.back().bytes());
  }
  const BoundKernel bound = chosen.kernel->bind(
      {chosen.attrs, in_views, out_views, c.threads, 0, device.get(), chosen.module.get()});
  for (size_t k = 0; k < inputs.size(); ++k) {
    in_memory[k].fill(inputs[k].data());
    in_views[k].data = in_memory[k].data();
  }
  for (size_t k = 0; k < out_views.size(); ++k) out_views[k].data = out_memory[k].data();
  Guarded workspace(*device, bound.workspace);
  bound.run({in_views, out_views, workspace.data(), device->pool(), nullptr, device->stream()});
  device->wait();
  for (size_t k = 0; k < inputs.size(); ++k) {
    in_memory[k].fetch();
    EXPECT_TRUE(in_memory[k].intact()) << c.op << " wrote beside input " << k;
    EXPECT_TRUE(inputs[k].bytes() == 0 ||
                std::memcmp(in_memory[k].contents(), inputs[k].data(), inputs[k].bytes()) == 0)
        << c.op << " changed input " << k;
  }
  for (size_t k = 0; k < out_views.size(); ++k) {
    out_memory[k].fetch();
    EXPECT_TRUE(out_memory[k].intact()) << c.op << " wrote beside output " << k;
    Tensor tensor(out_views[k].dtype, out_views[k].shape());
    if (tensor.bytes() > 0) std::memcpy(tensor.data(), out_memory[k].contents(), tensor.bytes());
    outputs.push_back(std::move(tensor));
  }
  workspace.fetch();
  EXPECT_TRUE(workspace.intact()) << c.op << " wrote beside its workspace";
  return outputs;
}

}  // namespace

CaseInput CaseInput::normal(Shape shape, DType dtype) { return {Fill::normal, dtype, std::move(shape)}; }
CaseInput CaseInput::uniform(Shape shape, double low, double high) {
  return {Fill::uniform, DType::f32, std::move(shape), low, high};
}
CaseInput CaseInput::integers(Shape shape, int64_t low, int64_t high, DType dtype) {
  CaseInput input{Fill::integers, dtype, std::move(shape), static_cast<double>(low),
                  static_cast<double>(high)};
  input.differentiate = false;
  return input;
}
CaseInput CaseInput::of(Tensor value) {
  CaseInput input{Fill::given, value.dtype(), value.shape()};
  input.value = std::make_shared<Tensor>(std::move(value));
  return input;
}

std::vector<RefTensor> case_inputs(const OpCase& c) {
  std::vector<RefTensor> refs;
  for (const Tensor& tensor : input_tensors(c)) refs.push_back(ref_of(tensor));
  return refs;
}

std::vector<RefTensor> reference(const OpCase& c) {
  const CaseGraph built = graph_of(c);
  return evaluate_node(built.graph, built.graph.producer(built.results[0]), case_inputs(c), {});
}

void expect_close(const Tensor& got, const RefTensor& want, double ulps, const std::string& what) {
  ASSERT_EQ(got.dtype(), want.dtype) << what;
  ASSERT_EQ(got.shape(), want.shape) << what;
  double square = 0;
  int64_t finite = 0;
  if (is_float(want.dtype)) {
    for (const double value : want.f) {
      if (!std::isfinite(value)) continue;
      square += value * value;
      ++finite;
    }
  }
  const double rms = finite > 0 ? std::sqrt(square / static_cast<double>(finite)) : 0;
  const double epsilon = got.dtype() == DType::bf16  ? 0x1p-8
                         : got.dtype() == DType::f16 ? 0x1p-11
                         : got.dtype() == DType::f64 ? 0x1p-52
                                                     : 0x1p-23;
  for (int64_t i = 0; i < got.size(); ++i) {
    if (!is_float(want.dtype)) {
      const int64_t value =
          got.dtype() == DType::i64 ? got.as<int64_t>()[i] : static_cast<int64_t>(got.at(i));
      ASSERT_EQ(value, want.i[static_cast<size_t>(i)]) << what << " at " << i;
      continue;
    }
    const double g = got.at(i);
    const double w = want.f[static_cast<size_t>(i)];
    if (std::isnan(w)) {
      ASSERT_TRUE(std::isnan(g)) << what << " at " << i << ": got " << g << ", want NaN";
    } else if (std::isinf(w)) {
      ASSERT_EQ(g, w) << what << " at " << i;
    } else {
      const double bound = ulps * epsilon * std::max(std::fabs(w), rms);
      ASSERT_LE(std::fabs(g - w), bound)
          << what << " at " << i << ": got " << g << ", want " << w << ", rms " << rms;
    }
  }
}

std::vector<Tensor> run_kernel(const OpCase& c) { return run_once(c, input_tensors(c)); }

void check_kernel(const OpCase& c) {
  const std::vector<Tensor> inputs = input_tensors(c);
  const std::vector<RefTensor> want = reference(c);
  const std::vector<Tensor> first = run_once(c, inputs);
  ASSERT_EQ(first.size(), want.size()) << c.op;
  for (size_t k = 0; k < want.size(); ++k) {
    expect_close(first[k], want[k], c.ulps, c.op + " result " + std::to_string(k));
  }
  const std::vector<Tensor> second = run_once(c, inputs);
  for (size_t k = 0; k < want.size(); ++k) {
    ASSERT_TRUE(first[k].bytes() == 0 ||
                std::memcmp(first[k].data(), second[k].data(), first[k].bytes()) == 0)
        << c.op << " gave other bits on a second run";
  }
}

void check_gradient(const OpCase& c, double tolerance) {
  CaseGraph built = graph_of(c);
  Builder b(built.graph);
  RefMap feeds;
  const std::vector<RefTensor> values = case_inputs(c);
  for (size_t k = 0; k < values.size(); ++k) feeds["x" + std::to_string(k)] = values[k];
  // loss = sum over floating results of sum(weight * result)
  std::mt19937_64 random(c.seed + 17);
  std::normal_distribution<double> normal;
  Value loss;
  for (size_t k = 0; k < built.results.size(); ++k) {
    const Type type = b.type(built.results[k]);
    if (!is_float(type.dtype)) continue;
    const std::string name = "w" + std::to_string(k);
    const Value weight = b.input(name, type);
    Shape shape;
    std::vector<int64_t> axes;
    for (int i = 0; i < type.rank(); ++i) {
      shape.push_back(type.dim(i).constant());
      axes.push_back(i);
    }
    RefTensor w(type.dtype, shape);
    for (double& x : w.f) x = normal(random);
    feeds[name] = w;
    const Value part = cast(b, reduce_sum(b, mul(b, weight, built.results[k]), axes, false), DType::f32);
    loss = loss ? add(b, loss, part) : part;
  }
  ASSERT_TRUE(static_cast<bool>(loss)) << c.op << " has no floating result";
  b.output("loss", loss);
  std::vector<std::string> wrt;
  for (size_t k = 0; k < c.inputs.size(); ++k) {
    if (c.inputs[k].differentiate && is_float(c.inputs[k].dtype)) wrt.push_back("x" + std::to_string(k));
  }
  ASSERT_FALSE(wrt.empty());
  Differentiated d = differentiate(built.graph, "loss", wrt);
  for (const std::string& name : wrt) d.graph.add_output("d_" + name, d.gradients.at(name));
  const Evaluation at = evaluate(d.graph, feeds, {});
  for (const std::string& name : wrt) {
    const RefTensor& gradient = at.outputs.at("d_" + name);
    RefTensor direction = feeds[name];
    double slope = 0;
    double magnitude = 0;
    for (size_t i = 0; i < direction.f.size(); ++i) {
      direction.f[i] = normal(random);
      slope += direction.f[i] * gradient.f[i];
      magnitude += std::fabs(direction.f[i] * gradient.f[i]);
    }
    constexpr double h = 1e-5;
    RefMap up = feeds, down = feeds;
    for (size_t i = 0; i < direction.f.size(); ++i) {
      up[name].f[i] += h * direction.f[i];
      down[name].f[i] -= h * direction.f[i];
    }
    const double f1 = evaluate(built.graph, up, {}).outputs.at("loss").f[0];
    const double f0 = evaluate(built.graph, down, {}).outputs.at("loss").f[0];
    const double numeric = (f1 - f0) / (2 * h);
    EXPECT_NEAR(slope, numeric, tolerance * std::max(1.0, magnitude)) << c.op << " gradient by " << name;
  }
}

void check_meaning(const OpCase& c, double tolerance) {
  const CaseGraph built = graph_of(c);
  const Node& node = built.graph.producer(built.results[0]);
  ASSERT_TRUE(node.op->evaluate && node.op->meaning) << c.op << " needs both evaluate and meaning";
  const std::vector<RefTensor> direct = reference(c);
  OpDef only_meaning = *node.op;
  only_meaning.evaluate = nullptr;
  Node copy = node;
  copy.op = &only_meaning;
  const std::vector<RefTensor> through = evaluate_node(built.graph, copy, case_inputs(c), {});
  ASSERT_EQ(direct.size(), through.size());
  for (size_t k = 0; k < direct.size(); ++k) {
    ASSERT_EQ(direct[k].shape, through[k].shape);
    ASSERT_EQ(direct[k].i, through[k].i) << c.op;
    for (size_t i = 0; i < direct[k].f.size(); ++i) {
      if (direct[k].f[i] == through[k].f[i]) continue;  // also the same infinity
      ASSERT_NEAR(direct[k].f[i], through[k].f[i], tolerance * std::max(1.0, std::fabs(direct[k].f[i])))
          << c.op;
    }
  }
}

}  // namespace floe
