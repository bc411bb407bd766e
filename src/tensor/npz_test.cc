#include "tensor/npz.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zip.h>

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
using testing::HasSubstr;

// A .npy file of any version with any dict, as another writer might make it.
std::string npy(const std::string& dict, const std::string& data, int version = 1) {
  std::string bytes = "\x93NUMPY";
  bytes += static_cast<char>(version);
  bytes += '\0';
  const uint32_t size = static_cast<uint32_t>(dict.size());
  for (int i = 0; i < (version == 1 ? 2 : 4); ++i) bytes += static_cast<char>(size >> (8 * i) & 0xff);
  return bytes + dict + data;
}

void write_zip(const std::string& path, const std::vector<std::pair<std::string, std::string>>& files,
               zip_int32_t method = ZIP_CM_DEFLATE) {
  zip_t* zip = zip_open(path.c_str(), ZIP_CREATE | ZIP_TRUNCATE, nullptr);
  for (const auto& [name, bytes] : files) {
    const zip_int64_t index =
        zip_file_add(zip, name.c_str(), zip_source_buffer(zip, bytes.data(), bytes.size(), 0), 0);
    zip_set_file_compression(zip, static_cast<zip_uint64_t>(index), method, 0);
  }
  ASSERT_EQ(zip_close(zip), 0);
}

std::string refused(const TempFolder& folder, const std::string& npy_bytes) {
  write_zip(folder.file("x.npz"), {{"a.npy", npy_bytes}});
  const std::string text =
      refusal(ErrorKind::user, [&] { (void)NpzFile::open(folder.file("x.npz")).load("a"); });
  EXPECT_THAT(text, AllOf(HasSubstr(folder.file("x.npz")), HasSubstr("array 'a'")));
  return text;
}

TEST(Npz, EveryTypeAndShapeComesBackStoredAndDeflated) {
  const TempFolder folder;
  std::mt19937 engine(1);
  std::vector<Tensor> tensors;
  for (const DType type :
       {DType::boolean, DType::i8, DType::u8, DType::f16, DType::f32, DType::i32, DType::f64, DType::i64}) {
    for (const Shape& shape : {Shape{}, Shape{0}, Shape{3, 0}, Shape{7}, Shape{2, 3, 5}, Shape{1000}}) {
      Tensor& tensor = tensors.emplace_back(type, shape);
      for (size_t i = 0; i < tensor.bytes(); ++i)
        tensor.as<uint8_t>()[i] = static_cast<uint8_t>(engine() % 2);
    }
  }
  std::vector<NamedTensor> named;
  for (size_t i = 0; i < tensors.size(); ++i)
    named.push_back({"sub/\xc3\xa9" + std::to_string(i), view_of(tensors[i])});
  for (const NpzCompression compression : {NpzCompression::stored, NpzCompression::deflated}) {
    write_npz(folder.file("a.npz"), named, compression);
    const NpzFile file = NpzFile::open(folder.file("a.npz"));
    ASSERT_EQ(file.names().size(), tensors.size());
    for (size_t i = 0; i < tensors.size(); ++i) {
      EXPECT_EQ(file.names()[i], named[i].name);
      const Tensor loaded = file.load(named[i].name);
      EXPECT_EQ(loaded.dtype(), tensors[i].dtype());
      EXPECT_EQ(loaded.shape(), tensors[i].shape());
      EXPECT_TRUE(loaded.bytes() == 0 || std::memcmp(loaded.data(), tensors[i].data(), loaded.bytes()) == 0);
    }
  }
  EXPECT_EQ(folder.entries(), 1);
}

TEST(Npz, TheSameArraysGiveTheSameBytes) {
  const TempFolder folder;
  const Tensor a = Tensor::from_floats({2}, {1, 2});
  const std::vector<NamedTensor> named{{"a", view_of(a)}};
  write_npz(folder.file("1"), named);
  write_npz(folder.file("2"), named);
  EXPECT_EQ(read_file(folder.file("1")), read_file(folder.file("2")));
}

TEST(Npz, ReadsAllHeaderVersionsAndTurnsColumnMajorArrays) {
  const TempFolder folder;
  const int32_t columns[] = {1, 4, 2, 5, 3, 6};  // [[1, 2, 3], [4, 5, 6]]
  const std::string data(reinterpret_cast<const char*>(columns), sizeof columns);
  for (const int version : {1, 2, 3}) {
    write_zip(folder.file("a.npz"),
              {{"m.npy", npy("{'descr': '<i4', 'fortran_order': True, 'shape': (2, 3), } \n", data, version)},
               {"v.npy", npy("{\"shape\":(6,),\"descr\":\"<i4\",\"fortran_order\":False}", data, version)},
               {"b.npy", npy("{'descr': '<i1', 'fortran_order': True, 'shape': ()}", "\x05", version)}});
    const NpzFile file = NpzFile::open(folder.file("a.npz"));
    const Tensor matrix = file.load("m");
    EXPECT_EQ(matrix.shape(), (Shape{2, 3}));
    for (int i = 0; i < 6; ++i) EXPECT_EQ(matrix.at(i), i + 1);
    EXPECT_EQ(file.load("v").at(1), 4);
    EXPECT_EQ(file.load("b").at(0), 5);
  }
}

TEST(Npz, RefusesWhatNumPyHasAndWeDoNot) {
  const TempFolder folder;
  const auto typed = [&](const char* descr) {
    return refused(folder, npy(fmt::format("{{'descr': {}, 'fortran_order': False, 'shape': (1,)}}", descr),
                               "12345678"));
  };
  EXPECT_THAT(typed("'>f8'"), HasSubstr("type '>f8' are not supported"));
  EXPECT_THAT(typed("'<c8'"), HasSubstr("type '<c8' are not supported"));
  EXPECT_THAT(typed("'|O'"), HasSubstr("type '|O' are not supported"));
  EXPECT_THAT(typed("[('x', '<f4')]"), HasSubstr("structured arrays"));
}

TEST(Npz, RefusesDamagedHeads) {
  const TempFolder folder;
  const std::string data(8, '\0');
  const std::pair<std::string, const char*> cases[] = {
      {"", "not a .npy file"},
      {"\x93NUMPX\x01 123456789", "not a .npy file"},
      {npy("{}", data, 4), "version 4"},
      {std::string("\x93NUMPY\x02\x00\xff\xff\xff\xff", 12) + data, "is too long"},
      {std::string("\x93NUMPY\x01\x00\xff\x7f", 10) + data, "head is cut off"},
      {std::string("\x93NUMPY\x01\x00\x00\x00", 10) + data, "head is cut off"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}", data),
       "shape [3] does not fill the 8 bytes"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4)}", data),
       "does not fill the 8"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", data),
       "does not fit 64 bits"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}", data), "a size expected"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2", data), ") expected"},
      {npy("{'descr': '<f4', 'fortran_order': maybe, 'shape': (2,)}", data), "True or False expected"},
      {npy("{'descr': '<f4', 'shape': (2,)}          ", data), "lacks descr"},
      {npy("{'descr': '<f4', 'descr': '<f4', 'shape': (2,)}", data), "'descr' stands twice"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1}", data), "unknown field 'x'"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} x", data), "the end expected"},
      {npy("{'descr                                                       ", data),
       "a text that ends expected"},
      {npy("{'descr': '|b1', 'fortran_order': False, 'shape': (1,)}", "\x02"), "neither 0 nor 1"},
      {npy(
           "{'descr': '|u1', 'fortran_order': False, 'shape': (" +
               [] {
                 std::string ones;
                 for (int i = 0; i < 65; ++i) ones += "1,";
                 return ones;
               }() +
               ")}",
           "x"),
       "more than 64 dims"},
  };
  for (const auto& [bytes, message] : cases) EXPECT_THAT(refused(folder, bytes), HasSubstr(message)) << bytes;
}

TEST(Npz, ASmallArchiveThatUnpacksToMuchIsRefusedBeforeMemoryIsTaken) {
  const TempFolder folder;
  const std::string zeros(4 << 20, '\0');
  write_zip(
      folder.file("a.npz"),
      {{"a.npy", npy(fmt::format("{{'descr': '|u1', 'fortran_order': False, 'shape': ({},)}}", zeros.size()),
                     zeros)}});
  EXPECT_LT(read_file(folder.file("a.npz")).size(), 10'000u);
  EXPECT_EQ(NpzFile::open(folder.file("a.npz")).load("a").size(), 4 << 20);
  EXPECT_THAT(refusal(ErrorKind::user, [&] { (void)NpzFile::open(folder.file("a.npz"), 1 << 20).load("a"); }),
              HasSubstr("4194304 bytes are more than the 1048576 allowed"));
}

TEST(Npz, RandomDamageIsRefusedByNameOrRead) {
  const TempFolder folder;
  const Tensor a = Tensor::from_floats({3, 40}, std::vector<float>(120, 1));
  const std::vector<NamedTensor> named{{"a", view_of(a)}, {"b", view_of(a)}};
  for (const NpzCompression compression : {NpzCompression::stored, NpzCompression::deflated}) {
    write_npz(folder.file("good"), named, compression);
    const std::string good = read_file(folder.file("good"));
    std::mt19937 engine(9);
    int refusals = 0;
    for (int round = 0; round < 2'000; ++round) {
      std::string bytes = good;
      if (round % 4 == 0) bytes.resize(engine() % bytes.size());
      for (unsigned n = engine() % 4 + 1; n > 0 && !bytes.empty(); --n) {
        bytes[engine() % bytes.size()] = static_cast<char>(engine());
      }
      const MemoryFile damaged(bytes);
      try {
        const NpzFile file = NpzFile::open(damaged.path());
        for (const std::string& name : file.names()) EXPECT_LE(file.load(name).bytes(), size_t{1} << 20);
      } catch (const Error& error) {
        EXPECT_NE(error.kind(), ErrorKind::bug);
        EXPECT_THAT(error.what(), HasSubstr(damaged.path()));
        ++refusals;
      }
    }
    EXPECT_GT(refusals, 1'000);
  }
}

TEST(Npz, RefusesWhatIsNoArchiveAndNamesWhatIsMissing) {
  const TempFolder folder;
  EXPECT_THAT(refusal(ErrorKind::io, [&] { NpzFile::open(folder.file("none")); }),
              HasSubstr(folder.file("none")));
  EXPECT_THAT(refusal(ErrorKind::io, [&] { NpzFile::open(folder.path()); }), HasSubstr("not a plain file"));
  write_file(folder.file("a"), "no zip");
  EXPECT_THAT(refusal(ErrorKind::user, [&] { NpzFile::open(folder.file("a")); }),
              HasSubstr("not a readable .npz file"));
  write_zip(folder.file("b"), {{"readme.txt", "x"}});
  EXPECT_THAT(refusal(ErrorKind::user, [&] { NpzFile::open(folder.file("b")); }),
              HasSubstr("'readme.txt' is not a .npy file"));
  const Tensor a = Tensor::scalar(1);
  write_npz(folder.file("c"), std::vector<NamedTensor>{{"a", view_of(a)}});
  const NpzFile file = NpzFile::open(folder.file("c"));
  EXPECT_TRUE(file.has("a"));
  EXPECT_THAT(refusal(ErrorKind::user, [&] { (void)file.load("b"); }), HasSubstr("there is no array 'b'"));
}

TEST(Npz, TheWriterRefusesWhatNumPyCouldNotRead) {
  const TempFolder folder;
  const Tensor a = Tensor::scalar(1);
  const Tensor b(DType::bf16, {2});
  const auto write = [&](const std::vector<NamedTensor>& named, ErrorKind kind = ErrorKind::user) {
    return refusal(kind, [&] { write_npz(folder.file("a"), named); });
  };
  EXPECT_THAT(write({{"b", view_of(b)}}), HasSubstr("array 'b': NumPy has no type bf16"));
  EXPECT_THAT(write({{"a", view_of(a)}, {"a", view_of(a)}}), HasSubstr("two arrays are named 'a'"));
  EXPECT_THAT(write({}), HasSubstr("at least one array"));
  EXPECT_THAT(refusal(ErrorKind::io,
                      [&] { write_npz(folder.file("none/a"), std::vector<NamedTensor>{{"a", view_of(a)}}); }),
              HasSubstr("cannot write " + folder.file("none/a")));
  EXPECT_EQ(folder.entries(), 0);
}

}  // namespace
}  // namespace floe
