// SentencePiece writes its log to standard error; a library room prints nothing.
#pragma once

// Exported by the library without a header.
namespace sentencepiece::logging {
void SetMinLogLevel(int level);
}

namespace floe {

// Only messages that end the process remain.
inline void silence_sentencepiece() {
  constexpr int kFatal = 3;
  sentencepiece::logging::SetMinLogLevel(kFatal);
}

}  // namespace floe
