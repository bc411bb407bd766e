#include "tensor/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/memory_file_for_test.h"
#include "base/temp_folder_for_test.h"

namespace floe {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

std::string file_bytes(std::string_view header, std::string_view data) {
  const uint64_t n = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &n, 8);
  return bytes.append(header).append(data);
}

// What opening, and then loading every tensor of, a file with these bytes is refused with.
std::string refused(const std::string& bytes) {
  const MemoryFile damaged(bytes);
  return refusal(ErrorKind::user, [&] {
    const SafetensorsFile file = SafetensorsFile::open(damaged.path());
    for (const std::string& name : file.names()) (void)file.load(name);
  });
}

std::string header_refused(const std::string& header, size_t data = 8) {
  const std::string text = refused(file_bytes(header, std::string(data, '\0')));
  EXPECT_THAT(text, testing::StartsWith("/proc/self/fd/")) << "the file is not named";
  return text;
}

TEST(Safetensors, EveryTypeAndShapeComesBackBitForBit) {
  const TempFolder folder;
  std::mt19937 engine(1);
  std::vector<Tensor> tensors;
  for (const DType type : {DType::boolean, DType::i8, DType::u8, DType::bf16, DType::f16, DType::f32,
                           DType::i32, DType::f64, DType::i64}) {
    for (const Shape& shape : {Shape{}, Shape{0}, Shape{3, 0, 2}, Shape{1}, Shape{7}, Shape{2, 3, 5}}) {
      Tensor& tensor = tensors.emplace_back(type, shape);
      for (size_t i = 0; i < tensor.bytes(); ++i) {
        tensor.as<uint8_t>()[i] = static_cast<uint8_t>(type == DType::boolean ? engine() % 2 : engine());
      }
    }
  }
  std::vector<NamedTensor> named;
  for (size_t i = 0; i < tensors.size(); ++i) {
    named.push_back({"layer/\xc3\xa9\"\n" + std::to_string(i), view_of(tensors[i])});
  }
  const TensorMetadata metadata{{"format", "1"}, {"quote\"d", "line\nbreak"}};
  write_safetensors(folder.file("a"), named, metadata);

  const SafetensorsFile file = SafetensorsFile::open(folder.file("a"));
  EXPECT_EQ(file.metadata(), metadata);
  EXPECT_EQ(file.names().size(), tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Tensor loaded = file.load(named[i].name);
    EXPECT_EQ(loaded.dtype(), tensors[i].dtype());
    EXPECT_EQ(loaded.shape(), tensors[i].shape());
    EXPECT_EQ(file.entry(named[i].name).begin % size_of(loaded.dtype()), 0u) << "a tensor is not aligned";
    EXPECT_TRUE(loaded.bytes() == 0 || std::memcmp(loaded.data(), tensors[i].data(), loaded.bytes()) == 0);
  }
}

TEST(Safetensors, AFileWithoutTensorsIsAFile) {
  const TempFolder folder;
  write_safetensors(folder.file("a"), {});
  EXPECT_TRUE(SafetensorsFile::open(folder.file("a")).names().empty());
  write_file(folder.file("b"), file_bytes("{}", ""));
  EXPECT_TRUE(SafetensorsFile::open(folder.file("b")).metadata().empty());
}

TEST(Safetensors, TheSameTensorsGiveTheSameBytes) {
  const TempFolder folder;
  const Tensor a = Tensor::from_floats({2}, {1, 2});
  const Tensor b = Tensor::from_doubles(DType::i64, {1}, {3});
  const std::vector<NamedTensor> named{{"a", view_of(a)}, {"b", view_of(b)}};
  write_safetensors(folder.file("1"), named, {{"k", "v"}});
  write_safetensors(folder.file("2"), named, {{"k", "v"}});
  EXPECT_EQ(read_file(folder.file("1")), read_file(folder.file("2")));
  const std::string bytes = read_file(folder.file("1"));
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  EXPECT_EQ((8 + header) % 64, 0u);
  EXPECT_EQ(bytes.size(), 8 + header + 16);
  EXPECT_THAT(SafetensorsFile::open(folder.file("1")).names(), ElementsAre("b", "a"))
      << "wide types come first";
}

// Written by hand from the format's description, with keys in another order than ours and spaces.
TEST(Safetensors, ReadsAFileOfAnotherWriter) {
  const TempFolder folder;
  std::string data(12, '\0');
  const float values[] = {1.5f, -2.0f};
  std::memcpy(data.data() + 4, values, 8);
  data[0] = 7;
  write_file(folder.file("a"), file_bytes(R"( {"w": {"shape": [2,1], "data_offsets": [4, 12], "dtype": "F32"},
      "__metadata__": {"format": "pt"}, "n": {"dtype": "I32", "shape": [], "data_offsets": [0, 4]}}   )",
                                          data));
  const SafetensorsFile file = SafetensorsFile::open(folder.file("a"));
  EXPECT_THAT(file.names(), ElementsAre("n", "w"));
  EXPECT_EQ(file.load("n").at(0), 7);
  EXPECT_EQ(file.load("w").at(1), -2);
  EXPECT_EQ(file.metadata().at("format"), "pt");
}

TEST(Safetensors, RefusesAFileWhoseSizesDisagree) {
  EXPECT_THAT(refused(""), HasSubstr("0 bytes are too few"));
  EXPECT_THAT(refused("1234567"), HasSubstr("7 bytes are too few"));
  EXPECT_THAT(refused(std::string(8, '\xff')), HasSubstr("a header of 18446744073709551615 bytes"));
  const std::string good =
      file_bytes(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", std::string(8, 'x'));
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_NE(refused(good.substr(0, size)), "nothing was refused") << size;
  }
  EXPECT_THAT(refused(good.substr(0, good.size() - 1)),
              AllOf(HasSubstr("tensor 'a'"), HasSubstr("data_offsets [0, 8], outside the 7 bytes")));
  EXPECT_THAT(refused(good + "x"), HasSubstr("the tensors end after 8 bytes, but 9 bytes of data are there"));
}

TEST(Safetensors, RefusesEachDamagedFieldAndNamesTheTensor) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", "tensor 'a' has data_offsets [8, 0]"},
      {R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})",
       "tensor 'a' of shape [3] and type F32 does not fill its 8"},
      {R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})",
       "does not fill its 0 bytes"},
      {R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8]}})", "tensor 'a' of shape"},
      {R"({"a":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}})",
       "tensor 'a' has element type 'F8_E4M3'"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
       "tensor 'a' begins at byte 4 of the data, not at 0"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"I8","shape":[5],"data_offsets":[3,8]}})",
       "tensor 'b' begins at byte 3 of the data, not at 4"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "end after 4 bytes"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
       "'a' stands twice"},
      {R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
       "tensor 'a': 'dtype' stands twice"},
      {R"({"a":{"dtype":"F32","shape":[2]}})", "tensor 'a' lacks"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}})",
       "tensor 'a': data_offsets are not two numbers"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}})",
       "tensor 'a' has an unknown field 'x'"},
      {R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", "'a': 'shape' holds a negative number"},
      {R"({"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})", "'a': 'shape' holds a fraction"},
      {R"({"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,8]}})", "too large a number"},
      {R"({"a":{"dtype":"F32","shape":[[2]],"data_offsets":[0,8]}})", "'a': 'shape' holds a list"},
      {R"({"a":{"dtype":4,"shape":[2],"data_offsets":[0,8]}})", "'a': 'dtype' holds a number"},
      {R"({"a":{"dtype":{},"shape":[2],"data_offsets":[0,8]}})", "'a': 'dtype' holds an object"},
      {R"({"a":{"dtype":"F32","shape":"2","data_offsets":[0,8]}})", "'a': 'shape' holds a text"},
      {R"({"a":{"dtype":"F32","shape":null,"data_offsets":[0,8]}})", "'a': 'shape' holds null"},
      {R"({"a":3})", "'a' is a number, not an object"},
      {R"({"__metadata__":{"k":3}})", "'__metadata__': 'k' holds a number"},
      {R"({"__metadata__":{"k":"1","k":"2"}})", "metadata 'k' stands twice"},
      {R"([1])", "the header is a list, not an object"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})", "the header is not JSON at byte"},
      {"{\"\xff\":{}}", "the header is not JSON at byte"},
      {"", "the header is not JSON"},
  };
  for (const auto& [header, message] : cases)
    EXPECT_THAT(header_refused(header), HasSubstr(message)) << header;
}

TEST(Safetensors, ADeepHeaderDoesNotExhaustTheStack) {
  EXPECT_THAT(header_refused(std::string(2'000'000, '[')), HasSubstr("not an object"));
  EXPECT_THAT(header_refused("{\"a\":" + std::string(2'000'000, '{')), HasSubstr("header is not JSON"));
}

TEST(Safetensors, RefusesABoolThatIsNeitherTrueNorFalse) {
  EXPECT_THAT(refused(file_bytes(R"({"m":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}})", "\x01\x02")),
              HasSubstr("tensor 'm' of type BOOL"));
}

TEST(Safetensors, RandomDamageIsRefusedOrGivesTensorsOfTheFilesSize) {
  const TempFolder folder;
  const Tensor a = Tensor::from_floats({3, 4}, std::vector<float>(12, 1));
  const Tensor b = Tensor::from_ints({5}, {1, 2, 3, 4, 5});
  const std::vector<NamedTensor> named{{"weight.a", view_of(a)}, {"b", view_of(b)}};
  write_safetensors(folder.file("good"), named, {{"key", "value"}});
  const std::string good = read_file(folder.file("good"));
  std::mt19937 engine(9);
  int refusals = 0;
  for (int round = 0; round < 3'000; ++round) {
    std::string bytes = good;
    for (unsigned n = engine() % 4 + 1; n > 0; --n) {
      bytes[engine() % (bytes.size() - 68)] = static_cast<char>(engine());
    }
    const MemoryFile damaged(bytes);
    const std::string path = damaged.path();
    try {
      const SafetensorsFile file = SafetensorsFile::open(path);
      size_t total = 0;
      for (const std::string& name : file.names()) total += file.load(name).bytes();
      EXPECT_LE(total, good.size());
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::user);
      EXPECT_THAT(error.what(), HasSubstr(path));
      ++refusals;
    }
  }
  EXPECT_GT(refusals, 1'000);
}

TEST(Safetensors, MissingTensorsFilesAndFoldersAreNamed) {
  const TempFolder folder;
  EXPECT_THAT(refusal(ErrorKind::io, [&] { SafetensorsFile::open(folder.file("none")); }),
              HasSubstr(folder.file("none")));
  EXPECT_THAT(refusal(ErrorKind::io, [&] { SafetensorsFile::open(folder.path()); }),
              HasSubstr("not a plain file"));
  const Tensor a = Tensor::scalar(1);
  const std::vector<NamedTensor> named{{"a", view_of(a)}};
  write_safetensors(folder.file("a"), named);
  const SafetensorsFile file = SafetensorsFile::open(folder.file("a"));
  EXPECT_FALSE(file.has("b"));
  EXPECT_THAT(refusal(ErrorKind::user, [&] { (void)file.load("b"); }),
              AllOf(HasSubstr(folder.file("a")), HasSubstr("there is no tensor 'b'")));
  ASSERT_EQ(::truncate(folder.file("a").c_str(), 66), 0);
  EXPECT_THAT(refusal(ErrorKind::io, [&] { (void)file.load("a"); }), HasSubstr("become shorter"));
}

TEST(Safetensors, TheWriterRefusesNamesThatCouldNotBeReadBack) {
  const TempFolder folder;
  const Tensor a = Tensor::scalar(1);
  const auto write = [&](std::vector<NamedTensor> named, const TensorMetadata& metadata = {}) {
    return refusal(ErrorKind::user, [&] { write_safetensors(folder.file("a"), named, metadata); });
  };
  EXPECT_THAT(write({{"a", view_of(a)}, {"a", view_of(a)}}), HasSubstr("two tensors are named 'a'"));
  EXPECT_THAT(write({{"__metadata__", view_of(a)}}), HasSubstr("cannot be named '__metadata__'"));
  EXPECT_THAT(write({{"\xff", view_of(a)}}), HasSubstr("not UTF-8"));
  EXPECT_THAT(write({}, {{"k", "\xff"}}), HasSubstr("not UTF-8"));
  EXPECT_EQ(folder.entries(), 0);
  View gaps = view_of(a);
  gaps.rank = 1;
  gaps.dims[0] = 2;
  gaps.strides[0] = 5;
  EXPECT_THAT(refusal(ErrorKind::bug,
                      [&] { write_safetensors(folder.file("a"), std::vector<NamedTensor>{{"g", gaps}}); }),
              HasSubstr("'g' is written with gaps"));
}

TEST(Safetensors, AMovedFileKeepsReading) {
  const TempFolder folder;
  const Tensor a = Tensor::scalar(3);
  const std::vector<NamedTensor> named{{"a", view_of(a)}};
  write_safetensors(folder.file("a"), named);
  SafetensorsFile first = SafetensorsFile::open(folder.file("a"));
  SafetensorsFile second = std::move(first);
  EXPECT_EQ(second.load("a").at(0), 3);
  second = SafetensorsFile::open(folder.file("a"));
  EXPECT_EQ(second.load("a").at(0), 3);
}

}  // namespace
}  // namespace floe
