// Any bytes are a safetensors file or refused with Error; never a crash, never more memory than the file's
// size asks.
#include "tensor/safetensors.h"

#include "base/error.h"
#include "base/memory_file_for_test.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const floe::MemoryFile input(data, size);
  try {
    const auto file = floe::SafetensorsFile::open(input.path());
    size_t total = 0;
    for (const std::string& name : file.names()) total += file.load(name).bytes();
    if (total > size) __builtin_trap();
  } catch (const floe::Error& error) {
    if (error.kind() == floe::ErrorKind::bug) __builtin_trap();
  }
  return 0;
}
