#include "train/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/error.h"

namespace floe {

RunFolder::RunFolder(const std::string& path) : path_(path) {
  std::error_code error;
  made_ = std::filesystem::create_directories(path, error);
  if (error) fail_io("cannot make the folder {}: {}", path, error.message());
  fd_ = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd_ < 0) fail_io("cannot open {}: {}", path, std::strerror(errno));
  // A file system without locks lets everyone in.
  if (::flock(fd_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    ::close(fd_);
    fail_user("{}: another process is training in this folder", path);
  }
}

RunFolder::~RunFolder() {
  ::close(fd_);
  if (made_) ::rmdir(path_.c_str());  // does nothing to a folder with files
}

}  // namespace floe
