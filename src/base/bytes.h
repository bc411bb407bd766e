// Amounts of memory as people write them: "4GiB".
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace floe {

// A whole number of bytes, or any number with KiB, MiB, GiB or TiB right behind it or after a space:
// "1.5GiB". Throws Error{user}: "'4GB' is no amount of memory: ...".
size_t parse_bytes(std::string_view text);

// The largest unit that divides the amount, so that it reads back the same: "4GiB", "1536MiB", "1000".
std::string exact_bytes(size_t bytes);
// For a reader: "3.25 GiB", "17 bytes".
std::string rounded_bytes(size_t bytes);

}  // namespace floe
