#include "runtime/session.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "device/cpu/cpu_device.h"
#include "runtime/bound.h"
#include "runtime/turn.h"

namespace floe {
char* Session::Flight::sized(Device& device, char** memory, size_t* have, size_t bytes) {
  if (*have < bytes) {
    device.release_host(*memory);
    *memory = nullptr;
    *have = 0;
    *memory = static_cast<char*>(device.allocate_host(bytes));
    *have = bytes;
  }
  return *memory;
}

Session::Session(std::shared_ptr<const Program> program, const KernelTable& kernels, Device& device,
                 State& state, size_t max_bindings)
    : program_(std::move(program)),
      kernels_(kernels),
      device_(device),
      state_(state),
      max_bindings_(max_bindings) {
  set_up();
}

Session::Session(std::shared_ptr<const Program> program, const KernelTable& kernels, ThreadPool& pool,
                 State& state, size_t max_bindings)
    : own_device_(std::make_unique<CpuDevice>(pool)),
      program_(std::move(program)),
      kernels_(kernels),
      device_(*own_device_),
      state_(state),
      max_bindings_(max_bindings) {
  set_up();
}

void Session::set_up() {
  const DeviceTurn turn(device_);
  FLOE_CHECK(program_->device == device_.kind(), "a program for {} on {}", name_of(program_->device),
             name_of(device_.kind()));
  FLOE_CHECK(state_.device() == (device_.on_host() ? nullptr : &device_), "the state lies on another device");
  for (const ProgramEntry& entry : program_->entries) {
    changed_states_.insert(changed_states_.end(), entry.updated.begin(), entry.updated.end());
    auto state_of_entry = std::make_unique<EntryState>();
    state_of_entry->entry = &entry;
    for (const auto& [name, info] : entry.symbols.all()) state_of_entry->symbols.push_back(name);
    state_of_entry->sums.resize(entry.steps.size());
    entries_.push_back(std::move(state_of_entry));
  }
  for (auto& flight : flights_) flight = std::make_unique<Flight>(device_);
  if (!program_->source.empty()) module_ = device_.build(program_->source);
  if (device_.on_host()) return;
  for (const TensorPtr& constant : program_->constants) {
    constants_.emplace_back(device_, constant->bytes());
    device_.upload(constants_.back().data(), constant->data(), constant->bytes());
  }
  device_.wait();
}

Session::~Session() = default;

Session::EntryState& Session::entry_named(std::string_view name) {
  for (const auto& candidate : entries_) {
    if (candidate->entry->name == name) return *candidate;
  }
  fail_bug(__FILE__, __LINE__, fmt::format("the program has no entry '{}'", name));
}

void Session::grow_arena(size_t bytes) {
  if (bytes <= arena_.bytes()) return;
  arena_.reset();  // free before the larger one is taken
  arena_ = DeviceBuffer(device_, bytes);
  ++arena_generation_;
}

void Session::patch_feeds(Bound& bound, std::span<const Feed> feeds) {
  for (const Bound::FeedPatch& patch : bound.patches) {
    const std::string& name = bound.entry->inputs[static_cast<size_t>(patch.input)].name;
    const auto feed = std::find_if(feeds.begin(), feeds.end(), [&](const Feed& f) { return f.name == name; });
    FLOE_CHECK(feed->value.contiguous(), "feed '{}' is not row-major", name);
    patch.view->data = static_cast<char*>(feed->value.data) + patch.offset;
  }
}

// All feeds cross in one copy.
void Session::stage_feeds(Bound& bound, std::span<const Feed> feeds, Flight& flight) {
  if (bound.feeds_bytes == 0) return;
  char* host = Flight::sized(device_, &flight.feeds, &flight.feeds_size, bound.feeds_bytes);
  for (size_t k = 0; k < bound.entry->inputs.size(); ++k) {
    const std::string& name = bound.entry->inputs[k].name;
    const auto feed = std::find_if(feeds.begin(), feeds.end(), [&](const Feed& f) { return f.name == name; });
    FLOE_CHECK(feed->value.contiguous(), "feed '{}' is not row-major", name);
    if (feed->value.size() > 0)
      std::memcpy(host + bound.feed_places[k], feed->value.data, feed->value.bytes());
  }
  device_.upload(static_cast<char*>(arena_.data()) + bound.feeds_offset, host, bound.feeds_bytes);
}

void Session::queue_step(const Bound& bound, const BoundStep& step) {
  void* workspace =
      arena_.bytes() == 0 ? nullptr : static_cast<char*>(arena_.data()) + bound.workspace_offset;
  step.kernel.run({step.inputs, step.outputs, workspace, device_.pool(), step.packed, device_.stream()});
}

void Session::queue_steps(const Bound& bound) {
  for (const BoundStep& step : bound.steps) queue_step(bound, step);
}

void Session::profile_steps(EntryState& entry_state, Bound& bound) {
  const auto queue_marked = [&] {
    bound.marks.clear();
    bound.marks.reserve(bound.steps.size() + 1);
    bound.marks.push_back(device_.mark());
    for (const BoundStep& step : bound.steps) {
      queue_step(bound, step);
      bound.marks.push_back(device_.mark());
    }
  };
  if (bound.runs >= 2 && !bound.marked) bound.marked = device_.record(queue_marked);
  if (bound.marked) {
    bound.marked->play();
  } else {
    queue_marked();
  }
  device_.wait();
  if (bound.work.empty()) {
    for (const StepSpec& step : bound.entry->steps) {
      bound.work.push_back({static_cast<double>(step.work.flops.evaluate(bound.binding)),
                            static_cast<double>(step.work.bytes.evaluate(bound.binding))});
    }
  }
  for (size_t i = 0; i < bound.steps.size(); ++i) {
    EntryState::StepSum& sum = entry_state.sums[i];
    sum.seconds += bound.marks[i + 1]->seconds_since(*bound.marks[i]);
    ++sum.calls;
    sum.flops += bound.work[i][0];
    sum.bytes += bound.work[i][1];
  }
}

// What lies side by side crosses in one copy.
void Session::queue_downloads(Bound& bound, Flight& flight) {
  flight.views = bound.outputs;
  if (device_.on_host()) return;
  std::vector<View*> views;
  for (View& view : flight.views) {
    FLOE_CHECK(view.contiguous(), "an output of entry '{}' is not row-major", bound.entry->name);
    if (view.bytes() > 0) views.push_back(&view);
  }
  const auto start = [](const View& view) { return static_cast<const char*>(view.data); };
  std::ranges::sort(views, [&](const View* a, const View* b) { return start(*a) < start(*b); });
  struct Span {
    const char* from;
    size_t bytes, place;
  };
  std::vector<Span> spans;
  size_t bytes = 0;
  for (View* view : views) {
    const bool joins = !spans.empty() && start(*view) - (spans.back().from + spans.back().bytes) < 256;
    if (!joins) spans.push_back({start(*view), 0, bytes});
    Span& span = spans.back();
    span.bytes = std::max(span.bytes, static_cast<size_t>(start(*view) - span.from) + view->bytes());
    bytes = span.place + (span.bytes + 63) / 64 * 64;
  }
  char* host = Flight::sized(device_, &flight.outputs, &flight.outputs_size, bytes);
  for (const Span& span : spans) device_.download(host + span.place, span.from, span.bytes);
  size_t at = 0;
  for (View* view : views) {
    while (at + 1 < spans.size() && start(*view) >= spans[at + 1].from) ++at;
    view->data = host + spans[at].place + (start(*view) - spans[at].from);
  }
}

Session::Flight& Session::next_flight() {
  Flight& flight = *flights_[++launches_ % flights_.size()];
  if (flight.done) flight.done->wait();  // its host memory is still being copied
  flight.ticket = launches_;
  return flight;
}

uint64_t Session::launch(std::string_view entry_name, std::span<const Feed> feeds, const Binding& extra) {
  const DeviceTurn turn(device_);
  EntryState& entry_state = entry_named(entry_name);
  again_ = {};
  Bound& bound = bind(entry_state, feeds, extra);
  grow_arena(bound.arena);
  if (bound.arena_generation != arena_generation_ || bound.state_generation != state_.generation())
    refresh(bound);
  Flight& flight = next_flight();
  if (device_.on_host()) {
    patch_feeds(bound, feeds);
  } else {
    stage_feeds(bound, feeds, flight);
  }
  again_ = {&entry_state, &bound, {feeds.begin(), feeds.end()}, extra};
  return run_bound(entry_state, bound, flight);
}

uint64_t Session::launch_again() {
  const DeviceTurn turn(device_);
  FLOE_CHECK(again_.entry != nullptr, "nothing has been launched");
  if (again_.bound->state_generation != state_.generation()) {
    const Again last = again_;
    return launch(last.entry->entry->name, last.feeds, last.extra);
  }
  return run_bound(*again_.entry, *again_.bound, next_flight());
}

uint64_t Session::run_bound(EntryState& entry_state, Bound& bound, Flight& flight) {
  flight.entry = bound.entry;
  ++bound.runs;
  if (profile_) {
    profile_steps(entry_state, bound);
  } else {
    // The first run lets kernels and libraries set up what a recording must not contain.
    if (bound.runs >= 2 && !bound.recording) bound.recording = device_.record([&] { queue_steps(bound); });
    if (bound.recording) {
      bound.recording->play();
    } else {
      queue_steps(bound);
    }
  }
  queue_downloads(bound, flight);
  if (!device_.on_host()) flight.done = device_.mark();
  return launches_;
}

const std::vector<View>& Session::results(uint64_t ticket) {
  Flight& flight = *flights_[ticket % flights_.size()];
  FLOE_CHECK(flight.ticket == ticket, "the results of launch {} are gone", ticket);
  if (flight.done) flight.done->wait();
  outputs_ = flight.views;
  last_ = flight.entry;
  return outputs_;
}

const std::vector<View>& Session::run(std::string_view entry, std::span<const Feed> feeds,
                                      const Binding& extra) {
  return results(launch(entry, feeds, extra));
}

View Session::output(std::string_view name) const {
  FLOE_CHECK(last_ != nullptr, "no run yet");
  for (size_t i = 0; i < last_->outputs.size(); ++i) {
    if (last_->outputs[i].name == name) return outputs_[i];
  }
  fail_bug(__FILE__, __LINE__, fmt::format("entry '{}' has no output '{}'", last_->name, name));
}

size_t Session::arena_bytes() const { return arena_.bytes(); }

size_t Session::packed_bytes() const {
  size_t total = 0;
  for (const auto& [key, packed] : packed_) total += packed.data.bytes();
  return total;
}

void Session::trim() {
  const DeviceTurn turn(device_);
  device_.wait();
  for (const auto& entry : entries_) {
    entry->bound.clear();
    entry->last_question.clear();
  }
  again_ = {};
  packed_.clear();
  arena_.reset();
  ++arena_generation_;
  outputs_.clear();
  last_ = nullptr;
}

void Session::set_profile(bool on) { profile_ = on; }

void Session::clear_profile() {
  for (const auto& entry : entries_) {
    std::fill(entry->sums.begin(), entry->sums.end(), EntryState::StepSum{});
  }
}

std::vector<StepTime> Session::profile() const {
  std::map<std::array<std::string, 4>, StepTime> sums;
  for (const auto& state : entries_) {
    const ProgramEntry& entry = *state->entry;
    for (size_t i = 0; i < entry.steps.size(); ++i) {
      const StepSpec& step = entry.steps[i];
      const SlotSpec& slot = entry.slots[static_cast<size_t>(step.outputs.front())];
      const std::string result = fmt::format("{}{}", name_of(slot.dtype), text_of(slot.dims));
      StepTime& sum = sums[{step.op, step.where, step.kernel, result}];
      sum.op = step.op;
      sum.where = step.where;
      sum.kernel = step.kernel;
      sum.result = result;
      sum.products = step.work.products;
      sum.seconds += state->sums[i].seconds;
      sum.calls += state->sums[i].calls;
      sum.flops += state->sums[i].flops;
      sum.bytes += state->sums[i].bytes;
    }
  }
  std::vector<StepTime> list;
  for (auto& [key, sum] : sums) list.push_back(std::move(sum));
  return list;
}

}  // namespace floe
