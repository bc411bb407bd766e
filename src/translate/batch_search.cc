#include "translate/batch_search.h"

#include <algorithm>
#include <limits>
#include <map>

#include "base/error.h"
#include "translate/search_graph.h"

namespace floe {
namespace {

constexpr float kDead = -std::numeric_limits<float>::infinity();

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Every new number of rows binds kernels anew. So the number of sentences goes in steps of a quarter octave;
// the rest are dead rows, which cost their share of the products and nothing else.
int64_t rounded(int64_t sentences) {
  int64_t grain = 1;
  while (sentences > 8 * grain) grain *= 2;
  return ceil_div(sentences, grain) * grain;
}

}  // namespace

struct BatchSearch::Sentence {
  SearchJob* job;
  SentenceSearch search;
  int64_t slots = 0;
  int64_t first_block = 0;
  int64_t blocks = 0;
  bool done = false;
  // By place: what the coming step continues and reads. A row is one of the epoch that was.
  std::vector<int32_t> rows, tokens;
  std::vector<float> scores;
};

// Host copies of the inputs of one step.
struct BatchSearch::StepFeeds {
  int64_t rows;
  int64_t sentences;
  std::map<std::string, std::vector<int32_t>> ints;
  std::map<std::string, std::vector<float>> floats;
  std::map<std::string, Shape> shapes;

  std::vector<int32_t>& int_rows(const char* name, int32_t value, int64_t width = 0) {
    shapes[name] = width == 0 ? Shape{rows} : Shape{rows, width};
    return ints[name] = std::vector<int32_t>(static_cast<size_t>(rows * std::max<int64_t>(width, 1)), value);
  }
  std::vector<float>& float_rows(const char* name, float value) {
    shapes[name] = {rows};
    return floats[name] = std::vector<float>(static_cast<size_t>(rows), value);
  }
  void every_sentence(const char* name, int64_t value) {
    shapes[name] = {sentences};
    ints[name].assign(static_cast<size_t>(sentences), static_cast<int32_t>(value));
  }
  void list_of_every_sentence(const char* name, const std::vector<int32_t>& list) {
    shapes[name] = {sentences, static_cast<int64_t>(list.size())};
    for (int64_t s = 0; s < sentences; ++s) ints[name].insert(ints[name].end(), list.begin(), list.end());
  }
  std::vector<Feed> feeds() {
    std::vector<Feed> all;
    for (auto& [name, values] : ints) all.push_back({name, View(values.data(), DType::i32, shapes[name])});
    for (auto& [name, values] : floats) all.push_back({name, View(values.data(), DType::f32, shapes[name])});
    return all;
  }
};

BatchSearch::BatchSearch(const ModelConfig& config, const SearchOptions& options, const SearchRoom& room,
                         Sessions sessions)
    : config_(config),
      options_(options),
      room_(room),
      sessions_(sessions),
      positions_(room.cached ? room.positions : 0),
      blocks_(room.cross_blocks),
      // Without cache every step has a length of its own, which the host must know to be needed.
      ahead_(room.cached && sessions.stepper->runs_ahead() ? 1 : 0) {}

BatchSearch::~BatchSearch() = default;

void BatchSearch::run(std::span<SearchJob> jobs) {
  if (options_.beam > room_.rows) {
    fail_user("a beam of {} needs as many rows; the engine has {}", options_.beam, room_.rows);
  }
  size_t next = 0;
  for (;;) {
    if (epoch_is_over(next < jobs.size())) {
      while (!under_way_.empty()) take();
      std::vector<Sentence> stay;
      for (Sentence& s : live_) {
        if (!s.done) stay.push_back(std::move(s));
      }
      live_ = std::move(stay);
      if (next < jobs.size()) admit_all(jobs, &next);
      if (live_.empty()) return;
      begin_epoch();
    }
    launch();
    while (under_way_.size() > ahead_) take();
  }
}

bool BatchSearch::epoch_is_over(bool more_to_come) const {
  const auto here = static_cast<int64_t>(live_.size());
  const int64_t gone = std::ranges::count_if(live_, [](const Sentence& s) { return s.done; });
  if (gone == here) return true;
  // A few at a time would be encoded one by one; without cache all rows have one length.
  if (more_to_come && room_.cached && 8 * gone >= here) return true;
  // New sizes are bound anew, which on a GPU takes longer than the rows that they spare.
  return ahead_ == 0 ? rounded(here - gone) < sentences_ : 2 * rounded(here - gone) <= sentences_;
}

bool BatchSearch::admit(SearchJob& job) {
  if (rounded(static_cast<int64_t>(live_.size()) + 1) * options_.beam > room_.rows) return false;
  Sentence sentence{.job = &job, .search = SentenceSearch(options_, job.limits, job.prefix.size())};
  sentence.blocks = ceil_div(static_cast<int64_t>(job.source.size()), room_.cross_block);
  const int64_t length = room_.cached ? options_.beam * job.limits.max : 0;
  const auto slots = positions_.take(length);
  if (!slots) return false;
  const auto block = blocks_.take(sentence.blocks);
  if (!block) {
    positions_.give_back(*slots, length);
    return false;
  }
  sentence.slots = *slots;
  sentence.first_block = *block;
  sentence.rows.assign(static_cast<size_t>(options_.beam), 0);
  sentence.tokens.assign(static_cast<size_t>(options_.beam), config_.start_id);
  sentence.scores.assign(static_cast<size_t>(options_.beam), kDead);  // one path to begin with
  sentence.scores[0] = job.start_score;
  live_.push_back(std::move(sentence));
  return true;
}

void BatchSearch::admit_all(std::span<SearchJob> jobs, size_t* next) {
  const size_t old = live_.size();
  if (old > 0 && !room_.cached) return;
  while (*next < jobs.size() && admit(jobs[*next])) ++*next;
  if (live_.empty()) {
    const SearchJob& job = jobs[*next];
    throw OutOfMemory(
        fmt::format("a sentence of {} tokens with a beam of {} and up to {} target tokens needs {} cache "
                    "positions and {} source blocks; there are {} and {}",
                    job.source.size(), options_.beam, job.limits.max, options_.beam * job.limits.max,
                    ceil_div(static_cast<int64_t>(job.source.size()), room_.cross_block), room_.positions,
                    room_.cross_blocks));
  }
  if (config_.has_encoder() && live_.size() > old) encode(std::span(live_).subspan(old));
}

// In the order they come, as many at once as the source cache could hold padded: one long sentence among many
// short ones must not ask for more memory.
void BatchSearch::encode(std::span<Sentence> fresh) {
  const int64_t most = room_.cross_blocks * room_.cross_block;
  size_t begin = 0;
  int64_t longest = 0;
  for (size_t i = 0; i < fresh.size(); ++i) {
    const auto length = static_cast<int64_t>(fresh[i].job->source.size());
    longest = std::max(longest, length);
    if (i > begin && static_cast<int64_t>(i - begin + 1) * longest > most) {
      encode_together(fresh.subspan(begin, i - begin));
      begin = i;
      longest = length;
    }
  }
  if (begin < fresh.size()) encode_together(fresh.subspan(begin));
}

void BatchSearch::encode_together(std::span<Sentence> fresh) {
  int64_t longest = 0;
  for (const Sentence& s : fresh) longest = std::max(longest, static_cast<int64_t>(s.job->source.size()));
  StepFeeds feeds{static_cast<int64_t>(fresh.size()), 0, {}, {}, {}};
  const int64_t width = ceil_div(longest, room_.cross_block);
  auto& source = feeds.int_rows("source", 0, longest);
  auto& lengths = feeds.int_rows("source_lengths", 0);
  auto& table = feeds.int_rows("cross_table", -1, width);
  for (size_t i = 0; i < fresh.size(); ++i) {
    const Sentence& s = fresh[i];
    const auto at = static_cast<int64_t>(i);
    std::copy(s.job->source.begin(), s.job->source.end(), source.begin() + at * longest);
    lengths[i] = static_cast<int32_t>(s.job->source.size());
    for (int64_t k = 0; k < s.blocks; ++k) {
      table[static_cast<size_t>(at * width + k)] = static_cast<int32_t>(s.first_block + k);
    }
  }
  sessions_.encoder->run("encode", feeds.feeds());
}

void BatchSearch::begin_epoch() {
  sentences_ = rounded(static_cast<int64_t>(live_.size()));
  launched_ = 0;
  *sessions_.epoch = (*sessions_.epoch + 1) & 0x7fffffff;
  feeds_ = std::make_unique<StepFeeds>(StepFeeds{sentences_ * options_.beam, sentences_, {}, {}, {}});
  StepFeeds& feeds = *feeds_;
  int64_t blocks = 1, prefix = 0;
  for (const Sentence& s : live_) {
    blocks = std::max(blocks, s.blocks);
    prefix = std::max(prefix, static_cast<int64_t>(s.job->prefix.size()));
  }
  blocks = rounded(blocks);
  feeds.shapes["epoch"] = {};
  feeds.ints["epoch"] = {*sessions_.epoch};
  auto& rows = feeds.int_rows("start_rows", 0);
  auto& tokens = feeds.int_rows("start_tokens", 0);
  auto& scores = feeds.float_rows("start_scores", kDead);
  for (const char* name : {"start_positions", "first_slots", "limits", "prefix_lengths", "min_length"})
    feeds.every_sentence(name, 0);
  feeds.list_of_every_sentence("prefix", std::vector<int32_t>(static_cast<size_t>(prefix), -1));
  std::vector<int32_t>*cross_table = nullptr, *cross_lengths = nullptr, *ordinals = nullptr, *draws = nullptr;
  if (config_.has_encoder()) {
    cross_table = &feeds.int_rows("cross_table", -1, blocks);
    cross_lengths = &feeds.int_rows("cross_lengths", 0);
  }
  if (options_.sampling) {
    feeds.float_rows("temperature", static_cast<float>(options_.sample.temperature));
    feeds.float_rows("top_p", static_cast<float>(options_.sample.top_p));
    feeds.int_rows("top_k", static_cast<int32_t>(options_.sample.top_k));
    feeds.int_rows("seeds", static_cast<int32_t>(options_.sample.seed));
    ordinals = &feeds.int_rows("ordinals", 0);
    draws = &feeds.int_rows("draws", 0);
  }
  feeds.shapes["repetition"] = {sentences_};
  feeds.floats["repetition"].assign(static_cast<size_t>(sentences_),
                                    static_cast<float>(options_.repetition_penalty));
  feeds.every_sentence("ngram", options_.no_repeat_ngram);
  feeds.list_of_every_sentence("ends", options_.ends);
  feeds.list_of_every_sentence("suppressed", options_.suppressed);

  for (size_t i = 0; i < live_.size(); ++i) {
    const Sentence& s = live_[i];
    const std::vector<int32_t>& begins = s.job->prefix;
    feeds.ints["start_positions"][i] = static_cast<int32_t>(s.search.position());
    feeds.ints["first_slots"][i] = static_cast<int32_t>(s.slots);
    feeds.ints["limits"][i] = static_cast<int32_t>(s.job->limits.max);
    feeds.ints["min_length"][i] = static_cast<int32_t>(s.search.min_length());
    feeds.ints["prefix_lengths"][i] = static_cast<int32_t>(begins.size());
    std::ranges::copy(begins, feeds.ints["prefix"].begin() + static_cast<int64_t>(i) * prefix);
    for (size_t place = 0; place < s.scores.size(); ++place) {
      const size_t r = i * static_cast<size_t>(options_.beam) + place;
      rows[r] = s.rows[place];
      tokens[r] = s.tokens[place];
      scores[r] = s.scores[place];
      if (config_.has_encoder()) {
        (*cross_lengths)[r] = static_cast<int32_t>(s.job->source.size());
        for (int64_t k = 0; k < s.blocks; ++k) {
          (*cross_table)[r * static_cast<size_t>(blocks) + static_cast<size_t>(k)] =
              static_cast<int32_t>(s.first_block + k);
        }
      }
      if (options_.sampling) {
        (*ordinals)[r] = s.job->ordinal;
        (*draws)[r] = s.job->draw;
      }
    }
  }
}

void BatchSearch::launch() {
  Session& session = *sessions_.stepper;
  if (!room_.cached) {
    // All sentences that go on have one length.
    const auto goes_on = std::ranges::find_if(live_, [](const Sentence& s) { return !s.done; });
    const Binding read{{"T", goes_on->search.position() + 1}};
    under_way_.push_back(session.launch(kSearchEntry, feeds_->feeds(), read));
  } else if (launched_ == 0) {
    under_way_.push_back(session.launch(kSearchEntry, feeds_->feeds()));
  } else {
    under_way_.push_back(session.launch_again());
  }
  ++launched_;
  sessions_.occupancy->all += sentences_;
}

void BatchSearch::take() {
  Session& session = *sessions_.stepper;
  session.results(under_way_.front());
  under_way_.pop_front();
  const View values = session.output("values");
  FLOE_CHECK(values.dim(1) >= 1, "a step without candidates");
  const auto line = [](const View& view, size_t i, auto type) {
    using T = decltype(type);
    const auto n = static_cast<size_t>(view.dim(1));
    return std::span<const T>(view.as<const T>() + i * n, n);
  };
  const View candidates = session.output("candidates"), parents = session.output("parents"),
             log_probs = session.output("log_probs"), picks = session.output("picks"),
             ended = session.output("ended");
  for (size_t i = 0; i < live_.size(); ++i) {
    Sentence& s = live_[i];
    if (s.done) continue;
    ++sessions_.occupancy->used;
    const SearchStep found{line(values, i, float{}),    line(candidates, i, int32_t{}),
                           line(parents, i, int32_t{}), line(log_probs, i, float{}),
                           line(picks, i, int32_t{}),   line(ended, i, int32_t{})};
    if (s.search.step(found)) {
      leave(s);
      continue;
    }
    for (size_t place = 0; place < s.rows.size(); ++place) {
      const int32_t pick = found.picks[place];
      const auto at = static_cast<size_t>(std::max(pick, 0));
      s.rows[place] = static_cast<int32_t>(i * s.rows.size()) + (pick < 0 ? 0 : found.parents[at]);
      s.tokens[place] = pick < 0 ? 0 : found.tokens[at];
      s.scores[place] = pick < 0 ? kDead : found.values[at];
    }
  }
}

// Steps under way may still write to its entries: they are given away again only when all steps are done.
void BatchSearch::leave(Sentence& sentence) {
  sentence.job->hypotheses = sentence.search.take(options_.n_best);
  sentence.done = true;
  if (room_.cached) positions_.give_back(sentence.slots, options_.beam * sentence.job->limits.max);
  blocks_.give_back(sentence.first_block, sentence.blocks);
}

}  // namespace floe
