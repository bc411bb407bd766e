// bf16 copies of weights beside their f32 masters: a step of mixed precision reads a weight as a cast of its
// state (mixed_precision.h); here the optimizer, which has every new weight in its registers, writes the cast
// too, and the next step reads that. A cast costs a kernel and 6 bytes a parameter in each step, a copy 2
// bytes more in the optimizer's one kernel. Values are the same bit for bit.
//
// The copy of NAME is state "bf16.NAME". It follows from NAME, so it is no part of checkpoints and models, is
// not trainable, and is made anew (copy_step) whenever NAME is set by anything but the optimizer. A step that
// the optimizer skips leaves it the cast of the weight that stays. Whoever reads a weight as f32 reads the
// master.
#pragma once
#include <string>
#include <vector>

#include "ir/graph.h"

namespace floe {

// The trainable f32 states that a graph casts to bf16, in the order of its states.
std::vector<std::string> copied_weights(const Graph& loss_graph);

// An entry of the training step (optimizer.h) that reads copies of those weights instead of casting them, and
// writes them if it has the optimizer in it.
Graph with_weight_copies(const Graph& step, const std::vector<std::string>& names);

// Entry "copy_weights": makes the copies of those weights of the graph. No inputs, no outputs.
Graph copy_step(const Graph& loss_graph, const std::vector<std::string>& names);

}  // namespace floe
