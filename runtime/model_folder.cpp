#include "runtime/model_folder.h"

#include <memory>
#include <set>

#include "base/error.h"
#include "checkpoint/hugging_face.h"
#include "data/tokenizer.h"
#include "models/llama_inference.h"

namespace trine {
namespace {

void check_weights(const HuggingFaceWeights& weights, const LlamaConfig& config, const std::string& folder) {
  const Graph graph = build_llama_inference(config, {}, Mesh{}).graph;
  std::set<std::string> known = {"lm_head.weight"};  // a tied head may be repeated
  std::string problems;
  for (const State& state : graph.states()) {
    if (state.role != StateRole::kParameter) continue;
    known.insert(state.name);
    if (!weights.contains(state.name))
      problems += fmt::format("\n  {} is missing", state.name);
    else if (weights.shape(state.name) != state.type.shape)
      problems += fmt::format("\n  {} has shape {}, config.json means {}", state.name,
                              to_string(weights.shape(state.name)), to_string(state.type.shape));
  }
  for (const std::string& name : weights.names())
    if (!known.contains(name) && !name.ends_with("rotary_emb.inv_freq"))
      problems += fmt::format("\n  {} is no parameter of this model", name);
  if (!problems.empty())
    throw DataError(fmt::format("[--model] {}: the weights do not fit config.json:{}", folder, problems));
}

std::string tokenizer_in(const std::filesystem::path& folder, const LlamaConfig& config) {
  for (const char* file : {"tokenizer.json", "tokenizer.model"})
    if (std::filesystem::exists(folder / file)) return (folder / file).string();
  return config.vocab == kByteVocab ? "bytes" : "";
}

ModelFolder open_hugging_face(const std::filesystem::path& folder) {
  ModelFolder model{.config = read_hugging_face_config(folder), .tokenizer = "", .weights = {}};
  Problems problems;
  validate(model.config, problems);
  if (!problems.empty())
    throw DataError(fmt::format("[--model] {}: {}", (folder / "config.json").string(), problems.list()[0]));
  const auto weights = std::make_shared<const HuggingFaceWeights>(folder);
  check_weights(*weights, model.config, folder.string());
  model.tokenizer = tokenizer_in(folder, model.config);
  model.weights = [weights](const std::string& name, int64_t begin, std::span<float> out) {
    weights->read(name, begin, out);
  };
  return model;
}

}  // namespace

ModelFolder open_model(const std::filesystem::path& folder) {
  if (!std::filesystem::is_directory(folder))
    throw DataError(fmt::format("[--model] {} is no folder. Name one with config.json and model.safetensors.",
                                folder.string()));
  return open_hugging_face(folder);
}

}  // namespace trine
