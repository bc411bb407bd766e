#include "kernel/group_call.h"

#include <algorithm>

#include "base/error.h"

namespace floe {
namespace {

constexpr int64_t kThreads = 256;                                  // as the kernels' launch bounds
constexpr int64_t kMostBlocksX = INT32_MAX, kMostBlocksY = 65535;  // CUDA's
constexpr int64_t kMostBytes = 16;                                 // that a thread moves at once
constexpr size_t kPackedWord = 2;

int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

void* group_function(const KernelCall& call) {
  const std::string& name = call.attrs.text("function");
  FLOE_CHECK(call.module != nullptr, "kernel '{}' is bound without the module it was built into", name);
  return call.module->function(name);
}

GroupCall::GroupCall(const Attrs& attrs, std::span<const View> inputs, std::span<const View> outputs) {
  const View& space = outputs[0];
  Axes axes{{1}, attrs.integers("axes")};
  const int64_t vector = attrs.integer("vector");
  FLOE_CHECK(static_cast<int>(axes.axis.size()) == space.rank, "{} axes for rank {}", axes.axis.size(),
             space.rank);
  for (int k = 0; k < space.rank; ++k) {
    const int64_t axis = axes.axis[static_cast<size_t>(k)];
    if (axis < 0) continue;
    if (static_cast<int64_t>(axes.dims.size()) <= axis) axes.dims.resize(static_cast<size_t>(axis) + 1, 1);
    axes.dims[static_cast<size_t>(axis)] *= space.dims[static_cast<size_t>(k)];
  }
  const bool flat = axes.dims.size() == 1;
  const int64_t inner = axes.dims.back();
  int64_t rows = 1;
  for (size_t j = 0; j + 1 < axes.dims.size(); ++j) rows *= axes.dims[j];
  packed_ = flat || inner % vector == 0;

  words_ = {static_cast<uint64_t>(inner), static_cast<uint64_t>(rows), 0};
  for (const int64_t dim : axes.dims) add_divisor(std::max<int64_t>(dim, 1));
  for (size_t i = 0; i < inputs.size(); ++i) add_input(inputs[i], static_cast<int>(i), space, axes, vector);
  if (inputs.empty()) words_.insert(words_.end(), 1 + axes.dims.size(), 0);
  for (size_t k = 0; k < outputs.size(); ++k) {
    const auto bytes = vector * static_cast<int64_t>(size_of(outputs[k].dtype));
    outputs_.push_back(
        {words_.size(), static_cast<int>(k), static_cast<uint64_t>(std::min(bytes, kMostBytes))});
    words_.push_back(0);
  }
  const Tape& tape = *attrs.tape("tape");
  bool random = false;
  for (const ScalarInstr& instr : tape.code) {
    if (instr.op != ScalarOp::uniform) continue;
    random = true;
    const auto ordinals = static_cast<int>(tape.code[static_cast<size_t>(instr.b)].imm);
    words_.push_back(static_cast<uint64_t>(static_cast<int64_t>(instr.imm)));
    inputs_.push_back({words_.size(), ordinals, 1});
    words_.push_back(0);
    words_.push_back(static_cast<uint64_t>(inputs[static_cast<size_t>(ordinals)].strides[0]));
  }
  if (!random) words_.insert(words_.end(), 3, 0);  // C++ has no array of none
  if (space.size() > 0) choose_launch(inner, rows, flat, vector);
}

// group_prelude.cuh says what the three words are.
void GroupCall::add_divisor(int64_t divisor) {
  uint64_t shift = 0;
  while ((uint64_t{1} << shift) < static_cast<uint64_t>(divisor)) ++shift;
  using Wide = unsigned __int128;
  const Wide multiplier = (Wide{1} << (63 + shift)) / static_cast<uint64_t>(divisor) + 1;
  words_.insert(words_.end(), {static_cast<uint64_t>(divisor), static_cast<uint64_t>(multiplier), shift});
}

void GroupCall::add_input(const View& view, int index, const View& space, const Axes& axes, int64_t vector) {
  const auto size = static_cast<int64_t>(size_of(view.dtype));
  const int64_t alignment = std::min(vector * size, kMostBytes);
  const int extra = space.rank - view.rank;
  // An axis is walked by the stride of its innermost dim that is not 1.
  std::vector<int64_t> strides(axes.dims.size(), 0);
  for (int k = 0; k < space.rank; ++k) {
    const int64_t axis = axes.axis[static_cast<size_t>(k)];
    if (axis < 0 || space.dims[static_cast<size_t>(k)] == 1) continue;
    const bool walked = k >= extra && view.dims[static_cast<size_t>(k - extra)] != 1;
    strides[static_cast<size_t>(axis)] = walked ? view.strides[static_cast<size_t>(k - extra)] : 0;
  }
  const bool side_by_side = strides.back() == 1;
  inputs_.push_back({words_.size(), index, static_cast<uint64_t>(side_by_side ? alignment : 1)});
  words_.push_back(0);
  for (size_t j = 0; j < strides.size(); ++j) {
    words_.push_back(static_cast<uint64_t>(strides[j]));
    const bool leading = j + 1 < strides.size();
    if (side_by_side && leading && strides[j] * size % alignment != 0) packed_ = false;
  }
}

void GroupCall::choose_launch(int64_t inner, int64_t rows, bool flat, int64_t vector) {
  const int64_t threads = ceil_divide(inner, vector);  // that a row keeps busy
  int64_t x = threads, y = 1;
  if (x > kThreads) x = std::min(kThreads, ceil_divide(ceil_divide(x, ceil_divide(x, kThreads)), 32) * 32);
  if (flat) {
    x = std::min(kThreads, ceil_divide(x, 32) * 32);
  } else {
    // Apart, neighbouring threads take neighbouring elements: short rows would keep too few of them busy.
    if (!packed_) x = std::max(x, std::min<int64_t>(inner, 32));
    y = std::min(rows, std::max<int64_t>(1, kThreads / x));
  }
  const int64_t along = ceil_divide(inner, x * vector);
  const int64_t across = ceil_divide(rows, y);
  FLOE_CHECK(across <= kMostBlocksX, "a group over {} rows needs {} blocks", rows, across);
  launch_.block_x = static_cast<uint32_t>(x);
  launch_.block_y = static_cast<uint32_t>(y);
  // Kernels go on along the row where the grid ends.
  launch_.grid_x = static_cast<uint32_t>(flat ? std::min(along, kMostBlocksX) : across);
  launch_.grid_y = static_cast<uint32_t>(flat ? 1 : std::min(along, kMostBlocksY));
}

std::span<uint64_t> GroupCall::words(std::span<const View> inputs, std::span<const View> outputs) {
  bool packed = packed_;
  const auto fill = [&](const Address& at, const View& view) {
    const auto address = reinterpret_cast<uintptr_t>(view.data);
    words_[at.word] = address;
    if (address % at.alignment != 0) packed = false;
  };
  for (const Address& at : inputs_) fill(at, inputs[static_cast<size_t>(at.view)]);
  for (const Address& at : outputs_) fill(at, outputs[static_cast<size_t>(at.view)]);
  words_[kPackedWord] = packed ? 1 : 0;
  return words_;
}

}  // namespace floe
