// Candidates of a beam over logits of more than 2^31 elements: 8,680 sentences with a vocabulary of 65,536.
#include <gtest/gtest.h>

#include "ops/search/search_cases_for_test.h"
#include "testing/large_case.h"

namespace floe {
namespace {

TEST(BeamCandidatesLarge, TakeMoreLogitsThan31BitsCount) {
  FLOE_NEEDS_CUDA();
  constexpr int64_t kSentences = 31, kBeam = 4;
  OpCase one = candidates_case(CaseInput::normal({kSentences * kBeam, 65536}),
                               CaseInput::uniform({kSentences * kBeam}, -4, 0), kBeam, 2 * kBeam);
  one.ulps = 0;
  // Values, tokens and log-probabilities; parents are numbers of rows.
  check_large({.one = std::move(one), .times = 280, .results = {0, 1, 3}});
}

}  // namespace
}  // namespace floe
