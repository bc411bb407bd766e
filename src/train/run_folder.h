// The folder of a run, held by one process at a time.
#pragma once
#include <string>

namespace floe {

class RunFolder {
 public:
  // Makes the folder if it is not there, and holds it until the object is gone or the process has ended,
  // however it ends. Throws Error{user} when another process trains in it, Error{io} when it cannot be made.
  // A folder that it made and nobody wrote into goes with it.
  explicit RunFolder(const std::string& path);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

 private:
  std::string path_;
  bool made_ = false;
  int fd_ = -1;
};

}  // namespace floe
