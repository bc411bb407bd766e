#include "ops/search/joined.h"

#include <gtest/gtest.h>

#include "ops/all.h"
#include "ops/search/joined_cases_for_test.h"

namespace floe {
namespace {

std::vector<Tensor> in_double(const OpCase& c) {
  std::vector<Tensor> out;
  for (const RefTensor& value : reference(c)) out.push_back(tensor_of(value));
  return out;
}

TEST(SearchBegin, MeansTheTurnAndBothStates) {
  for (const int32_t epoch : {4, 5}) {
    const OpCase c = begin_case({}, epoch);
    expect_same_bits(in_double(c), begin_by_parts(c, in_double));
  }
}

TEST(SearchChoice, MeansPenaltiesCandidatesAdvanceAndKeep) {
  for (const bool neutral : {false, true}) {
    const OpCase c = choice_case({.sentences = 6, .lines = 13}, neutral);
    expect_same_bits(in_double(c), choice_by_parts(c, in_double));
  }
}

// What does not fit is refused by the op that it means.
TEST(SearchChoice, RefusesInTheWordsOfItsParts) {
  const auto refusal = [](const OpCase& c) -> std::string {
    Graph graph(all_ops(), "g");
    Builder b(graph);
    Values in;
    for (const CaseInput& input : c.inputs) {
      Dims dims;
      for (const int64_t dim : input.value->shape()) dims.emplace_back(dim);
      in.push_back(b.input("x" + std::to_string(in.size()), {input.value->dtype(), dims}));
    }
    try {
      b.add_all(c.op, in, c.attrs);
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_EQ(refusal(choice_case({})), "accepted");
  OpCase c = choice_case({});
  c.inputs[9] = floats({1}, {0});
  EXPECT_EQ(refusal(c), "[beam_candidates] scores is f32[1], its dim 0 must be 6");
  EXPECT_EQ(refusal(begin_case({}, 1)), "accepted");
  c = begin_case({}, 1);
  c.inputs[0] = ints({3}, {0, 0, 0});
  EXPECT_EQ(refusal(c), "[search_turn] clock is i32[3], its dim 0 must be 2");
}

// ---- on a GPU

TEST(SearchBeginCuda, GivesTheBitsOfItsParts) {
  FLOE_NEEDS_CUDA();
  for (const StepSizes& sizes : {StepSizes{}, StepSizes{.sentences = 1, .beam = 1, .lines = 1},
                                 StepSizes{.sentences = 64, .beam = 1, .positions = 128, .lines = 64},
                                 StepSizes{.sentences = 256, .beam = 4, .positions = 100, .lines = 1100}}) {
    for (const int32_t epoch : {4, 5}) {
      const OpCase c = begin_case(sizes, epoch);
      check_kernel(c);
      expect_same_bits(run_kernel(c), begin_by_parts(c, run_kernel));
    }
  }
}

TEST(SearchChoiceCuda, GivesTheBitsOfItsParts) {
  FLOE_NEEDS_CUDA();
  for (const StepSizes& sizes :
       {StepSizes{.sentences = 6, .lines = 13},
        StepSizes{.sentences = 1, .beam = 1, .vocabulary = 9000, .lines = 1},
        StepSizes{.sentences = 7, .beam = 4, .vocabulary = 10007, .positions = 300, .lines = 28},
        StepSizes{.sentences = 256, .beam = 1, .vocabulary = 8192, .lines = 256},
        StepSizes{.sentences = 5, .beam = 20, .vocabulary = 5000, .lines = 100}}) {
    for (const bool neutral : {false, true}) {
      const OpCase c = choice_case(sizes, neutral);
      check_kernel(c);
      expect_same_bits(run_kernel(c), choice_by_parts(c, run_kernel));
    }
  }
}

// As the step runs them: states and logits are changed where they lie.
TEST(SearchStepsCuda, GiveTheSameBitsInPlace) {
  FLOE_NEEDS_CUDA();
  const std::unique_ptr<Device> device = open_test_device();
  const auto in_place = [&](const OpCase& c, const std::vector<std::pair<size_t, size_t>>& pairs) {
    const std::vector<Tensor> want = run_kernel(c);
    std::vector<Tensor> inputs;
    for (const RefTensor& input : case_inputs(c)) inputs.push_back(tensor_of(input));
    std::vector<DeviceBuffer> memory;
    std::vector<View> in, out;
    const auto place = [&](const Tensor& tensor) {
      memory.emplace_back(*device, std::max<size_t>(tensor.bytes(), 1));
      device->upload(memory.back().data(), tensor.data(), tensor.bytes());
      device->wait();
      View view = view_of(tensor);
      view.data = memory.back().data();
      return view;
    };
    memory.reserve(inputs.size() + want.size());
    for (const Tensor& tensor : inputs) in.push_back(place(tensor));
    for (const Tensor& tensor : want) out.push_back(place(Tensor(tensor.dtype(), tensor.shape())));
    for (const auto& [to, from] : pairs) out[to] = in[from];
    KernelCall call{c.attrs, in, out, 1};
    call.device = device.get();
    const BoundKernel bound =
        test_kernels()
            .named(DeviceKind::cuda, c.op == "search_choice" ? "search_choice.f32" : c.op)
            .bind(call);
    const DeviceBuffer workspace(*device, std::max<size_t>(bound.workspace, 1));
    bound.run({.inputs = in,
               .outputs = out,
               .workspace = workspace.data(),
               .pool = nullptr,
               .stream = device->stream()});
    for (size_t k = 0; k < want.size(); ++k) {
      Tensor got(want[k].dtype(), want[k].shape());
      device->download(got.data(), out[k].data, got.bytes());
      device->wait();
      EXPECT_EQ(0, std::memcmp(got.data(), want[k].data(), got.bytes())) << c.op << ", result " << k;
    }
  };
  for (const int64_t sentences : {1, 8, 300}) {
    const StepSizes sizes{.sentences = sentences, .beam = 4, .vocabulary = 9000, .lines = 4 * sentences + 3};
    in_place(begin_case(sizes, 4), {{0, 0}, {10, 13}, {12, 14}});
    in_place(choice_case(sizes), {{0, 0}, {7, 11}, {8, 12}, {9, 13}});
  }
}

TEST(SearchChoiceCuda, ASentencesBitsDoNotDependOnItsNeighbours) {
  FLOE_NEEDS_CUDA();
  const OpCase all = choice_case({.sentences = 1024, .beam = 1, .vocabulary = 5000, .lines = 1024});
  const std::vector<Tensor> want = run_kernel(all);
  for (const int64_t sentences : {1, 8, 64}) {
    OpCase part = all;
    for (CaseInput& input : part.inputs) {
      RefTensor cut = ref_of(*input.value);
      const int64_t size = cut.size() / 1024 * sentences;
      cut.shape[0] = sentences;
      if (is_float(cut.dtype)) {
        cut.f.resize(static_cast<size_t>(size));
      } else {
        cut.i.resize(static_cast<size_t>(size));
      }
      input = CaseInput::of(tensor_of(cut));
    }
    const std::vector<Tensor> got = run_kernel(part);
    for (size_t k = 0; k < got.size(); ++k)
      EXPECT_EQ(0, std::memcmp(got[k].data(), want[k].data(), got[k].bytes())) << sentences << ", " << k;
  }
}

}  // namespace
}  // namespace floe
