// rms_norm on the CPU: the norms' common code with the mean kept.
#include "kernel/cpu/norm.h"

namespace floe {

void add_rms_norm_cpu(KernelTable& table) { add_norm_kernels(table, "rms_norm", NormMean::kept); }

}  // namespace floe
