// Where what was compiled or measured for a GPU is kept between runs. Nothing depends on it but time: what
// cannot be kept is made again.
#pragma once
#include <string>
#include <string_view>

namespace floe {

// FLOE_CACHE_DIR, else floe below XDG_CACHE_HOME, else ~/.cache/floe; "" when the environment names none.
std::string kernel_cache_folder();

// Makes the folders above `path` and writes it whole or not at all. False where that cannot be: a folder that
// is read-only, full or none.
bool write_to_cache(const std::string& path, std::string_view text);

}  // namespace floe
