#include "translate/stream.h"

#include "base/error.h"

namespace floe {
namespace {

struct Chunk {
  std::vector<std::string> lines, prefixes;
  bool last = false;
};

Chunk read_chunk(const StreamInput& input, uint64_t lines_before, const StreamLimits& limits) {
  Chunk chunk;
  size_t bytes = 0;
  while (chunk.lines.size() < limits.lines && bytes < limits.bytes) {
    std::string line, prefix;
    const bool more = input.next_line(line);
    if (input.next_prefix && input.next_prefix(prefix) != more)
      fail_user("the {} end after line {}, but the {} go on", more ? "prefixes" : "lines",
                lines_before + chunk.lines.size(), more ? "lines" : "prefixes");
    if (!more) {
      chunk.last = true;
      break;
    }
    bytes += line.size() + prefix.size();
    chunk.lines.push_back(std::move(line));
    if (input.next_prefix) chunk.prefixes.push_back(std::move(prefix));
  }
  return chunk;
}

}  // namespace

StreamReport translate_stream(Translator& translator, const StreamInput& input,
                              const std::function<void(const TranslatedLine&)>& sink,
                              const std::function<void()>& chunk_done, const StreamLimits& limits) {
  FLOE_CHECK(limits.lines >= 1 && limits.bytes >= 1, "empty chunks");
  StreamReport report;
  for (bool last = false; !last;) {
    const Chunk chunk = read_chunk(input, report.lines, limits);
    last = chunk.last;
    const auto translations = translator.translate(chunk.lines, chunk.prefixes, report.lines + 1);
    for (size_t i = 0; i < translations.size(); ++i) {
      ++report.lines;
      if (translations[i].failure && report.failed++ == 0) report.first_failed = report.lines;
      sink({.number = report.lines, .source = chunk.lines[i], .translation = translations[i]});
    }
    if (chunk_done) chunk_done();
  }
  return report;
}

}  // namespace floe
