// Printed groups on a GPU: every case of compile/cuda_cases_for_test.h against the CPU's interpreter, halves
// against floats, and a program whose groups read slices.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "compile/cuda_cases_for_test.h"
#include "device/cpu/thread_pool.h"
#include "ops/slice/slice.h"
#include "testing/test_device.h"

namespace floe {
namespace {

// Cases on the GPU, all from one module.
class OnDevice {
 public:
  explicit OnDevice(const std::vector<const GroupCase*>& cases) : device_(open_test_device()) {
    CudaGroups groups;
    for (const GroupCase* g : cases) {
      Attrs attrs;
      const Tape tape = g->tape();
      attrs.set("tape", TapePtr(std::make_shared<Tape>(tape)));
      std::vector<Tensor> results = g->results();
      std::vector<GroupOperand> in, out;
      for (const View& view : g->views) in.push_back(operand_of(view));
      for (Tensor& tensor : results) out.push_back(operand_of(view_of(tensor)));
      groups.add(tape, in, out, &attrs);
      attrs_.push_back(std::move(attrs));
    }
    module_ = device_->build(groups.source());
  }

  // Result k lies over input over[k] where that is given and not negative.
  std::vector<Tensor> run(const GroupCase& g, size_t index, const std::vector<int>& over = {}) {
    std::vector<DeviceBuffer> memory;
    std::vector<View> in = g.views, out;
    for (size_t k = 0; k < in.size(); ++k) {
      memory.emplace_back(*device_, g.inputs[k].bytes());
      device_->upload(memory.back().data(), g.inputs[k].data(), g.inputs[k].bytes());
      const auto offset = static_cast<const char*>(in[k].data) - static_cast<const char*>(g.inputs[k].data());
      in[k].data = memory[k].data() == nullptr ? nullptr : static_cast<char*>(memory[k].data()) + offset;
    }
    std::vector<Tensor> results = g.results();
    for (size_t k = 0; k < results.size(); ++k) {
      out.push_back(view_of(results[k]));
      if (k < over.size() && over[k] >= 0) {
        out[k].data = in[static_cast<size_t>(over[k])].data;
        continue;
      }
      memory.emplace_back(*device_, results[k].bytes() + 2 * kFence);
      std::vector<unsigned char> fence(memory.back().bytes(), 0xA5);
      device_->upload(memory.back().data(), fence.data(), fence.size());
      device_->wait();
      out[k].data = static_cast<char*>(memory.back().data()) + kFence;
    }
    const Kernel& kernel = kernels_of(DeviceKind::cuda).named(DeviceKind::cuda, "group.printed");
    const BoundKernel bound = kernel.bind({attrs_[index], in, out, 1, 0, device_.get(), module_.get()});
    bound.run({in, out, nullptr, nullptr, nullptr, device_->stream()});
    device_->wait();
    for (size_t k = 0; k < results.size(); ++k) {
      if (k < over.size() && over[k] >= 0) {
        device_->download(results[k].data(), out[k].data, results[k].bytes());
        device_->wait();
        continue;
      }
      std::vector<unsigned char> all(results[k].bytes() + 2 * kFence);
      device_->download(all.data(), static_cast<char*>(out[k].data) - kFence, all.size());
      device_->wait();
      for (size_t i = 0; i < kFence; ++i) {
        EXPECT_TRUE(all[i] == 0xA5 && all[all.size() - 1 - i] == 0xA5)
            << g.name << " wrote beside result " << k;
      }
      if (results[k].bytes() > 0) std::memcpy(results[k].data(), all.data() + kFence, results[k].bytes());
    }
    return results;
  }

 private:
  static constexpr size_t kFence = 256;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Device::Module> module_;
  std::vector<Attrs> attrs_;
};

TEST(GroupOnGpu, GivesTheInterpretersBits) {
  FLOE_NEEDS_CUDA();
  const CudaCases cases;
  std::vector<const GroupCase*> pointers;
  for (const auto& g : cases.all()) pointers.push_back(g.get());
  OnDevice on(pointers);
  for (size_t k = 0; k < pointers.size(); ++k) {
    const GroupCase& g = *pointers[k];
    // CUDA's sinf and cosf are within 2 units, powf within 4; the host's C library within 1.
    const double ulps = g.name == "row_sin" || g.name == "row_cos" ? 3 : g.name == "row_pow" ? 5 : 0;
    const std::vector<Tensor> want = interpreted(g), got = on.run(g, k);
    for (size_t r = 0; r < want.size(); ++r) {
      expect_same_numbers(got[r], want[r], ulps, g.name + " result " + std::to_string(r));
    }
  }
}

// y0 = silu(x + bias) * s, y1 = x - y0, y2 = dropout(y0), in the type of the operands.
void add_results(GroupCase* g, const Values& operands, const Values& random) {
  const Value y0 = mul(g->b, elementwise(g->b, "silu", {add(g->b, operands[0], operands[1])}), operands[2]);
  g->output(y0);
  g->output(sub(g->b, operands[0], y0));
  g->output(dropout(g->b, y0, random[0], random[1], 0.25));
}

TEST(GroupOnGpu, ComputesHalvesInFloatAndRoundsWhereItStores) {
  FLOE_NEEDS_CUDA();
  for (const DType type : {DType::bf16, DType::f16}) {
    for (const Shape& shape : {Shape{6, 64}, Shape{5, 33}, Shape{1, 4001}, Shape{3, 7, 512},
                               Shape{2, 40000, 8}, Shape{70001, 33}}) {
      GroupCase half(std::string(name_of(type)) + text_of(shape)), full("full");
      Shape ones(shape.size(), shape[0]);
      for (size_t k = 1; k < ones.size(); ++k) ones[k] = 1;
      Values halves, fulls;
      for (const Shape& each : {shape, Shape{shape.back()}, ones}) {
        halves.push_back(half.normal(each, type));
        Tensor same(DType::f32, each);
        for (int64_t i = 0; i < same.size(); ++i) same.set(i, half.inputs.back().at(i));
        fulls.push_back(full.input(std::move(same)));
      }
      Values of_half, of_full;
      for (const Shape& each : {Shape{}, Shape{shape[0]}}) {
        of_half.push_back(half.integers(DType::i32, each, 1 << 20));
        of_full.push_back(full.integers(DType::i32, each, 1 << 20));
      }
      add_results(&half, halves, of_half);
      add_results(&full, fulls, of_full);
      OnDevice on({&half});
      const std::vector<Tensor> got = on.run(half, 0), want = interpreted(full);
      for (size_t r = 0; r < 2; ++r) {
        Tensor rounded(type, want[r].shape());
        for (int64_t i = 0; i < rounded.size(); ++i) rounded.set(i, want[r].at(i));
        expect_same_numbers(got[r], rounded, 0, half.name + " result " + std::to_string(r));
      }
      // 1 / (1 - p) is rounded to the type, so the kept values differ; which are kept does not.
      for (int64_t i = 0; i < want[2].size(); ++i) {
        ASSERT_TRUE(want[0].at(i) == 0 || got[0].at(i) == 0 || (got[2].at(i) == 0) == (want[2].at(i) == 0))
            << half.name << " at " << i;
      }
    }
  }
}

TEST(GroupOnGpu, WritesResultsOverInputs) {
  FLOE_NEEDS_CUDA();
  for (const Shape& shape : {Shape{60, 640}, Shape{500, 33}, Shape{3, 3000}, Shape{1, 1}}) {
    GroupCase g("over " + text_of(shape));
    const Value x = g.normal(shape), bias = g.normal({shape[1]}), s = g.normal({shape[0], 1});
    add_results(&g, {x, bias, s}, {g.integers(DType::i32, {}, 9), g.integers(DType::i32, {shape[0]}, 9)});
    OnDevice on({&g});
    const std::vector<Tensor> want = interpreted(g);
    for (const std::vector<int>& over : {std::vector<int>{0, -1, -1}, {-1, 0, -1}, {-1, -1, 0}}) {
      const std::vector<Tensor> got = on.run(g, 0, over);
      for (size_t r = 0; r < want.size(); ++r) expect_same_numbers(got[r], want[r], 0, g.name);
    }
  }
}

TEST(GroupOnGpu, ReadsSlicesOfHalvesInAProgram) {
  FLOE_NEEDS_CUDA();
  for (const int64_t begin : {8, 3}) {
    for (const int64_t width : {16, 13}) {
      Graph graph(all_ops(), "slices");
      Builder b(graph);
      const Value whole = b.input("x", {DType::bf16, {50, 3, 48}});
      const Value bias = b.input("bias", {DType::bf16, {width}});
      const Value part = slice(b, whole, 2, begin, width);
      b.output("y", elementwise(b, "tanh", {add(b, part, bias)}));
      // One rounding, to bf16.
      check_program(graph,
                    {{"x", random_shared(DType::bf16, {50, 3, 48}, 1)},
                     {"bias", random_shared(DType::bf16, {width}, 2)}},
                    {}, /*ulps=*/2);
    }
  }
}

}  // namespace
}  // namespace floe
