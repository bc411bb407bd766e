// Writes the format that interop/ctranslate2.h reads, so that every test of the reader has a file.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "nn/weights.h"

namespace floe {

struct Ct2Entry {
  std::string name;
  std::vector<uint32_t> dims;
  int type = 0;  // 0 f32, 1 i8, 2 i16, 3 i32, 4 f16, 5 bf16
  std::string data;
};

template <class T>
std::string raw(const std::vector<T>& values) {
  std::string bytes(values.size() * sizeof(T), '\0');
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

struct Ct2Writer {
  uint32_t version = 2;
  std::string spec = "TransformerSpec";
  uint32_t revision = 5;
  std::vector<Ct2Entry> entries;
  std::vector<std::pair<std::string, std::string>> aliases;

  static std::string text(const std::string& value) {
    return raw<uint16_t>({static_cast<uint16_t>(value.size() + 1)}) + value + std::string(1, '\0');
  }
  static uint32_t size_of_type(int type) { return type == 1 ? 1 : type == 2 || type >= 4 ? 2 : 4; }

  std::string bytes() const {
    std::string out = raw<uint32_t>({version}) + text(spec) + raw<uint32_t>({revision});
    out += raw<uint32_t>({static_cast<uint32_t>(entries.size())});
    for (const Ct2Entry& entry : entries) {
      out += text(entry.name) + static_cast<char>(entry.dims.size()) + raw(entry.dims);
      const auto size = static_cast<uint32_t>(entry.data.size());
      out += static_cast<char>(version >= 4 ? static_cast<uint32_t>(entry.type) : size_of_type(entry.type));
      out += raw<uint32_t>({version >= 4 ? size : size / size_of_type(entry.type)}) + entry.data;
    }
    if (version >= 3) {
      out += raw<uint32_t>({static_cast<uint32_t>(aliases.size())});
      for (const auto& [alias, name] : aliases) out += text(alias) + text(name);
    }
    return out;
  }

  void floats(const std::string& name, const Tensor& tensor) {
    Ct2Entry entry{name, {}, 0, std::string(static_cast<const char*>(tensor.data()), tensor.bytes())};
    for (const int64_t dim : tensor.shape()) entry.dims.push_back(static_cast<uint32_t>(dim));
    entries.push_back(std::move(entry));
  }
  // Per row q = round(w * 127 / absmax), scale 127 / absmax.
  void quantized(const std::string& name, const Tensor& tensor) {
    const int64_t rows = tensor.shape()[0];
    const int64_t columns = tensor.size() / rows;
    std::vector<int8_t> q;
    std::vector<float> scales;
    for (int64_t r = 0; r < rows; ++r) {
      double largest = 0;
      for (int64_t c = 0; c < columns; ++c)
        largest = std::max(largest, std::fabs(tensor.at(r * columns + c)));
      scales.push_back(static_cast<float>(127 / largest));
      for (int64_t c = 0; c < columns; ++c) {
        q.push_back(static_cast<int8_t>(std::nearbyint(tensor.at(r * columns + c) * scales.back())));
      }
    }
    entries.push_back({name, {static_cast<uint32_t>(rows), static_cast<uint32_t>(columns)}, 1, raw(q)});
    entries.push_back({name + "_scale", {static_cast<uint32_t>(rows)}, 0, raw(scales)});
  }
  void flag(const std::string& name, int8_t value) { entries.push_back({name, {}, 1, raw<int8_t>({value})}); }
  Ct2Entry& entry(const std::string& name) {
    for (Ct2Entry& each : entries) {
      if (each.name == name) return each;
    }
    throw std::runtime_error("no entry " + name);
  }
};

// The variables of a pre-norm Transformer with separate embeddings, from weights under Floe's names.
inline Ct2Writer write_ct2(const ModelConfig& config, const Weights& weights, bool int8) {
  Ct2Writer writer;
  const auto put = [&](const std::string& to, const std::string& from) {
    const Tensor& tensor = weights.at(from);
    if (int8 && tensor.shape().size() == 2) {
      writer.quantized(to, tensor);
    } else {
      writer.floats(to, tensor);
    }
  };
  const auto linear = [&](const std::string& to, const std::string& from) {
    put(to + "/weight", from + ".weight");
    put(to + "/bias", from + ".bias");
  };
  const auto norm = [&](const std::string& to, const std::string& from) {
    put(to + "/layer_norm/gamma", from + ".norm.gamma");
    put(to + "/layer_norm/beta", from + ".norm.beta");
  };
  const auto layer = [&](const std::string& to, const std::string& from, bool cross) {
    norm(to + "/self_attention", from + ".self_attention");
    linear(to + "/self_attention/linear_0", from + ".self_attention.qkv");
    linear(to + "/self_attention/linear_1", from + ".self_attention.out");
    if (cross) {
      norm(to + "/attention", from + ".cross_attention");
      linear(to + "/attention/linear_0", from + ".cross_attention.q");
      linear(to + "/attention/linear_1", from + ".cross_attention.kv");
      linear(to + "/attention/linear_2", from + ".cross_attention.out");
    }
    norm(to + "/ffn", from + ".feed_forward");
    linear(to + "/ffn/linear_0", from + ".feed_forward.up");
    linear(to + "/ffn/linear_1", from + ".feed_forward.down");
  };
  put("encoder/embeddings/weight", "encoder.embedding.weight");
  put("decoder/embeddings/weight", "decoder.embedding.weight");
  put("decoder/projection/weight", "output.weight");
  put("decoder/projection/bias", "output.bias");
  for (int64_t i = 0; i < config.encoder_layers; ++i) {
    layer("encoder/layer_" + std::to_string(i), "encoder." + std::to_string(i), false);
  }
  for (int64_t i = 0; i < config.decoder_layers; ++i) {
    layer("decoder/layer_" + std::to_string(i), "decoder." + std::to_string(i), true);
  }
  norm("encoder", "encoder");
  norm("decoder", "decoder");
  writer.flag("num_heads", static_cast<int8_t>(config.heads));
  writer.flag("pre_norm", 1);
  return writer;
}

}  // namespace floe
