#include "translation_json.h"

#include <nlohmann/json.hpp>

namespace floe {
namespace {

using Json = nlohmann::ordered_json;

Json alignment_json(const Alignment& alignment, const std::string& kind) {
  Json rows = Json::array();
  if (kind == "hard") {
    const auto sources = hard_alignment(alignment);
    for (size_t target = 0; target < sources.size(); ++target) rows.push_back({sources[target], target});
    return rows;
  }
  for (int64_t r = 0; r < alignment.rows(); ++r) rows.push_back(alignment.row(r));
  return rows;
}

}  // namespace

std::string translation_json(const TranslatedLine& line, const std::string& alignments) {
  Json json = {{"line", line.number}};
  if (line.translation.failure) json["error"] = *line.translation.failure;
  json["translations"] = Json::array();
  for (const Candidate& candidate : line.translation.candidates) {
    Json out = {{"text", candidate.text},
                {"score", candidate.score},
                {"log_probability", candidate.log_probability},
                {"tokens", candidate.tokens}};
    if (candidate.alignment) out["alignment"] = alignment_json(*candidate.alignment, alignments);
    json["translations"].push_back(std::move(out));
  }
  if (!alignments.empty()) json["source_tokens"] = line.translation.source_tokens;
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace floe
