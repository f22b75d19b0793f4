#include "checkpoint/export_hugging_face.h"

#include <algorithm>
#include <cmath>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/file_system.h"
#include "base/input_file.h"
#include "base/json.h"
#include "checkpoint/file_io.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/saved_model.h"

namespace trine {
namespace fs = std::filesystem;
namespace {

using Entries = std::vector<SafetensorsEntry>;

// What transformers reads of a tokenizer beside tokenizer.json or tokenizer.model.
constexpr const char* kTokenizerFiles[] = {"tokenizer_config.json", "special_tokens_map.json",
                                           "chat_template.jinja"};
// Begin and end of text stand there too, and transformers believes it before config.json.
constexpr const char* kGenerationFile = "generation_config.json";

void require_empty(const fs::path& folder) {
  if (is_there(folder) && !(is_folder(folder) && names_in(folder)->empty()))
    throw ConfigError(
        fmt::format("[export] {} is there and not an empty folder. Name a new one.", folder.string()));
}

// The model's order, a new file where the next tensor does not fit any more.
std::vector<Entries> cut_into_files(const SavedModel& model, SafeType type, int64_t max_bytes) {
  std::vector<Entries> files;
  int64_t used = 0;
  for (const Parameter& parameter : model.parameters) {
    const int64_t bytes = parameter.shape.num_elements() * size_bytes(type);
    if (files.empty() || used + bytes > max_bytes) files.emplace_back(), used = 0;
    files.back().push_back({parameter.name, {.type = type, .shape = parameter.shape, .bytes = {}}});
    used += bytes;
  }
  return files;
}

std::string file_name(size_t index, size_t count) {
  return count == 1 ? "model.safetensors" : fmt::format("model-{:05}-of-{:05}.safetensors", index + 1, count);
}

void write_whole(const fs::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

void write_index(const fs::path& folder, const std::vector<Entries>& files) {
  int64_t bytes = 0;
  nlohmann::json map = nlohmann::json::object();
  for (size_t i = 0; i < files.size(); ++i)
    for (const SafetensorsEntry& entry : files[i]) {
      map[entry.name] = file_name(i, files.size());
      bytes += entry.tensor.shape.num_elements() * size_bytes(entry.tensor.type);
    }
  write_whole(folder / "model.safetensors.index.json",
              nlohmann::json{{"metadata", {{"total_size", bytes}}}, {"weight_map", map}}.dump(2) + "\n");
}

template <typename T>
void write_rounded(const std::string& name, std::span<const float> block, const SafetensorsSink& sink) {
  std::vector<T> rounded(block.size());
  for (size_t i = 0; i < block.size(); ++i) {
    rounded[i] = from_float<T>(block[i]);
    if (std::isfinite(block[i]) && !std::isfinite(to_float(rounded[i])))
      throw DataError(fmt::format("[export] {} has the value {}, beyond what {} can hold. Take --dtype f32.", name,
                                  block[i], trine::name(kDTypeOf<T>)));
  }
  sink(std::as_bytes(std::span(rounded)));
}

void write_tensor(Checkpoint& checkpoint, const SafetensorsEntry& entry, const SafetensorsSink& sink) {
  const TensorEntry& tensor = checkpoint.tensor(TensorKind::kWeight, entry.name);
  read_blocks(checkpoint, tensor, {Box::whole(tensor.shape)}, [&](std::span<const float> block) {
    if (entry.tensor.type == SafeType::kBF16) return write_rounded<BFloat16>(entry.name, block, sink);
    if (entry.tensor.type == SafeType::kF16) return write_rounded<Float16>(entry.name, block, sink);
    sink(std::as_bytes(block));
  });
}

std::string_view hugging_face_name(DType dtype) {
  return dtype == DType::kBF16 ? "bfloat16" : dtype == DType::kF16 ? "float16" : "float32";
}

void copy_whole(const fs::path& from, const fs::path& to) {
  const InputFile source(from);
  AtomicFile file(to);
  source.read_blocks(0, source.size(), [&](auto block) { file.write(block.data(), block.size()); });
  file.commit();
}

void write_generation_config(const fs::path& from, const LlamaConfig& config, const fs::path& to) {
  nlohmann::json object = read_json_file(from);
  const nlohmann::json model = to_hugging_face(config, "float32");
  for (const char* ids : {"bos_token_id", "eos_token_id"}) object[ids] = model.at(ids);
  AtomicFile file(to);
  file.write(object.dump(2) + "\n");
  file.commit();
}

void copy_tokenizer(const fs::path& from, const LlamaConfig& config, const fs::path& folder,
                    std::vector<std::string>& names) {
  const auto copy = [&](const fs::path& source, const std::string& name) {
    copy_whole(source, folder / name);
    names.push_back(name);
  };
  copy(from, from.extension() == ".json" ? "tokenizer.json" : "tokenizer.model");
  for (const char* name : kTokenizerFiles)
    if (const fs::path beside = from.parent_path() / name; is_file(beside)) copy(beside, name);
  if (const fs::path beside = from.parent_path() / kGenerationFile; is_file(beside)) {
    write_generation_config(beside, config, folder / kGenerationFile);
    names.emplace_back(kGenerationFile);
  }
}

}  // namespace

std::vector<std::string> export_hugging_face(Checkpoint& checkpoint, const fs::path& folder,
                                             const ExportOptions& options) {
  const SavedModel model = saved_model(checkpoint);
  const DType dtype = options.dtype.value_or(model.dtype);
  require_empty(folder);
  make_folder(folder);
  std::vector<std::string> names;
  const std::vector<Entries> files = cut_into_files(model, safe_type(dtype), options.max_shard_bytes);
  for (size_t i = 0; i < files.size(); ++i) {
    names.push_back(file_name(i, files.size()));
    write_safetensors(
        folder / names.back(), files[i],
        [&](const SafetensorsEntry& entry, const SafetensorsSink& sink) { write_tensor(checkpoint, entry, sink); });
  }
  if (files.size() > 1) {
    write_index(folder, files);
    names.emplace_back("model.safetensors.index.json");
  }
  if (!options.tokenizer.empty()) copy_tokenizer(options.tokenizer, model.config, folder, names);
  for (const auto& [name, text] : options.files) {
    write_whole(folder / name, text);
    names.push_back(name);
  }
  // Last, so that a folder that was cut off is no model.
  write_whole(folder / "config.json", to_hugging_face(model.config, hugging_face_name(dtype)).dump(2) + "\n");
  names.emplace_back("config.json");
  return names;
}

}  // namespace trine
