// The model that a checkpoint was saved from, as its manifest says it.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "models/llama_config.h"

namespace trine {

struct Parameter {
  std::string name;
  Shape shape;
};
// All parameters in the order of the model, with Hugging Face's names. A tied head is none.
std::vector<Parameter> model_parameters(const LlamaConfig& config);

std::map<std::string, Shape> weight_shapes(const Checkpoint& checkpoint);

struct SavedModel {
  LlamaConfig config;
  DType dtype = DType::kF32;  // of training; the saved masters are f32
  int64_t seq = 1;
  std::string tokenizer;  // bytes, or where its file was; empty: not known
  std::vector<Parameter> parameters;
};
// DataError if the manifest's config is not that of a model, or if the checkpoint has other
// weights than the model's.
SavedModel saved_model(const Checkpoint& checkpoint);

// Gives the f32 elements of a tensor one block (at most 16 MiB) after another.
using BlockSink = std::function<void(std::span<const float>)>;
void read_blocks(Checkpoint& checkpoint, const TensorEntry& tensor, const std::vector<Box>& boxes,
                 const BlockSink& f);

}  // namespace trine
