#include "train/metrics.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"

namespace floe {
namespace {

constexpr double kSecondsBetweenBars = 0.1;
constexpr int kBarCells = 20;

// The text without what `keep_to` and a kill leave out.
std::string kept_lines(const std::string& text, const std::string& path, std::optional<int64_t> keep_to) {
  std::string kept;
  int64_t number = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    if (end == std::string::npos) break;
    const std::string_view line(text.data() + at, end + 1 - at);
    at = end + 1;
    ++number;
    const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object() || !json.contains("step") || !json["step"].is_number_integer()) {
      fail_user("{}:{}: this is no line of metrics with a step", path, number);
    }
    if (!keep_to.has_value() || json["step"].get<int64_t>() <= *keep_to) kept += line;
  }
  return kept;
}

}  // namespace

MetricsLog::MetricsLog(std::string path, std::optional<int64_t> keep_to) : path_(std::move(path)) {
  if (file_exists(path_)) {
    const std::string text = read_file(path_);
    const std::string kept = kept_lines(text, path_, keep_to);
    if (kept.size() != text.size()) write_file(path_, kept);
  }
  fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd_ < 0) fail_io("cannot write {}: {}", path_, std::strerror(errno));
}

MetricsLog::~MetricsLog() {
  if (fd_ >= 0) ::close(fd_);
}

void MetricsLog::write(std::string_view kind, int64_t step, MetricValues values) {
  nlohmann::ordered_json json{{"kind", kind}, {"step", step}};
  for (const auto& [name, value] : values) {
    if (std::isfinite(value)) {
      json[name] = value;
    } else {
      json[name] = std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
    }
  }
  const std::string line = json.dump() + "\n";
  ssize_t put = 0;
  do {
    put = ::write(fd_, line.data(), line.size());
  } while (put < 0 && errno == EINTR);
  if (put != static_cast<ssize_t>(line.size())) {
    const std::string why = put < 0 ? std::strerror(errno) : "the disk is full";
    // Half a line must not become the head of the next one.
    const off_t end = ::lseek(fd_, 0, SEEK_END);
    const bool undone = put <= 0 || ::ftruncate(fd_, end - put) == 0;
    fail_io("cannot write {}: {}{}", path_, why, undone ? "" : "; its last line is cut off");
  }
}

std::string duration_text(double seconds) {
  const auto s = static_cast<int64_t>(std::clamp(seconds, 0.0, 1e9));
  if (s < 60) return fmt::format("{}s", s);
  if (s < 3600) return fmt::format("{}m{:02}s", s / 60, s % 60);
  return fmt::format("{}h{:02}m", s / 3600, s / 60 % 60);
}

std::string Progress::text(const ProgressState& state) const {
  std::string out =
      fmt::format("epoch {} step {} loss {:.4f} lr {:.3g} {:.0f} tok/s {}", state.epoch, state.step,
                  state.loss, state.learning_rate, state.tokens_per_second, duration_text(state.seconds));
  if (state.done < 0) return out;
  out = fmt::format("{:3.0f}% {}", std::min(state.done, 1.0) * 100, out);
  const double progress = state.done - first_->done;  // a resumed run does not begin at 0
  const double spent = state.seconds - first_->seconds;
  if (progress > 0 && spent > 0) {
    out += fmt::format(" ETA {}", duration_text(std::max(0.0, 1 - state.done) / progress * spent));
  }
  return out;
}

void Progress::update(const ProgressState& state) {
  if (!first_.has_value()) first_ = state;
  if (!options_.terminal) {
    sink_(text(state) + "\n");
    return;
  }
  if (drawn_.has_value() && state.seconds - *drawn_ < kSecondsBetweenBars && state.done < 1) return;
  drawn_ = state.seconds;
  std::string line;
  if (state.done >= 0) {
    const int full = static_cast<int>(std::min(state.done, 1.0) * kBarCells);
    line = fmt::format("[{}{}] ", std::string(static_cast<size_t>(full), '#'),
                       std::string(static_cast<size_t>(kBarCells - full), '.'));
  }
  line += text(state);
  // A line that wraps could not be rewritten.
  const auto width = static_cast<size_t>(std::max(options_.columns - 1, 1));
  if (line.size() > width) line.resize(width);
  bar_ = "\r" + line + "\x1b[K";
  sink_(bar_);
}

void Progress::note(std::string_view line) {
  if (bar_.empty()) {
    sink_(fmt::format("{}\n", line));
  } else {
    sink_(fmt::format("\r\x1b[K{}\n{}", line, bar_));
  }
}

void Progress::finish() {
  if (!bar_.empty()) sink_("\n");
  bar_.clear();
}

}  // namespace floe
