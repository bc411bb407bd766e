// Model files in CTranslate2's format: whatever the bytes, either a model or an Error{user}.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "interop/ctranslate2.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    floe::model_of(floe::parse_ctranslate2({reinterpret_cast<const char*>(data), size}, "fuzz"), "fuzz");
  } catch (const floe::Error& error) {
    if (error.kind() != floe::ErrorKind::user) throw;
  }
  return 0;
}
