#include "kernel/cuda/tensor_map.h"

#include <cuda_runtime_api.h>

#include "base/error.h"
#include "device/cuda/check.h"

namespace floe {
namespace {

using Encode = decltype(&cuTensorMapEncodeTiled);

// The driver is not linked: a binary starts without it.
Encode find_encode() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
  FLOE_CUDA_CALL(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                                  cudaEnableDefault, &found));
  if (found != cudaDriverEntryPointSuccess || function == nullptr) {
    throw Error(ErrorKind::device,
                "the CUDA driver has no cuTensorMapEncodeTiled; one of CUDA 12 or later has");
  }
  return reinterpret_cast<Encode>(function);
}

CUtensorMapDataType type_of(DType dtype) {
  switch (dtype) {
    case DType::bf16:
      return CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
    case DType::f16:
      return CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
    case DType::f32:
      return CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
    case DType::i8:
      return CU_TENSOR_MAP_DATA_TYPE_UINT8;
    default:
      fail_bug(__FILE__, __LINE__, "no tensor map for this type");
  }
}

}  // namespace

bool can_map(const BoxedTensor& tensor) {
  if (reinterpret_cast<uintptr_t>(tensor.data) % 16 != 0) return false;
  const auto size = static_cast<int64_t>(size_of(tensor.dtype));
  for (int i = 0; i < 4; ++i) {
    if (tensor.dims[i] < 1 || tensor.dims[i] > (int64_t{1} << 32)) return false;
    const int64_t stride = tensor.strides[i] * size;
    if (i > 0 && tensor.dims[i] > 1 && (stride <= 0 || stride % 16 != 0 || stride >= int64_t{1} << 40))
      return false;
  }
  return true;
}

CUtensorMap tensor_map(const BoxedTensor& tensor) {
  FLOE_CHECK(can_map(tensor), "a tensor that the copy engine does not take");
  static const Encode encode = find_encode();
  const auto size = static_cast<int64_t>(size_of(tensor.dtype));
  cuuint64_t dims[4], strides[3];
  cuuint32_t box[4];
  constexpr cuuint32_t kSteps[4] = {1, 1, 1, 1};
  constexpr int64_t kAnyStride = 16;  // one that is allowed, for dims that are not walked
  for (int i = 0; i < 4; ++i) {
    dims[i] = static_cast<cuuint64_t>(tensor.dims[i]);
    box[i] = static_cast<cuuint32_t>(tensor.box[i]);
    if (i > 0)
      strides[i - 1] = static_cast<cuuint64_t>(tensor.dims[i] > 1 ? tensor.strides[i] * size : kAnyStride);
  }
  CUtensorMap map;
  const CUresult result = encode(&map, type_of(tensor.dtype), 4, const_cast<void*>(tensor.data), dims,
                                 strides, box, kSteps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                                 tensor.swizzled ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_NONE,
                                 CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    throw Error(
        ErrorKind::device,
        fmt::format("cuTensorMapEncodeTiled: error {} for a tensor of {} x {} x {} x {} in boxes of {} x {}",
                    static_cast<int>(result), tensor.dims[3], tensor.dims[2], tensor.dims[1], tensor.dims[0],
                    tensor.box[1], tensor.box[0]));
  }
  return map;
}

}  // namespace floe
