// The work of a node, by a table with a row an op.
//
// Counted is what the op's definition asks for, at the sizes of its operands' types: padding counts, lengths
// that only the data knows do not shorten anything. Bytes are those of distinct operands and of results, so a
// result written over its operand counts twice, a reading and a writing; ops that touch only a part of an
// operand (rows of a table, a few lines of a state) have a rule of their own.
#pragma once
#include <string_view>

#include "ir/graph.h"
#include "tensor/work.h"

namespace floe {

Work work_of(const Graph& graph, const Node& node);

// Is there a row for the op? Those that never become a step of their own (inputs, views, pointwise ops, which
// go into groups) need none.
bool has_work_row(std::string_view op);

}  // namespace floe
