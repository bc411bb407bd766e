#include "runtime/state.h"

#include <cstring>

#include "base/error.h"
#include "runtime/turn.h"

namespace floe {
namespace {

size_t bytes_of(DType dtype, const Shape& shape) {
  return static_cast<size_t>(count(shape)) * size_of(dtype);
}

}  // namespace

State::Entry& State::find(std::string_view name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) fail_user("state '{}' is missing", name);
  return found->second;
}

// A tensor that a new one of this type and shape can take the memory of.
State::Entry* State::same_kind(std::string_view name, DType dtype, const Shape& shape) {
  const auto found = entries_.find(name);
  if (found == entries_.end() || found->second.dtype != dtype || found->second.shape != shape) return nullptr;
  return &found->second;
}

MemoryClaim State::claim(size_t bytes) const {
  return counter_ == nullptr ? MemoryClaim() : MemoryClaim(*counter_, bytes);
}

void State::set(std::string_view name, Tensor value) {
  if (Entry* old = same_kind(name, value.dtype(), value.shape())) {
    ++generation_;
    if (device_ == nullptr) {
      old->host = std::move(value);
    } else {
      const DeviceTurn turn(*device_);
      device_->upload(old->memory.data(), value.data(), value.bytes());
      device_->wait();
    }
    return;
  }
  Entry entry;
  entry.dtype = value.dtype();
  entry.shape = value.shape();
  if (device_ == nullptr) {
    entry.claim = claim(value.bytes());
    entry.host = std::move(value);
  } else {
    entry.memory = DeviceBuffer(*device_, value.bytes());
    const DeviceTurn turn(*device_);
    device_->upload(entry.memory.data(), value.data(), value.bytes());
    device_->wait();
  }
  ++generation_;
  entries_.insert_or_assign(std::string(name), std::move(entry));
}

void State::set_zero(std::string_view name, DType dtype, const Shape& shape) {
  const size_t bytes = bytes_of(dtype, shape);
  Entry* old = same_kind(name, dtype, shape);
  ++generation_;
  if (old != nullptr) {
    if (device_ != nullptr) {
      const DeviceTurn turn(*device_);
      device_->zero(old->memory.data(), bytes);
    } else if (bytes > 0) {
      std::memset(old->host.data(), 0, bytes);
    }
    return;
  }
  Entry entry;
  entry.dtype = dtype;
  entry.shape = shape;
  if (device_ == nullptr) {
    entry.claim = claim(bytes);
    entry.host = Tensor(dtype, shape);
  } else {
    entry.memory = DeviceBuffer(*device_, bytes);
    const DeviceTurn turn(*device_);
    device_->zero(entry.memory.data(), entry.memory.bytes());
  }
  entries_.insert_or_assign(std::string(name), std::move(entry));
}

const Tensor& State::get(std::string_view name) const {
  Entry& entry = find(name);
  if (device_ == nullptr) return entry.host;
  if (entry.host.size() == 0) entry.host = Tensor(entry.dtype, entry.shape);
  const DeviceTurn turn(*device_);
  device_->download(entry.host.data(), entry.memory.data(), entry.memory.bytes());
  device_->wait();
  return entry.host;
}

View State::view(std::string_view name) const {
  Entry& entry = find(name);
  return {device_ == nullptr ? entry.host.data() : entry.memory.data(), entry.dtype, entry.shape};
}

void State::assign(std::string_view name, const State& from, std::string_view from_name) {
  const View to = view(name);
  const View source = from.view(from_name);
  FLOE_CHECK(to.dtype == source.dtype && to.shape() == source.shape() && device_ == from.device_,
             "'{}' cannot take the contents of '{}'", name, from_name);
  const size_t bytes = to.bytes();
  if (device_ != nullptr) {
    const DeviceTurn turn(*device_);
    device_->copy(to.data, source.data, bytes);
  } else if (bytes > 0) {
    std::memcpy(to.data, source.data, bytes);
  }
}

void State::erase(std::string_view name) {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return;
  ++generation_;
  entries_.erase(found);
}

std::vector<std::string> State::names() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : entries_) names.push_back(name);
  return names;
}

size_t State::bytes() const {
  size_t total = 0;
  for (const auto& [name, entry] : entries_) total += bytes_of(entry.dtype, entry.shape);
  return total;
}

}  // namespace floe
