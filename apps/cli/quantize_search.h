// Which weights stay float so that translations lose no more than so much BLEU.
#pragma once
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "translate/compare_int8.h"

namespace floe {

struct BleuBudget {
  double most_loss = 0;  // BLEU points
  std::vector<std::string> source, references;
};

struct BudgetResult {
  std::set<std::string, std::less<>> int8;
  double float_bleu = 0, int8_bleu = 0;
  int64_t trials = 0;
};

// Begins with all weights of `quantized` INT8 and makes the most sensitive ones float again, twice as many
// after each failure, then takes back what was too many; "none is INT8" always meets the budget. Tells `note`
// of each trial.
BudgetResult meet_bleu_budget(const ModelFile& model, const ModelFile& quantized,
                              const std::vector<Sensitivity>& sensitivities, const BleuBudget& budget,
                              Device& device, const std::function<void(const std::string&)>& note);

}  // namespace floe
