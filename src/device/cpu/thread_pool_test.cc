#include "device/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace floe {
namespace {

TEST(ThreadPool, CallsTheBodyOnceForEachItem) {
  for (const int threads : {1, 2, 4, 7}) {
    ThreadPool pool(threads);
    for (const int64_t n : {1, 2, 3, 100, 5'000}) {
      std::vector<int> calls(static_cast<size_t>(n), 0);
      pool.run(n, [&](int64_t i, int worker) {
        ASSERT_GE(worker, 0);
        ASSERT_LT(worker, threads);
        ++calls[static_cast<size_t>(i)];
      });
      EXPECT_EQ(calls, std::vector<int>(static_cast<size_t>(n), 1));
    }
  }
}

TEST(ThreadPool, ZeroOrFewerItemsCallNothing) {
  ThreadPool pool(3);
  const auto never = [](int64_t, int) { FAIL(); };
  pool.run(0, never);
  pool.run(-5, never);
  pool.run_ranges(0, 4, [](int64_t, int64_t, int) { FAIL(); });
}

TEST(ThreadPool, ThreadsBelowOneMeanTheCallersAlone) {
  ThreadPool pool(-3);
  EXPECT_EQ(pool.threads(), 1);
  int calls = 0;
  pool.run(10, [&](int64_t, int) { ++calls; });
  EXPECT_EQ(calls, 10);
}

TEST(ThreadPool, RangesCoverEverythingOnceAndTheLastMayBeShort) {
  ThreadPool pool(3);
  for (const int64_t grain : {0, 1, 3, 10, 1'000}) {
    std::vector<int> calls(10, 0);
    pool.run_ranges(10, grain, [&](int64_t begin, int64_t end, int) {
      EXPECT_LT(begin, end);
      for (int64_t i = begin; i < end; ++i) ++calls[static_cast<size_t>(i)];
    });
    EXPECT_EQ(calls, std::vector<int>(10, 1));
  }
}

TEST(ThreadPool, AGrainNearTheLargestNumberDoesNotOverflow) {
  ThreadPool pool(2);
  int calls = 0;
  pool.run_ranges(5, INT64_MAX, [&](int64_t begin, int64_t end, int) {
    EXPECT_EQ(begin, 0);
    EXPECT_EQ(end, 5);
    ++calls;
  });
  EXPECT_EQ(calls, 1);
}

TEST(ThreadPool, ThrowsTheBodysExceptionAgainAndWorksOnAfterIt) {
  ThreadPool pool(4);
  for (int round = 0; round < 200; ++round) {
    std::atomic<int> running{0};
    try {
      pool.run(100, [&](int64_t i, int) {
        running.fetch_add(1);
        struct Leave {
          std::atomic<int>& count;
          ~Leave() { count.fetch_sub(1); }
        } leave{running};
        if (i % 10 == 3) throw std::runtime_error("item " + std::to_string(i));
      });
      FAIL() << "nothing was thrown";
    } catch (const std::runtime_error& error) {
      EXPECT_EQ(std::string(error.what()).substr(0, 5), "item ");
    }
    EXPECT_EQ(running.load(), 0) << "a body runs after run() has returned";
    std::atomic<int64_t> sum{0};
    pool.run(10, [&](int64_t i, int) { sum.fetch_add(i); });
    EXPECT_EQ(sum.load(), 45);
  }
}

TEST(ThreadPool, ANestedRunStaysOnItsThreadAndKeepsItsWorker) {
  ThreadPool pool(4);
  std::atomic<int> inner_calls{0};
  pool.run(50, [&](int64_t, int worker) {
    const std::thread::id thread = std::this_thread::get_id();
    pool.run(20, [&](int64_t, int inner_worker) {
      EXPECT_EQ(inner_worker, worker);
      EXPECT_EQ(std::this_thread::get_id(), thread);
      inner_calls.fetch_add(1);
    });
  });
  EXPECT_EQ(inner_calls.load(), 1'000);
}

TEST(ThreadPool, AnExceptionOfANestedRunReachesTheOuterCaller) {
  ThreadPool pool(3);
  EXPECT_THROW(pool.run(8,
                        [&](int64_t, int) {
                          pool.run(8, [](int64_t i, int) {
                            if (i == 5) throw std::out_of_range("inner");
                          });
                        }),
               std::out_of_range);
  // A run of one item is inside too, and comes out again after it threw.
  EXPECT_THROW(
      pool.run(1, [&](int64_t, int) { pool.run(1, [](int64_t, int) { throw std::out_of_range("one"); }); }),
      std::out_of_range);
  std::vector<int> calls(64, 0);
  pool.run(64, [&](int64_t i, int) { ++calls[static_cast<size_t>(i)]; });
  EXPECT_EQ(calls, std::vector<int>(64, 1));
}

TEST(ThreadPool, PoolsThatCallEachOtherDoNotLockUp) {
  ThreadPool a(3);
  ThreadPool b(3);
  std::atomic<int> calls{0};
  std::thread other([&] {
    for (int round = 0; round < 50; ++round) {
      b.run(6, [&](int64_t, int) { a.run(6, [&](int64_t, int) { calls.fetch_add(1); }); });
    }
  });
  for (int round = 0; round < 50; ++round) {
    a.run(6, [&](int64_t, int) { b.run(6, [&](int64_t, int) { calls.fetch_add(1); }); });
  }
  other.join();
  EXPECT_EQ(calls.load(), 2 * 50 * 36);
}

// Plain ints stand for scratch space: the thread sanitizer sees it if two bodies share a worker's number.
TEST(ThreadPool, AWorkersScratchSpaceIsNeverUsedByTwoBodiesAtOnceWhoeverCalls) {
  constexpr int kThreads = 3;
  ThreadPool pool(kThreads);
  std::vector<int64_t> scratch(kThreads, 0);
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&, caller] {
      for (int round = 0; round < 300; ++round) {
        // Runs of one item too: they go another way inside the pool.
        pool.run(round % 5 + 1, [&](int64_t, int worker) { ++scratch[static_cast<size_t>(worker)]; });
      }
      EXPECT_GE(caller, 0);
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(scratch[0] + scratch[1] + scratch[2], 4 * 60 * (1 + 2 + 3 + 4 + 5));
}

TEST(ThreadPool, AHundredThousandTinyJobsAllFinish) {
  ThreadPool pool(4);
  int64_t done = 0;
  std::vector<int64_t> slots(4, 0);
  for (int job = 0; job < 100'000; ++job) {
    pool.run(4, [&](int64_t i, int) { slots[static_cast<size_t>(i)] = job + i; });
    done += slots[3] - slots[0];
  }
  EXPECT_EQ(done, 300'000);
}

TEST(ThreadPool, JobsReachThreadsThatHaveGoneToSleep) {
  ThreadPool pool(3);
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    // Three bodies that wait for each other: they end only if every thread wakes up.
    std::atomic<int> arrived{0};
    pool.run(3, [&](int64_t, int) {
      arrived.fetch_add(1);
      while (arrived.load() < 3) std::this_thread::yield();
    });
    EXPECT_EQ(arrived.load(), 3);
  }
}

TEST(ThreadPool, MayBeMadeAndLeftUnused) {
  for (int round = 0; round < 50; ++round) {
    ThreadPool idle(4);
    EXPECT_EQ(idle.threads(), 4);
  }
}

}  // namespace
}  // namespace floe
