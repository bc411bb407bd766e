// What a translator may be asked for with a given model.
#pragma once
#include "translate/translator.h"

namespace floe {

// `options.search.ends` must be filled in. Throws Error{user} naming the option, its value and what would be
// right; see also SearchOptions::validate.
void check_options(const ModelText& text, const TranslatorOptions& options);

}  // namespace floe
