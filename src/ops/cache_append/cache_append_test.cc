#include "ops/cache_append/cache_append.h"

#include <gtest/gtest.h>

#include <cstring>

#include "device/cpu/thread_pool.h"
#include "ops/all.h"
#include "testing/op_case.h"

namespace floe {
namespace {

OpCase make(const std::vector<int32_t>& table, const std::vector<int32_t>& positions) {
  return {
      "cache_append",
      {CaseInput::normal({5, 4, 2, 3}), CaseInput::normal({2, 3, 2, 3}),
       CaseInput::of(Tensor::from_ints({2, 2}, table)), CaseInput::of(Tensor::from_ints({2}, positions))}};
}

std::string message(const OpCase& c) {
  try {
    run_kernel(c);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(CacheAppend, WritesThroughTheTable) {
  check_kernel(make({4, 1, 0, 2}, {2, 5}));    // row 0 crosses from block 4 into block 1
  check_kernel(make({4, 1, -1, -1}, {0, 1}));  // row 1 is finished
}

TEST(CacheAppend, TakesNothing) {
  OpCase c = make({0, 0, 0, 0}, {0, 0});
  c.inputs[1] = CaseInput::normal({2, 0, 2, 3});
  check_kernel(c);
}

TEST(CacheAppend, WorksInPlace) {
  const OpCase c = make({4, 1, 0, 2}, {2, 5});
  const std::vector<Tensor> apart = run_kernel(c);
  std::vector<Tensor> inputs;
  for (const RefTensor& input : case_inputs(c)) inputs.push_back(tensor_of(input));
  std::vector<View> views;
  for (Tensor& tensor : inputs) views.push_back(view_of(tensor));
  const std::vector<View> out{views[0]};
  ThreadPool pool(2);
  const BoundKernel bound =
      kernels_of(DeviceKind::cpu).named(DeviceKind::cpu, "cache_append").bind({c.attrs, views, out, 2});
  bound.run({views, out, nullptr, &pool});
  EXPECT_EQ(std::memcmp(inputs[0].data(), apart[0].data(), apart[0].bytes()), 0);
}

TEST(CacheAppend, RefusesWhatLiesOutside) {
  FLOE_NEEDS_CPU();
  EXPECT_EQ(message(make({4, 1, 0, 2}, {2, 6})),
            "[cache_append] row 1: position 8 is outside its table of 2 blocks of 4");
  EXPECT_EQ(message(make({4, 5, 0, 2}, {2, 5})), "[cache_append] row 0: table names block 5 of 5");
}

TEST(CacheAppend, APairMustBeAlike) {
  Graph graph(all_ops(), "g");
  Builder b(graph);
  const Value cache = b.input("cache", {DType::f32, {5, 4, 2, 3}});
  const Value other = b.input("other", {DType::f32, {5, 4, 2, 7}});
  const Value added = b.input("added", {DType::f32, {2, 1, 2, 3}});
  const Value table = b.input("table", {DType::i32, {2, 2}});
  const Value positions = b.input("positions", {DType::i32, {2}});
  try {
    cache_append_pair(b, {cache, added, other, added, table, positions});
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "[cache_append_pair] both caches must have one type, and what is added to them, got "
                 "f32[5, 4, 2, 3], f32[2, 1, 2, 3], f32[5, 4, 2, 7] and f32[2, 1, 2, 3]");
  }
}

}  // namespace
}  // namespace floe
