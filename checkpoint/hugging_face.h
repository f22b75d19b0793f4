// The weights of a model folder in Hugging Face's form: model.safetensors,
// or model.safetensors.index.json and shards.
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"
#include "checkpoint/saved_model.h"

namespace trine {

class HuggingFaceWeights {
 public:
  // Opens every file and checks headers and index; reads no weight.
  // DataError naming the file and what is wrong.
  explicit HuggingFaceWeights(const std::filesystem::path& folder);

  const std::vector<std::string>& names() const { return names_; }  // sorted
  bool contains(const std::string& name) const { return tensors_.contains(name); }
  const Shape& shape(const std::string& name) const { return tensor(name).shape; }
  SafeType type(const std::string& name) const { return tensor(name).type; }

  // DataError, beginning with `complaint` ("DIR: the weights do not fit config.json"), unless these are the weights
  // of a model with these parameters, as misfit() says it; of a tied model with a head of its own,
  // that must be the embedding again.
  void check_fit(const std::vector<Parameter>& parameters, const std::string& complaint) const;

  // Elements [begin, begin + out.size()) of the flattened tensor as f32, so that a rank reads no more than its
  // slice; where only the head of a tied model was stored, it is the embedding. DataError if there is no such
  // tensor, or it is not F32, BF16 or F16.
  void read(const std::string& name, int64_t begin, std::span<float> out) const;

 private:
  void open_index(const std::filesystem::path& index);
  const SafeTensor& tensor(const std::string& name) const;

  std::filesystem::path folder_;
  std::map<std::string, SafetensorsFile> files_;  // by file name in the folder
  std::map<std::string, const SafeTensor*> tensors_;
  std::vector<std::string> names_;
};

}  // namespace trine
