// What a device can do at the most, measured: the roof of a roofline (Williams, Waterman, Patterson:
// "Roofline: an insightful visual performance model", 2009).
//
// The copy is the device's own, of memory far larger than its caches, reading and writing counted; the
// products are large ones through our own kernels, so 100 % is what this program can reach and not a number
// from a data sheet. Operands that lie in a cache can be read faster than the copy. Each number is the best
// of a few short measurements: a long run on a GPU may have lower clocks.
#pragma once
#include <string>

#include "device/device.h"
#include "kernel/kernel.h"

namespace floe {

struct Ceilings {
  std::string device;
  double bytes_per_second = 0;
  double f32_flops = 0;     // a second
  double bf16_flops = 0;    // 0 where the device multiplies no bf16
  double mark_seconds = 0;  // between two marks with nothing between them
};

struct CeilingSizes {
  size_t copy_bytes = 0;  // of the memory copied
  int64_t f32_side = 0;   // of the square matrices
  int64_t bf16_side = 0;
};
// Sizes at which a larger one is no faster.
CeilingSizes ceiling_sizes(DeviceKind kind);

Ceilings measure_ceilings(Device& device, const KernelTable& kernels, const CeilingSizes& sizes);

}  // namespace floe
