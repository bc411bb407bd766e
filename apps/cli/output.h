// Where a command writes: standard output for "-", or a file that appears whole or not at all.
#pragma once
#include <memory>
#include <string>
#include <string_view>

namespace floe {

class FileWriter;

class Output {
 public:
  // Throws Error{io} when the file cannot be created.
  explicit Output(const std::string& path);
  ~Output();
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  void line(std::string_view text);  // throws Error{io} when standard output or the disk takes no more
  void flush();
  // Puts the file in its place; without this nothing of it is left.
  void finish();

 private:
  std::string buffer_;
  std::unique_ptr<FileWriter> file_;  // null for standard output
};

}  // namespace floe
