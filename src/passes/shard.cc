#include "passes/shard.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <string_view>

#include "base/error.h"
#include "ir/builder.h"
#include "ir/op.h"
#include "ir/rewrite.h"
#include "ops/elementwise/elementwise.h"

namespace floe {
namespace {

using Kind = Placement::Kind;
using Sections = std::vector<int64_t>;  // of the cut dim, in whole lengths; empty: one

// Ops that may work on the ranks' parts of a sum: f(a + b) = f(a) + f(b).
const std::set<std::string_view> kLinearOps = {"add",   "sub",    "neg",        "reshape",  "transpose",
                                               "slice", "concat", "reduce_sum", "broadcast"};

std::string degrees_of(int64_t length) {
  std::string list;
  for (int64_t ways = 1; ways <= std::min<int64_t>(length, 64); ++ways) {
    if (length % ways == 0) list += (list.empty() ? "" : ", ") + std::to_string(ways);
  }
  return list;
}

class Sharder {
 public:
  // `whole`: states that stay uncut in spite of their marks.
  Sharder(const Graph& graph, const ShardOptions& options, const std::set<std::string>& whole)
      : old_(graph),
        whole_(whole),
        mesh_(options.mesh),
        result_(graph.ops(), graph.name()),
        builder_(result_),
        placed_(static_cast<size_t>(graph.value_count())) {
    if (mesh_.ways < 1) fail_user("[shard] {} ways: at least 1 is needed", mesh_.ways);
    result_.symbols() = graph.symbols();
  }

  // Cut states that an op asked for whole.
  const std::set<std::string>& gathered() const { return gathered_; }

  Graph run() {
    for (const Node& node : old_.nodes()) {
      builder_.set_where(node.where);
      if (node.op->name == "state") {
        place_state(node);
      } else if (node.op->name == "slice" && cut_along_own_axis(node)) {
        place_slice(node);
      } else if (is_row_parallel_with_more(node)) {
        place_row_parallel(node);
      } else {
        place(node);
      }
    }
    builder_.set_where("");
    for (const NamedValue& output : old_.outputs()) {
      result_.add_output(output.name, convert(output.value, Placement::replicate()));
    }
    for (const NamedValue& update : old_.updates()) {
      for (const NamedValue& state : old_.states()) {
        if (state.name != update.name) continue;
        const Value value = convert(update.value, at(state.value));
        if (sections(update.value) != sections(state.value)) {
          fail_user("[shard] the update of '{}' is cut in other sections", update.name);
        }
        result_.add_update(update.name, value);
      }
    }
    return std::move(result_);
  }

 private:
  struct Placed {
    Value value;  // in the new graph
    Placement at;
    Sections sections;
    std::map<std::pair<int, int>, Value> converted;  // by kind and dim
    Value fanned_out;
  };
  Placed& placed(Value old) { return placed_[static_cast<size_t>(old.id)]; }
  const Placement& at(Value old) { return placed(old).at; }
  const Sections& sections(Value old) { return placed(old).sections; }

  void set(const Node& node, int k, Value value, Placement where, Sections sections = {}) {
    placed(node.result(k)) = {value, where, std::move(sections), {}, {}};
  }

  Dim cut(const Dim& dim, const std::string& what) const {
    const Dim ways(mesh_.ways);
    if (floor_div(dim, ways) * ways == dim) return floor_div(dim, ways);
    if (!dim.is_constant())
      fail_user("[shard] {}: {} is not known to be a multiple of {}", what, dim.text(), mesh_.ways);
    fail_user("[shard] {}: a length of {} cannot be cut {} ways; it can be cut {} ways", what, dim.text(),
              mesh_.ways, degrees_of(dim.constant()));
  }
  std::string name_of_node(const Node& node) const {
    return node.where.empty() ? node.op->name : node.op->name + " in " + node.where;
  }
  Type cut_type(Type type, const Placement& where, const std::string& what) const {
    if (where.kind != Kind::shard) return type;
    Dim& dim = type.dims[static_cast<size_t>(where.dim)];
    dim = cut(dim, what);
    return type;
  }

  void place_state(const Node& node) {
    const auto axis = static_cast<int>(node.attrs.integer("shard_axis", -1));
    const std::string& name = node.attrs.text("name");
    if (axis < 0 || mesh_.ways == 1) {
      set(node, 0, copy_node(builder_, node, {})[0], Placement::replicate());
      return;
    }
    if (whole_.count(name) > 0) {
      Attrs attrs = node.attrs;
      attrs.erase("shard_axis");
      attrs.erase("shard_sections");
      set(node, 0, builder_.add("state", {}, std::move(attrs)), Placement::replicate());
      return;
    }
    if (axis >= node.types[0].rank()) fail_user("[shard] state '{}' has no dim {} to cut", name, axis);
    Sections parts;
    if (node.attrs.has("shard_sections")) parts = node.attrs.integers("shard_sections");
    for (const int64_t length : parts) cut(Dim(length), "a section of state '" + name + "'");
    if (parts.size() == 1) parts.clear();
    const Placement where = Placement::shard(axis);
    Attrs attrs = node.attrs;
    attrs.set("dims", cut_type(node.types[0], where, "state '" + name + "'").dims);
    attrs.set("shard_ways", mesh_.ways);
    set(node, 0, builder_.add("state", {}, std::move(attrs)), where, std::move(parts));
  }

  // The value in the new graph, placed as wanted.
  Value convert(Value old, const Placement& to) {
    Placed& from = placed(old);
    if (from.at == to) return from.value;
    if (from.at.kind == Kind::shard && old_.is(old, "state")) {
      gathered_.insert(old_.producer(old).attrs.text("name"));
    }
    Value& cached = from.converted[{static_cast<int>(to.kind), to.dim}];
    if (cached) return cached;
    FLOE_CHECK(to.kind != Kind::partial, "%{} cannot become a partial sum", old.id);
    if (from.at.kind == Kind::partial) {
      cached = to.kind == Kind::replicate ? all_reduce(builder_, from.value, mesh_)
                                          : reduce_scatter(builder_, from.value, to.dim, mesh_);
    } else if (to.kind == Kind::replicate) {
      cached = gather(from);
    } else if (from.at.kind == Kind::shard) {  // along another dim
      cached = local_shard(builder_, convert(old, Placement::replicate()), to.dim, mesh_);
    } else {
      cached = local_shard(builder_, from.value, to.dim, mesh_);
    }
    return placed(old).converted[{static_cast<int>(to.kind), to.dim}] = cached;
  }

  Value gather(const Placed& from) {
    if (from.sections.empty()) return all_gather(builder_, from.value, from.at.dim, mesh_);
    Values whole;
    Dim begin(0);
    for (const int64_t section : from.sections) {
      const Dim length(section / mesh_.ways);
      whole.push_back(
          all_gather(builder_, make_slice(from.value, from.at.dim, begin, length), from.at.dim, mesh_));
      begin = begin + length;
    }
    return builder_.add("concat", std::move(whole), {{"axis", static_cast<int64_t>(from.at.dim)}});
  }

  Value make_slice(Value x, int axis, const Dim& begin, const Dim& length) {
    return builder_.add(
        "slice", {x},
        {{"axis", static_cast<int64_t>(axis)}, {"begin", Dims{begin}}, {"length", Dims{length}}});
  }

  // A whole value where it meets cut ones: each rank computes its part of the gradient.
  Value fanned_out(Value old) {
    const Value whole = convert(old, Placement::replicate());
    if (!is_float(old_.type(old).dtype) || old_.is(old, "constant")) return whole;
    Placed& from = placed(old);
    if (!from.fanned_out) from.fanned_out = fan_out(builder_, whole, mesh_);
    return from.fanned_out;
  }

  ShardRule rule_for(const Node& node) {
    ShardArgs args{node, {}, {}};
    for (const Value input : node.inputs) {
      args.inputs.push_back(old_.type(input));
      args.placements.push_back(at(input));
    }
    ShardRule rule;
    rule.inputs.resize(node.inputs.size());
    rule.outputs.resize(node.types.size());
    const bool any =
        std::ranges::any_of(args.placements, [](const Placement& p) { return p != Placement(); });
    if (any && node.op->shard) rule = node.op->shard(args);
    FLOE_CHECK(rule.inputs.size() == node.inputs.size() && rule.outputs.size() == node.types.size(),
               "the shard rule of '{}' is for another number of values", node.op->name);
    for (const Placement& input : rule.inputs) {
      if (input.kind == Kind::partial && kLinearOps.count(node.op->name) == 0) {
        fail_user("[shard] {} is not linear: it cannot work on a partial sum", name_of_node(node));
      }
    }
    return rule;
  }

  void place(const Node& node) {
    const ShardRule rule = rule_for(node);
    const bool meets_cut =
        std::ranges::any_of(rule.outputs, [](const Placement& p) { return p != Placement(); });
    Values inputs;
    Sections parts;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const Value old = node.inputs[i];
      const bool whole = rule.inputs[i].kind == Kind::replicate;
      inputs.push_back(whole && meets_cut ? fanned_out(old) : convert(old, rule.inputs[i]));
      if (rule.inputs[i].kind != Kind::shard) continue;
      const Sections own = at(old) == rule.inputs[i] ? sections(old) : Sections{};
      if (own.empty()) continue;
      // Only products and element-by-element ops leave the order along the cut dim as it is.
      if (!node.op->pointwise && node.op->name != "matmul") {
        fail_user("[shard] {} cannot work on a dim that is cut in sections", name_of_node(node));
      }
      parts = own;
    }
    if (!parts.empty()) {
      for (size_t i = 0; i < node.inputs.size(); ++i) {
        const bool wrong = rule.inputs[i].kind == Kind::shard &&
                           rule.inputs[i].dim == old_.type(node.inputs[i]).rank() - 1 && node.op->pointwise &&
                           (at(node.inputs[i]) != rule.inputs[i] || sections(node.inputs[i]) != parts);
        if (wrong) fail_user("[shard] {}: operands are cut in other sections", name_of_node(node));
      }
    }
    Attrs attrs = node.attrs;
    if (attrs.has("dims") && !node.types.empty()) {
      attrs.set("dims", cut_type({DType::f32, attrs.dims("dims")}, rule.outputs[0], name_of_node(node)).dims);
    }
    const Values values = builder_.add_all(node.op->name, inputs, std::move(attrs), node.body);
    for (int k = 0; k < node.result_count(); ++k) {
      const auto at_k = static_cast<size_t>(k);
      const Placement& where = rule.outputs[at_k];
      const Type want = cut_type(node.types[at_k], where, name_of_node(node));
      FLOE_CHECK(builder_.type(values[at_k]) == want, "shard of '{}' gives {}, not {}", node.op->name,
                 text_of(builder_.type(values[at_k])), text_of(want));
      set(node, k, values[at_k], where, where.kind == Kind::shard ? parts : Sections{});
    }
  }

  static int own_axis(const Node& node) {
    const int64_t axis = node.attrs.integer("axis");
    return static_cast<int>(axis < 0 ? axis + node.types[0].rank() : axis);
  }
  bool cut_along_own_axis(const Node& node) { return at(node.inputs[0]) == Placement::shard(own_axis(node)); }

  // Whole sections stay cut; what begins or ends inside one has to be gathered first.
  void place_slice(const Node& node) {
    const Value x = node.inputs[0];
    const Dim begin = node.attrs.dims("begin")[0];
    const Dim end = begin + node.attrs.dims("length")[0];
    Sections parts;
    Dim local_begin(0), local_length(0), at_section(0);
    for (const int64_t section : sections(x)) {
      const bool inside = begin.is_constant() && end.is_constant() &&
                          at_section.constant() >= begin.constant() &&
                          at_section.constant() + section <= end.constant();
      if (inside) {
        if (parts.empty()) local_begin = floor_div(at_section, Dim(mesh_.ways));
        parts.push_back(section);
        local_length = local_length + Dim(section / mesh_.ways);
      }
      at_section = at_section + Dim(section);
    }
    int64_t covered = 0;
    for (const int64_t section : parts) covered += section;
    if (parts.empty() || Dim(covered) != end - begin) {
      place(node);  // the slice's own rule asks for the whole
      return;
    }
    if (parts.size() == 1) parts.clear();
    set(node, 0, make_slice(placed(x).value, own_axis(node), local_begin, local_length),
        Placement::shard(own_axis(node)), std::move(parts));
  }

  // A product over a cut inner dim is a partial sum: bias and activation must wait for the whole one.
  bool is_row_parallel_with_more(const Node& node) {
    if (node.op->name != "matmul") return false;
    if (node.inputs.size() == 2 && node.attrs.text("activation", "").empty()) return false;
    const int rank = old_.type(node.inputs[1]).rank();
    const int inner = rank - (node.attrs.flag("transpose_b", false) ? 1 : 2);
    return at(node.inputs[1]) == Placement::shard(inner);
  }

  void place_row_parallel(const Node& node) {
    Node product = node;
    product.inputs.resize(2);
    product.attrs.set("activation", std::string());
    place(product);
    Value y = convert(node.result(), Placement::replicate());
    if (node.inputs.size() > 2) y = add(builder_, y, convert(node.inputs[2], Placement::replicate()));
    const std::string activation = node.attrs.text("activation", "");
    if (!activation.empty()) y = elementwise(builder_, activation, {y});
    set(node, 0, y, Placement::replicate());
  }

  const Graph& old_;
  const std::set<std::string>& whole_;
  std::set<std::string> gathered_;
  MeshAxis mesh_;
  Graph result_;
  Builder builder_;
  std::vector<Placed> placed_;
};

struct Range {
  int64_t begin, length;
};
// What a rank holds of a dim of `length`.
std::vector<Range> ranges_of(int64_t length, const Attrs& marks, int64_t rank, int64_t ways) {
  Sections sections{length};
  if (marks.has("shard_sections")) sections = marks.integers("shard_sections");
  std::vector<Range> ranges;
  int64_t begin = 0;
  for (const int64_t section : sections) {
    if (section % ways != 0) {
      fail_user("[shard] a length of {} cannot be cut {} ways; it can be cut {} ways", section, ways,
                degrees_of(section));
    }
    ranges.push_back({begin + section / ways * rank, section / ways});
    begin += section;
  }
  if (begin != length) fail_user("[shard] sections of {} in all for a length of {}", begin, length);
  return ranges;
}

// Walks the runs of a rank's part: copy(offset in the whole, offset in the part, bytes).
template <class Copy>
void for_each_run(const Shape& whole, DType dtype, const Attrs& marks, int64_t rank, int64_t ways,
                  const Copy& copy) {
  const auto axis = static_cast<size_t>(marks.integer("shard_axis"));
  int64_t inner = static_cast<int64_t>(size_of(dtype));
  for (size_t i = axis + 1; i < whole.size(); ++i) inner *= whole[i];
  int64_t outer = 1;
  for (size_t i = 0; i < axis; ++i) outer *= whole[i];
  const std::vector<Range> ranges = ranges_of(whole[axis], marks, rank, ways);
  int64_t at = 0;
  for (int64_t row = 0; row < outer; ++row) {
    for (const Range& range : ranges) {
      copy((row * whole[axis] + range.begin) * inner, at, range.length * inner);
      at += range.length * inner;
    }
  }
}

bool is_cut(const Attrs& marks) { return marks.integer("shard_axis", -1) >= 0; }

}  // namespace

Graph shard(const Graph& graph, const ShardOptions& options) {
  std::set<std::string> whole;
  for (;;) {
    Sharder sharder(graph, options, whole);
    Graph result = sharder.run();
    if (sharder.gathered().empty()) return result;
    whole.insert(sharder.gathered().begin(), sharder.gathered().end());
  }
}

Graph drop_fan_outs(const Graph& graph) {
  return rewrite(graph, [](const RewriteContext& c) -> std::optional<Values> {
    if (c.node.op->name != "fan_out") return std::nullopt;
    return Values{c.inputs[0]};
  });
}

Tensor part_of(const Tensor& whole, const Attrs& marks, int64_t rank, int64_t ways) {
  Shape shape = whole.shape();
  const bool cut = is_cut(marks) && ways > 1;
  if (cut) shape[static_cast<size_t>(marks.integer("shard_axis"))] /= ways;
  Tensor part(whole.dtype(), shape);
  const auto* from = static_cast<const char*>(whole.data());
  auto* to = static_cast<char*>(part.data());
  if (!cut) {
    if (whole.bytes() > 0) std::memcpy(to, from, whole.bytes());
    return part;
  }
  for_each_run(whole.shape(), whole.dtype(), marks, rank, ways, [&](int64_t w, int64_t p, int64_t bytes) {
    if (bytes > 0) std::memcpy(to + p, from + w, static_cast<size_t>(bytes));
  });
  return part;
}

Tensor whole_of(std::span<const Tensor> parts, const Attrs& marks) {
  FLOE_CHECK(!parts.empty(), "no parts");
  const auto ways = static_cast<int64_t>(parts.size());
  if (!is_cut(marks)) return part_of(parts[0], marks, 0, 1);
  Shape shape = parts[0].shape();
  shape[static_cast<size_t>(marks.integer("shard_axis"))] *= ways;
  Tensor whole(parts[0].dtype(), shape);
  auto* to = static_cast<char*>(whole.data());
  for (int64_t rank = 0; rank < ways; ++rank) {
    const Tensor& part = parts[static_cast<size_t>(rank)];
    FLOE_CHECK(part.shape() == parts[0].shape() && part.dtype() == parts[0].dtype(), "parts of other shapes");
    const auto* from = static_cast<const char*>(part.data());
    for_each_run(shape, whole.dtype(), marks, rank, ways, [&](int64_t w, int64_t p, int64_t bytes) {
      if (bytes > 0) std::memcpy(to + w, from + p, static_cast<size_t>(bytes));
    });
  }
  return whole;
}

}  // namespace floe
