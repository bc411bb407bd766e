// Files written whole or not at all: to a temporary name beside the target, then renamed.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace floe {

// Throws Error{io} naming the path when the file cannot be opened or read.
std::string read_file(const std::string& path);

// Writes `text` beside `path`, flushes it to the disk, then renames it. A full disk or a missing folder
// throws Error{io} naming the path and leaves an earlier file as it was.
void write_file(const std::string& path, std::string_view text);

// The same in pieces, for what should not stand whole in memory. Without commit() nothing is left behind.
class FileWriter {
 public:
  explicit FileWriter(std::string path);  // throws Error{io}
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  void write(const void* data, size_t bytes);  // throws Error{io}
  void commit();                               // throws Error{io}; at most once

 private:
  std::string path_;
  std::string temporary_;
  int fd_ = -1;
};

bool file_exists(const std::string& path);

// A name beside `path` that no other call of any process on this machine gets.
std::string temporary_name(const std::string& path);

// Makes renames inside the folder, or the content of a file, last through a power cut. Throw Error{io}.
void sync_folder(const std::string& folder);
void sync_file(const std::string& path);
// The folder a path lies in: "." when it names none.
std::string folder_of(const std::string& path);

}  // namespace floe
