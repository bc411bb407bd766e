// Files written whole or not at all: to a temporary name beside the target, then renamed.
#pragma once
#include <string>
#include <string_view>

namespace floe {

// Throws Error{io} naming the path when the file cannot be opened or read.
std::string read_file(const std::string& path);

// Writes `text` beside `path`, flushes it to the disk, then renames it. A full disk or a missing folder
// throws Error{io} naming the path and leaves an earlier file as it was.
void write_file(const std::string& path, std::string_view text);

bool file_exists(const std::string& path);

}  // namespace floe
