// A trained transliteration model that is published with CTranslate2, one letter a token. It is not part of
// this repository: tests that need it skip where it is absent.
#pragma once
#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "base/file.h"
#include "testing/test_device.h"
#include "translate/model_file.h"
#include "translate/model_session.h"

namespace floe {

inline std::string aren_folder(const char* variant = "") {
  return std::string(FLOE_SOURCE_DIR "/../shared/data/ct2-aren-transliteration") + variant;
}
inline bool has_aren(const char* variant = "") { return file_exists(aren_folder(variant) + "/model.bin"); }

class ArenTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_aren()) GTEST_SKIP() << aren_folder() << "/model.bin is absent";
  }
  ModelSession& session() {
    if (!session_) session_.emplace(load_model(aren_folder()), *device_);
    return *session_;
  }
  static void warn(const std::string& text) { ADD_FAILURE() << "unexpected warning: " << text; }

  std::unique_ptr<Device> device_ = open_test_device();

 private:
  std::optional<ModelSession> session_;
};

}  // namespace floe
