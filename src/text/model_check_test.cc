#include "text/model_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/error.h"
#include "text/temp_files_for_test.h"
#include "text/tokenizer.h"
#include "text/tokenizer_train.h"

namespace floe {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

using std::string_literals::operator""s;

std::string varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out + static_cast<char>(value);
}

std::string field(int number, const std::string& bytes) {
  return varint(static_cast<uint64_t>(number) << 3 | 2) + varint(bytes.size()) + bytes;
}

enum Type { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4 };

std::string piece(const std::string& text, Type type = kNormal, float score = -1.0f) {
  std::string bytes(sizeof score, '\0');
  std::memcpy(bytes.data(), &score, sizeof score);
  return field(1, field(1, text) + "\x15" + bytes + "\x18" + varint(type));
}

// A normaliser with the given double array and replacements.
std::string normalizer(const std::vector<uint32_t>& units, const std::string& replacements) {
  const auto bytes = [](uint32_t number) {
    return std::string(reinterpret_cast<const char*>(&number), sizeof number);
  };
  std::string blob = bytes(static_cast<uint32_t>(units.size() * sizeof(uint32_t)));
  for (const uint32_t unit : units) blob += bytes(unit);
  return field(3, field(2, blob + replacements));
}

const std::string kBase = piece("<unk>", kUnknown) + piece("\u2581") + piece("a");

std::string refused(const std::string& model) {
  return refusal([&] { Tokenizer::from_bytes(model, "m"); });
}

std::string no_model(const std::string& why) { return "m is not a usable SentencePiece model: " + why; }

// The trie of one rule: byte 'A' becomes the replacement at `value`.
std::vector<uint32_t> one_rule(uint32_t value) {
  std::vector<uint32_t> units(1024, 0x80000000u);
  units[0] = 256 << 10;                          // its steps go to 256 ^ byte
  units[256 ^ 'A'] = (512 << 10) | 0x100 | 'A';  // its leaf lies at 256 ^ 'A' ^ 512
  units[256 ^ 'A' ^ 512] = 0x80000000u | value;
  return units;
}

TEST(ModelCheck, TakesASoundModelWrittenByHand) {
  const auto t = Tokenizer::from_bytes(kBase + normalizer(one_rule(0), "a\0"s), "m");
  EXPECT_EQ(t.encode("a"), t.encode("A"));
  EXPECT_EQ(3, t.size());
  EXPECT_EQ(-1, t.pad_id());
}

TEST(ModelCheck, RefusesNormalisationRulesThatLeaveTheirArray) {
  EXPECT_EQ(no_model("a normalisation rule has no replacement"),
            refused(kBase + normalizer(one_rule(2), "a\0"s)));
  EXPECT_EQ(no_model("its normalisation rule is incomplete"), refused(kBase + normalizer(one_rule(0), "a")));
  EXPECT_EQ(no_model("its normalisation rule is incomplete"), refused(kBase + normalizer({}, "a\0"s)));
  auto units = one_rule(0);
  units[0] = 1024 << 10;
  EXPECT_EQ(no_model("its normalisation rule points outside itself"),
            refused(kBase + normalizer(units, "a\0"s)));
  units = one_rule(0);
  units.resize(700);
  EXPECT_EQ(no_model("its normalisation rule points outside itself"),
            refused(kBase + normalizer(units, "a\0"s)));
  EXPECT_EQ(no_model("its normalisation rule has a wrong size"),
            refused(kBase + field(3, field(2, "\xFF\xFF\xFF\x7F rest"))));
  EXPECT_EQ(no_model("its normalisation rule is cut short"), refused(kBase + field(3, field(2, "abc"))));
}

TEST(ModelCheck, RefusesNormalisationRulesInACircleOrTooDeep) {
  auto units = one_rule(0);
  units[256 ^ 'A'] = (('A') << 10) | 'A';  // its steps go to 256 again, where it lies itself
  EXPECT_EQ(no_model("its normalisation rule runs in a circle"), refused(kBase + normalizer(units, "a\0"s)));

  // A, AA, AAA, ... each a rule of its own.
  const auto chain = [](uint32_t depth) {
    std::vector<uint32_t> tower((depth + 2) * 256, 0x80000000u);
    uint32_t at = 0;
    for (uint32_t k = 1; k <= depth + 1; ++k) {
      const uint32_t base = k * 256;
      tower[at] = ((at ^ base) << 10) | (at == 0 ? 0 : 0x100 | 'A');
      at = base ^ 'A';
      tower[base] = 0x80000000u;
      tower[at] = k <= depth ? 'A' : 0x80000000u;
    }
    return tower;
  };
  const auto t = Tokenizer::from_bytes(kBase + normalizer(chain(32), "a\0"s), "m");
  EXPECT_EQ(t.encode("a"), t.encode(std::string(32, 'A')));
  EXPECT_EQ(no_model("its normalisation rules are nested too deep"),
            refused(kBase + normalizer(chain(33), "a\0"s)));
}

TEST(ModelCheck, RefusesTooManySymbolsThatBeginAlike) {
  std::string model = kBase;
  for (size_t k = 1; k <= 64; ++k) model += piece(std::string(k, 'x'), kUserDefined);
  const auto t = Tokenizer::from_bytes(model, "m");
  EXPECT_EQ(t.id(std::string(64, 'x')), t.encode(std::string(64, 'x')).back());
  EXPECT_EQ(no_model("too many user-defined symbols begin alike"),
            refused(model + piece(std::string(65, 'x'), kUserDefined)));
}

TEST(ModelCheck, RefusesUnusablePieces) {
  EXPECT_EQ(no_model("a piece is empty"), refused(kBase + piece("")));
  EXPECT_EQ(no_model("a piece holds a NUL byte"), refused(kBase + piece("a\0b"s)));
  EXPECT_EQ(no_model("a piece is not valid UTF-8"), refused(kBase + piece("\xFF")));
  EXPECT_EQ(no_model("a piece's score is not a number"), refused(kBase + piece("b", kNormal, NAN)));
  EXPECT_EQ(no_model("a is already defined."), refused(kBase + piece("a")));
  EXPECT_EQ(no_model("unk is not defined."), refused(piece("a")));
}

TEST(ModelCheck, RefusesBrokenFraming) {
  EXPECT_EQ(no_model("it is empty"), refused(""));
  EXPECT_EQ(no_model("it has no pieces"), refused(field(3, "")));
  EXPECT_EQ(no_model("a number is longer than 10 bytes"), refused(std::string(11, '\xFF')));
  EXPECT_EQ(no_model("a field has an unknown wire type"), refused("\x0B"));
  EXPECT_EQ(no_model("a field has no valid number"), refused("\x02"));
  EXPECT_EQ(no_model("a part of it is no message"), refused("\x08\x01"));
  EXPECT_EQ(no_model("a part of it is given twice"), refused(kBase + field(3, "") + field(3, "")));
  EXPECT_EQ(no_model("it ends early or a length inside is wrong"), refused("\x0A\x7F"));
  EXPECT_THAT(refused("The quick brown fox jumps over the lazy dog."), StartsWith("m is not a usable"));
  try {
    Tokenizer::from_bytes("", "m");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(ErrorKind::user, error.kind());
  }
}

std::string real_model() {
  std::vector<std::string> lines;
  for (int k = 0; k < 40; ++k) lines.push_back(fmt::format("line {} of {} in a small text", k, 7 * k));
  return train_tokenizer({.lines = lines, .vocabulary_size = 30, .user_symbols = {"<x>"}});
}

// Row 14's demand for the one binary file that this room reads.
TEST(ModelCheck, RefusesATruncatedModelOrLoadsAWholeOne) {
  const std::string model = real_model();
  // The pieces end where the specs begin; every cut there, and a sample of cuts inside of the large
  // normaliser.
  for (size_t size = 0; size < model.size(); size += size < 3000 ? 1 : 997) {
    const std::string message = refused(model.substr(0, size));
    // A cut between two pieces leaves a shorter model that is sound.
    if (message != "nothing was refused") {
      ASSERT_THAT(message, StartsWith("m is not a usable SentencePiece model: ")) << size;
    }
  }
  EXPECT_THAT(refused(model.substr(0, model.size() - 1)), HasSubstr("ends early"));
}

TEST(ModelCheck, SurvivesDamagedModels) {
  const std::string model = real_model();
  uint64_t state = 3;
  const auto draw = [&](uint64_t below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % below;
  };
  int refused_count = 0;
  for (int round = 0; round < 300; ++round) {
    std::string bad = model;
    for (uint64_t k = 0; k <= draw(4); ++k) {
      // Half of the hits go to the pieces, half anywhere.
      bad[draw(2) == 0 ? draw(1200) : draw(bad.size())] = static_cast<char>(draw(256));
    }
    try {
      const auto t = Tokenizer::from_bytes(bad, "m");
      const auto ids = t.encode("a Line 7 of \uFF21\u00BD <x> \u4f60 in text");
      t.decode(ids);
      t.encode_sampled("a line of text", {.seed = 1});
    } catch (const Error& error) {
      ++refused_count;
    }
  }
  EXPECT_GT(refused_count, 0);
}

}  // namespace
}  // namespace floe
