// From CTranslate2's variables to Floe's configuration and weights. Every variable must find its place: one
// that does not is a feature that Floe would silently leave out, and is refused by name.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <optional>
#include <set>

#include "base/error.h"
#include "interop/ctranslate2.h"

namespace floe {
namespace {

// How many positions a sinusoidal table is made for; the format sets no limit.
constexpr int64_t kSinusoidPositions = 1024;

// Variables that say how to use a model, not what it computes, or that say what its shapes say too.
constexpr std::array<std::string_view, 10> kNoEffect{
    "alignment_layer", "alignment_heads", "embeddings_merge", "with_source_bos",       "with_source_eos",
    "with_target_bos", "num_heads_kv",    "keep_in_float32",  "multi_query_attention", "decoder_start_token"};

std::string_view last_word(std::string_view name) {
  const size_t slash = name.rfind('/');
  return slash == std::string_view::npos ? name : name.substr(slash + 1);
}

class Mapper {
 public:
  Mapper(Ct2File file, std::string_view name) : file_(std::move(file)), name_(name) {}

  Ct2Model take() {
    if (file_.spec != "TransformerBase" && file_.spec != "TransformerBig" &&
        file_.spec != "TransformerSpec") {
      fail_user("{}: a model of kind '{}'; Floe reads encoder-decoder Transformers", name_, file_.spec);
    }
    read_config();
    move_weights();
    refuse_the_rest();
    config_.validate();
    check_weights(config_, weights_, name_);  // before tables are made: their size follows from the config
    add_made_weights(config_, &weights_);
    return {config_, std::move(weights_)};
  }

 private:
  std::string resolve(const std::string& name) const {
    const auto alias = file_.aliases.find(name);
    return alias == file_.aliases.end() ? name : alias->second;
  }
  const Tensor* find(const std::string& name) const {
    const auto found = file_.tensors.find(resolve(name));
    return found == file_.tensors.end() ? nullptr : &found->second;
  }
  const Tensor& need(const std::string& name) const {
    const Tensor* tensor = find(name);
    if (tensor == nullptr) fail_user("{}: tensor '{}' is missing", name_, name);
    return *tensor;
  }
  const Tensor& matrix(const std::string& name) const {
    const Tensor& tensor = need(name);
    if (tensor.shape().size() != 2) {
      fail_user("{}: tensor '{}' must have two dims, got {}", name_, name, text_of(tensor.shape()));
    }
    return tensor;
  }

  // An attribute of both stacks, under either's prefix or, in older files, under none.
  double attribute(const std::string& word, double otherwise) {
    std::optional<double> value;
    for (const char* prefix : {"", "encoder/", "decoder/"}) {
      const std::string name = prefix + word;
      const Tensor* tensor = find(name);
      if (tensor == nullptr) continue;
      if (tensor->size() != 1)
        fail_user("{}: '{}' must be one number, got {}", name_, name, text_of(tensor->shape()));
      used_.insert(resolve(name));
      used_.insert(name);
      if (value && *value != tensor->at(0)) {
        fail_user("{}: '{}' differs between encoder and decoder: {} and {}", name_, word, *value,
                  tensor->at(0));
      }
      value = tensor->at(0);
    }
    return value.value_or(otherwise);
  }
  int64_t integer(const std::string& word, int64_t otherwise) {
    const double value = attribute(word, static_cast<double>(otherwise));
    if (!(std::fabs(value) < 1e6) || value != std::floor(value)) {
      fail_user("{}: '{}' = {} is no sensible integer", name_, word, value);
    }
    return static_cast<int64_t>(value);
  }
  bool flag(const std::string& word, bool otherwise) { return integer(word, otherwise ? 1 : 0) != 0; }

  int64_t count_layers(const std::string& stack) const {
    int64_t n = 0;
    while (find(fmt::format("{}/layer_{}/self_attention/linear_0/weight", stack, n)) != nullptr) ++n;
    if (n == 0) fail_user("{}: tensor '{}/layer_0/self_attention/linear_0/weight' is missing", name_, stack);
    return n;
  }

  void read_config() {
    source_embedding_ = find("encoder/embeddings_0/weight") != nullptr ? "encoder/embeddings_0/weight"
                                                                       : "encoder/embeddings/weight";
    const Tensor& source = matrix(source_embedding_);
    const Tensor& target = matrix("decoder/embeddings/weight");
    config_.d_model = target.shape()[1];
    config_.source_vocabulary = source.shape()[0];
    config_.target_vocabulary = target.shape()[0];
    config_.encoder_layers = count_layers("encoder");
    config_.decoder_layers = count_layers("decoder");
    config_.heads = integer("num_heads", file_.spec == "TransformerBig" ? 16 : 8);
    if (config_.heads < 1) fail_user("{}: 'num_heads' = {} must be at least 1", name_, config_.heads);
    if (config_.d_model % config_.heads != 0 || config_.d_model == 0) {
      fail_user("{}: {} heads do not divide the width {}", name_, config_.heads, config_.d_model);
    }
    const int64_t qkv_rows = matrix("encoder/layer_0/self_attention/linear_0/weight").shape()[0];
    config_.kv_heads = (qkv_rows / config_.head_dim() - config_.heads) / 2;
    const bool gated = find("encoder/layer_0/ffn/linear_0_noact/weight") != nullptr;
    config_.d_ff = matrix("encoder/layer_0/ffn/linear_0/weight").shape()[0];
    config_.norm_placement = flag("pre_norm", true) ? NormPlacement::pre : NormPlacement::post;
    config_.norm_kind =
        find("encoder/layer_0/ffn/layer_norm/beta") != nullptr ? NormKind::layer_norm : NormKind::rms_norm;
    config_.norm_epsilon = 1e-5;
    config_.biases = find("encoder/layer_0/ffn/linear_0/bias") != nullptr;
    config_.output_bias = find("decoder/projection/bias") != nullptr;
    config_.activation = activation(integer("activation", 0), gated);
    read_positions();
    read_embedding_scale();
    read_tying();
    config_.residual_dropout = config_.attention_dropout = config_.activation_dropout = 0;
    if (flag("start_from_zero_embedding", false)) {
      fail_user("{}: the decoder starts from a zero vector; Floe has no such start", name_);
    }
    if (flag("alibi", false))
      fail_user("{}: attention with linear biases (ALiBi) is not known to Floe", name_);
    for (const char* word : {"alibi_use_positive_positions", "scale_alibi"})
      attribute(word, 0);  // of ALiBi only
  }

  Activation activation(int64_t id, bool gated) {
    if (gated) {
      if (id != 2)
        fail_user("{}: a gated feed-forward layer with activation {}; Floe knows SiLU (2)", name_, id);
      return Activation::swiglu;
    }
    switch (id) {
      case 0:
        return Activation::relu;
      case 1:
        return Activation::gelu_tanh;
      case 2:
        return Activation::silu;
      case 3:
        return Activation::gelu;
      default:
        fail_user("{}: activation {} is not known to Floe", name_, id);
    }
  }

  void read_positions() {
    const Tensor* source = find("encoder/position_encodings/encodings");
    const Tensor* target = find("decoder/position_encodings/encodings");
    if ((source == nullptr) != (target == nullptr)) {
      fail_user("{}: 'position_encodings/encodings' is given for one stack only", name_);
    }
    if (source == nullptr) {
      config_.positions = PositionKind::sinusoidal;
      config_.sinusoid = Sinusoid::opennmt;
      config_.max_positions = kSinusoidPositions;
      return;
    }
    config_.positions = PositionKind::learned;
    config_.max_positions = matrix("decoder/position_encodings/encodings").shape()[0];
    move("encoder/position_encodings/encodings", "encoder.positions.weight");
    move("decoder/position_encodings/encodings", "decoder.positions.weight");
  }

  void read_embedding_scale() {
    const double root = std::sqrt(static_cast<double>(config_.d_model));
    const double value = attribute("scale_embeddings", 1);
    // Either a flag or the factor itself: they differ in type.
    const Tensor* tensor = find("encoder/scale_embeddings");
    const bool is_flag = tensor == nullptr || tensor->dtype() == DType::i32;
    if (is_flag) {
      config_.scale_embeddings = value != 0;
    } else if (value == 1) {
      config_.scale_embeddings = false;
    } else if (std::fabs(value - root) <= 1e-6 * root) {
      config_.scale_embeddings = true;
    } else {
      fail_user("{}: embeddings are scaled by {}; Floe knows 1 and the root of the width, {}", name_, value,
                root);
    }
  }

  void read_tying() {
    const std::string source = resolve(source_embedding_);
    const std::string target = resolve("decoder/embeddings/weight");
    const std::string output = resolve("decoder/projection/weight");
    need("decoder/projection/weight");
    config_.tied = source == target   ? (target == output ? Tied::all : Tied::source_target)
                   : target == output ? Tied::target_output
                                      : Tied::none;
    if (source == output && source != target) {
      fail_user("{}: the projection is tied to the source embedding only, which Floe cannot do", name_);
    }
  }

  void move(const std::string& from, const std::string& to) {
    const Tensor& tensor = need(from);
    if (tensor.dtype() != DType::f32) fail_user("{}: tensor '{}' must be floating", name_, from);
    used_.insert(resolve(from));
    used_.insert(from);
    weights_[to] = copy_of(tensor);
  }
  void move_linear(const std::string& from, const std::string& to) {
    move(from + "/weight", to + ".weight");
    if (config_.biases) move(from + "/bias", to + ".bias");
  }
  void move_norm(const std::string& from, const std::string& to) {
    move(from + "/layer_norm/gamma", to + ".norm.gamma");
    if (config_.norm_kind == NormKind::layer_norm) move(from + "/layer_norm/beta", to + ".norm.beta");
  }
  // Two tensors with equal trailing dims, one above the other.
  void move_stacked(const std::string& top, const std::string& bottom, const std::string& to) {
    const Tensor& a = need(top);
    const Tensor& b = need(bottom);
    if (a.shape().empty() || a.shape() != b.shape() || a.dtype() != DType::f32 || b.dtype() != DType::f32) {
      fail_user("{}: '{}' is {}, '{}' is {}: they must be floating and of one shape", name_, top,
                text_of(a.shape()), bottom, text_of(b.shape()));
    }
    Shape shape = a.shape();
    shape[0] *= 2;
    Tensor both(DType::f32, shape);
    if (a.bytes() > 0) {
      std::memcpy(both.as<char>(), a.data(), a.bytes());
      std::memcpy(both.as<char>() + a.bytes(), b.data(), b.bytes());
    }
    for (const std::string& name : {top, bottom}) {
      used_.insert(resolve(name));
      used_.insert(name);
    }
    weights_[to] = std::move(both);
  }

  void move_layer(const std::string& from, const std::string& to, bool cross) {
    move_norm(from + "/self_attention", to + ".self_attention");
    move_linear(from + "/self_attention/linear_0", to + ".self_attention.qkv");
    move_linear(from + "/self_attention/linear_1", to + ".self_attention.out");
    if (cross) {
      move_norm(from + "/attention", to + ".cross_attention");
      move_linear(from + "/attention/linear_0", to + ".cross_attention.q");
      move_linear(from + "/attention/linear_1", to + ".cross_attention.kv");
      move_linear(from + "/attention/linear_2", to + ".cross_attention.out");
    }
    move_norm(from + "/ffn", to + ".feed_forward");
    if (config_.activation == Activation::swiglu) {
      const std::string gate = from + "/ffn/linear_0";
      move_stacked(gate + "/weight", gate + "_noact/weight", to + ".feed_forward.up.weight");
      if (config_.biases) move_stacked(gate + "/bias", gate + "_noact/bias", to + ".feed_forward.up.bias");
    } else {
      move_linear(from + "/ffn/linear_0", to + ".feed_forward.up");
    }
    move_linear(from + "/ffn/linear_1", to + ".feed_forward.down");
  }

  void move_weights() {
    if (config_.tied == Tied::all || config_.tied == Tied::source_target) {
      move("decoder/embeddings/weight", "embedding.weight");
      used_.insert(source_embedding_);
    } else {
      move(source_embedding_, "encoder.embedding.weight");
      move("decoder/embeddings/weight", "decoder.embedding.weight");
    }
    if (config_.tied == Tied::none || config_.tied == Tied::source_target) {
      move("decoder/projection/weight", "output.weight");
    } else {
      used_.insert("decoder/projection/weight");
    }
    if (config_.output_bias) move("decoder/projection/bias", "output.bias");
    for (int64_t i = 0; i < config_.encoder_layers; ++i) {
      move_layer(fmt::format("encoder/layer_{}", i), fmt::format("encoder.{}", i), false);
    }
    for (int64_t i = 0; i < config_.decoder_layers; ++i) {
      move_layer(fmt::format("decoder/layer_{}", i), fmt::format("decoder.{}", i), true);
    }
    if (config_.norm_placement == NormPlacement::pre) {
      move_norm("encoder", "encoder");
      move_norm("decoder", "decoder");
    }
  }

  void refuse_the_rest() const {
    const auto check = [&](const std::string& name) {
      const bool no_effect =
          std::find(kNoEffect.begin(), kNoEffect.end(), last_word(name)) != kNoEffect.end();
      if (!no_effect && !used_.contains(name)) {
        fail_user("{}: '{}' has no place in the models that Floe knows", name_, name);
      }
    };
    for (const auto& [name, tensor] : file_.tensors) check(name);
    for (const auto& [alias, of] : file_.aliases) check(alias);
  }

  Ct2File file_;
  std::string_view name_;
  std::string source_embedding_;
  ModelConfig config_;
  Weights weights_;
  std::set<std::string> used_;
};

}  // namespace

Ct2Model model_of(Ct2File file, std::string_view name) { return Mapper(std::move(file), name).take(); }

}  // namespace floe
