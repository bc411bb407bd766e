#include "ops/reduce/reduce.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "testing/op_case.h"

namespace floe {
namespace {

OpCase case_of(const char* op, Shape shape, std::vector<int64_t> axes, bool keep = false) {
  OpCase c{.op = op,
           .inputs = {CaseInput::normal(std::move(shape))},
           .attrs = {{"axes", std::move(axes)}, {"keep", keep}}};
  // A sum of n standard normal values is of size sqrt(n), as rms over results; each partial sum errs by eps
  // of that.
  c.ulps = std::string(op) == "reduce_max" ? 0 : 300;
  return c;
}

TEST(Reduce, AnyAxes) {
  for (const char* op : {"reduce_sum", "reduce_max"}) {
    check_kernel(case_of(op, {37, 53}, {1}));
    check_kernel(case_of(op, {37, 53}, {0}));
    check_kernel(case_of(op, {37, 53}, {0}, true));
    check_kernel(case_of(op, {37, 53}, {-1, 0}));
    check_kernel(case_of(op, {37, 53}, {}));
    check_kernel(case_of(op, {3, 5, 7, 2}, {1, 2}));
    check_kernel(case_of(op, {3, 5, 7, 2}, {0, 2}));
    check_kernel(case_of(op, {3, 5, 7, 2}, {1, 3}, true));
    check_kernel(case_of(op, {3, 1, 7, 1}, {1, 3}));
    check_kernel(case_of(op, {}, {}));
  }
}

TEST(Reduce, ManyRowsAndLongRows) {
  for (const char* op : {"reduce_sum", "reduce_max"}) {
    check_kernel(case_of(op, {70000, 3}, {0}));
    check_kernel(case_of(op, {70000, 3}, {1}));
    check_kernel(case_of(op, {600, 1100}, {0}));
    check_kernel(case_of(op, {2, 9001}, {1}));
    check_kernel(case_of(op, {300, 401}, {0, 1}));
  }
}

TEST(Reduce, NothingSumsToZeroAndHasNoMaximum) {
  check_kernel(case_of("reduce_sum", {0, 3}, {0}));
  check_kernel(case_of("reduce_max", {3, 0}, {1}));
  check_kernel(case_of("reduce_sum", {0, 3}, {1}));
}

TEST(Reduce, NanStays) {
  for (const char* op : {"reduce_sum", "reduce_max"}) {
    for (const int64_t at : {0, 5, 17, 39}) {
      for (const int64_t axis : {0, 1}) {
        OpCase c = case_of(op, {2, 20}, {axis});
        Tensor x(DType::f32, {2, 20});
        x.set(at, std::numeric_limits<double>::quiet_NaN());
        x.set(1, -std::numeric_limits<double>::infinity());
        c.inputs = {CaseInput::of(std::move(x))};
        check_kernel(c);
      }
    }
  }
}

TEST(Reduce, Integers) {
  for (const DType dtype : {DType::i32, DType::i64}) {
    for (const char* op : {"reduce_sum", "reduce_max"}) {
      OpCase c = case_of(op, {5, 7, 3}, {1});
      c.inputs = {CaseInput::integers({5, 7, 3}, -1000, 1000, dtype)};
      check_kernel(c);
      c.attrs.set("axes", std::vector<int64_t>{0, 2});
      check_kernel(c);
    }
  }
}

TEST(Reduce, DoesNotDependOnThreads) {
  for (const int64_t axis : {0, 1}) {
    OpCase c = case_of("reduce_sum", {1000, 1500}, {axis});
    c.threads = 1;
    const Tensor one = std::move(run_kernel(c)[0]);
    c.threads = 5;
    const Tensor five = std::move(run_kernel(c)[0]);
    EXPECT_EQ(std::memcmp(one.data(), five.data(), one.bytes()), 0);
  }
}

TEST(Reduce, HasAGradient) {
  check_gradient(case_of("reduce_sum", {3, 4, 2}, {0, 2}));
  check_gradient(case_of("reduce_max", {3, 4, 2}, {1}));
}

}  // namespace
}  // namespace floe
