// rms_norm on the GPU: the norms' common code with the mean kept.
#include "kernel/cuda/norm.cuh"

namespace floe {

void add_rms_norm_cuda(KernelTable& table) { add_norm_kernels_cuda<false>(table, "rms_norm"); }

}  // namespace floe
