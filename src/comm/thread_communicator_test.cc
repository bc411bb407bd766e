#include "comm/thread_communicator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "base/error.h"

namespace floe {
namespace {

// The bits that f32 pairs add up to, written out for up to four ranks.
float pairwise(const std::vector<float>& v) {
  switch (v.size()) {
    case 1:
      return v[0];
    case 2:
      return v[0] + v[1];
    case 3:
      return (v[0] + v[1]) + v[2];
    default:
      return (v[0] + v[1]) + (v[2] + v[3]);
  }
}

std::vector<float> numbers(int rank, size_t n) {
  std::mt19937 random(static_cast<unsigned>(rank) + 1);
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (float& x : values) x = normal(random) * std::pow(10.0F, normal(random));
  return values;
}

std::vector<float> values_of(const Tensor& tensor) {
  return {tensor.as<float>(), tensor.as<float>() + tensor.size()};
}

std::string refusal(const ThreadRanksOptions& options, const std::function<void(Communicator&)>& body) {
  try {
    run_ranks(options, body);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::io) << e.what();
    return e.what();
  }
  return "no error";
}

void all_reduce(Communicator& c, Tensor& x, CollectiveOp op = CollectiveOp::all_reduce_sum) {
  c.run({.op = op, .in = view_of(x), .out = view_of(x)});
}

TEST(ThreadCommunicator, SumsPairwiseInRankOrderOnEveryRank) {
  for (const int ranks : {1, 2, 3, 4}) {
    for (const size_t n : {0, 1, 2, 7, 1000}) {
      std::vector<float> want(n);
      for (size_t i = 0; i < n; ++i) {
        std::vector<float> parts;
        for (int r = 0; r < ranks; ++r) parts.push_back(numbers(r, n)[i]);
        want[i] = pairwise(parts);
      }
      run_ranks({.ranks = ranks}, [&](Communicator& c) {
        const Tensor x = Tensor::from_floats({static_cast<int64_t>(n)}, numbers(c.rank(), n));
        Tensor y(DType::f32, x.shape());
        for (int repeat = 0; repeat < 3; ++repeat) {
          c.run({.op = CollectiveOp::all_reduce_sum, .in = view_of(x), .out = view_of(y)});
          EXPECT_EQ(values_of(y), want);
        }
        Tensor in_place = Tensor::from_floats(x.shape(), values_of(x));
        all_reduce(c, in_place);
        EXPECT_EQ(values_of(in_place), want);
      });
    }
  }
}

TEST(ThreadCommunicator, TakesTheLargestAndLetsNanWin) {
  run_ranks({.ranks = 2}, [](Communicator& c) {
    const float nan = std::nanf("");
    const float inf = std::numeric_limits<float>::infinity();
    Tensor x = Tensor::from_floats(
        {4}, c.rank() == 0 ? std::vector<float>{1, nan, 3, -inf} : std::vector<float>{2, 5, nan, -inf});
    all_reduce(c, x, CollectiveOp::all_reduce_max);
    EXPECT_EQ(x.at(0), 2);
    EXPECT_TRUE(std::isnan(x.at(1)));
    EXPECT_TRUE(std::isnan(x.at(2)));
    EXPECT_EQ(x.at(3), -inf);
  });
}

TEST(ThreadCommunicator, AddsNarrowFloatsInF32AndWrapsIntegers) {
  run_ranks({.ranks = 4}, [](Communicator& c) {
    // 256 + 1 is no bf16; (256 + 1) + (1 + 1) = 259 rounds to 260, while rounding each sum would give 256 or
    // 258.
    Tensor x = Tensor::from_doubles(DType::bf16, {1}, {c.rank() == 0 ? 256.0 : 1.0});
    all_reduce(c, x);
    EXPECT_EQ(x.at(0), 260);
    Tensor n = Tensor::from_ints({1}, {INT32_MAX});
    all_reduce(c, n);
    EXPECT_EQ(n.at(0), -4);
  });
}

TEST(ThreadCommunicator, GathersAndScattersAlongAnyAxis) {
  for (const int axis : {0, 1, 2}) {
    run_ranks({.ranks = 3}, [&](Communicator& c) {
      Shape shape{2, 3, 2};
      Tensor part(DType::f32, shape);
      for (int64_t i = 0; i < part.size(); ++i) part.set(i, static_cast<double>(100 * c.rank() + i));
      shape[static_cast<size_t>(axis)] *= 3;
      Tensor whole(DType::f32, shape);
      c.run({.op = CollectiveOp::all_gather, .axis = axis, .in = view_of(part), .out = view_of(whole)});
      // Element (i, j, k) of the whole is element of the rank that its coordinate along the axis names.
      for (int64_t at = 0; at < whole.size(); ++at) {
        int64_t at_axis[3] = {at / (shape[1] * shape[2]), at / shape[2] % shape[1], at % shape[2]};
        const int64_t length = shape[static_cast<size_t>(axis)] / 3;
        const int64_t rank = at_axis[axis] / length;
        at_axis[axis] %= length;
        const Shape& p = part.shape();
        EXPECT_EQ(whole.at(at), 100 * rank + (at_axis[0] * p[1] + at_axis[1]) * p[2] + at_axis[2]);
      }
      Tensor back(DType::f32, part.shape());
      c.run({.op = CollectiveOp::reduce_scatter, .axis = axis, .in = view_of(whole), .out = view_of(back)});
      for (int64_t i = 0; i < part.size(); ++i) EXPECT_EQ(back.at(i), 3 * part.at(i));
    });
  }
}

TEST(ThreadCommunicator, NamesTheRankThatDoesNotCome) {
  const std::string what =
      refusal({.ranks = 3, .deadline = std::chrono::milliseconds(50)}, [](Communicator& c) {
        Tensor x(DType::f32, {2});
        all_reduce(c, x);
        if (c.rank() != 1) all_reduce(c, x);
      });
  EXPECT_EQ(what, "collective 1, all_reduce_sum f32[2]: rank 1 has not come within 50 ms");
}

TEST(ThreadCommunicator, RefusesRanksThatDisagree) {
  EXPECT_EQ(refusal({.ranks = 2},
                    [](Communicator& c) {
                      Tensor x(DType::f32, {c.rank() + 1});
                      all_reduce(c, x);
                    }),
            "collective 0: rank 0 comes with all_reduce_sum f32[1], rank 1 with all_reduce_sum f32[2]");
  EXPECT_EQ(refusal({.ranks = 2},
                    [](Communicator& c) {
                      Tensor x(DType::f32, {1});
                      if (c.rank() == 0) {
                        all_reduce(c, x);
                      } else {
                        c.run({});
                      }
                    }),
            "collective 0: rank 0 comes with all_reduce_sum f32[1], rank 1 with barrier");
}

TEST(ThreadCommunicator, WakesTheOthersWhenARankGivesUpAndStaysBroken) {
  std::vector<std::string> seen(2);
  try {
    run_ranks({.ranks = 2}, [&](Communicator& c) {
      if (c.rank() == 1) fail_user("no such file");
      Tensor x(DType::f32, {1});
      for (std::string& text : seen) {
        try {
          all_reduce(c, x);
        } catch (const Error& e) {
          text = e.what();
        }
      }
    });
    FAIL() << "the error was lost";
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "no such file");
  }
  EXPECT_THAT(seen, testing::Each("rank 1 gave up: no such file"));
}

TEST(ThreadCommunicator, RefusesShapesThatDoNotFitTheOp) {
  const auto bug = [](const CollectiveCall& call) {
    const auto ranks = make_thread_communicators({.ranks = 2});
    try {
      ranks[0]->run(call);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::bug);
      return std::string(e.what());
    }
    return std::string("accepted");
  };
  Tensor three(DType::f32, {3});
  Tensor two(DType::f32, {2});
  Tensor flags(DType::boolean, {3});
  EXPECT_THAT(bug({.op = CollectiveOp::all_reduce_sum, .in = view_of(three), .out = view_of(two)}),
              testing::HasSubstr("all_reduce_sum f32[3]: the result must be [3], is [2]"));
  EXPECT_THAT(bug({.op = CollectiveOp::reduce_scatter, .in = view_of(three), .out = view_of(two)}),
              testing::HasSubstr("reduce_scatter f32[3] along 0: 2 ranks do not divide it"));
  EXPECT_THAT(bug({.op = CollectiveOp::all_gather, .axis = 1, .in = view_of(three), .out = view_of(two)}),
              testing::HasSubstr("no such axis"));
  EXPECT_THAT(bug({.op = CollectiveOp::all_reduce_sum, .in = view_of(flags), .out = view_of(flags)}),
              testing::HasSubstr("bools have no sum"));
}

TEST(ThreadCommunicator, NeedsARank) {
  try {
    make_thread_communicators({.ranks = 0});
    FAIL() << "no ranks were taken";
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "0 ranks: at least 1 is needed");
  }
}

}  // namespace
}  // namespace floe
