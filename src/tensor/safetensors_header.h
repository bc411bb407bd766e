// The JSON of a safetensors header as rows, in the order of the text; fields are checked for kind and
// presence only.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/safetensors.h"

namespace floe {

struct SafetensorsHeader {
  struct Row {
    std::string name;
    std::string dtype;
    std::vector<uint64_t> shape;
    std::vector<uint64_t> offsets;  // two
  };
  std::vector<Row> rows;
  TensorMetadata metadata;
};

// Throws Error{user} that begins with `path`.
SafetensorsHeader parse_safetensors_header(std::string_view json, const std::string& path);

}  // namespace floe
