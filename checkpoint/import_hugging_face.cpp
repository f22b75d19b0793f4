#include <algorithm>
#include <cstdlib>
#include <memory>

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/export_hugging_face.h"
#include "checkpoint/hugging_face.h"
#include "checkpoint/new_checkpoint.h"
#include "checkpoint/saved_model.h"
#include "plan/config/flag_table.h"
#include "plan/config/flags.h"

namespace trine {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kBlockElements = int64_t{4} << 20;

// As config.json says it, else as the weights are stored.
std::string dtype_of(const nlohmann::json& config, const HuggingFaceWeights& weights) {
  for (const char* key : {"dtype", "torch_dtype"})
    for (const auto& [theirs, ours] : {std::pair("float32", "f32"), {"float16", "fp16"}, {"bfloat16", "bf16"}})
      if (const auto it = config.find(key); it != config.end() && *it == theirs) return ours;
  const std::vector<std::string>& names = weights.names();
  const SafeType type = names.empty() ? SafeType::kBF16 : weights.type(names.front());
  return type == SafeType::kF32 ? "f32" : type == SafeType::kF16 ? "fp16" : "bf16";
}

// As train_llama --model would begin.
Config training_config(const fs::path& folder, const std::string& dtype, const ModelTokenizer& tokenizer) {
  GivenFlags given;
  const auto give = [&](const char* flag, const std::string& text) { given[flag] = {{text}, folder.string()}; };
  give("model", (folder / "config.json").string());
  give("dtype", dtype);
  give("out", ".");
  if (!tokenizer.spec.empty()) give("tokenizer", tokenizer.spec);
  try {
    Config config = resolve(given, LaunchInfo{});
    if (config.model.bos < 0) config.model.bos = tokenizer.ids.begin;
    if (config.model.eos.empty()) config.model.eos = tokenizer.ids.ends;
    return config;
  } catch (const ConfigError& error) {
    throw DataError(fmt::format("[import] {}: {}", folder.string(), error.what()));
  }
}

int64_t stage(const HuggingFaceWeights& weights, const Parameter& parameter, Staging& staging) {
  const int64_t offset = staging.size(), count = parameter.shape.num_elements();
  std::vector<float> block;
  for (int64_t begin = 0; begin < count; begin += kBlockElements) {
    block.resize(static_cast<size_t>(std::min(kBlockElements, count - begin)));
    weights.read(parameter.name, begin, block);
    staging.append(std::as_bytes(std::span<const float>(block)));
  }
  return offset;
}

}  // namespace

fs::path import_hugging_face(const fs::path& hugging_face, const fs::path& folder,
                             const ModelTokenizer& tokenizer) {
  const nlohmann::json theirs = read_json_file(hugging_face / "config.json");
  const HuggingFaceWeights weights(hugging_face);
  const Config config = training_config(hugging_face, dtype_of(theirs, weights), tokenizer);
  // Before anything is built that is as large as config.json says.
  if (config.model.layers > std::ssize(weights.names()))
    throw DataError(fmt::format("[import] {}: {} layers, but {} tensors. Fetch what is missing.",
                                hugging_face.string(), config.model.layers, weights.names().size()));
  const std::vector<Parameter> parameters = model_parameters(config.model);
  weights.check_fit(parameters,
                    fmt::format("[import] {}: the weights do not fit config.json", hugging_face.string()));

  SaveJob job;
  job.state.loss_scale = config.loss_scale.value;
  job.state.seed = config.seed;
  job.state.tokenizer_hash = tokenizer.hash;
  job.config = to_json(config);
  NewCheckpoint checkpoint(folder, std::move(job));
  Staging staging = checkpoint.staging();
  std::vector<int64_t> offsets;
  int64_t largest = 0;
  for (const Parameter& parameter : parameters) {
    offsets.push_back(stage(weights, parameter, staging));
    largest = std::max(largest, parameter.shape.num_elements());
  }
  const std::byte* const data = staging.map();
  // All moments are the same zeros, of which the system keeps one page.
  const std::unique_ptr<void, decltype(&std::free)> zeros(std::calloc(static_cast<size_t>(largest), sizeof(float)),
                                                          std::free);
  if (!zeros) throw std::bad_alloc();
  std::vector<Slice> slices;
  for (const TensorKind kind : kTensorKinds)
    for (size_t i = 0; i < parameters.size(); ++i)
      slices.push_back({parameters[i].name,
                        kind,
                        DType::kF32,
                        parameters[i].shape,
                        {Box::whole(parameters[i].shape)},
                        kind == TensorKind::kWeight ? data + offsets[i] : zeros.get()});
  return checkpoint.write(0, slices);
}

}  // namespace trine
