#include "runtime/generation/model_folder.h"

#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file_system.h"
#include "base/hub_name.h"
#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/hugging_face.h"
#include "checkpoint/saved_model.h"
#include "data/text_marks.h"
#include "data/tokenizer.h"

namespace trine {
namespace {

std::string tokenizer_of(const std::filesystem::path& folder, const LlamaConfig& config) {
  if (has_tokenizer(folder)) return folder.string();
  return config.vocab == kByteVocab ? "bytes" : "";
}

ModelFolder open_hugging_face(const std::filesystem::path& folder) {
  ModelFolder model{.config = read_hugging_face_config(folder), .tokenizer = "", .weights = {}};
  Problems problems;
  validate(model.config, problems);
  if (!problems.empty())
    throw DataError(fmt::format("[--model] {}: {}", (folder / "config.json").string(), problems.list()[0]));
  const auto weights = std::make_shared<const HuggingFaceWeights>(folder);
  weights->check_fit(model_parameters(model.config),
                     fmt::format("[--model] {}: the weights do not fit config.json", folder.string()));
  model.tokenizer = tokenizer_of(folder, model.config);
  model.weights = [weights](const std::string& name, int64_t begin, std::span<float> out) {
    weights->read(name, begin, out);
  };
  return model;
}

// Tensors of a checkpoint, read whole and kept until another one is asked for: parameters are filled row by row.
class SavedWeights {
 public:
  explicit SavedWeights(Checkpoint checkpoint) : checkpoint_(std::move(checkpoint)) {}

  const Checkpoint& checkpoint() const { return checkpoint_; }
  void read(const std::string& name, int64_t begin, std::span<float> out) {
    const std::lock_guard lock(mutex_);
    if (name != name_) {
      const TensorEntry& tensor = checkpoint_.tensor(TensorKind::kWeight, name);
      values_.resize(static_cast<size_t>(tensor.shape.num_elements()));
      const std::vector<Box> whole = {Box::whole(tensor.shape)};
      checkpoint_.read(tensor, whole, std::span(values_));
      name_ = name;
    }
    const auto part = std::span(values_).subspan(static_cast<size_t>(begin), out.size());
    std::copy(part.begin(), part.end(), out.begin());
  }

 private:
  std::mutex mutex_;
  Checkpoint checkpoint_;
  std::string name_;
  std::vector<float> values_;
};

ModelFolder open_checkpoint_folder(const std::filesystem::path& folder) {
  const auto weights = std::make_shared<SavedWeights>(Checkpoint(folder));
  const SavedModel saved = saved_model(weights->checkpoint());
  return {.config = saved.config,
          .tokenizer = saved.tokenizer.empty() ? tokenizer_of(folder, saved.config) : saved.tokenizer,
          .weights = [weights](const std::string& name, int64_t begin, std::span<float> out) {
            weights->read(name, begin, out);
          }};
}

}  // namespace

std::optional<nlohmann::json> saved_config(const std::filesystem::path& folder) {
  const auto place = find_checkpoints(folder);
  if (!place) return std::nullopt;
  if (place->checkpoint.empty()) {
    const CheckpointFolder all(place->folder);
    const std::vector<Candidate> candidates = all.candidates();
    require_readable(candidates);
    for (const Candidate& candidate : candidates)
      if (candidate.problem.empty()) return load_manifest(candidate.path).config;
    all.newest_valid();  // tells what is wrong with each
  }
  try {
    return load_manifest(place->checkpoint).config;
  } catch (const IoError&) {
    throw;
  } catch (const DataError& error) {
    throw Error(ExitCode::kNoCheckpoint, error.what());
  }
}

FolderFacts folder_facts() {
  return {.saved_config = [](const std::string& folder) { return saved_config(folder); },
          .has_tokenizer = [](const std::string& folder) { return has_tokenizer(folder); },
          .text_ids = [](const std::string& tokenizer) { return text_ids_of(*make_tokenizer(tokenizer)); }};
}

ModelFolder open_model(const std::filesystem::path& folder) {
  if (!is_folder(folder))
    throw DataError(
        fmt::format("[--model] {} is no folder. Name a run folder, a checkpoint, "
                    "or a folder with config.json and model.safetensors.{}",
                    folder.string(), hub_hint(folder.string())));
  const auto place = find_checkpoints(folder);
  if (!place) return open_hugging_face(folder);
  if (!place->checkpoint.empty()) return open_checkpoint_folder(place->checkpoint);
  Chosen chosen = CheckpointFolder(place->folder).newest_valid();
  ModelFolder model = open_checkpoint_folder(chosen.path);
  model.passed_over = std::move(chosen.passed_over);
  return model;
}

}  // namespace trine
