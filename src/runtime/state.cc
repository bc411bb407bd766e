#include "runtime/state.h"

#include <cstring>

#include "base/error.h"

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

void State::set(std::string_view name, Tensor value) {
  ++generation_;
  Entry entry;
  entry.dtype = value.dtype();
  entry.shape = value.shape();
  if (device_ == nullptr) {
    entry.host = std::move(value);
  } else {
    entry.memory = DeviceBuffer(*device_, value.bytes());
    device_->upload(entry.memory.data(), value.data(), value.bytes());
    device_->wait();
  }
  entries_.insert_or_assign(std::string(name), std::move(entry));
}

void State::set_zero(std::string_view name, DType dtype, const Shape& shape) {
  if (device_ == nullptr) return set(name, Tensor(dtype, shape));
  ++generation_;
  Entry entry;
  entry.dtype = dtype;
  entry.shape = shape;
  entry.memory = DeviceBuffer(*device_, bytes_of(dtype, shape));
  device_->zero(entry.memory.data(), entry.memory.bytes());
  entries_.insert_or_assign(std::string(name), std::move(entry));
}

const Tensor& State::get(std::string_view name) const {
  Entry& entry = find(name);
  if (device_ == nullptr) return entry.host;
  if (entry.host.size() == 0) entry.host = Tensor(entry.dtype, entry.shape);
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
