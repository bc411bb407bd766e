// Where the CUDA toolkit's shared libraries are looked for, as none of them is linked.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace floe {

// For dlopen, in this order: `file` ("libnvrtc.so.13") as the loader finds it, the same without its version,
// below CUDA_HOME and CUDA_PATH, below /usr/local.
std::vector<std::string> cuda_library_names(std::string_view file);

}  // namespace floe
