#include "checkpoint/hugging_face.h"

#include <algorithm>
#include <bit>

#include "base/error.h"
#include "base/file_system.h"
#include "base/hub_name.h"
#include "base/json.h"
#include "checkpoint/weight_names.h"

namespace trine {
namespace fs = std::filesystem;
namespace {

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

// An index may come from anywhere: what it names must lie below the folder. The path alone is judged, since the
// cache of the Hub fills its folders with links.
bool stays_inside(const fs::path& file) {
  return !file.empty() && !file.has_root_path() && std::find(file.begin(), file.end(), "..") == file.end();
}

// The first file with weights in another form, to be named; empty if there is none.
std::string other_weights(const fs::path& folder) {
  constexpr const char* kExtensions[] = {".safetensors", ".bin",  ".pth",     ".pt",
                                         ".gguf",        ".ckpt", ".msgpack", ".h5"};
  for (const std::string& name : names_in(folder).value_or(std::vector<std::string>()))
    if (std::ranges::count(kExtensions, fs::path(name).extension().string()) > 0) return name;
  return "";
}

std::string what_to_do_about(const std::string& other) {
  if (other.empty()) return "Check the path, or fetch the weights.";
  if (other.starts_with("adapter_model")) return "Merge the adapter into its model first (peft: merge_and_unload).";
  if (other.ends_with(".safetensors")) return "Rename the file, or fetch the index of the shards.";
  if (other.ends_with(".gguf")) return "Take the model's repository with safetensors.";
  return "Save the model with transformers, safe_serialization=True.";
}

}  // namespace

HuggingFaceWeights::HuggingFaceWeights(const fs::path& folder) : folder_(folder) {
  if (!is_folder(folder)) {
    throw DataError(fmt::format("[weights] {}: no such folder, need one with {}. Check the path.{}",
                                folder.string(), kSingleFile, hub_hint(folder.string())));
  }
  if (is_there(folder / kSingleFile)) {
    const auto& file = files_.try_emplace(kSingleFile, folder / kSingleFile).first->second;
    for (const auto& [name, tensor] : file.tensors()) tensors_[name] = &tensor;
  } else if (is_there(folder / kIndexFile)) {
    open_index(folder / kIndexFile);
  } else {
    const std::string other = other_weights(folder);
    throw DataError(fmt::format("[weights] {}: {}, need {} or {}. {}", folder.string(),
                                other.empty() ? "no weights" : "only " + other, kSingleFile, kIndexFile,
                                what_to_do_about(other)));
  }
  for (const auto& [name, tensor] : tensors_) names_.push_back(name);
}

void HuggingFaceWeights::open_index(const fs::path& index) {
  const nlohmann::json json = read_json_file(index);
  const auto broken = [&](const std::string& what) {
    return DataError(fmt::format("[weights] {}: {}. The index is damaged: fetch it again.", index.string(), what));
  };
  if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object()) {
    throw broken("no weight_map, need names of tensors and their files");
  }
  for (const auto& [name, file] : json["weight_map"].items()) {
    if (!file.is_string()) throw broken(fmt::format("weight_map.{} is no file name", name));
    const auto file_name = file.get<std::string>();
    if (!stays_inside(file_name)) {
      throw broken(fmt::format("weight_map.{} is \"{}\", need a file in the same folder", name, file_name));
    }
    if (!files_.contains(file_name) && !is_file(folder_ / file_name)) {
      throw DataError(fmt::format("[weights] {}: no such file, but {} names it for {}. Fetch the missing file.",
                                  (folder_ / file_name).string(), index.string(), name));
    }
    const auto& shard = files_.try_emplace(file_name, folder_ / file_name).first->second;
    if (!shard.contains(name))
      throw broken(fmt::format("{} is not in {}, where the index puts it", name, file_name));
    tensors_[name] = &shard.tensor(name);
  }
}

const SafeTensor& HuggingFaceWeights::tensor(const std::string& name) const {
  auto it = tensors_.find(name);
  if (it == tensors_.end() && name == kEmbedding) it = tensors_.find(kHead);
  if (it == tensors_.end()) {
    throw DataError(
        fmt::format("[weights] {}: no tensor {} among {}, need all of the model. Check that --model and the "
                    "weights belong together.",
                    folder_.string(), name, tensors_.size()));
  }
  return *it->second;
}

void HuggingFaceWeights::check_fit(const std::vector<Parameter>& parameters, const std::string& complaint) const {
  std::map<std::string, Shape> shapes;
  for (const auto& [name, tensor] : tensors_) shapes.emplace(name, tensor->shape);
  if (const std::string problem = misfit(shapes, parameters); !problem.empty())
    throw DataError(fmt::format("{}:{}", complaint, problem));
  const bool tied = std::ranges::none_of(parameters, [](const Parameter& p) { return p.name == kHead; });
  if (!tied || !contains(kHead) || !contains(kEmbedding)) return;
  constexpr int64_t kBlock = int64_t{1} << 20;
  const int64_t count = shape(kEmbedding).num_elements();
  std::vector<float> head, embedding;
  for (int64_t begin = 0; begin < count && shape(kHead) == shape(kEmbedding); begin += kBlock) {
    head.resize(static_cast<size_t>(std::min(kBlock, count - begin))), embedding.resize(head.size());
    read(kHead, begin, head), read(kEmbedding, begin, embedding);
    const auto equal = [](float a, float b) { return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b); };
    if (std::ranges::equal(head, embedding, equal)) continue;
    throw DataError(
        fmt::format("{}: {} is not {}, but config.json ties them. Set \"tie_word_embeddings\": false, or "
                    "remove the one that is wrong.",
                    complaint, kHead, kEmbedding));
  }
}

void HuggingFaceWeights::read(const std::string& name, int64_t begin, std::span<float> out) const {
  const SafeTensor& source = tensor(name);
  if (source.type != SafeType::kF32 && source.type != SafeType::kBF16 && source.type != SafeType::kF16) {
    throw DataError(
        fmt::format("[weights] {}: tensor {} has type {}, need F32, BF16 or F16. Convert the model first.",
                    folder_.string(), name, trine::name(source.type)));
  }
  copy_values<float>(source, begin, out);
}

}  // namespace trine
