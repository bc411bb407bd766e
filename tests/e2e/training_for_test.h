// Runs of `floe train` on made-up text, in a folder of their own: the options, the process, what it leaves.
#pragma once
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/file.h"
#include "tensor/safetensors.h"
#include "text/counter_random.h"
#include "text/temp_files_for_test.h"

namespace floe {

struct Outcome {
  int code = 0;    // -1 when a signal ended the program
  int signal = 0;  // that did
  std::string out, err;
};

struct Conditions {
  std::function<bool()> send_when;  // looked at again and again while the program runs
  int send = SIGKILL;               // what is sent then, once
  rlim_t file_size = RLIM_INFINITY;
};

class Training : public testing::Test {
 protected:
  using Flags = std::map<std::string, std::string>;  // --KEY VALUE; a value may be several words

  Training() {
    write_text("train", 240, 1);
    write_text("dev", 12, 2);
  }

  // Sentences of 2 to 6 number words; the target has their counterparts in the same order.
  void write_text(const std::string& name, int lines, uint64_t seed) const {
    const char* words[][2] = {{"one", "eins"},  {"two", "zwei"},  {"three", "drei"}, {"four", "vier"},
                              {"five", "fünf"}, {"six", "sechs"}, {"red", "rot"},    {"green", "grün"},
                              {"blue", "blau"}, {"house", "haus"}};
    std::string sides[2];
    uint64_t drawn = 0;
    const auto draw = [&](uint64_t n) { return counter_random({.seed = seed}, drawn++) % n; };
    for (int line = 0; line < lines; ++line) {
      const uint64_t length = 2 + draw(5);
      for (uint64_t k = 0; k < length; ++k) {
        const auto& word = words[draw(std::size(words))];
        for (int side = 0; side < 2; ++side) sides[side] += std::string(k > 0 ? " " : "") + word[side];
      }
      for (std::string& side : sides) side += "\n";
    }
    files_.write(name + ".src", sides[0]);
    files_.write(name + ".tgt", sides[1]);
  }

  std::string path(const std::string& name) const { return files_.path(name); }

  // A run of a small model: what `more` leaves open.
  Flags flags(const std::string& run, const Flags& more = {}) const {
    Flags all = {{"train-source", path("train.src")},
                 {"train-target", path("train.tgt")},
                 {"valid-source", path("dev.src")},
                 {"valid-target", path("dev.tgt")},
                 {"vocabulary-size", "44"},
                 {"d-model", "16"},
                 {"encoder-layers", "1"},
                 {"decoder-layers", "1"},
                 {"heads", "2"},
                 {"kv-heads", "2"},
                 {"d-ff", "32"},
                 {"max-positions", "32"},
                 {"batch-tokens", "512"},
                 {"max-length", "24"},
                 {"learning-rate", "0.01"},
                 {"warmup", "10"},
                 {"validate-every", "20"},
                 {"metrics", "bleu cross_entropy"},
                 {"save-every", "10"},
                 {"max-updates", "40"},
                 {"log-every", "1"},
                 {"output", path(run)}};
    for (const auto& [name, value] : more) all[name] = value;
    return all;
  }

  Outcome train(const Flags& flags, const Conditions& conditions = {}) const {
    std::vector<std::string> words = {"train"};
    for (const auto& [name, value] : flags) {
      words.push_back("--" + name);
      for (size_t begin = 0; begin <= value.size();) {
        const size_t end = std::min(value.find(' ', begin), value.size());
        words.push_back(value.substr(begin, end - begin));
        begin = end + 1;
      }
    }
    return floe(words, conditions);
  }

  Outcome floe(const std::vector<std::string>& words, const Conditions& conditions = {}) const {
    std::vector<char*> argv = {const_cast<char*>(FLOE_PROGRAM)};
    for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    const std::string out = path("stdout"), err = path("stderr");
    const pid_t child = ::fork();
    if (child == 0) {
      const auto onto = [](const std::string& file, int descriptor) {
        ::dup2(::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), descriptor);
      };
      onto(out, STDOUT_FILENO);
      onto(err, STDERR_FILENO);
      const rlimit limit{conditions.file_size, RLIM_INFINITY};
      ::setrlimit(RLIMIT_FSIZE, &limit);
      ::execv(FLOE_PROGRAM, argv.data());
      ::_exit(127);
    }
    int status = 0;
    bool sent = !conditions.send_when;
    while (!sent && ::waitpid(child, &status, WNOHANG) == 0) {
      if (conditions.send_when()) {
        ::kill(child, conditions.send);
        sent = true;
      }
    }
    EXPECT_TRUE(sent) << "it ended before the signal: " << read_file(err);
    if (sent) ::waitpid(child, &status, 0);
    Outcome outcome{.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1,
                    .signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0,
                    .out = read_file(out),
                    .err = read_file(err)};
    return outcome;
  }

  // Refused with exit code 1; the last line says why.
  void expect_refusal(const Outcome& outcome, const testing::Matcher<std::string>& message) const {
    EXPECT_EQ(outcome.code, 1) << outcome.err;
    const size_t begin = outcome.err.rfind("floe: ");
    ASSERT_NE(begin, std::string::npos) << outcome.err;
    EXPECT_THAT(outcome.err.substr(begin), message);
  }

  // Lines of RUN/metrics.jsonl of one kind.
  std::vector<nlohmann::json> metrics(const std::string& run, const std::string& kind) const {
    std::vector<nlohmann::json> rows;
    const std::string text = read_file(path(run) + "/metrics.jsonl");
    for (size_t begin = 0; begin < text.size(); begin = text.find('\n', begin) + 1) {
      auto row = nlohmann::json::parse(text.substr(begin, text.find('\n', begin) - begin));
      if (row["kind"] == kind) rows.push_back(std::move(row));
    }
    return rows;
  }
  int64_t metric_lines(const std::string& run) const {
    const std::string file = path(run) + "/metrics.jsonl";
    if (!file_exists(file)) return 0;
    const std::string text = read_file(file);
    return std::count(text.begin(), text.end(), '\n');
  }
  bool has(const std::string& file) const { return file_exists(path(file)); }
  std::string bytes(const std::string& file) const { return read_file(path(file)); }

  std::vector<std::string> names_in(const std::string& run, const std::string& prefix) const {
    std::vector<std::string> names;
    std::error_code gone;
    for (std::filesystem::directory_iterator at(path(run), gone), end; !gone && at != end;
         at.increment(gone)) {
      const std::string name = at->path().filename().string();
      if (name.starts_with(prefix)) names.push_back(name);
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  void expect_same_tensors(const std::string& a, const std::string& b) const {
    const SafetensorsFile one = SafetensorsFile::open(path(a)), other = SafetensorsFile::open(path(b));
    ASSERT_EQ(one.names(), other.names());
    for (const std::string& name : one.names()) {
      const Tensor left = one.load(name), right = other.load(name);
      ASSERT_EQ(left.shape(), right.shape()) << name;
      EXPECT_EQ(std::memcmp(left.data(), right.data(), left.bytes()), 0) << name;
    }
  }

  // Everything but times: metrics, the models, the checkpoints and what is in them, the links.
  void expect_same_run(const std::string& a, const std::string& b) const {
    EXPECT_EQ(bytes(a + "/metrics.jsonl"), bytes(b + "/metrics.jsonl"));
    for (const char* file : {"/best/model.safetensors", "/best/config.json", "/model/model.safetensors",
                             "/model/config.json", "/tokenizer.model"}) {
      EXPECT_EQ(has(a + file), has(b + file)) << file;
      if (!has(a + file)) continue;  // no validation, no best one
      EXPECT_TRUE(bytes(a + file) == bytes(b + file)) << file;
    }
    ASSERT_EQ(names_in(a, ""), names_in(b, ""));
    for (const std::string& name : names_in(a, "checkpoint-")) {
      expect_same_tensors(a + "/" + name + "/model.safetensors", b + "/" + name + "/model.safetensors");
      expect_same_tensors(a + "/" + name + "/trainer.safetensors", b + "/" + name + "/trainer.safetensors");
    }
    for (const std::string& name : names_in(a, "best-")) {
      EXPECT_EQ(std::filesystem::read_symlink(path(a + "/" + name)),
                std::filesystem::read_symlink(path(b + "/" + name)));
    }
  }

  TempFiles files_;
};

}  // namespace floe
