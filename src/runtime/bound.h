// What a session knows of one entry at one set of sizes, and of one launch. Internal to the runtime.
#pragma once
#include <list>
#include <memory>
#include <vector>

#include "runtime/session.h"

namespace floe {

struct Session::BoundStep {
  BoundKernel kernel;
  std::unique_ptr<Attrs> attrs;  // some kernels keep a reference
  std::vector<View> inputs, outputs;
  std::string packed_key;  // into Session::packed_; empty: none
  const void* packed = nullptr;
};

// Kernels bound, views made. Pointers are set by refresh() and, for feeds that are read in place, at every
// run.
struct Session::Bound {
  const ProgramEntry* entry = nullptr;
  std::vector<int64_t> key;
  Binding binding;
  MemoryPlan plan;
  size_t workspace_offset = 0;
  size_t feeds_offset = 0;  // on a GPU: where the feeds are copied, one after the other
  size_t feeds_bytes = 0;
  std::vector<size_t> feed_places;  // by input, from feeds_offset
  size_t arena = 0;                 // all of it
  std::vector<BoundStep> steps;
  struct FeedPatch {
    int input;  // index into the entry's inputs
    View* view;
    size_t offset;  // bytes
  };
  std::vector<FeedPatch> patches;
  std::vector<View> outputs;  // where the device has them
  uint64_t arena_generation = 0;
  uint64_t state_generation = 0;
  int64_t runs = 0;  // since the pointers were set
  std::unique_ptr<Device::Recording> recording;
  // For profiles: a recording with a mark before the first step and behind each one.
  std::vector<std::unique_ptr<Device::Mark>> marks;
  std::unique_ptr<Device::Recording> marked;
  std::vector<std::array<double, 2>> work;  // by step: flops, bytes
};

struct Session::EntryState {
  const ProgramEntry* entry;
  std::vector<std::string> symbols;
  std::list<Bound> bound;  // most recently used first
  // What the front of the list was asked with: the same again needs no look at names or states.
  std::vector<int64_t> last_question;
  struct StepSum {
    double seconds = 0;
    int64_t calls = 0;
    double flops = 0, bytes = 0;
  };
  std::vector<StepSum> sums;  // by step, since clear_profile()
};

// Host memory of one launch, and how to know that it is done.
struct Session::Flight {
  explicit Flight(Device& on) : device(on) {}
  ~Flight() {
    device.release_host(feeds);
    device.release_host(outputs);
  }
  Flight(const Flight&) = delete;
  Flight& operator=(const Flight&) = delete;
  // At least so many bytes, contents undefined.
  static char* sized(Device& device, char** memory, size_t* have, size_t bytes);

  Device& device;
  uint64_t ticket = 0;
  char* feeds = nullptr;
  size_t feeds_size = 0;
  char* outputs = nullptr;
  size_t outputs_size = 0;
  const ProgramEntry* entry = nullptr;
  std::vector<View> views;
  std::unique_ptr<Device::Mark> done;
};

}  // namespace floe
