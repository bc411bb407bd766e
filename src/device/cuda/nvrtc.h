// CUDA C++ compiled while the program runs, by NVRTC, and kept on disk. Needs no GPU. NVRTC is looked for at
// the first use, so that a program which compiles nothing starts without it.
#pragma once
#include <span>
#include <string>
#include <vector>

namespace floe {

class Nvrtc {
 public:
  // Loads the first of `names` that can be. Throws Error{device} naming what was tried.
  explicit Nvrtc(std::span<const std::string> names);
  Nvrtc(const Nvrtc&) = delete;
  Nvrtc& operator=(const Nvrtc&) = delete;

  // That of CUDA 13, from the loader's path or a usual folder; loaded once a process.
  static const Nvrtc& shared();
  static bool available(std::string* why_not = nullptr);

  const std::string& version() const { return version_; }  // "13.0"
  static std::vector<std::string> options(int sm);

  // Machine code for compute capability sm / 10, with that chip's own instructions where it has any (sm_90a).
  // The source includes nothing and marks only kernels: everything else is device code. No fast-math, no
  // contraction. Throws Error{device} with the compiler's words. May be called by several threads.
  std::string compile(const std::string& source, int sm) const;

 private:
  struct Functions;
  const Functions* functions_;
  std::string version_;
};

// What Nvrtc::compile gives, from a file of `folder` where one is there. The file's name is made of
// everything the machine code depends on; it is written under another name and renamed, so processes may
// share the folder. A file that is damaged is made anew. A folder that cannot be written is done without, as
// is "".
std::string compile_cached(const Nvrtc& nvrtc, const std::string& source, int sm, const std::string& folder);

}  // namespace floe
