#include <algorithm>
#include <cstdlib>
#include <memory>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/export_hugging_face.h"
#include "checkpoint/hugging_face.h"
#include "checkpoint/new_checkpoint.h"
#include "checkpoint/saved_model.h"
#include "plan/flag_table.h"
#include "plan/flags.h"

namespace trine {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kBlockElements = int64_t{4} << 20;

std::string dtype_in(const fs::path& folder) {
  const nlohmann::json config = read_json_file(folder / "config.json");
  for (const char* key : {"dtype", "torch_dtype"})
    if (const auto it = config.find(key); it != config.end()) {
      if (*it == "float32") return "f32";
      if (*it == "float16") return "fp16";
    }
  return "bf16";
}

// As train_llama --model would begin.
Config training_config(const fs::path& folder, const ModelTokenizer& tokenizer) {
  GivenFlags given;
  const auto give = [&](const char* flag, const std::string& text) { given[flag] = {{text}, folder.string()}; };
  give("model", (folder / "config.json").string());
  give("dtype", dtype_in(folder));
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

void check_weights(const HuggingFaceWeights& weights, const std::vector<Parameter>& parameters,
                   const fs::path& folder) {
  std::set<std::string> known = {"lm_head.weight"};  // a tied head may be repeated
  std::string problems;
  for (const Parameter& parameter : parameters) {
    known.insert(parameter.name);
    if (!weights.contains(parameter.name))
      problems += fmt::format("\n  {} is missing", parameter.name);
    else if (weights.shape(parameter.name) != parameter.shape)
      problems += fmt::format("\n  {} has shape {}, config.json means {}", parameter.name,
                              to_string(weights.shape(parameter.name)), to_string(parameter.shape));
  }
  for (const std::string& name : weights.names())
    if (!known.contains(name) && !name.ends_with("rotary_emb.inv_freq"))
      problems += fmt::format("\n  {} is no parameter of this model", name);
  if (!problems.empty())
    throw DataError(fmt::format("[import] {}: the weights do not fit config.json:{}", folder.string(), problems));
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
  const Config config = training_config(hugging_face, tokenizer);
  const HuggingFaceWeights weights(hugging_face);
  // Before anything is built that is as large as config.json says.
  if (config.model.layers > std::ssize(weights.names()))
    throw DataError(fmt::format("[import] {}: {} layers, but {} tensors. Fetch what is missing.",
                                hugging_face.string(), config.model.layers, weights.names().size()));
  const std::vector<Parameter> parameters = model_parameters(config.model);
  check_weights(weights, parameters, hugging_face);

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
