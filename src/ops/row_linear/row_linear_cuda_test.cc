// row_linear in bf16 on the GPU: values, and the same bits for a row whatever rows lie beside it and
// whichever kernel and tile that means.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include "testing/op_case.h"
#include "testing/test_device.h"

namespace floe {
namespace {

struct Form {
  std::string norm = "";
  bool keep_norm = false;
  std::optional<DType> bias = std::nullopt, residual = std::nullopt;
  std::string activation = "";
  DType out = DType::bf16;
};

OpCase case_of(int64_t m, int64_t n, int64_t k, const Form& form = {}) {
  OpCase c{.op = "row_linear",
           .inputs = {CaseInput::normal({m, k}, DType::bf16), CaseInput::normal({n, k}, DType::bf16)},
           .attrs = {{"activation", form.activation}, {"out", form.out}}};
  if (!form.norm.empty()) {
    c.attrs.set("norm", form.norm);
    c.attrs.set("eps", 1e-5);
    c.inputs.push_back(CaseInput::normal({k}));
    if (form.norm == "layer_norm") c.inputs.push_back(CaseInput::normal({k}));
    if (form.keep_norm) c.attrs.set("keep_norm", true);
  }
  if (form.bias) {
    c.attrs.set("bias", true);
    c.inputs.push_back(CaseInput::normal({n}, *form.bias));
  }
  if (form.residual) {
    c.attrs.set("residual", true);
    c.inputs.push_back(CaseInput::normal({m, n}, *form.residual));
  }
  // bf16: one rounding from f32. f32: a chain of k / 16 products, each cut off at 2^-22 of the larger sum.
  c.ulps = form.out == DType::bf16 ? 2 : static_cast<double>(32 + k);
  return c;
}

std::vector<Tensor> drawn(const OpCase& c) {
  std::vector<Tensor> tensors;
  for (const RefTensor& input : case_inputs(c)) tensors.push_back(tensor_of(input));
  return tensors;
}

// The same case with the first m rows of x and of the residual; `inputs` are what was drawn for the whole.
OpCase first_rows(const OpCase& whole, const std::vector<Tensor>& inputs, int64_t m) {
  OpCase c = whole;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Tensor& all = inputs[i];
    const bool rows = i == 0 || (whole.attrs.flag("residual", false) && i + 1 == inputs.size());
    Shape shape = all.shape();
    if (rows) shape[0] = m;
    Tensor part(all.dtype(), shape);
    if (part.bytes() > 0) std::memcpy(part.data(), all.data(), part.bytes());
    c.inputs[i] = CaseInput::of(std::move(part));
  }
  return c;
}

void expect_same_start(const Tensor& part, const Tensor& whole, const std::string& what) {
  ASSERT_LE(part.bytes(), whole.bytes()) << what;
  EXPECT_EQ(std::memcmp(part.data(), whole.data(), part.bytes()), 0) << what;
}

TEST(RowLinearCuda, GivesTheProductForEverySize) {
  FLOE_NEEDS_CUDA();
  for (const DType out : {DType::bf16, DType::f32}) {
    for (const int64_t m : {1, 5, 16, 17, 33, 150}) {
      for (const int64_t n : {1, 3, 8, 50, 200}) {
        for (const int64_t k : {1, 7, 8, 31, 40, 520, 1031, 1064}) {
          SCOPED_TRACE(::testing::Message() << m << " x " << n << " x " << k);
          check_kernel(case_of(m, n, k, {.out = out}));
        }
      }
    }
  }
}

// K of whole panels for every split: the tensor cores' warpgroup products, on sm_90.
TEST(RowLinearCuda, GivesTheProductForTilesThatAreNotFull) {
  FLOE_NEEDS_CUDA();
  check_kernel(case_of(33, 2, 256));
  check_kernel(case_of(65, 66, 512, {.bias = DType::f32, .residual = DType::bf16}));
  check_kernel(case_of(70, 34, 768, {.residual = DType::f32, .out = DType::f32}));
  check_kernel(case_of(70, 4402, 256, {.bias = DType::bf16, .out = DType::f32}));  // blocks that walk
  check_kernel(case_of(40, 8600, 1024, {.activation = "relu"}));
  check_kernel(case_of(129, 30, 1536, {.bias = DType::bf16, .activation = "gelu"}));
}

TEST(RowLinearCuda, HandlesSizesOfZeroAndManyRows) {
  FLOE_NEEDS_CUDA();
  check_kernel(case_of(0, 8, 16, {.norm = "rms_norm", .keep_norm = true}));
  check_kernel(case_of(3, 0, 16, {.norm = "rms_norm"}));
  check_kernel(case_of(3, 8, 0, {.bias = DType::bf16, .residual = DType::f32, .activation = "relu"}));
  check_kernel(case_of(200000, 3, 8));
  check_kernel(case_of(70000, 130, 8));
}

TEST(RowLinearCuda, AddsABiasAppliesAnActivationAndAddsAResidual) {
  FLOE_NEEDS_CUDA();
  for (const int64_t m : {2, 40, 500}) {  // one size for each of the kernels
    for (const DType type : {DType::bf16, DType::f32}) {
      check_kernel(case_of(m, 1600, 72, {.bias = type, .out = DType::f32}));
      check_kernel(case_of(m, 1600, 72, {.residual = type, .out = DType::f32}));
    }
    for (const char* name : {"relu", "gelu", "gelu_tanh", "silu", "sigmoid", "tanh"}) {
      check_kernel(case_of(m, 1600, 72, {.bias = DType::bf16, .residual = DType::bf16, .activation = name}));
    }
  }
}

// The normed rows are the norm op's own, and the product is that of the normed rows: bit for bit, inside a
// block or by a kernel before it, so values need no tolerance of their own.
TEST(RowLinearCuda, NormsAsTheNormAloneDoes) {
  FLOE_NEEDS_CUDA();
  for (const char* norm : {"layer_norm", "rms_norm"}) {
    for (const int64_t m : {1, 3, 16, 17, 130}) {
      for (const int64_t k : {8, 40, 250, 512, 1000, 1024, 1032, 2048}) {
        for (const int64_t n : {24, 4400}) {
          SCOPED_TRACE(::testing::Message() << norm << " " << m << " x " << n << " x " << k);
          const OpCase both =
              case_of(m, n, k, {.norm = norm, .keep_norm = true, .bias = DType::f32, .activation = "gelu"});
          const std::vector<Tensor> got = run_kernel(both);
          ASSERT_EQ(got.size(), 2u);
          const std::vector<RefTensor> in = case_inputs(both);
          OpCase alone{.op = norm, .attrs = {{"eps", 1e-5}}};
          for (const size_t i : {0, 2, 3}) {
            if (i == 3 && std::string(norm) == "rms_norm") continue;
            alone.inputs.push_back(CaseInput::of(tensor_of(in[i])));
          }
          const std::vector<Tensor> normed = run_kernel(alone);
          expect_same_start(got[1], normed[0], "normed rows");
          OpCase plain = case_of(m, n, k, {.bias = DType::f32, .activation = "gelu"});
          plain.inputs[0] = CaseInput::of(tensor_of(ref_of(normed[0])));
          plain.inputs[1] = CaseInput::of(tensor_of(in[1]));
          plain.inputs[2] = CaseInput::of(tensor_of(in.back()));
          expect_same_start(got[0], run_kernel(plain)[0], "product");
          OpCase forgets = both;
          forgets.attrs.erase("keep_norm");
          expect_same_start(run_kernel(forgets)[0], got[0], "without keeping the norm");
        }
      }
    }
  }
}

TEST(RowLinearCuda, ARowHasTheSameBitsAmongAnyNumberOfRows) {
  FLOE_NEEDS_CUDA();
  struct Size {
    int64_t m, n, k;
  };
  // Together they reach every tile of the three kernels, and blocks with one tile and with several.
  for (const Size& size : {Size{1025, 72, 520},
                           {1025, 1536, 512},
                           {300, 4400, 256},
                           {64, 17024, 512},
                           {300, 130, 768},
                           {1025, 1538, 1024},
                           {300, 66, 1536},
                           {1025, 1536, 520},
                           {300, 4400, 136},
                           {64, 12800, 136},
                           {64, 17024, 72},
                           {1025, 512, 2048},
                           {300, 1536, 1032},
                           {300, 75, 513},
                           {300, 40, 24}}) {
    for (const char* norm : {"", "layer_norm", "rms_norm"}) {
      const OpCase all = case_of(size.m, size.n, size.k,
                                 {.norm = norm,
                                  .bias = DType::bf16,
                                  .residual = DType::bf16,
                                  .activation = "relu",
                                  .out = DType::f32});
      const std::vector<Tensor> inputs = drawn(all);
      const std::vector<Tensor> whole = run_kernel(all);
      for (const int64_t m : {1, 2, 7, 16, 17, 33, 64, 128, 300}) {
        if (m >= size.m) continue;
        expect_same_start(run_kernel(first_rows(all, inputs, m))[0], whole[0],
                          fmt::format("{} {} of {} rows, {} x {}", norm, m, size.m, size.n, size.k));
      }
    }
  }
}

TEST(RowLinearCuda, NanAndInfinityStayInTheirRow) {
  FLOE_NEEDS_CUDA();
  for (const int64_t k : {64, 512}) {
    for (const int64_t m : {4, 40, 500}) {
      for (const char* norm : {"", "rms_norm", "layer_norm"}) {
        OpCase c = case_of(m, 1600, k, {.norm = norm});
        Tensor x = tensor_of(case_inputs(c)[0]);
        const std::vector<Tensor> clean = run_kernel(first_rows(c, drawn(c), m));
        OpCase dirty = first_rows(c, drawn(c), m);
        x.set(1 * k + 5, std::numeric_limits<double>::quiet_NaN());
        x.set(3 * k - 1, std::numeric_limits<double>::infinity());
        dirty.inputs[0] = CaseInput::of(std::move(x));
        const std::vector<Tensor> got = run_kernel(dirty);
        for (int64_t i = 0; i < got[0].size(); ++i) {
          const int64_t row = i / 1600;
          if (row == 1) {
            ASSERT_TRUE(std::isnan(got[0].at(i))) << i;
          } else if (row == 2) {
            ASSERT_FALSE(std::isfinite(got[0].at(i))) << i;
          } else {
            ASSERT_EQ(got[0].at(i), clean[0].at(i)) << i;
          }
        }
      }
    }
  }
}

// Frozen weights are read before the kernel waits for its predecessor; here that is itself, twice.
TEST(RowLinearCuda, FrozenWeightsGiveTheSameBits) {
  FLOE_NEEDS_CUDA();
  for (const int64_t m : {1, 16, 40}) {
    const OpCase c = case_of(m, 512, 512, {.norm = "layer_norm", .bias = DType::bf16});
    const std::vector<Tensor> want = run_kernel(c);
    const std::unique_ptr<Device> device = open_test_device();
    std::vector<Tensor> in;
    for (const RefTensor& ref : case_inputs(c)) in.push_back(tensor_of(ref));
    std::vector<DeviceBuffer> memory;
    std::vector<View> inputs;
    for (const Tensor& tensor : in) {
      memory.emplace_back(*device, tensor.bytes());
      device->upload(memory.back().data(), tensor.data(), tensor.bytes());
      inputs.emplace_back(memory.back().data(), tensor.dtype(), tensor.shape());
    }
    Tensor got(DType::bf16, {m, 512});
    const DeviceBuffer result(*device, got.bytes());
    const std::vector<View> outputs{View(result.data(), got.dtype(), got.shape())};
    const Kernel& kernel = kernels_of(DeviceKind::cuda).named(DeviceKind::cuda, "row_linear.bf16");
    const BoundKernel bound = kernel.bind({c.attrs, inputs, outputs, 1, 0b11111, device.get()});
    const DeviceBuffer workspace(*device, bound.workspace);
    for (int i = 0; i < 2; ++i)
      bound.run({inputs, outputs, workspace.data(), nullptr, nullptr, device->stream()});
    device->download(got.data(), result.data(), got.bytes());
    device->wait();
    expect_same_start(got, want[0], "frozen");
  }
}

}  // namespace
}  // namespace floe
