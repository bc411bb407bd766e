// The sizes on which FlashAttention 2 and 3 are tested, and their rule: against the truth no more than twice
// the error that plain attention makes in the same precision (three times with a cap), and two units where
// that has next to none. Beyond their rule: the errors' root mean square, and that errors do not lean to one
// side.
#include <gtest/gtest.h>

#include <array>

#include "ops/attention/attention_truth_for_test.h"

namespace floe {
namespace {

struct Errors {
  double most = 0, square = 0, mean = 0;

  Errors(const std::vector<double>& got, const std::vector<double>& want) {
    for (size_t i = 0; i < want.size(); ++i) {
      const double error = got[i] - want[i];
      most = std::max(most, std::fabs(error));
      square += error * error;
      mean += error;
      if (!std::isfinite(error)) most = std::numeric_limits<double>::infinity();
    }
    const double n = static_cast<double>(std::max<size_t>(want.size(), 1));
    square = std::sqrt(square / n);
    mean /= n;
  }
};

// Two units at the scale of the data, as a sum that goes up and down by 0.3 loses them.
double two_units(DType dtype, const std::vector<double>& x) {
  double most = 0;
  for (const double value : x) {
    const float there = rounded_to(dtype, static_cast<float>(value) + 0.3F);
    const float back = rounded_to(dtype, there - 0.3F);
    most = std::max(most, std::fabs(static_cast<double>(back) - value));
  }
  return 2 * most;
}

std::vector<double> numbers_of(const Tensor& tensor) {
  std::vector<double> all(static_cast<size_t>(tensor.size()));
  for (int64_t i = 0; i < tensor.size(); ++i) all[static_cast<size_t>(i)] = tensor.at(i);
  return all;
}

// The gradient gets the kernel's own out and lse, as in training.
std::vector<std::vector<double>> results_of(const Asked& s, const OpCase& c,
                                            const std::vector<RefTensor>& inputs) {
  OpCase forward_case = c;
  for (size_t i = 0; i < 3; ++i) forward_case.inputs[i] = CaseInput::of(tensor_of(inputs[i]));
  std::vector<Tensor> forward_results = run_kernel(forward_case);
  std::vector<std::vector<double>> all{numbers_of(forward_results[0])};
  OpCase grad = forward_case;
  grad.op = "attention_grad";
  grad.inputs.insert(grad.inputs.begin() + 3,
                     {CaseInput::of(std::move(forward_results[0])),
                      CaseInput::of(std::move(forward_results[1])), CaseInput::of(tensor_of(inputs[3]))});
  for (const Tensor& gradient : run_kernel(grad)) all.push_back(numbers_of(gradient));
  EXPECT_EQ(all.size(), 4U) << text_of(s);
  return all;
}

int64_t rows_that_see(const Asked& s) {
  const int64_t blind = s.causal == "bottom_right" ? std::max<int64_t>(0, s.queries - s.keys) : 0;
  return s.batch * s.heads * (s.queries - blind);
}

void check_rule(const Asked& s, const OpCase& c, const std::vector<RefTensor>& inputs) {
  SCOPED_TRACE(text_of(s));
  const AttentionTruth truth = exact_attention(s, inputs);
  const AttentionTruth plain = attention_in(s.dtype, s, inputs);
  const std::vector<std::vector<double>> got = results_of(s, c, inputs);
  const std::array<const char*, 4> names = {"out", "dq", "dk", "dv"};
  // In f32 the gradients of a few queries differ by a few random roundings, and two draws of those say
  // nothing of each other: such cells are left to the tests with bounds of their own.
  const bool few = s.dtype == DType::f32 && rows_that_see(s) < 64;
  for (size_t k = 0; k < 4; ++k) {
    if (few && (k == 1 || k == 2)) continue;
    ASSERT_EQ(got[k].size(), truth[k].size());
    const Errors ours(got[k], truth[k]), theirs(plain[k], truth[k]);
    const double units = two_units(s.dtype, plain[k]);
    EXPECT_LE(ours.most, (s.softcap > 0 ? 3 : 2) * theirs.most + units) << names[k];
    EXPECT_LE(ours.square, 1.15 * theirs.square + units / 8) << names[k];
    // Rows are independent: their mean error is within four deviations of 0.
    const double rows = static_cast<double>(k < 2 ? s.queries * s.heads : s.keys * s.key_heads) *
                        static_cast<double>(s.batch);
    EXPECT_LE(std::fabs(ours.mean), 4 * ours.square / std::sqrt(rows)) << names[k];
  }
}

void check_rule(const Asked& s) {
  const OpCase c = forward(s);
  std::vector<RefTensor> inputs = case_inputs(c);
  OpCase more = c;
  more.seed = 7;
  more.inputs = {CaseInput::normal({s.batch, s.queries, s.heads, s.value_width}, s.dtype)};
  inputs.resize(3);
  more.op = "softmax";  // any op: its inputs are numbers of their own
  more.attrs = {};
  inputs.push_back(case_inputs(more)[0]);
  check_rule(s, c, inputs);
}

std::vector<std::pair<int64_t, int64_t>> lengths_of_flash_attention() {
  return {{1, 1},       {64, 128},    {128, 192},   {256, 256},   {239, 1},   {799, 3},   {113, 203},
          {113, 128},   {128, 217},   {113, 211},   {108, 256},   {256, 512}, {384, 256}, {640, 128},
          {512, 256},   {1024, 1024}, {1023, 1024}, {1024, 1023}, {1, 3},     {2, 1},     {511, 1},
          {1025, 1025}, {3, 513},     {307, 256},   {97, 97}};
}

// Every length with a few of the other choices; in turns, so that every pair of choices occurs.
std::vector<Asked> grid(const std::vector<int64_t>& widths, int64_t heads, DType dtype) {
  std::vector<Asked> all;
  size_t turn = 0;
  for (const auto& [queries, keys] : lengths_of_flash_attention()) {
    for (size_t variant = 0; variant < 3; ++variant, ++turn) {
      Asked s{.batch = 1, .queries = queries, .keys = keys, .heads = heads, .dtype = dtype};
      s.width = s.value_width = widths[turn % widths.size()];
      s.key_heads = std::array<int64_t, 3>{heads, heads / 3, 1}[turn / 2 % 3];
      if (variant == 1) s.causal = "bottom_right";
      if (variant == 2) {
        s.left = static_cast<int64_t>(turn * 37 % 200);
        s.right = static_cast<int64_t>(turn * 53 % 90);
        if (turn % 4 == 0) s.softcap = 15;
      }
      all.push_back(s);
    }
  }
  return all;
}

TEST(AttentionGrid, KeepsTheRuleOfTwiceTheError) {
  FLOE_NEEDS_CPU();
  for (const Asked& s : grid({64, 40, 96, 128, 32, 192, 256}, 3, DType::f32)) {
    if (s.queries * s.keys * s.width <= 1 << 22) check_rule(s);
  }
}

TEST(AttentionGrid, KeepsTheRuleOfTwiceTheErrorInBothShortTypes) {
  FLOE_NEEDS_CUDA();
  for (const Asked& s : grid({64, 128, 40, 96, 256, 32, 59, 192, 111, 80, 160, 224}, 6, DType::bf16))
    check_rule(s);
  for (const Asked& s : grid({128, 64, 256}, 3, DType::f16)) {
    if (s.queries * s.keys <= 1 << 17) check_rule(s);
  }
}

TEST(AttentionGrid, KeepsTheRuleOverLongRows) {
  FLOE_NEEDS_CUDA();
  for (const int64_t length : {4096, 4224}) {
    for (const int64_t width : {64, 128}) {
      for (const char* causal : {"none", "bottom_right"}) {
        check_rule({.batch = 1,
                    .queries = length,
                    .keys = length,
                    .heads = 1,
                    .key_heads = 1,
                    .width = width,
                    .value_width = width,
                    .causal = causal,
                    .dtype = DType::bf16});
      }
    }
  }
}

// As many keys, or queries, as a book has words.
TEST(AttentionGrid, KeepsTheRuleWhereOneSideIsVeryLong) {
  FLOE_NEEDS_CUDA();
  for (const auto& [queries, keys] :
       std::vector<std::pair<int64_t, int64_t>>{{64, int64_t{1} << 18}, {int64_t{1} << 18, 64}}) {
    check_rule({.batch = 1,
                .queries = queries,
                .keys = keys,
                .heads = 1,
                .key_heads = 1,
                .width = 128,
                .value_width = 128,
                .dtype = DType::bf16});
  }
}

TEST(AttentionGrid, KeepsTheRuleWhereRowsHaveLengths) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    if (dtype != DType::f32 && test_device_kind() == DeviceKind::cpu) continue;
    for (const char* causal : {"none", "bottom_right"}) {
      check_rule({.batch = 4,
                  .queries = 113,
                  .keys = 203,
                  .heads = 3,
                  .key_heads = 1,
                  .width = 64,
                  .value_width = 64,
                  .causal = causal,
                  .lengths = {203, 128, 1, 77},
                  .query_lengths = {113, 64, 20, 0},
                  .dtype = dtype});
    }
  }
}

// Several keys share the largest score, so that several probabilities are exactly 1 before they are divided,
// and all values have one sign: where training in bf16 was seen to lean (arXiv 2510.04212).
TEST(AttentionGrid, DoesNotLeanWhereTheLargestScoreOccursTwice) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    if (dtype != DType::f32 && test_device_kind() == DeviceKind::cpu) continue;
    const Asked s{.batch = 1,
                  .queries = 128,
                  .keys = 128,
                  .heads = 3,
                  .key_heads = 3,
                  .width = 64,
                  .value_width = 64,
                  .dtype = dtype};
    const OpCase c = forward(s);
    std::vector<RefTensor> inputs = case_inputs(c);
    RefTensor& k = inputs[1];
    RefTensor& v = inputs[2];
    for (int64_t j = 0; j < 128; ++j) {  // keys in groups of four that are alike
      for (int64_t d = 0; d < 3 * 64; ++d)
        k.f[static_cast<size_t>(j * 192 + d)] = k.f[static_cast<size_t>(j / 4 * 4 * 192 + d)] * 4;
    }
    for (double& x : v.f) x = -std::fabs(x);
    inputs.push_back(ref_of(tensor_of(inputs[0])));
    std::reverse(inputs[3].f.begin(), inputs[3].f.end());
    for (RefTensor& x : inputs) x = ref_of(tensor_of(x));
    check_rule(s, c, inputs);
  }
}

}  // namespace
}  // namespace floe
