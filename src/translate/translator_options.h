// What translations may be asked for: the limits of every option, and the lengths that a source allows.
#pragma once
#include <cstdint>

#include "translate/translator.h"

namespace floe {

// Throws Error{user} naming the option, its value and what would be right.
void check_options(const ModelText& text, const TranslatorOptions& options);

struct TargetLengths {
  int64_t min = 0, max = 0;
};

// For a source of so many tokens. A minimum that the user gives wins over a limit that follows from the
// source, and a prefix always leaves room to go on unless the user's own maximum forbids it.
TargetLengths target_lengths(const TranslatorOptions& options, int64_t model_max, int64_t source,
                             int64_t prefix);

}  // namespace floe
