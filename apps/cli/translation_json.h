// A translated line as one JSON object in one line.
#pragma once
#include <string>

#include "translate/stream.h"

namespace floe {

// {"line": 1, "translations": [{"text": ..., "score": ..., "log_probability": ..., "tokens": [...]}]}, with
// "alignment" and "source_tokens" when `alignments` is "hard" (pairs [source, target]) or "soft" (a row a
// token). A line that failed has "error" and no translation.
std::string translation_json(const TranslatedLine& line, const std::string& alignments);

}  // namespace floe
