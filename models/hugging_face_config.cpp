#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/input_file.h"
#include "base/json.h"
#include "models/llama_fields.h"
#include "models/text_ids.h"

namespace trine {
namespace {

using nlohmann::json;

// The fields of one JSON object. What is wrong with one is added to `problems` under its name; an absent field, or
// null, leaves the value as it is.
class Fields {
 public:
  Fields(const json& object, std::string where, std::string prefix, Problems& problems)
      : object_(object), where_(std::move(where)), prefix_(std::move(prefix)), problems_(problems) {}

  const json* find(const char* key) const {
    const auto it = object_.find(key);
    return it == object_.end() || it->is_null() ? nullptr : &*it;
  }
  bool has(const char* key) const { return find(key) != nullptr; }
  void require(const char* key) const {
    if (!has(key)) complain(key, "is missing", "Is this the config.json of a LLaMA?");
  }

  template <typename T>
  void integer(const char* key, int64_t min, int64_t max, T& value) const {
    if (const json* field = find(key))
      if (const auto number = checked_integer(*field, key, min, max)) value = static_cast<T>(*number);
  }
  // Within (0, max].
  void number(const char* key, double max, double& value) const {
    const json* field = find(key);
    if (!field) return;
    const double number = field->is_number() ? field->get<double>() : 0;
    if (number > 0 && number <= max) {
      value = number;
    } else {
      complain(key, got(*field), fmt::format("It needs a number above 0, up to {:g}.", max));
    }
  }
  void boolean(const char* key, bool& value) const {
    const json* field = find(key);
    if (!field) return;
    if (field->is_boolean()) {
      value = field->get<bool>();
    } else {
      complain(key, got(*field), "It needs true or false.");
    }
  }
  // One id or a list of them; -1, an id that no token has, is none.
  void ids(const char* key, std::vector<int>& value) const {
    const json* field = find(key);
    if (!field) return;
    value.clear();
    for (const json& id : field->is_array() ? *field : json::array({*field}))
      if (const auto number = checked_integer(id, key, -1, INT32_MAX); number && *number >= 0)
        value.push_back(static_cast<int>(*number));
  }
  // A field that Trine computes in one way only: `is` says whether its value means that way.
  template <typename Is>
  void only(const char* key, const char* need, Is is) const {
    if (const json* field = find(key); field && !is(*field)) complain(key, got(*field), need);
  }

  static std::string got(const json& field) {
    std::string text = field.dump();
    if (text.size() > 40) text = text.substr(0, 37) + "...";
    return "is " + text;
  }
  void complain(const char* key, const std::string& what, const std::string& need) const {
    problems_.add(where_, "{}{} {}. {}", prefix_, key, what, need);
  }

 private:
  std::optional<int64_t> checked_integer(const json& field, const char* key, int64_t min, int64_t max) const {
    // Numbers above INT64_MAX are stored unsigned: they wrap to negative here, which the range refuses.
    if (field.is_number_integer())
      if (const int64_t number = field.get<int64_t>(); number >= min && number <= max) return number;
    complain(key, got(field), fmt::format("It needs an integer of {} to {}.", min, max));
    return std::nullopt;
  }

  const json& object_;
  std::string where_, prefix_;
  Problems& problems_;
};

struct Rope {
  std::optional<double> theta;
  RopeScaling scaling;
};

// `rope_parameters` (transformers 5) or `rope_scaling` (4): the same object, but for rope_theta.
std::optional<Rope> read_rope(const Fields& config, const char* key, const std::string& where, Problems& problems) {
  const json* object = config.find(key);
  if (!object) return std::nullopt;
  if (!object->is_object()) {
    config.complain(key, Fields::got(*object), "It needs an object.");
    return std::nullopt;
  }
  const Fields fields(*object, where, std::string(key) + ".", problems);
  Rope rope;
  if (fields.has("rope_theta")) fields.number("rope_theta", kMaxRopeTheta, rope.theta.emplace(1e4));
  fields.only("partial_rotary_factor", "Trine turns whole heads: only 1 is supported.",
              [](const json& v) { return v.is_number() && v.get<double>() == 1; });
  const char* kind_key = fields.has("rope_type") ? "rope_type" : "type";
  const json* kind = fields.find(kind_key);
  RopeScaling& s = rope.scaling;
  if (!kind || *kind == "default") return rope;
  if (*kind == "linear") {
    s.kind = RopeScaling::Kind::kLinear;
    fields.require("factor");
  } else if (*kind == "llama3") {
    s.kind = RopeScaling::Kind::kLlama3;
    for (const char* field : {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"})
      fields.require(field);
    fields.number("low_freq_factor", kMaxRopeFactor, s.low_freq_factor);
    fields.number("high_freq_factor", kMaxRopeFactor, s.high_freq_factor);
    fields.integer("original_max_position_embeddings", 1, kMaxPosition, s.original_max_position);
  } else {
    fields.complain(kind_key, Fields::got(*kind), "Supported are default, linear and llama3.");
    return rope;
  }
  fields.number("factor", kMaxRopeFactor, s.factor);
  return rope;
}

void read_all_rope(const Fields& fields, LlamaConfig& config, const std::string& where, Problems& problems) {
  fields.number("rope_theta", kMaxRopeTheta, config.rope_theta);
  const std::optional<Rope> v5 = read_rope(fields, "rope_parameters", where, problems);
  const std::optional<Rope> v4 = read_rope(fields, "rope_scaling", where, problems);
  // A file with both forms is ours (to_hugging_face) or edited by hand; transformers 4 and 5 must then agree on it.
  if (v5 && v4 && !(v5->scaling == v4->scaling))
    fields.complain("rope_scaling", "contradicts rope_parameters", "Keep one of them.");
  if (v5 || v4) config.rope_scaling = v5 ? v5->scaling : v4->scaling;
  for (const std::optional<Rope>& rope : {v5, v4}) {
    if (!rope || !rope->theta) continue;
    if (fields.has("rope_theta") && config.rope_theta != *rope->theta)
      fields.complain("rope_theta", "is written twice with different values", "Keep one of them.");
    config.rope_theta = *rope->theta;
  }
}

}  // namespace

LlamaConfig from_hugging_face(const json& object, const std::string& where) {
  if (!object.is_object()) throw DataError(fmt::format("[{}] not a JSON object. It needs a config.json.", where));
  Problems problems;
  const Fields fields(object, where, "", problems);
  LlamaConfig config;
  config.norm_eps = 1e-6;  // transformers' default, where ours is 1e-5

  fields.require("model_type");
  fields.only("model_type", "Only llama is supported.", [](const json& v) { return v == "llama"; });
  fields.only("hidden_act", "Only silu (also called swish) is supported.",
              [](const json& v) { return v == "silu" || v == "swish"; });
  const auto is_false = [](const json& v) { return v == false; };
  fields.only("attention_bias", "Linear layers have no bias here: only false is supported.", is_false);
  fields.only("mlp_bias", "Linear layers have no bias here: only false is supported.", is_false);
  fields.only("attention_dropout", "There is no dropout here: only 0 is supported.",
              [](const json& v) { return v.is_number() && v.get<double>() == 0; });
  fields.only("quantization_config", "Quantised weights are not supported.", [](const json&) { return false; });

  for (const char* key :
       {"num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "vocab_size"})
    fields.require(key);
  for (const SizeField& size : kSizeFields) fields.integer(size.hugging_face, 1, size.max, config.*size.member);
  if (!fields.has("num_key_value_heads")) config.kv_heads = config.heads;
  if (!fields.has("head_dim") && config.heads > 0 && config.hidden > 0) {
    if (config.hidden % config.heads != 0)
      fields.complain("hidden_size", fmt::format("is {}, no multiple of {} heads", config.hidden, config.heads),
                      "It then needs a head_dim.");
    config.head_dim = config.hidden / config.heads;
  }
  fields.number("rms_norm_eps", kMaxNormEps, config.norm_eps);
  fields.number("initializer_range", kMaxInitStd, config.init_std);
  fields.boolean("tie_word_embeddings", config.tie_embeddings);
  fields.integer("max_position_embeddings", 1, kMaxPosition, config.max_position);
  fields.integer("bos_token_id", -1, INT32_MAX, config.bos);
  fields.integer("pad_token_id", -1, INT32_MAX, config.pad);
  fields.ids("eos_token_id", config.eos);
  read_all_rope(fields, config, where, problems);
  validate_relations(config, where, problems);

  if (!problems.empty()) throw DataError(fmt::format("{}", fmt::join(problems.list(), "\n")));
  return config;
}

LlamaConfig read_hugging_face_config(const std::filesystem::path& path) {
  const std::filesystem::path file = is_folder(path) ? path / "config.json" : path;
  LlamaConfig config = from_hugging_face(read_json_file(file), file.string());
  const TextIds ids = read_text_ids(file.parent_path());
  if (0 <= ids.begin && ids.begin < config.vocab) config.bos = ids.begin;
  if (!ids.ends.empty()) config.eos = ids.ends;
  return config;
}

json to_hugging_face(const LlamaConfig& config, std::string_view dtype) {
  json object = {
      {"architectures", {"LlamaForCausalLM"}},
      {"model_type", "llama"},
      {"hidden_act", "silu"},
      {"attention_bias", false},
      {"attention_dropout", 0.0},
      {"mlp_bias", false},
      {"rms_norm_eps", config.norm_eps},
      {"initializer_range", config.init_std},
      {"tie_word_embeddings", config.tie_embeddings},
      {"max_position_embeddings", config.max_position},
      {"rope_theta", config.rope_theta},
      {"torch_dtype", dtype},
      {"dtype", dtype},
      {"bos_token_id", nullptr},
      {"eos_token_id", nullptr},
      {"pad_token_id", nullptr},
  };
  for (const SizeField& size : kSizeFields) object[size.hugging_face] = config.*size.member;
  if (config.bos >= 0) object["bos_token_id"] = config.bos;
  if (config.pad >= 0) object["pad_token_id"] = config.pad;
  if (config.eos.size() == 1) object["eos_token_id"] = config.eos.front();
  if (config.eos.size() > 1) object["eos_token_id"] = config.eos;

  const RopeScaling& s = config.rope_scaling;
  json rope = {{"rope_type", "default"}};
  if (s.kind != RopeScaling::Kind::kNone) rope = {{"rope_type", "linear"}, {"factor", s.factor}};
  if (s.kind == RopeScaling::Kind::kLlama3) {
    rope["rope_type"] = "llama3";
    rope["low_freq_factor"] = s.low_freq_factor;
    rope["high_freq_factor"] = s.high_freq_factor;
    rope["original_max_position_embeddings"] = s.original_max_position;
  }
  object["rope_scaling"] = s.kind == RopeScaling::Kind::kNone ? json(nullptr) : rope;
  rope["rope_theta"] = config.rope_theta;
  object["rope_parameters"] = rope;
  return object;
}

}  // namespace trine
