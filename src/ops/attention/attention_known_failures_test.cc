// Cases on which other implementations of attention have failed, by their issue trackers; what is right there
// is asked of these kernels. docs/notes/attention-tests.md lists the cases and where each is tested.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "ops/attention/attention_truth_for_test.h"
#include "testing/case_kernel.h"
#include "testing/large_case.h"

namespace floe {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::vector<DType> dtypes() {
  if (test_device_kind() == DeviceKind::cpu) return {DType::f32};
  return {DType::f32, DType::bf16};
}

void expect_finite(const std::vector<Tensor>& tensors) {
  for (size_t k = 0; k < tensors.size(); ++k) {
    for (int64_t i = 0; i < tensors[k].size(); ++i)
      ASSERT_TRUE(std::isfinite(tensors[k].at(i))) << "result " << k << " at " << i;
  }
}

// pytorch #103963, #109517, #41508; flash-attention PR #978: NaN, or an lse of +inf, for rows without a key.
TEST(AttentionKnownFailures, RowsWithoutAKeyAreZeroHoweverTheyCameAboutIt) {
  for (const DType dtype : dtypes()) {
    const std::vector<Asked> cases = {
        {.queries = 90, .keys = 20, .width = 64, .value_width = 64, .causal = "bottom_right", .dtype = dtype},
        {.queries = 70, .keys = 70, .width = 64, .value_width = 64, .lengths = {0, 70}, .dtype = dtype},
        {.queries = 90,
         .keys = 20,
         .width = 64,
         .value_width = 64,
         .causal = "top_left",
         .left = 5,
         .dtype = dtype},
        {.queries = 66,
         .keys = 80,
         .width = 64,
         .value_width = 64,
         .lengths = {9, 0},
         .left = 20,
         .right = 3,
         .dtype = dtype},
        {.queries = 66,
         .keys = 80,
         .width = 64,
         .value_width = 64,
         .query_lengths = {9, 0},
         .dropout = 0.2,
         .dtype = dtype}};
    for (const Asked& s : cases) {
      SCOPED_TRACE(text_of(s));
      const OpCase c = forward(s);
      const std::vector<RefTensor> want = reference(c);
      const std::vector<Tensor> result = run_kernel(c), gradients = run_kernel(every_gradient(s));
      expect_finite(gradients);
      int64_t empty = 0;
      for (int64_t b = 0; b < s.batch; ++b) {
        for (int64_t h = 0; h < s.heads; ++h) {
          for (int64_t i = 0; i < s.queries; ++i) {
            const int64_t row = (b * s.heads + h) * s.queries + i;
            if (want[1].f[static_cast<size_t>(row)] != -kInfinity) continue;
            ++empty;
            ASSERT_EQ(result[1].at(row), -kInfinity);
            for (int64_t d = 0; d < 64; ++d) {
              const int64_t at = ((b * s.queries + i) * s.heads + h) * 64 + d;
              ASSERT_EQ(result[0].at(at), 0);
              ASSERT_EQ(gradients[0].at(at), 0);
            }
          }
        }
      }
      EXPECT_GT(empty, 0);
    }
  }
}

// pytorch #196678: NaN in dq where lse is far below 0, a mask is given and the length is 64 more than a
// multiple of 128. cudnn-frontend #1072: the same for one query.
TEST(AttentionKnownFailures, LseFarBelowZeroKeepsGradientsFinite) {
  for (const DType dtype : dtypes()) {
    std::vector<std::pair<int64_t, int64_t>> sizes = {{1, 128}, {1, 97}, {64, 64}, {192, 192}, {704, 704}};
    for (int64_t remainder = 1; remainder < 128; remainder += 21)
      sizes.emplace_back(128 + remainder, 128 + remainder);
    for (const auto& [queries, keys] : sizes) {
      Asked s{.batch = 1,
              .queries = queries,
              .keys = keys,
              .heads = 1,
              .key_heads = 1,
              .width = 64,
              .value_width = 64,
              .lengths = {static_cast<int32_t>(keys)},
              .dtype = dtype};
      SCOPED_TRACE(text_of(s));
      OpCase c = forward(s);
      std::vector<RefTensor> inputs = case_inputs(c);
      for (const size_t k : {0, 1}) {
        for (size_t i = 0; i < inputs[k].f.size(); ++i)
          inputs[k].f[i] = i % 64 != 0 ? inputs[k].f[i] / 16 : (k == 0 ? 1 : -120 * 8);
      }
      for (size_t k = 0; k < 3; ++k) {
        c.inputs[k] = CaseInput::of(tensor_of(inputs[k]));
        inputs[k] = ref_of(tensor_of(inputs[k]));
      }
      inputs[3] = case_inputs(forward(s))[0];  // dout: numbers of its own size
      const AttentionTruth truth = exact_attention(s, inputs);
      const std::vector<Tensor> result = run_kernel(c);
      OpCase grad = c;
      grad.op = "attention_grad";
      grad.inputs.insert(grad.inputs.begin() + 3,
                         {CaseInput::of(copy_of(result[0])), CaseInput::of(copy_of(result[1])),
                          CaseInput::of(tensor_of(inputs[3]))});
      const std::vector<Tensor> gradients = run_kernel(grad);
      expect_finite(gradients);
      // lse near -120 + log(keys) is a multiple of 2^-17, and so are logits.
      const double lse = -120 + std::log(static_cast<double>(keys));
      for (int64_t i = 0; i < result[1].size(); ++i) ASSERT_NEAR(result[1].at(i), lse, 0.5);
      const double unit = dtype == DType::f32 ? 0x1p-12 : 0x1p-6;
      for (int64_t i = 0; i < gradients[2].size(); ++i)
        ASSERT_NEAR(gradients[2].at(i), truth[3][static_cast<size_t>(i)], unit);
    }
  }
}

// flash-attention #282, #1778; pytorch #108108: which corner a causal mask starts from where there are not as
// many queries as keys.
TEST(AttentionKnownFailures, BothCornersOfACausalMaskAreWhatTheySay) {
  for (const auto& [queries, keys] :
       std::vector<std::pair<int64_t, int64_t>>{{2, 5}, {5, 2}, {1, 16}, {113, 203}, {203, 113}, {1, 1024}}) {
    for (const char* causal : {"top_left", "bottom_right"}) {
      const Asked s{.queries = queries, .keys = keys, .causal = causal};
      SCOPED_TRACE(text_of(s));
      OpCase c = forward(s);
      c.ulps = 64;
      check_kernel(c);
      if (queries == 1) continue;  // one key may be seen, and then gradients of q and k are 0
      c = backward(c);
      c.ulps = 64 * 20;
      check_kernel(c);
    }
  }
  // One query decodes with all keys, and from the other corner with the first.
  const OpCase one = forward(Asked{.batch = 1, .queries = 1, .keys = 16, .causal = "top_left"});
  const std::vector<Tensor> first = run_kernel(one);
  const RefTensor v = case_inputs(one)[2];
  for (int64_t i = 0; i < 16; ++i) ASSERT_EQ(first[0].at(i), static_cast<float>(v.f[static_cast<size_t>(i)]));
}

// flash-attention #1254, #1713; candle #3603: hangs, divisions by 0 and accesses outside with sequences of no
// length.
TEST(AttentionKnownFailures, SequencesOfNoLengthAreNothing) {
  for (const DType dtype : dtypes()) {
    for (const int64_t width : {64, 256}) {
      const Asked s{.batch = 4,
                    .queries = 130,
                    .keys = 150,
                    .width = width,
                    .value_width = width,
                    .causal = "bottom_right",
                    .lengths = {0, 150, 90, 0},
                    .query_lengths = {0, 121, 84, 0},
                    .dtype = dtype};
      Asked none = s;
      none.lengths = none.query_lengths = {0, 0, 0, 0};
      for (const std::vector<Tensor>& results :
           {run_kernel(forward(none)), run_kernel(every_gradient(none))}) {
        for (const Tensor& result : results) {
          for (int64_t i = 0; i < result.size(); ++i)
            ASSERT_TRUE(result.at(i) == 0 || (result.shape().size() == 3 && result.at(i) == -kInfinity));
        }
      }
      expect_finite(run_kernel(every_gradient(s)));
      const std::vector<Tensor> out = run_kernel(forward(s));
      const int64_t row = out[0].size() / 4;
      for (const int64_t b : {0, 3}) {
        for (int64_t i = 0; i < row; ++i) ASSERT_EQ(out[0].at(b * row + i), 0);
      }
    }
  }
}

// flash-attention #2244, #1766, #349: gradients that differ from run to run.
TEST(AttentionKnownFailures, EveryRunGivesTheSameBits) {
  for (const DType dtype : dtypes()) {
    for (const char* causal : {"none", "bottom_right"}) {
      const Asked s{.batch = 2,
                    .queries = 300,
                    .keys = 300,
                    .heads = 4,
                    .key_heads = 2,
                    .width = 64,
                    .value_width = 64,
                    .causal = causal,
                    .dropout = 0.1,
                    .dtype = dtype};
      for (const OpCase& c : {forward(s), every_gradient(s)}) {
        const std::vector<Tensor> want = run_kernel(c);
        for (int run = 0; run < 20; ++run) {
          const std::vector<Tensor> got = run_kernel(c);
          for (size_t k = 0; k < want.size(); ++k)
            ASSERT_EQ(std::memcmp(got[k].data(), want[k].data(), want[k].bytes()), 0) << c.op << " " << k;
        }
      }
    }
  }
}

// pytorch #116350, flash-attention #699: no gradient of the gradient.
TEST(AttentionKnownFailures, TheGradientHasAGradient) {
  for (const Asked& s :
       std::vector<Asked>{{.queries = 4, .keys = 5, .width = 3, .value_width = 2},
                          {.queries = 4, .keys = 4, .heads = 4, .causal = "top_left"},
                          {.lengths = {3, 7}, .softcap = 2, .bias_batch = 1, .bias_heads = 2}}) {
    SCOPED_TRACE(text_of(s));
    check_gradient(every_gradient(s));
  }
}

// flashinfer #4452, PR #4401: real scores below a number that stood for -inf vanished, and the lse of a row
// without keys was that number.
TEST(AttentionKnownFailures, ScoresFarBelowZeroAreScores) {
  for (const DType dtype : dtypes()) {
    for (const double value : {-6e4, -1e5}) {
      const Asked s{.batch = 2,
                    .queries = 3,
                    .keys = 100,
                    .width = 8,
                    .value_width = 8,
                    .causal = "bottom_right",
                    .lengths = {100, 0},
                    .scale = 1,
                    .dtype = dtype};
      OpCase c = forward(s);
      RefTensor q(dtype, {2, 3, 2, 8}), k(dtype, {2, 100, 2, 8});
      for (size_t i = 0; i < q.f.size(); i += 8) q.f[i] = 1;
      for (size_t i = 0; i < k.f.size(); i += 8) k.f[i] = value;
      c.inputs[0] = CaseInput::of(tensor_of(q));
      c.inputs[1] = CaseInput::of(tensor_of(k));
      const std::vector<RefTensor> want = reference(c);
      const std::vector<Tensor> got = run_kernel(c);
      expect_close(got[0], want[0], dtype == DType::f32 ? 64 : 2, "out");
      expect_close(got[1], want[1], 8, "lse");
    }
  }
}

// flash-attention #2088, #612: a mask that is the same in every step, or not the same in both directions (the
// latter: attention_properties_test.cc).
TEST(AttentionKnownFailures, MasksFollowTheSeed) {
  for (const DType dtype : dtypes()) {
    const Asked s{.queries = 64, .keys = 64, .width = 64, .value_width = 64, .dropout = 0.3, .dtype = dtype};
    const OpCase c = forward(s);
    const std::vector<Tensor> one = run_kernel(c), again = run_kernel(c);
    OpCase other = c;
    other.inputs[3] = CaseInput::of(Tensor::from_ints({}, {-6}));
    const std::vector<Tensor> next = run_kernel(other);
    EXPECT_EQ(std::memcmp(one[0].data(), again[0].data(), one[0].bytes()), 0);
    EXPECT_NE(std::memcmp(one[0].data(), next[0].data(), one[0].bytes()), 0);
    EXPECT_EQ(std::memcmp(one[1].data(), next[1].data(), one[1].bytes()), 0) << "lse is of all keys";
  }
}

size_t workspace_of(const Asked& s, bool gradient) {
  OpCase c = forward(s);
  if (gradient) {
    c.op = "attention_grad";
    const Shape out = {s.batch, s.queries, s.heads, s.value_width};
    c.inputs.insert(c.inputs.begin() + 3,
                    {CaseInput::normal(out, s.dtype), CaseInput::normal({s.batch, s.heads, s.queries}),
                     CaseInput::normal(out, s.dtype)});
  }
  const CaseGraph built = graph_of(c);
  const std::unique_ptr<Device> device = open_test_device(2);
  const ChosenKernel chosen = choose(c, built, *device);
  std::vector<View> inputs, outputs;
  for (const CaseInput& input : c.inputs) inputs.emplace_back(nullptr, input.dtype, input.shape);
  for (const Type& type : built.graph.producer(built.results[0]).types)
    outputs.emplace_back(nullptr, type.dtype, fixed_shape(type));
  return chosen.kernel->bind({chosen.attrs, inputs, outputs, 2, 0, device.get()}).workspace;
}

// cudnn-frontend's benchmarks: a workspace of 64 GiB and more for a deterministic gradient over long rows.
// Here it is no more than linear in the length, and below the gradients' own size in f32.
TEST(AttentionKnownFailures, TheWorkspaceIsLinear) {
  for (const DType dtype : dtypes()) {
    for (const bool gradient : {false, true}) {
      Asked s{.batch = 1, .heads = 16, .key_heads = 16, .width = 128, .value_width = 128, .dtype = dtype};
      size_t before = 0;
      for (const int64_t length : {4096, 8192, 16384, 32768}) {
        s.queries = s.keys = length;
        const size_t bytes = workspace_of(s, gradient);
        EXPECT_LE(bytes, static_cast<size_t>(3 * length * 16 * 128) * sizeof(float)) << length;
        if (before > 0) {
          EXPECT_LE(bytes, 2 * before) << length;
        }
        before = bytes;
      }
    }
  }
}

// flash-attention PR #2260, #2214, #767: offsets beyond 31 bits, backward too.
TEST(AttentionKnownFailures, BatchesBeyond31BitsOfElements) {
  FLOE_NEEDS_CUDA();
  const Asked s{.batch = 64,
                .queries = 64,
                .keys = 64,
                .heads = 2,
                .key_heads = 2,
                .width = 128,
                .value_width = 128,
                .causal = "top_left",
                .dtype = DType::bf16};
  for (OpCase c : {forward(s), backward(forward(s))}) {
    c.ulps = 0;
    check_large({.one = c, .times = 2200, .results = {0, 1}});
  }
}

// With one key out is v, whatever the query; flash-attention PR #2260 had more than 65,535 rows of it.
TEST(AttentionKnownFailures, ManyRowsOfOneKey) {
  FLOE_NEEDS_CUDA();
  const Asked s{.batch = 8300,
                .queries = 1,
                .keys = 1,
                .heads = 16,
                .key_heads = 16,
                .width = 128,
                .value_width = 128,
                .dtype = DType::bf16};
  const OpCase c = forward(s);
  const std::vector<RefTensor> inputs = case_inputs(c);
  std::vector<Tensor> result = run_kernel(c);
  for (int64_t i = 0; i < result[0].size(); ++i)
    ASSERT_EQ(result[0].at(i), inputs[2].f[static_cast<size_t>(i)]);
  OpCase grad = c;
  grad.op = "attention_grad";
  grad.inputs.insert(grad.inputs.begin() + 3,
                     {CaseInput::of(std::move(result[0])), CaseInput::of(std::move(result[1])),
                      CaseInput::of(tensor_of(inputs[0]))});
  const std::vector<Tensor> gradients = run_kernel(grad);
  const std::vector<RefTensor> given = case_inputs(grad);
  for (int64_t i = 0; i < gradients[2].size(); ++i)
    ASSERT_EQ(gradients[2].at(i), given[5].f[static_cast<size_t>(i)]);
}

}  // namespace
}  // namespace floe
