#include "translate/batch_search.h"

#include <algorithm>
#include <limits>
#include <map>

#include "base/error.h"

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
  std::vector<int32_t> rows, tokens;  // by place: what the coming step continues and reads
  std::vector<float> scores;
  std::vector<std::vector<int32_t>> paths;  // by place, start token first; without cache only
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
      blocks_(room.cross_blocks) {}

BatchSearch::~BatchSearch() = default;

void BatchSearch::run(std::span<SearchJob> jobs) {
  if (options_.beam > room_.rows) {
    fail_user("a beam of {} needs as many rows; the engine has {}", options_.beam, room_.rows);
  }
  size_t next = 0;
  while (next < jobs.size() || !live_.empty()) {
    admit_all(jobs, &next);
    step();
  }
}

bool BatchSearch::admit(SearchJob& job) {
  if (rounded(static_cast<int64_t>(live_.size()) + 1) * options_.beam > room_.rows) return false;
  Sentence sentence{.job = &job, .search = SentenceSearch(options_, job.limits, job.prefix)};
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
  sentence.rows = {0};
  sentence.tokens = {config_.start_id};
  sentence.scores = {job.start_score};
  if (!room_.cached) sentence.paths = {{config_.start_id}};
  live_.push_back(std::move(sentence));
  return true;
}

void BatchSearch::admit_all(std::span<SearchJob> jobs, size_t* next) {
  // A few at a time would be encoded one by one; without cache all rows have one length.
  const int64_t room = room_.rows / options_.beam;
  if (!live_.empty() && (!room_.cached || static_cast<int64_t>(live_.size()) > room / 2)) return;
  const size_t old = live_.size();
  if (old == 0) width_ = 1;
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

void BatchSearch::encode(std::span<Sentence> fresh) {
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

// Everything that is not set here belongs to rows that are not alive.
void BatchSearch::fill(StepFeeds& feeds, int64_t longest_path) const {
  int64_t blocks = 1;
  for (const Sentence& s : live_) blocks = std::max(blocks, s.blocks);
  auto& positions = feeds.int_rows("positions", 0);
  auto& rows = feeds.int_rows("rows", 0);
  auto& past = feeds.int_rows("past", -1);
  auto& scores = feeds.float_rows("scores", kDead);
  auto& tokens = feeds.int_rows("tokens", config_.start_id, longest_path);
  std::vector<int32_t>*slots = nullptr, *lengths = nullptr, *newest = nullptr, *cross_table = nullptr,
  *cross_lengths = nullptr, *ordinals = nullptr, *draws = nullptr;
  if (room_.cached) {
    slots = &feeds.int_rows("slots", -1);
    lengths = &feeds.int_rows("lengths", 0);
  } else {
    newest = &feeds.int_rows("newest", 0);
  }
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
  feeds.shapes["repetition"] = {feeds.sentences};
  feeds.floats["repetition"].assign(static_cast<size_t>(feeds.sentences),
                                    static_cast<float>(options_.repetition_penalty));
  feeds.every_sentence("ngram", options_.no_repeat_ngram);
  feeds.every_sentence("min_length", 0);
  feeds.every_sentence("forced", -1);
  feeds.every_sentence("phase", 0);
  feeds.list_of_every_sentence("ends", options_.ends);
  feeds.list_of_every_sentence("suppressed", options_.suppressed);

  for (size_t i = 0; i < live_.size(); ++i) {
    const Sentence& s = live_[i];
    const auto position = static_cast<int32_t>(s.search.position());
    feeds.ints["min_length"][i] = static_cast<int32_t>(s.search.min_length());
    feeds.ints["forced"][i] = s.search.forced();
    feeds.ints["phase"][i] = s.search.phase();
    for (size_t place = 0; place < s.scores.size(); ++place) {
      if (s.scores[place] == kDead) continue;
      const size_t r = i * static_cast<size_t>(width_) + place;
      positions[r] = position;
      rows[r] = s.rows[place];
      past[r] = position - 1;
      scores[r] = s.scores[place];
      if (room_.cached) {
        tokens[r] = s.tokens[place];
        (*slots)[r] =
            static_cast<int32_t>(s.slots + static_cast<int64_t>(place) * s.job->limits.max + position);
        (*lengths)[r] = position + 1;
      } else {
        (*newest)[r] = s.tokens[place];
        std::copy(s.paths[place].begin(), s.paths[place].end(),
                  tokens.begin() + static_cast<int64_t>(r) * longest_path);
      }
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

void BatchSearch::step() {
  const int64_t sentences = rounded(static_cast<int64_t>(live_.size()));
  StepFeeds feeds{sentences * width_, sentences, {}, {}, {}};
  fill(feeds, room_.cached ? 1 : live_.front().search.position() + 1);
  Session& session = *sessions_.stepper;
  session.run(width_ == options_.beam ? "next" : "first", feeds.feeds());

  const View values = session.output("values");
  const int64_t width = values.dim(1);
  const auto line = [](const View& view, size_t i, auto type) {
    using T = decltype(type);
    const auto n = static_cast<size_t>(view.dim(1));
    return std::span<const T>(view.as<const T>() + i * n, n);
  };
  FLOE_CHECK(width >= 1, "a step without candidates");
  const View candidates = session.output("candidates"), parents = session.output("parents"),
             log_probs = session.output("log_probs"), picks = session.output("picks"),
             ended = session.output("ended");
  const auto* next_rows = session.output("next_rows").as<const int32_t>();
  const auto* next_tokens = session.output("next_tokens").as<const int32_t>();
  const auto* next_scores = session.output("next_scores").as<const float>();
  std::vector<Sentence> stay;
  for (size_t i = 0; i < live_.size(); ++i) {
    Sentence& s = live_[i];
    const bool done =
        s.search.step({line(values, i, float{}), line(candidates, i, int32_t{}), line(parents, i, int32_t{}),
                       line(log_probs, i, float{}), line(picks, i, int32_t{}), line(ended, i, int32_t{})});
    if (done) {
      s.job->hypotheses = s.search.take(options_.n_best);
      leave(s);
      continue;
    }
    const int64_t from = static_cast<int64_t>(i) * options_.beam;
    const int64_t to = from + options_.beam;
    s.rows.assign(next_rows + from, next_rows + to);
    s.tokens.assign(next_tokens + from, next_tokens + to);
    s.scores.assign(next_scores + from, next_scores + to);
    if (!room_.cached) {
      std::vector<std::vector<int32_t>> paths;
      for (size_t place = 0; place < s.rows.size(); ++place) {
        paths.push_back(s.paths[static_cast<size_t>(s.rows[place] - static_cast<int64_t>(i) * width_)]);
        paths.back().push_back(s.tokens[place]);
      }
      s.paths = std::move(paths);
    }
    stay.push_back(std::move(s));
  }
  live_ = std::move(stay);
  width_ = options_.beam;
}

void BatchSearch::leave(const Sentence& sentence) {
  if (room_.cached) positions_.give_back(sentence.slots, options_.beam * sentence.job->limits.max);
  blocks_.give_back(sentence.first_block, sentence.blocks);
}

}  // namespace floe
