#include "base/bytes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace floe {
namespace {

TEST(Bytes, ReadsPlainNumbersAndUnits) {
  EXPECT_EQ(parse_bytes("1"), 1u);
  EXPECT_EQ(parse_bytes("4294967297"), 4294967297u);
  EXPECT_EQ(parse_bytes("3KiB"), 3072u);
  EXPECT_EQ(parse_bytes("512 MiB"), size_t{512} << 20);
  EXPECT_EQ(parse_bytes("1.5GiB"), size_t{1536} << 20);
  EXPECT_EQ(parse_bytes("2TiB"), size_t{2} << 40);
}

TEST(Bytes, RefusesWhatIsNoAmount) {
  for (const char* text : {"", "0", "-1", "4GB", "4G", "GiB", "1.5", "4 GiB ", "4  GiB", "0GiB", "1e9", "nan",
                           "infGiB", "9999999TiB", "4gib", "0x10"}) {
    try {
      parse_bytes(text);
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::user);
      EXPECT_EQ(
          std::string(error.what()),
          fmt::format("'{}' is no amount of memory: a number of bytes above 0, or a number with KiB, MiB, "
                      "GiB or TiB",
                      text));
    }
  }
}

TEST(Bytes, AreWrittenSoThatTheyReadBackTheSame) {
  for (const size_t bytes : {size_t{1}, size_t{1000}, size_t{1} << 10, size_t{1536} << 20, size_t{4} << 30,
                             (size_t{4} << 30) + 1}) {
    EXPECT_EQ(parse_bytes(exact_bytes(bytes)), bytes);
  }
  EXPECT_EQ(exact_bytes(size_t{1536} << 20), "1536MiB");
  EXPECT_EQ(rounded_bytes(size_t{1536} << 20), "1.50 GiB");
  EXPECT_EQ(rounded_bytes(17), "17 bytes");
}

}  // namespace
}  // namespace floe
