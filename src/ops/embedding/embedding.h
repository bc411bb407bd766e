// embedding: rows of a table [V, d], floats or i8 codes, by ids i32 [...] -> [..., d]. embedding_grad: rows
// of dy summed by id in the order of positions -> [V, d].
#pragma once
#include "ir/builder.h"

namespace floe {

Value embedding(Builder& b, Value table, Value ids);
Value embedding_grad(Builder& b, Value ids, Value dy, Dim rows);

}  // namespace floe
