// Sessions come and go without leaving anything behind, and live side by side.
#include <gtest/gtest.h>
#include <malloc.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "golden/letters_model.h"
#include "testing/test_device.h"
#include "text/temp_files_for_test.h"
#include "translate/model_session.h"

namespace floe {
namespace {

const std::vector<std::string> kLines = {"floe", "", "anchor", "q", "transliteration"};

std::vector<std::string> translate(ModelSession& session) {
  TranslatorOptions options;
  options.search.max_length = 20;
  std::vector<std::string> out;
  for (const Translation& t : session.translator(options, [](const std::string&) {}).translate(kLines))
    out.push_back(t.text());
  return out;
}

int64_t resident_bytes() {
  int64_t total = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> total >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

// A sanitizer keeps what is freed, and its allocator answers mallinfo with zeros. GCC names it by a macro,
// clang by a feature.
#ifndef __has_feature
#define __has_feature(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || __has_feature(address_sanitizer) || \
    __has_feature(thread_sanitizer)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

TEST(Sessions, AThousandLivesLeaveNothingBehind) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer's allocator hides what is in use";
  TempFiles files;
  save_model(files.path("model"), letters_model());
  const std::unique_ptr<Device> device = open_test_device(2);
  const auto life = [&] {
    ModelSession session(load_model(files.path("model")), *device);
    return translate(session);
  };
  const auto want = life();
  life();
  const int64_t second = resident_bytes();
  // The allocator's heaps, one a thread, settle within the first lives; from then on nothing may grow.
  constexpr int kSettled = 100;
  for (int k = 2; k < kSettled; ++k) ASSERT_EQ(life(), want) << k;
  const int64_t resident = resident_bytes();
  const size_t in_use = ::mallinfo2().uordblks;
  EXPECT_LT(resident - second, int64_t{16} << 20);
  for (int k = kSettled; k < 1000; ++k) ASSERT_EQ(life(), want) << k;
  // Sixteen bytes left by each life would show.
  EXPECT_LT(static_cast<int64_t>(::mallinfo2().uordblks - in_use), 16 * (1000 - kSettled));
  EXPECT_LT(resident_bytes() - resident, int64_t{1} << 20);
}

TEST(Sessions, EndWithNothingRunning) {
  const std::unique_ptr<Device> device = open_test_device(2);
  {
    ModelSession never_used(letters_model(), *device);
  }
  auto session = std::make_unique<ModelSession>(letters_model(), *device);
  const auto want = translate(*session);
  session.reset();
  ModelSession another(letters_model(), *device);
  EXPECT_EQ(translate(another), want);
}

TEST(Sessions, WorkSideBySide) {
  const std::unique_ptr<Device> shared = open_test_device(2);
  ModelSession first(letters_model(), *shared);
  const auto want = translate(first);
  const std::unique_ptr<Device> own = open_test_device(1);
  ModelSession second(letters_model(), *shared), third(letters_model(), *own);
  std::vector<std::thread> threads;
  std::vector<int> wrong(3, 0);
  ModelSession* sessions[] = {&first, &second, &third};
  for (size_t k = 0; k < 3; ++k) {
    threads.emplace_back([&, k] {
      for (int i = 0; i < 20; ++i) wrong[k] += translate(*sessions[k]) != want;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(3, 0));
}

TEST(Sessions, BeginAndEndInParallel) {
  const std::unique_ptr<Device> device = open_test_device(2);
  std::vector<std::string> want;
  {
    ModelSession session(letters_model(), *device);
    want = translate(session);
  }
  std::vector<std::thread> threads;
  std::vector<int> wrong(2, 0);
  for (size_t k = 0; k < 2; ++k) {
    threads.emplace_back([&, k] {
      for (int i = 0; i < 5; ++i) {
        ModelSession session(letters_model(), *device);
        wrong[k] += translate(session) != want;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(2, 0));
}

}  // namespace
}  // namespace floe
