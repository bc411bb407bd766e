// What a training run tells: a file of JSON lines, and a line of progress for whoever watches. Time is handed
// in.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace floe {

using MetricValues = std::span<const std::pair<std::string, double>>;

// One JSON object a line: {"kind":"train","step":120,"loss":3.25,...}. Each line is written by one call and
// is in the file when write() returns. Numbers come back bit for bit; NaN and infinities are written as
// words.
class MetricsLog {
 public:
  // Appends. A line that a kill cut off is dropped, and with `keep_to` every line of a later step, so that a
  // run which was resumed leaves the file of one that was not. Throws Error{io}; Error{user} naming file and
  // line for a line that is no such object.
  explicit MetricsLog(std::string path, std::optional<int64_t> keep_to = {});
  ~MetricsLog();
  MetricsLog(const MetricsLog&) = delete;
  MetricsLog& operator=(const MetricsLog&) = delete;

  void write(std::string_view kind, int64_t step, MetricValues values);  // throws Error{io}

 private:
  std::string path_;
  int fd_ = -1;
};

struct ProgressState {
  int64_t step = 0;
  uint64_t epoch = 1;
  double done = 0;  // of the whole run, 0..1; negative when there is no end to count to
  double loss = 0;  // per target token
  double learning_rate = 0;
  double tokens_per_second = 0;
  double seconds = 0;  // since this process began to train
};

// On a terminal a bar that is rewritten in place, at most ten times a second; elsewhere plain lines.
class Progress {
 public:
  using Sink = std::function<void(std::string_view)>;
  struct Options {
    bool terminal = false;
    int columns = 80;  // of the terminal
  };
  Progress(Sink sink, Options options) : sink_(std::move(sink)), options_(options) {}

  void update(const ProgressState& state);
  void note(std::string_view line);  // a line of its own, above the bar
  void finish();                     // leaves the bar standing

 private:
  std::string text(const ProgressState& state) const;

  Sink sink_;
  Options options_;
  std::optional<ProgressState> first_;  // rates and the end are judged from here
  std::optional<double> drawn_;         // seconds at which the bar was drawn last
  std::string bar_;
};

std::string duration_text(double seconds);  // "42s", "3m05s", "2h07m"

}  // namespace floe
