#include "checkpoint/manifest.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "base/error.h"
#include "base/text.h"
#include "checkpoint/file_io.h"
#include "checkpoint/hash.h"

namespace trine {
namespace {

auto order(const TensorEntry& tensor) { return std::tuple(tensor.kind, std::string_view(tensor.name)); }

}  // namespace

std::string_view name(TensorKind kind) {
  switch (kind) {
    case TensorKind::kWeight:
      return "weight";
    case TensorKind::kMomentum:
      return "momentum";
    case TensorKind::kVariance:
      return "variance";
  }
  TRINE_CHECK(false);
}

std::string to_string(const SavedLayout& layout) {
  std::string text = fmt::format("tp{} pp{} dp{}", layout.tp, layout.pp, layout.dp);
  if (layout.vpp > 1) text += fmt::format(" vpp{}", layout.vpp);
  if (layout.zero > 0) text += fmt::format(" zero{}", layout.zero);
  return text;
}

std::string dataset_name(const TensorEntry& tensor, int64_t dataset) {
  return fmt::format("{}/{}#{}", name(tensor.kind), tensor.name, dataset);
}

bool is_tensor_name(std::string_view name) {
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z') || ('0' <= c && c <= '9') || c == '.' ||
                  c == '_' || c == '-';
         });
}

const TensorEntry* Manifest::find(TensorKind kind, std::string_view tensor) const {
  const auto it =
      std::lower_bound(tensors.begin(), tensors.end(), std::tuple(kind, tensor),
                       [](const TensorEntry& entry, const auto& wanted) { return order(entry) < wanted; });
  return it != tensors.end() && it->kind == kind && it->name == tensor ? &*it : nullptr;
}

int64_t Manifest::num_elements(TensorKind kind) const {
  int64_t sum = 0;
  for (const TensorEntry& tensor : tensors) sum += tensor.kind == kind ? tensor.shape.num_elements() : 0;
  return sum;
}

void merge_parts(std::vector<Part> parts, Manifest& manifest, const std::filesystem::path& folder) {
  std::map<std::pair<TensorKind, std::string>, TensorEntry> tensors;
  for (Part& part : parts) {
    const auto first_file = static_cast<int64_t>(manifest.files.size());
    manifest.files.insert(manifest.files.end(), part.files.begin(), part.files.end());
    for (TensorEntry& tensor : part.tensors) {
      for (Piece& piece : tensor.pieces) piece.file += first_file;
      const auto [it, is_new] = tensors.try_emplace({tensor.kind, tensor.name}, tensor);
      if (is_new) continue;
      TensorEntry& whole = it->second;
      if (whole.dtype != tensor.dtype || whole.shape != tensor.shape) {
        throw DataError(fmt::format("[checkpoint] {}: ranks saved {} {} as {} {} and as {} {}. Save again.",
                                    folder.string(), name(tensor.kind), tensor.name, name(whole.dtype),
                                    to_string(whole.shape), name(tensor.dtype), to_string(tensor.shape)));
      }
      whole.hash += tensor.hash;
      whole.pieces.insert(whole.pieces.end(), tensor.pieces.begin(), tensor.pieces.end());
    }
  }
  manifest.tensors.clear();
  for (auto& [key, tensor] : tensors) manifest.tensors.push_back(std::move(tensor));
  std::vector<Box> boxes;
  for (const TensorEntry& tensor : manifest.tensors) {
    boxes.clear();
    for (const Piece& piece : tensor.pieces) boxes.push_back(piece.box);
    if (const auto problem = partition_problem(boxes, tensor.shape)) {
      throw DataError(
          fmt::format("[checkpoint] {}: of {} {} {} {}, need each once. The checkpoint is not whole: use another.",
                      folder.string(), name(tensor.kind), tensor.name, to_string(tensor.shape), *problem));
    }
  }
}

}  // namespace trine
