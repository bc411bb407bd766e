#include "onnx_case.h"

#include <cmath>

#include "base/error.h"
#include "base/file.h"
#include "frontend/onnx_tensor.h"

namespace floe {
namespace {

TensorPtr tensor_in(const std::string& path) {
  const std::string bytes = read_file(path);
  return std::make_shared<Tensor>(tensor_of_onnx(parse_onnx_tensor(bytes, path), "."));
}

}  // namespace

OnnxCase load_onnx_case(const std::string& folder) {
  OnnxCase c;
  c.folder = folder;
  c.name = folder.substr(folder.find_last_of('/') + 1);
  c.model = read_onnx(folder + "/model.onnx");
  const auto file = [&](const char* kind, size_t k) {
    return fmt::format("{}/test_data_set_0/{}_{}.pb", folder, kind, k);
  };
  for (size_t k = 0; k < c.model->graph.inputs.size(); ++k) {
    if (file_exists(file("input", k))) c.inputs[c.model->graph.inputs[k].name] = tensor_in(file("input", k));
  }
  for (size_t k = 0; k < c.model->graph.outputs.size(); ++k)
    c.outputs.push_back(tensor_in(file("output", k)));
  return c;
}

std::string difference(const Tensor& got, const Tensor& want, double relative) {
  if (got.dtype() != want.dtype() || got.shape() != want.shape()) {
    return fmt::format("is {}{}, must be {}{}", name_of(got.dtype()), text_of(got.shape()),
                       name_of(want.dtype()), text_of(want.shape()));
  }
  for (int64_t i = 0; i < got.size(); ++i) {
    const double a = got.at(i), b = want.at(i);
    if (a == b || (std::isnan(a) && std::isnan(b))) continue;
    if (!is_float(got.dtype()) || !(std::fabs(a - b) <= 1e-7 + relative * std::fabs(b)))
      return fmt::format("element {} is {}, must be {}", i, a, b);
  }
  return "";
}

}  // namespace floe
