// layer_norm on the CPU: the norms' common code with the mean subtracted.
#include "kernel/cpu/norm.h"

namespace floe {

void add_layer_norm_cpu(KernelTable& table) { add_norm_kernels(table, "layer_norm", NormMean::subtracted); }

}  // namespace floe
