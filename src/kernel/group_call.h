// How a printed group kernel (compile/print_cuda.h) is called: from the step's attributes and views to its
// launch and the one parameter that it takes by value, struct Group of kernel/cuda/group_prelude.cuh.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "kernel/kernel.h"

namespace floe {

// The kernel of a group's step: attribute "function" of KernelCall::module. Throws bug without a module.
void* group_function(const KernelCall& call);

// Made once for each set of sizes; the addresses are filled in at every run.
class GroupCall {
 public:
  // Attributes "axes", "vector" and "tape". Throws bug for a grid that no device has.
  GroupCall(const Attrs& attrs, std::span<const View> inputs, std::span<const View> outputs);

  struct Launch {
    uint32_t grid_x = 0, grid_y = 0;  // 0: nothing to do
    uint32_t block_x = 0, block_y = 0;
  };
  const Launch& launch() const { return launch_; }

  // The parameter, in 8-byte words, for these addresses. Good until the next call.
  std::span<uint64_t> words(std::span<const View> inputs, std::span<const View> outputs);

 private:
  struct Axes {
    std::vector<int64_t> dims, axis;  // merged sizes; by dim of the results: its axis or -1
  };
  struct Address {
    size_t word;
    int view;
    uint64_t alignment;  // bytes that reading several elements at once needs
  };
  void add_divisor(int64_t divisor);
  void add_input(const View& view, int index, const View& space, const Axes& axes, int64_t vector);
  void choose_launch(int64_t inner, int64_t rows, bool flat, int64_t vector);

  std::vector<uint64_t> words_;
  std::vector<Address> inputs_, outputs_;
  bool packed_ = false;  // where all addresses are aligned
  Launch launch_;
};

}  // namespace floe
