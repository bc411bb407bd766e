// Two published models against the outputs that onnxruntime gave.
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file.h"
#include "onnx_case.h"
#include "onnx_targets.h"
#include "ops/all.h"
#include "tensor/npz.h"
#include "testing/printed_case.h"

namespace floe {
namespace {

class OnnxModels : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const std::string base = std::string(FLOE_SOURCE_DIR "/../shared/data/onnx-models/") + GetParam();
    if (!file_exists(base + ".onnx")) GTEST_SKIP() << "no " << base << ".onnx";
    model_ = read_onnx(base + ".onnx");
    const NpzFile file = NpzFile::open(base + ".npz");
    for (const std::string& name : file.names()) {
      const auto tensor = std::make_shared<Tensor>(file.load(name));
      if (name.starts_with("in_")) inputs_[name.substr(3)] = tensor;
      if (name.starts_with("out_")) outputs_[name.substr(4)] = tensor;
    }
    ASSERT_FALSE(outputs_.empty());
  }
  void check(const OnnxImport& import, const TargetResult& got) const {
    ASSERT_EQ(got.error, "");
    for (size_t k = 0; k < got.outputs.size(); ++k) {
      const std::string& name = import.graph.outputs()[k].name;
      EXPECT_EQ(difference(*got.outputs[k], *outputs_.at(name)), "") << name;
    }
  }
  std::unique_ptr<OnnxModel> model_;
  NamedTensors inputs_, outputs_;
};

TEST_P(OnnxModels, GiveTheStoredOutputsOnTheCpu) {
  const OnnxImport import = import_onnx_for(*model_, all_ops(), inputs_);
  check(import, run_on_cpu(import, inputs_));
}

TEST_P(OnnxModels, GiveTheStoredOutputsInNumpy) {
  if (const std::string why = why_no_numpy(); !why.empty()) GTEST_SKIP() << why;
  const OnnxImport import = import_onnx_for(*model_, all_ops(), inputs_);
  check(import, run_on_numpy({{&import, &inputs_}})[0]);
}

INSTANTIATE_TEST_SUITE_P(Published, OnnxModels, testing::Values("magika_v3_3", "silero_vad_op18_ifless"));

}  // namespace
}  // namespace floe
