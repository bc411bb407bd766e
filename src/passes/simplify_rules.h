// The two halves of the table of simplify.h; each row says in one line what it turns into what.
#pragma once
#include <vector>

#include "passes/simplify.h"

namespace floe {

std::vector<SimplifyRule> arithmetic_rules();  // element by element, and losses
std::vector<SimplifyRule> movement_rules();    // reshape, broadcast, transpose, slice, concat

}  // namespace floe
