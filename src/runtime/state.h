// What outlives a run: parameters, optimizer moments, caches. Sessions of one process share it by reference.
#pragma once
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/tensor.h"

namespace floe {

class State {
 public:
  // Replaces a tensor of that name. Views of the old one become invalid; sessions notice through
  // generation().
  Tensor& set(std::string_view name, Tensor value);
  Tensor& get(std::string_view name);  // throws Error{user} naming it
  const Tensor& get(std::string_view name) const;
  bool has(std::string_view name) const { return tensors_.find(name) != tensors_.end(); }
  void erase(std::string_view name);
  std::vector<std::string> names() const;
  size_t bytes() const;
  // Contents were changed from outside a session: weights packed from them are stale.
  void touch() { ++generation_; }
  uint64_t generation() const { return generation_; }

 private:
  std::map<std::string, Tensor, std::less<>> tensors_;
  uint64_t generation_ = 1;
};

}  // namespace floe
