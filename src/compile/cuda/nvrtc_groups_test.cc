// Every printed group is CUDA C++ to NVRTC; needs no GPU.
#include <gtest/gtest.h>

#include "compile/cuda_cases_for_test.h"
#include "device/cuda/nvrtc.h"

namespace floe {
namespace {

void add_to(CudaGroups* groups, const GroupCase& g) {
  Attrs attrs;
  std::vector<Tensor> results = g.results();
  std::vector<GroupOperand> in, out;
  for (const View& view : g.views) in.push_back(operand_of(view));
  for (Tensor& tensor : results) out.push_back(operand_of(view_of(tensor)));
  groups->add(g.tape(), in, out, &attrs);
}

TEST(PrintedCuda, CompilesForEveryShapeOfWork) {
  std::string why_not;
  if (!Nvrtc::available(&why_not)) GTEST_SKIP() << "NVRTC is absent: " << why_not;
  CudaGroups groups;
  const CudaCases cases;
  for (const auto& g : cases.all()) add_to(&groups, *g);
  for (const int sm : {80, 90}) EXPECT_EQ(Nvrtc::shared().compile(groups.source(), sm).substr(1, 3), "ELF");
}

TEST(PrintedCuda, CompilesEveryScalarFunctionOfEveryType) {
  std::string why_not;
  if (!Nvrtc::available(&why_not)) GTEST_SKIP() << "NVRTC is absent: " << why_not;
  using Kind = ScalarFunction::Kind;
  CudaGroups groups;
  for (const DType type :
       {DType::f32, DType::bf16, DType::f16, DType::i8, DType::u8, DType::i32, DType::i64, DType::boolean}) {
    for (const ScalarFunction& row : scalar_functions()) {
      const bool takes = row.kind == Kind::cast || row.kind == Kind::compare || row.kind == Kind::select
                             ? true
                         : row.kind == Kind::logical  ? type == DType::boolean
                         : row.kind == Kind::integer  ? is_integer(type)
                         : row.kind == Kind::floating ? is_float(type)
                                                      : type != DType::boolean;
      if (!takes || (row.name == "div" && !is_float(type))) continue;
      GroupCase g(row.name);
      Values operands;
      for (int i = 0; i < row.arity; ++i) {
        const bool condition = row.kind == Kind::select && i == 0;
        operands.push_back(g.input(Tensor(condition ? DType::boolean : type, {2, 3})));
      }
      if (row.kind != Kind::cast) {
        g.output(elementwise(g.b, row.name, operands));
      } else {
        for (const DType to : {DType::f32, DType::bf16, DType::f16, DType::i8, DType::u8, DType::i32,
                               DType::i64, DType::boolean}) {
          if (to != type) g.output(cast(g.b, operands[0], to));
        }
      }
      add_to(&groups, g);
    }
  }
  EXPECT_EQ(Nvrtc::shared().compile(groups.source(), 90).substr(1, 3), "ELF");
}

}  // namespace
}  // namespace floe
