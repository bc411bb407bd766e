// From a graph with a loss to the graphs of a training step: gradients, clipping by their global norm, AdamW,
// and the averaged weights, all in one graph, so that one Program runs the step with no host work in between.
//
// Sums, not means: the loss graph's outputs "loss" and "tokens" are sums over target tokens. Gradients are
// divided by the token count once, when they are applied; so k accumulated micro-batches equal one large
// batch.
#pragma once
#include <string>
#include <vector>

#include "ir/graph.h"

namespace floe {

struct OptimizerOptions {
  double beta1 = 0.9;
  double beta2 = 0.98;
  double epsilon = 1e-9;
  double weight_decay = 0;  // decoupled (Loshchilov and Hutter, 2019); of parameters with two or more dims
  double clip_norm = 0;     // 0: no clipping
  double ema_decay =
      0;  // 0: no averaged weights; else state "ema.NAME" = decay * itself + (1 - decay) * NAME
};

// The trainable states of a graph, by their marks, in order.
std::vector<std::string> trainable_states(const Graph& graph);

// Entry "train": inputs of the loss graph, and lr f32 [], step i32 [] (1 for the first update). States
// besides the model's: "adam.m.NAME", "adam.v.NAME", "ema.NAME". Outputs of the loss graph, and grad_norm f32
// [] (of the mean gradient, before clipping), skipped f32 [] (1 when the norm is not finite: no state has
// changed).
Graph train_step(const Graph& loss_graph, const OptimizerOptions& options);

// The same in two entries. "accumulate": adds gradients to states "grad.NAME" and the token count to
// "grad.tokens". "apply": inputs lr and step; uses the sums and sets them to 0; outputs tokens, grad_norm,
// skipped.
Graph accumulate_step(const Graph& loss_graph);
Graph apply_step(const Graph& loss_graph, const OptimizerOptions& options);

}  // namespace floe
