#include "runtime/profile_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace floe {
namespace {

using testing::HasSubstr;
using testing::Not;

// Two runs on a device of 100 GB/s, 1 TFLOP/s in f32 and 10 in bf16.
ProfileReport example() {
  ProfileReport report;
  report.what = "two layers";
  report.unit = "step";
  report.ceilings = {.device = "a device",
                     .bytes_per_second = 100e9,
                     .f32_flops = 1e12,
                     .bf16_flops = 10e12,
                     .mark_seconds = 1e-6};
  report.run_seconds = 9.5e-3;
  report.runs = 2;
  report.times = {
      {.op = "layer_norm",
       .where = "encoder.0",
       .kernel = "layer_norm.f32",
       .result = "f32[B, 512]",
       .seconds = 4e-3,
       .calls = 2,
       .flops = 1e9,
       .bytes = 0.2e9},
      {.op = "matmul",
       .where = "encoder.0",
       .kernel = "matmul.bf16",
       .result = "bf16[B, 512]",
       .seconds = 10e-3,
       .calls = 4,
       .flops = 80e9,
       .bytes = 0.1e9,
       .products = DType::bf16},
      {.op = "matmul",
       .where = "encoder.1",
       .kernel = "matmul.f32",
       .result = "f32[B, 512]",
       .seconds = 6e-3,
       .calls = 2,
       .flops = 3e9,
       .bytes = 0.1e9},
      {.op = "matmul", .where = "never", .kernel = "matmul.f32", .result = "f32[B, 512]"},
  };
  return report;
}

TEST(ProfileReport, GivesEverythingARunLongestFirst) {
  const std::vector<ProfileLine> lines = lines_of(example());
  ASSERT_EQ(lines.size(), 3u);  // what never ran is no line
  EXPECT_EQ(lines[0].kernel, "matmul.bf16");
  EXPECT_EQ(lines[0].calls, 2);
  EXPECT_DOUBLE_EQ(lines[0].milliseconds, 5);
  EXPECT_DOUBLE_EQ(lines[0].share, 0.5);
  EXPECT_DOUBLE_EQ(lines[0].gigaflops, 40);
  EXPECT_DOUBLE_EQ(lines[0].teraflops_per_second(), 8);
  EXPECT_DOUBLE_EQ(lines[0].gigabytes_per_second(), 10);
  EXPECT_EQ(lines[2].op, "layer_norm");
}

TEST(ProfileReport, TakesTheRoofOfBytesOrOfTheOperandsType) {
  const std::vector<ProfileLine> lines = lines_of(example());
  EXPECT_DOUBLE_EQ(lines[0].floor_milliseconds, 4);  // 40 GFLOP at 10 TFLOP/s
  EXPECT_DOUBLE_EQ(lines[0].roofline(), 0.8);
  EXPECT_DOUBLE_EQ(lines[1].floor_milliseconds, 1.5);  // 1.5 GFLOP at 1 TFLOP/s
  EXPECT_DOUBLE_EQ(lines[2].floor_milliseconds, 1);    // 0.1 GB at 100 GB/s
  ProfileReport without = example();
  without.ceilings.bf16_flops = 0;
  EXPECT_DOUBLE_EQ(lines_of(without)[0].floor_milliseconds, 40);
}

TEST(ProfileReport, SumsOpsAndTheWhole) {
  const std::vector<ProfileLine> ops = lines_by_op(example());
  ASSERT_EQ(ops.size(), 2u);
  EXPECT_EQ(ops[0].op, "matmul");
  EXPECT_EQ(ops[0].calls, 3);
  EXPECT_DOUBLE_EQ(ops[0].milliseconds, 8);
  EXPECT_DOUBLE_EQ(ops[0].floor_milliseconds, 5.5);
  const ProfileSums sums = sums_of(example());
  EXPECT_DOUBLE_EQ(sums.milliseconds, 10);
  EXPECT_DOUBLE_EQ(sums.run_milliseconds, 9.5);
  EXPECT_DOUBLE_EQ(sums.coverage, 10 / 9.5);  // nothing is made to fit
  EXPECT_DOUBLE_EQ(sums.floor_milliseconds, 6.5);
  EXPECT_EQ(sums.marks, 4);
  EXPECT_DOUBLE_EQ(sums.mark_milliseconds, 4e-3);
}

TEST(ProfileReport, IsATableOfTheLongestLines) {
  const std::string all = text_of(example(), 0);
  EXPECT_THAT(
      all, HasSubstr("two layers\n"
                     "a device: copies 100 GB/s; products 1.00 TFLOP/s in f32, 10.0 in bf16 (measured now)\n"
                     "one step without a profile: 9.500 ms\n"
                     "sum of its kernels' times: 10.000 ms, 105.3 % of that, over 2 profiled\n"
                     "in that sum: 4 marks of 1.00 us with nothing between them, 0.004 ms\n"
                     "the roofline allows: 6.500 ms, 65.0 % of the sum\n"));
  EXPECT_THAT(all, HasSubstr("op          calls     ms     %      GB   GFLOP  GB/s  TFLOP/s  % of roof\n"
                             "matmul          3  8.000  80.0  0.1000  41.500    12     5.19       68.8\n"
                             "layer_norm      1  2.000  20.0  0.1000   0.500    50     0.25       50.0\n"));
  EXPECT_THAT(all, HasSubstr("matmul      encoder.1  matmul.f32      f32[B, 512] "));
  EXPECT_THAT(all, Not(HasSubstr("never")));
  EXPECT_THAT(all, Not(HasSubstr("longest")));
  const std::string one = text_of(example(), 1);
  EXPECT_THAT(one, HasSubstr("the 1 longest of 3 lines\n"));
  EXPECT_THAT(one, HasSubstr("matmul.bf16"));
  EXPECT_THAT(one, Not(HasSubstr("encoder.1")));
}

TEST(ProfileReport, OfNothingThatRanIsEmpty) {
  ProfileReport report = example();
  report.times.clear();
  EXPECT_TRUE(lines_of(report).empty());
  EXPECT_EQ(sums_of(report).coverage, 0);
  EXPECT_THAT(text_of(report, 0), HasSubstr("the roofline allows: 0.000 ms, 0.0 % of the sum"));
}

}  // namespace
}  // namespace floe
