#include "checkpoint/compare.h"

#include <map>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/hash.h"

namespace trine {
namespace {

std::vector<FieldDifference> compare_fields(const nlohmann::json& a, const nlohmann::json& b) {
  std::set<std::string> fields;
  for (const auto* object : {&a, &b})
    for (const auto& [field, value] : object->items()) fields.insert(field);
  std::vector<FieldDifference> differences;
  for (const std::string& field : fields) {
    const nlohmann::json in_a = a.value(field, nlohmann::json()), in_b = b.value(field, nlohmann::json());
    if (in_a != in_b) differences.push_back({field, in_a, in_b});
  }
  return differences;
}

std::string difference(const TensorEntry* a, const TensorEntry* b) {
  if (a == nullptr || b == nullptr) return a ? "only in the first" : "only in the second";
  if (a->dtype != b->dtype || a->shape != b->shape)
    return fmt::format("{} {} and {} {}", name(a->dtype), to_string(a->shape), name(b->dtype), to_string(b->shape));
  return a->hash == b->hash ? "" : fmt::format("hash {} and {}", hex(a->hash), hex(b->hash));
}

}  // namespace

Comparison compare(const Manifest& a, const Manifest& b) {
  Comparison comparison;
  std::map<std::pair<TensorKind, std::string>, std::pair<const TensorEntry*, const TensorEntry*>> tensors;
  for (const TensorEntry& tensor : a.tensors) tensors[{tensor.kind, tensor.name}].first = &tensor;
  for (const TensorEntry& tensor : b.tensors) tensors[{tensor.kind, tensor.name}].second = &tensor;
  for (const auto& [key, both] : tensors)
    if (std::string what = difference(both.first, both.second); !what.empty())
      comparison.tensors.push_back({key.first, key.second, std::move(what)});
  const nlohmann::json in_a = manifest_fields(a), in_b = manifest_fields(b);
  comparison.state = compare_fields(in_a["state"], in_b["state"]);
  comparison.layout = compare_fields(in_a["layout"], in_b["layout"]);
  comparison.config = compare_fields(in_a["config"], in_b["config"]);
  return comparison;
}

nlohmann::json manifest_fields(Manifest manifest) {
  manifest.files.clear();
  manifest.tensors.clear();
  return parse_json(write_manifest(manifest));
}

}  // namespace trine
