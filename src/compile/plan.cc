#include "compile/plan.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "compile/layout.h"
#include "ir/op.h"
#include "ir/print.h"
#include "ir/rewrite.h"
#include "ops/group/lower.h"
#include "ops/work.h"

namespace floe {
namespace {

bool is_door(const Node& node) {
  return node.op->name == "input" || node.op->name == "state" || node.op->name == "constant";
}
bool is_view_op(const Node& node) { return node.op->name == "reshape" || node.op->name == "slice"; }

// A root is a value with memory of its own; views of it are other values with a layout inside.
struct Placed {
  int root = -1;  // value id
  Layout layout;
};

class Planner {
 public:
  Planner(const Graph& graph, const KernelTable& kernels, DeviceKind device, Program* program,
          PlanOptions options)
      : graph_(graph),
        kernels_(kernels),
        device_(device),
        program_(program),
        options_(options),
        users_(users_of(graph)) {
    entry_.name = graph.name();
    entry_.symbols = graph.symbols();
    const auto n = static_cast<size_t>(graph.value_count());
    placed_.resize(n);
    storage_of_root_.assign(n, -1);
    last_use_.assign(n, -1);
    slot_of_value_.assign(n, -1);
    leaves_.assign(n, false);
  }

  ProgramEntry run() {
    for (const NamedValue& output : graph_.outputs()) leaves_[index(output.value)] = true;
    for (const NamedValue& update : graph_.updates()) leaves_[index(update.value)] = true;
    choose_kernels();
    find_gathered();
    place_values();
    number_steps();
    find_last_uses();
    assign_storages();
    emit_steps();
    emit_outputs();
    emit_updates();
    for (const NamedValue& update : graph_.updates()) entry_.updated.push_back(update.name);
    return std::move(entry_);
  }

 private:
  static size_t index(Value value) { return static_cast<size_t>(value.id); }

  void choose_kernels() {
    for (const Node& node : graph_.nodes()) {
      const Kernel* kernel = is_door(node) || node.op->name == "reshape"
                                 ? nullptr
                                 : find_kernel(graph_, node, kernels_, device_);
      FLOE_CHECK(kernel != nullptr || is_door(node) || is_view_op(node), "no {} kernel for {}",
                 name_of(device_), print_node(graph_, node));
      chosen_.push_back(kernel);
    }
  }

  // A concat copies nothing where every operand is read by it alone and made by a kernel that writes strided
  // results: these lie in the concat's result from the start.
  void find_gathered() {
    gathers_.assign(static_cast<size_t>(graph_.node_count()), false);
    gathered_by_.assign(static_cast<size_t>(graph_.value_count()), -1);
    for (int i = 0; i < graph_.node_count(); ++i) {
      const Node& node = graph_.node(i);
      if (node.op->name != "concat") continue;
      if (!std::ranges::all_of(node.inputs, [&](Value v) { return may_be_gathered(v, i); })) continue;
      gathers_[static_cast<size_t>(i)] = true;
      for (const Value v : node.inputs) gathered_by_[index(v)] = i;
    }
  }
  bool may_be_gathered(Value value, int concat) const {
    const int producer = graph_.producer_index(value);
    const Kernel* kernel = chosen_[static_cast<size_t>(producer)];
    const int result = value.id - graph_.node(producer).first.id;
    if (kernel == nullptr || result >= 32 || (kernel->strided_outputs >> result & 1u) == 0) return false;
    return !leaves_[index(value)] && users_[index(value)] == std::vector<int>{concat} &&
           std::ranges::count(graph_.node(concat).inputs, value) == 1;
  }
  Placed place_of_gathered(Value value) const {
    const Node& concat = graph_.node(gathered_by_[index(value)]);
    int64_t axis = concat.attrs.integer("axis");
    if (axis < 0) axis += concat.types[0].rank();
    const auto length = [&](Value v) { return graph_.type(v).dim(static_cast<int>(axis)); };
    Dim begin(0);
    for (size_t k = 0; concat.inputs[k] != value; ++k) begin = begin + length(concat.inputs[k]);
    const Layout whole = row_major(concat.types[0].dims);
    return {concat.result().id, sliced(whole, static_cast<int>(axis), begin, length(value))};
  }

  // Do all readers of `value`, laid out so, take it as it is?
  bool readers_accept(Value value, const Layout& layout) const {
    if (is_row_major(layout)) return true;
    if (leaves_[index(value)]) return false;
    if (layout.strides.empty() || layout.strides.back() != Dim(1)) return false;
    for (const int user : users_[index(value)]) {
      const Node& node = graph_.node(user);
      if (node.op->name == "reshape") {
        const std::optional<Layout> next = reshaped(layout, node.types[0].dims);
        if (!next || !readers_accept(node.result(), *next)) return false;
        continue;
      }
      if (node.op->name == "slice") {
        if (!readers_accept(node.result(), slice_layout(node, layout))) return false;
        continue;
      }
      const Kernel* kernel = chosen_[static_cast<size_t>(user)];
      for (size_t k = 0; k < node.inputs.size(); ++k) {
        const bool strided = k < 32 && (kernel->strided_inputs >> k & 1u) != 0;
        if (node.inputs[k] == value && !strided) return false;
      }
    }
    return true;
  }

  static Layout slice_layout(const Node& node, const Layout& layout) {
    int64_t axis = node.attrs.integer("axis");
    if (axis < 0) axis += static_cast<int64_t>(layout.dims.size());
    return sliced(layout, static_cast<int>(axis), node.attrs.dims("begin")[0], node.attrs.dims("length")[0]);
  }

  void place_values() {
    copies_.assign(static_cast<size_t>(graph_.node_count()), false);
    for (int i = 0; i < graph_.node_count(); ++i) {
      const Node& node = graph_.node(i);
      if (is_view_op(node)) {
        const Placed& from = placed_[index(node.inputs[0])];
        std::optional<Layout> layout = node.op->name == "reshape" ? reshaped(from.layout, node.types[0].dims)
                                                                  : slice_layout(node, from.layout);
        if (layout && readers_accept(node.result(), *layout)) {
          placed_[index(node.result())] = {from.root, *layout};
          continue;
        }
        // A reshape is only ever asked of something that moves when its operand is strided; its slice would
        // then have been refused by readers_accept, so operands of reshapes here are row-major.
        FLOE_CHECK(node.op->name == "slice", "reshape of a strided value: {}", print_node(graph_, node));
        FLOE_CHECK(chosen_[static_cast<size_t>(i)] != nullptr, "no kernel for {}", print_node(graph_, node));
        copies_[static_cast<size_t>(i)] = true;
      }
      for (int k = 0; k < node.result_count(); ++k) {
        const Value value = node.result(k);
        placed_[index(value)] = gathered_by_[index(value)] >= 0
                                    ? place_of_gathered(value)
                                    : Placed{value.id, row_major(node.types[static_cast<size_t>(k)].dims)};
      }
    }
  }

  bool is_step(int i) const {
    const Node& node = graph_.node(i);
    return !is_door(node) && !gathers_[static_cast<size_t>(i)] &&
           (!is_view_op(node) || copies_[static_cast<size_t>(i)]);
  }

  void number_steps() {
    for (int i = 0; i < graph_.node_count(); ++i) step_of_node_.push_back(is_step(i) ? steps_++ : -1);
  }

  void find_last_uses() {
    for (int i = 0; i < graph_.node_count(); ++i) {
      if (!is_step(i)) continue;
      for (const Value input : graph_.node(i).inputs) use(input, step_of_node_[static_cast<size_t>(i)]);
    }
    for (const NamedValue& output : graph_.outputs()) use(output.value, steps_);
    for (const NamedValue& update : graph_.updates()) {
      const Placed& placed = placed_[index(update.value)];
      // A value that becomes a state by being written there is not read at the end.
      const int producer = graph_.producer_index({placed.root});
      if (whole(placed) && !is_door(graph_.node(producer)) && !gathers_[static_cast<size_t>(producer)] &&
          update_of_root_.count(placed.root) == 0) {
        update_of_root_[placed.root] = update.name;
      } else {
        use(update.value, steps_);
      }
    }
  }
  void use(Value value, int step) {
    int& last = last_use_[static_cast<size_t>(placed_[index(value)].root)];
    last = std::max(last, step);
  }
  // Does the value cover its root, element for element?
  bool whole(const Placed& placed) const {
    return placed.layout.offset == Dim(0) && is_row_major(placed.layout) &&
           product(placed.layout.dims) == graph_.type({placed.root}).size();
  }
  Dim bytes_of(int root) const {
    const Type& type = graph_.type({root});
    return type.size() * Dim(static_cast<int64_t>(size_of(type.dtype)));
  }

  int add_storage(StorageSpec spec) {
    entry_.storages.push_back(std::move(spec));
    storage_last_.push_back(-1);
    return static_cast<int>(entry_.storages.size()) - 1;
  }

  void assign_storages() {
    for (int i = 0; i < graph_.node_count(); ++i) {
      const Node& node = graph_.node(i);
      if (is_door(node)) {
        StorageSpec spec;
        if (node.op->name == "constant") {
          spec.kind = StorageSpec::Kind::constant;
          spec.constant = static_cast<int>(program_->constants.size());
          program_->constants.push_back(node.attrs.tensor("value"));
        } else {
          spec.kind = node.op->name == "input" ? StorageSpec::Kind::input : StorageSpec::Kind::state;
          spec.name = node.attrs.text("name");
        }
        const int storage = add_storage(std::move(spec));
        set_storage(node.result(), storage);
        if (node.op->name == "state") state_storage_[node.attrs.text("name")] = storage;
        continue;
      }
      if (!is_step(i)) continue;
      const std::vector<std::pair<int, int>> pairs = in_place_pairs(i);
      for (int k = 0; k < node.result_count(); ++k) assign_result(i, k, pairs);
    }
  }

  void set_storage(Value root, int storage) {
    storage_of_root_[index(root)] = storage;
    storage_last_[static_cast<size_t>(storage)] =
        std::max(storage_last_[static_cast<size_t>(storage)], last_use_[index(root)]);
  }

  std::vector<std::pair<int, int>> in_place_pairs(int i) const {
    if (!options_.in_place) return {};
    const Node& node = graph_.node(i);
    if (node.op->name == "group") return group_in_place(graph_, node);
    std::vector<std::pair<int, int>> pairs =
        node.op->in_place_of ? node.op->in_place_of(node) : node.op->in_place;
    const Kernel* kernel = chosen_[static_cast<size_t>(i)];
    if (kernel != nullptr) pairs.insert(pairs.end(), kernel->in_place.begin(), kernel->in_place.end());
    return pairs;
  }

  // May result k of step node i, with those pairs, be written over the memory of `storage`?
  bool may_overwrite(int i, int k, const std::vector<std::pair<int, int>>& pairs, int storage) const {
    const Node& node = graph_.node(i);
    for (size_t j = 0; j < node.inputs.size(); ++j) {
      const Placed& placed = placed_[index(node.inputs[j])];
      if (storage_of_root_[static_cast<size_t>(placed.root)] != storage) continue;
      const bool paired =
          std::find(pairs.begin(), pairs.end(), std::pair<int, int>(k, static_cast<int>(j))) != pairs.end();
      if (!paired || !whole(placed) || bytes_of(placed.root) != bytes_of(node.result(k).id)) return false;
    }
    for (int other = 0; other < k; ++other) {
      if (storage_of_root_[index(node.result(other))] == storage) return false;
    }
    return true;
  }

  void assign_result(int i, int k, const std::vector<std::pair<int, int>>& pairs) {
    const Node& node = graph_.node(i);
    const Value root = node.result(k);
    const int step = step_of_node_[static_cast<size_t>(i)];
    if (gathered_by_[index(root)] >= 0) return assign_gathered(placed_[index(root)].root, step);
    // A new state goes where the old one is, once nobody reads that any more.
    if (const auto update = update_of_root_.find(root.id); update != update_of_root_.end()) {
      const auto state = state_storage_.find(update->second);
      FLOE_CHECK(state != state_storage_.end(), "state '{}' is not read by graph '{}'", update->second,
                 graph_.name());
      const int storage = state->second;
      if (storage_last_[static_cast<size_t>(storage)] <= step && may_overwrite(i, k, pairs, storage)) {
        set_storage(root, storage);
        written_.insert(root.id);
        return;
      }
      last_use_[index(root)] = steps_;  // copied at the end
    }
    for (const auto& [result, input] : pairs) {
      if (result != k) continue;
      const Placed& placed = placed_[index(node.inputs[static_cast<size_t>(input)])];
      const int storage = storage_of_root_[static_cast<size_t>(placed.root)];
      if (entry_.storages[static_cast<size_t>(storage)].kind != StorageSpec::Kind::arena) continue;
      if (storage_last_[static_cast<size_t>(storage)] > step || !may_overwrite(i, k, pairs, storage))
        continue;
      set_storage(root, storage);
      entry_.storages[static_cast<size_t>(storage)].last = std::max(step, last_use_[index(root)]);
      return;
    }
    StorageSpec spec;
    spec.bytes = bytes_of(root.id);
    spec.first = step;
    spec.last = std::max(step, last_use_[index(root)]);
    set_storage(root, add_storage(std::move(spec)));
  }

  // The first result that lies in a concat's brings the storage of all.
  void assign_gathered(int root, int step) {
    const int storage = storage_of_root_[static_cast<size_t>(root)];
    if (storage >= 0) {
      int& last = entry_.storages[static_cast<size_t>(storage)].last;
      last = std::max(last, step);
      return;
    }
    StorageSpec spec;
    spec.bytes = bytes_of(root);
    spec.first = step;
    spec.last = std::max(step, last_use_[static_cast<size_t>(root)]);
    set_storage({root}, add_storage(std::move(spec)));
  }

  int slot(Value value) {
    int& slot = slot_of_value_[index(value)];
    if (slot >= 0) return slot;
    const Placed& placed = placed_[index(value)];
    SlotSpec spec;
    spec.dtype = graph_.type(value).dtype;
    spec.dims = placed.layout.dims;
    spec.strides = placed.layout.strides;
    spec.offset = placed.layout.offset;
    spec.storage = storage_of_root_[static_cast<size_t>(placed.root)];
    entry_.slots.push_back(std::move(spec));
    slot = static_cast<int>(entry_.slots.size()) - 1;
    return slot;
  }

  void emit_steps() {
    for (int i = 0; i < graph_.node_count(); ++i) {
      const Node& node = graph_.node(i);
      if (node.op->name == "input") entry_.inputs.push_back({node.attrs.text("name"), slot(node.result())});
      if (node.op->name == "state") entry_.states.push_back({node.attrs.text("name"), slot(node.result())});
      if (!is_step(i)) continue;
      StepSpec step;
      step.op = node.op->name;
      step.kernel = chosen_[static_cast<size_t>(i)]->name;
      step.attrs = node.attrs;
      if (node.body != nullptr) {
        step.attrs.set("tape", TapePtr(std::make_shared<Tape>(lower_group(*node.body))));
      }
      step.where = node.where;
      step.work = work_of(graph_, node);
      for (const Value input : node.inputs) step.inputs.push_back(slot(input));
      for (int k = 0; k < node.result_count(); ++k) step.outputs.push_back(slot(node.result(k)));
      entry_.steps.push_back(std::move(step));
    }
  }

  void emit_copy(int from, int to) {
    const SlotSpec& slot = entry_.slots[static_cast<size_t>(from)];
    const Dim bytes = product(slot.dims) * static_cast<int64_t>(size_of(slot.dtype));
    entry_.steps.push_back({"copy", "copy", {}, {from}, {to}, "", {{}, 2 * bytes}});
  }

  // Does the root's memory hold another value when the entry ends?
  bool is_replaced(int root) const {
    const Node& producer = graph_.producer({root});
    if (producer.op->name != "state") return false;
    return std::ranges::any_of(graph_.updates(), [&](const NamedValue& update) {
      return update.name == producer.attrs.text("name") && placed_[index(update.value)].root != root;
    });
  }

  // Copies what lies at `from`, row-major, to memory that lasts until the entry's end.
  int copied_aside(int from) {
    SlotSpec spec = entry_.slots[static_cast<size_t>(from)];
    StorageSpec aside;
    aside.bytes = product(spec.dims) * Dim(static_cast<int64_t>(size_of(spec.dtype)));
    aside.first = static_cast<int>(entry_.steps.size());
    aside.last = 1 << 30;
    spec.storage = add_storage(std::move(aside));
    spec.offset = Dim(0);
    entry_.slots.push_back(std::move(spec));
    const int to = static_cast<int>(entry_.slots.size()) - 1;
    emit_copy(from, to);
    return to;
  }

  // An output that is a state's old value is copied before the new one takes its place.
  void emit_outputs() {
    for (const NamedValue& output : graph_.outputs()) {
      const int at = slot(output.value);
      const bool replaced = is_replaced(placed_[index(output.value)].root);
      entry_.outputs.push_back({output.name, replaced ? copied_aside(at) : at});
    }
  }

  // States whose new value could not be written in place are copied at the end. A new value that is itself a
  // state (a swap) is copied aside first, so that no copy reads what another has overwritten.
  void emit_updates() {
    struct Copy {
      int from;
      int to;
    };
    std::vector<Copy> copies;
    for (const NamedValue& update : graph_.updates()) {
      const Placed& placed = placed_[index(update.value)];
      if (written_.count(placed.root) != 0 && update_of_root_[placed.root] == update.name) continue;
      Value state;
      for (const NamedValue& entry : graph_.states()) {
        if (entry.name == update.name) state = entry.value;
      }
      FLOE_CHECK(static_cast<bool>(state), "update of '{}', which graph '{}' does not read", update.name,
                 graph_.name());
      if (placed.root == state.id) continue;  // unchanged
      int from = slot(update.value);
      const StorageSpec& storage =
          entry_.storages[static_cast<size_t>(entry_.slots[static_cast<size_t>(from)].storage)];
      if (storage.kind == StorageSpec::Kind::state) from = copied_aside(from);
      copies.push_back({from, slot(state)});
    }
    for (const Copy& copy : copies) emit_copy(copy.from, copy.to);
    const int last = static_cast<int>(entry_.steps.size());
    for (StorageSpec& storage : entry_.storages) {
      if (storage.kind == StorageSpec::Kind::arena && storage.last >= steps_) storage.last = last;
    }
  }

  const Graph& graph_;
  const KernelTable& kernels_;
  DeviceKind device_;
  Program* program_;
  PlanOptions options_;
  ProgramEntry entry_;
  std::vector<std::vector<int>> users_;
  std::vector<const Kernel*> chosen_;  // by node
  std::vector<bool> copies_;           // by node: a slice that moves
  std::vector<bool> gathers_;          // by node: a concat whose operands lie in it
  std::vector<int> gathered_by_;       // by value: that concat, or -1
  std::vector<int> step_of_node_;
  int steps_ = 0;
  std::vector<Placed> placed_;        // by value
  std::vector<bool> leaves_;          // by value: an output or a new state
  std::vector<int> storage_of_root_;  // by value
  std::vector<int> last_use_;         // by root value: last step that reads it or a view of it
  std::vector<int> storage_last_;     // by storage: the same over all its roots
  std::vector<int> slot_of_value_;
  std::map<int, std::string> update_of_root_;
  std::map<std::string, int> state_storage_;
  std::set<int> written_;  // roots that lie in their state already
};

// An element-by-element op will be part of a group: of its types there must be one.
void check_pointwise_types(const Graph& graph, const Node& node, const KernelTable& kernels,
                           DeviceKind device) {
  const Attrs none;
  KernelSignature signature{.op = "group", .inputs = {}, .ranks = {}, .outputs = {}, .attrs = &none};
  for (const Value input : node.inputs) {
    signature.inputs.push_back(graph.type(input).dtype);
    signature.ranks.push_back(graph.type(input).rank());
  }
  for (const Type& type : node.types) signature.outputs.push_back(type.dtype);
  if (kernels.find(device, signature) == nullptr)
    fail_user("op '{}' has no {} kernel for these types: {}", node.op->name, name_of(device),
              print_node(graph, node));
}

}  // namespace

const Kernel* find_kernel(const Graph& graph, const Node& node, const KernelTable& kernels,
                          DeviceKind device) {
  KernelSignature signature{node.op->name, {}, {}, {}, &node.attrs};
  for (const Value input : node.inputs) {
    signature.inputs.push_back(graph.type(input).dtype);
    signature.ranks.push_back(graph.type(input).rank());
  }
  for (const Type& type : node.types) signature.outputs.push_back(type.dtype);
  return kernels.find(device, signature);
}

ProgramEntry plan(const Graph& graph, const KernelTable& kernels, DeviceKind device, Program* program,
                  PlanOptions options) {
  return Planner(graph, kernels, device, program, options).run();
}

Graph expand_missing(const Graph& original, const KernelTable& kernels, DeviceKind device,
                     std::vector<std::string>* fallbacks) {
  Graph graph = original;
  for (;;) {
    bool again = false;
    Graph next = rewrite(graph, [&](const RewriteContext& c) -> std::optional<Values> {
      const OpDef& op = *c.node.op;
      if (op.pointwise) check_pointwise_types(c.old_graph, c.node, kernels, device);
      if (is_door(c.node) || op.name == "reshape" || op.pointwise ||
          find_kernel(c.old_graph, c.node, kernels, device) != nullptr) {
        return std::nullopt;
      }
      if (!op.meaning) {
        fail_user("op '{}' has no {} kernel and no meaning: {}", op.name, name_of(device),
                  print_node(c.old_graph, c.node));
      }
      again = true;
      if (fallbacks != nullptr) {
        fallbacks->push_back(c.node.where.empty() ? op.name : op.name + " in " + c.node.where);
      }
      return op.meaning(c.builder, c.node, c.inputs);
    });
    if (!again) return graph;
    graph = std::move(next);
  }
}

}  // namespace floe
