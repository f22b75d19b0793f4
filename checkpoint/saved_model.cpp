#include "checkpoint/saved_model.h"

#include <algorithm>

#include "base/error.h"
#include "checkpoint/weight_names.h"
#include "models/llama.h"
#include "plan/config/flag_table.h"
#include "plan/config/layouts.h"

namespace trine {
namespace {

constexpr int64_t kBlockElements = int64_t{4} << 20;

// As it would stand on the command line.
std::string text_of(const nlohmann::json& value) {
  if (value.is_boolean()) return value.get<bool>() ? "on" : "off";
  return value.is_string() ? value.get<std::string>() : value.dump();
}

Config read_config(const Checkpoint& checkpoint, Problems& problems) {
  const nlohmann::json& saved = checkpoint.manifest().config;
  Config config;
  config.tokenizer.clear();
  for (const Flag& flag : flag_table()) {
    const bool wanted =
        flag.group == "Model" || flag.name == "seq" || flag.name == "dtype" || flag.name == "tokenizer";
    const auto it = saved.find(std::string(flag.name));
    if (wanted && it != saved.end() && !flag.set(config, {text_of(*it)}))
      problems.add("config", "{} is {}, need {}.", flag.name, it->dump().substr(0, 40), flag.needs);
  }
  validate(config.model, problems);
  if (config.seq < 1 || config.seq > kMaxSeq)
    problems.add("config", "seq is {}, need 1 to {}.", config.seq, kMaxSeq);
  return config;
}

// The weights are the model's, no more and no less, and moments are of weights.
void check_weights(const Checkpoint& checkpoint, const std::vector<Parameter>& parameters) {
  const std::map<std::string, Shape> weights = weight_shapes(checkpoint);
  std::string problem = misfit(weights, parameters);
  for (const TensorEntry& entry : checkpoint.manifest().tensors) {
    if (entry.dtype != DType::kF32)
      problem += fmt::format("\n  {} is {}, a checkpoint needs f32", entry.name, name(entry.dtype));
    // misfit() lets a head lie beside a tied embedding, which Hugging Face's files may have; no checkpoint has it.
    if (std::ranges::find(parameters, entry.name, &Parameter::name) == parameters.end())
      problem += fmt::format("\n  {} is no parameter of the model in its config", entry.name);
    if (!weights.contains(entry.name)) problem += fmt::format("\n  {} has moments, but no weight", entry.name);
  }
  if (!problem.empty())
    throw DataError(fmt::format("[checkpoint] {}: the weights do not fit its config:{}\nUse another checkpoint.",
                                checkpoint.folder().string(), problem));
}

}  // namespace

std::map<std::string, Shape> weight_shapes(const Checkpoint& checkpoint) {
  std::map<std::string, Shape> shapes;
  for (const TensorEntry& tensor : checkpoint.manifest().tensors)
    if (tensor.kind == TensorKind::kWeight) shapes.emplace(tensor.name, tensor.shape);
  return shapes;
}

std::vector<Parameter> model_parameters(const LlamaConfig& config) {
  const Graph graph = build_llama(config, BatchShape{}, Mesh{}, false).graph;
  std::vector<Parameter> parameters;
  for (const State& state : graph.states())
    if (state.role == StateRole::kParameter && !state.storage.valid())
      parameters.push_back({state.name, state.type.shape});
  return parameters;
}

SavedModel saved_model(const Checkpoint& checkpoint) {
  Problems problems;
  const Config config = read_config(checkpoint, problems);
  // Before anything is built that is as large as the config says.
  const auto num_tensors = static_cast<int64_t>(checkpoint.manifest().tensors.size());
  if (config.model.layers > num_tensors)
    problems.add("config", "layers is {}, but there are {} tensors.", config.model.layers, num_tensors);
  if (!problems.empty())
    throw DataError(fmt::format("[checkpoint] {}: {}", checkpoint.folder().string(), problems.list()[0]));
  SavedModel model{config.model, config.dtype, config.seq, config.tokenizer, model_parameters(config.model)};
  check_weights(checkpoint, model.parameters);
  return model;
}

void read_blocks(Checkpoint& checkpoint, const TensorEntry& tensor, const std::vector<Box>& boxes,
                 const BlockSink& f) {
  std::vector<float> block;
  for (const Box& box : boxes) {
    const int64_t count = box.num_elements();
    for (int64_t begin = 0; begin < count; begin += kBlockElements) {
      const int64_t end = std::min(count, begin + kBlockElements);
      block.resize(static_cast<size_t>(end - begin));
      checkpoint.read(tensor, boxes_of_range(box, begin, end), std::span(block));
      f(block);
    }
  }
}

}  // namespace trine
