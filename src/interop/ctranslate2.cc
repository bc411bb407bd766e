#include "interop/ctranslate2.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "text/lines.h"

namespace floe {
namespace {

static_assert(std::endian::native == std::endian::little, "values are copied from the file as they stand");

constexpr int kFirstVersion = 2;
constexpr int kLastVersion = 6;
constexpr int kMaxRank = 4;

class Bytes {
 public:
  Bytes(std::string_view bytes, std::string_view file) : bytes_(bytes), file_(file) {}

  std::string_view take(uint64_t count, std::string_view what) {
    if (count > bytes_.size() - at_) {
      fail_user("{}: {} needs {} bytes at offset {}, the file has {} left", file_, what, count, at_,
                bytes_.size() - at_);
    }
    const std::string_view taken = bytes_.substr(at_, count);
    at_ += count;
    return taken;
  }
  template <class T>
  T number(std::string_view what) {
    T value;
    take(sizeof(T), what).copy(reinterpret_cast<char*>(&value), sizeof(T));
    return value;
  }
  std::string text(std::string_view what) {
    const std::string_view chars = take(number<uint16_t>(what), what);
    if (chars.empty() || chars.find('\0') != chars.size() - 1) {
      fail_user("{}: {} at offset {} does not end with its only NUL", file_, what, at_ - chars.size());
    }
    return std::string(chars.substr(0, chars.size() - 1));
  }
  uint64_t left() const { return bytes_.size() - at_; }

 private:
  std::string_view bytes_;
  std::string_view file_;
  uint64_t at_ = 0;
};

enum class Stored { f32, i8, i16, i32, f16, bf16 };

int size_of_stored(Stored type) {
  switch (type) {
    case Stored::f32:
    case Stored::i32:
      return 4;
    case Stored::i16:
    case Stored::f16:
    case Stored::bf16:
      return 2;
    case Stored::i8:
      return 1;
  }
  return 0;
}

// Before version 4 only the size of an item is known, and only three types were written.
Stored stored_of_size(int size, std::string_view file, std::string_view name) {
  if (size == 4) return Stored::f32;
  if (size == 2) return Stored::i16;
  if (size == 1) return Stored::i8;
  fail_user("{}: tensor '{}' has items of {} bytes; known are 1, 2 and 4", file, name, size);
}

template <class T>
double read_as(const char* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return static_cast<double>(value);
}

double item(Stored type, const char* at) {
  switch (type) {
    case Stored::f32:
      return read_as<float>(at);
    case Stored::i8:
      return read_as<int8_t>(at);
    case Stored::i16:
      return read_as<int16_t>(at);
    case Stored::i32:
      return read_as<int32_t>(at);
    case Stored::f16:
    case Stored::bf16:
      break;
  }
  uint16_t bits;
  std::memcpy(&bits, at, sizeof(bits));
  return type == Stored::f16 ? from_f16(bits) : from_bf16(bits);
}

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

class Parser {
 public:
  Parser(std::string_view bytes, std::string_view file) : bytes_(bytes, file), name_(file) {}

  Ct2File take() {
    const auto version = bytes_.number<uint32_t>("the version");
    if (version < kFirstVersion || version > kLastVersion) {
      fail_user("{}: binary version {} of CTranslate2's format; Floe reads {} to {}", name_, version,
                kFirstVersion, kLastVersion);
    }
    file_.version = static_cast<int>(version);
    file_.spec = bytes_.text("the name of the specification");
    file_.revision = static_cast<int>(bytes_.number<uint32_t>("the revision"));
    const auto count = bytes_.number<uint32_t>("the number of tensors");
    for (uint32_t i = 0; i < count; ++i) tensor(i);
    if (version >= 3) aliases();
    if (bytes_.left() != 0) fail_user("{}: {} bytes follow after the last entry", name_, bytes_.left());
    for (const std::string& name : quantized_) dequantize(name);
    return std::move(file_);
  }

 private:
  void tensor(uint32_t index) {
    const std::string name = bytes_.text(fmt::format("the name of tensor {}", index));
    const std::string what = fmt::format("tensor '{}'", name);
    if (file_.tensors.contains(name)) fail_user("{}: {} is given twice", name_, what);
    const int rank = bytes_.number<uint8_t>(what);
    if (rank > kMaxRank) fail_user("{}: {} has rank {}; at most {} is known", name_, what, rank, kMaxRank);
    Shape shape;
    uint64_t elements = 1;
    for (int i = 0; i < rank; ++i) {
      const auto dim = bytes_.number<uint32_t>(what);
      shape.push_back(dim);
      // Every element takes a byte or more, so the product may stop here at the size of the file.
      if (dim != 0 && elements > bytes_.left() / dim) {
        fail_user("{}: {} is larger than what is left of the file ({} bytes): dims {}...", name_, what,
                  bytes_.left(), text_of(shape));
      }
      elements *= dim;
    }
    Stored type;
    uint64_t size;
    if (file_.version >= 4) {
      const int id = bytes_.number<uint8_t>(what);
      if (id > static_cast<int>(Stored::bf16)) fail_user("{}: {} has the unknown type {}", name_, what, id);
      type = static_cast<Stored>(id);
      size = bytes_.number<uint32_t>(what);
    } else {
      type = stored_of_size(bytes_.number<uint8_t>(what), name_, name);
      size = uint64_t{bytes_.number<uint32_t>(what)} * static_cast<uint64_t>(size_of_stored(type));
    }
    const auto item_size = static_cast<uint64_t>(size_of_stored(type));
    if (size != elements * item_size) {
      fail_user("{}: {} of dims {} takes {} bytes, the file says {}", name_, what, text_of(shape),
                elements * item_size, size);
    }
    const std::string_view data = bytes_.take(size, what);
    const bool integer = type == Stored::i8 || type == Stored::i16 || type == Stored::i32;
    const bool quantized = integer && type != Stored::i32 && ends_with(name, "weight");
    Tensor values(integer && !quantized ? DType::i32 : DType::f32, shape);
    for (uint64_t k = 0; k < elements; ++k) {
      values.set(static_cast<int64_t>(k), item(type, data.data() + k * item_size));
    }
    if (quantized) quantized_.push_back(name);
    file_.tensors.emplace(name, std::move(values));
  }

  void aliases() {
    const auto count = bytes_.number<uint32_t>("the number of aliases");
    for (uint32_t i = 0; i < count; ++i) {
      const std::string alias = bytes_.text(fmt::format("alias {}", i));
      const std::string of = bytes_.text(fmt::format("the tensor of alias '{}'", alias));
      if (!file_.tensors.contains(of))
        fail_user("{}: alias '{}' names the unknown tensor '{}'", name_, alias, of);
      if (file_.tensors.contains(alias) || !file_.aliases.emplace(alias, of).second) {
        fail_user("{}: tensor '{}' is given twice", name_, alias);
      }
    }
  }

  // The stored scale is 127 / absmax of the row (or one number), so a value is q / scale.
  void dequantize(const std::string& name) {
    Tensor& values = file_.tensors.at(name);
    const auto found = file_.tensors.find(name + "_scale");
    if (found == file_.tensors.end())
      fail_user("{}: tensor '{}' is quantized but '{}_scale' is missing", name_, name, name);
    const Tensor& scale = found->second;
    if (scale.dtype() != DType::f32) fail_user("{}: tensor '{}_scale' must be floating", name_, name);
    const int64_t rows = values.shape().empty() ? 1 : values.shape()[0];
    if (scale.size() != 1 && scale.shape() != Shape{rows}) {
      fail_user("{}: tensor '{}' has {} rows, its scales are {}", name_, name, rows, text_of(scale.shape()));
    }
    const int64_t columns = rows == 0 ? 0 : values.size() / rows;
    for (int64_t r = 0; r < rows; ++r) {
      const float divisor = scale.as<float>()[scale.size() == 1 ? 0 : r];
      if (!(divisor > 0) || !std::isfinite(divisor)) {
        fail_user("{}: tensor '{}' has the scale {} in row {}", name_, name, divisor, r);
      }
      for (int64_t c = 0; c < columns; ++c) values.as<float>()[r * columns + c] /= divisor;
    }
    file_.tensors.erase(found);
  }

  Bytes bytes_;
  std::string_view name_;
  Ct2File file_;
  std::vector<std::string> quantized_;
};

}  // namespace

Ct2File parse_ctranslate2(std::string_view bytes, std::string_view file) {
  return Parser(bytes, file).take();
}

namespace {

std::vector<std::string> read_tokens(const std::string& path, int64_t rows) {
  std::vector<std::string> tokens = read_lines(path);
  const auto size = static_cast<int64_t>(tokens.size());
  if (size == rows - 1) {
    tokens.emplace_back("<unk>");
  } else if (size != rows) {
    fail_user("{} has {} tokens, the model's embedding has {} rows", path, size, rows);
  }
  return tokens;
}

Vocabulary read_vocabulary(const std::string& path, int64_t rows) {
  return Vocabulary(read_tokens(path, rows), path, "<unk>");
}

}  // namespace

Ct2Folder load_ctranslate2(const std::string& folder) {
  const std::string path = folder + "/model.bin";
  Ct2Model model = model_of(parse_ctranslate2(read_file(path), path), path);
  const std::string shared = folder + "/shared_vocabulary.txt";
  const bool one = file_exists(shared);
  const std::string target_path = one ? shared : folder + "/target_vocabulary.txt";
  Vocabulary source =
      read_vocabulary(one ? shared : folder + "/source_vocabulary.txt", model.config.source_vocabulary);
  Vocabulary target = read_vocabulary(target_path, model.config.target_vocabulary);
  const auto id = [&](const char* token) {
    const std::optional<int32_t> found = target.find(token);
    if (!found) fail_user("{} has no token \"{}\"", target_path, token);
    return *found;
  };
  model.config.start_id = id("<s>");
  model.config.eos_id = id("</s>");
  model.config.pad_id = target.find("<blank>").value_or(*target.unknown_id());
  model.config.validate();
  return {std::move(model), std::move(source), std::move(target)};
}

}  // namespace floe
