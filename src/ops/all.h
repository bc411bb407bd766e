// The table of all ops.
#pragma once
#include "ir/op.h"

namespace floe {

const OpTable& all_ops();

}  // namespace floe
