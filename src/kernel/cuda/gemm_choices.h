// Which of cuBLASLt's algorithms a product takes: measured once for each shape and card, then remembered, in
// the process and on disk, so that a later run takes the same ones and gives the same bits.
#pragma once
#include <functional>
#include <string>

namespace floe {

// The choice known under `key`, or what `measure` gives, which is then remembered. A choice is one line of
// text. `folder` holds the file; a file that cannot be read or written is done without, as is "".
class GemmChoices {
 public:
  explicit GemmChoices(std::string folder) : folder_(std::move(folder)) {}
  std::string of(const std::string& key, const std::function<std::string()>& measure) const;

 private:
  std::string folder_;
};

}  // namespace floe
