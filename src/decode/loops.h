// Endless repetition: noisy input sends a decoder round the same few tokens until the length limit.
#pragma once
#include <cstdint>
#include <span>

namespace floe {

// How many tokens at the end repeat the n-gram before them, when the last tokens are one n-gram of at most
// `ngram` tokens `times` in a row; 0 when they are not. The shortest such n-gram counts.
int64_t looping_tokens(std::span<const int32_t> tokens, int64_t ngram, int64_t times);

}  // namespace floe
