// Looks over the bytes of a SentencePiece model before the library sees them. The library trusts what it
// loads: the trie inside a normalisation rule is walked without bounds, deep nesting overruns fixed arrays,
// and some inconsistencies end the process. Field numbers are those of SentencePiece's
// sentencepiece_model.proto.
#pragma once
#include <string>
#include <string_view>

namespace floe {

// Throws Error{user} naming the model and what is wrong with it.
void check_sentencepiece_model(std::string_view bytes, const std::string& name);

}  // namespace floe
