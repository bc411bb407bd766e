// Any text is a graph that holds and prints back the same, or an Error{user}; never a crash. Passes that
// every graph goes through keep it whole.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/error.h"
#include "ir/print.h"
#include "ir/verify.h"
#include "ops/all.h"
#include "passes/simplify.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  std::optional<floe::Graph> graph;
  try {
    graph = floe::parse(floe::all_ops(), text);
  } catch (const floe::Error& e) {
    if (e.kind() != floe::ErrorKind::user) throw;
    return 0;
  }
  floe::verify(*graph, "parse");
  const std::string printed = floe::print(*graph);
  if (floe::print(floe::parse(floe::all_ops(), printed)) != printed) std::abort();
  floe::verify(floe::simplify(*graph), "simplify");
  return 0;
}
