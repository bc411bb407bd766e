// Printed CUDA without a GPU: its text, and its numbers when a C++ compiler runs the kernels thread by
// thread. They have no barriers and share no memory, so one thread after the other is a possible order.
#include "compile/print_cuda.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstdlib>
#include <cstring>
#include <set>

#include "base/file.h"
#include "base/temp_folder_for_test.h"
#include "compile/compile.h"
#include "compile/cuda_cases_for_test.h"
#include "device/cpu/thread_pool.h"
#include "kernel/group_call.h"
#include "testing/test_device.h"

namespace floe {
namespace {

struct Prepared {
  Attrs attrs;
  std::vector<Tensor> results;
  std::vector<View> out;
};

Prepared prepare(const GroupCase& g, CudaGroups* groups) {
  Prepared p;
  const Tape tape = g.tape();
  p.attrs.set("tape", TapePtr(std::make_shared<Tape>(tape)));
  p.results = g.results();
  std::vector<GroupOperand> in, out;
  for (const View& view : g.views) in.push_back(operand_of(view));
  for (Tensor& tensor : p.results) {
    p.out.push_back(view_of(tensor));
    out.push_back(operand_of(p.out.back()));
  }
  groups->add(tape, in, out, &p.attrs);
  return p;
}

// CUDA's words for a compiler of the host, and the conversions that NVRTC takes from the chip.
constexpr const char* kHost = R"(
struct Index { unsigned x, y, z; };
static Index blockIdx, threadIdx, blockDim, gridDim;
#define __global__
#define __launch_bounds__(threads)
static unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>((1ull * a * b) >> 32); }
static unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned long long>((static_cast<unsigned __int128>(a) * b) >> 64);
}
namespace floe {
static unsigned short (*bf16_bits)(float);
static unsigned short (*f16_bits)(float);
static float (*float_of_f16)(unsigned short);
}
extern "C" void set_conversions(unsigned short (*a)(float), unsigned short (*b)(float), float (*c)(unsigned short)) {
  floe::bf16_bits = a;
  floe::f16_bits = b;
  floe::float_of_f16 = c;
}
template <class G>
static unsigned long run(void (*kernel)(G), const void* words, const unsigned* at) {
  G g;
  __builtin_memcpy(&g, words, sizeof g);
  gridDim = {at[0], at[1], 1};
  blockDim = {at[2], at[3], 1};
  for (blockIdx.y = 0; blockIdx.y < at[1]; ++blockIdx.y)
    for (blockIdx.x = 0; blockIdx.x < at[0]; ++blockIdx.x)
      for (threadIdx.y = 0; threadIdx.y < at[3]; ++threadIdx.y)
        for (threadIdx.x = 0; threadIdx.x < at[2]; ++threadIdx.x) kernel(g);
  return sizeof g;
}
)";

// The kernels of a source, run on the host.
class HostKernels {
 public:
  HostKernels(const std::string& source, const std::set<std::string>& names) {
    std::string text = kHost + source;
    for (const std::string& name : names) {
      text += fmt::format(
          "extern \"C\" unsigned long run_{0}(const void* words, const unsigned* at) {{ "
          "return run({0}, words, at); }}\n",
          name);
    }
    write_file(folder_.file("groups.cc"), text);
    // An access that a GPU would refuse for its alignment ends the test.
    const std::string command = fmt::format(
        "{} -std=c++17 -O0 -w -ffp-contract=off -fno-strict-aliasing -fsanitize=alignment "
        "-fsanitize-undefined-trap-on-error -fPIC -shared -o {} {} -lm",
        compiler(), folder_.file("groups.so"), folder_.file("groups.cc"));
    if (std::system(command.c_str()) != 0) fail_io("printed CUDA is no C++");
    library_ = ::dlopen(folder_.file("groups.so").c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library_ == nullptr) fail_io("{}", ::dlerror());
    using Set = void (*)(uint16_t (*)(float), uint16_t (*)(float), float (*)(uint16_t));
    reinterpret_cast<Set>(::dlsym(library_, "set_conversions"))(to_bf16, to_f16, from_f16);
  }
  ~HostKernels() { ::dlclose(library_); }

  static std::string compiler() {
    const char* named = std::getenv("CXX");
    return named != nullptr ? named : "c++";
  }
  static bool possible() { return std::system((compiler() + " --version >/dev/null 2>&1").c_str()) == 0; }

  void run(const Attrs& attrs, std::span<const View> inputs, std::span<const View> outputs) const {
    GroupCall call(attrs, inputs, outputs);
    const GroupCall::Launch& at = call.launch();
    const uint32_t shape[] = {at.grid_x, at.grid_y, at.block_x, at.block_y};
    const std::string& name = attrs.text("function");
    using Run = unsigned long (*)(const void*, const uint32_t*);
    const auto run = reinterpret_cast<Run>(::dlsym(library_, ("run_" + name).c_str()));
    ASSERT_NE(run, nullptr) << name;
    const std::span<uint64_t> words = call.words(inputs, outputs);
    ASSERT_EQ(run(words.data(), shape), words.size_bytes()) << name;
    EXPECT_LE(int64_t{at.block_x} * at.block_y, 256);
  }

 private:
  TempFolder folder_;
  void* library_ = nullptr;
};

// Nothing here depends on the device that other tests run on.
#define FLOE_NEEDS_HOST_KERNELS() \
  FLOE_NEEDS_CPU();               \
  if (!HostKernels::possible()) GTEST_SKIP() << "no C++ compiler '" << HostKernels::compiler() << "' here"

void expect_same(const Tensor& got, const Tensor& want, const std::string& what) {
  ASSERT_EQ(got.dtype(), want.dtype()) << what;
  ASSERT_EQ(got.shape(), want.shape()) << what;
  if (got.bytes() == 0 || std::memcmp(got.data(), want.data(), got.bytes()) == 0) return;
  for (int64_t i = 0; i < got.size(); ++i) {
    const double g = got.at(i), w = want.at(i);
    if (std::isnan(w)) {
      ASSERT_TRUE(std::isnan(g)) << what << " at " << i << ": " << g;
    } else {
      ASSERT_EQ(std::bit_cast<uint64_t>(g), std::bit_cast<uint64_t>(w))
          << what << " at " << i << ": " << g << ", " << w;
    }
  }
}

// A result between bytes that must stay as they are.
struct Fenced {
  explicit Fenced(const Tensor& like)
      : bytes(like.bytes()), memory(DType::u8, {static_cast<int64_t>(like.bytes()) + 128}) {
    std::memset(memory.data(), 0xA5, memory.bytes());
  }
  char* data() { return memory.as<char>() + 64; }
  bool intact() const {
    const auto* at = memory.as<unsigned char>();
    for (size_t i = 0; i < memory.bytes(); ++i) {
      if ((i < 64 || i >= 64 + bytes) && at[i] != 0xA5) return false;
    }
    return true;
  }
  size_t bytes;
  Tensor memory;
};

TEST(PrintedCuda, GivesTheInterpretersBitsOnTheHost) {
  FLOE_NEEDS_HOST_KERNELS();
  const CudaCases cases;
  CudaGroups groups;
  std::vector<Prepared> prepared;
  std::set<std::string> names;
  for (const auto& g : cases.all()) {
    prepared.push_back(prepare(*g, &groups));
    names.insert(prepared.back().attrs.text("function"));
  }
  const std::string source = groups.source();
  EXPECT_EQ(source.find("#include"), std::string::npos);
  const HostKernels kernels(source, names);
  for (size_t k = 0; k < cases.all().size(); ++k) {
    const GroupCase& g = *cases.all()[k];
    SCOPED_TRACE(g.name);
    const std::vector<Tensor> want = interpreted(g);
    std::vector<Fenced> fenced;
    std::vector<View> out = prepared[k].out;
    for (const Tensor& result : prepared[k].results) fenced.emplace_back(result);
    for (size_t r = 0; r < out.size(); ++r) out[r].data = fenced[r].data();
    kernels.run(prepared[k].attrs, g.views, out);
    for (size_t r = 0; r < want.size(); ++r) {
      EXPECT_TRUE(fenced[r].intact()) << "wrote beside result " << r;
      Tensor& got = prepared[k].results[r];
      if (got.bytes() > 0) std::memcpy(got.data(), out[r].data, got.bytes());
      expect_same(got, want[r], g.name + " result " + std::to_string(r));
    }
  }
}

// y0 = (x + bias) * s, y1 = x - y0, in the type of the operands.
void add_results(GroupCase* g, const Values& operands) {
  const Value y0 = mul(g->b, elementwise(g->b, "silu", {add(g->b, operands[0], operands[1])}), operands[2]);
  g->output(y0);
  g->output(sub(g->b, operands[0], y0));
}

TEST(PrintedCuda, ComputesHalvesInFloatAndRoundsWhereItStores) {
  FLOE_NEEDS_HOST_KERNELS();
  for (const DType type : {DType::bf16, DType::f16}) {
    for (const Shape& shape : {Shape{6, 64}, Shape{5, 33}, Shape{1, 4001}}) {
      SCOPED_TRACE(std::string(name_of(type)) + text_of(shape));
      GroupCase half("half"), full("full");
      Values halves, fulls;
      for (const Shape& each : {shape, Shape{shape[1]}, Shape{shape[0], 1}}) {
        halves.push_back(half.normal(each, type));
        Tensor same(DType::f32, each);
        for (int64_t i = 0; i < same.size(); ++i) same.set(i, half.inputs.back().at(i));
        fulls.push_back(full.input(std::move(same)));
      }
      add_results(&half, halves);
      add_results(&full, fulls);
      CudaGroups groups;
      Prepared p = prepare(half, &groups);
      const HostKernels kernels(groups.source(), {p.attrs.text("function")});
      kernels.run(p.attrs, half.views, p.out);
      const std::vector<Tensor> want = interpreted(full);
      for (size_t r = 0; r < want.size(); ++r) {
        for (int64_t i = 0; i < want[r].size(); ++i) {
          ASSERT_EQ(p.results[r].at(i), round_to(type, want[r].at(i))) << r << " at " << i;
        }
      }
    }
  }
}

TEST(PrintedCuda, RoundsACastToHalfAndBack) {
  FLOE_NEEDS_HOST_KERNELS();
  GroupCase g("there_and_back");
  const Value x = g.normal({300});
  g.output(cast(g.b, cast(g.b, x, DType::bf16), DType::f32));
  g.output(cast(g.b, cast(g.b, x, DType::f16), DType::f32));
  g.output(cast(g.b, x, DType::bf16));
  CudaGroups groups;
  Prepared p = prepare(g, &groups);
  HostKernels(groups.source(), {p.attrs.text("function")}).run(p.attrs, g.views, p.out);
  for (int64_t i = 0; i < 300; ++i) {
    const double x_i = g.inputs[0].at(i);
    EXPECT_EQ(p.results[0].at(i), round_to(DType::bf16, x_i));
    EXPECT_EQ(p.results[1].at(i), round_to(DType::f16, x_i));
    EXPECT_EQ(p.results[2].at(i), round_to(DType::bf16, x_i));
  }
}

TEST(PrintedCuda, WritesResultsOverInputs) {
  FLOE_NEEDS_HOST_KERNELS();
  for (const Shape& shape : {Shape{6, 64}, Shape{5, 33}, Shape{3, 3000}}) {
    GroupCase g("in_place");
    const Value x = g.normal(shape), bias = g.normal({shape[1]}), s = g.normal({shape[0], 1});
    add_results(&g, {x, bias, s});
    CudaGroups groups;
    Prepared p = prepare(g, &groups);
    const HostKernels kernels(groups.source(), {p.attrs.text("function")});
    const std::vector<Tensor> want = interpreted(g);
    p.out[1].data = g.views[0].data;
    kernels.run(p.attrs, g.views, p.out);
    expect_same(p.results[0], want[0], "y0");
    expect_same(g.inputs[0], want[1], "y1 over x");
  }
}

TEST(PrintedCuda, DividesAnIntegerByZeroToZero) {
  FLOE_NEEDS_HOST_KERNELS();
  GroupCase g("by_zero");
  const Value x = g.input(Tensor::from_ints({4}, {7, -7, 0, 5})),
              y = g.input(Tensor::from_ints({4}, {0, 0, 0, 2}));
  g.output(elementwise(g.b, "floordiv", {x, y}));
  g.output(elementwise(g.b, "rem", {x, y}));
  CudaGroups groups;
  Prepared p = prepare(g, &groups);
  HostKernels(groups.source(), {p.attrs.text("function")}).run(p.attrs, g.views, p.out);
  for (int64_t i = 0; i < 4; ++i) {
    EXPECT_EQ(p.results[0].at(i), i < 3 ? 0 : 2);
    EXPECT_EQ(p.results[1].at(i), i < 3 ? 0 : 1);
  }
}

// The kernels alone.
std::string kernel_text(const std::string& source) {
  const size_t at = source.find("\nextern \"C\" __global__");
  return at == std::string::npos ? "" : source.substr(at + 1);
}

std::string kernel_of(const GroupCase& g) {
  std::vector<Tensor> results = g.results();
  std::vector<View> out;
  for (Tensor& tensor : results) out.push_back(view_of(tensor));
  Attrs attrs;
  return kernel_text(cuda_source(g.tape(), g.views, out, &attrs));
}

TEST(PrintedCuda, MakesOneLongRowOfDenseOperands) {
  GroupCase g("dense");
  const Value x = g.normal({2, 3, 4}, DType::bf16), s = g.normal({}, DType::bf16);
  g.output(elementwise(g.b, "relu", {mul(g.b, x, s)}));
  EXPECT_EQ(
      kernel_of(g),
      R"(extern "C" __global__ void __launch_bounds__(256) floe_group_0(const floe::Group<1, 2, 1, 1> g) {
  floe::start_after_previous();
  const float r3 = 0.0f;
  const float r1 = floe::value(*static_cast<const floe::bf16*>(g.inputs[1].data));
  for (long long block = blockIdx.x; block * blockDim.x * 8 < g.inner; block += gridDim.x) {
    const floe::Columns<8> c(block, g.inner, g.packed != 0);
    const auto v0 = floe::load<8>(static_cast<const floe::bf16*>(g.inputs[0].data), c);
    float y0[8];
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      const float r0 = floe::value(v0.at[k]);
      const float r2 = r0 * r1;
      const float r4 = floe::scalar::max(r2, r3);
      y0[k] = r4;
    }
    floe::store(static_cast<floe::bf16*>(g.outputs[0]), c, y0);
  }
}
)");
}

TEST(PrintedCuda, KeepsTheRowsOfABias) {
  GroupCase g("bias");
  const Value x = g.normal({2, 3, 4}), bias = g.normal({4}), s = g.normal({2, 3, 1});
  g.output(mul(g.b, add(g.b, x, bias), s));
  EXPECT_EQ(
      kernel_of(g),
      R"(extern "C" __global__ void __launch_bounds__(256) floe_group_0(const floe::Group<2, 3, 1, 1> g) {
  floe::start_after_previous();
  const long long row = blockIdx.x * static_cast<long long>(blockDim.y) + threadIdx.y;
  if (row >= g.rows) return;
  const long long i0 = row;
  const auto* x0 = static_cast<const float*>(g.inputs[0].data) + row * g.inner;
  const auto* x1 = static_cast<const float*>(g.inputs[1].data);
  const auto* x3 = static_cast<const float*>(g.inputs[2].data) + i0 * g.inputs[2].strides[0];
  const float r3 = floe::value(*x3);
  for (long long block = blockIdx.y; block * blockDim.x * 4 < g.inner; block += gridDim.y) {
    const floe::Columns<4> c(block, g.inner, g.packed != 0);
    const auto v0 = floe::load<4>(x0, c);
    const auto v1 = floe::load<4>(x1, c);
    float y0[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const float r0 = floe::value(v0.at[k]);
      const float r1 = floe::value(v1.at[k]);
      const float r2 = r0 + r1;
      const float r4 = r2 * r3;
      y0[k] = r4;
    }
    floe::store(static_cast<float*>(g.outputs[0]) + row * g.inner, c, y0);
  }
}
)");
}

TEST(PrintedCuda, FindsCoordinatesForDropoutAndWhatIsBroadcastBetween) {
  GroupCase g("dropped");
  const Value x = g.normal({2, 3, 4, 8}), mask = g.normal({2, 1, 4, 8});
  const Value seed = g.integers(DType::i32, {}, 9), ordinals = g.integers(DType::i32, {2}, 9);
  g.output(add(g.b, dropout(g.b, x, seed, ordinals, 0.5), mask));
  EXPECT_EQ(
      kernel_of(g),
      R"(extern "C" __global__ void __launch_bounds__(256) floe_group_0(const floe::Group<4, 4, 1, 1> g) {
  floe::start_after_previous();
  const float r3 = 0.5f;
  const float r6 = 2.0f;
  const float r8 = 0.0f;
  const int r0 = floe::value(*static_cast<const int*>(g.inputs[2].data));
  const long long row = blockIdx.x * static_cast<long long>(blockDim.y) + threadIdx.y;
  if (row >= g.rows) return;
  const floe::Quotient q2 = floe::divide(row, g.axes[2]);
  const long long i2 = q2.rest;
  const floe::Quotient q1 = floe::divide(q2.quotient, g.axes[1]);
  const long long i1 = q1.rest;
  const long long i0 = q1.quotient;
  const auto* x5 = static_cast<const float*>(g.inputs[0].data) + row * g.inner;
  const auto* x10 = static_cast<const float*>(g.inputs[1].data) + i0 * g.inputs[1].strides[0] + i2 * g.inputs[1].strides[2];
  const auto o2 = static_cast<unsigned>(g.randoms[0].ordinals[i0 * g.randoms[0].stride]);
  for (long long block = blockIdx.y; block * blockDim.x * 4 < g.inner; block += gridDim.y) {
    const floe::Columns<4> c(block, g.inner, g.packed != 0);
    const auto v5 = floe::load<4>(x5, c);
    const auto v10 = floe::load<4>(x10, c);
    float u2[4];
    floe::uniform<4>(u2, c, static_cast<unsigned>(r0), g.randoms[0].op_id, static_cast<unsigned>(i2), o2, static_cast<unsigned>(i1));
    float y0[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const float r5 = floe::value(v5.at[k]);
      const float r10 = floe::value(v10.at[k]);
      const float r2 = u2[k];
      const bool r4 = r3 <= r2;
      const float r7 = r5 * r6;
      const float r9 = r4 ? r7 : r8;
      const float r11 = r9 + r10;
      y0[k] = r11;
    }
    floe::store(static_cast<float*>(g.outputs[0]) + row * g.inner, c, y0);
  }
}
)");
}

TEST(PrintedCuda, SharesAKernelBetweenGroupsThatDifferInSizesAndOpIds) {
  CudaGroups groups;
  std::vector<std::string> names;
  for (const Shape& shape : {Shape{3, 8}, Shape{50, 1000}, Shape{3, 8, 2}}) {
    GroupCase g("dropped");
    for (int k = 0; k < static_cast<int>(shape[0]); ++k) g.b.next_op_id();
    const Value x = g.normal(shape), seed = g.integers(DType::i32, {}, 9);
    g.output(dropout(g.b, x, seed, g.integers(DType::i32, {shape[0]}, 9), 0.5));
    names.push_back(prepare(g, &groups).attrs.text("function"));
  }
  EXPECT_EQ(names[0], names[1]);
  EXPECT_NE(names[0], names[2]);  // of another rank
  const std::string source = kernel_text(groups.source());
  EXPECT_EQ(source.find("extern", 1), source.rfind("extern")) << source;
}

TEST(PrintedCuda, RefusesDoubles) {
  GroupCase g("double");
  g.output(scale(g.b, g.normal({3}, DType::f64), 2));
  EXPECT_EQ(refusal(ErrorKind::user, [&] { kernel_of(g); }), "f64 cannot be printed");
}

TEST(PrintedCuda, PrintsTheGroupsOfAProgramWithSymbolicSizes) {
  Graph graph(all_ops(), "model");
  Builder b(graph);
  const Dim batch = graph.symbols().declare("B"), length = graph.symbols().declare("S");
  const Value x = b.input("x", {DType::f32, {batch, length, 8}});
  const Value bias = b.input("bias", {DType::f32, {8}});
  b.output("y", elementwise(b, "gelu", {add(b, x, bias)}));
  Program program;
  program.device = DeviceKind::cuda;
  const auto compiled = compile({graph}, kernels_of(DeviceKind::cpu), {});
  program.entries = compiled->entries;
  print_cuda_groups(&program);
  ASSERT_EQ(program.entries[0].steps.size(), 1u);
  const Attrs& attrs = program.entries[0].steps[0].attrs;
  EXPECT_EQ(attrs.text("function"), "floe_group_0");
  EXPECT_EQ(attrs.integers("axes"), (std::vector<int64_t>{0, 0, 1}));
  EXPECT_EQ(attrs.integer("vector"), 4);
  EXPECT_NE(program.source.find("void __launch_bounds__(256) floe_group_0(const floe::Group<2, 2, 1, 1> g)"),
            std::string::npos);
}

TEST(PrintedCuda, PrintsNothingForAProgramWithoutGroups) {
  Program program;
  print_cuda_groups(&program);
  EXPECT_EQ(program.source, "");
}

}  // namespace
}  // namespace floe
