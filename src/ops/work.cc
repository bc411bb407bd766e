#include "ops/work.h"

#include <algorithm>
#include <optional>
#include <span>

#include "ir/op.h"
#include "ops/elementwise/functions.h"
#include "ops/group/lower.h"

namespace floe {
namespace {

struct Args {
  const Node& node;
  std::vector<Type> inputs;
  const Type& in(size_t i) const { return inputs[i]; }
  const Type& out(size_t i = 0) const { return node.types[i]; }
};
using Count = Dim (*)(const Args&);

Dim bytes_of(const Type& type) { return type.size() * static_cast<int64_t>(size_of(type.dtype)); }

// Once an element.
int64_t operations(const Tape& tape) {
  return std::count_if(tape.code.begin(), tape.code.end(), [](const ScalarInstr& instr) {
    return instr.op != ScalarOp::input && instr.op != ScalarOp::constant && instr.op != ScalarOp::cast;
  });
}

Dim nothing(const Args&) { return {}; }

template <int64_t kEach>
Dim each_of_input(const Args& args) {
  return kEach * args.in(0).size();
}

Dim matmul(const Args& args) {
  const Attrs& attrs = args.node.attrs;
  const Dim& k = args.in(0).dim(attrs.flag("transpose_a", false) ? -2 : -1);
  int64_t after = args.inputs.size() > 2 ? 1 : 0;  // the bias
  if (const std::string activation = attrs.text("activation", ""); !activation.empty())
    after += operations(find_scalar_function(activation)->value);
  return args.out().size() * (2 * k + Dim(after));
}

// The product and what comes after it. The norm before it is counted as the norm's own op is.
Dim row_linear(const Args& args) {
  const Attrs& attrs = args.node.attrs;
  int64_t after = (attrs.flag("bias", false) ? 1 : 0) + (attrs.flag("residual", false) ? 1 : 0);
  if (const std::string activation = attrs.text("activation", ""); !activation.empty())
    after += operations(find_scalar_function(activation)->value);
  const std::string norm = attrs.text("norm", "");
  const int64_t before = norm.empty() ? 0 : norm == "layer_norm" ? 7 : 4;
  return args.out().size() * (2 * args.in(0).dim(-1) + Dim(after)) + before * args.in(0).size();
}

// dy^T x, and the sum of dy's rows.
Dim linear_grad(const Args& args) { return 2 * args.in(0).dim(-1) * args.in(1).size() + args.in(1).size(); }

// Of every parameter's elements; the last four operands are scalars.
Dim adamw(const Args& args) {
  Dim sum;
  for (size_t i = 0; i + 4 < args.inputs.size(); i += 4) sum = sum + 15 * args.in(i).size();
  return sum;
}

// Keys that a query's window is wide, where it is narrower than all of them; else none.
std::optional<int64_t> window_of(const Args& args, const std::string& causal) {
  const Attrs& attrs = args.node.attrs;
  const bool right = causal != "none" || attrs.has("window_right");
  if (!attrs.has("window_left") || !right) return {};
  const int64_t wide =
      attrs.integer("window_left") + 1 + (causal == "none" ? attrs.integer("window_right") : 0);
  const Dim& keys = args.in(1).dim(1);
  return keys.is_constant() && wide < keys.constant() ? std::optional(wide) : std::nullopt;
}

// Pairs of a query and a key that it sees, over batch and heads. Exact where there are no more queries than
// keys, as everywhere in a model, but for the first queries of a window. Lengths are in the data.
Dim attended(const Args& args) {
  const Type &q = args.in(0), &k = args.in(1);
  const Dim &queries = q.dim(1), &keys = k.dim(1);
  const std::string& causal = args.node.attrs.text("causal");
  Dim pairs = queries * keys;
  if (causal == "top_left") pairs = floor_div(queries * (queries + 1), Dim(2));
  if (causal == "bottom_right") pairs = queries * keys - floor_div(queries * (queries - 1), Dim(2));
  if (const std::optional<int64_t> wide = window_of(args, causal)) pairs = queries * Dim(*wide);
  return q.dim(0) * q.dim(2) * pairs;
}

// q k^T and p v
Dim attention(const Args& args) { return attended(args) * (2 * args.in(0).dim(3) + 2 * args.in(2).dim(3)); }

// q k^T again, dout v^T, p^T dout; ds k, ds^T q
Dim attention_grad(const Args& args) {
  return attended(args) * (6 * args.in(0).dim(3) + 4 * args.in(2).dim(3));
}

Dim attention_weights(const Args& args) { return attended(args) * (2 * args.in(0).dim(3)); }

// Positions that the table can name: rows * entries * block. How many of them a row has is in the data.
Dim cached_positions(const Args& args) { return args.in(3).size() * args.in(1).dim(1); }

Dim paged_attention(const Args& args) {
  const Type& q = args.in(0);
  return cached_positions(args) * q.dim(1) * q.dim(2) * (2 * q.dim(3) + 2 * args.in(2).dim(3));
}

// As if no two rows had a block in common.
Dim paged_attention_bytes(const Args& args) {
  const Type &k = args.in(1), &v = args.in(2);
  const Dim entry = k.dim(2) * (k.dim(3) + v.dim(3)) * static_cast<int64_t>(size_of(k.dtype));
  return bytes_of(args.in(0)) + cached_positions(args) * entry + bytes_of(args.in(3)) + bytes_of(args.in(4)) +
         bytes_of(args.out());
}

Dim logits_of(const Args& args) { return product(args.in(2).dims) * args.in(1).dim(0); }

// For each logit the product of length d and: largest, difference, exp, sum, sum for the smoothing.
Dim linear_cross_entropy(const Args& args) {
  const int64_t bias = args.inputs.size() > 3 ? 1 : 0;
  return logits_of(args) * (2 * args.in(1).dim(1) + Dim(5 + bias));
}

// Three products, and for each logit two operations more to its gradient; a sum for the bias.
Dim linear_cross_entropy_grad(const Args& args) {
  const int64_t bias = args.inputs.size() > 3 ? 2 : 0;
  return logits_of(args) * (6 * args.in(1).dim(1) + Dim(7 + bias));
}

Dim sum_squares(const Args& args) {
  Dim sum;
  for (const Type& x : args.inputs) sum = sum + 2 * x.size();
  return sum;
}

Dim group(const Args& args) { return args.out().size() * operations(lower_group(*args.node.body)); }

// The rows that are named, and the ids.
Dim embedding_bytes(const Args& args) { return 2 * bytes_of(args.out()) + bytes_of(args.in(1)); }

Dim embedding_sum(const Args& args) {
  return (args.node.attrs.number("scale") == 1 ? 1 : 2) * args.out().size();
}
Dim embedding_sum_bytes(const Args& args) {
  const Dim read =
      args.out().size() * static_cast<int64_t>(size_of(args.in(0).dtype) + size_of(args.in(2).dtype));
  return read + bytes_of(args.in(1)) + bytes_of(args.in(3)) + bytes_of(args.out());
}

Dim added(const Args& args) { return args.in(1).size(); }  // dy

Dim slice_bytes(const Args& args) { return 2 * bytes_of(args.out()); }

// The cache is written only where something is added.
Dim cache_append_bytes(const Args& args) {
  return 2 * bytes_of(args.in(1)) + bytes_of(args.in(2)) + bytes_of(args.in(3));
}

Dim cache_append_pair_bytes(const Args& args) {
  return 2 * (bytes_of(args.in(2)) + bytes_of(args.in(3))) + bytes_of(args.in(4)) + bytes_of(args.in(5));
}

Dim append_attention(const Args& args) {
  const Type &q = args.in(0), &table = args.in(5), &v_cache = args.in(4);
  return table.size() * v_cache.dim(1) * q.dim(2) * (2 * q.dim(3) + 2 * v_cache.dim(3));
}

// What is added is read and written, and all that the table can name is read, as for paged_attention.
Dim append_attention_bytes(const Args& args) {
  const Type &k_cache = args.in(3), &v_cache = args.in(4), &table = args.in(5);
  const Dim entry =
      k_cache.dim(2) * (k_cache.dim(3) + v_cache.dim(3)) * static_cast<int64_t>(size_of(k_cache.dtype));
  return bytes_of(args.in(0)) + 2 * (bytes_of(args.in(1)) + bytes_of(args.in(2))) +
         table.size() * k_cache.dim(1) * entry + bytes_of(table) + bytes_of(args.in(6)) +
         bytes_of(args.in(7)) + bytes_of(args.out());
}

// The lines that are new.
Dim search_keep_bytes(const Args& args) {
  return 2 * (bytes_of(args.in(3)) + bytes_of(args.in(4)) + bytes_of(args.in(5)));
}

// Of the history only the lines of rows that are there.
Dim search_penalties_bytes(const Args& args) {
  Dim bytes = 2 * bytes_of(args.in(0)) + bytes_of({args.in(1).dtype, {args.in(0).dim(0), args.in(1).dim(1)}});
  for (size_t i = 2; i < args.inputs.size(); ++i) bytes = bytes + bytes_of(args.in(i));
  return bytes;
}

// The state's first lines read and written, and given once more by themselves.
Dim beam_rows_bytes(const Args& args) {
  return 3 * bytes_of(args.out(1)) + bytes_of(args.in(1)) + bytes_of(args.in(2)) + bytes_of(args.in(3));
}

Dim bytes_of_all(std::span<const Type> types) {
  Dim bytes;
  for (const Type& type : types) bytes = bytes + bytes_of(type);
  return bytes;
}

// Of the states only the lines of rows that are there.
Dim search_begin_bytes(const Args& args) {
  const std::span<const Type> in(args.inputs), out(args.node.types);
  return bytes_of_all(in.subspan(5, 8)) + bytes_of_all(out.subspan(1, 9)) + 3 * bytes_of(args.out(11)) +
         3 * bytes_of(args.out(13));
}

// The logits once; the history's and the kept lines of rows that are there.
Dim search_choice_bytes(const Args& args) {
  const std::span<const Type> in(args.inputs), out(args.node.types);
  const Type history{args.in(1).dtype, {args.in(0).dim(0), args.in(1).dim(1)}};
  return bytes_of(args.in(0)) + bytes_of(history) + bytes_of_all(in.subspan(2, 9)) +
         bytes_of_all(out.subspan(1, 6)) + 3 * bytes_of(args.in(9));
}

struct Row {
  std::string_view op;
  Count flops;
  Count bytes = nullptr;  // distinct operands and results
  bool products = false;
};

constexpr Row kRows[] = {
    {"matmul", matmul, nullptr, true},
    {"row_linear", row_linear, nullptr, true},
    {"linear_grad", linear_grad, nullptr, true},
    {"attention", attention, nullptr, true},
    {"attention_grad", attention_grad, nullptr, true},
    {"attention_weights", attention_weights, nullptr, true},
    {"paged_attention", paged_attention, paged_attention_bytes, true},
    {"linear_cross_entropy", linear_cross_entropy, nullptr, true},
    {"linear_cross_entropy_grad", linear_cross_entropy_grad, nullptr, true},
    {"group", group},
    // mean, difference, square and its sum, times rstd, gamma, beta
    {"layer_norm", each_of_input<7>},
    // mean, difference, square and its sum, xhat; g, its sum, g xhat and its sum; dgamma (2), dbeta; dx (4)
    {"layer_norm_grad", each_of_input<16>},
    // square and its sum, times r, gamma
    {"rms_norm", each_of_input<4>},
    // square and its sum, xhat; g, g xhat and its sum; dgamma (2); dx (3)
    {"rms_norm_grad", each_of_input<11>},
    // largest, difference, exp, sum, quotient
    {"softmax", each_of_input<5>},
    // largest, difference, exp, sum, difference
    {"log_softmax", each_of_input<5>},
    {"reduce_sum", each_of_input<1>},
    {"reduce_max", each_of_input<1>},
    // of a pair four products and two sums
    {"rope", each_of_input<3>},
    {"sum_squares", sum_squares},
    // scale; m (3), v (4); correction, root and eps; decay, quotient, rate and difference
    {"adamw", adamw},
    {"embedding", nothing, embedding_bytes},
    {"embedding_grad", added},
    {"embedding_sum", embedding_sum, embedding_sum_bytes},
    {"top_k", each_of_input<1>},
    // largest, difference, exp, sum; log-probability, score
    {"beam_candidates", each_of_input<6>},
    // temperature, largest, difference, exp, sum
    {"sample", each_of_input<5>},
    {"search_penalties", nothing, search_penalties_bytes},
    {"beam_advance", nothing},
    {"beam_rows", nothing, beam_rows_bytes},
    {"search_turn", nothing},
    {"search_begin", nothing, search_begin_bytes},
    {"search_choice", each_of_input<6>, search_choice_bytes},
    {"search_keep", nothing, search_keep_bytes},
    {"cache_append", nothing, cache_append_bytes},
    {"cache_append_pair", nothing, cache_append_pair_bytes},
    {"append_attention", append_attention, append_attention_bytes, true},
    {"slice", nothing, slice_bytes},
    {"transpose", nothing},
    {"concat", nothing},
    {"iota", nothing},
    {"all_reduce", nothing},
    {"fan_out", nothing},
    {"all_gather", nothing},
    {"local_shard", nothing},
    {"reduce_scatter", nothing},
};

const Row* find_row(std::string_view op) {
  const auto* row =
      std::find_if(std::begin(kRows), std::end(kRows), [&](const Row& r) { return r.op == op; });
  return row == std::end(kRows) ? nullptr : row;
}

}  // namespace

bool has_work_row(std::string_view op) { return find_row(op) != nullptr; }

Work work_of(const Graph& graph, const Node& node) {
  Args args{node, {}};
  for (const Value input : node.inputs) args.inputs.push_back(graph.type(input));
  const Row* row = find_row(node.op->name);
  Work work;
  if (row != nullptr) work.flops = row->flops(args);
  if (row != nullptr && row->products) work.products = args.in(0).dtype;
  if (row != nullptr && row->bytes != nullptr) {
    work.bytes = row->bytes(args);
    return work;
  }
  Values distinct = node.inputs;
  std::sort(distinct.begin(), distinct.end());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  for (const Value input : distinct) work.bytes = work.bytes + bytes_of(graph.type(input));
  for (const Type& result : node.types) work.bytes = work.bytes + bytes_of(result);
  return work;
}

}  // namespace floe
