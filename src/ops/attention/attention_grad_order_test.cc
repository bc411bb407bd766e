#include "ops/attention/attention_grad_order_kernel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <queue>
#include <string>
#include <vector>

namespace floe {
namespace {

std::string text_of(const GradOrder& o, int keys) {
  return std::to_string(o.queries) + " queries, " + std::to_string(keys) + " keys, length " +
         std::to_string(o.length) + ", diagonal " + std::to_string(o.diagonal) +
         (o.rotated ? ", rotated" : "");
}

std::vector<GradOrder> orders(int keys, int resident) {
  std::vector<GradOrder> all;
  for (const int query_tile : {64, 128}) {
    for (const int queries : {1, 64, 65, 200, 512, 1000}) {
      for (const int diagonal : {keys, 0, keys - queries, 37, -70}) {
        const bool rotated = GradOrder::can_rotate(query_tile, 128, queries, keys, diagonal, resident);
        for (const int length : {0, 1, keys / 2, keys - 1, keys}) {
          all.push_back({query_tile, 128, queries, std::max(0, length), diagonal, rotated});
        }
      }
    }
  }
  return all;
}

constexpr int kKeys[] = {1, 128, 129, 300, 512, 1000};

TEST(GradOrder, VisitsExactlyTheQueryBlocksThatSeeAKey) {
  for (const int keys : kKeys) {
    for (const GradOrder& o : orders(keys, 132)) {
      SCOPED_TRACE(text_of(o, keys));
      for (int n = 0; n < (keys + 127) / 128; ++n) {
        std::vector<int> visits(static_cast<size_t>(o.query_blocks()));
        for (int i = 0; i < o.steps(n); ++i) ++visits.at(static_cast<size_t>(o.at(n, i)));
        for (int m = 0; m < o.query_blocks(); ++m) {
          bool sees = false;
          for (int q = m * o.query_tile; q < std::min(o.queries, (m + 1) * o.query_tile); ++q) {
            sees |= std::min(o.length, q + 1 + o.diagonal) > n * 128;
          }
          ASSERT_EQ(visits[static_cast<size_t>(m)], sees ? 1 : 0) << "keys " << n << ", queries " << m;
          ASSERT_EQ(n < o.seen_blocks(m), sees);
        }
      }
    }
  }
}

// Plays the blocks with `resident` running at once: a block takes a step as soon as its turn has come.
void expect_all_end(const GradOrder& o, int blocks, int resident) {
  std::vector<int> added(static_cast<size_t>(o.query_blocks()));
  struct Running {
    int n, step;
  };
  std::vector<Running> running;
  int next = blocks - 1;
  while (next >= 0 || !running.empty()) {
    while (next >= 0 && static_cast<int>(running.size()) < resident) running.push_back({next--, 0});
    bool moved = false;
    for (Running& r : running) {
      if (r.step == o.steps(r.n)) continue;
      int& count = added[static_cast<size_t>(o.at(r.n, r.step))];
      if (count != o.rank(r.n, o.at(r.n, r.step))) continue;
      ++count;
      ++r.step;
      moved = true;
    }
    const size_t before = running.size();
    std::erase_if(running, [&](const Running& r) { return r.step == o.steps(r.n); });
    ASSERT_TRUE(moved || running.size() < before) << "all wait";
  }
  for (int m = 0; m < o.query_blocks(); ++m) ASSERT_EQ(added[static_cast<size_t>(m)], o.seen_blocks(m));
}

TEST(GradOrder, LetsEveryBlockHaveItsTurn) {
  for (const int keys : kKeys) {
    const int blocks = (keys + 127) / 128;
    for (const int resident : {1, 2, 3, 8, 100}) {
      for (const GradOrder& o : orders(keys, resident)) {
        SCOPED_TRACE(text_of(o, keys) + ", " + std::to_string(resident) + " at once");
        expect_all_end(o, blocks, resident);
      }
    }
  }
}

// In the schedule the orders follow, step i of all blocks at the same time, nobody waits.
TEST(GradOrder, MakesNobodyWaitWhoseBlocksGoTogether) {
  for (const int query_tile : {64, 128}) {
    for (const int diagonal : {1024, 0}) {
      const bool rotated = GradOrder::can_rotate(query_tile, 128, 1024, 1024, diagonal, 132);
      EXPECT_EQ(rotated, diagonal == 1024);
      const GradOrder o{query_tile, 128, 1024, 1024, diagonal, rotated};
      std::vector<int> added(static_cast<size_t>(o.query_blocks()));
      for (int i = 0; i < o.query_blocks(); ++i) {
        for (int n = 0; n < 8; ++n) {
          if (i >= o.steps(n)) continue;
          ASSERT_EQ(added[static_cast<size_t>(o.at(n, i))], o.rank(n, o.at(n, i))) << n << " at step " << i;
        }
        for (int n = 0; n < 8; ++n) {
          if (i < o.steps(n)) ++added[static_cast<size_t>(o.at(n, i))];
        }
      }
    }
  }
}

// Heads one after the other on processors that take the next block when they are free. From the end of a step
// to where the next block may add to the same queries `handing` steps pass. What blocks waited for each other
// in all, in steps.
double waited(GradOrder o, int blocks, int heads, int processors, double handing) {
  std::priority_queue<double, std::vector<double>, std::greater<>> free;
  for (int i = 0; i < processors; ++i) free.push(0);
  double waits = 0;
  for (int head = 0; head < heads; ++head) {
    std::vector<double> added(static_cast<size_t>(o.query_blocks()), 0);
    for (int n = blocks - 1; n >= 0; --n) {
      double now = free.top();
      free.pop();
      for (int i = 0; i < o.steps(n); ++i) {
        double& before = added[static_cast<size_t>(o.at(n, i))];
        now += 1;
        if (before > now) {
          waits += before - now;
          now = before;
        }
        before = now + handing;
      }
      free.push(now);
    }
  }
  return waits;
}

// A block of keys meets a query block as many steps after its neighbour as a block of keys holds blocks of
// queries; handing over within that time costs nothing, however blocks come to start, and more than that
// does.
TEST(GradOrder, LetsCausalBlocksHandOverWithinARatioOfSteps) {
  for (const int query_tile : {64, 128}) {
    for (const int s : {512, 2048, 8192}) {
      const GradOrder o{query_tile, 128, s, s, 0, false};
      const int blocks = s / 128, heads = 32 * 8192 / s;
      EXPECT_EQ(waited(o, blocks, heads, 132, 0.95 * o.ratio()), 0) << query_tile << ' ' << s;
      EXPECT_GT(waited(o, blocks, heads, 132, 1.5 * o.ratio()), 0) << query_tile << ' ' << s;
    }
  }
}

TEST(GradOrder, DoesNotChangeWithPadding) {
  for (const int length : {100, 130, 250, 384}) {
    const GradOrder tight{64, 128, length, length, 1 << 20, true};
    const GradOrder padded{64, 128, 1000, length, 1 << 20, true};
    for (int m = 0; m < tight.query_blocks(); ++m) {
      for (int n = 0; n < tight.seen_blocks(m); ++n) ASSERT_EQ(tight.rank(n, m), padded.rank(n, m));
    }
  }
}

}  // namespace
}  // namespace floe
