// What a checkpoint holds, as its manifest.json says it (checkpoint/format.md).
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/dtype.h"
#include "base/shape.h"
#include "checkpoint/box.h"

namespace trine {

enum class TensorKind : uint8_t { kWeight, kMomentum, kVariance };
inline constexpr TensorKind kTensorKinds[] = {TensorKind::kWeight, TensorKind::kMomentum, TensorKind::kVariance};
std::string_view name(TensorKind kind);  // "weight", "momentum", "variance"

// What training goes on from, besides tensors.
struct TrainingState {
  int64_t step = 0;       // finished
  int64_t sample = 0;     // the next one, counted over epochs: the data cursor
  int64_t tokens = 0;     // trained on
  int64_t adam_step = 0;  // steps that were applied
  double loss_scale = 1;
  int64_t clean_steps = 0;  // since the loss scale changed
  int64_t seed = 0;
  std::optional<double> best_valid_loss;
  std::string tokenizer_hash;
  // What data/token_identity.h says of the tokens trained and validated on. Empty: not known (an older checkpoint),
  // or no validation.
  std::string data, valid_data;
  bool operator==(const TrainingState&) const = default;
};

// The layout that wrote a checkpoint: for people, reading needs none of it.
struct SavedLayout {
  int64_t tp = 1, pp = 1, dp = 1, vpp = 1, zero = 0;
  bool operator==(const SavedLayout&) const = default;
};
std::string to_string(const SavedLayout& layout);  // "tp2 pp8 dp1"

struct Piece {
  int64_t file = 0;     // in Manifest::files
  int64_t dataset = 0;  // k of "<kind>/<tensor>#<k>"
  Box box;
};

struct TensorEntry {
  std::string name;
  TensorKind kind = TensorKind::kWeight;
  DType dtype = DType::kF32;
  Shape shape;
  uint64_t hash = 0;  // over the whole tensor, the same for any layout
  std::vector<Piece> pieces;

  int64_t size_bytes() const { return shape.num_elements() * static_cast<int64_t>(trine::size_bytes(dtype)); }
};
std::string dataset_name(const TensorEntry& tensor, int64_t dataset);  // "weight/model.norm.weight#0"

struct FileEntry {
  std::string name;
  int64_t bytes = 0;
  uint64_t xxh3 = 0;
};

struct Manifest {
  int64_t sequence = 0;
  TrainingState state;
  SavedLayout layout;
  nlohmann::json config = nlohmann::json::object();
  std::vector<FileEntry> files;
  std::vector<TensorEntry> tensors;  // sorted by kind, then name

  const TensorEntry* find(TensorKind kind, std::string_view tensor) const;
  int64_t num_elements(TensorKind kind) const;
};

inline constexpr const char* kManifestFile = "manifest.json";
inline constexpr const char* kViewFile = "model.h5";

// Text that ends with its own hash. `path` names the file in errors. read_* check everything that can be checked
// without the other files: DataError.
std::string write_manifest(const Manifest& manifest);
Manifest read_manifest(std::string_view text, const std::filesystem::path& path);
Manifest load_manifest(const std::filesystem::path& folder);

// What one rank wrote: a manifest of at most one file, whose tensors need not be whole and
// whose hashes are the rank's share.
struct Part {
  std::vector<FileEntry> files;
  std::vector<TensorEntry> tensors;
};
std::string write_part(const Part& part);
Part read_part(std::string_view text, const std::filesystem::path& path);

// The parts of all ranks as one: files one after another, pieces side by side, hashes added. DataError if tensors
// disagree in type or shape, or their pieces do not cover every element once.
void merge_parts(std::vector<Part> parts, Manifest& manifest, const std::filesystem::path& folder);

bool is_tensor_name(std::string_view name);  // letters, digits, . _ -, 1 to 255 of them

}  // namespace trine
