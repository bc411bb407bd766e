#include "runtime/ceilings.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "base/error.h"
#include "device/cpu/thread_pool.h"

namespace floe {
namespace {

constexpr int kMeasurements = 5;

// The shortest time of one of `calls` calls in a row.
double best_seconds(Device& device, int calls, const std::function<void()>& queue) {
  queue();  // the first touches memory and loads code
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kMeasurements; ++i) {
    const std::unique_ptr<Device::Mark> begin = device.mark();
    // Several, so that a GPU waits for the host but once.
    for (int call = 0; call < calls; ++call) queue();
    const std::unique_ptr<Device::Mark> end = device.mark();
    device.wait();
    best = std::min(best, end->seconds_since(*begin) / calls);
  }
  return best;
}

void copy_all(Device& device, char* to, const char* from, size_t bytes) {
  if (device.pool() == nullptr) {
    device.copy(to, from, bytes);
    return;
  }
  constexpr int64_t kPart = int64_t{1} << 20;
  device.pool()->run_ranges(static_cast<int64_t>(bytes), kPart, [&](int64_t begin, int64_t end, int) {
    std::memcpy(to + begin, from + begin, static_cast<size_t>(end - begin));
  });
}

double copy_rate(Device& device, size_t bytes) {
  const DeviceBuffer from(device, bytes), to(device, bytes);
  device.zero(from.data(), bytes);
  const double seconds = best_seconds(device, 4, [&] {
    copy_all(device, static_cast<char*>(to.data()), static_cast<const char*>(from.data()), bytes);
  });
  return 2 * static_cast<double>(bytes) / seconds;
}

// Numbers in -1..1 that do not repeat within a block: a GPU multiplies zeros with less power, hence faster.
Tensor noise(DType dtype) {
  Tensor block(dtype, {int64_t{1} << 16});
  uint32_t state = 1;
  for (int64_t i = 0; i < block.size(); ++i) {
    state = state * 1664525u + 1013904223u;  // Numerical Recipes' quick generator
    block.set(i, static_cast<double>(state >> 8) / (1 << 23) - 1);
  }
  return block;
}

void fill(Device& device, const DeviceBuffer& buffer, const Tensor& block) {
  for (size_t at = 0; at < buffer.bytes(); at += block.bytes()) {
    device.upload(static_cast<char*>(buffer.data()) + at, block.data(),
                  std::min(block.bytes(), buffer.bytes() - at));
  }
  device.wait();
}

// 0 where there is no kernel for it.
double product_rate(Device& device, const KernelTable& kernels, DType dtype, int64_t side) {
  const Attrs attrs{{"transpose_a", false}, {"transpose_b", true}, {"activation", std::string()}};
  const Kernel* kernel = kernels.find(device.kind(), {"matmul", {dtype, dtype}, {2, 2}, {dtype}, &attrs});
  if (kernel == nullptr) return 0;
  const size_t bytes = static_cast<size_t>(side * side) * size_of(dtype);
  const DeviceBuffer a(device, bytes), b(device, bytes), c(device, bytes);
  const Tensor block = noise(dtype);
  fill(device, a, block);
  fill(device, b, block);
  const std::vector<View> inputs = {View(a.data(), dtype, {side, side}), View(b.data(), dtype, {side, side})};
  const std::vector<View> outputs = {View(c.data(), dtype, {side, side})};
  const BoundKernel bound = kernel->bind({.attrs = attrs,
                                          .inputs = inputs,
                                          .outputs = outputs,
                                          .threads = device.pool() == nullptr ? 1 : device.pool()->threads(),
                                          .device = &device});
  const DeviceBuffer workspace(device, bound.workspace);
  const double seconds = best_seconds(device, 4, [&] {
    bound.run({.inputs = inputs,
               .outputs = outputs,
               .workspace = workspace.data(),
               .pool = device.pool(),
               .stream = device.stream()});
  });
  const auto n = static_cast<double>(side);
  return 2 * n * n * n / seconds;
}

// As a profile sets marks: recorded where the device records.
double mark_seconds(Device& device) {
  constexpr size_t kMarks = 257;
  std::vector<std::unique_ptr<Device::Mark>> marks;
  const auto queue = [&] {
    marks.clear();
    for (size_t i = 0; i < kMarks; ++i) marks.push_back(device.mark());
  };
  const std::unique_ptr<Device::Recording> recording = device.record(queue);
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kMeasurements; ++i) {
    recording ? recording->play() : queue();
    device.wait();
    best = std::min(best, marks.back()->seconds_since(*marks.front()) / (kMarks - 1));
  }
  return best;
}

}  // namespace

CeilingSizes ceiling_sizes(DeviceKind kind) {
  constexpr size_t kMiB = size_t{1} << 20;
  if (kind == DeviceKind::cpu) return {.copy_bytes = 128 * kMiB, .f32_side = 1024, .bf16_side = 1024};
  return {.copy_bytes = 1024 * kMiB, .f32_side = 4096, .bf16_side = 8192};
}

Ceilings measure_ceilings(Device& device, const KernelTable& kernels, const CeilingSizes& sizes) {
  FLOE_CHECK(sizes.copy_bytes > 0 && sizes.f32_side > 0 && sizes.bf16_side > 0, "nothing to measure");
  return {.device = device.name(),
          .bytes_per_second = copy_rate(device, sizes.copy_bytes),
          .f32_flops = product_rate(device, kernels, DType::f32, sizes.f32_side),
          .bf16_flops = product_rate(device, kernels, DType::bf16, sizes.bf16_side),
          .mark_seconds = mark_seconds(device)};
}

}  // namespace floe
