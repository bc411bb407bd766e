// One description of a case, checked in several ways: the kernel of each device against the op's value in
// double, with guard words around every buffer; the gradient against finite differences in double; the op
// against its meaning.
#pragma once
#include <string>
#include <vector>

#include "ir/evaluate.h"
#include "kernel/kernel.h"
#include "tensor/attrs.h"
#include "testing/test_device.h"

namespace floe {

struct CaseInput {
  enum class Fill { normal, uniform, integers, given } fill = Fill::normal;
  DType dtype = DType::f32;
  Shape shape;
  double low = -1, high = 1;  // uniform; integers in low..high-1
  TensorPtr value;            // given
  bool differentiate = true;  // floats only

  static CaseInput normal(Shape shape, DType dtype = DType::f32);
  static CaseInput uniform(Shape shape, double low, double high);
  static CaseInput integers(Shape shape, int64_t low, int64_t high, DType dtype = DType::i32);
  static CaseInput of(Tensor value);
  CaseInput constant() && {
    differentiate = false;
    return std::move(*this);
  }
};

struct OpCase {
  std::string op;
  std::vector<CaseInput> inputs;
  Attrs attrs;
  // An f32 result may differ from the double one by `ulps` units of the larger of its own magnitude and the
  // result's root mean square. Give a reason where it is not the default.
  double ulps = 32;
  int threads = 2;
  uint64_t seed = 1;
};

// Fails the test unless the test's device (test_device.h) has a kernel that supports the case and gives the
// reference's values; checks that no byte outside the outputs and the workspace is written and no input
// changed; runs it twice and wants equal bits.
void check_kernel(const OpCase& c);

// The results of the kernel on the case's inputs.
std::vector<Tensor> run_kernel(const OpCase& c);

// Directional derivative by central differences in double for every floating input with `differentiate`.
void check_gradient(const OpCase& c, double tolerance = 1e-6);

// The op's value in double through `evaluate` and through `meaning` (only for ops that have both).
void check_meaning(const OpCase& c, double tolerance = 1e-9);

// The reference value in double.
std::vector<RefTensor> reference(const OpCase& c);
std::vector<RefTensor> case_inputs(const OpCase& c);

// Fails unless every element of `got` is within `ulps` of `want` as described at OpCase::ulps; NaN must meet
// NaN and an infinity the same infinity. Integers must be equal.
void expect_close(const Tensor& got, const RefTensor& want, double ulps, const std::string& what);

}  // namespace floe
