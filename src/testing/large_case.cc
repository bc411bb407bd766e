#include "testing/large_case.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <set>

#include "base/bytes.h"
#include "testing/case_kernel.h"

namespace floe {
namespace {

constexpr int64_t kLarge = int64_t{1} << 31;

// `block` as often as it goes into the memory.
void fill(Device& device, const Tensor& block, const DeviceBuffer& memory) {
  auto* to = static_cast<char*>(memory.data());
  device.upload(to, block.data(), block.bytes());
  for (size_t done = block.bytes(); done < memory.bytes();) {
    const size_t more = std::min(done, memory.bytes() - done);
    device.copy(to + done, to, more);
    done += more;
  }
  device.wait();
}

// Rows of a result that an index cut to 32 bits would confuse with others, in any of the tensors.
std::set<int64_t> rows_to_compare(int64_t rows, const std::vector<View>& tensors) {
  std::set<int64_t> chosen = {0, 1, rows / 2, rows - 2, rows - 1};
  const auto add_around = [&](int64_t row) {
    for (int64_t at = row - 1; at <= row + 2; ++at) chosen.insert(at);
  };
  for (const View& view : tensors) {
    if (view.rank == 0 || view.dims[0] == 0 || view.size() == 0) continue;
    const int64_t width = view.size() / view.dims[0];
    for (const int64_t elements : {kLarge, 2 * kLarge, kLarge / static_cast<int64_t>(size_of(view.dtype)),
                                   2 * kLarge / static_cast<int64_t>(size_of(view.dtype))}) {
      // Its rows may be several to one of the result, or the other way round.
      add_around(elements / width * rows / view.dims[0]);
    }
  }
  std::mt19937_64 random(9);
  for (int k = 0; k < 200; ++k) chosen.insert(static_cast<int64_t>(random() % static_cast<uint64_t>(rows)));
  std::erase_if(chosen, [&](int64_t row) { return row < 0 || row >= rows; });
  return chosen;
}

void compare_row(const Tensor& got, const Tensor& want, double ulps, const std::string& what) {
  if (ulps == 0) {
    ASSERT_EQ(std::memcmp(got.data(), want.data(), got.bytes()), 0) << what;
  } else {
    expect_close(got, ref_of(want), ulps, what);
  }
}

}  // namespace

void check_large(const LargeCase& c) {
  const std::vector<Tensor> small_inputs = input_tensors(c.one);
  OpCase large = c.one;
  for (size_t k = 0; k < large.inputs.size(); ++k) {
    const auto other = c.instead.find(k);
    if (other != c.instead.end()) {
      large.inputs[k].shape = other->second.shape();
    } else if ((c.repeated >> k & 1) != 0) {
      large.inputs[k].shape[0] *= c.times;
    }
  }
  const CaseGraph built = graph_of(large);
  const Node& node = built.graph.producer(built.results[0]);
  std::vector<View> in, out;
  for (const CaseInput& input : large.inputs) in.emplace_back(nullptr, input.dtype, input.shape);
  for (const Type& type : node.types) out.emplace_back(nullptr, type.dtype, fixed_shape(type));
  size_t bytes = 0;
  int64_t most = 0;
  for (const std::vector<View>* views : {&in, &out}) {
    for (const View& view : *views) {
      bytes += view.bytes();
      most = std::max(most, view.size());
    }
  }
  ASSERT_GT(most, kLarge) << "nothing here is large";

  const auto device = open_test_device();
  if (bytes + bytes / 16 > device->memory_available()) {
    GTEST_SKIP() << c.one.op << " over " << rounded_bytes(bytes) << ", and " << device->name() << " has "
                 << rounded_bytes(device->memory_available());
  }
  const ChosenKernel chosen = choose(large, built, *device);
  ASSERT_NE(chosen.kernel, nullptr) << "no kernel for '" << c.one.op << "'";
  std::vector<DeviceBuffer> memory;
  for (size_t k = 0; k < in.size(); ++k) {
    const auto other = c.instead.find(k);
    memory.emplace_back(*device, in[k].bytes());
    fill(*device, other == c.instead.end() ? small_inputs[k] : other->second, memory.back());
  }
  for (const View& view : out) {
    memory.emplace_back(*device, view.bytes());
    device->zero(memory.back().data(), view.bytes());
  }
  const BoundKernel bound =
      chosen.kernel->bind({chosen.attrs, in, out, c.one.threads, 0, device.get(), chosen.module.get()});
  for (size_t k = 0; k < in.size(); ++k) in[k].data = memory[k].data();
  for (size_t k = 0; k < out.size(); ++k) out[k].data = memory[in.size() + k].data();
  const DeviceBuffer workspace(*device, bound.workspace);
  bound.run({in, out, workspace.data(), device->pool(), nullptr, device->stream()});
  device->wait();

  const std::vector<Tensor> small = run_kernel(c.one);
  std::vector<View> all = in;
  all.insert(all.end(), out.begin(), out.end());
  for (const size_t k : c.results) {
    const int64_t small_rows = small[k].shape()[0], width = small[k].size() / small_rows;
    const size_t row_bytes = static_cast<size_t>(width) * size_of(small[k].dtype());
    Tensor got(small[k].dtype(), {width}), want(small[k].dtype(), {width});
    for (const int64_t row : rows_to_compare(out[k].dims[0], all)) {
      device->download(got.data(), static_cast<char*>(out[k].data) + static_cast<size_t>(row) * row_bytes,
                       row_bytes);
      device->wait();
      std::memcpy(
          want.data(),
          static_cast<const char*>(small[k].data()) + static_cast<size_t>(row % small_rows) * row_bytes,
          row_bytes);
      compare_row(got, want, c.one.ulps,
                  fmt::format("{} result {} row {} of {}", c.one.op, k, row, out[k].dims[0]));
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

}  // namespace floe
