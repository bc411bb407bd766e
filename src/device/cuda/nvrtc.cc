#include "device/cuda/nvrtc.h"

#include <dlfcn.h>
#include <nvrtc.h>

#include <memory>

#include "base/error.h"
#include "device/cuda/libraries.h"

namespace floe {

struct Nvrtc::Functions {
  decltype(&nvrtcVersion) version;
  decltype(&nvrtcGetErrorString) error_string;
  decltype(&nvrtcCreateProgram) create;
  decltype(&nvrtcDestroyProgram) destroy;
  decltype(&nvrtcCompileProgram) compile;
  decltype(&nvrtcGetProgramLogSize) log_size;
  decltype(&nvrtcGetProgramLog) log;
  decltype(&nvrtcGetCUBINSize) cubin_size;
  decltype(&nvrtcGetCUBIN) cubin;
};

namespace {

template <class F>
bool find(void* library, const char* name, F* function) {
  *function = reinterpret_cast<F>(::dlsym(library, name));
  return *function != nullptr;
}

std::string arch_of(int sm) { return fmt::format("sm_{}{}", sm, sm >= 90 ? "a" : ""); }

}  // namespace

Nvrtc::Nvrtc(std::span<const std::string> names) {
  std::string tried;
  for (const std::string& name : names) {
    // Never unloaded: NVRTC keeps threads and tables of its own.
    void* library = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    tried += (tried.empty() ? "" : ", ") + name;
    if (library == nullptr) continue;
    auto f = std::make_unique<Functions>();
    const bool whole = find(library, "nvrtcVersion", &f->version) &&
                       find(library, "nvrtcGetErrorString", &f->error_string) &&
                       find(library, "nvrtcCreateProgram", &f->create) &&
                       find(library, "nvrtcDestroyProgram", &f->destroy) &&
                       find(library, "nvrtcCompileProgram", &f->compile) &&
                       find(library, "nvrtcGetProgramLogSize", &f->log_size) &&
                       find(library, "nvrtcGetProgramLog", &f->log) &&
                       find(library, "nvrtcGetCUBINSize", &f->cubin_size) &&
                       find(library, "nvrtcGetCUBIN", &f->cubin);
    int major = 0, minor = 0;
    if (!whole || f->version(&major, &minor) != NVRTC_SUCCESS || major < 13) {
      tried += whole ? fmt::format(" (version {}.{})", major, minor) : " (not NVRTC)";
      continue;
    }
    version_ = fmt::format("{}.{}", major, minor);
    functions_ = f.release();  // as long as the library
    return;
  }
  throw Error(
      ErrorKind::device,
      fmt::format("NVRTC of CUDA 13, which compiles kernels for the GPU, was not found; tried {}. Set "
                  "CUDA_HOME or LD_LIBRARY_PATH to where libnvrtc.so.13 is",
                  tried));
}

const Nvrtc& Nvrtc::shared() {
  static const Nvrtc nvrtc(cuda_library_names("libnvrtc.so.13"));
  return nvrtc;
}

bool Nvrtc::available(std::string* why_not) {
  try {
    shared();
    return true;
  } catch (const Error& error) {
    if (why_not != nullptr) *why_not = error.what();
    return false;
  }
}

std::vector<std::string> Nvrtc::options(int sm) {
  return {"--gpu-architecture=" + arch_of(sm), "--std=c++17", "--fmad=false",
          "--device-as-default-execution-space"};
}

std::string Nvrtc::compile(const std::string& source, int sm) const {
  const Functions& f = *functions_;
  const auto check = [&](nvrtcResult code, const char* what) {
    if (code != NVRTC_SUCCESS) {
      throw Error(ErrorKind::device, fmt::format("NVRTC {}, {}: {}", version_, what, f.error_string(code)));
    }
  };
  struct Program {
    const Functions& f;
    nvrtcProgram handle = nullptr;
    ~Program() { f.destroy(&handle); }
  } program{f};
  check(f.create(&program.handle, source.c_str(), "floe.cu", 0, nullptr, nullptr), "nvrtcCreateProgram");
  const std::vector<std::string> options = Nvrtc::options(sm);
  std::vector<const char*> pointers;
  for (const std::string& option : options) pointers.push_back(option.c_str());
  const nvrtcResult result = f.compile(program.handle, static_cast<int>(pointers.size()), pointers.data());
  if (result != NVRTC_SUCCESS) {
    std::string log;
    size_t size = 0;
    if (f.log_size(program.handle, &size) == NVRTC_SUCCESS && size > 1) {
      log.resize(size);
      if (f.log(program.handle, log.data()) != NVRTC_SUCCESS) log.clear();
      while (!log.empty() && (log.back() == '\0' || log.back() == '\n')) log.pop_back();
    }
    throw Error(ErrorKind::device, fmt::format("NVRTC {} for {}: {}{}{}", version_, arch_of(sm),
                                               f.error_string(result), log.empty() ? "" : "\n", log));
  }
  size_t size = 0;
  check(f.cubin_size(program.handle, &size), "nvrtcGetCUBINSize");
  std::string cubin(size, '\0');
  check(f.cubin(program.handle, cubin.data()), "nvrtcGetCUBIN");
  return cubin;
}

}  // namespace floe
