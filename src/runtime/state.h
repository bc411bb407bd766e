// What outlives a run: parameters, optimizer moments, caches. It lies on the device of the sessions that
// share it by reference.
#pragma once
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "device/device.h"
#include "tensor/tensor.h"

namespace floe {

class State {
 public:
  State() = default;  // on the host, and counted nowhere
  // The device must outlive the state; it counts the tensors as memory in use, the CPU too. Null: the host.
  explicit State(Device* device)
      : counter_(device), device_(device != nullptr && device->on_host() ? nullptr : device) {}

  // Replaces a tensor of that name. Views of the old one become invalid; sessions notice through
  // generation(). Throws OutOfMemory, and the old one stays.
  void set(std::string_view name, Tensor value);
  void set_zero(std::string_view name, DType dtype, const Shape& shape);
  // What it holds now: the tensor itself on the host, else a copy made now, which the next call for this name
  // overwrites. Throws Error{user} naming it when it is missing.
  const Tensor& get(std::string_view name) const;
  View view(std::string_view name) const;  // where it lies, row-major
  // Takes the contents of a tensor of equal type and shape of a state on the same device.
  void assign(std::string_view name, const State& from, std::string_view from_name);

  bool has(std::string_view name) const { return entries_.find(name) != entries_.end(); }
  void erase(std::string_view name);
  std::vector<std::string> names() const;
  size_t bytes() const;
  // Contents were changed from outside a session: weights packed from them are stale.
  void touch() { ++generation_; }
  uint64_t generation() const { return generation_; }
  Device* device() const { return device_; }  // null: the host

 private:
  struct Entry {
    Tensor host;  // on a device: the last copy made
    DeviceBuffer memory;
    MemoryClaim claim;  // of `host`, where that is what the state is
    DType dtype = DType::f32;
    Shape shape;
  };
  Entry& find(std::string_view name) const;

  Entry* same_kind(std::string_view name, DType dtype, const Shape& shape);
  MemoryClaim claim(size_t bytes) const;

  Device* counter_ = nullptr;
  Device* device_ = nullptr;
  // get() fills Entry::host.
  mutable std::map<std::string, Entry, std::less<>> entries_;
  uint64_t generation_ = 1;
};

}  // namespace floe
