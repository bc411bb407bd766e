#include "ops/paged_attention/paged_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ir/evaluate.h"
#include "ops/paged_attention/append_attention.h"

namespace floe {
namespace {

std::vector<Type> infer(const InferArgs& args) {
  const Type& q = args.inputs[0];
  const Type& k = args.inputs[1];
  const Type& v = args.inputs[2];
  for (int i = 0; i < 3; ++i) {
    args.require_float(i);
    args.require_rank(i, 4);
    if (args.inputs[static_cast<size_t>(i)].dtype != q.dtype) {
      args.fail("q, k_cache and v_cache must have one type, got {}, {} and {}", text_of(q), text_of(k),
                text_of(v));
    }
  }
  if (!args.equal(q.dim(3), k.dim(3))) {
    args.fail("q and k_cache must agree in head size, got {} and {}", text_of(q), text_of(k));
  }
  if (!args.equal(k.dim(0), v.dim(0)) || !args.equal(k.dim(1), v.dim(1)) || !args.equal(k.dim(2), v.dim(2))) {
    args.fail("k_cache and v_cache must agree in all but head size, got {} and {}", text_of(k), text_of(v));
  }
  if (!q.dim(2).is_constant() || !k.dim(2).is_constant() || k.dim(2).constant() < 1 ||
      q.dim(2).constant() % k.dim(2).constant() != 0) {
    args.fail("{} query heads are no multiple of {} key heads", q.dim(2).text(), k.dim(2).text());
  }
  const Type& table = args.inputs[3];
  const Type& lengths = args.inputs[4];
  if (table.dtype != DType::i32 || table.rank() != 2 || !args.equal(table.dim(0), q.dim(0))) {
    args.fail("table must be i32[{}, T], got {}", q.dim(0).text(), text_of(table));
  }
  if (lengths.dtype != DType::i32 || lengths.rank() != 1 || !args.equal(lengths.dim(0), q.dim(0))) {
    args.fail("lengths must be i32[{}], got {}", q.dim(0).text(), text_of(lengths));
  }
  return {{q.dtype, {q.dim(0), q.dim(1), q.dim(2), v.dim(3)}}};
}

std::vector<RefTensor> evaluate_paged_attention(const EvalArgs& args) {
  const RefTensor& q = args.inputs[0];
  const RefTensor& k = args.inputs[1];
  const RefTensor& v = args.inputs[2];
  const RefTensor& table = args.inputs[3];
  const int64_t rows = q.shape[0], queries = q.shape[1], heads = q.shape[2], width = q.shape[3];
  const int64_t blocks = k.shape[0], block = k.shape[1], key_heads = k.shape[2], size = v.shape[3];
  RefTensor out(q.dtype, args.shapes[0]);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t length = args.inputs[4].i[static_cast<size_t>(r)];
    if (length > table.shape[1] * block) {
      fail_user("[paged_attention] row {}: length {} is beyond its table of {} blocks of {}", r, length,
                table.shape[1], block);
    }
    for (int64_t i = 0; i < queries; ++i) {
      const int64_t seen = args.attrs.flag("causal") ? length - queries + i + 1 : length;
      for (int64_t h = 0; h < heads; ++h) {
        const auto query = static_cast<size_t>((r * queries + i) * heads + h);
        std::vector<double> p;
        std::vector<size_t> entries;
        double top = -std::numeric_limits<double>::infinity();
        for (int64_t j = 0; j < seen; ++j) {
          const int64_t slot = table.i[static_cast<size_t>(r * table.shape[1] + j / block)];
          if (slot < 0 || slot >= blocks)
            fail_user("[paged_attention] row {}: table names block {} of {}", r, slot, blocks);
          entries.push_back(
              static_cast<size_t>((slot * block + j % block) * key_heads + h * key_heads / heads));
          double score = 0;
          for (size_t d = 0; d < static_cast<size_t>(width); ++d) {
            score += q.f[query * static_cast<size_t>(width) + d] *
                     k.f[entries.back() * static_cast<size_t>(width) + d];
          }
          p.push_back(score * args.attrs.number("scale"));
          if (!(p.back() <= top) && !std::isnan(top)) top = p.back();
        }
        if (top == -std::numeric_limits<double>::infinity()) continue;
        double sum = 0;
        for (double& x : p) sum += x = std::exp(x - top);
        for (size_t j = 0; j < p.size(); ++j) {
          for (size_t d = 0; d < static_cast<size_t>(size); ++d) {
            out.f[query * static_cast<size_t>(size) + d] +=
                p[j] / sum * v.f[entries[j] * static_cast<size_t>(size) + d];
          }
        }
      }
    }
  }
  return {out};
}

}  // namespace

Value paged_attention(Builder& b, const PagedAttentionArgs& args) {
  const Dim& width = b.type(args.q).dim(-1);
  FLOE_CHECK(args.scale || width.is_constant(), "attention over a symbolic head size {} needs a scale",
             width.text());
  return b.add("paged_attention", {args.q, args.k_cache, args.v_cache, args.table, args.lengths},
               {{"scale", args.scale ? *args.scale : 1 / std::sqrt(static_cast<double>(width.constant()))},
                {"causal", args.causal}});
}

void define_paged_attention(OpTable& table) {
  OpDef op;
  op.name = "paged_attention";
  op.summary =
      "(q [R, Sq, Hq, D], k_cache [N, block, Hkv, D], v_cache [N, block, Hkv, Dv], table [R, T], lengths "
      "[R]) -> "
      "out [R, Sq, Hq, Dv]";
  op.min_inputs = op.max_inputs = 5;
  op.infer = infer;
  op.evaluate = evaluate_paged_attention;
  op.differentiable = false;
  op.shard = [](const ShardArgs& args) -> ShardRule {
    ShardRule rule{std::vector<Placement>(5), std::vector<Placement>(1)};
    if (args.placements[0] != Placement::shard(2) || args.placements[1] != Placement::shard(2)) return rule;
    for (size_t i = 0; i < 3; ++i) rule.inputs[i] = Placement::shard(2);
    rule.outputs = {Placement::shard(2)};
    return rule;
  };
  table.add(std::move(op));
  define_append_attention(table);
}

}  // namespace floe
