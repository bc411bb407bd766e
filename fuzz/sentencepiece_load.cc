// Any bytes are a tokenizer that works or an Error; never a crash. Seed the corpus with a small trained
// model.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto tokenizer =
        floe::Tokenizer::from_bytes(std::string(reinterpret_cast<const char*>(data), size), "fuzz");
    for (const char* text :
         {"A small text, 12 \xEF\xBC\xA1 \xC2\xBD.", "\xE4\xBD\xA0\xE5\xA5\xBD \xFF", ""}) {
      const auto ids = tokenizer.encode(text);
      if (!floe::is_valid_utf8(tokenizer.decode(ids))) std::abort();
      tokenizer.encode_sampled(text, {.alpha = 0.5f, .seed = size});
    }
    // Text made of the model's own pieces walks its tries the farthest.
    for (int32_t id = 0; id < tokenizer.size() && id < 64; ++id) {
      tokenizer.encode(tokenizer.piece(id) + tokenizer.piece(tokenizer.size() - 1 - id));
    }
  } catch (const floe::Error&) {
  }
  return 0;
}
