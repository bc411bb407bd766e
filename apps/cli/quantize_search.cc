#include "quantize_search.h"

#include <fmt/core.h>

#include <algorithm>

#include "eval/evaluate.h"
#include "translate/model_session.h"
#include "translate/quantize_model.h"

namespace floe {
namespace {

double bleu_of(ModelFile model, const BleuBudget& budget, Device& device) {
  const TranslatorOptions options = options_of(model.generation);
  ModelSession session(std::move(model), device, {.beam = options.search.beam});
  Translator translator = session.translator(options, [](const std::string&) {});
  std::vector<std::string> lines;
  for (const Translation& translation : translator.translate(budget.source))
    lines.push_back(translation.text());
  return evaluate(lines, {budget.references}).bleu.score;
}

}  // namespace

BudgetResult meet_bleu_budget(const ModelFile& model, const ModelFile& quantized,
                              const std::vector<Sensitivity>& sensitivities, const BleuBudget& budget,
                              Device& device, const std::function<void(const std::string&)>& note) {
  BudgetResult result;
  result.float_bleu = bleu_of(mixed_model(model, quantized, {}), budget, device);
  const size_t all = sensitivities.size();
  // With the first `kept` of the list float.
  const auto try_with = [&](size_t kept) {
    std::set<std::string, std::less<>> int8;
    for (size_t i = kept; i < all; ++i) int8.insert(sensitivities[i].weight);
    const double bleu =
        kept == all ? result.float_bleu : bleu_of(mixed_model(model, quantized, int8), budget, device);
    ++result.trials;
    note(fmt::format("{} weights INT8, {} float: BLEU {:.2f}, float {:.2f}", all - kept, kept, bleu,
                     result.float_bleu));
    const bool met = result.float_bleu - bleu <= budget.most_loss;
    if (met) {
      result.int8 = std::move(int8);
      result.int8_bleu = bleu;
    }
    return met;
  };
  if (try_with(0)) return result;
  size_t failed = 0, kept = 1;
  while (!try_with(std::min(kept, all))) {
    failed = kept;
    kept *= 2;
  }
  size_t met = std::min(kept, all);
  while (met - failed > 1) {
    const size_t middle = failed + (met - failed) / 2;
    (try_with(middle) ? met : failed) = middle;
  }
  return result;
}

}  // namespace floe
