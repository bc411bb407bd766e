#include "text/vocabulary.h"

#include "base/error.h"
#include "text/lines.h"

namespace floe {

Vocabulary Vocabulary::load(const std::string& path, std::optional<std::string> unknown) {
  return Vocabulary(read_lines(path), path, std::move(unknown));
}

Vocabulary::Vocabulary(std::vector<std::string> tokens, const std::string& name,
                       std::optional<std::string> unknown)
    : name_(name), tokens_(std::move(tokens)) {
  if (tokens_.empty()) fail_user("vocabulary {} has no token", name_);
  ids_.reserve(tokens_.size());
  for (size_t k = 0; k < tokens_.size(); ++k) {
    const auto [first, fresh] = ids_.emplace(tokens_[k], static_cast<int32_t>(k));
    if (!fresh) {
      fail_user("vocabulary {}: token \"{}\" is given twice, on lines {} and {}", name_, tokens_[k],
                first->second + 1, k + 1);
    }
  }
  if (unknown) {
    unknown_id_ = find(*unknown);
    if (!unknown_id_) fail_user("vocabulary {} does not hold the unknown token \"{}\"", name_, *unknown);
  }
}

const std::string& Vocabulary::token(int32_t id) const {
  FLOE_CHECK(id >= 0 && static_cast<size_t>(id) < tokens_.size(), "id {} of {} tokens", id, tokens_.size());
  return tokens_[static_cast<size_t>(id)];
}

std::optional<int32_t> Vocabulary::find(std::string_view token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

int32_t Vocabulary::id(std::string_view token) const {
  if (const auto found = find(token)) return *found;
  if (!unknown_id_) fail_user("vocabulary {} does not hold \"{}\" and has no unknown token", name_, token);
  return *unknown_id_;
}

std::vector<int32_t> Vocabulary::ids(const std::vector<std::string>& tokens) const {
  std::vector<int32_t> out;
  out.reserve(tokens.size());
  for (const auto& token : tokens) out.push_back(id(token));
  return out;
}

}  // namespace floe
