// TrainerState as the text of state.json and back.
#pragma once
#include <string>

#include "train/checkpoint.h"

namespace floe {

// Doubles come back bit for bit; NaN and infinities are written as words.
std::string json_of(const TrainerState& state);
// Throws Error{user} that begins with `path`: no JSON, a field that is missing, unknown or of another kind,
// another version.
TrainerState parse_trainer_state(const std::string& json, const std::string& path);

}  // namespace floe
