#include "runtime/state.h"

#include "base/error.h"

namespace floe {

Tensor& State::set(std::string_view name, Tensor value) {
  ++generation_;
  return tensors_.insert_or_assign(std::string(name), std::move(value)).first->second;
}

Tensor& State::get(std::string_view name) {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) fail_user("state '{}' is missing", name);
  return found->second;
}

const Tensor& State::get(std::string_view name) const { return const_cast<State*>(this)->get(name); }

void State::erase(std::string_view name) {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) return;
  ++generation_;
  tensors_.erase(found);
}

std::vector<std::string> State::names() const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors_) names.push_back(name);
  return names;
}

size_t State::bytes() const {
  size_t total = 0;
  for (const auto& [name, tensor] : tensors_) total += tensor.bytes();
  return total;
}

}  // namespace floe
