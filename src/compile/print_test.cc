// Printed groups against the tile interpreter: C++ bit for bit, NumPy to 2 units in the last place, dropout
// masks equal.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "base/file.h"
#include "base/temp_folder_for_test.h"
#include "compile/numpy_scalar.h"
#include "compile/print_cpp.h"
#include "compile/print_numpy.h"
#include "ops/all.h"
#include "ops/broadcast/broadcast.h"
#include "ops/dropout/dropout.h"
#include "ops/elementwise/elementwise.h"
#include "ops/elementwise/functions.h"
#include "ops/group/lower.h"
#include "testing/group_case.h"
#include "testing/printed_case.h"

namespace floe {
namespace {

using PrintedGroups = std::vector<std::unique_ptr<GroupCase>>;

std::vector<double> awkward() {
  const double inf = std::numeric_limits<double>::infinity();
  std::vector<double> numbers = {0.0,    -0.0,  1.0,  -1.0,  inf,    -inf,    std::nan(""), 88.8, -87.5,
                                 -103.0, 1e-40, 3e38, 0.624, -0.626, 0.99999, 3.9,          -5,   1e30};
  for (int i = -40; i <= 40; ++i) numbers.push_back(0.173 * i);
  return numbers;
}

PrintedGroups groups() {
  PrintedGroups all;
  const auto add_group = [&](const std::string& name) -> GroupCase& {
    all.push_back(std::make_unique<GroupCase>(name));
    return *all.back();
  };
  {
    GroupCase& g = add_group("residual_dropout");  // [batch, position, feature]
    const Value x = g.normal({3, 5, 70}), bias = g.normal({70}), residual = g.normal({3, 5, 70});
    const Value seed = g.integers(DType::i32, {}, 1 << 20), ordinals = g.integers(DType::i32, {3}, 1 << 20);
    const Value dropped = dropout(g.b, elementwise(g.b, "gelu", {add(g.b, x, bias)}), seed, ordinals, 0.3);
    g.output(add(g.b, residual, dropped));
    g.output(elementwise(g.b, "ne", {dropped, like(g.b, dropped, 0)}));
  }
  {
    GroupCase& g = add_group("uniform_of_rank_4");
    const Value seed = g.integers(DType::i32, {}, 1 << 20), ordinals = g.integers(DType::i32, {2}, 1 << 20);
    g.output(uniform(g.b, seed, ordinals, {2, 3, 4, 9}, 77));
  }
  {
    GroupCase& g = add_group("broadcasts");
    const Value x = g.normal({4, 1, 3}), y = g.normal({5, 1}), s = g.normal({});
    g.output(sub(g.b, mul(g.b, x, y), s));
  }
  {
    GroupCase& g = add_group("nothing");
    g.output(elementwise(g.b, "exp", {g.normal({0, 3})}));
  }
  {
    GroupCase& g = add_group("scalars");
    const Value x = g.normal({});
    g.output(elementwise(g.b, "sigmoid", {x}));
  }
  for (const DType type : {DType::i8, DType::u8, DType::i32, DType::i64}) {
    GroupCase& g = add_group("integers_" + std::string(name_of(type)));
    const Value x = g.integers(type, {50}, 120), y = g.integers(type, {50}, 120);
    add_integer_outputs(g, x, y);
  }
  for (const ScalarFunction& row : scalar_functions()) {
    const bool logical = row.kind == ScalarFunction::Kind::logical ||
                         row.kind == ScalarFunction::Kind::select ||
                         row.kind == ScalarFunction::Kind::integer;
    if (logical) continue;
    GroupCase& g = add_group("row_" + row.name);
    const auto n = static_cast<int64_t>(awkward().size());
    Values operands = {g.input(Tensor::from_doubles(DType::f32, {n}, awkward()))};
    if (row.arity == 2) operands.push_back(g.input(Tensor::from_doubles(DType::f32, {n, 1}, awkward())));
    g.output(row.name == "cast" ? cast(g.b, operands[0], DType::i32) : elementwise(g.b, row.name, operands));
  }
  return all;
}

std::vector<View> views_of(std::vector<Tensor>& tensors) {
  std::vector<View> views;
  for (Tensor& tensor : tensors) views.push_back(view_of(tensor));
  return views;
}

TEST(PrintedCpp, GivesTheInterpretersBits) {
  if (const std::string why = why_no_cpp(); !why.empty()) GTEST_SKIP() << why;
  const PrintedGroups all = groups();
  std::vector<std::vector<Tensor>> wanted;
  std::string source = cpp_prelude();
  for (const auto& g : all) {
    wanted.push_back(interpreted(*g));
    source += "\n" + cpp_group(g->name, lower_group(*g->body), views_of(g->inputs), views_of(wanted.back()));
  }
  EXPECT_EQ(source.find("#include"), std::string::npos);
  const TempFolder folder;
  write_file(folder.file("groups.cc"), source);
  ASSERT_EQ(build_cpp(folder.file("groups.cc"), folder.file("groups.so")), "") << source;
  void* library = ::dlopen(folder.file("groups.so").c_str(), RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(library, nullptr) << ::dlerror();
  for (size_t k = 0; k < all.size(); ++k) {
    using Function = int (*)(const void* const*, void* const*);
    const auto function = reinterpret_cast<Function>(::dlsym(library, all[k]->name.c_str()));
    ASSERT_NE(function, nullptr) << all[k]->name;
    std::vector<const void*> in;
    for (const Tensor& tensor : all[k]->inputs) in.push_back(tensor.data());
    std::vector<Tensor> got;
    std::vector<void*> out;
    for (const Tensor& tensor : wanted[k]) got.emplace_back(tensor.dtype(), tensor.shape());
    for (Tensor& tensor : got) out.push_back(tensor.data());
    ASSERT_EQ(function(in.data(), out.data()), 0) << all[k]->name;
    for (size_t r = 0; r < got.size(); ++r)
      expect_same_numbers(got[r], wanted[k][r], /*ulps=*/0, all[k]->name);
  }
  ::dlclose(library);
}

TEST(PrintedCpp, ReadsLikeCode) {
  GroupCase g("scaled");
  const Value x = g.normal({2, 3}), row = g.normal({3});
  g.output(elementwise(g.b, "relu", {add(g.b, scale(g.b, x, 0.1), row)}));
  std::vector<Tensor> out = interpreted(g);
  EXPECT_EQ(cpp_group("scaled", lower_group(*g.body), views_of(g.inputs), views_of(out)),
            R"(extern "C" int scaled(const void* const* inputs, void* const* outputs) {
  const float* __restrict x0 = static_cast<const float*>(inputs[0]);
  const float* __restrict x1 = static_cast<const float*>(inputs[1]);
  float* __restrict y0 = static_cast<float*>(outputs[0]);
  for (long long i0 = 0; i0 < 2; ++i0) {
    for (long long i1 = 0; i1 < 3; ++i1) {
      const float r0 = 0.100000001f;
      const float r1 = x0[i0 * 3 + i1];
      const float r2 = r1 * r0;
      const float r3 = x1[i1];
      const float r4 = r2 + r3;
      const float r5 = 0.0f;
      const float r6 = floe::scalar::max(r4, r5);
      y0[i0 * 3 + i1] = r6;
    }
  }
  return 0;
}
)");
}

TEST(PrintedCpp, RefusesTypesItCannotPrint) {
  Tensor half(DType::bf16, {2});
  std::vector<View> views = {view_of(half)};
  TapeBuilder tape(1, DType::bf16);
  tape.result(tape.input(0));
  EXPECT_EQ(refusal(ErrorKind::user, [&] { cpp_group("g", tape.take(), views, views); }),
            "[print_cpp] bf16 cannot be printed");
}

void write_tensor(const std::string& path, const Tensor& tensor) {
  write_file(path, std::string_view(static_cast<const char*>(tensor.data()), tensor.bytes()));
}

TEST(PrintedNumPy, GivesTheInterpretersNumbers) {
  if (const std::string why = why_no_numpy(); !why.empty()) GTEST_SKIP() << why;
  const PrintedGroups all = groups();
  const TempFolder folder;
  std::string source = numpy_prelude();
  std::string calls = "\n\nimport os, sys\n\nos.chdir(sys.argv[1])\n";
  std::vector<std::vector<Tensor>> wanted;
  for (const auto& g : all) {
    wanted.push_back(interpreted(*g));
    source += numpy_group(g->name, lower_group(*g->body), wanted.back()[0].shape());
    std::string arguments;
    for (size_t i = 0; i < g->inputs.size(); ++i) {
      const std::string file = fmt::format("{}.in{}", g->name, i);
      write_tensor(folder.file(file), g->inputs[i]);
      std::string dims;
      for (const int64_t dim : g->inputs[i].shape()) dims += fmt::format("{}, ", dim);
      arguments += fmt::format("np.fromfile(\"{}\", {}).reshape(({})), ", file,
                               numpy_type(g->inputs[i].dtype()), dims);
    }
    calls += fmt::format(
        "for i, y in enumerate({0}({1})):\n    np.ascontiguousarray(y).tofile(\"{0}.out\" + str(i))\n",
        g->name, arguments);
  }
  write_file(folder.file("groups.py"), source + calls);
  ASSERT_EQ(std::system(fmt::format("python3 {} {}", folder.file("groups.py"), folder.path()).c_str()), 0)
      << source;
  for (size_t k = 0; k < all.size(); ++k) {
    // NumPy's own sine, cosine and power differ from the C library's by more than a unit.
    const std::string& name = all[k]->name;
    const bool borrowed = name == "row_sin" || name == "row_cos" || name == "row_pow";
    for (size_t r = 0; r < wanted[k].size(); ++r) {
      const Tensor& want = wanted[k][r];
      const std::string bytes = read_file(folder.file(fmt::format("{}.out{}", name, r)));
      ASSERT_EQ(bytes.size(), want.bytes()) << name;
      Tensor got(want.dtype(), want.shape());
      if (!bytes.empty()) std::memcpy(got.data(), bytes.data(), bytes.size());
      expect_same_numbers(got, want, borrowed ? 4 : 2, name);
    }
  }
}

}  // namespace
}  // namespace floe
