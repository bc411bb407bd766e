#include "output.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/error.h"
#include "base/file.h"

namespace floe {
namespace {

constexpr size_t kBuffer = size_t{1} << 16;

}  // namespace

Output::Output(const std::string& path) {
  if (path != "-") file_ = std::make_unique<FileWriter>(path);
}

Output::~Output() = default;

void Output::line(std::string_view text) {
  buffer_ += text;
  buffer_ += '\n';
  if (buffer_.size() >= kBuffer) flush();
}

void Output::flush() {
  if (file_) {
    file_->write(buffer_.data(), buffer_.size());
  } else if (std::fwrite(buffer_.data(), 1, buffer_.size(), stdout) != buffer_.size() ||
             std::fflush(stdout) != 0) {
    fail_io("cannot write to standard output: {}", std::strerror(errno));
  }
  buffer_.clear();
}

void Output::finish() {
  flush();
  if (file_) file_->commit();
}

}  // namespace floe
