// Any bytes are an .npz archive or refused with Error; an array takes no more memory than the limit given.
#include "tensor/npz.h"

#include "base/error.h"
#include "base/memory_file_for_test.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr uint64_t kMaxBytes = 1 << 20;
  const floe::MemoryFile input(data, size);
  try {
    const auto file = floe::NpzFile::open(input.path(), kMaxBytes);
    for (const std::string& name : file.names()) {
      try {
        if (file.load(name).bytes() > kMaxBytes) __builtin_trap();
      } catch (const floe::Error& error) {
        if (error.kind() == floe::ErrorKind::bug) __builtin_trap();
      }
    }
  } catch (const floe::Error& error) {
    if (error.kind() == floe::ErrorKind::bug) __builtin_trap();
  }
  return 0;
}
