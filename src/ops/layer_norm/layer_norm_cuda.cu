// layer_norm on the GPU: the norms' common code with the mean subtracted.
#include "kernel/cuda/norm.cuh"

namespace floe {

void add_layer_norm_cuda(KernelTable& table) { add_norm_kernels_cuda<true>(table, "layer_norm"); }

}  // namespace floe
